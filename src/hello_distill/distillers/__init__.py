"""Methods, one module each; the module's name is the method's name."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from functools import cache
from typing import Any

from hello_distill.artifact import Distiller
from hello_distill.system.errors import InputError, nearest

_CALL = list(inspect.signature(Distiller.__call__).parameters)


@cache
def methods() -> dict[str, type[Any]]:
    """Every method there is: the class, in each module of this folder, that takes what `Distiller` says."""
    found = {}
    for module in sorted(entry.name for entry in pkgutil.iter_modules(__path__)):
        for value in vars(importlib.import_module(f"{__name__}.{module}")).values():
            here = inspect.isclass(value) and value.__module__ == f"{__name__}.{module}" and "__call__" in vars(value)
            if here and list(inspect.signature(value.__call__).parameters) == _CALL:
                found[module] = value
    return found


def method(name: str) -> type[Any]:
    """The method of that name. Raises InputError, with the nearest name, if there is none."""
    if name not in methods():
        raise InputError(f"unknown method {name!r}: {nearest(name, methods())}")
    return methods()[name]


def name_of(distiller: Distiller) -> str:
    """The name of a distiller's method."""
    return type(distiller).__module__.rpartition(".")[2]
