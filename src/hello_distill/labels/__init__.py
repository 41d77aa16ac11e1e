"""Kinds of labels, one module each; the module's name is the kind written on disk.

Another package adds its own by an entry point of the group `hello_distill.labels`. The modules here start without
torch; what works with tensors lies in `sources`.
"""

from __future__ import annotations

from typing import Any, get_args, get_type_hints

from hello_distill.format.kinds import KINDS, LabelKind, LabelPart, option

kinds = KINDS.names
kind = KINDS.find
register = KINDS.register
"""Makes a kind known by its name, as a decorator: `@register("mine")`."""


def label_options() -> list[tuple[str, Any, str]]:
    """Options of `hello-distill labels`: name, type of a value that is given, help that begins with the kinds."""
    types: dict[str, Any] = {}
    helps: dict[str, dict[str, list[str]]] = {}
    for each in map(kind, kinds()):
        hints = get_type_hints(each)
        for option_name, text in each.options().items():
            given = [inner for inner in get_args(hints[option_name]) if inner is not type(None)]
            types.setdefault(option_name, given[0] if given else hints[option_name])
            helps.setdefault(option_name, {}).setdefault(text, []).append(each.name)
    return [
        (name, types[name], "; ".join(f"{', '.join(having)}: {text}" for text, having in texts.items()))
        for name, texts in helps.items()
    ]


__all__ = ["LabelKind", "LabelPart", "kind", "kinds", "label_options", "option", "register"]
