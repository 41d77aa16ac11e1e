"""The grid: every cell has its bytes and runs, a stopped one goes on, and nothing is trained twice."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hello_distill import comparison, recipes, stages
from hello_distill.comparison import Comparison, Contender, compare
from hello_distill.distillers.random import RandomImages
from hello_distill.distillers.rded import RDED
from hello_distill.errors import InputError
from hello_distill.pipeline import Recipe
from hello_distill.plot import plot
from hello_distill.relabel import Relabel
from hello_distill.teachers import TeacherSpec

LABELS = ("hard", "static", "teacher", "stored", "pruned", "projector")


@pytest.fixture
def grid(recipe: Recipe) -> Comparison:
    short = replace(recipe.teachers.optim, epochs=1)
    encoder = TeacherSpec(f"encoder/{recipe.distiller.projector.encoder}", (1,), recipe.teachers.augment, short)
    patches = recipe.distiller.patches
    return Comparison(
        base=recipe,
        contenders={
            "random": Contender(RandomImages()),
            "rded": Contender(RDED(patches)),
            "rded-encoder": Contender(RDED(patches), encoder),
            "hello": Contender(recipe.distiller),
        },
        projector=recipe.distiller.projector,
        training={1: (2, 4), 2: (2, 4)},
        labels={"pruned": Relabel("pruned", keep=0.5)},
        trials={"hard": ({"lr": 1e-3}, {"lr": 2e-3}), "soft": ({"loss": "mse"}, {"loss": "kl", "beta": 0.0})},
        trial_ipc=2,
        trial_epochs=1,
    )


def run(tree: Path, out: Path, grid: Comparison, **changes: Any) -> dict[str, Any]:
    methods = {"methods": ["random", "rded", "hello"], "labels": LABELS, "ipcs": [1, 2]}
    return compare(str(tree), out, grid, **{**methods, "students": ["convnet2_w8"], "seeds": [0, 1], **changes})


def test_a_comparison_runs_every_cell_and_counts_its_bytes(
    tree: Path, grid: Comparison, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = {"teachers": 0, "projectors": 0}

    def counted(name: str, function: Any) -> Any:
        def call(*arguments: Any, **named: Any) -> Any:
            trained[name] += 1
            return function(*arguments, **named)

        return call

    monkeypatch.setattr(stages, "train_teachers", counted("teachers", stages.train_teachers))
    monkeypatch.setattr(stages, "fit_projector", counted("projectors", stages.fit_projector))
    out = tmp_path / "result.json"
    result = run(tree, out, grid)
    assert trained == {"teachers": 1, "projectors": 1}, "one teacher run and one projector serve all cells"
    assert json.loads(out.read_text()) == json.loads(json.dumps(result))
    assert {"data", "environment", "recipe", "cells"} <= result.keys()
    assert len(result["cells"]) == 3 * len(LABELS) * 2
    for cell in result["cells"]:
        assert cell["seeds"] == [0, 1]
        for name in ("top1_last", "top1_best"):
            runs = cell[name]["runs"]
            assert cell[name]["mean"] == pytest.approx(sum(runs) / 2) and all(0 <= value <= 100 for value in runs)
            assert cell[name]["sd"] == pytest.approx(abs(runs[0] - runs[1]) / 2**0.5)
        assert set(cell["bytes"]) == {"images", "labels", "teacher", "public"} and cell["bytes"]["images"] > 0
    found = {(c["method"], c["labels"], c["ipc"]): c for c in result["cells"]}
    assert found["rded", "hard", 2]["bytes"]["labels"] == found["rded", "hard", 2]["bytes"]["teacher"] == 0
    assert found["rded", "teacher", 2]["bytes"]["teacher"] > 0 == found["rded", "teacher", 2]["bytes"]["labels"]
    assert found["rded", "projector", 2]["bytes"]["labels"] == found["hello", "projector", 1]["bytes"]["labels"] > 0
    assert found["rded", "projector", 2]["bytes"]["public"] > 0
    stored, online = found["rded", "stored", 2], found["rded", "teacher", 2]
    assert stored["top1_last"] == online["top1_last"] and stored["same_students_as"] == "teacher"
    assert stored["bytes"]["labels"] > 0 == stored["bytes"]["teacher"]
    assert len(result["trials"]) == 3 * 3 * 2, "as many trials for each method and family of labels"


def test_stored_cells_without_their_twin_are_trained_and_cost_what_is_on_disk(
    tree: Path, grid: Comparison, tmp_path: Path
) -> None:
    options: dict[str, Any] = {"methods": ["rded"], "ipcs": [2], "seeds": [1]}
    alone = run(tree, tmp_path / "alone.json", grid, labels=["stored"], **options)["cells"][0]
    twin = run(tree, tmp_path / "twin.json", grid, labels=["stored", "teacher"], **options)["cells"]
    twin = next(cell for cell in twin if cell["labels"] == "stored")
    assert "same_students_as" in twin and "same_students_as" not in alone
    assert alone["bytes"] == twin["bytes"] and alone["top1_last"] == twin["top1_last"]


def test_a_stopped_comparison_goes_on_with_the_same_result(
    tree: Path, grid: Comparison, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: dict[str, Any] = {"methods": ["random", "hello"], "labels": ["hard", "projector"], "ipcs": [2]}
    whole = run(tree, tmp_path / "whole.json", grid, **options)
    calls = 0
    train = comparison.train_student

    def stops(*arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 11:  # 8 trials, then two runs
            raise KeyboardInterrupt
        return train(*arguments)

    monkeypatch.setattr(comparison, "train_student", stops)
    with pytest.raises(KeyboardInterrupt):
        run(tree, tmp_path / "half.json", grid, **options)
    assert calls == 11
    result = run(tree, tmp_path / "half.json", grid, **options)
    assert calls == 11 + 8 - 2

    def figures(result: dict[str, Any]) -> Any:
        return [{**cell, "seconds": 0} for cell in result["cells"]], result["trials"], result["recipe"]

    assert figures(result) == figures(whole)
    run(tree, tmp_path / "half.json", grid, **options)
    assert calls == 17, "nothing is left to do"


def test_the_encoder_trained_as_a_whole_stands_beside_hello(tree: Path, grid: Comparison, tmp_path: Path) -> None:
    result = run(tree, tmp_path / "r.json", grid, methods=["rded-encoder"], labels=["teacher"], ipcs=[1], seeds=[0])
    (cell,) = result["cells"]
    assert cell["bytes"]["teacher"] > 100_000 and cell["bytes"]["labels"] == 0 and cell["top1_last"]["sd"] is None


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"methods": ["rdde"]}, "did you mean 'rded'"),
        ({"labels": ["hart"]}, "did you mean 'hard'"),
        ({"ipcs": [3]}, "no student training for IPC 3, only for 1, 2"),
        ({"students": ["convnet_w8"]}, "unknown network"),
    ],
)
def test_wrong_names_are_told_before_anything_runs(
    tree: Path, grid: Comparison, tmp_path: Path, changes: dict[str, Any], told: str
) -> None:
    with pytest.raises(InputError, match=told):
        run(tree, tmp_path / "r.json", grid, **changes)
    assert not list(tmp_path.iterdir())


def test_a_result_of_other_settings_is_not_mixed_in(tree: Path, grid: Comparison, tmp_path: Path) -> None:
    out = tmp_path / "r.json"
    run(tree, out, grid, methods=["random"], labels=["hard"], ipcs=[1], seeds=[0])
    with pytest.raises(InputError, match="other settings"):
        run(tree, out, replace(grid, trial_epochs=2), methods=["random"], labels=["hard"], ipcs=[1], seeds=[0])
    out.write_text("{}")
    with pytest.raises(InputError, match="no result of a comparison"):
        run(tree, out, grid)


def test_the_picture_is_the_same_twice(tree: Path, grid: Comparison, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    out = tmp_path / "r.json"
    run(tree, out, grid, methods=["random"], labels=["hard", "teacher"], ipcs=[1], seeds=[0])
    first = plot(out).read_bytes()
    assert first.startswith(b"<?xml") and plot(out, tmp_path / "b.svg").read_bytes() == first
    out.write_text('{"cells": []}')
    with pytest.raises(InputError, match="no finished cell"):
        plot(out)


@pytest.mark.parametrize("name", recipes.COMPARISONS)
def test_named_comparisons_are_fair_and_can_be_written_down(name: str) -> None:
    made = recipes.find_comparison(name)
    assert json.loads(json.dumps(comparison.described(made)))
    assert len(made.trials["hard"]) == len(made.trials["soft"])
    comparison.check(made, list(made.contenders), list(made.labels), list(made.training), ["convnet3"])
