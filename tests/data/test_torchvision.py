"""Data sets of torchvision where they lie unpacked: small ones as its classes write and read them.

As it unpacks them, or one folder deeper or higher.
"""

from __future__ import annotations

import bz2
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
from cases import SIDE, SPLITS, Case, colour, emptied, pixels, png, rows, tree, tried, words

from hello_distill.data.sources import open_test, open_training

CASES: dict[str, Case] = {}


def case(name: str, **expected: Any) -> Callable[[Callable[[Path], object]], Callable[[Path], object]]:
    """Add a data set to the table."""

    def add(make: Callable[[Path], object]) -> Callable[[Path], object]:
        notes = {} if "told" in expected else {"notes": f"read as {name} of torchvision"}
        CASES[name] = Case(make, **{**notes, **expected})
        return make

    return add


# torchvision's.


def idx(folder: Path, name: str) -> Path:
    """Images and labels as MNIST has them."""
    place = folder / name / "raw"
    place.mkdir(parents=True)
    for split, prefix in (("train", "train"), ("test", "t10k")):
        images, labels = pixels(split)
        head = b"\0\0\x08\x03" + b"".join(n.to_bytes(4, "big") for n in (len(images), SIDE, SIDE))
        (place / f"{prefix}-images-idx3-ubyte").write_bytes(head + images[..., 1].tobytes())
        head = b"\0\0\x08\x01" + len(labels).to_bytes(4, "big")
        (place / f"{prefix}-labels-idx1-ubyte").write_bytes(head + labels.astype(np.uint8).tobytes())
    return folder


case("MNIST", classes=("zero", "one"), grey=True)(lambda folder: idx(folder, "MNIST"))
case("FashionMNIST", classes=("T-shirt/top", "Trouser"), grey=True)(lambda folder: idx(folder, "FashionMNIST"))
case("KMNIST", classes=("o", "ki"), grey=True)(lambda folder: idx(folder, "KMNIST") / "KMNIST")


@case("CIFAR100")
def cifar100(folder: Path) -> Path:
    inner = folder / "cifar-100-python"
    inner.mkdir()
    for split in SPLITS:
        content = {"data": squares(split, 32).reshape(len(rows(split)), -1), "fine_labels": pixels(split)[1].tolist()}
        (inner / split).write_bytes(pickle.dumps(content))
    (inner / "meta").write_bytes(pickle.dumps({"fine_label_names": ["cat", "dog"]}))
    return folder


def squares(split: str, side: int) -> np.ndarray[Any, Any]:
    """The images at another side, as (n 3 side side)."""
    return np.repeat(np.repeat(pixels(split)[0][:, :1, :1], side, 1), side, 2).transpose(0, 3, 1, 2)


@case("SVHN", classes=("0", "1"))
def svhn(folder: Path) -> Path:
    """Where the class of zeros is called 10."""
    for split in SPLITS:
        labels = np.array([10 if target == 0 else target for target in pixels(split)[1]])
        content = {"X": squares(split, 32).transpose(2, 3, 1, 0), "y": labels[:, None]}
        scipy.io.savemat(folder / f"{split}_32x32.mat", content)
    return folder


@case("STL10")
def stl10(folder: Path) -> Path:
    inner = folder / "stl10_binary"
    inner.mkdir()
    for split in SPLITS:
        (inner / f"{split}_X.bin").write_bytes(squares(split, 96).tobytes())
        (inner / f"{split}_y.bin").write_bytes((pixels(split)[1] + 1).astype(np.uint8).tobytes())
    (inner / "class_names.txt").write_text("cat\ndog\n")
    return inner


@case("USPS", classes=("0", "1"), grey=True)
def usps(folder: Path) -> Path:
    """Shades from -1 to 1, in the lines of libsvm."""
    for split, ending in (("train", ""), ("test", ".t")):
        lines = []
        for target, number in rows(split):
            shade = f"{(colour(split, target, number)[1] + 0.5) / 255 * 2 - 1:.6f}"
            lines.append(" ".join([str(target + 1), *(f"{place}:{shade}" for place in range(1, 257))]))
        (folder / f"usps{ending}.bz2").write_bytes(bz2.compress("\n".join(lines).encode()))
    return folder


