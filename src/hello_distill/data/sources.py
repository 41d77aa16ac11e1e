"""Open the training or the test split of a source of labelled images.

A source is a folder with one sub-folder per class in `train/` and, to test students on, in `test/` (or `val/`,
`validation/`); class folders alone, which are all trained on; a local Hugging Face data set folder, a Hub id, or
`fashion-mnist`; with `:classes=FILE` behind it, the classes that the file names. Reading goes through `datasets`.
"""

from __future__ import annotations

import errno
import os
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import datasets
from huggingface_hub import constants as hub

from hello_distill.data import folders
from hello_distill.data.descriptions import check_contained
from hello_distill.data.fashion_mnist import fashion_mnist
from hello_distill.data.images import ImageSet, Split
from hello_distill.data.order import check_classes_match
from hello_distill.system import context
from hello_distill.system.errors import InputError, MachineError, listed, nearest, one_line
from hello_distill.system.machine import device, rest_offline_if_unreachable
from hello_distill.system.room import FULL

UNWRITABLE = (*FULL, errno.EROFS, errno.EACCES, errno.EPERM)
"""Numbers of errors of a cache that cannot be written."""
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
CHOSEN = ":classes="
"""What stands between a source and the list of the classes that are taken of it."""


def open_training(source: str) -> Split:
    """The training split of a source: the one called `train`, or class folders directly below the source.

    Raises InputError where there is no such source, split, label or class; MachineError where a Hub id cannot
    be reached.
    """
    return _chosen(source, _located(parted(source)[0]).training())


def open_test(source: str, name: str | None = None) -> Split:
    """The split of a source to test on: the one called `test` or `validation`, or that of this name.

    For a source of class folders, `name` may be a path to other class folders. Raises as `open_training`.
    """
    return _chosen(source, _located(parted(source)[0]).test(name))


def read_test_split(data: str, classes: Sequence[str], side: int, test: str | None = None) -> ImageSet:
    """The images to test on of a source (see `open_test`), brought to `side` pixels, without what cannot be read.

    Raises InputError where its classes are others, or more than the share `Context.max_bad` cannot be read.
    """
    with context.stage("test data") as stage:
        split = open_test(data, test)
        check_classes_match(data, split.classes, classes)
        images, skipped = split.read(side)
        skipped.check(context.current().max_bad)
        left_out = f"; {skipped.summary()}" if skipped.bad else ""
        stage.figure = f"{len(images)} images of {images.side} pixels{left_out}"
    return images.to(device())


def _chosen(source: str, split: Split) -> Split:
    """The split with the classes only that the source's list names, if it has one."""
    file = parted(source)[1]
    if file is None:
        return split
    return replace(split.only(folders.chosen_classes(source, file, split.classes)), source=source)


def _located(source: str) -> _Folders | _Tables:
    """What a source without a list of classes is."""
    if source == "fashion-mnist":
        return _Tables(source, str(fashion_mnist()))
    folder = Path(source)
    if folder.is_dir():
        marks = ("*.parquet", "*/*.parquet", "dataset_dict.json")
        return _Tables(source, source) if any(any(folder.glob(mark)) for mark in marks) else _Folders(source)
    if HUB_ID.fullmatch(source) and not source.startswith("."):
        rest_offline_if_unreachable()
        return _Tables(source, source)
    if folder.exists():
        raise InputError(f"{source} is a file; give the folder that holds train/ and test/, or class folders")
    raise InputError(
        f"no data at {source}: it is no folder, no Hub id (owner/name), and no known name "
        f"({nearest(source, ['fashion-mnist'])})"
    )


def parted(source: str) -> tuple[str, str | None]:
    """A source without the list of its classes, and that list's file or name."""
    whole, mark, chosen = source.rpartition(CHOSEN)
    return (whole, chosen) if mark else (source, None)


def short_name(source: str) -> str:
    """A source as a result names it: without the folders above it, and above the list of its classes."""
    whole, chosen = parted(source)
    name = Path(whole).resolve().name
    return name if chosen is None else f"{name}{CHOSEN}{Path(chosen).name}"


class _Folders(NamedTuple):
    """Class folders. The classes are in the sorted order of the training folder's names."""

    source: str

    def training(self) -> Split:
        return self._split("train", *folders.training_folder(self.source))

    def test(self, name: str | None) -> Split:
        classes = folders.training_folder(self.source)[1]
        folder = folders.test_folder(self.source, name, classes)
        return self._split(folder.name, folder, classes)

    def _split(self, name: str, folder: Path, classes: tuple[str, ...]) -> Split:
        inside = folder.resolve().is_relative_to(Path(self.source).resolve())
        home = self.source if inside else str(folder)
        paths, targets = folders.images_of(home, folder, classes)
        image = {"bytes": datasets.Value("binary"), "path": datasets.Value("binary")}
        features = datasets.Features({"image": image, "label": datasets.ClassLabel(names=list(classes))})
        records = {"image": [{"bytes": None, "path": os.fsencode(path)} for path in paths], "label": targets}
        table = datasets.Dataset.from_dict(records, features=features)
        return _checked(Split(self.source, name, table, classes, (Path(home).resolve(),)))


def _checked(split: Split) -> Split:
    if not len(split.table):
        raise InputError(f"{split.source}, split {split.name}: no images in it; fill it or choose another data set")
    if empty := [name for name, count in split.counts().items() if not count]:
        raise InputError(
            f"{split.source}, split {split.name}: no images of {listed(empty)}; add some or remove the class everywhere"
        )
    return split


