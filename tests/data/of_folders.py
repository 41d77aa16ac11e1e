"""Sources in folders and archives, for the table of `test_sources`."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

from cases import (
    SPLITS,
    case,
    linked,
    loose,
    moved_up,
    seven,
    tarred,
    tree,
    write_csv,
    zipped,
)

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
    told="has no test split; put held-out images into test/CLASS/ within it",
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