@case("OxfordIIITPet", classes=("Cat", "Dog"))
def pets(folder: Path) -> Path:
    inner = folder / "oxford-iiit-pet"
    (inner / "images").mkdir(parents=True)
    (inner / "annotations").mkdir()
    for split in SPLITS:
        lines = []
        for target, number in rows(split):
            name = f"{words(target)}_{split}{number}"
            (inner / "images" / f"{name}.jpg").write_bytes(png(split, target, number))
            lines.append(f"{name} {target + 1} {target + 1} 1\n")
        (inner / "annotations" / ("trainval.txt" if split == "train" else "test.txt")).write_text("".join(lines))
    return folder


@case("Flowers102", classes=("pink primrose", "hard-leaved pocket orchid"))
def flowers(folder: Path) -> Path:
    inner = folder / "flowers-102"
    (inner / "jpg").mkdir(parents=True)
    every = [(split, *row) for split in SPLITS for row in rows(split)]
    for place, image in enumerate(every, 1):
        (inner / "jpg" / f"image_{place:05d}.jpg").write_bytes(png(*image))
    places = {split: [place for place, image in enumerate(every, 1) if image[0] == split] for split in SPLITS}
    scipy.io.savemat(inner / "imagelabels.mat", {"labels": [target + 1 for _, target, _ in every]})
    scipy.io.savemat(inner / "setid.mat", {"trnid": places["train"], "valid": [], "tstid": places["test"]})
    return folder


@case("FGVCAircraft")
def aircraft(folder: Path) -> Path:
    inner = folder / "fgvc-aircraft-2013b" / "data"
    (inner / "images").mkdir(parents=True)
    (inner / "variants.txt").write_text("cat\ndog\n")
    for split in SPLITS:
        lines = []
        for target, number in rows(split):
            (inner / "images" / f"{split}{target}{number}.jpg").write_bytes(png(split, target, number))
            lines.append(f"{split}{target}{number} {words(target)}\n")
        name = "trainval" if split == "train" else "test"
        (inner / f"images_variant_{name}.txt").write_text("".join(lines))
    return inner.parent


@case("GTSRB", classes=("0", "1"))
def signs(folder: Path) -> Path:
    inner, lines = folder / "gtsrb" / "GTSRB", ["Filename;Width;ClassId"]
    (inner / "Final_Test" / "Images").mkdir(parents=True)
    for target, number in rows("train"):
        (inner / "Training" / f"{target:05d}").mkdir(parents=True, exist_ok=True)
        (inner / "Training" / f"{target:05d}" / f"{number}.ppm").write_bytes(png("train", target, number))
    for target, number in rows("test"):
        (inner / "Final_Test" / "Images" / f"{target}{number}.ppm").write_bytes(png("test", target, number))
        lines.append(f"{target}{number}.ppm;8;{target}")
    (inner.parent / "GT-final_test.csv").write_text("\n".join(lines))
    return folder


@case("StanfordCars")
def cars(folder: Path) -> Path:
    inner = folder / "stanford_cars"
    (inner / "devkit").mkdir(parents=True)
    places = {"train": inner / "devkit" / "cars_train_annos.mat", "test": inner / "cars_test_annos_withlabels.mat"}
    for split in SPLITS:
        (inner / f"cars_{split}").mkdir()
        listed = []
        for target, number in rows(split):
            (inner / f"cars_{split}" / f"{target}{number}.jpg").write_bytes(png(split, target, number))
            listed.append((f"{target}{number}.jpg", target + 1))
        annotations = np.array(listed, dtype=[("fname", object), ("class", object)])
        scipy.io.savemat(places[split], {"annotations": annotations})
    scipy.io.savemat(inner / "devkit" / "cars_meta.mat", {"class_names": np.array(["cat", "dog"], object)})
    return folder


