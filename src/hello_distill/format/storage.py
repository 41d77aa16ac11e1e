"""The folder of an artefact, seen from outside: its manifest, its bytes. Does not import torch.

README.md                          data set card
data/train-00000-of-00001.parquet  image {bytes, path}, label with class names
projector/                         peft adapter (kind `projector`)
teacher/                           classifiers' weights (kind `teacher`)
labels/                            stored labels (kinds `stored`, `pruned`, `quantized`, `static`)
hello.json                         manifest
config.json                        resolved recipe, fit for --config
SHA256SUMS                         for `sha256sum -c`
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hello_distill.format import manifest as manifests
from hello_distill.format.fields import SQUARES, Square
from hello_distill.format.manifest import CONFIG, LARGEST_FILE, MANIFEST
from hello_distill.system import claims
from hello_distill.system.errors import ArtifactError, InputError


def read_manifest(folder: str | Path) -> dict[str, Any]:
    """The manifest of an artefact. Raises InputError where there is none, ArtifactError where it is broken."""
    file = Path(folder) / MANIFEST
    if not os.path.lexists(file):
        raise InputError(_missing(Path(folder)))
    status = file.lstat()
    if not stat.S_ISREG(status.st_mode) or status.st_size > LARGEST_FILE:
        raise ArtifactError(
            f"{file} is no ordinary file of at most {LARGEST_FILE} bytes; get the artefact again, or copy the files "
            "themselves where it is a link"
        )
    return manifests.parse(file.read_bytes(), file)


def _missing(folder: Path) -> str:
    """Why there is no artefact in a folder, and what to do."""
    if (writer := claims.writer(folder)) is not None:
        return f"{folder} is no artefact yet: process {writer.pid} of {writer.host} has claimed it; wait for it to end"
    if not folder.exists():
        return f"{folder} does not exist; name an artefact's folder, or hf://owner/name for one on the Hub"
    return f"{folder} is no artefact: it has no {MANIFEST}; make one with `hello-distill distill`"


def squared(folder: str | Path) -> Square:
    """How the images of an artefact were brought to squares, as its recipe says."""
    try:
        square = json.loads((Path(folder) / CONFIG).read_text(encoding="utf-8")).get("square")
    except (OSError, ValueError, AttributeError, RecursionError):
        return "crop"
    return next((known for known in SQUARES if known == square), "crop")


def drawn(folder: str | Path) -> dict[str, Any]:
    """Fields of a recipe by which the training images of an artefact were drawn, and some of them held out.

    Raises ArtifactError where its recipe does not say them.
    """
    try:
        settings = json.loads((Path(folder) / CONFIG).read_text(encoding="utf-8"))
        needed = {name: settings[name] for name in ("seed", "max_side", "train_limit", "held_share", "held_limit")}
        return needed | {name: settings[name] for name in ("size", "square") if name in settings}
    except (ValueError, TypeError, KeyError):
        raise ArtifactError(f"{folder}/{CONFIG} does not say what was held out; name another --test") from None


def write_json(file: Path, content: dict[str, Any]) -> None:
    """JSON with sorted keys: the same content gives the same bytes."""
    file.write_bytes(as_json(content))


def as_json(content: dict[str, Any]) -> bytes:
    """What `write_json` writes."""
    return (json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode()


def listing(folder: Path) -> dict[str, dict[str, Any]]:
    """Size in bytes and SHA-256 of every file below a folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        path.relative_to(folder).as_posix(): {"bytes": path.stat().st_size, "sha256": sha256(path)} for path in files
    }


def sha256(file: Path) -> str:
    """SHA-256 of a file."""
    digest = hashlib.sha256()
    with file.open("rb") as content:
        while block := content.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def sums(hashes: Mapping[str, str]) -> str:
    """SHA256SUMS of an artefact, as `sha256sum -c` reads it."""
    return "".join(f"{hashes[name]}  {name}\n" for name in sorted(hashes))
