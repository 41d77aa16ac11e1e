"""Ways of keeping labels, one module each; the module's name is the kind written on disk."""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path
from typing import Any

from hello_distill.data.images import ImageSet
from hello_distill.types import LabelSource


def kinds() -> list[str]:
    """Every kind there is: the modules of this folder that load a label source."""
    modules = sorted(module.name for module in pkgutil.iter_modules(__path__))
    return [name for name in modules if hasattr(importlib.import_module(f"{__name__}.{name}"), "load")]


def load(folder: Path, description: dict[str, Any], data: ImageSet) -> LabelSource:
    """The label source that a checked manifest describes."""
    kind = description["kind"]
    source: LabelSource = importlib.import_module(f"{__name__}.{kind}").load(folder, description, data)
    return source