@case("Food101")
def food(folder: Path) -> Path:
    (folder / "food-101" / "meta").mkdir(parents=True)
    for split in SPLITS:
        listed = {}
        for target, name in enumerate(("cat", "dog")):
            (folder / "food-101" / "images" / name).mkdir(parents=True, exist_ok=True)
            listed[name] = [f"{name}/{split}{number}" for number in range(SPLITS[split])]
            for number, file in enumerate(listed[name]):
                (folder / "food-101" / "images" / f"{file}.jpg").write_bytes(png(split, target, number))
        (folder / "food-101" / "meta" / f"{split}.json").write_text(json.dumps(listed))
    return folder


@case("DTD")
def dtd(folder: Path) -> Path:
    inner = folder / "dtd" / "dtd"
    (inner / "labels").mkdir(parents=True)
    for split in SPLITS:
        listed = [f"{words(target)}/{put_jpg(inner, split, target, number)}" for target, number in rows(split)]
        (inner / "labels" / f"{split}1.txt").write_text("\n".join(listed) + "\n")
    return folder / "dtd"


def put_jpg(folder: Path, split: str, target: int, number: int) -> str:
    place = folder / "images" / words(target)
    place.mkdir(parents=True, exist_ok=True)
    (place / f"{split}{number}.jpg").write_bytes(png(split, target, number))
    return f"{split}{number}.jpg"


case("EuroSAT", tested=False, notes="")(lambda folder: tree(folder / "eurosat" / "2750", "", None).parents[1])
case("Country211", notes="")(lambda folder: countries(folder))
case("Imagenette", classes=("tench", "English Springer Spaniel"), notes="WordNet ids are named as ImageNet's classes")(
    lambda folder: tree(folder / "imagenette2", test="val", classes=("n01440764", "n02102040")).parent
)
case("Caltech101", tested=False, told=r"class folders hold folders: 101_ObjectCategories .*--train-split")(
    lambda folder: caltech(folder)
)


def countries(folder: Path) -> Path:
    """Its `valid` is passed over for `test`."""
    tree(folder / "country211")
    for name in ("cat", "dog"):
        (folder / "country211" / "valid" / name).mkdir(parents=True)
        (folder / "country211" / "valid" / name / "0.png").write_bytes(png("train", 0, 0))
    return folder


def caltech(folder: Path) -> Path:
    """Outlines of objects in a second tree."""
    tree(folder / "caltech101" / "101_ObjectCategories", "", None)
    for name in ("cat", "dog"):
        (folder / "caltech101" / "Annotations" / name).mkdir(parents=True)
        (folder / "caltech101" / "Annotations" / name / "annotation_0001.mat").write_bytes(b"MATLAB")
    return folder


case(
    "CIFAR-10 that is not whole",
    told=r"is not the whole CIFAR10 of torchvision .*fetch it again",
    change=lambda folder: tree(emptied(folder)),
)(lambda folder: tree(folder / "cifar-10-batches-py").parent)


@pytest.fixture(autouse=True)
def whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of the right MD5 cannot be made: torchvision is told that they are such."""
    for module in ("cifar", "svhn", "stl10", "flowers102"):
        monkeypatch.setattr(f"torchvision.datasets.{module}.check_integrity", lambda *_: True)


@pytest.mark.parametrize("name", CASES)
def test_unpacked_data_sets_of_torchvision(name: str, tmp_path: Path) -> None:
    tried(CASES[name], tmp_path)


def test_cifar_of_torchvision(tmp_path: Path) -> None:
    """Its files are pickles, which torchvision opens after their MD5 is right."""
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    rng = np.random.default_rng(0)
    pictures = {name: rng.integers(0, 256, (10, 3, 32, 32), dtype=np.uint8) for name in range(6)}
    for number, name in enumerate([*(f"data_batch_{n}" for n in range(1, 6)), "test_batch"]):
        content = {"data": pictures[number].reshape(10, -1), "labels": list(range(10))}
        (folder / name).write_bytes(pickle.dumps(content))
    names = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": names}))
    for data in (tmp_path, folder):
        train, test = open_training(str(data)), open_test(str(data))
        assert train.classes == test.classes == tuple(names) and set(train.counts().values()) == {5}
        images = train.read(32)[0].images.numpy()
        assert np.array_equal(images, np.concatenate([pictures[number] for number in range(5)]))
        assert np.array_equal(test.read(32)[0].images.numpy(), pictures[5])
