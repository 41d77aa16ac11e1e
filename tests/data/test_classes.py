"""Some classes of a data set: DATA:classes=FILE."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from datasets import ClassLabel, Dataset, DatasetDict, Features
from datasets import Image as ImageFeature

from conftest import drawn, write_tree
from hello_distill import cli
from hello_distill.api import distill
from hello_distill.artifact import load
from hello_distill.data.licence import source_of
from hello_distill.data.sources import open_test, open_training, parted, short_name
from hello_distill.distillers.recipe import Recipe
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
