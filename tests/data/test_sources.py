"""Data as people have them: a table of small sources, each read as it is meant, or refused with what makes it work.

Every image has one colour, by which its class, its number and its split are known again. A sentence that refuses a
source holds an option, which the test takes from it and gives, or a change, which the test makes: both must work.
"""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch
from cases import (
    NAMED,
    SIDE,
    SPLITS,
    Case,
    both,
    emptied,
    loose,
    moved_up,
    parquet,
    picture,
    pixels,
    png,
    read_all,
    rows,
    seven,
    shard,
    table,
    tarred,
    tree,
    tried,
    words,
    write_csv,
    zipped,
)
from PIL import Image

from hello_distill.data import reading
from hello_distill.data.decoding import MAX_BYTES
from hello_distill.data.sources import open_training
from hello_distill.system.errors import InputError

CASES: dict[str, Case] = {}


def case(name: str, **expected: Any) -> Callable[[Callable[[Path], object]], Callable[[Path], object]]:
    """Add a source to the table."""

    def add(make: Callable[[Path], object]) -> Callable[[Path], object]:
        assert name not in CASES
        CASES[name] = Case(make, **expected)
        return make

    return add


# Folders.

for _train in ("train", "Train", "TRAIN", "training", "training_set"):
    case(f"folder {_train}")(lambda folder, train=_train: tree(folder, train))
for _test in ("test", "Test", "testing", "eval", "val", "valid", "validation", "dev", "test_set"):
    case(f"test folder {_test}")(lambda folder, test=_test: tree(folder, test=test))
case("class folders alone", tested=False)(lambda folder: tree(folder, "", None))
case("one wrapping folder")(lambda folder: tree(folder / "photos").parent)
case("one wrapping folder of class folders", tested=False)(lambda folder: tree(folder / "photos", "", None).parent)
case("two wrapping folders")(lambda folder: tree(folder / "photos" / "photos").parents[1])
case("a split wrapped in its own name")(lambda folder: tree(folder, "train/train", "test/test"))
case("a class called train", classes=("bus", "train"), tested=False)(
    lambda folder: tree(folder, "", None, ("bus", "train"))
)
case("classes called 1, 2, 10", classes=("1", "10", "2"))(lambda folder: tree(folder, classes=("1", "10", "2")))
case("wide letters and spaces", classes=("big dog", "犬"))(lambda folder: tree(folder, classes=("big dog", "犬")))


@case("litter of every kind", notes="^[1-9] other files left aside$")
def litter(folder: Path) -> Path:
    tree(folder)
    for name in ("Thumbs.db", ".DS_Store", "desktop.ini", "notes.txt", "old.zip", "labels.csv"):
        (folder / "train" / "cat" / name).write_bytes(b"x")
    (folder / "train" / ".ipynb_checkpoints").mkdir()
    (folder / "__MACOSX" / "train").mkdir(parents=True)
    return folder


def annotated(folder: Path, labels: tuple[str, str] = ("cat", "dog")) -> Path:
    """Laid out as Tiny-ImageNet: images and boxes in class folders, the classes of `val` in a file, none of `test`."""
    tree(folder, test=None, inner="images")
    for name in ("cat", "dog"):
        (folder / "train" / name / f"{name}_boxes.txt").write_text("0.png\t0\t0\t8\t8\n")
    listed = loose(folder / "val" / "images", "test")
    loose(folder / "test" / "images", "train")
    called = dict(zip(("cat", "dog"), labels, strict=True))
    lines = [f"{name}.png\t{called[label]}\t0\t0\t8\t8\n" for name, label in listed]
    (folder / "val" / "val_annotations.txt").write_text("".join(lines))
    return folder


case("the layout of Tiny-ImageNet")(annotated)
case("Tiny-ImageNet, zipped as it comes")(
    lambda folder: zipped(annotated(folder / "x"), folder / "a.zip", "tiny-imagenet-200")
)
case("Tiny-ImageNet, its test split by name", options={"test_split": "val"})(annotated)


@case(
    "annotations of other classes",
    told=r"val_annotations.txt names classes that the training .* do not have: cow",
    change=annotated,
)
def annotated_otherwise(folder: Path) -> Path:
    return annotated(folder, ("cat", "cow"))


@case(
    "annotations without classes",
    told=r"val_annotations.txt, line 1, has no class behind a tab; write IMAGE",
    change=annotated,
)
def annotated_by_nothing(folder: Path) -> Path:
    annotated(folder)
    file = folder / "val" / "val_annotations.txt"
    file.write_text(file.read_text().replace("\t", " "))
    return folder


