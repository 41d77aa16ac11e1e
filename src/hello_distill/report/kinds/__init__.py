"""Kinds of result files, one module each.

A module has a function `section(file, content)`: what a file of its kind has to say, or None where the file is of
another kind. It raises pydantic's ValidationError, whose title names the kind, where the file is not whole.
"""

from __future__ import annotations

import importlib
import pkgutil
from typing import Any

from hello_distill.report.page import Section


def names() -> list[str]:
    """Every kind there is: the modules of this folder."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def section(file: str, content: Any) -> Section | None:
    """The section of a file's content, from the first kind that knows it; None where none does."""
    if not isinstance(content, dict):
        return None
    for name in names():
        found: Section | None = importlib.import_module(f"{__name__}.{name}").section(file, content)
        if found is not None:
            return found
    return None
