"""Images that were left out, and why: counted, reported, written to a file, and too many of them refused."""

from __future__ import annotations

import json
import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from hello_distill.system import publishing
from hello_distill.system.errors import InputError, listed


class Bad(NamedTuple):
    """An image that was left out."""

    name: str
    """Its path, or its row."""
    target: str
    """Its class."""
    reason: str
    """One of `decoding.REASONS`."""
    detail: str


@dataclass(frozen=True)
class Skipped:
    """What was left out of a split of `seen` images."""

    source: str
    split: str
    seen: int
    bad: tuple[Bad, ...]

    @property
    def kept(self) -> int:
        """Images that were read."""
        return self.seen - len(self.bad)

    def reasons(self) -> dict[str, int]:
        """Images left out by reason, the most frequent first. Names no file."""
        return dict(sorted(Counter(bad.reason for bad in self.bad).items(), key=lambda entry: (-entry[1], entry[0])))

    def summary(self) -> str:
        """How many were left out, and the first few; empty where none was."""
        return f"{len(self.bad)} of {self.seen} skipped: {self._first()}" if self.bad else ""

    def check(self, max_bad: float) -> None:
        """Raise InputError where more than the share `max_bad` is bad, or nothing is left."""
        if len(self.bad) <= max_bad * self.seen + 1e-9 and self.kept:
            return
        many = "no image can be read" if not self.kept else f"{len(self.bad)} of {self.seen} images cannot be read"
        let = f", or let a larger share pass with --max-bad (now {max_bad:g})" if self.kept and max_bad else ""
        out = ", or read what links lead to with --follow-links" if "outside of the source" in self.reasons() else ""
        raise InputError(f"{self.source}, split {self.split}: {many}: {self._first()}; mend or remove them{out}{let}")

    def _first(self) -> str:
        return listed([f"{bad.name} ({bad.reason})" for bad in self.bad], 3)

    def described(self) -> dict[str, Any]:
        """Everything, for a file: seen = kept + skipped."""
        return {
            "source": self.source,
            "split": self.split,
            "seen": self.seen,
            "kept": self.kept,
            "skipped": len(self.bad),
            "reasons": self.reasons(),
            "files": [
                {"file": bad.name, "class": bad.target, "reason": bad.reason, "detail": bad.detail} for bad in self.bad
            ],
        }

    def write(self, file: str | Path) -> None:
        """Write `described` as JSON, in place of an older file. Raises InputError where that cannot be done.

        Bytes of a file name that are no UTF-8 are escaped as Python keeps them: `os.fsencode` gives the name again.
        """
        content = json.dumps(self.described(), indent=2, ensure_ascii=False) + "\n"
        try:
            publishing.write(Path(file), content.encode(errors="backslashreplace"))
        except OSError as error:
            raise InputError(f"--skipped {file} cannot be written: {error.strerror}; choose another file") from None


def check_file(file: str | Path) -> None:
    """Raise InputError where the list could not be written at the end of the work."""
    path = Path(file)
    if path.is_dir() or not path.absolute().parent.is_dir() or not os.access(path.absolute().parent, os.W_OK):
        raise InputError(f"--skipped {file} cannot be written; choose a file in a folder that is there and writable")