@case("links within the data")
def links_within(folder: Path) -> Path:
    tree(folder)
    (folder / "train" / "dog").rename(folder / "shared")
    (folder / "train" / "dog").symlink_to("../shared")
    return folder


def linked(folder: Path) -> Path:
    """A subset of linked class folders, as people build them."""
    tree(folder / "whole")
    for split in SPLITS:
        (folder / "part" / split).mkdir(parents=True)
        for name in ("cat", "dog"):
            (folder / "part" / split / name).symlink_to(folder / "whole" / split / name)
    return folder / "part"


def linked_files(folder: Path) -> Path:
    tree(folder / "whole")
    for path in list((folder / "whole").rglob("*.png")):
        link = folder / "part" / path.relative_to(folder / "whole")
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(path)
    return folder / "part"


case("folders linked from elsewhere", told="is a link that leads out of")(linked)
case("folders linked from elsewhere, followed", options={"follow_links": True})(linked)
case("files linked from elsewhere", told="no image can be read")(linked_files)
case("files linked from elsewhere, followed", options={"follow_links": True})(linked_files)


def two_trainings(folder: Path) -> Path:
    tree(folder, test=None)
    return tree(folder, "training")


case("two folders to train on", told="has several folders to train on: train, training")(two_trainings)
case("only a test folder", told="has test/ but no train/ folder", tested=False)(
    lambda folder: tree(folder, "test", None)
)
case("a folder in each class folder")(lambda folder: tree(folder, inner="images"))
case(
    "folders in class folders",
    told="class folders hold folders: cat .*move them up",
    change=moved_up,
)(lambda folder: tree(tree(folder), inner="images"))
case(
    "a single class",
    told="holds 1 class folders; a classifier needs at least two",
    change=lambda folder: tree(folder),
)(lambda folder: tree(folder, classes=("cat",)))
case("train and val given by name", options={"train_split": "a", "test_split": "b"})(
    lambda folder: tree(folder, "a", "b")
)

case(
    "a class that is tested on alone",
    told="test holds classes that the training images do not: emu; rename or remove them",
    change=lambda folder: shutil.rmtree(folder / "test" / "emu"),
)(lambda folder: (tree(folder), (folder / "test" / "emu").mkdir())[0])
case(
    "no test split",
    told="has no test split; put held-out images into .*/test/CLASS/",
    change=lambda folder: tree(folder),
)(lambda folder: tree(folder, test=None))

# Archives.

case("zip")(lambda folder: zipped(tree(folder / "x"), folder / "photos.zip"))
case("zip with a folder around")(lambda folder: zipped(tree(folder / "x"), folder / "photos.zip", "photos"))
case("zip of class folders", tested=False)(lambda folder: zipped(tree(folder / "x", "", None), folder / "photos.zip"))
case("tar")(lambda folder: tarred(tree(folder / "x"), folder / "photos.tar", "w"))
case("tar.gz")(lambda folder: tarred(tree(folder / "x"), folder / "photos.tar.gz", "w:gz"))
case("tgz")(lambda folder: tarred(tree(folder / "x"), folder / "photos.tgz", "w:gz"))
case("tar.xz")(lambda folder: tarred(tree(folder / "x"), folder / "photos.tar.xz", "w:xz"))


@case("zip made on a Mac")
def mac_zip(folder: Path) -> str:
    tree(folder / "x")
    for split in SPLITS:
        (folder / "x" / "__MACOSX" / split / "cat").mkdir(parents=True)
        (folder / "x" / "__MACOSX" / split / "cat" / "._0.png").write_bytes(b"x")
    return zipped(folder / "x", folder / "photos.zip")


@case("zip made on Windows")
def windows_zip(folder: Path) -> str:
    tree(folder / "x")
    with zipfile.ZipFile(folder / "photos.zip", "w") as packed:
        for path in sorted((folder / "x").rglob("*.png")):
            info = zipfile.ZipInfo("x")
            info.filename = str(path.relative_to(folder / "x")).replace("/", "\\")
            packed.writestr(info, path.read_bytes())
    return str(folder / "photos.zip")


@case("zip of images and a CSV", notes="^classes are the sorted values of label: cat, dog$")
def zip_and_csv(folder: Path) -> str:
    listed = loose(folder / "x" / "images")
    write_csv(folder / "x" / "train.csv", ("path", "label"), [(f"images/{name}.png", label) for name, label in listed])
    listed = loose(folder / "x" / "images", "test")
    write_csv(folder / "x" / "test.csv", ("path", "label"), [(f"images/{name}.png", label) for name, label in listed])
    return zipped(folder / "x", folder / "photos.zip")


