"""The demonstration with drawn images and the tiny recipe: its files, its keys, its table."""

from __future__ import annotations

import importlib
import json
import statistics
from pathlib import Path
from typing import Any

import pytest
import torch

from hello_distill import cli
from hello_distill.artifact import load
from hello_distill.distillers.recipe import Recipe
from hello_distill.format import costs
from hello_distill.system.progress import Progress
from hello_distill.training import fit

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


class Killed(BaseException):
    """In the place of a signal."""


@pytest.mark.parametrize("students", [0, 7], ids=["before students", "after seven students"])
def test_a_killed_demo_goes_on_and_ends_with_the_same_bytes(
    tree: Path, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, students: int
) -> None:
    monkeypatch.setattr(demo, "DATA", str(tree))
    steps, last, trained = [0], [-1], list[str]()
    rate, line = fit.set_rate, Progress.line

    def stepped(*given: Any) -> None:
        steps[0] += 1
        rate(*given)

    def ended(progress: Progress, name: str, seconds: float, figure: str) -> None:
        trained.extend([name] * (", seed" in name))
        if len(trained) == last[0] and (students or name == "query fitting"):
            raise Killed
        line(progress, name, seconds, figure)

    monkeypatch.setattr(fit, "set_rate", stepped)
    monkeypatch.setattr(Progress, "line", ended)
    demo.demo(tmp_path / "undisturbed", recipe)
    total, steps[0], last[0] = steps[0], 0, students
    trained.clear()
    with pytest.raises(Killed):
        demo.demo(tmp_path / "demo", recipe)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".demo.stages", "undisturbed"]
    last[0] = -1
    demo.demo(tmp_path / "demo", recipe)
    assert steps[0] == total, "no step is taken twice"
    made, wanted = (content(tmp_path / name) for name in ("demo", "undisturbed"))
    tables = [json.loads(each.pop("table.json")) for each in (made, wanted)]
    for table in tables:
        del table["seconds"]
    assert made == wanted and tables[0] == tables[1]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["demo", "undisturbed"]


def content(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


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
