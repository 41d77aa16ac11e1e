"""Data sets that `datasets` opens: Parquet, saved folders, Hub ids; which columns are images and classes."""

from __future__ import annotations

import errno
import os
import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import datasets
import huggingface_hub.constants as hub
from pyarrow import compute

from hello_distill.data import trees, values
from hello_distill.data.descriptions import CARDS, check_contained
from hello_distill.data.folders import NAME_ONE, TEST_WORDS, by_split, split_names, training_split
from hello_distill.data.images import Split
from hello_distill.data.names import check_names
from hello_distill.data.pixels import images_of
from hello_distill.system import context
from hello_distill.system.errors import InputError, MachineError, listed, one_line
from hello_distill.system.room import FULL

UNWRITABLE = (*FULL, errno.EROFS, errno.EACCES, errno.EPERM)
"""Numbers of errors of a cache that cannot be written."""

PART = 256
"""Rows of pixels that are taken out of a table at a time."""
LOOKED_AT = 20
"""Rows by which it is found what a column holds."""
SMALLEST = 8
"""Rows and columns that nested numbers of two dimensions have at least as an image: boxes have fewer."""
IMAGE_NAME = re.compile(r"\.(jpe?g|png|webp|gif|bmp|tiff?)$", re.IGNORECASE)


class Tables(NamedTuple):
    """A data set that `datasets` opens: a folder or file at `path`, or a Hub id."""

    source: str
    path: str
    config: str | None = None
    revision: str | None = None
    """Of a Hub id; None takes that of the context."""

    def training(self) -> Split:
        tables = self._opened()
        name = training_split(self.source, list(tables))
        return self._split(name, tables[name], None)

    def test(self, name: str | None) -> Split:
        tables, train = self._opened(), self.training()
        if name is not None and (name == train.name or name not in tables):
            raise InputError(f"--test {name} is no split of {self.source} to test on ({', '.join(tables)}); {NAME_ONE}")
        column = values.column(self.source, "label", *_label_columns(tables[train.name]))
        for test in split_names(tables, TEST_WORDS) if name is None else (name,):  # one without labels is passed over
            if test != train.name and (
                name or any(label is not None for label in _labels(tables[test], column, self.source))
            ):
                return self._split(test, tables[test], train.classes)
        raise InputError(f"{self.source} has no labelled test split; add one called test or validation, or {NAME_ONE}")

    def _split(self, name: str, table: datasets.Dataset, names: tuple[str, ...] | None) -> Split:
        """A split with the columns `image` and `label`; `names` None: its classes are its own."""
        images = values.column(self.source, "image", *_image_columns(table))
        column = values.column(self.source, "label", *_label_columns(table))
        kind, note = _entry(table.features[column]), ""
        if isinstance(kind, datasets.ClassLabel):
            names = tuple(kind.names)
            values.check_enough(self.source, len(names))
            check_names(self.source, names)
        if (made := _mapped(table, images, column)) is None:
            names, targets, note = self._targets(name, table, column, names)
            pictures = table.select_columns([images])
            pictures = pictures.rename_column(images, "image") if images != "image" else pictures
            feature = datasets.ClassLabel(names=list(names))
            made = self._undecoded(pictures).add_column("label", targets, feature=feature)
        folder = [self._folder.resolve()] if Path(self.path).exists() else []
        assert names is not None
        split = Split(self.source, name, made, names, trees.roots(*folder, *caches()))
        return values.without_unlabelled(split.noting(note))

    def _targets(
        self, name: str, table: datasets.Dataset, column: str, names: tuple[str, ...] | None
    ) -> tuple[tuple[str, ...], list[int], str]:
        """Names of the classes, the number of each row's, -1 where there is none, and what is said of a column that
        gave the names."""
        labels = _labels(table, column, self.source)
        named = isinstance(_entry(table.features[column]), datasets.ClassLabel)
        if names is not None and (named or _are_numbers(labels, names)):
            return names, _within(self.source, name, labels, len(names)), ""
        names = values.classes_of(self.source, column, labels) if names is None else names
        targets = values.targets_of(f"{self.source}, split {name}", labels, names)
        return names, targets, values.said(column, names)

    def _undecoded(self, table: datasets.Dataset) -> datasets.Dataset:
        """The table with its images undecoded: pixels as files, and paths that are relative in the source's folder."""
        kind = table.features["image"]
        if _depth(kind):
            rows = [row for part in table.with_format("numpy").iter(PART) for row in part["image"]]
            return datasets.Dataset.from_dict(
                {"image": images_of(self.source, rows)}, datasets.Features(image=values.PICTURE)
            )
        if isinstance(kind, datasets.Value) and "string" in kind.dtype and Path(self.path).exists():
            paths = [None if path is None else str(self._folder / path) for path in table["image"][:]]
            table = datasets.Dataset.from_dict({"image": paths})
        return table.cast_column("image", datasets.Image(decode=False))

    @property
    def _folder(self) -> Path:
        """Where paths that a table names begin, and where they may lead."""
        return Path(self.path) if Path(self.path).is_dir() else Path(self.path).parent

    def _opened(self) -> Mapping[str, datasets.Dataset]:
        if self.path == self.source and Path(self.source).is_dir():
            check_contained(self.source, caches())
        return _load(self.source, self.path, self.config, self.revision or context.current().revision)


