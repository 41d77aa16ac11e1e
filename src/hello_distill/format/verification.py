"""Whether the files of an artefact are those that its manifest lists. Nothing is opened before that is known.

Links are not followed, and a file is not read before its size is right: a stranger's folder leads nowhere else.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from hello_distill.format import storage
from hello_distill.format.manifest import MANIFEST, SUMS
from hello_distill.system.errors import ArtifactError

IGNORED = (".git", ".gitattributes", ".cache")
"""What git and the Hub's client put beside a data set's files."""


def check_sizes(folder: str | Path) -> dict[str, Any]:
    """The manifest of an artefact whose files are all there, of the listed sizes, with none beside them.

    Raises InputError where there is no artefact, ArtifactError naming the first file that is not as listed.
    """
    root = Path(folder)
    manifest = storage.read_manifest(root)
    listed = {*manifest["files"], MANIFEST, SUMS}
    present = dict(islice(_files(root), len(listed) + 100))
    for name in sorted({*present, *listed}):
        if name not in listed:
            raise ArtifactError(f"{root / name} is no part of the artefact; remove it or get the artefact again")
        if name not in present:
            raise ArtifactError(f"{root / name} is missing; get the artefact again")
    for name, entry in sorted(manifest["files"].items()):
        if present[name] != entry["bytes"]:
            raise ArtifactError(
                f"{root / name} has {present[name]} bytes and should have {entry['bytes']}; get the artefact again"
            )
    return manifest


def check_files(folder: str | Path) -> dict[str, Any]:
    """The same, of files of the listed SHA-256, too."""
    root, manifest = Path(folder), check_sizes(folder)
    sums = {name: entry["sha256"] for name, entry in manifest["files"].items()}
    for name, digest in sorted(sums.items()):
        if storage.sha256(root / name) != digest:
            raise ArtifactError(f"{root / name} is not what it was when the artefact was made; get the artefact again")
    sums[MANIFEST] = storage.sha256(root / MANIFEST)
    expected = storage.sums(sums).encode()
    if (root / SUMS).stat().st_size != len(expected) or (root / SUMS).read_bytes() != expected:
        raise ArtifactError(f"{root / SUMS} does not fit the files; get the artefact again")
    return manifest


def _files(root: Path, below: str = "") -> Iterator[tuple[str, int]]:
    """Names and sizes of all files. Raises ArtifactError for what is neither a file nor a folder."""
    with os.scandir(root / below) as entries:
        for entry in entries:
            name = f"{below}{entry.name}"
            kind = entry.stat(follow_symlinks=False)
            if not below and entry.name in IGNORED and not entry.is_symlink():
                continue
            if stat.S_ISDIR(kind.st_mode) and not below:
                yield from _files(root, f"{name}/")
            elif stat.S_ISREG(kind.st_mode):
                yield name, kind.st_size
            else:
                what = "a link" if entry.is_symlink() else "a folder" if entry.is_dir() else "no ordinary file"
                raise ArtifactError(f"{root / name} is {what}, which no artefact holds; copy the files themselves")
