"""Fields of nested dataclasses as a config file names them: which there are, what each expects. Without torch."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Iterator, Mapping
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import jsonargparse
from jsonargparse.typing import NonNegativeInt, PositiveInt, restricted_number_type

from hello_distill.system.errors import nearest

Port = restricted_number_type("Port", int, [(">=", 0), ("<=", 65535)])
"""A port of TCP; 0 is any that is free."""
WORDS: dict[Any, str] = {
    int: "a whole number",
    float: "a number",
    str: "text",
    bool: "true or false",
    PositiveInt: "a whole number, 1 or more",
    NonNegativeInt: "a whole number, 0 or more",
    Port: "a port, 0 to 65535",
    type(None): "nothing (null)",
}
Kinds = Mapping[str, Any]
"""Names of fields with their types."""


def expected(kind: Any) -> str:
    """What a value of a type looks like, in words."""
    origin, inner = get_origin(kind), get_args(kind)
    if kind in WORDS:
        return WORDS[kind]
    if origin is Literal:
        return "one of " + ", ".join(map(str, inner))
    if origin in (Union, types.UnionType):
        return " or ".join(map(expected, inner))
    if origin in (tuple, list):
        length = "" if origin is list or Ellipsis in inner else f" of {len(inner)}"
        return f"a list{length}, each {expected(inner[0])}"
    if dataclasses.is_dataclass(kind):
        return "fields such as " + dataclasses.fields(kind)[0].name
    return str(kind)


def mistake(changes: Mapping[Any, Any], kinds: Kinds, meant: Mapping[str, str] | None = None) -> str | None:
    """The first field of nested changes that there is not or that has the wrong type, in a clause; None if none is.

    `meant` has a hint for wrong fields whose meaning is known.
    """
    return next(_mistakes(changes, dict(_fields(kinds)), "", meant or {}), None)


def _mistakes(changes: Mapping[Any, Any], fields: Kinds, level: str, meant: Mapping[str, str]) -> Iterator[str]:
    for key, value in changes.items():
        field = f"{level}{key}"
        if field not in fields or "." in str(key):
            same = [known for known in fields if f".{known}".endswith(f".{key}")]
            others = [known for known in fields if known.rpartition(".")[0] == level[:-1]]
            hint = meant.get(field) or (
                f"did you mean {' or '.join(map(repr, same))}?" if same else nearest(field, others)
            )
            yield f"unknown key {field!r}: {hint}"
        elif isinstance(value, dict) and any(known.startswith(f"{field}.") for known in fields):
            yield from _mistakes(value, fields, f"{field}.", meant)
        elif not _fits(value, fields[field]):
            yield f"{field} must be {expected(fields[field])}, not {value!r}"


def _fields(kinds: Kinds, level: str = "") -> Iterator[tuple[str, Any]]:
    """All fields with their types, those of a dataclass (also of one in a union) with its field's name before them."""
    for name, kind in kinds.items():
        yield f"{level}{name}", kind
        for inner in filter(dataclasses.is_dataclass, (kind, *get_args(kind))):
            hints = get_type_hints(inner)
            yield from _fields({each.name: hints[each.name] for each in dataclasses.fields(inner)}, f"{level}{name}.")


def _fits(value: Any, kind: Any) -> bool:
    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    parser.add_argument("--value", type=kind)
    try:
        parser.parse_object({"value": value})
    except jsonargparse.ArgumentError:
        return False
    return True
