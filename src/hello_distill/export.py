"""An artefact's images as a class-per-folder tree, for tools that read no Parquet."""

from __future__ import annotations

import json
import unicodedata
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from hello_distill import artifact as artifacts
from hello_distill.data import parquet
from hello_distill.format import pulled

CLASSES = "classes.json"
ENDINGS = {"png": "png", "jpeg": "jpg", "webp": "webp"}
LINE = 100
"""Bytes of a file's line among the sums, roughly."""
LONGEST = 100
"""Bytes of a class's name that a folder's name keeps."""


def export(folder: str | Path, out: str | Path, ipc: int | None = None) -> Path:
    """Write `00000_NAME/00000.png` and `classes.json` to a new folder, which appears when it is complete.

    `ipc` asks for the first images of each class alone; None takes all of them.

    The files hold the bytes that the artefact holds. Class order is that of the artefact for `datasets`, torchvision
    and timm alike: numbers of equal width sort the same as text and as numbers. Raises what `load` raises for the
    artefact, and InputError where `out` exists.
    """
    artifact = artifacts.load(folder := pulled.local(folder), "hard")
    ending = ENDINGS[artifact.manifest["images"]["codec"]["format"]]
    names, seen = folder_names(artifact.classes), Counter[int]()
    stored = list(parquet.stored_images(folder))
    if ipc is not None:
        artifact = artifacts.first_images(artifact, ipc)
        stored = [stored[row] for target in range(len(names)) for row in _rows_of(stored, target)[:ipc]]
    exact = json.dumps(dict(zip(names, artifact.classes, strict=True)), indent=2, ensure_ascii=False)
    with artifacts.published(out, sum(len(content) + LINE for _, content in stored) + len(exact.encode())) as partial:
        for name in names:
            (partial / name).mkdir()
        for target, content in stored:
            file = f"{seen[target]:0{width(len(artifact.data))}d}.{ending}"
            (partial / names[target] / file).write_bytes(content)
            seen[target] += 1
        (partial / CLASSES).write_text(exact + "\n", encoding="utf-8")
    return Path(out)


def _rows_of(stored: Sequence[tuple[int, bytes]], target: int) -> list[int]:
    return [row for row, (of, _) in enumerate(stored) if of == target]


def folder_names(classes: Sequence[str]) -> list[str]:
    """A safe folder name for each class: its number, and of its name letters, digits, `-` and `_`."""
    return [f"{number:0{width(len(classes))}d}_{safe(name)}" for number, name in enumerate(classes)]


def width(count: int) -> int:
    """Digits that number so many things: five, or what they need."""
    return max(5, len(str(count - 1)))


def safe(name: str) -> str:
    """A name with `_` for everything that is no letter, digit or `-`, at most LONGEST bytes long."""
    kept = "".join(c if c.isalnum() or c == "-" else "_" for c in unicodedata.normalize("NFC", name))
    return kept.encode()[:LONGEST].decode(errors="ignore")