def _mapped(table: datasets.Dataset, images: str, column: str) -> datasets.Dataset | None:
    """Images and their classes where they lie, none of it in memory. None where either has to be made of something
    else, or some class is missing."""
    kind = table.features[column]
    if not isinstance(table.features[images], datasets.Image) or not isinstance(kind, datasets.ClassLabel):
        return None
    numbers = table.select_columns(column).with_format("arrow")[column][:]
    least, most = compute.min_max(numbers).as_py().values()
    if numbers.null_count or least is None or least < 0 or most >= len(kind.names):
        return None
    table = table.select_columns([images, column]).rename_columns({images: "image", column: "label"})
    if table.list_indexes() or table.data.num_rows != len(table):
        return table.cast_column("image", datasets.Image(decode=False))
    features = datasets.Features({**table.features, "image": datasets.Image(decode=False)})  # as it lies: a cast copies
    return datasets.Dataset(table.data, datasets.DatasetInfo(features=features))


def _are_numbers(labels: Sequence[Any], names: Sequence[str]) -> bool:
    """Whether labels number the classes that another split names."""
    known = set(labels) - {None}
    return all(type(label) is int for label in known) and not known & set(map(_number, names))


def _number(name: str) -> int | None:
    return int(name) if name.isdecimal() else None


def _within(source: str, name: str, labels: Sequence[int | None], count: int) -> list[int]:
    """Labels of named classes, -1 where there is none. Raises InputError for one that names none."""
    if (highest := max((label for label in labels if label is not None), default=-1)) >= count:
        raise InputError(f"{source}, split {name}: a label is {highest}, but there are {count} classes")
    return [-1 if label is None else max(-1, label) for label in labels]


def _image_columns(table: datasets.Dataset) -> tuple[list[str], list[str]]:
    """Columns that may hold images, those of the best kind alone, and the others."""
    features = table.features
    images = [name for name, kind in features.items() if isinstance(kind, datasets.Image)]
    contents = [name for name, kind in features.items() if _holds_bytes(kind)]
    named = [name for name, kind in features.items() if _is_text(kind) and _names_images(table, name)]
    best = images or contents or [*named, *(name for name in features if _holds_pixels(table, name))]
    return best, [name for name in features if name not in best]


def _holds_bytes(kind: Any) -> bool:
    if isinstance(kind, dict):
        return {"bytes", "path"} & set(kind) == set(kind) and len(kind) > 0
    return isinstance(kind, datasets.Value) and "binary" in kind.dtype


def _depth(kind: Any) -> int:
    """How deep numbers are nested in a column's lists or arrays; 0 where it holds others."""
    if shape := getattr(kind, "shape", None):
        return len(shape)
    if (inner := _inner(kind)) is None:
        return 0
    if isinstance(inner, datasets.Value):
        return int(re.search("int|float|bool", inner.dtype) is not None)
    return below + 1 if (below := _depth(inner)) else 0


def _inner(kind: Any) -> Any:
    """What the lists of a column hold; None where it has no lists."""
    return kind[0] if isinstance(kind, list) else getattr(kind, "feature", None)


def _entry(kind: Any) -> Any:
    """The kind of a column, or of what its lists hold."""
    return kind if (inner := _inner(kind)) is None else inner