def cut_zip(folder: Path) -> str:
    file = Path(zipped(tree(folder / "x"), folder / "photos.zip"))
    file.write_bytes(file.read_bytes()[:-60])
    return str(file)


case(
    "zip that is cut short",
    told="is no archive that can be read .*unpack it and give the folder",
    change=lambda folder: folder / "x",
)(cut_zip)
case(
    "a file that is none of these",
    told="is a file; give the folder",
    change=lambda folder: tree(folder / "x"),
)(seven)

# Lists.


def metadata(folder: Path, lines: bool, columns: tuple[str, str] = ("file_name", "label"), inner: str = "") -> Path:
    """ImageFolder with metadata in each split."""
    for split in SPLITS:
        listed = [(str(Path(inner, f"{name}.png")), label) for name, label in loose(folder / split / inner, split)]
        if lines:
            text = "\n".join(json.dumps(dict(zip(columns, row, strict=True))) for row in listed)
            (folder / split / "metadata.jsonl").write_text(text)
        else:
            write_csv(folder / split / "metadata.csv", columns, listed)
    return folder


def csv_beside(
    folder: Path,
    header: tuple[str, ...],
    row: Callable[[str, str], tuple[Any, ...]],
    delimiter: str = ",",
    place: str = "",
) -> Path:
    """labels.csv with a column of splits beside the images."""
    listed = [(split, *each) for split in SPLITS for each in loose(folder / place, split)]
    full = [(*row(name, label), split) for split, name, label in listed]
    return write_csv(folder / "labels.csv", (*header, "split"), full, delimiter)


case("metadata.csv", notes="^classes are the sorted values of label: cat, dog$")(lambda folder: metadata(folder, False))
case("metadata.jsonl")(lambda folder: metadata(folder, True))
case("metadata.jsonl, images deeper")(lambda folder: metadata(folder, True, inner="images"))
case("metadata of another column")(lambda folder: metadata(folder, False, ("file_name", "species")))
case("CSV")(lambda folder: csv_beside(folder, ("path", "label"), lambda name, label: (f"{name}.png", label)))
case("CSV found in its folder")(
    lambda folder: csv_beside(folder, ("path", "label"), lambda name, label: (f"{name}.png", label)).parent
)
case("CSV with semicolons")(
    lambda folder: csv_beside(folder, ("path", "label"), lambda name, label: (f"{name}.png", label), ";")
)
case("CSV whose names have no ending")(
    lambda folder: csv_beside(folder, ("id", "breed"), lambda name, label: (name, label), place="images")
)
case("CSV with paths of Windows")(
    lambda folder: csv_beside(
        folder, ("file", "class"), lambda name, label: (f"images\\{name}.png", label), place="images"
    )
)
case("CSV of absolute paths")(
    lambda folder: csv_beside(folder, ("path", "label"), lambda name, label: (folder / f"{name}.png", label))
)
case(
    "CSV of paths elsewhere",
    told="no image can be read: .*outside of the source.*--follow-links",
)(lambda folder: csv_elsewhere(folder))
case("CSV of paths elsewhere, followed", options={"follow_links": True})(lambda folder: csv_elsewhere(folder))


def csv_elsewhere(folder: Path) -> Path:
    """A list in one folder, of images in another."""
    file = csv_beside(folder, ("path", "label"), lambda name, label: (folder / f"{name}.png", label))
    (folder / "lists").mkdir()
    return file.rename(folder / "lists" / "labels.csv")


@case("JSON list")
def json_list(folder: Path) -> Path:
    listed = [
        {"img": f"{name}.png", "target": label, "split": split}
        for split in SPLITS
        for name, label in loose(folder, split)
    ]
    (folder / "labels.json").write_text(json.dumps(listed))
    return folder / "labels.json"


@case("JSON Lines of booleans", classes=("False", "True"))
def json_lines(folder: Path) -> Path:
    listed = [
        json.dumps({"path": f"{name}.png", "is_dog": label == "dog", "split": split})
        for split in SPLITS
        for name, label in loose(folder, split)
    ]
    (folder / "labels.jsonl").write_text("\n".join(listed))
    return folder / "labels.jsonl"


