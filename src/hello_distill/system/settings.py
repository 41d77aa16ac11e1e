"""Fields of nested dataclasses as a config file names them: which there are, what each expects. Without torch."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Iterator, Mapping
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import jsonargparse
from jsonargparse.typing import NonNegativeInt, PositiveInt

from hello_distill.system.errors import nearest

WORDS: dict[Any, str] = {
    int: "a whole number",
    float: "a number",
    str: "text",
    bool: "true or false",
    PositiveInt: "a whole number, 1 or more",
    NonNegativeInt: "a whole number, 0 or more",
    type(None): "nothing (null)",
}
Kinds = Mapping[str, Any]
"""Names of fields with their types."""


def expected(kind: Any) -> str:
    """What a value of a type looks like, in words."""
    inner = get_args(kind)
    if kind in WORDS:
        return WORDS[kind]
    if get_origin(kind) is Literal:
        return "one of " + ", ".join(map(str, inner))
    if get_origin(kind) in (Union, types.UnionType):
        return " or ".join(map(expected, inner))
    if get_origin(kind) in (tuple, list):
        length = "" if get_origin(kind) is list or Ellipsis in inner else f" of {len(inner)}"
        return f"a list{length}, each {expected(inner[0])}"
    if dataclasses.is_dataclass(kind):
        return "fields such as " + dataclasses.fields(kind)[0].name
    return str(kind)


def mistake(changes: Mapping[Any, Any], kinds: Kinds) -> str | None:
    """The first field of nested changes that there is not or that has the wrong type, in a clause; None if none is."""
    return next(_mistakes(changes, kinds, kinds, ""), None)


def _mistakes(changes: Mapping[Any, Any], kinds: Kinds, whole: Kinds, path: str) -> Iterator[str]:
    for key, value in changes.items():
        place = f"{path}{key}"
        if key not in kinds:
            yield f"unknown key {place!r}: {_nearest_field(str(key), kinds, whole, path)}"
        elif isinstance(value, dict) and (fields := _fields(kinds[key])):
            yield from _mistakes(value, fields, whole, f"{place}.")
        elif not _fits(value, kinds[key]):
            yield f"{place} must be {expected(kinds[key])}, not {value!r}"


def _nearest_field(key: str, kinds: Kinds, whole: Kinds, path: str) -> str:
    """A clause that suggests a field of this level, or the one of that name at another level."""
    elsewhere = [place for place in _paths(whole) if place.endswith(f".{key}") or place == key]
    if elsewhere:
        return f"did you mean {' or '.join(map(repr, elsewhere))}?"
    return nearest(f"{path}{key}", [f"{path}{name}" for name in kinds])


def _paths(kinds: Kinds, path: str = "") -> Iterator[str]:
    for name, kind in kinds.items():
        yield f"{path}{name}"
        yield from _paths(_fields(kind), f"{path}{name}.")


def _fields(kind: Any) -> Kinds:
    """Fields of a dataclass, or of the one in a union; none for other types."""
    found = next((one for one in (kind, *get_args(kind)) if dataclasses.is_dataclass(one)), None)
    if found is None:
        return {}
    hints = get_type_hints(found)
    return {field.name: hints[field.name] for field in dataclasses.fields(found)}


def _fits(value: Any, kind: Any) -> bool:
    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    parser.add_argument("--value", type=kind)
    try:
        parser.parse_object({"value": value})
    except jsonargparse.ArgumentError:
        return False
    return True
