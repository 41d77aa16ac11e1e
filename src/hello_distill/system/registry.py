"""Classes by name: those in a folder of this package, those of other packages, those registered while running.

Other packages offer theirs by an entry point, whose group is the dotted name of the folder. Nothing of them is imported
before its name is asked for.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import pkgutil
import re
from collections.abc import Callable
from functools import cached_property
from typing import Any, Generic, TypeVar

from hello_distill.system.errors import InputError, MachineError, nearest

Port = TypeVar("Port")
"""The base class of everything in a registry."""
Class = TypeVar("Class", bound=type)


class Registry(Generic[Port]):
    """Subclasses of `base` by name. Each carries its name as the class attribute `name`."""

    def __init__(self, base: type[Port], package: str, what: str) -> None:
        """`package` is the dotted name of the folder whose modules register theirs; `what` is the word in errors."""
        self.base = base
        self.package = package
        self.what = what
        self._classes: dict[str, type[Port]] = {}

    def register(self, name: str) -> Callable[[Class], Class]:
        """A decorator that makes a subclass of the base known by a name.

        Raises InputError for a name that is taken or is not lower-case letters, digits and underscores, and for what is
        no subclass.
        """

        def add(registered: Class) -> Class:
            self._add(name, registered)
            return registered

        return add

    def _add(self, name: str, registered: Any) -> None:
        if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
            raise InputError(f"{name!r} names no {self.what}: use lower-case letters, digits and underscores")
        if not (isinstance(registered, type) and issubclass(registered, self.base)):
            raise InputError(f"the {self.what} {name!r} must be a class derived from {self.base.__name__}")
        known = self._classes.setdefault(name, registered)
        if (known.__module__, known.__qualname__) != (registered.__module__, registered.__qualname__):
            raise InputError(f"there is a {self.what} {name!r} already, in {known.__module__}; choose another name")
        self._classes[name] = registered
        registered.name = name  # type: ignore[attr-defined]

    @cached_property
    def ours(self) -> frozenset[str]:
        """The names of this package's own, all of whose modules are imported for it."""
        folder = importlib.import_module(self.package).__path__
        for module in pkgutil.iter_modules(folder):
            if not module.ispkg:
                importlib.import_module(f"{self.package}.{module.name}")
        prefix = f"{self.package}."
        return frozenset(name for name, known in self._classes.items() if known.__module__.startswith(prefix))

    @cached_property
    def _offered(self) -> importlib.metadata.EntryPoints:
        """What installed packages offer."""
        return importlib.metadata.entry_points(group=self.package)

    def names(self) -> list[str]:
        """Every name there is."""
        return sorted({*self.ours, *self._classes, *self._offered.names})

    def find(self, name: str) -> type[Port]:
        """The class of that name.

        Raises InputError, with the nearest name, if there is none, and MachineError where a package that offers it
        cannot be imported or two offer it.
        """
        if name not in self.names():
            raise InputError(f"unknown {self.what} {name!r}: {nearest(name, self.names())}")
        offered = list(self._offered.select(name=name))
        owners = [*([self.package] if name in self.ours else []), *sorted(map(_owner, offered))]
        if len(owners) > 1:
            raise MachineError(f"the {self.what} {name!r} is offered by {' and '.join(owners)}; uninstall all but one")
        if offered and name not in self._classes:
            self._load(offered[0])
        return self._classes[name]

    def _load(self, entry: importlib.metadata.EntryPoint) -> None:
        """Import what a package offers. Anything may go wrong in there."""
        try:
            self._add(entry.name, entry.load())
        except Exception as error:
            raise MachineError(
                f"the {self.what} {entry.name!r} of the package {_owner(entry)} cannot be used "
                f"({type(error).__name__}: {error}); update that package or uninstall it"
            ) from None


def _owner(entry: importlib.metadata.EntryPoint) -> str:
    """The package that an entry point belongs to."""
    return entry.dist.name if entry.dist is not None else entry.value
