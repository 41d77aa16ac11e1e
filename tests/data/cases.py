"""Small sources of images, and whether one is read as it is meant, or refused with what makes it work.

Every image has one colour, by which its class, its number and its split are known again. A sentence that refuses a
source holds an option, which is taken from it and given, or asks for a change, which is made: both must work.
"""

from __future__ import annotations

import csv
import io
import re
import shutil
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
from PIL import Image

from hello_distill.data.sources import open_test, open_training
from hello_distill.system.context import Context
from hello_distill.system.errors import InputError

datasets.disable_progress_bars()
SIDE = 8
SPLITS = {"train": 3, "test": 2}
"""Splits with their images of each class."""


def colour(split: str, target: int, number: int) -> tuple[int, int, int]:
    """The colour of an image."""
    return 200 if split == "test" else 100, 60 * target + 10, 20 * number + 5


def picture(split: str, target: int, number: int) -> Image.Image:
    return Image.new("RGB", (SIDE, SIDE), colour(split, target, number))


def png(split: str, target: int, number: int) -> bytes:
    buffer = io.BytesIO()
    picture(split, target, number).save(buffer, "png")
    return buffer.getvalue()


def tree(
    folder: Path,
    train: str = "train",
    test: str | None = "test",
    classes: tuple[str, ...] = ("cat", "dog"),
    inner: str = "",
) -> Path:
    """Class folders below a folder for each split; the name `` puts them into the folder itself."""
    for split, name in (("train", train), ("test", test)):
        for target, label in enumerate(classes if name is not None else ()):
            place = folder / str(name) / label / inner
            place.mkdir(parents=True, exist_ok=True)
            for number in range(SPLITS[split]):
                (place / f"{number}.png").write_bytes(png(split, target, number))
    return folder


def loose(folder: Path, split: str = "train", ending: str = ".png") -> list[tuple[str, str]]:
    """Images in one folder; their names, and their classes."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for target, label in enumerate(("cat", "dog")):
        for number in range(SPLITS[split]):
            rows.append((f"{split}_{label}_{number}", label))
            (folder / f"{rows[-1][0]}{ending}").write_bytes(png(split, target, number))
    return rows


def write_csv(file: Path, header: tuple[str, ...], rows: list[tuple[Any, ...]], delimiter: str = ",") -> Path:
    with file.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle, delimiter=delimiter)
        writer.writerows([header, *rows])
    return file


def emptied(folder: Path) -> Path:
    """The folder again, without what was in it."""
    shutil.rmtree(folder)
    folder.mkdir()
    return folder


def moved_up(folder: Path) -> None:
    """Images out of folders in class folders."""
    for inner in list(folder.rglob("images")):
        for path in list(inner.iterdir()):
            path.rename(inner.parent / path.name)
        inner.rmdir()


def seven(folder: Path) -> Path:
    (folder / "photos.7z").write_bytes(b"7z")
    return folder / "photos.7z"


def zipped(folder: Path, file: Path, below: str = "") -> str:
    with zipfile.ZipFile(file, "w") as packed:
        for path in sorted(folder.rglob("*")):
            packed.write(path, Path(below, path.relative_to(folder)).as_posix())
    return str(file)


def tarred(folder: Path, file: Path, mode: str) -> str:
    with tarfile.open(file, mode) as packed:
        packed.add(folder, "photos")
    return str(file)


Column = Callable[[int], Any]
"""What a column holds for an image of this class."""


def rows(split: str) -> list[tuple[int, int]]:
    return [(target, number) for target in range(2) for number in range(SPLITS[split])]


def table(
    split: str, label: Column, kind: Any = None, image: str = "image", name: str = "label", **more: Column
) -> datasets.Dataset:
    """A table as `datasets` writes it, with its images as PNG files."""
    content = [{"bytes": png(split, *row), "path": None} for row in rows(split)]
    columns = {image: content, name: [label(target) for target, _ in rows(split)]}
    columns |= {key: [make(target) for target, _ in rows(split)] for key, make in more.items()}
    made = datasets.Dataset.from_dict(columns).cast_column(image, datasets.Image())
    return made.cast_column(name, kind) if kind is not None else made


NAMED = datasets.ClassLabel(names=["cat", "dog"])


def words(target: int) -> str:
    """The label that most sources have."""
    return ("cat", "dog")[target]


def parquet(folder: Path, **splits: datasets.Dataset) -> Path:
    (folder / "data").mkdir(parents=True)
    for split, made in splits.items():
        made.to_parquet(folder / "data" / f"{split}-00000-of-00001.parquet")
    return folder


def both(folder: Path, label: Column = words, kind: Any = None, **how: Any) -> Path:
    return parquet(folder, train=table("train", label, kind, **how), test=table("test", label, kind, **how))


def shard(file: Path, split: str, label: str = "cls", value: Callable[[int], str] = str) -> Path:
    """A WebDataset tar."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(file, "w") as packed:
        for target, number in rows(split):
            for ending, content in (("png", png(split, target, number)), (label, value(target).encode())):
                info = tarfile.TarInfo(f"{split}{target}{number}.{ending}")
                info.size = len(content)
                packed.addfile(info, io.BytesIO(content))
    return file


