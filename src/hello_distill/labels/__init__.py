"""Ways of keeping labels, one module each; the module's name is the kind written on disk."""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path
from typing import Any

from hello_distill.errors import ArtifactError
from hello_distill.types import LabelSource, Targets


def kinds() -> list[str]:
    """Every kind there is: the modules of this folder."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def load(folder: Path, description: dict[str, Any], classes: tuple[str, ...], targets: Targets) -> LabelSource:
    """The label source that an artefact describes. Raises ArtifactError for an unknown kind."""
    kind = description["kind"]
    if kind not in kinds():
        raise ArtifactError(f"{folder} keeps labels of the kind {kind!r}; this version knows {', '.join(kinds())}")
    source: LabelSource = importlib.import_module(f"{__name__}.{kind}").load(folder, description, classes, targets)
    return source
