"""Open a labelled image set, and decode it once into an array of square 8-bit RGB images.

A source is a folder with one sub-folder per class in `train/` and `test/` (or `val/`, `validation/`), a local
Hugging Face data set folder, a Hub id, or `fashion-mnist`. Reading goes through `datasets`; decoding is ours, so
that the same file gives the same pixels whatever the source.
"""

from __future__ import annotations

import io
import math
import os
import re
import statistics
import warnings
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import datasets
import numpy as np
import torch
from jaxtyping import Int64
from PIL import Image, ImageOps
from torch import Tensor

from hello_distill.errors import InputError, MachineError, nearest
from hello_distill.fashion_mnist import fashion_mnist
from hello_distill.machine import rest_offline_if_unreachable
from hello_distill.progress import SILENT, Progress
from hello_distill.types import Pixels, Targets

TEST_NAMES = ("test", "validation", "valid", "val")
"""Splits to test on, best first. A split without labels is passed over."""
UNREADABLE = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)
"""What Pillow raises for files that are no images, or broken ones."""
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


@dataclass(frozen=True)
class ImageSet:
    """Square uint8 RGB images (n 3 side side) with integer classes (n) and the classes' names."""

    images: Pixels
    targets: Targets
    classes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.targets)

    @property
    def side(self) -> int:
        """Height and width in pixels."""
        return self.images.shape[-1]

    def rows(self, index: Tensor) -> ImageSet:
        """The images at these rows, in this order."""
        return ImageSet(self.images[index], self.targets[index], self.classes)

    def to(self, device: str) -> ImageSet:
        """The same images, kept on another device."""
        return ImageSet(self.images.to(device), self.targets.to(device), self.classes)

    def of_class(self, target: int) -> Tensor:
        """Rows of one class, ascending."""
        return torch.nonzero(self.targets == target).flatten()


@dataclass(frozen=True)
class Split:
    """One split, not yet decoded."""

    source: str
    name: str
    table: datasets.Dataset
    classes: tuple[str, ...]

    @property
    def targets(self) -> Targets:
        return torch.from_numpy(np.asarray(self.table["label"][:], dtype=np.int64))

    def counts(self) -> dict[str, int]:
        """Images per class."""
        found = torch.bincount(self.targets, minlength=len(self.classes)).tolist()
        return dict(zip(self.classes, found, strict=True))

    def limited(self, limit: int | None, seed: int) -> Split:
        """At most about `limit` images: the same share of each class, and one of each at least."""
        if limit is None or len(self.table) <= limit:
            return self
        rows = _drawn(self.targets, limit / len(self.table), 1, np.random.default_rng([seed, 4]))
        return replace(self, table=self.table.select(rows.tolist()))

    def native_side(self) -> int:
        """Median of the shorter sides in pixels of up to 50 images, evenly spread over the split."""
        step = math.ceil(len(self.table) / 50)
        sides = []
        for record in self.table.select(range(0, len(self.table), step)):
            with suppress(*UNREADABLE):  # decode() reports it
                sides.append(min(decode(record["image"]).size))
        return statistics.median_low(sides) if sides else 1

    def decode(self, side: int, progress: Progress = SILENT) -> ImageSet:
        """All images: shorter side brought to `side` pixels, then the centre square (bicubic).

        Raises InputError naming the files that are no images, MachineError where memory cannot hold them.
        """
        shape = (len(self.table), 3, side, side)
        check_memory(shape, self.source)
        images = torch.empty(shape, dtype=torch.uint8)
        bad: list[str] = []
        rows = progress.track(enumerate(self.table), len(self.table), f"decoding {self.name}")
        for row, record in rows:
            try:
                picture = square(decode(record["image"]), side)
            except UNREADABLE:
                bad.append(record["image"]["path"] or f"row {row}")
                continue
            images[row] = torch.from_numpy(np.array(picture)).permute(2, 0, 1)
        if bad:
            shown = ", ".join(bad[:3]) + (f" and {len(bad) - 3} more" if len(bad) > 3 else "")
            raise InputError(f"{self.source}, split {self.name}: no image in {shown}; mend or remove it")
        return ImageSet(images, self.targets, self.classes)


