"""What an artefact keeps of how its source was read: test images are read so, unless the user says otherwise."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conftest import CLASSES, SIDE, draw, seal
from hello_distill import artifact as artifacts
from hello_distill import cli
from hello_distill.api import distill, evaluation_images
from hello_distill.data.licence import UNKNOWN
from hello_distill.data.manner import repeated
from hello_distill.distillers.random import RandomImages
from hello_distill.distillers.recipe import Recipe
from hello_distill.experiments.plan import distill_planned
from hello_distill.format import storage
from hello_distill.relabel import wanted
from hello_distill.system import context
from hello_distill.system.context import Context
from hello_distill.system.errors import ArtifactError, InputError

NAMES = {name: f"a {name}" for name in CLASSES}


@pytest.fixture(scope="module")
def listed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A list with two columns of classes and two of paths, in splits of no usual names."""
    folder, rng = tmp_path_factory.mktemp("listed"), np.random.default_rng(3)
    rows = []
    for split, count in (("one", 6), ("two", 3)):
        for name in CLASSES:
            for number in range(count):
                draw(name, rng, SIDE).save(folder / f"{split}-{name}-{number}.png")
                rows.append((f"{split}-{name}-{number}.png", "none.png", name, "even" if number % 2 else "odd", split))
    with (folder / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("drawing", "path", "kind", "parity", "split"), *rows])
    (folder / "names.json").write_text(json.dumps(NAMES))
    return folder


def options(folder: Path) -> dict[str, Any]:
    return {
        "image_column": "drawing",
        "label_column": "kind",
        "train_split": "one",
        "test_split": "two",
        "class_names": str(folder / "names.json"),
    }


@pytest.fixture(scope="module")
def random(recipe: Recipe) -> Recipe:
    return replace(recipe, distiller=RandomImages(), held_share=0.3, ipc=1)


@pytest.fixture(scope="module")
def kept(listed: Path, random: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    with Context(**options(listed)):
        return distill(str(listed / "labels.csv"), tmp_path_factory.mktemp("kept") / "a", random)


def test_options_are_kept_and_no_path_is(kept: Path, listed: Path) -> None:
    own = sorted(CLASSES)
    assert storage.read_manifest(kept)["classes"] == [NAMES[name] for name in own]
    assert storage.read_manifest(kept)["source"]["reading"] == {
        "image_column": "drawing",
        "label_column": "kind",
        "train_split": "one",
        "test_split": "two",
        "own_classes": own,
    }
    assert "names.json" not in (kept / "hello.json").read_text()


@pytest.mark.parametrize("test", [None, "held-out", "two"])
def test_test_images_are_read_as_the_artefact_was_made(kept: Path, listed: Path, test: str | None) -> None:
    data, artifact = str(listed / "labels.csv"), artifacts.load(kept)
    images, _ = evaluation_images(kept, data, artifact, test)
    with Context(**options(listed)):
        asked, _ = evaluation_images(kept, data, artifact, test)
    assert len(images) == 4 * (2 if test == "held-out" else 3) and images.classes == artifact.classes
    assert images.images.equal(asked.images) and images.targets.equal(asked.targets)


def test_an_option_overrides_what_is_kept(
    kept: Path, listed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call = ["train", str(kept), "--data", str(listed / "labels.csv"), "--seeds", "0"]
    assert cli.main(call) == 0
    assert cli.main([*call, "--label-column", "parity"]) == 2
    assert "has the classes even, odd (2), the artefact" in capsys.readouterr().err
    (tmp_path / "names.txt").write_text("x\ny\nz\nw")
    assert cli.main([*call, "--class-names", str(tmp_path / "names.txt")]) == 2
    assert "has the classes x, y, z, w" in capsys.readouterr().err


def test_other_data_are_told_what_was_kept(
    kept: Path, tree: Path, listed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Folders of the same classes have no such splits; the options that the sentence names make them work."""
    call = ["train", str(kept), "--data", str(tree), "--seeds", "0"]
    assert cli.main(call) == 2
    told = capsys.readouterr().err
    assert "read as the artefact was made, with --image-column drawing --label-column kind --train-split one" in told
    assert cli.main([*call, "--train-split", "train", "--test-split", "test"]) == 0


def test_links_that_lead_out_are_followed_by_who_says_so(
    tree: Path, random: Recipe, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "part").mkdir()
    for split in ("train", "test"):
        (tmp_path / "part" / split).symlink_to(tree / split)
    with Context(follow_links=True):
        made = distill(str(tmp_path / "part"), tmp_path / "a", random)
    assert "reading" not in storage.read_manifest(made)["source"]
    call = ["train", str(made), "--data", str(tmp_path / "part"), "--seeds", "0"]
    assert cli.main(call) == 2 and "--follow-links" in capsys.readouterr().err
    assert cli.main([*call, "--follow-links"]) == 0


def test_an_artefact_of_labels_by_name_keeps_them(listed: Path, random: Recipe, tmp_path: Path) -> None:
    with Context(**options(listed)):
        distill_planned(str(listed / "labels.csv"), tmp_path / "p", random, {"hard": wanted("hard")}, asked="hard")
    assert storage.read_manifest(tmp_path / "p")["source"]["reading"]["label_column"] == "kind"


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"test_split": "/etc"}, "reading.test_split"),
        ({"train_split": "../.."}, "reading.train_split"),
        ({"follow_links": True}, "follow_links"),
        ({"class_names": "names.txt"}, "class_names"),
        ({"own_classes": ["a", "b", "c"]}, "other own names of classes than classes"),
        ({"own_classes": ["a", "b", "c", "c"]}, "other own names of classes than classes"),
    ],
)
def test_a_strangers_artefact_names_no_path_and_follows_no_link(
    kept: Path, tmp_path: Path, changes: Mapping[str, Any], told: str
) -> None:
    folder = shutil.copytree(kept, tmp_path / "a")
    source = storage.read_manifest(folder)["source"]
    seal(folder, source={**source, "reading": {**source["reading"], **changes}})
    with pytest.raises(ArtifactError, match=told):
        artifacts.load(folder)


def test_sources_that_say_nothing_keep_nothing(artefact: Path, tree: Path) -> None:
    """As artefacts of 0.1.0 do, whose own names of classes are theirs."""
    assert "reading" not in storage.read_manifest(artefact)["source"] and UNKNOWN.reading is None
    with pytest.raises(InputError) as told:
        evaluation_images(artefact, str(tree / "nowhere"), artifacts.load(artefact))
    assert "read as the artefact was made" not in str(told.value)


def test_a_kept_revision_is_that_of_its_own_repository_alone(tmp_path: Path) -> None:
    """Another data set has no such revision, and would have been refused or, worse, had one of that name."""
    manifest = {"source": {"name": "me/birds", "reading": {"revision": "v1", "label_column": "kind"}}, "classes": ["a"]}
    (tmp_path / "birds").mkdir()
    taken = {}
    for data in ("me/birds", "hf://me/birds", "me/birds:large", "me/birds@v2", "you/birds", str(tmp_path / "birds")):
        with repeated(manifest, data):
            taken[data] = context.current().revision
            assert context.current().label_column == "kind"
    assert {data for data, revision in taken.items() if revision} == {"me/birds", "hf://me/birds", "me/birds:large"}
