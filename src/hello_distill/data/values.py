"""Classes out of a column of values: text, whole numbers, booleans. Names of columns that hold images or classes."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import datasets

from hello_distill.data import trees
from hello_distill.data.images import Split, labels_of
from hello_distill.data.names import check_names
from hello_distill.system import context
from hello_distill.system.errors import InputError, listed

IMAGES = (
    "image", "img", "images", "jpg", "jpeg", "png", "webp", "picture", "photo", "pixels", "pixel_values", "file_name",
    "filename", "file", "path", "filepath", "file_path", "image_path", "image_name", "image_id", "id",
)  # fmt: skip
"""Columns that hold images or paths of them, best first."""
LABELS = (
    "label", "fine_label", "labels", "cls", "class", "class_name", "classes", "target", "category", "label_name",
)  # fmt: skip
"""Columns that hold classes, best first."""
PICTURE = {"bytes": datasets.Value("binary"), "path": datasets.Value("binary")}
"""An undecoded image in a table. Paths are bytes, since file names need not be text."""
OPTIONS = {"image": ("--image-column", IMAGES), "label": ("--label-column", LABELS)}


def classes_of(source: str, column: str, values: Sequence[Any]) -> tuple[str, ...]:
    """The distinct values of a column as class names, sorted: numbers by their size, others as text.

    Raises InputError for fewer than two, for so many that they number images, and for names that cannot be meant.
    """
    labelled = [value for value in as_names(values) if value is not None]
    distinct = set(labelled)
    by_number = all(value.isdecimal() for value in distinct)
    names = tuple(sorted(distinct, key=lambda value: (int(value), value) if by_number else (0, value)))
    check_enough(source, len(names))
    if 2 * len(names) > len(labelled):
        raise InputError(
            f"{source}: column {column} holds {len(names)} different values for {len(labelled)} images, so it names "
            "no classes; name the column that does with --label-column"
        )
    check_names(source, names)
    return names


def check_enough(source: str, count: int) -> None:
    """Raise InputError for fewer than two classes."""
    if count < 2:
        raise InputError(f"{source} has {count} classes; a classifier needs at least two")


def targets_of(source: str, values: Sequence[Any], names: Sequence[str]) -> list[int]:
    """Values as indices of class names, -1 where there is none. Raises InputError for a value that is none of these."""
    indices = {name: index for index, name in enumerate(names)}
    found = as_names(values)
    if other := sorted({name for name in found if name is not None and name not in indices}):
        raise InputError(
            f"{source} holds classes that the training images do not: {listed(other)}; remove or rename them"
        )
    return [-1 if name is None else indices[name] for name in found]


def as_names(values: Sequence[Any]) -> list[str | None]:
    """Values as text; None where there is no label: null, empty, or a negative number."""
    return [_as_name(value) for value in values]


def _as_name(value: Any) -> str | None:
    if isinstance(value, float):  # whole numbers come so from columns with gaps
        value = None if math.isnan(value) else int(value) if value.is_integer() else value
    name = "" if value is None else str(value)
    return None if not name or re.fullmatch(r"-\d+", name) else name


def single(source: str, column: str, rows: Sequence[Any], hot: bool = True) -> list[Any]:
    """The class of each row of lists: the place of the only 1 among zeros (`hot`), else the only entry; None of none.

    Rows that are no lists are left as they are. Raises InputError for a row of several classes.
    """
    lists = [row for row in rows if isinstance(row, list)]
    widths = {len(row) for row in lists}
    places = hot and len(widths) == 1 and max(widths) > 1 and all(map(is_hot, lists))
    found = [[place for place, value in enumerate(row) if value] if places else row for row in lists]
    if many := next((row for row, classes in zip(lists, found, strict=True) if len(classes) > 1), None):
        raise InputError(
            f"{source}: column {column} has rows of several classes, such as {str(many)[:60]}, and an image has one "
            "here; keep the rows of one class, each as a text, a number, or a single 1 among zeros, or name another "
            "column with --label-column"
        )
    classes = iter(found)
    return [next(iter(next(classes)), None) if isinstance(row, list) else row for row in rows]


def is_hot(row: Sequence[Any]) -> bool:
    """Whether a list holds ones and zeros alone."""
    return all(value in (0, 1) for value in row)


def column(source: str, role: str, candidates: Sequence[str], others: Sequence[str]) -> str:
    """The column of images or of labels: the one that was named, the best known name, or the only candidate.

    Raises InputError, with the candidates and the option that chooses, where there is none or are several.
    """
    option, usual = OPTIONS[role]
    chosen = context.current().image_column if role == "image" else context.current().label_column
    if chosen is not None:
        if chosen not in (*candidates, *others):
            raise InputError(f"{option} {chosen} is no column of {source}; it has {listed([*candidates, *others], 12)}")
        return chosen
    lower = {name.lower(): name for name in reversed(candidates)}
    if known := next((lower[name] for name in usual if name in lower), None):
        return known
    if len(candidates) == 1:
        return candidates[0]
    if not candidates:
        raise InputError(
            f"{source} needs an image column and a class label column; it has {listed(others, 12)}, of which none "
            f"looks like the {role} column; add one, or name it with {option}"
        )
    raise InputError(
        f"{source} has several columns that may be the {role} column ({listed(candidates, 12)}); choose one with "
        f"{option} {candidates[0]}"
    )


def said(column: str, names: Sequence[str]) -> str:
    """What a run's first line says of classes that a column gave."""
    return f"classes are the sorted values of {column}: {listed(names)}"


def checked(split: Split) -> Split:
    """The split itself. Raises InputError where it, or one of its classes, has no images."""
    if not len(split.table):
        raise InputError(f"{split.source}, split {split.name}: no images in it; fill it or choose another data set")
    if empty := [name for name, count in split.counts().items() if not count]:
        raise InputError(
            f"{split.source}, split {split.name}: no images of {listed(empty)}; add some or remove the class everywhere"
        )
    return split


def without_unlabelled(split: Split) -> Split:
    """The split without rows of no class (-1 in its table), which are counted."""
    import torch

    labels = labels_of(split.table)
    kept = torch.nonzero(labels >= 0).flatten()
    if missing := len(labels) - len(kept):
        if not len(kept):
            raise InputError(
                f"{split.source}, split {split.name}: {missing} images have no label; choose another split"
            )
        split = split.part(kept).noting(f"{missing} rows without a label left out")
    return checked(split)


def in_memory(
    images: Sequence[dict[str, bytes | None]], labels: Sequence[int], names: Sequence[str]
) -> datasets.Dataset:
    """A table of images ({bytes, path}) and their classes."""
    features = datasets.Features({"image": PICTURE, "label": datasets.ClassLabel(names=list(names))})
    return datasets.Dataset.from_dict({"image": list(images), "label": list(labels)}, features=features)


def split_at(
    source: str, name: str, paths: Iterable[str], targets: Sequence[int], names: tuple[str, ...], *roots: Path
) -> Split:
    """A split of images at paths below some folders (resolved), and their classes; -1 is none."""
    table = in_memory(at_paths(paths), targets, names)
    return Split(source, name, table, names, trees.roots(*roots))


def at_paths(paths: Iterable[str]) -> list[dict[str, bytes | None]]:
    """Images of a table by their paths, as bytes, since file names need not be text."""
    return [{"bytes": None, "path": os.fsencode(path)} for path in paths]
