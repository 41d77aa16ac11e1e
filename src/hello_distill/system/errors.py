"""Errors meant for people: one sentence that says what is wrong, where, and what to do.

Each class carries the exit code with which the command ends. Anything else that escapes is a defect.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

LISTED = 16
"""Known names that an error lists: all recipes, and a few of long lists."""


class HelloError(Exception):
    """Base of every error that this package raises on purpose."""

    exit_code = 2

    def __str__(self) -> str:
        """The sentence, without control characters: it may quote a stranger's file, and ends on a terminal."""
        return "".join(letter if letter.isprintable() else "?" for letter in super().__str__())


class InputError(HelloError):
    """The command, the recipe or the data is wrong, and the user can put it right."""


class DivergedError(InputError):
    """A training came to a non-finite loss."""


class MachineError(HelloError):
    """The environment is at fault: no network, no memory, no disk, a missing package."""

    exit_code = 3


class ArtifactError(HelloError):
    """A saved artefact is not what it says it is."""

    exit_code = 4


def memory_full(error: BaseException) -> bool:
    """Whether an error says that memory is full; torch's are RuntimeErrors, and differ by device."""
    said = str(error)
    return isinstance(error, MemoryError) or "out of memory" in said or "can't allocate memory" in said


def nearest(name: str, known: Iterable[str]) -> str:
    """A clause that suggests the known name nearest to a wrong one, or lists a few."""
    known = sorted(known)
    if close := closest(name, known):
        return f"did you mean {close!r}?"
    return "known names: " + ", ".join(known[:LISTED]) + (", ..." if len(known) > LISTED else "")


def closest(name: str, known: Iterable[str]) -> str | None:
    """The known name nearest to a wrong one, if one is near."""
    return next(iter(difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.5)), None)


def printable(name: str) -> str:
    """A name on one line: what would not show (line ends, bytes that are no UTF-8) as escapes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in name)


def one_line(error: object) -> str:
    """What a library says, on one line."""
    return " ".join(str(error).split())


def listed(items: Sequence[str], limit: int = 5) -> str:
    """The first few, and how many more there are."""
    shown = ", ".join(printable(item) for item in items[:limit])
    return shown + (f" and {len(items) - limit} more" if len(items) > limit else "")
