"""Sources in tar shards and NumPy files, for the table of `test_sources`."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from cases import (
    SPLITS,
    case,
    hot,
    pixels,
    shard,
    words,
)

# Shards.


def shards(folder: Path, label: str = "txt", value: Callable[[int], str] = words, name: str = "{}-000000.tar") -> Path:
    for split in SPLITS:
        shard(folder / name.format(split), split, label, value)
    return folder


def record(field: str, **more: str) -> Callable[[int], str]:
    """The JSON of a sample, with its class in a field."""
    return lambda target: json.dumps({field: words(target), **more})


case("WebDataset", classes=("0", "1"))(lambda folder: shards(folder, "cls", str))
case("WebDataset in folders")(lambda folder: shards(folder, name="{}/0.tar"))
case("one WebDataset shard", tested=False)(lambda folder: shard(folder / "all.tar", "train", "txt", words))
case("WebDataset with JSON")(lambda folder: shards(folder, "json", record("label", id="7")))
case("WebDataset with other JSON", told="several columns that may be the label column \\(json.kind, json.place\\)")(
    lambda folder: shards(folder, "json", record("kind", place="a"))
)

# Arrays.


def npz(
    folder: Path,
    names: Mapping[str, tuple[str, str]],
    change: Callable[..., Any] = lambda images: images,
    label: Callable[..., Any] = lambda labels: labels,
) -> Path:
    arrays = {}
    for split, (images, labels) in names.items():
        given = pixels(split)
        arrays |= {images: change(given[0]), labels: label(np.array(given[1]))}
    np.savez(folder / "data.npz", **arrays)
    return folder / "data.npz"


KERAS = {"train": ("x_train", "y_train"), "test": ("x_test", "y_test")}
DIGITS = {"classes": ("0", "1")}
case("npz of Keras", **DIGITS)(lambda folder: npz(folder, KERAS))
case("npz of MedMNIST", **DIGITS)(
    lambda folder: npz(folder, {split: (f"{split}_images", f"{split}_labels") for split in SPLITS})
)
case("npz of images and labels", tested=False, **DIGITS)(lambda folder: npz(folder, {"train": ("images", "labels")}))
case("npz of labels in columns of columns", **DIGITS)(
    lambda folder: npz(folder, KERAS, label=lambda y: y[:, None, None])
)
case("npz, channels first", **DIGITS)(lambda folder: npz(folder, KERAS, lambda images: images.transpose(0, 3, 1, 2)))
case("npz of shares of one", **DIGITS)(lambda folder: npz(folder, KERAS, lambda images: images / 255.0))
case("npz in its folder", **DIGITS)(lambda folder: npz(folder, KERAS).parent)
case(
    "npz of flat rows",
    told=r"an image has the shape \(192,\), and should have \(height, width, 3\) .*numpy.savez\(FILE",
    change=lambda folder: npz(folder, KERAS),
    **DIGITS,
)(lambda folder: npz(folder, KERAS, lambda images: images.reshape(len(images), -1)))
case(
    "npz of numbers beyond a byte",
    told="images are not numbers from 0 to 255; save them as uint8",
    change=lambda folder: npz(folder, KERAS),
    **DIGITS,
)(lambda folder: npz(folder, KERAS, lambda images: images * 100.0))
case(
    "npz of other names",
    told="holds the arrays a, b; name them x_train and y_train",
    change=lambda folder: npz(folder, KERAS),
    **DIGITS,
)(lambda folder: npz(folder, {"train": ("a", "b")}))

case("npz of rows of grey", grey=True, **DIGITS)(
    lambda folder: npz(folder, KERAS, lambda images: images[..., 1].reshape(len(images), -1))
)


def npz_of_lists(folder: Path, labels: Callable[[int], list[int]]) -> Path:
    """Labels (n c)."""
    arrays = {}
    for split in SPLITS:
        images, targets = pixels(split)
        arrays |= {f"x_{split}": images, f"y_{split}": np.array([labels(target) for target in targets])}
    np.savez(folder / "data.npz", **arrays)
    return folder / "data.npz"


SEVERAL = r"has rows of several classes, such as \[1, 1\], and an image has one here; keep the rows of one class"
case("npz of one-hot labels", **DIGITS)(lambda folder: npz_of_lists(folder, hot))
case("npz of labels in a column", **DIGITS)(lambda folder: npz_of_lists(folder, lambda target: [target]))
case("npz of many-hot labels", told=SEVERAL, change=lambda folder: npz_of_lists(folder, hot), **DIGITS)(
    lambda folder: npz_of_lists(folder, lambda target: [1, 1] if target else [1, 0])
)
