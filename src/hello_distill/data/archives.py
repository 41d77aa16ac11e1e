"""Members of zip and tar files, read where they lie. A member's path is the archive's with the member's behind it.

Nothing is unpacked beside the archive, and no member is opened by a name of the file system.
"""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import lzma
import os
import posixpath
import shutil
import tarfile
import zipfile
import zlib
from functools import lru_cache, partial
from pathlib import Path
from typing import IO

from hello_distill.system import publishing
from hello_distill.system.cache import once
from hello_distill.system.machine import cache_folder

PLAIN = (".zip", ".tar")
"""Archives whose members are read where they lie."""
PACKED = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
"""Archives that have no order to jump in."""
BROKEN = (OSError, EOFError, tarfile.TarError, zipfile.BadZipFile, zlib.error, RuntimeError, NotImplementedError)
"""What the libraries raise for what is none, is cut short, or is locked."""


def is_archive(file: Path) -> bool:
    """Whether a file is one by its name."""
    return file.name.lower().endswith((*PLAIN, *PACKED)) and file.is_file()


def readable(file: Path) -> Path:
    """The archive itself, or of a compressed tar what it holds as a tar in the cache. Raises one of BROKEN."""
    if file.suffix.lower() in PLAIN:
        return file
    status = file.stat()
    key = hashlib.sha256(f"{file} {status.st_size} {status.st_mtime_ns}".encode(errors="surrogateescape")).hexdigest()
    folder = cache_folder() / "unpacked" / key[:16]
    if not folder.exists():
        publishing.check_writable(folder.parent)
        once(folder, partial(_unpack, file, folder))
    return folder / f"{file.name.lower().partition('.t')[0]}.tar"


def _unpack(file: Path, folder: Path) -> None:
    with publishing.published(folder, file.stat().st_size) as partial_folder:
        target = partial_folder / f"{file.name.lower().partition('.t')[0]}.tar"
        with _decompressed(file) as content, target.open("wb") as tar:
            shutil.copyfileobj(content, tar, 2**20)
        tarfile.open(target).close()  # raises for what is no tar, before the folder has its name


def _decompressed(file: Path) -> io.BufferedIOBase:
    ending = file.suffix.lower()
    if ending == ".bz2":
        return bz2.open(file)
    return lzma.open(file) if ending == ".xz" else gzip.open(file)


def members(archive: Path) -> list[str]:
    """Paths of the files in an archive, in its order. Raises one of BROKEN."""
    status = archive.stat()
    return list(_zip(archive, os.getpid(), status.st_mtime_ns)[1] if _is_zip(archive) else _tar(archive, status))


def holding(path: Path) -> Path | None:
    """The archive that a path leads into; None for an ordinary path."""
    if not any(f"{suffix}{os.sep}" in str(path).lower() for suffix in PLAIN):  # most paths, at little cost
        return None
    return next((above for above in path.parents if above.suffix.lower() in PLAIN and above.is_file()), None)


def size(archive: Path, member: str) -> int:
    """Bytes of a member, as the archive states them. Raises KeyError where there is none, or one of BROKEN."""
    status = archive.stat()
    if _is_zip(archive):
        return _zip(archive, os.getpid(), status.st_mtime_ns)[1][member].file_size
    return _tar(archive, status)[member][1]


def read(archive: Path, member: str) -> bytes:
    """A member's bytes, never more than the archive states. Raises KeyError where there is none, or one of BROKEN."""
    status = archive.stat()
    if _is_zip(archive):
        opened, infos = _zip(archive, os.getpid(), status.st_mtime_ns)
        return opened.read(infos[member])
    offset, length = _tar(archive, status)[member]
    with archive.open("rb") as file:
        file.seek(offset)
        return file.read(length)


def _is_zip(archive: Path) -> bool:
    return archive.suffix.lower() == ".zip"


@lru_cache(maxsize=8)
def _zip(archive: Path, process: int, changed: int) -> tuple[zipfile.ZipFile, dict[str, zipfile.ZipInfo]]:
    """An opened zip and its files. Each process opens it for itself: a shared one would share its place in the file."""
    opened = zipfile.ZipFile(archive)
    return opened, {_tidy(info.filename): info for info in opened.infolist() if not info.is_dir()}


def _tar(archive: Path, status: os.stat_result) -> dict[str, tuple[int, int]]:
    return _tar_index(archive, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=4096)
def _tar_index(archive: Path, length: int, changed: int) -> dict[str, tuple[int, int]]:
    """Where each file of a tar begins, and its bytes; of two of one name the last, as tar would leave it."""
    with archive.open("rb") as file:
        return _entries(file)


def _entries(file: IO[bytes]) -> dict[str, tuple[int, int]]:
    with tarfile.open(fileobj=file, mode="r:") as tar:
        return {_tidy(info.name): (info.offset_data, info.size) for info in tar if info.isfile()}


def _tidy(name: str) -> str:
    """A member's path without `./`, a leading `/` and what leads upwards, with `/` between its parts."""
    return posixpath.normpath("/" + name.replace("\\", "/")).lstrip("/")
