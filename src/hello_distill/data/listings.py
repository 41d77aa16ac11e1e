"""A CSV, TSV or JSON Lines file that lists images and their classes, beside the images or among them.

`metadata.csv` and `metadata.jsonl` of the ImageFolder layout are such files, one in each split. Read here and not by
`datasets`, whose CSV reader takes a class called NA for none, and which would copy every path into its cache.
"""

from __future__ import annotations

import csv
import io
import itertools
import json
import re
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from hello_distill.data import values
from hello_distill.data.folders import TEST_WORDS, TRAIN_WORDS, split_names, test_split, training_split
from hello_distill.data.images import Split
from hello_distill.data.trees import Tree, join
from hello_distill.system import context
from hello_distill.system.errors import InputError, one_line

ENDINGS = (".csv", ".tsv", ".jsonl", ".ndjson", ".json")
METADATA = ("metadata.csv", "metadata.jsonl")
PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".JPG", ".JPEG", ".PNG")
"""Endings that a list may leave out."""
LOOKED_AT = 20
"""Rows by which it is found where the images lie."""


class Listing(NamedTuple):
    """A file that lists images, in a tree."""

    tree: Tree
    file: str

    @property
    def shown(self) -> str:
        """As people find it."""
        return self.tree.shown(self.file)

    @property
    def folder(self) -> str:
        """Where it lies in its tree."""
        return self.file.rpartition("/")[0]

    def rows(self) -> list[dict[str, Any]]:
        """Its rows by column. Raises InputError where it is no such file."""
        try:
            text = self.tree.content(self.file).decode("utf-8-sig")
            rows = _json(text) if "json" in self.file.rpartition(".")[2] else _csv(text)
        except (ValueError, csv.Error, RecursionError) as error:
            raise InputError(
                f"{self.shown} cannot be read ({one_line(error)[:200]}); write CSV with a header, or JSON Lines"
            ) from None
        if not rows or not all(isinstance(row, dict) for row in rows):
            raise InputError(f"{self.shown} lists nothing; write a header and a row for each image, or JSON Lines")
        if first := next((name for name in rows[0] if str(name).lower().endswith(PICTURES)), None):
            raise InputError(f"{self.shown} has no header: its first line names {first}; put the line path,label above")
        return rows


def _json(text: str) -> list[Any]:
    if text.lstrip().startswith("["):
        rows: list[Any] = json.loads(text)
        return rows
    return [json.loads(line) for line in text.splitlines() if line.strip()]


def _csv(text: str) -> list[dict[str, Any]]:
    first = text.partition("\n")[0]
    delimiter = max(",;\t|", key=first.count)
    return list(csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True))


def listings(tree: Tree, at: str) -> dict[str, Listing]:
    """Lists in a folder by the split that they are of: those that a name says, or one alone for all there is."""
    files = sorted(name for name, is_folder in tree.entries(at) if not is_folder and _is_list(name))
    if metadata := [name for name in METADATA if name in files]:
        return {"": Listing(tree, join(at, metadata[0]))}
    for called in (_stem, _last_word):
        stems = {called(name): name for name in reversed(files)}
        named = split_names(stems, (*TRAIN_WORDS, *TEST_WORDS))
        if len(stems) == len(files) and any(stem in split_names(named, TRAIN_WORDS) for stem in named):
            return {stem: Listing(tree, join(at, stems[stem])) for stem in named}
    return {"": Listing(tree, join(at, files[0]))} if len(files) == 1 else {}


def _stem(name: str) -> str:
    return PurePosixPath(name).stem


def _last_word(name: str) -> str:
    """What the name of `mnist_train.csv` ends with."""
    return re.split(r"[-_. ]", _stem(name))[-1]


