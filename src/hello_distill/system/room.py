"""Room on the disk: looked at before anything is written. Does not import torch."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hello_distill.system.errors import MachineError

FULL = (errno.ENOSPC, errno.EDQUOT)
"""What the system says where a disk or a quota is full."""


@contextmanager
def room(target: Path, needed: int) -> Iterator[None]:
    """Write `needed` bytes below here. Raises MachineError where they are not free, or turn out not to be."""
    check_room(target, needed)
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise full(target, needed) from None


def check_room(target: Path, needed: int, rough: bool = False) -> None:
    """Raise MachineError where fewer than `needed` bytes are free; `rough` says that they are a forecast."""
    if needed > free(target):
        raise full(target, needed, "about " if rough else "")


def free(target: Path) -> int:
    """Bytes that may be written where a path is or shall be."""
    return shutil.disk_usage(existing(target)).free


def existing(path: Path) -> Path:
    """The path, or the nearest folder above it that there is."""
    return next(each for each in (path.absolute(), *path.absolute().parents) if os.access(each, os.F_OK))


def full(target: Path, needed: int, about: str = "") -> MachineError:
    """The error for a disk without room for `needed` bytes."""
    return MachineError(
        f"{target} cannot be written: it needs {about}{needed:,} bytes, and {free(target):,} are free; "
        "make room and run the same command again"
    )
