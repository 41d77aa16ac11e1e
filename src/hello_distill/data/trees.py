"""Folders and files of a source, seen in one way whether they lie in a folder or in an archive.

What people's programs leave between images (`is_litter`) is left aside and counted.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from hello_distill.data import archives
from hello_distill.data.decoding import Unreadable, contents
from hello_distill.system import context
from hello_distill.system.errors import InputError, one_line

LITTER = ("thumbs.db", "ehthumbs.db", "desktop.ini", "__macosx")
"""Names that systems leave in folders and archives; hidden ones (`.DS_Store`, `.ipynb_checkpoints`) are as well."""
TEXTS = (
    ".txt", ".md", ".rst", ".csv", ".tsv", ".json", ".jsonl", ".xml", ".html", ".htm", ".yaml", ".yml", ".ini", ".log",
    ".py", ".sh", ".ipynb", ".pdf",
)  # fmt: skip
LARGEST_LIST = 2**29
"""Bytes of a file that lists images, or holds their pixels as text."""
ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar")


def is_litter(name: str, is_folder: bool) -> bool:
    """Whether a name says that this is no image and no class: hidden, a system's, a text, or an archive."""
    if name.startswith(".") or name.lower() in LITTER:
        return True
    return not is_folder and PurePosixPath(name.lower()).suffix in (*TEXTS, *ARCHIVES)


class Inside(NamedTuple):
    """What a folder holds, by name, sorted."""

    folders: list[str]
    files: list[str]
    """Everything else: files, and what is taken for bad ones."""
    litter: list[str]


class Tree(ABC):
    """Folders and files by their paths in a source: `` is the source itself, `train/cat` a folder in it."""

    source: str
    root: Path
    """Resolved: in it, or in the archive that it is, lies all that may be opened."""

    @abstractmethod
    def entries(self, at: str) -> Iterable[tuple[str, bool]]:
        """Names in a folder, and which of them are folders. Raises InputError where it cannot be listed."""

    @abstractmethod
    def path(self, at: str) -> str:
        """What a table names a file by."""

    @abstractmethod
    def is_file(self, at: str) -> bool:
        """Whether there is such a file."""

    def inside(self, at: str) -> Inside:
        """What a folder holds."""
        parts = Inside([], [], [])
        for name, is_folder in sorted(self.entries(at)):
            part = parts.litter if is_litter(name, is_folder) else parts.folders if is_folder else parts.files
            part.append(name)
        return parts

    def folders(self, at: str) -> list[str]:
        """Names of the folders in a folder, sorted, without litter."""
        return self.inside(at).folders

    def files(self, at: str) -> list[str]:
        """Names of everything else in a folder, sorted, without litter: files, and what is taken for bad ones."""
        return self.inside(at).files

    def has(self, at: str) -> bool:
        """Whether there is such a folder."""
        above, _, name = at.rpartition("/")
        return not at or (self.has(above) and (name, True) in self.entries(above))

    def check_inside(self, at: str) -> None:
        """Raise InputError where a folder is a link that leads out of the source, unless these are followed."""
        return None

    def shown(self, at: str) -> str:
        """A folder or file as people find it."""
        return str(Path(self.source, at))

    def content(self, at: str) -> bytes:
        """The bytes of a list, of at most `LARGEST_LIST`. Raises InputError where it cannot be read."""
        try:
            return contents(self.path(at), roots(self.root), LARGEST_LIST)
        except Unreadable as error:
            raise InputError(f"{self.shown(at)} cannot be read: {error}; mend or remove it") from None


class Folder(Tree):
    """A folder."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.root = Path(source).resolve()

    def entries(self, at: str) -> Iterable[tuple[str, bool]]:
        try:
            return [(entry.name, _is_folder(entry)) for entry in os.scandir(Path(self.source, at))]
        except OSError as error:
            raise InputError(f"{self.shown(at)} cannot be listed: {error.strerror}; mend its permissions") from None

    def is_file(self, at: str) -> bool:
        try:
            return Path(self.source, at).is_file()
        except (OSError, ValueError):  # too long for a name, or with a zero byte
            return False

    def check_inside(self, at: str) -> None:
        folder = Path(self.source, at)
        if not context.current().follow_links and not folder.resolve().is_relative_to(self.root):
            raise InputError(
                f"{folder} is a link that leads out of {self.source}; put the folder itself there, or a copy, or let "
                "links be followed with --follow-links"
            )

    def path(self, at: str) -> str:
        return str(Path(self.source, at))


class Archive(Tree):
    """A zip or tar file, which is read where it lies; a compressed tar is unpacked once into the cache."""

    def __init__(self, source: str) -> None:
        """Raises InputError where the file is no archive that can be read."""
        self.source = source
        try:
            self.root = archives.readable(Path(source).resolve())
            members = archives.members(self.root)
        except archives.BROKEN as error:
            raise InputError(
                f"{source} is no archive that can be read ({one_line(error)}); get or pack it again, or unpack it and "
                "give the folder"
            ) from None
        self._inside: dict[str, dict[str, bool]] = {"": {}}
        for member in members:
            above, _, name = member.rpartition("/")
            self._add(above)[name] = False

    def _add(self, at: str) -> dict[str, bool]:
        """What is in a folder, which is put into those above it."""
        if at not in self._inside:
            self._inside[at] = {}
            above, _, name = at.rpartition("/")
            self._add(above)[name] = True
        return self._inside[at]

    def entries(self, at: str) -> Iterable[tuple[str, bool]]:
        return list(self._inside.get(at, {}).items())

    def is_file(self, at: str) -> bool:
        above, _, name = at.rpartition("/")
        return self._inside.get(above, {}).get(name) is False

    def path(self, at: str) -> str:
        return str(self.root / at)


def opened(source: str) -> Tree:
    """The tree of a folder or an archive."""
    return Folder(source) if Path(source).is_dir() else Archive(source)


def roots(*own: Path) -> tuple[Path, ...]:
    """The places (resolved) in which a path may lie: a source's own, and anywhere where links are followed."""
    return (*own, Path("/")) if context.current().follow_links else own


def join(at: str, name: str) -> str:
    """A path in a tree."""
    return f"{at}/{name}" if at and name else at or name


def _is_folder(entry: os.DirEntry[str]) -> bool:
    with suppress(OSError):  # a link in a circle
        return entry.is_dir()
    return False