def metadata(tree: Tree, at: str) -> dict[str, Listing]:
    """The metadata of each split folder (or of the folder itself), if it lists classes; empty where there is none."""
    splits = split_names(tree.folders(at), (*TRAIN_WORDS, *TEST_WORDS))
    held = {name: join(at, name) for name in splits} or {"": at}
    found = {
        split: Listing(tree, join(folder, name))
        for split, folder in held.items()
        for name in METADATA[::-1]
        if (name, False) in tree.entries(folder)
    }
    rows = next(iter(found.values())).rows() if found else []
    columns = [name for name in (rows[0] if rows else {}) if name]
    chosen = context.current().label_column
    return found if any(name.lower() in (*values.LABELS, chosen) for name in columns) or len(columns) == 2 else {}


def _is_list(name: str) -> bool:
    return name.lower().endswith(ENDINGS) and not name.startswith(".") and name not in ("dataset_infos.json",)


class Listed(NamedTuple):
    """A source whose images are listed by files."""

    source: str
    files: dict[str, Listing]
    """By split; one list alone has the name ``, and a column called `split` may divide it."""

    def training(self) -> Split:
        splits = self._splits()
        name = training_split(self.source, list(splits))
        return self._split(name or "train", splits[name], None)

    def test(self, name: str | None) -> Split:
        splits, train = self._splits(), self.training()
        change = "list one in test.csv beside it, or in a column called split"
        found = test_split(self.source, name, splits, train.name, change)
        return self._split(found, splits[found], train)

    def _splits(self) -> dict[str, tuple[Listing, list[dict[str, Any]]]]:
        """Rows by split, with the file that lists them."""
        found: dict[str, tuple[Listing, list[dict[str, Any]]]] = {}
        for split, file in self.files.items():
            rows = file.rows()
            if split or "split" not in rows[0]:
                found[split] = (file, rows)
                continue
            for row in rows:
                found.setdefault(str(row["split"]), (file, []))[1].append(row)
        return found

    def _split(self, name: str, listed_by: tuple[Listing, list[dict[str, Any]]], train: Split | None) -> Split:
        file, rows = listed_by
        columns = [column for column in rows[0] if column and column != "split"]
        images, paths = _paths(file, rows, columns)
        column = values.column(file.shown, "label", [other for other in columns if other != images], columns)
        found = values.single(file.shown, column, [row.get(column) for row in rows])
        names = values.classes_of(file.shown, column, found) if train is None else train.classes
        targets = values.targets_of(f"{file.shown}, split {name}", found, names)
        split = values.split_at(self.source, name, paths, targets, names, file.tree.root)
        return values.without_unlabelled(split.noting(values.said(column, names)))


def _paths(file: Listing, rows: Sequence[dict[str, Any]], columns: Sequence[str]) -> tuple[str, list[str]]:
    """The column that names images, and their paths.

    They lie beside the list, or in a folder beside it; a list may leave their ending out. Raises InputError where a
    column is chosen, or there is one by its name, and the images are not there.
    """
    chosen = context.current().image_column
    usual = [name for known in values.IMAGES for name in columns if name.lower() == known]
    tried = [chosen] if chosen else list(dict.fromkeys([*usual, *columns]))
    if chosen and chosen not in columns:
        values.column(file.shown, "image", [], columns)
    places = ["", *file.tree.folders(file.folder)]
    for column in tried:
        sample = [_slashed(row.get(column)) for row in rows[:LOOKED_AT]]
        for place, ending in itertools.product(places, ("", *PICTURES)):
            if any(file.tree.is_file(_beside(file, place, f"{name}{ending}")) for name in sample):
                named = [_beside(file, place, f"{_slashed(row.get(column))}{ending}") for row in rows]
                return column, [file.tree.path(name) for name in named]
    first = (chosen or (usual or [columns[0]])[0]) if columns else ""
    raise InputError(
        f"the images that {file.shown} lists are not there: column {first} names {rows[0].get(first)!r}, which is "
        "neither beside it nor in a folder beside it; put them there, or name the column of their paths with "
        "--image-column"
    )


def _slashed(value: Any) -> str:
    return str(value).replace("\\", "/")


def _beside(file: Listing, place: str, name: str) -> str:
    """A path in the list's tree; one that begins at the root is left as it is."""
    return name if name.startswith("/") else join(join(file.folder, place), name)
