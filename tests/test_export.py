"""An artefact as a class-per-folder tree: safe names, the stored bytes, one class order for three readers."""

from __future__ import annotations

import json
import shutil
import sys
import tarfile
from dataclasses import replace
from pathlib import Path

import datasets
import numpy as np
import onnxruntime
import pyarrow.parquet
import pytest
import torch
import torchvision
from test_layouts import NAMES, data_set
from timm.data import create_dataset
from torch import nn

import hello_distill as hd
from conftest import SIDE
from hello_distill import cli, export
from hello_distill.data.sources import open_test, open_training
from hello_distill.distillers.random import RandomImages
from hello_distill.distillers.recipe import Recipe
from hello_distill.export import onnx
from hello_distill.format.manifest import IMAGES, SUMS
from hello_distill.format.specs import Codec


@pytest.fixture(scope="module")
def odd_names(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An artefact of two images for each of the odd names."""
    root = tmp_path_factory.mktemp("odd")
    simple = replace(recipe, distiller=RandomImages(), ipc=2)
    return hd.distill(str(data_set(root / "source", NAMES)), root / "a", simple)


def stored(folder: Path) -> list[tuple[int, bytes]]:
    table = pyarrow.parquet.read_table(folder / IMAGES).to_pylist()
    return [(row["label"], row["image"]["bytes"]) for row in table]


def test_three_readers_see_the_classes_in_the_artefacts_order(odd_names: Path, tmp_path: Path) -> None:
    out = export.export(odd_names, tmp_path / "tree")
    exact = json.loads((out / "classes.json").read_text(encoding="utf-8"))
    folders = sorted(path.name for path in out.iterdir() if path.is_dir())
    assert list(exact) == folders and list(exact.values()) == NAMES
    assert [name[:6] for name in folders] == [f"{number:05d}_" for number in range(len(NAMES))]

    by_datasets = datasets.load_dataset(str(out), cache_dir=str(tmp_path / "cache"))["train"]
    assert by_datasets.features["label"].names == folders
    by_torchvision = torchvision.datasets.ImageFolder(out)
    assert by_torchvision.classes == folders
    by_timm = create_dataset("", root=str(out))
    assert by_timm.reader.class_to_idx == {name: number for number, name in enumerate(folders)}
    labels = [label for label, _ in stored(odd_names)]
    assert by_datasets["label"][:] == by_torchvision.targets == labels
    assert [label for _, label in by_timm.reader.samples] == labels
    read, skipped = open_training(str(out)).read(hd.load(odd_names, "hard").data.side)
    assert not skipped.bad and list(read.classes) == NAMES and read.targets.tolist() == labels, (
        "as DATA, by exact names"
    )


def test_the_files_are_the_stored_bytes_and_lie_inside(odd_names: Path, tmp_path: Path) -> None:
    assert cli.main(["export", str(odd_names), "--out", str(tmp_path / "deep" / "tree")]) == 0
    out = tmp_path / "deep" / "tree"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["deep"]
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["tree"]
    files = sorted(out.glob("*/*"))
    assert [(int(file.parent.name[:5]), file.read_bytes()) for file in files] == stored(odd_names)
    assert [file.name for file in files] == ["00000.png", "00001.png"] * len(NAMES)
    beside = {path.name for path in out.iterdir() if path.is_file()}
    assert beside == {"classes.json", SUMS}


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("..", "__"),
        ("a/b", "a_b"),
        ("/etc/passwd", "_etc_passwd"),
        ("C:\\x", "C__x"),
        ("line\nbreak\0", "line_break_"),
        ("犬", "犬"),
        ("e\N{COMBINING ACUTE ACCENT}", "é"),
        ("one, two", "one__two"),
        ("x" * 255, "x" * 100),
        ("犬" * 255, "犬" * 33),
        ("", ""),
    ],
)
def test_names_are_made_safe(name: str, safe: str) -> None:
    assert export.safe(name) == safe
    assert export.folder_names([name, name]) == [f"00000_{safe}", f"00001_{safe}"]


def test_numbers_are_as_wide_as_they_must_be() -> None:
    assert [export.width(count) for count in (1, 2, 100_000, 100_001, 1_000_001)] == [5, 5, 5, 6, 7]


@pytest.mark.parametrize(("form", "ending"), [("jpeg", "jpg"), ("webp", "webp")])
def test_other_formats_keep_their_ending(form: str, ending: str, tree: Path, recipe: Recipe, tmp_path: Path) -> None:
    simple = replace(recipe, distiller=RandomImages(), ipc=1, codec=Codec(form))
    out = export.export(hd.distill(str(tree), tmp_path / "a", simple), tmp_path / "tree")
    assert [file.name for file in sorted(out.glob("*/*"))] == [f"00000.{ending}"] * 4
    assert len(datasets.load_dataset(str(out), cache_dir=str(tmp_path / "cache"))["train"]) == 4


def test_it_appears_complete_or_not_at_all(
    artefact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "there").mkdir()
    assert cli.main(["export", str(artefact), "--out", str(tmp_path / "there")]) == 2
    assert "exists already; name another output, or remove it" in capsys.readouterr().err
    assert cli.main(["export", str(tmp_path / "there"), "--out", str(tmp_path / "x")]) == 2
    assert "is no artefact" in capsys.readouterr().err
    copy = shutil.copytree(artefact, tmp_path / "copy")
    whole = (copy / IMAGES).read_bytes()
    (copy / IMAGES).write_bytes(whole[: len(whole) // 2])
    assert cli.main(["export", str(copy), "--out", str(tmp_path / "x")]) == 4

    def full(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(export.json, "dumps", full)
    assert cli.main(["export", str(artefact), "--out", str(tmp_path / "x")]) == 130
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copy", "there"]


# Other forms.


def test_shards_are_read_back_with_the_classes_in_the_artefacts_order(odd_names: Path, tmp_path: Path) -> None:
    assert cli.main(["export", str(odd_names), "--out", str(tmp_path / "shards"), "--to", "webdataset"]) == 0
    out = tmp_path / "shards"
    assert sorted(path.name for path in out.iterdir()) == [SUMS, "classes.json", "train-000000.tar"]
    assert json.loads((out / "classes.json").read_text(encoding="utf-8")) == NAMES
    with tarfile.open(out / "train-000000.tar") as shard:
        members = {member.name: shard.extractfile(member).read() for member in shard}
    assert list(members)[:4] == ["00000.png", "00000.cls", "00001.png", "00001.cls"]
    found = [(int(members[f"{row:05d}.cls"]), members[f"{row:05d}.png"]) for row in range(len(members) // 2)]
    assert found == stored(odd_names)
    opened = hd.load(odd_names, "hard")
    read, skipped = open_training(str(out)).read(opened.data.side)
    assert not skipped.bad and list(read.classes) == NAMES
    assert torch.equal(read.images, opened.data.images) and torch.equal(read.targets, opened.data.targets)
    for name in ("train", "test"):
        shutil.copytree(out, tmp_path / "both" / name)
    both = str(tmp_path / "both")
    assert list(open_training(str(out / "train-000000.tar")).classes) == NAMES, "of a shard by itself"
    assert list(open_training(both).classes) == list(open_test(both).classes) == NAMES, "of shards in folders"
    assert "classes are those of classes.json: " in " ".join(open_training(both).notes), "they are not sorted"


def test_a_list_of_too_few_classes_beside_shards_is_refused(odd_names: Path, tmp_path: Path) -> None:
    out = export.export(odd_names, tmp_path / "shards", to="webdataset")
    (out / "classes.json").write_text(json.dumps(NAMES[:-1]), encoding="utf-8")
    with pytest.raises(hd.InputError, match=r"classes.json lists \d+ names, and the shards have a class \d+; list"):
        open_training(str(out))


def test_shards_of_a_part_and_of_other_formats(tree: Path, recipe: Recipe, tmp_path: Path) -> None:
    simple = replace(recipe, distiller=RandomImages(), ipc=2, codec=Codec("jpeg"))
    made = hd.distill(str(tree), tmp_path / "a", simple)
    out = export.export(made, tmp_path / "shards", ipc=1, to="webdataset")
    with tarfile.open(out / "train-000000.tar") as shard:
        assert shard.getnames() == [f"{row:05d}.{ending}" for row in range(4) for ending in ("jpg", "cls")]
    read = open_training(str(out))
    assert read.classes == hd.load(made).classes, "one image a class is enough where the classes are listed"
    again = export.export(made, tmp_path / "again", ipc=1, to="webdataset")
    assert (again / "train-000000.tar").read_bytes() == (out / "train-000000.tar").read_bytes()


def test_onnx_gives_the_logits_of_the_projector(artefact: Path, tmp_path: Path) -> None:
    """For another number of images than it was traced with."""
    out = export.export(artefact, tmp_path / "onnx", to="onnx")
    assert sorted(path.name for path in out.iterdir()) == [SUMS, "classes.json", "projector.onnx"]
    session = onnxruntime.InferenceSession(out / "projector.onnx", providers=["CPUExecutionProvider"])
    opened = hd.load(artefact)
    assert json.loads((out / "classes.json").read_text()) == list(opened.classes)
    images = torch.rand(7, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    (logits,) = session.run(["logits"], {"images": images.numpy()})
    expected = opened.projector(images).numpy()
    assert np.abs(logits - expected).max() <= 1e-4 * np.abs(expected).max()
    assert next(opened.projector.parameters()).device == opened.data.images.device


def test_onnx_resizes_as_the_projector_does(artefact: Path, tmp_path: Path) -> None:
    """The tiny encoder takes 32 pixels; logits that differ are found."""
    projector, side = hd.load(artefact).projector, 24
    onnx._convert(projector, side, tmp_path / "a.onnx")
    images = torch.rand(3, 3, side, side, generator=torch.Generator().manual_seed(0))
    onnx._check(projector, images, tmp_path / "a.onnx")
    with pytest.raises(hd.MachineError, match="gives logits that differ by"):
        onnx._check(nn.Sequential(projector, nn.Softmax(1)), images, tmp_path / "a.onnx")


def test_forms_that_cannot_be_written(
    kinds: dict[str, Path], artefact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(hd.InputError, match="unknown form 'onx' to export to: did you mean 'onnx'"):
        export.export.__wrapped__(artefact, tmp_path / "x", to="onx")  # past the tests' own check of types
    with pytest.raises(hd.InputError, match="has hard labels, and no projector"):
        export.export(kinds["hard"], tmp_path / "x", to="onnx")
    with pytest.raises(hd.InputError, match="--ipc chooses images, and --to onnx"):
        export.export(artefact, tmp_path / "x", ipc=1, to="onnx")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(
        hd.MachineError, match=r"needs the package onnxruntime; install it with .* 'hello-distill\[onnx\]'"
    ):
        export.export(artefact, tmp_path / "x", to="onnx")
    assert list(tmp_path.iterdir()) == []