case(
    "CSV that numbers its images",
    told="column label holds 6 different values for 6 images.*--label-column",
    change=lambda folder: csv_beside(folder, ("path", "label"), lambda name, label: (f"{name}.png", label)),
)(lambda folder: write_csv(folder / "labels.csv", ("path", "label"), [(f"{n}.png", n) for n, _ in loose(folder)]))
case("CSV of whole numbers", classes=("3", "12"))(
    lambda folder: csv_beside(folder, ("path", "y"), lambda name, label: (f"{name}.png", 3 if label == "cat" else 12))
)
case("CSV with a class called NA", classes=("NA", "dog"))(
    lambda folder: csv_beside(
        folder, ("path", "y"), lambda name, label: (f"{name}.png", "NA" if label == "cat" else label)
    )
)


@case("TSV with a byte order mark")
def marked(folder: Path) -> Path:
    file = csv_beside(folder, ("path", "label"), lambda name, label: (f"{name}.png", label), "\t")
    (folder / "labels.tsv").write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    return folder / "labels.tsv"


@case("train.csv and test.csv")
def csv_of_each(folder: Path) -> Path:
    for split in SPLITS:
        listed = [(f"{split}/{name}.png", label) for name, label in loose(folder / split, split)]
        write_csv(folder / f"{split}.csv", ("image", "label"), listed)
    return folder


@case("CSV without some labels", tested=False, notes="2 rows without a label left out")
def csv_with_gaps(folder: Path) -> Path:
    listed = [(f"{name}.png", label) for name, label in loose(folder)]
    for extra in ("x", "y"):
        (folder / f"{extra}.png").write_bytes(png("train", 0, 9))
    return write_csv(folder / "labels.csv", ("path", "label"), [*listed, ("x.png", ""), ("y.png", "")])


def two_labels(name: str, label: str) -> tuple[Any, ...]:
    return f"{name}.png", label, "pet" if name[-1] == "0" else "stray"


case("CSV with two columns of classes", told="has several columns that may be the label column \\(kind, status\\)")(
    lambda folder: csv_beside(folder, ("path", "kind", "status"), two_labels)
)
case("CSV whose column is chosen", options={"label_column": "kind"})(
    lambda folder: csv_beside(folder, ("path", "status", "kind"), lambda *row: (two_labels(*row)[0], "x", row[1]))
)


def csv_alone(folder: Path) -> Path:
    file = csv_beside(folder, ("path", "label"), lambda name, label: (f"{name}.png", label))
    for path in folder.glob("*.png"):
        path.unlink()
    return file


case(
    "CSV without its images",
    told="the images that .* lists are not there: .*put them there",
    change=lambda folder: [loose(folder, split) for split in SPLITS],
)(csv_alone)
case(
    "CSV without a header",
    told="has no header: its first line names a.png; put the line path,label above",
    change=lambda folder: csv_beside(folder, ("path", "label"), lambda name, label: (f"{name}.png", label)),
)(lambda folder: write_csv(folder / "labels.csv", ("a.png", "cat"), [(f"{n}.png", c) for n, c in loose(folder)]))

case("JSON Lines of one-hot labels", classes=("0", "1"))(
    lambda folder: lines_of(folder, lambda label: [int(label == "cat"), int(label == "dog")])
)


def lines_of(folder: Path, label: Callable[[str], Any]) -> Path:
    listed = [
        json.dumps({"path": f"{name}.png", "label": label(called), "split": split})
        for split in SPLITS
        for name, called in loose(folder, split)
    ]
    (folder / "labels.jsonl").write_text("\n".join(listed))
    return folder / "labels.jsonl"


# Lists of pixels.


def csv_of_pixels(
    folder: Path,
    header: Callable[[int], str] | None = "pixel{}".format,
    name: str = "{}.csv",
    colours: bool = False,
    label: str = "label",
) -> Path:
    """A file for each split; without a `header` the class alone stands before the pixels."""
    folder.mkdir(exist_ok=True)
    for split in SPLITS:
        images, labels = pixels(split)
        flat = images.reshape(len(images), -1) if colours else images[..., 1].reshape(len(images), -1)
        listed = [(target if header is None else words(target), *row) for target, row in zip(labels, flat, strict=True)]
        first, *others = listed if header is None else [(label, *map(header, range(flat.shape[1]))), *listed]
        write_csv(folder / name.format(split), first, others)
    return folder


def csv_as_npz(folder: Path) -> Path:
    arrays: dict[str, Any] = {}
    for split in SPLITS:
        with (folder / f"{split}.csv").open() as file:
            _, *lines = csv.reader(file)
        images = np.array([line[1:] for line in lines]).astype(np.uint8)
        arrays |= {f"x_{split}": images.reshape(-1, SIDE, SIDE, 3), f"y_{split}": [line[0] for line in lines]}
    np.savez(folder / "data.npz", **arrays)
    return folder / "data.npz"


