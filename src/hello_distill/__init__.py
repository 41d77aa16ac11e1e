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
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hello_distill.api import distill, record, reproduce, train, verify
    from hello_distill.artifact import Artifact, load
    from hello_distill.distillers.recipe import Recipe
    from hello_distill.format.costs import info
    from hello_distill.recipes import find as recipe
    from hello_distill.system.context import Context
    from hello_distill.system.errors import ArtifactError, HelloError, InputError, MachineError

_HOMES = {
    "Artifact": ("artifact", "Artifact"),
    "ArtifactError": ("system.errors", "ArtifactError"),
    "Context": ("system.context", "Context"),
    "HelloError": ("system.errors", "HelloError"),
    "InputError": ("system.errors", "InputError"),
    "MachineError": ("system.errors", "MachineError"),
    "Recipe": ("distillers.recipe", "Recipe"),
    "distill": ("api", "distill"),
    "info": ("format.costs", "info"),
    "load": ("artifact", "load"),
    "recipe": ("recipes", "find"),
    "record": ("api", "record"),
    "reproduce": ("api", "reproduce"),
    "train": ("api", "train"),
    "verify": ("api", "verify"),
}

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
    "recipe",
    "record",
    "reproduce",
    "train",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _HOMES[name]
    return getattr(importlib.import_module(f"{__name__}.{module}"), attribute)


def __dir__() -> list[str]:
    return __all__
