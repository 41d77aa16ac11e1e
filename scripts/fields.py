"""Tables of the fields of `hello.json`, made from the models that check it, for docs/file-format.md.

A type is written from the annotation with its limits, a meaning is the docstring below the field. `scripts/readme.py`
puts the tables into the page.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import textwrap
from collections.abc import Iterator
from itertools import chain, repeat
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from hello_distill.format import fields, manifest, specs
from hello_distill.format.kinds import KINDS, LabelPart

TEXTS = {
    fields.Text: "text",
    fields.Line: "line",
    fields.Name: "name",
    fields.Prompt: "prompt",
    fields.Sha256: "SHA-256",
    manifest.SplitName: "line without `/` and `\\`, up to 200 letters",
}
"""Kinds of text; the page says what each may hold."""


def tables() -> str:
    """Every object of the manifest with its fields, as they are met; labels in a table of their own."""
    places: dict[type, dict[str, list[str]]] = {}
    for model, place, kind in _objects():
        kinds = places.setdefault(model, {}).setdefault(place, [])
        if kind not in kinds:
            kinds.append(kind)
    parts: dict[bool, list[str]] = {False: [], True: []}
    for model, where in places.items():
        parts[any(map(any, where.values()))] += _rows(model, where)
    head = ["| object | field | type | meaning |", "|---|---|---|---|"]
    return "\n\n".join("\n".join([*head, *rows]) for rows in parts.values()) + "\n"


def _objects() -> Iterator[tuple[type, str, str]]:
    """Every object, the place it stands at, and the kind of labels it belongs to, if to one."""
    yield from ((model, place, "") for model, place in _below(manifest.Manifest, ""))
    for kind in sorted(KINDS.ours):
        for part in reversed([base for base in KINDS.find(kind).part.__mro__ if issubclass(base, LabelPart)]):
            yield from ((model, place, kind) for model, place in _below(part, "labels") if _own(model))


def _below(model: type, place: str) -> Iterator[tuple[type, str]]:
    """An object and those inside of it, each with its place: names of fields with dots between."""
    yield model, place
    for name, hint in _own(model).items():
        for inner, tail in _inner(hint):
            yield from _below(inner, f"{place}.{name}{tail}".lstrip("."))


def _inner(hint: Any, tail: str = "") -> Iterator[tuple[type, str]]:
    """Objects inside of a type, each with what is put behind the field's name: `[]` in a list, `.*` in an object."""
    if _is_object(hint):
        yield hint, tail
    for inner in get_args(hint)[: 1 if get_origin(hint) is Annotated else None]:
        yield from _inner(inner, tail + {list: "[]", tuple: "[]", dict: ".*"}.get(get_origin(hint), ""))


def _is_object(hint: Any) -> bool:
    return isinstance(hint, type) and (issubclass(hint, BaseModel) or dataclasses.is_dataclass(hint))


def _own(model: type) -> dict[str, Any]:
    """Fields of a model with their types; of a part about labels those that are not as in the part it derives from."""
    hints = get_type_hints(model, include_extras=True)
    names = list(model.model_fields) if issubclass(model, BaseModel) else [f.name for f in dataclasses.fields(model)]
    base = model.__mro__[1]
    known = get_type_hints(base, include_extras=True) if issubclass(base, LabelPart) else {}
    return {name: hints[name] for name in names if known.get(name) != hints[name]}


def _rows(model: type, places: dict[str, list[str]]) -> list[str]:
    """The fields of an object: where it stands, beside the first of them, then name, type, meaning."""
    kinds = {place: f" ({', '.join(names)})" if any(names) else "" for place, names in places.items()}
    title = ", ".join(f"`{place or 'hello.json'}`{kinds[place]}" for place in places)
    said = _docstrings(model)
    return [
        f"| {beside} | `{name}` | {_words(hint)}{_absent(model, name)} | {said.get(name, '')} |"
        for beside, (name, hint) in zip(chain([title], repeat("")), _own(model).items(), strict=False)
    ]


def _absent(model: type, name: str) -> str:
    """A note where a field may be left out. Settings, which are dataclasses, are written whole."""
    return "; may be absent" if issubclass(model, BaseModel) and not model.model_fields[name].is_required() else ""


def _words(hint: Any) -> str:
    """A type with its limits, for people."""
    if hint in TEXTS:
        return TEXTS[hint]
    outer, inner = get_origin(hint), get_args(hint)
    if outer is Annotated:
        return _limited(inner[0], inner[1:])
    if outer is Literal:
        return ", ".join(f"`{value}`" for value in inner)
    if outer in (Union, UnionType):
        return " or ".join("null" if each is NoneType else _words(each) for each in inner)
    if outer is dict:
        return f"object from {_words(inner[0])} to {_words(inner[1])}"
    if outer is tuple and Ellipsis not in inner:
        return f"list of {len(inner)}: {_words(inner[0])}"
    if outer in (list, tuple):
        return f"list of: {_words(inner[0])}"
    return {int: "integer", float: "number", str: "text", bool: "true or false"}.get(hint, "object")


def _limited(hint: Any, metadata: tuple[Any, ...]) -> str:
    """A type with the limits that its annotation sets."""
    limits = {
        name: getattr(limit, name)
        for each in metadata
        for limit in (each.metadata if isinstance(each, FieldInfo) else [each])
        for name in ("ge", "gt", "le", "min_length", "max_length")
        if getattr(limit, name, None) is not None
    }
    order = ", the smaller first" if any(getattr(each, "func", None) is specs.ascending for each in metadata) else ""
    if "le" in limits:
        least = f"above {_figure(limits['gt'])}" if "gt" in limits else _figure(limits["ge"])
        return f"{_words(hint)}, {least} to {_figure(limits['le'])}"
    if "max_length" not in limits:
        return _words(hint) + order
    low, high = limits.get("min_length", 0), limits["max_length"]
    count = f"{high:,}" if low == high else f"{low} to {high:,}"
    return f"text, {count} letters" if hint is str else _words(hint).replace("list of", f"list of {count}", 1)


def _figure(number: float) -> str:
    """A limit: large powers of two as such, others with commas."""
    whole = int(number)
    if number != whole:
        return str(number)
    return f"2^{whole.bit_length() - 1}" if whole > 2**12 and whole.bit_count() == 1 else f"{whole:,}"


def _docstrings(model: type) -> dict[str, str]:
    """What stands below each field of a class, and of the classes that it derives from, on one line."""
    said: dict[str, str] = {}
    for each in reversed([base for base in model.__mro__ if base.__module__.startswith("hello_distill")]):
        tree = ast.parse(textwrap.dedent(inspect.getsource(each))).body[0]
        assert isinstance(tree, ast.ClassDef)
        for field, text in zip(tree.body, tree.body[1:], strict=False):
            if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(text, ast.Expr):
                said[field.target.id] = " ".join(str(ast.literal_eval(text.value)).split())
    return said