case("CSV of pixels", grey=True, notes="^classes are the sorted values of label: cat, dog$")(csv_of_pixels)
case("CSV of pixels called by row and column", grey=True)(
    lambda folder: csv_of_pixels(folder, lambda place: f"{place // SIDE + 1}x{place % SIDE + 1}", "mnist_{}.csv")
)
case("CSV of pixels called by numbers, its class 0", grey=True, options={"label_column": "0"})(
    lambda folder: csv_of_pixels(folder, lambda place: str(place + 1), label="0")
)
case("CSV of pixels without a header", grey=True, tested=False, classes=("0", "1"))(
    lambda folder: csv_of_pixels(folder, None) / "train.csv"
)
case("CSV of pixels, zipped", grey=True)(lambda folder: zipped(csv_of_pixels(folder / "x"), folder / "a.zip"))
case(
    "CSV of pixels of colours",
    told=r"train.csv: an image has the shape \(192,\), and should have .*such as by numpy.savez\(FILE",
    change=csv_as_npz,
)(lambda folder: csv_of_pixels(folder, colours=True))


@case(
    "CSV of pixels of which some are missing",
    told="cannot be read as lines of pixels .*write as many numbers into each as there are columns",
    change=csv_of_pixels,
    grey=True,
)
def csv_of_few_pixels(folder: Path) -> Path:
    file = csv_of_pixels(folder) / "train.csv"
    file.write_text(file.read_text().rpartition(",")[0])
    return folder


@case(
    "CSV of pixels with a column of splits",
    told="train.csv: lines of pixels are divided into splits by files, and it has a column called split",
    change=csv_of_pixels,
    grey=True,
)
def csv_of_pixels_and_splits(folder: Path) -> Path:
    file = csv_of_pixels(folder) / "train.csv"
    first, *lines = file.read_text().splitlines()
    splits = [("train", "test")[number % 2] for number in range(len(lines))]
    file.write_text(
        "\n".join(f"{line},{split}" for line, split in zip([first, *lines], ["split", *splits], strict=True))
    )
    return folder


case(
    "CSV of pixels without images to test on",
    told="has no test split: it has one split alone; write it into test.csv beside train.csv",
    change=lambda folder: csv_of_pixels(folder),
    grey=True,
)(lambda folder: csv_of_pixels(folder) / "train.csv")

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


def hot(target: int) -> list[int]:
    return [int(target == place) for place in range(2)]


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

# Tables.

case("Parquet of named classes")(lambda folder: both(folder, lambda target: target, NAMED))
case("Parquet of strings", notes="^classes are the sorted values of label: cat, dog$")(both)
case("Parquet of whole numbers", classes=("0", "1"))(lambda folder: both(folder, lambda target: target))
case("Parquet of whole numbers from one, with gaps", classes=("1", "5"), notes="values of label: 1, 5$")(
    lambda folder: both(folder, lambda target: 1 + 4 * target)
)
case("Parquet of booleans", classes=("False", "True"))(lambda folder: both(folder, lambda target: target == 1))
case("Parquet with the label column `target`")(lambda folder: both(folder, name="target"))
case("Parquet with a column of no usual name")(lambda folder: both(folder, name="breed"))
case("one Parquet file", tested=False)(
    lambda folder: parquet(folder, train=table("train", words)) / "data" / "train-00000-of-00001.parquet"
)


def raw(folder: Path, image: Callable[[str, int, int], Any]) -> Path:
    """Parquet that `datasets` did not write: it knows nothing of images."""
    import pandas

    (folder / "data").mkdir(parents=True)
    for split in SPLITS:
        content = {
            "image": [image(split, *row) for row in rows(split)],
            "label": [words(row[0]) for row in rows(split)],
        }
        pandas.DataFrame(content).to_parquet(folder / "data" / f"{split}.parquet")
    return folder


def put(folder: Path, split: str, *row: int) -> str:
    name = f"images/{split}-{row[0]}-{row[1]}.png"
    (folder / "images").mkdir(exist_ok=True)
    (folder / name).write_bytes(png(split, *row))
    return name


case("Parquet whose test split numbers the classes")(
    lambda folder: parquet(
        folder, train=table("train", lambda target: target, NAMED), test=table("test", lambda target: target)
    )
)
case(
    "Parquet of other classes to test on",
    told="split test holds classes that the training images do not: emu, fox; remove or rename them",
    change=lambda folder: both(emptied(folder)),
)(
    lambda folder: parquet(
        folder, train=table("train", words), test=table("test", lambda target: ("fox", "emu")[target])
    )
)
case("Parquet of bytes")(lambda folder: raw(folder, png))
case("Parquet of bytes and paths")(lambda folder: raw(folder, lambda *row: {"bytes": png(*row), "path": "a.png"}))
case("Parquet of paths")(lambda folder: raw(folder, lambda *row: put(folder, *row)))
case("Parquet of absolute paths")(lambda folder: raw(folder, lambda *row: str(folder / put(folder, *row))))


