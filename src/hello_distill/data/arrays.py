"""Images that are numbers in files: NumPy's `.npz`, and the data sets of torchvision where they lie unpacked."""

from __future__ import annotations

import importlib
import re
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from hello_distill.data import values
from hello_distill.data.folders import test_split, training_split
from hello_distill.data.images import Split
from hello_distill.data.pixels import Numbers, images
from hello_distill.system.errors import InputError, listed, one_line

IMAGE_WORDS = r"x|images?|imgs?|data|features|arr_0"
LABEL_WORDS = r"y|labels?|targets?|classes|arr_1"


class Arrays(NamedTuple):
    """A NumPy file: `x_train` and `y_train`, `train_images` and `train_labels`, `images` and `labels`, and the like."""

    source: str

    def training(self) -> Split:
        pairs = self._pairs()
        return self._split(training_split(self.source, list(pairs)), pairs, None)

    def test(self, name: str | None) -> Split:
        pairs, train = self._pairs(), self.training()
        found = test_split(self.source, name, pairs, train.name, "add the arrays x_test and y_test")
        return self._split(found, pairs, train.classes)

    def _pairs(self) -> dict[str, tuple[str, str]]:
        """Names of the arrays of images and labels, by split; one pair alone is of the split ``."""
        try:
            with np.load(self.source, allow_pickle=False) as file:
                keys = list(file.files)
        except (OSError, ValueError, zipfile.BadZipFile, EOFError) as error:
            raise InputError(f"{self.source} cannot be read ({one_line(error)}); write it with numpy.savez") from None
        images, labels = (self._by_split(keys, words) for words in (IMAGE_WORDS, LABEL_WORDS))
        pairs = {split: (images[split], labels[split]) for split in images if split in labels}
        if not pairs:
            raise InputError(
                f"{self.source} holds the arrays {listed(keys)}; name them x_train and y_train, or images and labels"
            )
        return pairs

    @staticmethod
    def _by_split(keys: Sequence[str], words: str) -> dict[str, str]:
        """The arrays whose names say one of these words, by what else their names say."""
        found: dict[str, str] = {}
        for key in keys:
            if match := re.fullmatch(rf"(?i)(?:(?P<a>[a-z]+)_)?(?:{words})(?:_(?P<b>[a-z]+))?", key):
                found.setdefault((match["a"] or match["b"] or "").lower(), key)
        return found

    def _split(self, name: str, pairs: Mapping[str, tuple[str, str]], names: tuple[str, ...] | None) -> Split:
        images, labels = pairs[name]
        with np.load(self.source, allow_pickle=False) as file:
            try:
                pixels, targets = file[images], file[labels]
            except ValueError as error:  # of pickled objects
                raise InputError(
                    f"{self.source} cannot be read ({one_line(error)}); save plain arrays: uint8 images of one size"
                ) from None
        targets = targets.reshape(len(targets), -1) if targets.ndim > 1 else np.atleast_1d(targets)  # (n 1 1) is (n 1)
        single = values.single(self.source, labels, list(targets.tolist()))
        return split_of(self.source, name or "train", pixels, single, names, labels)


def split_of(
    source: str,
    name: str,
    pixels: Numbers,
    labels: Sequence[Any],
    names: tuple[str, ...] | None,
    column: str,
) -> Split:
    """A split of pixels and values of labels. `names` None: the classes are the sorted values."""
    if len(pixels) != len(labels):
        raise InputError(f"{source}: {len(pixels)} images and {len(labels)} labels ({column}); save as many of each")
    known = values.classes_of(source, column, labels) if names is None else names
    table = values.in_memory(images(source, pixels), values.targets_of(f"{source}, split {name}", labels, known), known)
    split = Split(source, name, table, known)
    return values.without_unlabelled(split.noting(values.said(column, known) if names is None else ""))


class Known(NamedTuple):
    """A data set of torchvision, by what lies in its folder."""

    mark: str
    """A file or folder in it."""
    name: str
    """The class in `torchvision.datasets`."""
    train: dict[str, Any]
    test: dict[str, Any]


