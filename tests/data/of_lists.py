"""Sources that are listed by CSV and JSON files, or are lists of pixels, for the table of `test_sources`."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from cases import (
    SIDE,
    SPLITS,
    case,
    loose,
    pixels,
    png,
    words,
    write_csv,
    zipped,
)

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