def gaps(split: str, kind: Any) -> datasets.Dataset:
    more = table(split, lambda target: None if kind is None else -1, kind)
    return datasets.concatenate_datasets([table(split, words if kind is None else lambda target: target, kind), more])


case("Parquet with rows of no class", notes="6 rows without a label left out")(
    lambda folder: parquet(folder, train=gaps("train", NAMED), test=gaps("test", NAMED))
)
case("Parquet with nulls", notes="6 rows without a label left out")(
    lambda folder: parquet(folder, train=gaps("train", None), test=gaps("test", None))
)
case("Parquet with two columns of classes", told="several columns that may be the label column \\(breed, place\\)")(
    lambda folder: both(folder, name="breed", place=lambda target: ("here", "there")[target])
)
case("Parquet with fine and coarse labels")(
    lambda folder: both(folder, name="fine_label", coarse_label=lambda target: "animal")
)


def two_images(folder: Path) -> Path:
    def made(split: str) -> datasets.Dataset:
        left = table(split, words, image="left")
        return left.add_column("right", [{"bytes": png(split, 0, 0), "path": None}] * len(left)).cast_column(
            "right", datasets.Image()
        )

    return parquet(folder, train=made("train"), test=made("test"))


case("Parquet with two columns of images", told="several columns that may be the image column \\(left, right\\)")(
    two_images
)
case(
    "Parquet without classes",
    told="needs an image column and a class label column; it has image.*add one",
    change=lambda folder: both(emptied(folder)),
)(
    lambda folder: parquet(
        folder, train=table("train", words).remove_columns("label"), test=table("test", words).remove_columns("label")
    )
)
case("a split called validation alone", told="has the splits validation, but none called train", tested=False)(
    lambda folder: parquet(folder, validation=table("train", words))
)


case("Parquet of one-hot lists", **DIGITS)(lambda folder: both(folder, hot))
case("Parquet of one-hot shares", **DIGITS)(lambda folder: both(folder, lambda target: list(map(float, hot(target)))))
case("Parquet of one-hot lists in a column of no usual name", **DIGITS)(lambda folder: both(folder, hot, name="marks"))
case("Parquet of lists of a name")(lambda folder: both(folder, lambda target: [words(target)], name="labels"))
case("Parquet of lists of a named class")(
    lambda folder: both(folder, lambda target: [target], datasets.List(NAMED), name="labels")
)


case("Parquet beside lists that say nothing")(
    lambda folder: both(
        folder, name="breed", a=lambda target: [1, None], b=lambda target: [[1], None], c=lambda target: [None, [2] * 9]
    )
)


def many_hot(folder: Path) -> Path:
    """Two rows of both classes in each split, beside those of one."""
    more = {split: table(split, lambda target: [1, 1]).select([0, 1]) for split in SPLITS}
    return parquet(
        folder, **{split: datasets.concatenate_datasets([table(split, hot), more[split]]) for split in SPLITS}
    )


def of_one_class(folder: Path) -> None:
    for file in list(folder.rglob("*.parquet")):
        whole = datasets.Dataset.from_parquet(str(file), cache_dir=str(folder / "cache"))
        whole.filter(lambda row: sum(row["label"]) == 1).to_parquet(file)
    shutil.rmtree(folder / "cache")


case("Parquet of many-hot lists", told=SEVERAL, change=of_one_class, **DIGITS)(many_hot)
case("Parquet of many-hot lists beside a column of names", options={"label_column": "species"})(
    lambda folder: both(folder, lambda target: [1, target], species=words)
)


def of_numbers(
    folder: Path, change: Callable[[np.ndarray[Any, Any]], Any] = lambda image: image, name: str = "image", **more: Any
) -> Path:
    """Parquet whose images are lists of numbers."""
    splits = {}
    for split in SPLITS:
        images = [change(np.asarray(picture(split, *row))) for row in rows(split)]
        columns = {name: images, "label": [words(target) for target, _ in rows(split)]}
        columns |= {key: [value] * len(images) for key, value in more.items()}
        splits[split] = datasets.Dataset.from_dict(columns)
    return parquet(folder, **splits)