SPLITS = ({"split": "train"}, {"split": "test"})
FLAGS = ({"train": True}, {"train": False})
TORCHVISION = (
    Known("cifar-10-batches-py", "CIFAR10", *FLAGS),
    Known("cifar-100-python", "CIFAR100", *FLAGS),
    Known("MNIST/raw", "MNIST", *FLAGS),
    Known("FashionMNIST/raw", "FashionMNIST", *FLAGS),
    Known("KMNIST/raw", "KMNIST", *FLAGS),
    Known("train_32x32.mat", "SVHN", *SPLITS),
    Known("stl10_binary", "STL10", *SPLITS),
    Known("food-101/meta", "Food101", *SPLITS),
    Known("dtd/dtd/labels", "DTD", *SPLITS),
    Known("oxford-iiit-pet/annotations", "OxfordIIITPet", {"split": "trainval"}, {"split": "test"}),
    Known("flowers-102/imagelabels.mat", "Flowers102", *SPLITS),
    Known("fgvc-aircraft-2013b/data", "FGVCAircraft", {"split": "trainval"}, {"split": "test"}),
    Known("gtsrb/GTSRB", "GTSRB", *SPLITS),
    Known("stanford_cars/devkit", "StanfordCars", *SPLITS),
    Known("usps.bz2", "USPS", *FLAGS),
)
"""Those whose folders are no class folders; the others (EuroSAT, Caltech101, Imagenette) are read as such."""


def known_to_torchvision(source: str) -> tuple[Path, Known] | None:
    """The folder above a data set of torchvision, and which one it is; DATA may be that folder or the set's own."""
    folder = Path(source).resolve()
    for root in (folder, *folder.parents[:2]):
        inside = "" if root == folder else folder.relative_to(root).as_posix() + "/"
        for known in TORCHVISION:
            if f"{known.mark}/".startswith(inside) and (root / known.mark).exists():
                return root, known
    return None


class Torchvision(NamedTuple):
    """A data set of torchvision, unpacked."""

    source: str
    root: Path
    known: Known

    def training(self) -> Split:
        return self._split("train", self.known.train)

    def test(self, name: str | None) -> Split:
        if name not in (None, "test"):
            raise InputError(f"--test {name} is no split of {self.source}; leave it out, or give --test held-out")
        return self._split("test", self.known.test)

    def _split(self, name: str, options: dict[str, Any]) -> Split:
        made = getattr(importlib.import_module("torchvision.datasets"), self.known.name)
        try:
            data = made(str(self.root), download=False, **options)
        except Exception as error:  # of any class, for files that are cut short or others
            raise InputError(
                f"{self.source} is not the whole {self.known.name} of torchvision ({one_line(error)[:200]}); fetch it "
                f"again: torchvision.datasets.{self.known.name}({str(self.root)!r}, download=True)"
            ) from None
        names = tuple(re.sub(r"^\d+ - ", "", str(each)) for each in getattr(data, "classes", ()))
        files, labels = _listed(data)
        present = sorted(set(labels))
        known = tuple(names[label] if names else str(label) for label in present)
        if files is None:
            numbers = tuple(map(str, present))
            split = replace(
                split_of(self.source, name, np.asarray(data.data), labels, numbers, "targets"), classes=known
            )
        else:
            targets = [present.index(label) for label in labels]
            split = values.checked(values.split_at(self.source, name, files, targets, known, self.root.resolve()))
        return split.noting(f"read as {self.known.name} of torchvision")


def _listed(data: Any) -> tuple[list[str] | None, list[int]]:
    """Paths of the images of a data set, None where they are in memory, and the numbers of their classes."""
    if pairs := getattr(data, "_samples", None):
        return [str(path) for path, _ in pairs], [int(label) for _, label in pairs]
    if files := getattr(data, "_image_files", None) or getattr(data, "_images", None):
        return list(map(str, files)), list(data._labels)
    return None, np.asarray(data.labels if (labels := getattr(data, "targets", None)) is None else labels).tolist()
