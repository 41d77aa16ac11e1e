"""The demonstration with drawn images and the tiny recipe: its files, its keys, its table."""

from __future__ import annotations

import importlib
import json
import statistics
from pathlib import Path

import pytest
import torch

from hello_distill import cli
from hello_distill.artifact import load
from hello_distill.distillers.recipe import Recipe
from hello_distill.format import costs

demo = importlib.import_module("hello_distill.experiments.demo")


def test_the_demo_compares_four_trainings(
    tree: Path, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo, "DATA", str(tree))
    monkeypatch.setattr("hello_distill.recipes.find", lambda name: recipe)
    assert cli.main(["demo", "--out", str(tmp_path / "demo")]) == 0
    table = json.loads((tmp_path / "demo" / "table.json").read_text())
    for row in ("random_hard", "distilled_hard", "distilled_projector", "random_projector"):
        runs = table[row]["runs"]
        assert len(runs) == len(table[row]["best"]["runs"]) == 3
        assert table[row]["mean"] == pytest.approx(statistics.fmean(runs))
        assert table[row]["sd"] == pytest.approx(statistics.stdev(runs))
    found = costs.info(tmp_path / "demo" / "artefact")
    assert table["bytes"] == {
        "images": found["images"]["bytes"],
        "projector": found["labels"]["bytes"],
        "stored_labels": found["ladder"][0]["bytes"],
    }
    assert table["environment"]["torch"] and table["recipe"]["ipc"] == recipe.ipc
    assert load(tmp_path / "demo" / "random").labels.kind == "hard"
    printed = capsys.readouterr().out
    for row in ("random_hard", "distilled_hard", "distilled_projector"):
        assert f"{table[row]['mean']:.1f} +- {table[row]['sd']:.1f}" in printed
    gap = table["distilled_projector"]["mean"] - table["random_hard"]["mean"]
    other = table["distilled_projector"]["mean"] - table["random_projector"]["mean"]
    printed = " ".join(printed.split())
    assert f"(c) is {gap:+.1f} points from (a)" in printed and f"and {other:+.1f} from (d)." in printed
    random, projected = (load(tmp_path / "demo" / name) for name in ("random", "random-projector"))
    assert torch.equal(random.data.images, projected.data.images) and projected.labels.kind == "projector"


def test_random_images_are_training_images(tree: Path, recipe: Recipe, tmp_path: Path) -> None:
    from hello_distill.api import distill_material, prepare
    from hello_distill.distillers.random import RandomImages

    material = prepare(str(tree), recipe)
    kept = load(distill_material(material, recipe, RandomImages(), tmp_path / "r")).data
    known = {
        image.numpy().tobytes(): int(c) for image, c in zip(material.train.images, material.train.targets, strict=True)
    }
    assert len({image.numpy().tobytes() for image in kept.images}) == len(kept)
    for image, target in zip(kept.images, kept.targets, strict=True):
        assert known[image.numpy().tobytes()] == int(target)
