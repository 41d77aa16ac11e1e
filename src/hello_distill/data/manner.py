"""In which manner a source was read: what an artefact keeps of it, so that its test images are read alike.

Options are kept, and what the source itself calls the classes where they were given other names. What lets more in is
not: links that lead out of a source are followed, and bad images let pass, where the user says so each time. Nor are
paths, of which an artefact names none.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from hello_distill.data.images import Split
from hello_distill.data.references import on_hub, parted
from hello_distill.system import context
from hello_distill.system.errors import InputError

OPTIONS = ("image_column", "label_column", "train_split", "test_split", "revision")
"""Fields of `Context` that are kept."""
NAMES = ("train_split", "test_split")
"""Those of them that may be paths, which are not."""


def manner(split: Split) -> dict[str, Any]:
    """What is to be kept of how a training split was read, fit for a manifest; empty where nothing was asked for."""
    current = context.current()
    asked = {name: value for name in OPTIONS if (value := getattr(current, name)) is not None}
    kept = {name: value for name, value in asked.items() if name not in NAMES or not {"/", "\\"} & set(value)}
    return kept | ({"own_classes": list(split.own_classes)} if split.own_classes else {})


@contextmanager
def repeated(manifest: Mapping[str, Any], data: str) -> Iterator[None]:
    """A source is read as that of an artefact was, except for what the user asks for. A revision is that of one data
    set of the Hub, and no other is asked for it.

    Raises InputError as reading does, with the options that were taken from the artefact.
    """
    kept, current = manifest["source"].get("reading", {}), context.current()
    taken = {name: kept[name] for name in OPTIONS if name in kept and getattr(current, name) is None}
    hub = on_hub(parted(data)[0])
    if hub is None or hub.name != manifest["source"]["name"]:
        taken.pop("revision", None)
    names = current.class_names or dict(zip(kept.get("own_classes", ()), manifest["classes"], strict=False))
    try:
        with context.changed(**taken, class_names=names or None):
            yield
    except InputError as error:
        if not taken:
            raise
        options = " ".join(f"--{name.replace('_', '-')} {value}" for name, value in taken.items())
        raise InputError(
            f"{error} (read as the artefact was made, with {options}; other values override these)"
        ) from None