def _holds_pixels(table: datasets.Dataset, column: str) -> bool:
    """Whether a column holds images as numbers: nested and no boxes, or in a row under a name that images have."""
    depth = _depth(table.features[column])
    if depth < 2:
        return depth == 1 and column.lower() in values.IMAGES
    first: list[Any] = next(filter(None, table[column][:LOOKED_AT]), [])
    return bool(first) and (depth > 2 or min(len(first), len(first[0] or ())) >= SMALLEST)


def _is_hot(table: datasets.Dataset, column: str) -> bool:
    """Whether a column's lists are single ones among zeros."""
    rows = table[column][:LOOKED_AT] if _depth(table.features[column]) == 1 else []
    return bool(rows) and all(row and len(row) > 1 and values.is_hot(row) and sum(row) == 1 for row in rows)


def _is_text(kind: Any) -> bool:
    return isinstance(kind, datasets.Value) and "string" in kind.dtype


def _names_images(table: datasets.Dataset, column: str) -> bool:
    return any(IMAGE_NAME.search(path or "") for path in table[column][:LOOKED_AT])


def _label_columns(table: datasets.Dataset) -> tuple[list[str], list[str]]:
    """Columns that may hold classes, and the others: named classes, whole numbers, text and booleans, or lists of them.

    Among named classes and columns of a usual name the others do not count, and lists only where there is nothing else.
    """
    features = table.features
    images = set(_image_columns(table)[0])
    named = [name for name, kind in features.items() if isinstance(kind, datasets.ClassLabel)]
    plain = [
        name
        for name, kind in features.items()
        if isinstance(kind, datasets.Value) and re.search("int|string|bool", kind.dtype) and name not in images
    ]
    usual = [name for name in [*named, *plain] if name.lower() in values.LABELS]
    best = usual or named or [name for name in plain if not _names_images_or_long(table, name)]
    lists = [name for name, kind in features.items() if name not in images and _inner(kind) is not None]
    best = best or [name for name in lists if name.lower() in values.LABELS or _is_hot(table, name)]
    return best, [name for name in features if name not in best]


def _names_images_or_long(table: datasets.Dataset, column: str) -> bool:
    """Whether a column of text is one of paths or of captions."""
    if not _is_text(table.features[column]):
        return False
    return _names_images(table, column) or any(len(text or "") > 100 for text in table[column][:LOOKED_AT])


def _labels(table: datasets.Dataset, column: str, source: str) -> list[Any]:
    """The labels, None where there is none. Raises InputError for a row of several."""
    hot = not isinstance(_entry(table.features[column]), datasets.ClassLabel)
    labels = values.single(source, column, table[column][:], hot)
    return [None if isinstance(label, int) and label < 0 else label for label in labels]


def _load(source: str, path: str, config: str | None, revision: str | None) -> Mapping[str, datasets.Dataset]:
    datasets.disable_progress_bars()
    try:
        if (Path(path) / "dataset_dict.json").exists():
            return datasets.load_from_disk(path)
        if (Path(path) / "state.json").exists():
            return {"train": datasets.load_from_disk(path)}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if files := _files(Path(path)):
                return datasets.load_dataset("parquet", data_files=files)
            return datasets.load_dataset(path, config, revision=revision)
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
        if configs := re.search(r"available configs: \[(.*?)\]", one_line(error)):
            names = [name.strip("' ") for name in configs[1].split(",")]
            raise InputError(
                f"{source} has the configurations {listed(names)}; choose one as {path}:{names[0]}"
            ) from None
        reason = f"{type(error).__name__}: {one_line(error)[:500]}"
        raise InputError(f"{source} is no image data set that `datasets` can open ({reason})") from None


def _files(path: Path) -> dict[str, list[str]]:
    """Parquet files by split, where `datasets` would take what lies beside them: of one file, and beside images."""
    if path.is_file():
        return {"train": [str(path)]}
    if not path.is_dir() or (path / CARDS[0]).exists() or not any(map(_has_images, [path, *path.glob("*/")])):
        return {}
    files = sorted([*path.glob("*.parquet"), *path.glob("*/*.parquet")])
    return {split: list(map(str, held)) for split, held in by_split(files, path).items()}


def _has_images(folder: Path) -> bool:
    return any(IMAGE_NAME.search(entry.name) for entry in os.scandir(folder))


def caches() -> list[Path]:
    """Where `datasets` and the Hub's client keep files."""
    return [Path(folder).resolve() for folder in (datasets.config.HF_DATASETS_CACHE, hub.HF_HUB_CACHE)]
