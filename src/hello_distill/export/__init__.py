"""An artefact in forms that other tools read: its images as a class-per-folder tree or as WebDataset, its projector as
ONNX."""

from __future__ import annotations

import json
import unicodedata
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple, get_args

from hello_distill import artifact as artifacts
from hello_distill.data import parquet
from hello_distill.data.names import CLASSES
from hello_distill.format import pulled
from hello_distill.system.errors import InputError, nearest

Form = Literal["imagefolder", "webdataset", "onnx"]
FORMS: tuple[Form, ...] = get_args(Form)
ENDINGS = {"png": "png", "jpeg": "jpg", "webp": "webp"}
LINE = 100
"""Bytes of a file's line among the sums, roughly."""
LONGEST = 100
"""Bytes of a class's name that a folder's name keeps."""


class Stored(NamedTuple):
    """The image files of an artefact, or of a part of it."""

    classes: tuple[str, ...]
    images: list[tuple[int, bytes]]
    """Class and file of each image, in the artefact's order."""
    ending: str
    """Of the files' names."""

    @classmethod
    def of(cls, folder: Path, ipc: int | None) -> Stored:
        """All of them, or the first `ipc` of each class."""
        artifact = artifacts.load(folder, "hard")
        stored = list(parquet.stored_images(folder))
        if ipc is not None:
            artifacts.first_images(artifact, ipc)  # raises InputError where there are fewer
            stored = [stored[row] for target in range(len(artifact.classes)) for row in _rows_of(stored, target)[:ipc]]
        return cls(artifact.classes, stored, ENDINGS[artifact.manifest["images"]["codec"]["format"]])


def export(folder: str | Path, out: str | Path, ipc: int | None = None, to: Form = "imagefolder") -> Path:
    """Write an artefact's images, or its projector, for other tools to a new folder, which appears when it is complete.

    `imagefolder` is `00000_NAME/00000.png` and `classes.json`, `webdataset` a tar file of `00000.png` and `00000.cls`,
    `onnx` a file that maps images to logits (`onnx.write`). Image files hold the bytes that the artefact holds. `ipc`
    asks for the first images of each class alone; None takes all of them.

    Raises what `load` raises for the artefact, InputError where `out` exists, for another form and for `onnx` of other
    labels, MachineError where a package is missing.
    """
    if to not in FORMS:
        raise InputError(f"unknown form {to!r} to export to: {nearest(to, FORMS)}")
    root = pulled.local(folder)
    if to == "onnx":
        from hello_distill.export import onnx

        return onnx.write(root, out, ipc)
    stored = Stored.of(root, ipc)
    if to == "webdataset":
        from hello_distill.export import webdataset

        return webdataset.write(stored, out)
    return _write_tree(stored, out)


def _write_tree(stored: Stored, out: str | Path) -> Path:
    """A folder for each class.

    Class order is that of the artefact for `datasets`, torchvision and timm alike: numbers of equal width sort the same
    as text and as numbers.
    """
    names, seen = folder_names(stored.classes), Counter[int]()
    exact = json.dumps(dict(zip(names, stored.classes, strict=True)), indent=2, ensure_ascii=False)
    size = sum(len(content) + LINE for _, content in stored.images) + len(exact.encode())
    with artifacts.published(out, size) as partial:
        for name in names:
            (partial / name).mkdir()
        for target, content in stored.images:
            file = f"{seen[target]:0{width(len(stored.images))}d}.{stored.ending}"
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