def decode(record: dict[str, Any]) -> Image.Image:
    """RGB, 8 bit, orientation applied, from `{"bytes", "path"}`; the first frame of an animation.

    Raises OSError or ValueError for what Pillow cannot read.
    """
    content = record["bytes"] if record["bytes"] is not None else Path(record["path"]).read_bytes()
    with Image.open(io.BytesIO(content)) as opened:
        picture = ImageOps.exif_transpose(opened)
        if picture.mode.startswith("I"):  # 16 bit: Pillow's own conversion would clip all above 255
            picture = Image.fromarray((np.asarray(picture).clip(0, 65535) // 257).astype(np.uint8))
        return picture.convert("RGB")


def square(picture: Image.Image, side: int) -> Image.Image:
    """The centre square of a picture, `side` pixels wide."""
    if picture.size == (side, side):
        return picture
    return ImageOps.fit(picture, (side, side), Image.Resampling.BICUBIC)


def open_splits(source: str) -> tuple[Split, Split]:
    """The training and the test split of a source.

    Raises InputError where there is no such source, split, label or class; MachineError where a Hub id cannot
    be reached.
    """
    if source == "fashion-mnist":
        return _hugging_face(source, str(fashion_mnist()))
    folder = Path(source)
    if folder.is_dir():
        return _folder(source, folder) if not _is_data_set(folder) else _hugging_face(source, source)
    if HUB_ID.fullmatch(source) and not source.startswith("."):
        rest_offline_if_unreachable()
        return _hugging_face(source, source)
    if folder.exists():
        raise InputError(f"{source} is a file; give the folder that holds train/ and test/")
    raise InputError(
        f"no data at {source}: it is no folder, no Hub id (owner/name), and no known name "
        f"({nearest(source, ['fashion-mnist'])})"
    )


def _is_data_set(folder: Path) -> bool:
    return any(folder.glob("*.parquet")) or any(folder.glob("*/*.parquet")) or (folder / "dataset_dict.json").exists()


def _folder(source: str, folder: Path) -> tuple[Split, Split]:
    """Class-per-folder tree. Class order is the sorted order of the training folder's names."""
    if not (folder / "train").is_dir():
        raise InputError(f"{source} has no train/ folder; lay the images out as train/CLASS/IMAGE and test/CLASS/IMAGE")
    classes = tuple(sorted(_visible(folder / "train", folders=True)))
    if len(classes) < 2:
        raise InputError(f"{source}/train holds {len(classes)} class folders; a classifier needs at least two")
    test = next((name for name in TEST_NAMES if (folder / name).is_dir()), None)
    if test is None:
        raise InputError(f"{source} has no test split; put held-out images into {source}/test/CLASS/")
    train_split = _folder_split(source, folder / "train", classes)
    return train_split, _folder_split(source, folder / test, classes)


def _visible(folder: Path, folders: bool) -> list[str]:
    return [e.name for e in os.scandir(folder) if not e.name.startswith(".") and e.is_dir() == folders]


def _folder_split(source: str, folder: Path, classes: tuple[str, ...]) -> Split:
    unknown = sorted(set(_visible(folder, folders=True)) - set(classes))
    if unknown:
        raise InputError(f"{folder} holds classes that train/ does not: {', '.join(unknown)}; rename or remove them")
    paths: list[str] = []
    targets: list[int] = []
    for target, name in enumerate(classes):
        files = sorted(_visible(folder / name, folders=False)) if (folder / name).is_dir() else []
        paths += [str(folder / name / file) for file in files]
        targets += [target] * len(files)
    features = datasets.Features(
        {"image": datasets.Image(decode=False), "label": datasets.ClassLabel(names=list(classes))}
    )
    records = {"image": [{"bytes": None, "path": path} for path in paths], "label": targets}
    return _checked(Split(source, folder.name, datasets.Dataset.from_dict(records, features=features), classes))


def _checked(split: Split) -> Split:
    if not len(split.table):
        raise InputError(f"{split.source}, split {split.name}: no images in it; fill it or choose another data set")
    empty = [name for name, count in split.counts().items() if not count]
    if empty:
        shown = ", ".join(empty[:5]) + (", ..." if len(empty) > 5 else "")
        raise InputError(
            f"{split.source}, split {split.name}: no images of {shown}; add some or remove the class everywhere"
        )
    return split


def _hugging_face(source: str, path: str) -> tuple[Split, Split]:
    tables = _load(source, path)
    if "train" not in tables:
        raise InputError(f"{source} has the splits {', '.join(tables)}, but none called train; rename one")
    columns = _columns(source, tables["train"])
    classes = _classes(tables["train"], columns["label"])
    for name in TEST_NAMES:
        if name in tables and min(tables[name][columns["label"]][:], default=-1) >= 0:
            test = _hf_split(source, name, tables[name], columns, classes)
            return _hf_split(source, "train", tables["train"], columns, classes), test
    raise InputError(f"{source} has no labelled test split; add one called test or validation")


def _load(source: str, path: str) -> Mapping[str, datasets.Dataset]:
    datasets.disable_progress_bars()
    try:
        if (Path(path) / "dataset_dict.json").exists():
            return datasets.load_from_disk(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return datasets.load_dataset(path)
    except (ConnectionError, OSError) as error:
        if Path(path).exists():
            raise InputError(f"{source} cannot be read: {error}") from None
        raise MachineError(
            f"{source} is no folder here, and the Hub could not be reached or has no such data set; "
            "check the name, go online once, or give a local folder"
        ) from None
    except (ValueError, datasets.exceptions.DatasetGenerationError) as error:
        raise InputError(f"{source} is no image data set that `datasets` can open: {error}") from None


def _columns(source: str, table: datasets.Dataset) -> dict[str, str]:
    """Names of the image and of the label column."""
    features = table.features
    images = [name for name, kind in features.items() if isinstance(kind, datasets.Image)]
    labels = [name for name, kind in features.items() if isinstance(kind, datasets.ClassLabel)]
    preferred = [name for name in ("label", "fine_label", "labels") if name in features]
    if not images or not (preferred or labels):
        raise InputError(f"{source} needs an image column and a class label column; it has {', '.join(features)}")
    return {"image": images[0], "label": (preferred or labels)[0]}


def _classes(table: datasets.Dataset, column: str) -> tuple[str, ...]:
    kind = table.features[column]
    if isinstance(kind, datasets.ClassLabel):
        return tuple(kind.names)
    return tuple(str(target) for target in range(max(table[column][:]) + 1))


def _hf_split(
    source: str, name: str, table: datasets.Dataset, columns: dict[str, str], classes: tuple[str, ...]
) -> Split:
    table = table.select_columns(list(columns.values())).rename_columns({v: k for k, v in columns.items() if v != k})
    table = table.cast_column("image", datasets.Image(decode=False))
    if max(table["label"][:]) >= len(classes):
        raise InputError(
            f"{source}, split {name}: a label is {max(table['label'][:])}, but there are {len(classes)} classes"
        )
    return _checked(Split(source, name, table, classes))


def check_memory(shape: tuple[int, ...], source: str) -> None:
    needed = int(np.prod(shape))
    pages = os.sysconf("SC_AVPHYS_PAGES") if hasattr(os, "sysconf") else None
    free = pages * os.sysconf("SC_PAGE_SIZE") if pages else needed
    if needed > free:
        raise MachineError(
            f"{source}: {shape[0]} images of {shape[-1]} pixels take {needed / 2**30:.1f} GiB, "
            f"{free / 2**30:.1f} GiB of memory are free; set a smaller `max_side` in a --config file"
        )


class Material(NamedTuple):
    """The training images of a run in two parts."""

    train: ImageSet
    """What everything is fitted on and cut from."""
    held: ImageSet
    """Held back for the figures that a run prints and for tuning; may be empty."""


def check_counts(data: ImageSet, ipc: int) -> None:
    """Raise InputError naming a class with fewer images than are asked for."""
    for target, name in enumerate(data.classes):
        count = len(data.of_class(target))
        if count < ipc:
            raise InputError(
                f"class {name!r} has {count} training images (after holding some back), and {ipc} per class were asked "
                f"for; lower --ipc to {count} or add images"
            )


def hold_back(data: ImageSet, share: float, limit: int, seed: int) -> Material:
    """Split training images in two: to fit on, and held back for the figures that a run prints.

    The same share of each class is held back, at most about `limit` images in all; no class is left empty.
    """
    share = min(share, limit / len(data))
    held = torch.zeros(len(data), dtype=torch.bool)
    held[_drawn(data.targets, share, 0, np.random.default_rng([seed, 1]))] = True
    return Material(data.rows(torch.nonzero(~held).flatten()), data.rows(torch.nonzero(held).flatten()))


def _drawn(targets: Targets, share: float, least: int, rng: np.random.Generator) -> Int64[Tensor, "m"]:
    """Rows of a share of each class, drawn without replacement; `least` of each, and never a whole class
    unless `least` asks for it."""
    drawn = []
    for target in range(int(targets.max()) + 1):
        rows = torch.nonzero(targets == target).flatten().numpy()
        drawn.append(rng.permutation(rows)[: max(least, min(round(share * len(rows)), len(rows) - 1))])
    return torch.from_numpy(np.sort(np.concatenate(drawn)))
