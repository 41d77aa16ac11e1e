"""HeLlO: dataset distillation with light labels (arXiv 2408.08201).

    import hello_distill as hd

    hd.distill("photos", "out/a", hd.recipe("cpu"))
    artifact = hd.load("out/a")
    for images, soft, hard in artifact.loader(batch_size=64, epoch=0):
        ...

Names are imported on first use, so that `hello-distill --help` need not wait for torch.
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hello_distill.api import distill, record, reproduce, train, verify
    from hello_distill.artifact import Artifact, load
    from hello_distill.distillers.recipe import Recipe
    from hello_distill.format.costs import info
    from hello_distill.hub import pull, push
    from hello_distill.recipes import find as recipe
    from hello_distill.system.context import Context
    from hello_distill.system.errors import ArtifactError, HelloError, InputError, MachineError

os.environ.setdefault("OMP_WAIT_POLICY", "passive")
"""Threads that wait for each other sleep. By default they spin, and a training step on all cores takes many times as
long as alone once another process runs; read when torch is imported, so an earlier import leaves it as it is."""
_HOMES = {
    **dict.fromkeys(("distill", "record", "reproduce", "train", "verify"), "api"),
    **dict.fromkeys(("Artifact", "load"), "artifact"),
    **dict.fromkeys(("ArtifactError", "HelloError", "InputError", "MachineError"), "system.errors"),
    **dict.fromkeys(("pull", "push"), "hub"),
    "Context": "system.context",
    "Recipe": "distillers.recipe",
    "info": "format.costs",
    "recipe": "recipes",
}
"""Names with their modules. They stand in `__all__`, too, which type checkers read, and above for the documentation."""

__all__ = [
    "Artifact",
    "ArtifactError",
    "Context",
    "HelloError",
    "InputError",
    "MachineError",
    "Recipe",
    "distill",
    "info",
    "load",
    "pull",
    "push",
    "recipe",
    "record",
    "reproduce",
    "train",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(f"{__name__}.{_HOMES[name]}")
    return getattr(module, "find" if name == "recipe" else name)


def __dir__() -> list[str]:
    return __all__
