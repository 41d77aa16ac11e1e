"""Open the training or the test split of a source of labelled images.

A source is a folder with one sub-folder per class in `train/` and, to test students on, in `test/` (or `val/`,
`validation/`, ...); class folders alone, which are all trained on; an archive of either; a CSV or JSON Lines file that
lists images; WebDataset shards; a NumPy file; an unpacked data set of torchvision; a Parquet file or a local Hugging
Face data set folder; a Hub id, also behind `hf://`, or `fashion-mnist`; with `:classes=FILE` behind it, the classes
that the file names.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

from hello_distill.data import annotated, archives, arrays, folders, listings, names, trees, values
from hello_distill.data.fashion_mnist import fashion_mnist
from hello_distill.data.folders import Place
from hello_distill.data.images import ImageSet, Split
from hello_distill.data.listings import Listed, Listing
from hello_distill.data.numbered import Numbered, is_numbered
from hello_distill.data.order import check_classes_match
from hello_distill.data.references import CHOSEN, DOWNLOADED, absent, on_hub, parted
from hello_distill.data.shards import Shards, shards_of
from hello_distill.data.tables import Tables
from hello_distill.data.trees import Tree
from hello_distill.format.fields import Square
from hello_distill.system import context
from hello_distill.system.errors import InputError
from hello_distill.system.hub import MARK
from hello_distill.system.machine import device, rest_offline_if_unreachable


@runtime_checkable
class Reader(Protocol):
    """A kind of source."""

    def training(self) -> Split:
        """The split to train on."""

    def test(self, name: str | None) -> Split:
        """The split to test on, of that name or the usual one."""


def open_training(source: str) -> Split:
    """The training split of a source: the one called `train`, or class folders directly below the source.

    Raises InputError where there is no such source, split, label or class; MachineError where a Hub id cannot
    be reached.
    """
    return _named(source, _located(parted(source)[0]).training())


def open_test(source: str, name: str | None = None) -> Split:
    """The split of a source to test on: the one called `test` or `validation`, or that of this name.

    For a source of class folders, `name` may be a path to other class folders. Raises as `open_training`.
    """
    return _named(source, _located(parted(source)[0]).test(name or context.current().test_split))


def read_test_split(
    data: str, classes: Sequence[str], side: int, test: str | None = None, square: Square = "crop"
) -> ImageSet:
    """The images to test on of a source (see `open_test`), as squares of `side` pixels, without what cannot be read.

    Raises InputError where its classes are others, or more than the share `Context.max_bad` cannot be read.
    """
    with context.stage("test data") as stage:
        split = open_test(data, test)
        if split.own_classes == tuple(classes):  # of an artefact from before they were named, or without --class-names
            split = replace(split, classes=split.own_classes)
        check_classes_match(data, split.classes, classes)
        images, skipped = split.read(side, square)
        skipped.check(context.current().max_bad)
        figures = f"{len(images)} images of {images.side} pixels"
        stage.figure = "; ".join([figures, *split.notes, *filter(None, [skipped.summary()])])
    return images.to(device())


def _named(source: str, split: Split) -> Split:
    """The split with the classes only that the source's list names, if it has one; all with names for an encoder."""
    whole, file = parted(source)
    chosen = context.current().class_names
    given, note = names.named(whole, split.classes, chosen)
    called = dict(zip(split.classes, given, strict=True))
    if file is not None:
        split = replace(split.only(names.chosen_classes(source, file, split.classes)), source=source)
    renamed = tuple(called[name] for name in split.classes)
    return replace(split, classes=renamed, own_classes=split.classes).noting(note) if note else split


def _located(source: str) -> Reader:
    """What a source without a list of classes is."""
    if source == DOWNLOADED:
        return Tables(source, str(fashion_mnist()))
    path = Path(source)
    if path.is_dir():
        return _in_folder(source)
    if path.is_file():
        return _in_file(source)
    name, _, config = source.partition(":")
    if config and Path(name).is_dir():
        return Tables(source, name, config)
    if (found := on_hub(source)) is not None:
        rest_offline_if_unreachable()
        return Tables(source, found.name, source.removeprefix(MARK).partition(":")[2] or None, found.revision)
    raise absent(source)


def _in_folder(source: str) -> Reader:
    path = Path(source)
    marks = ("*.parquet", "*/*.parquet", "dataset_dict.json", "state.json")
    if any(any(path.glob(mark)) for mark in marks):
        return Tables(source, source)
    if found := arrays.known_to_torchvision(source):
        return arrays.Torchvision(source, *found)
    if shards := shards_of(source):
        return Shards(source, shards)
    if (files := list(path.glob("*.npz"))) and len(files) == 1:
        return arrays.Arrays(str(files[0]))
    return _in_tree(trees.opened(source))


def _in_file(source: str) -> Reader:
    """What a file is, by its ending."""
    path = Path(source)
    ending = path.suffix.lower()
    if ending == ".parquet":
        return Tables(source, source)
    if ending == ".npz":
        return arrays.Arrays(source)
    if ending in listings.ENDINGS:
        tree = trees.Folder(str(path.parent))
        return _listing(source, {"": Listing(tree, path.name)})
    if archives.is_archive(path):
        shards = shards_of(source)
        return Shards(source, shards) if shards else _in_tree(trees.opened(source))
    raise InputError(
        f"{source} is a file; give the folder that holds train/ and test/, or class folders, or a .zip, .tar, "
        ".parquet, .npz, .csv or .jsonl file"
    )


def _in_tree(tree: Tree) -> Reader:
    """Class folders, unless images are listed by files and there are none."""
    top = folders.base(tree)
    if listed_in := listings.metadata(tree, top):
        return Listed(tree.source, listed_in)
    try:
        folders.training_folder(tree)
    except InputError:
        if files := listings.listings(tree, top):
            return _listing(tree.source, files)
        raise
    return _Folders(tree.source, tree)


def _listing(source: str, files: dict[str, Listing]) -> Reader:
    """Lists of images, or of their pixels."""
    return Numbered(source, files) if any(map(is_numbered, files.values())) else Listed(source, files)


def short_name(source: str) -> str:
    """A source as a result names it: without the folders above it, and above the list of its classes."""
    whole, chosen = parted(source)
    name = Path(whole).resolve().name
    return name if chosen is None else f"{name}{CHOSEN}{Path(chosen).name}"


class _Folders(NamedTuple):
    """Class folders. The classes are in the sorted order of the training folder's names."""

    source: str
    tree: Tree

    def training(self) -> Split:
        return self._split("train", *folders.training_folder(self.tree))

    def test(self, name: str | None) -> Split:
        classes = folders.training_folder(self.tree)[1]
        place = annotated.annotated(self.tree, name)
        if place is None:
            place = folders.test_folder(self.tree, name, classes)
            return self._split(Path(place.shown).name, place, classes)
        found = *annotated.images_of(place, classes), f"classes by {annotated.ANNOTATIONS}"
        return self._of(Path(place.shown).name, place, classes, *found)

    def _split(self, name: str, place: Place, classes: tuple[str, ...]) -> Split:
        paths, targets, litter = folders.images_of(place, classes)
        note = f"{litter} other files left aside" if litter else ""
        return self._of(name, place, classes, paths, targets, note)

    def _of(
        self, name: str, place: Place, classes: tuple[str, ...], paths: list[str], targets: list[int], note: str
    ) -> Split:
        split = values.split_at(self.source, name, paths, targets, classes, place.tree.root)
        return values.checked(split.noting(note))