class _Tables(NamedTuple):
    """A data set that `datasets` opens: a folder at `path`, or a Hub id."""

    source: str
    path: str

    def training(self) -> Split:
        tables, columns, classes = self._opened()
        return self._split("train", tables["train"], columns, classes)

    def test(self, name: str | None) -> Split:
        tables, columns, classes = self._opened()
        if name is not None and (name == "train" or name not in tables):
            raise InputError(
                f"--test {name} is no split of {self.source} to test on ({', '.join(tables)}); {folders.NAME_ONE}"
            )
        for test in folders.TEST_NAMES if name is None else (name,):  # a usual one without labels is passed over
            if test in tables and (name or min(_labels(tables[test], columns["label"]), default=-1) >= 0):
                return self._split(test, tables[test], columns, classes)
        raise InputError(
            f"{self.source} has no labelled test split; add one called test or validation, or {folders.NAME_ONE}"
        )

    def _split(self, name: str, table: datasets.Dataset, columns: dict[str, str], classes: tuple[str, ...]) -> Split:
        table = table.select_columns(list(columns.values()))
        table = table.rename_columns({column: role for role, column in columns.items() if column != role})
        table = table.cast_column("image", datasets.Image(decode=False))
        labels = _labels(table, "label")
        if (highest := max(labels, default=-1)) >= len(classes):
            raise InputError(f"{self.source}, split {name}: a label is {highest}, but there are {len(classes)} classes")
        if unlabelled := sum(label < 0 for label in labels):
            raise InputError(f"{self.source}, split {name}: {unlabelled} images have no label; remove them")
        folder = [Path(self.source).resolve()] if Path(self.source).is_dir() else []
        return _checked(Split(self.source, name, table, classes, (*folder, *_caches())))

    def _opened(self) -> tuple[Mapping[str, datasets.Dataset], dict[str, str], tuple[str, ...]]:
        """Its tables, the columns of image and label, and the classes."""
        if self.path == self.source and Path(self.source).is_dir():
            check_contained(self.source, _caches())
        tables = _load(self.source, self.path)
        if "train" not in tables:
            raise InputError(f"{self.source} has the splits {', '.join(tables)}, but none called train; rename one")
        columns = _columns(self.source, tables["train"])
        classes = _classes(self.source, tables["train"], columns["label"])
        if len(classes) < 2:
            raise InputError(f"{self.source} has {len(classes)} classes; a classifier needs at least two")
        folders.check_names(self.source, classes)
        return tables, columns, classes


def _load(source: str, path: str) -> Mapping[str, datasets.Dataset]:
    datasets.disable_progress_bars()
    try:
        if (Path(path) / "dataset_dict.json").exists():
            return datasets.load_from_disk(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return datasets.load_dataset(path)
    except (ConnectionError, OSError) as error:
        if error.errno in UNWRITABLE:
            raise MachineError(
                f"{source}: `datasets` cannot write to its cache ({error.strerror}: {error.filename}); set HF_HOME to "
                "a folder with room that can be written to"
            ) from None
        if Path(path).exists():
            raise InputError(f"{source} cannot be read: {error}") from None
        raise MachineError(
            f"{source} is no folder here, and the Hub could not be reached or has no such data set; "
            "check the name, go online once, or give a local folder"
        ) from None
    except MemoryError:
        raise
    except Exception as error:  # of nearly any class, for a description made to harm
        reason = f"{type(error).__name__}: {one_line(error)[:500]}"
        raise InputError(f"{source} is no image data set that `datasets` can open ({reason})") from None


def _columns(source: str, table: datasets.Dataset) -> dict[str, str]:
    """Names of the image and of the label column."""
    features = table.features
    images = [name for name, kind in features.items() if isinstance(kind, datasets.Image)]
    labels = [name for name, kind in features.items() if isinstance(kind, datasets.ClassLabel)]
    numbers = (datasets.Value, datasets.ClassLabel)
    whole = [name for name, kind in features.items() if isinstance(kind, numbers) and "int" in kind.dtype]
    preferred = [name for name in ("label", "fine_label", "labels") if name in whole]
    if not images or not (preferred or labels):
        raise InputError(f"{source} needs an image column and a class label column; it has {', '.join(features)}")
    return {"image": images[0], "label": (preferred or labels)[0]}


def _classes(source: str, table: datasets.Dataset, column: str) -> tuple[str, ...]:
    kind = table.features[column]
    if isinstance(kind, datasets.ClassLabel):
        return tuple(kind.names)
    highest = max(_labels(table, column), default=-1)
    if highest >= len(table):
        raise InputError(
            f"{source}: column {column} numbers classes up to {highest} for {len(table)} images, so most have none; "
            "number them from 0, or give their names as a ClassLabel"
        )
    return tuple(map(str, range(highest + 1)))


def _labels(table: datasets.Dataset, column: str) -> list[int]:
    """The labels, -1 where there is none."""
    return [-1 if label is None else label for label in table[column][:]]


def _caches() -> list[Path]:
    """Where `datasets` and the Hub's client keep files."""
    return [Path(folder).resolve() for folder in (datasets.config.HF_DATASETS_CACHE, hub.HF_HUB_CACHE)]