def of_arrays(folder: Path) -> Path:
    kinds = datasets.Features({"image": datasets.Array3D((SIDE, SIDE, 3), "uint8"), "label": NAMED})
    made = {}
    for split in SPLITS:
        images, labels = pixels(split)
        made[split] = datasets.Dataset.from_dict({"image": list(images), "label": labels}, kinds)
    return parquet(folder, **made)


def as_npz(folder: Path) -> Path:
    """What the sentence asks for, of the very numbers that a Parquet file or a CSV holds in a row."""
    arrays: dict[str, Any] = {}
    for split in SPLITS:
        given = datasets.Dataset.from_parquet(str(next(folder.rglob(f"{split}*.parquet"))), cache_dir=str(folder / "c"))
        shape = (len(given), SIDE, SIDE, 3)
        arrays |= {f"x_{split}": np.array(given["image"][:], np.uint8).reshape(shape), f"y_{split}": given["label"][:]}
    np.savez(folder / "data.npz", **arrays)
    return folder / "data.npz"


case("Parquet of nested lists")(of_numbers)
case("Parquet of nested lists, channels first")(
    lambda folder: of_numbers(folder, lambda image: image.transpose(2, 0, 1))
)
case("Parquet of nested shares of one")(lambda folder: of_numbers(folder, lambda image: image / 255.0))
case("Parquet of nested lists of grey", grey=True)(lambda folder: of_numbers(folder, lambda image: image[..., 1]))
case("Parquet of nested lists of several sizes")(
    lambda folder: of_numbers(folder, lambda image: np.repeat(image, 1 + int(image[0, 0, 2] > 10), axis=1))
)
case("Parquet of rows of grey", grey=True)(
    lambda folder: of_numbers(folder, lambda image: image[..., 1].ravel(), name="pixels")
)
case("Parquet of arrays")(of_arrays)
case("Parquet of files beside boxes")(
    lambda folder: parquet(
        folder,
        **{split: table(split, words).add_column("boxes", [[[1, 2, 3, 4]] * 9] * len(rows(split))) for split in SPLITS},
    )
)
case(
    "Parquet of rows of colours",
    told=r"an image has the shape \(192,\), and should have .*such as by numpy.savez\(FILE, images=IMAGES, labels=",
    change=as_npz,
)(lambda folder: of_numbers(folder, lambda image: image.ravel()))
case(
    "Parquet of nested lists whose rows differ",
    told="the rows of an image differ in length; write as many numbers into each",
    change=lambda folder: of_numbers(emptied(folder)),
)(lambda folder: of_numbers(folder, lambda image: [row[: 8 - number] for number, row in enumerate(image.tolist())]))


def saved(folder: Path, **splits: datasets.Dataset) -> Path:
    datasets.DatasetDict(splits).save_to_disk(folder / "saved")
    return folder / "saved"


def linked_parquet(folder: Path) -> Path:
    both(folder / "whole")
    (folder / "part").mkdir()
    for file in list((folder / "whole").rglob("*.parquet")):
        (folder / "part" / file.name).symlink_to(file)
    return folder / "part"


case("Parquet linked from elsewhere", told="is a link that leads out of")(linked_parquet)


@case("one Parquet file of paths", tested=False)
def parquet_of_paths(folder: Path) -> Path:
    made = raw(folder, lambda *row: put(folder, *row))
    return (made / "data" / "train.parquet").rename(folder / "images.parquet")


case("saved data set")(lambda folder: saved(folder, train=table("train", words), test=table("test", words)))
case("saved splits of other names", told="has the splits one, two, but none called train", tested=False)(
    lambda folder: saved(folder, one=table("train", words), two=table("test", words))
)
case("saved splits chosen by name", options={"train_split": "one", "test_split": "two"})(
    lambda folder: saved(folder, one=table("train", words), two=table("test", words))
)


@case("one saved split", tested=False)
def one_saved(folder: Path) -> Path:
    table("train", words).save_to_disk(folder / "saved")
    return folder / "saved"


def configured(folder: Path) -> Path:
    """A folder whose card has two configurations."""
    lines = []
    for name in ("big", "small"):
        (folder / name).mkdir()
        for split in SPLITS:
            table(split, words).to_parquet(folder / name / f"{split}-0.parquet")
        files = "".join(f"\n  - split: {split}\n    path: {name}/{split}-*.parquet" for split in SPLITS)
        lines.append(f"- config_name: {name}\n  data_files:{files}")
    (folder / "README.md").write_text("---\nconfigs:\n" + "\n".join(lines) + "\n---\n")
    return folder


