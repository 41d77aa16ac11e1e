"""Kinds of result files, a module for each model of `format.results`, by its name.

A module has `title(result)`; `tables(result)`, which the terminal and the page show; and `section(file, result)`, the
part of the page with these tables and all besides.
"""

from __future__ import annotations

import importlib
from types import ModuleType

from hello_distill.format.results.entries import Result


def of(result: Result) -> ModuleType:
    """The module that shows results of a kind."""
    return importlib.import_module(f"{__name__}.{type(result).__name__.lower()}")
