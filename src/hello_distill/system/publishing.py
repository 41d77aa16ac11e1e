"""Files and folders that appear whole or not at all, on disk before their name is. Does not import torch."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hello_distill.system.claims import check_absent, claimed
from hello_distill.system.errors import MachineError
from hello_distill.system.owners import beside, sweep
from hello_distill.system.room import FULL, full, room


@contextmanager
def published(out: str | Path, needed: int) -> Iterator[Path]:
    """A folder to write into, which gets its name when all went well, and else disappears.

    Files come to disk before the name does, readable for whom the umask lets. Raises MachineError where `needed` bytes
    are not free, or turn out not to be; and what `claimed` raises.
    """
    with claimed(out) as claim, room(claim.target, needed):
        try:
            claim.partial.mkdir()
            yield claim.partial
            _settle(claim.partial)
            check_absent(claim.target)
            claim.partial.rename(claim.target)
            _sync(claim.target.parent)
        except BaseException:
            shutil.rmtree(claim.partial, ignore_errors=True)
            raise


def write(file: Path, content: bytes) -> None:
    """Write a file, or leave the old one as it is. Raises MachineError where there is no room for it."""
    with room(file, len(content)):
        sweep(file)
        partial = beside(file)
        try:
            with partial.open("xb") as handle:
                handle.write(content)
                handle.flush()
                os.fsync(handle.fileno())
            partial.replace(file)
            _sync(file.parent)
        finally:
            partial.unlink(missing_ok=True)


def permit(path: Path) -> None:
    """Give a file or folder the mode that the umask leaves; safetensors leaves files to the owner alone."""
    umask = os.umask(0)
    os.umask(umask)
    path.chmod((0o777 if path.is_dir() else 0o666) & ~umask)


def check_writable(folder: Path) -> None:
    """Make a folder, and raise MachineError where nothing can be written in it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = beside(folder / "probe")
        probe.mkdir()
        probe.rmdir()
    except OSError as error:
        if error.errno in FULL:
            raise full(folder, 1) from None
        raise MachineError(f"{folder} cannot be written: {error.strerror}; choose another folder") from None


def _settle(folder: Path) -> None:
    """Bring a folder to disk."""
    for path in (folder, *folder.rglob("*")):
        permit(path)
        _sync(path)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