case(
    "two configurations", told="has the configurations big, small; choose one as", change=lambda folder: f"{folder}:big"
)(configured)
case("a configuration that is chosen")(lambda folder: f"{configured(folder)}:small")

# Each of them.


@pytest.fixture(autouse=True)
def caches(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HELLO_DISTILL_CACHE", str(tmp_path_factory.getbasetemp() / "unpacked"))
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))


@pytest.mark.parametrize("name", CASES)
def test_data_as_people_have_them(name: str, tmp_path: Path) -> None:
    tried(CASES[name], tmp_path)


def test_the_table_is_long_enough() -> None:
    assert len(CASES) >= 60 and sum(bool(each.told) for each in CASES.values()) >= 15


# What archives are up to.


def test_several_processes_read_one_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each opens it for itself: a shared file would have one place in it for all."""
    for data in (zipped(tree(tmp_path / "x"), tmp_path / "a.zip"), tarred(tmp_path / "x", tmp_path / "a.tar", "w")):
        alone = open_training(data).read(SIDE)[0]
        with monkeypatch.context() as changed:
            changed.setattr(reading, "FEW", 0)
            changed.setattr(reading, "BLOCK", 1)
            changed.setattr(reading, "workers", lambda: 3)
            assert torch.equal(open_training(data).read(SIDE)[0].images, alone.images)


def test_a_changed_archive_is_decoded_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(reading.STORAGE, "file")
    monkeypatch.setenv("HELLO_DISTILL_CACHE", str(tmp_path / "cache"))
    data = zipped(tree(tmp_path / "x"), tmp_path / "a.zip")
    for shade in (10, 77):
        for path in (tmp_path / "x" / "train").rglob("*.png"):
            Image.new("RGB", (SIDE, SIDE), (shade, 0, 0)).save(path)
        zipped(tmp_path / "x", tmp_path / "a.zip")
        os.utime(data, ns=(shade, shade))
        images = open_training(data).read(SIDE)[0].images
        assert set(images[:][:, 0].flatten().tolist()) == {shade}
    assert len(list((tmp_path / "cache" / "decoded").iterdir())) == 2


def test_numbers_in_memory_are_decoded_by_what_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two tables that lie in no file, of one size, have two files in the cache; the same one is found again."""
    monkeypatch.setenv(reading.STORAGE, "file")
    monkeypatch.setenv("HELLO_DISTILL_CACHE", str(tmp_path / "cache"))
    for shade in (10, 77, 10):
        np.savez(tmp_path / f"{shade}.npz", images=np.full((4, SIDE, SIDE, 3), shade, np.uint8), labels=[0, 1, 0, 1])
        images = open_training(str(tmp_path / f"{shade}.npz")).read(SIDE)[0].images
        assert set(images[:].flatten().tolist()) == {shade}
    assert len(list((tmp_path / "cache" / "decoded").iterdir())) == 2


def test_members_of_strangers_archives_stay_in_them(tmp_path: Path) -> None:
    """Names that lead upwards are names in the archive; a member of many bytes is not unpacked; links are files."""
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as packed:
        for target, name in enumerate(("cat", "dog")):
            packed.writestr(f"../../train/{name}/0.png", png("train", target, 0))
        packed.writestr("/train/dog/huge.png", bytes(MAX_BYTES + 1))
        link = zipfile.ZipInfo("train/dog/link.png")
        link.external_attr = 0o120777 << 16
        packed.writestr(link, "/etc/passwd")
    images, skipped = open_training(str(tmp_path / "a.zip")).read(SIDE)
    assert images.counts() == {"cat": 1, "dog": 1}
    assert [(Path(bad.name).name, bad.reason) for bad in skipped.bad] == [
        ("huge.png", "too many bytes"),
        ("link.png", "text"),
    ]


def test_a_locked_archive_says_so(tmp_path: Path) -> None:
    data = Path(zipped(tree(tmp_path / "x"), tmp_path / "a.zip"))
    content = bytearray(data.read_bytes())
    for start in (found.start() for found in re.finditer(rb"PK\x01\x02", bytes(content))):
        content[start + 8] |= 1  # the flag of an encrypted member
    for start in (found.start() for found in re.finditer(rb"PK\x03\x04", bytes(content))):
        content[start + 6] |= 1
    data.write_bytes(content)
    with pytest.raises(InputError, match="no image can be read"):
        read_all(data, {})
    bad = open_training(str(data)).read(SIDE)[1].bad
    assert {entry.reason for entry in bad} == {"not readable"} and "encrypted" in bad[0].detail
