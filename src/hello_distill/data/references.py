"""What a text that names a source refers to, before anything of it is opened. Does not import torch."""

from __future__ import annotations

import re
from pathlib import Path

from hello_distill.system.errors import InputError, nearest, printable
from hello_distill.system.hub import MARK, Repository

HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
CHOSEN = ":classes="
"""What stands between a source and the list of the classes that are taken of it."""
DOWNLOADED = "fashion-mnist"
"""The source that is known by a name of its own."""


def check_there(source: str) -> None:
    """Raise InputError for a source that is nothing here and cannot be on the Hub, which is not asked."""
    whole = parted(source)[0]
    if not whole:
        raise InputError("DATA is empty; give a folder, a file or a Hub id (owner/name)")
    folder, _, config = whole.partition(":")
    try:
        here = Path(whole).is_dir() or Path(whole).is_file() or (config and Path(folder).is_dir())
    except OSError as error:  # a name that no folder can have
        raise InputError(f"no data at {printable(whole)[:60]}...: {error.strerror}; give a shorter path") from None
    if not here and whole != DOWNLOADED and on_hub(whole) is None:
        raise absent(whole)


def absent(source: str) -> InputError:
    """The error for a source that is nothing."""
    return InputError(
        f"no data at {source}: it is no folder, no file, no Hub id (owner/name), and no known name "
        f"({nearest(source, [DOWNLOADED])})"
    )


def on_hub(source: str) -> Repository | None:
    """The data set on the Hub that a source names, which is nothing here: `owner/name`, `hf://owner/name@revision`.

    Either may have `:CONFIGURATION` behind it. Raises InputError for what is no id behind `hf://`.
    """
    name = source.removeprefix(MARK).partition(":")[0]
    if source.startswith(MARK):
        return Repository.of(MARK + name)
    return Repository(name) if HUB_ID.fullmatch(name) and not source.startswith(".") else None


def parted(source: str) -> tuple[str, str | None]:
    """A source without the list of its classes, and that list's file or name."""
    whole, mark, chosen = source.rpartition(CHOSEN)
    return (whole, chosen) if mark else (source, None)
