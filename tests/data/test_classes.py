"""Some classes of a data set: DATA:classes=FILE."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from datasets import ClassLabel, Dataset, DatasetDict, Features
from datasets import Image as ImageFeature
from PIL import Image

from conftest import drawn, write_tree
from hello_distill import cli
from hello_distill.api import distill
from hello_distill.artifact import load
from hello_distill.data import licence
from hello_distill.data.licence import source_of
from hello_distill.data.names import opaque
from hello_distill.data.references import parted
from hello_distill.data.sources import open_test, open_training, read_test_split, short_name
from hello_distill.distillers.recipe import Recipe
from hello_distill.system.context import Context
from hello_distill.system.errors import InputError


def listing(folder: Path, *names: str) -> Path:
    file = folder / "some.txt"
    file.write_text("\n".join(names) + "\n", encoding="utf-8")
    return file


def test_some_classes_of_a_folder_keep_their_order_and_images(tree: Path, tmp_path: Path) -> None:
    file = listing(tmp_path, "stripes", "", "circle", "circle")
    part, test = open_training(f"{tree}:classes={file}"), open_test(f"{tree}:classes={file}")
    assert part.classes == test.classes == ("circle", "stripes"), "in the order of the data set, not of the file"
    assert part.counts() == {"circle": 12, "stripes": 12} and test.counts() == {"circle": 6, "stripes": 6}
    whole = open_training(str(tree)).read(32)[0]
    found = part.read(32)[0]
    for place, name in enumerate(found.classes):
        own = whole.images[whole.of_class(whole.classes.index(name))]
        assert torch.equal(found.images[found.of_class(place)], own)
    assert torch.equal(found.images, whole.only([whole.classes.index(name) for name in found.classes]).images)
    half = part.limited(10, seed=0)
    assert half.counts() == {"circle": 5, "stripes": 5}
    read = half.read(32)[0]
    assert all(any(torch.equal(image, other) for other in whole.images) for image in read.images)


def test_some_classes_of_a_saved_data_set(tmp_path: Path) -> None:
    features = Features({"image": ImageFeature(), "label": ClassLabel(names=["a", "b", "c"])})
    pictures = [image.permute(1, 2, 0).numpy() for image in drawn(2, seed=0).images[:6]]
    table = Dataset.from_dict({"image": pictures, "label": [2, 0, 1, 2, 0, 1]}, features=features)
    DatasetDict({"train": table, "test": table}).save_to_disk(str(tmp_path / "set"))
    train = open_training(f"{tmp_path / 'set'}:classes={listing(tmp_path, 'c', 'a')}")
    assert train.classes == ("a", "c") and train.targets.tolist() == [1, 0, 1, 0]
    assert train.rows is not None and train.rows.tolist() == [0, 1, 3, 4], "rows of the source, for messages"
    images = train.read(32)[0]
    assert torch.equal(images.images[0], torch.from_numpy(pictures[0].copy()).permute(2, 0, 1))
    assert images.targets.tolist() == [1, 0, 1, 0]


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (
            ["circle", "sqare", "12345"],
            r"does not have: sqare \(did you mean 'square'\?\), 12345"
            "; it has circle, cross, square, stripes",
        ),
        (["circle", "circle"], "the list names circle; a classifier needs at least two classes"),
        ([""], "the list names nothing; a classifier"),
        ([f"n{number}" for number in range(7)], "does not have: n0, n1, n2, n3, n4 and 2 more; it has circle"),
    ],
)
def test_names_that_are_none_are_told_with_the_nearest(tree: Path, tmp_path: Path, names: list[str], told: str) -> None:
    with pytest.raises(InputError, match=told):
        open_training(f"{tree}:classes={listing(tmp_path, *names)}")


def test_a_list_that_cannot_be_read(tree: Path, tmp_path: Path) -> None:
    told = r"cannot be read \(No such file or directory\); give a text file .* or one of imagenet100"
    with pytest.raises(InputError, match=told):
        open_training(f"{tree}:classes=imagenet1000")
    (tmp_path / "bad.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="it is no UTF-8"):
        open_training(f"{tree}:classes={tmp_path / 'bad.txt'}")
    with pytest.raises(InputError, match=r"classes that the data does not have: n01440764, .* and 95 more"):
        open_training(f"{tree}:classes=imagenet100")


def test_the_parts_of_a_source(tmp_path: Path) -> None:
    assert parted("a/b:classes=c/d.txt") == ("a/b", "c/d.txt") and parted("a/b") == ("a/b", None)
    assert short_name("/x/photos:classes=/y/some.txt") == "photos:classes=some.txt" and short_name("/x/y/") == "y"
    assert source_of(f"fashion-mnist:classes={tmp_path}") == source_of("fashion-mnist")


def test_a_file_that_is_called_like_a_hub_id_is_not_asked_for_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def card(name: str, *_: object, **options: object) -> str:
        asked.append((name, options["revision"]))
        raise OSError

    monkeypatch.setattr(licence.huggingface_hub, "hf_hub_download", card)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "labels.csv").write_text("path,label")
    assert source_of("photos/labels.csv") == source_of("photos") == licence.UNKNOWN and not asked
    with Context(revision="v2"):
        assert source_of("owner/name:small").name == "owner/name" and asked == [("owner/name", "v2")]


def test_an_artefact_of_some_classes_is_trained_on_the_same(
    tree: Path, recipe: Recipe, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = f"{tree}:classes={listing(tmp_path, 'cross', 'circle')}"
    distill(source, tmp_path / "a", recipe)
    assert load(tmp_path / "a").classes == ("circle", "cross")
    assert cli.main(["train", str(tmp_path / "a"), "--data", source, "--seeds", "0", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["test_images"] == 12
    assert cli.main(["train", str(tmp_path / "a"), "--data", str(tree), "--seeds", "0"]) == 2
    assert "the artefact circle, cross (2)" in capsys.readouterr().err


def test_batch_sizes_follow_the_images_per_class_of_the_call_or_of_the_config(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hello_distill import api as pipeline

    made: list[Recipe] = []

    def taken(data: str, claim: object, recipe: Recipe, *_: object, **__: object) -> Path:
        made.append(recipe)
        return tmp_path

    monkeypatch.setattr(pipeline, "distill", taken)
    (tmp_path / "c.yaml").write_text("ipc: 50")
    call = ["distill", str(write_tree(tmp_path / "t", 1, 1)), "--recipe", "imagenet1k", "--out"]
    assert cli.main([*call, str(tmp_path / "a"), "--ipc", "1"]) == 0
    assert cli.main([*call, str(tmp_path / "b"), "--config", str(tmp_path / "c.yaml")]) == 0
    assert cli.main([*call, str(tmp_path / "c"), "--ipc", "20"]) == 2
    assert [(recipe.ipc, recipe.student.optim.batch_size) for recipe in made] == [(1, 20), (50, 200)]


# Names for people and encoders.

IDS = ("n01440764", "n02012849", "n03126707")
"""tench; the bird crane, and the machine crane, which WordNet calls alike."""


def folders_called(folder: Path, names: tuple[str, ...]) -> Path:
    for split in ("train", "test"):
        for number, name in enumerate(names):
            (folder / split / name).mkdir(parents=True)
            drawn_image = drawn(1, seed=number).images[number % 4].permute(1, 2, 0).numpy()
            Image.fromarray(drawn_image).save(folder / split / name / "0.png")
    return folder


def test_wordnet_ids_are_named_and_said(tmp_path: Path) -> None:
    split = open_training(str(folders_called(tmp_path, IDS)))
    assert split.classes == ("tench", "crane bird", "construction crane") and split.own_classes == IDS
    assert split.notes == ("WordNet ids are named as ImageNet's classes",)
    assert open_test(str(tmp_path)).classes == split.classes
    part = open_training(f"{tmp_path}:classes={listing(tmp_path, IDS[2], IDS[0])}")
    assert part.classes == ("tench", "construction crane") and part.counts() == {"tench": 1, "construction crane": 1}


@pytest.mark.parametrize(
    ("called", "count", "some"),
    [("CIFAR-10-images", 10, {3: "cat", 9: "truck"}), ("cifar100", 100, {0: "apple", 10: "bowl", 99: "worm"})],
)
def test_numbers_of_cifar_are_named(tmp_path: Path, called: str, count: int, some: dict[int, str]) -> None:
    split = open_training(str(folders_called(tmp_path / called, tuple(map(str, range(count))))))
    for number, name in some.items():
        assert split.classes[split.own_classes.index(str(number))] == name
    assert split.notes == (f"numbers are named as the classes of {called}",)
    other = open_training(str(folders_called(tmp_path / "digits", tuple(map(str, range(10))))))
    assert other.classes == tuple(map(str, range(10))), "ten numbers alone say nothing: they may be digits"


@pytest.mark.parametrize(
    "content",
    [
        "great white shark\nhammerhead",
        '["great white shark", "hammerhead"]',
        '{"b": "hammerhead", "a": "great white shark", "c": "no class of these"}',
        '{"0": ["a", "great white shark"], "1": ["b", "hammerhead"]}',
        "a great white shark\nb hammerhead",
        "b\thammerhead\na\tgreat white shark\n",
        "b, hammerhead\na: great white shark\n",
    ],
)
def test_classes_are_named_by_a_file(tmp_path: Path, content: str) -> None:
    (tmp_path / "names.txt").write_text(content)
    data = str(folders_called(tmp_path / "data", ("a", "b")))
    with Context(class_names=str(tmp_path / "names.txt")):
        train, test = open_training(data), open_test(data)
        images = read_test_split(data, ["great white shark", "hammerhead"], 32)
    assert train.classes == test.classes == images.classes == ("great white shark", "hammerhead")
    assert train.notes == ("classes are named by names.txt",)
    with Context(class_names=str(tmp_path / "names.txt")):  # of an artefact that was made without the file
        assert read_test_split(data, ["a", "b"], 32).classes == ("a", "b")


def test_a_file_of_names_that_does_not_do_says_what_would(tmp_path: Path) -> None:
    data, file = str(folders_called(tmp_path / "data", ("a", "b"))), tmp_path / "names.txt"
    for content, told in (
        ("a shark", r"names 1 classes and lacks b of 2; give a line `b NAME` for each"),
        ("one\ntwo\nthree", "names 3 classes and lacks a, b of 2; .* or as many lines as classes"),
        ("same\nSame", "classes differ only by case, spaces or Unicode form: 'same' and 'Same'"),
        ("[1", "cannot be read .*; give a JSON list or object, or a line for each class"),
    ):
        file.write_text(content)
        with Context(class_names=str(file)), pytest.raises(InputError, match=told):
            open_training(data)
    file.write_text("a shark\nb NAME")  # what the first sentence asks for
    with Context(class_names=str(file)):
        assert open_training(data).classes == ("shark", "NAME")


def test_names_that_no_encoder_understands_are_warned_of() -> None:
    for name in ("n01440764", "0", "17", "class_3", "c7", "Class 1", "deadbeef01", "x", "True"):
        assert opaque(["cat", name]).startswith(f"note: class names such as {name} say nothing to an encoder"), name
    assert opaque(["cat", "tench", "great white shark", "t-shirt", "A330", "crane bird", "犬"]) == ""