def pixels(split: str) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Images (n h w 3) and labels (n)."""
    images = np.stack([np.asarray(picture(split, *row)) for row in rows(split)])
    return images, np.array([target for target, _ in rows(split)])


@dataclass(frozen=True)
class Case:
    """A source, and what should come of it."""

    make: Callable[[Path], object]
    """Writes it into an empty folder; gives DATA."""
    classes: tuple[str, ...] = ("cat", "dog")
    options: Mapping[str, Any] = field(default_factory=dict)
    """Fields of `Context`."""
    tested: bool = True
    """Whether it has a test split."""
    grey: bool = False
    """Whether its images hold the green of their colours alone."""
    notes: str = ""
    """What the first line says, a regular expression."""
    told: str = ""
    """The sentence that refuses it, a regular expression."""
    change: Callable[[Path], object] | None = None
    """The change that the sentence asks for; it may give other DATA. None: the option that the sentence holds."""


CASES: dict[str, Case] = {}
"""By name."""


def case(name: str, **expected: Any) -> Callable[[Callable[[Path], object]], Callable[[Path], object]]:
    """Add a source to the table."""

    def add(make: Callable[[Path], object]) -> Callable[[Path], object]:
        assert name not in CASES
        CASES[name] = Case(make, **expected)
        return make

    return add


def check(data: object, options: Mapping[str, Any], expected: Case) -> None:
    """Read both splits: counts, names, and of every image the colour."""
    with Context(**options):
        splits = {"train": open_training(str(data))} | ({"test": open_test(str(data))} if expected.tested else {})
        for split, found in splits.items():
            each = SPLITS[split]
            assert found.counts() == dict.fromkeys(expected.classes, each), split
            images, skipped = found.read(SIDE)
            assert not skipped.bad
            for target in range(len(expected.classes)):
                own = images.images[images.targets == target]
                colours = sorted(tuple(int(value) for value in image[:, 0, 0]) for image in own)
                wanted = sorted(colour(split, target, number) for number in range(each))
                assert colours == ([(wanted[0][1],) * 3] * each if expected.grey else wanted), split
                assert bool((own == own[:, :, :1, :1]).all())
        assert re.search(expected.notes, "; ".join(splits["train"].notes))


def from_sentence(sentence: str) -> dict[str, Any]:
    """The option that a sentence holds, as a field of `Context`."""
    found = re.search(r"--((?:follow|image|label|train|test)-[a-z]+)(?: ([\w./]+\w))?", sentence)
    assert found, sentence
    return {found[1].replace("-", "_"): True if found[1] == "follow-links" else found[2]}


def read_all(data: object, options: Mapping[str, Any]) -> None:
    """Whatever may refuse a source."""
    with Context(**options):
        open_training(str(data)).read(SIDE)[1].check(0.0)
        open_test(str(data))


def tried(expected: Case, folder: Path) -> None:
    """Make a source in an empty folder, and read it or do what its refusal says."""
    data = expected.make(folder)
    if not expected.told:
        check(data, expected.options, expected)
        return
    with pytest.raises(InputError, match=expected.told) as refused:
        read_all(data, expected.options)
    sentence = str(refused.value)
    assert "\n" not in sentence and len(sentence) < 1000
    if expected.change is None:
        check(data, from_sentence(sentence), expected)
        return
    changed = expected.change(folder)
    check(changed if isinstance(changed, (str, Path)) else data, expected.options, expected)


def linked(folder: Path) -> Path:
    """A subset of linked class folders, as people build them."""
    tree(folder / "whole")
    for split in SPLITS:
        (folder / "part" / split).mkdir(parents=True)
        for name in ("cat", "dog"):
            (folder / "part" / split / name).symlink_to(folder / "whole" / split / name)
    return folder / "part"


def put(folder: Path, split: str, *row: int) -> str:
    name = f"images/{split}-{row[0]}-{row[1]}.png"
    (folder / "images").mkdir(exist_ok=True)
    (folder / name).write_bytes(png(split, *row))
    return name


def hot(target: int) -> list[int]:
    return [int(target == place) for place in range(2)]
