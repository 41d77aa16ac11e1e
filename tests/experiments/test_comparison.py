"""The grid: every cell has its bytes and runs, a stopped one goes on, and nothing is trained twice."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch

from hello_distill import cli, encoders, recipes, stages
from hello_distill.data.images import ImageSet
from hello_distill.distillers.random import RandomImages
from hello_distill.distillers.rded import RDED
from hello_distill.distillers.recipe import Recipe
from hello_distill.experiments import comparison, tuning
from hello_distill.experiments import grid as bench
from hello_distill.experiments import models as rivals
from hello_distill.experiments.comparison import compare
from hello_distill.experiments.grid import Bench, Comparison, Contender, opened
from hello_distill.experiments.ledger import Cell, Ledger, Run
from hello_distill.format import sizes
from hello_distill.format.results.grids import Bytes, Trial
from hello_distill.labels.quantized import Quantized
from hello_distill.labels.sources.projector import adapter_bytes
from hello_distill.labels.sources.teacher import TeacherLabels
from hello_distill.projector import restore
from hello_distill.queries import faithfulness
from hello_distill.relabel import wanted
from hello_distill.report.plot import plot
from hello_distill.student import Score
from hello_distill.system.errors import DivergedError, InputError
from hello_distill.teachers import TeacherSpec
from hello_distill.training.scores import top1
from hello_distill.training.training_set import TrainingSet
from hello_distill.views import still_view, whole

LABELS = ("hard", "static", "teacher", "stored", "pruned", "projector", "projector-int8")


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
        labels={
            "stored-2": wanted("stored", views=2),
            "pruned": wanted("pruned", keep=0.5),
            "projector-int8": wanted("projector", precision="int8"),
        },
        trials={"hard": ({"lr": 1e-3}, {"lr": 2e-3}), "soft": ({"loss": "mse"}, {"loss": "kl", "beta": 0.0})},
        trial_ipc=2,
        trial_epochs=1,
        fits={
            "projector": ({"lr": 1e-3, "weight": 0.1}, {"lr": 1e30, "weight": 0.1}),
            "rded-encoder": ({"lr": 1e30}, {"lr": 1e-3}),
            "head": ({"lr": 1e-5}, {"lr": 1e-2}),
        },
        fit_images=40,
    )


def recipe_network(grid: Comparison) -> str:
    return grid.base.teachers.network


def run(tree: Path, out: Path, grid: Comparison, **changes: Any) -> dict[str, Any]:
    methods = {"methods": ["random", "rded", "hello"], "labels": LABELS, "ipcs": [1, 2]}
    return compare(str(tree), out, grid, **{**methods, "students": ["convnet2_w8"], "seeds": [0, 1], **changes})


def test_the_command_runs_all_that_its_recipe_has_training_for(
    tree: Path, grid: Comparison, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`many` has students' training for IPC 10 alone; here it is 2."""
    monkeypatch.setattr(recipes, "find_comparison", lambda name: replace(grid, training={2: (2, 4)}))
    out = tmp_path / "r.json"
    grid_of_one = ["--methods", "random", "--labels", "hard", "--students", "convnet2_w8", "--seeds", "0"]
    assert cli.main(["compare", str(tree), "--recipe", "many", *grid_of_one, "--out", str(out)]) == 0
    assert [cell["ipc"] for cell in json.loads(out.read_text())["cells"]] == [2]


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
    run(tree, out, grid, ipcs=[2])
    result = run(tree, out, grid, methods=["hello"], labels=["projector"], ipcs=[1])
    assert not list((tmp_path / ".work").glob(".labelled*"))
    assert trained == {"teachers": 1, "projectors": 1}, "one teacher run and one projector serve all cells"
    assert json.loads(out.read_text()) == json.loads(json.dumps(result))
    assert {"data", "environment", "recipe", "cells"} <= result.keys()
    assert len(result["cells"]) == 3 * len(LABELS) + 1
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
    small = found["hello", "projector-int8", 2]["bytes"]["labels"]
    assert 0 < small < found["hello", "projector", 2]["bytes"]["labels"]
    stored, online = found["rded", "stored", 2], found["rded", "teacher", 2]
    assert stored["top1_last"] == online["top1_last"] and stored["same_students_as"] == "teacher"
    assert stored["bytes"]["labels"] > 0 == stored["bytes"]["teacher"]
    assert all(len(cell["commits"]) == 1 for cell in result["cells"])
    fits = [trial for trial in result["trials"] if "fit" in trial]
    assert len(result["trials"]) - len(fits) == 3 * 4 * 2, "as many trials for each method and family of labels"
    assert [(trial["fit"], trial["settings"]["lr"]) for trial in fits] == [("projector", 1e-3), ("projector", 1e30)]
    assert fits[0]["held_top1"] > fits[1]["held_top1"] == 0, "the second diverges"
    measured = result["stages"]
    assert measured.keys() == {recipe_network(grid), "projector"}
    assert {"teacher_top1", "ensemble_top1"} <= measured[recipe_network(grid)].keys()
    assert {"zero_shot_top1", "projector_top1"} == measured["projector"].keys()


def test_stored_cells_without_their_twin_are_trained_and_cost_what_is_on_disk(
    tree: Path, grid: Comparison, tmp_path: Path
) -> None:
    options: dict[str, Any] = {"methods": ["rded"], "ipcs": [2], "seeds": [1]}
    drawn, alone = sorted(
        run(tree, tmp_path / "alone.json", grid, labels=["stored", "stored-2"], **options)["cells"],
        key=lambda cell: cell["labels"] == "stored",
    )
    assert "same_students_as" not in drawn and drawn["settings"] == alone["settings"], "trained, as tuned for teachers"
    assert drawn["bytes"]["labels"] == sizes.stored_bytes(4, 8, 2, 4)
    twin = run(tree, tmp_path / "twin.json", grid, labels=["stored", "teacher"], **options)["cells"]
    twin = next(cell for cell in twin if cell["labels"] == "stored")
    assert "same_students_as" in twin and "same_students_as" not in alone
    assert alone["bytes"] == twin["bytes"] and alone["top1_last"] == twin["top1_last"]


def test_a_projector_that_diverges_is_fitted_once_and_leaves_the_other_cells(
    tree: Path, grid: Comparison, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fits = 0

    def diverging(*arguments: Any) -> Any:
        nonlocal fits
        fits += 1
        raise DivergedError("projector: the loss is nan")

    monkeypatch.setattr(stages, "fit_projector", diverging)
    plain = replace(grid, trials={}, fits={})
    options: dict[str, Any] = {"methods": ["hello", "random"], "labels": ["hard"], "ipcs": [1, 2], "seeds": [0, 1]}
    result = run(tree, tmp_path / "r.json", plain, **options)
    assert fits == 1
    assert [(cell["method"], cell["ipc"], cell["seeds"]) for cell in result["cells"]] == [
        ("random", 1, [0, 1]),
        ("random", 2, [0, 1]),
    ]
    assert [(lost["method"], lost["ipc"], lost["seed"]) for lost in result["diverged"]] == [
        ("hello", ipc, seed) for ipc in (1, 2) for seed in (0, 1)
    ]
    monkeypatch.setattr(Bench, "images", lambda *call: pytest.fail("a run that diverged is tried again"))
    assert run(tree, tmp_path / "r.json", plain, **options) == result


def test_of_equal_trials_the_first_is_taken_whoever_was_faster(tree: Path, grid: Comparison, tmp_path: Path) -> None:
    shared, ledger = opened(str(tree), tmp_path / "r.json", grid, {})
    cell = Cell("random", "hard", 2, recipe_network(grid))
    key = {"method": "random", "labels": "hard", "student": cell.student}
    for settings in reversed(grid.trials["hard"]):
        ledger.add_trial(Trial(**key, settings=dict(settings), held_top1=50.0))
    assert tuning.student_settings(shared, ledger, cell) == dict(grid.trials["hard"][0])


def test_a_projectors_settings_are_those_that_students_learn_most_from(
    tree: Path, grid: Comparison, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not those with which it classifies best itself: here students do better the nearer labels are to the ensemble's,
    and by a point with the second seed."""
    fits = {"projector": ({"lr": 1e-2, "weight": 10.0}, {"lr": 1e-2, "weight": 0.0})}
    bench = Bench(str(tree), replace(grid, fits=fits), tmp_path / ".work")
    ensemble = bench.stages().teachers().ensemble
    seen: list[tuple[dict[str, int], int, float]] = []

    def learns(training: TrainingSet, held: ImageSet, seed: int) -> Score:
        images = whole(training.data.images)
        wanted, given = ensemble(images), training.labels(images, still_view(len(images), training.data.side))
        near = 50 - faithfulness(wanted, given).error
        seen.append((training.data.counts(), training.student.optim.epochs, near))
        return Score(seed, {1: near + seed})

    monkeypatch.setattr(tuning, "train_student", learns)
    ledger = Ledger(tmp_path / "r.json", {"name": "data"}, {"a": 1})
    assert tuning.fit_settings(bench, ledger, "projector") == fits["projector"][1]
    trials = ledger.read().trials_of({"fit": "projector"})
    assert [counts for counts, _, _ in seen] == [dict.fromkeys(bench.material.train.classes, 2)] * 4
    assert [epochs for _, epochs, _ in seen] == [1] * 4
    near = [near for _, _, near in seen]
    assert [trial.held_top1 for trial in trials] == pytest.approx(
        [(near[0] + near[1] + 1) / 2, (near[2] + near[3] + 1) / 2], abs=0.01
    )
    assert all(trial.spread is not None and 0 < trial.spread < 1 for trial in trials)


def test_a_stopped_comparison_goes_on_with_the_same_result(
    tree: Path, grid: Comparison, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: dict[str, Any] = {"methods": ["hello"], "labels": ["hard", "projector"], "ipcs": [2]}
    whole = run(tree, tmp_path / "whole.json", grid, **options)
    calls = 0
    train = comparison.train_student

    def stops(*arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 8:  # two students of a fit, two trials and both runs of one cell, a trial of the next
            raise KeyboardInterrupt
        return train(*arguments)

    monkeypatch.setattr(comparison, "train_student", stops)
    monkeypatch.setattr(tuning, "train_student", stops)
    with pytest.raises(KeyboardInterrupt):
        run(tree, tmp_path / "half.json", grid, **options)
    assert calls == 8
    result = run(tree, tmp_path / "half.json", grid, **options)
    assert calls == 8 + 3

    def figures(result: dict[str, Any]) -> Any:
        return [{**cell, "seconds": 0} for cell in result["cells"]], result["trials"], result["recipe"]

    assert figures(result) == figures(whole)
    run(tree, tmp_path / "half.json", grid, **options)
    assert calls == 11, "nothing is left to do"


def test_a_run_that_another_process_holds_is_left_to_it(tree: Path, grid: Comparison, tmp_path: Path) -> None:
    """The second process waits for the first at the end, and then finds the run done."""
    options: dict[str, Any] = {"methods": ["random"], "labels": ["hard"], "ipcs": [1, 2], "seeds": [0]}
    whole = run(tree, tmp_path / "one.json", grid, **options)["cells"]
    script = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from hello_distill.system.cache import locked\n"
        "with locked(Path(sys.argv[1])):\n"
        "    print('held', flush=True)\n"
        "    time.sleep(float(sys.argv[2]))"
    )
    claim = tmp_path / ".two.claims" / "random-hard-1-convnet2_w8-0"
    holder = subprocess.Popen([sys.executable, "-c", script, str(claim), "20"], stdout=subprocess.PIPE)
    assert holder.stdout is not None and holder.stdout.readline() == b"held\n"
    ends = threading.Timer(4, holder.kill)
    ends.start()
    done = run(tree, tmp_path / "two.json", grid, **options)["cells"]
    assert holder.wait() != 0, "it was killed, and its claim went with it"
    assert [cell["top1_last"] for cell in done] == [cell["top1_last"] for cell in whole]


def test_runs_of_two_processes_are_merged_in_order(tmp_path: Path) -> None:
    cell = Cell("rded", "teacher", 10, "convnet3")
    one, two = (Ledger(tmp_path / "r.json", {"name": "data"}, {"a": 1}) for _ in range(2))
    sizes = Bytes(images=1, labels=2, teacher=3, public=4)
    two.add_run(cell, {}, 2, Run(30.0, 31.0, sizes, 1.2))
    one.add_run(cell, {}, 0, Run(10.0, 11.0, sizes, 1.2))
    one.add_run(cell, {}, 0, Run(99.0, 99.0, sizes, 1.2))
    two.add_trial(Trial(method="rded", settings={"lr": 1}, held_top1=5.0))
    one.add_trial(Trial(method="rded", settings={"lr": 1}, held_top1=6.0))
    found = one.read().cell(cell.fields)
    assert found is not None and found.seeds == [0, 2] and found.seconds == 2
    assert found.top1_last.content() == {"mean": 20.0, "sd": pytest.approx(200**0.5), "runs": [10.0, 30.0]}
    assert [trial.held_top1 for trial in two.read().trials_of({"method": "rded"})] == [5.0]
    one.add_stages({"convnet3": {"teacher_top1": 80.0}})
    two.add_stages({"convnet3": {"teacher_top1": 80.0, "ensemble_top1": 70.0}})
    two.add_stages({"convnet3": {"teacher_top1": 81.0}})
    assert one.read().stages == {
        "convnet3": {"teacher_top1": 80.0, "ensemble_top1": 70.0},
        "convnet3, again": {"teacher_top1": 81.0},
    }
    with pytest.raises(InputError, match="other settings"):
        Ledger(tmp_path / "r.json", {"name": "data"}, {"a": 2})


def test_hard_labels_of_random_images_need_no_teacher(
    tree: Path, grid: Comparison, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object) -> None:
        raise AssertionError("nobody asked for a teacher")

    monkeypatch.setattr(stages, "train_teachers", never)
    result = run(tree, tmp_path / "r.json", grid, methods=["random"], labels=["hard"], ipcs=[1], seeds=[0])
    assert len(result["cells"]) == 1


def test_students_may_start_from_a_public_encoder(tree: Path, grid: Comparison, tmp_path: Path) -> None:
    """Their encoder counts among the public weights, once, whoever else relies on it."""
    name = f"encoder/{grid.projector.encoder}"
    public = sum(weights.bytes for weights in encoders.load(grid.projector.encoder).weights)
    kinds, grid = (
        ("hard", "teacher", "stored", "projector"),
        replace(grid, fits={}, trials={"hard": grid.trials["hard"]}),
    )
    options: dict[str, Any] = {"methods": ["rded"], "ipcs": [2], "seeds": [0]}
    result = run(tree, tmp_path / "r.json", grid, labels=kinds, students=[name], **options)
    assert {cell["labels"]: cell["bytes"]["public"] for cell in result["cells"]} == dict.fromkeys(kinds, public)
    tried = [(trial["student"], trial["labels"], trial["settings"]["lr"]) for trial in result["trials"]]
    assert tried == [(name, "hard", 1e-3), (name, "hard", 2e-3)]
    plain = run(tree, tmp_path / "r.json", grid, labels=["hard"], **options)["cells"][0]
    assert plain["student"] == "convnet2_w8" and plain["bytes"]["public"] == 0


def test_models_are_shipped_without_images_or_students(
    tree: Path, grid: Comparison, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, names = tmp_path / "r.json", ["projector", "head", "teacher", "projector-int8"]
    grid = replace(grid, trials={}, fits={"head": grid.fits["head"]})
    run(tree, out, grid, methods=["random"], labels=["hard"], ipcs=[1], seeds=[0])
    before = json.loads(out.read_text())
    result = run(tree, out, grid, methods=["random"], labels=["hard"], ipcs=[1], seeds=[0], models=names)
    assert result["cells"] == before["cells"] and "models" not in before
    found = {model["model"]: model for model in result["models"]}
    assert list(found) == sorted(names)
    fits = {trial["settings"]["lr"]: trial["held_top1"] for trial in result["trials"] if trial.get("fit") == "head"}
    chosen = max(fits, key=lambda lr: fits[lr])
    assert set(fits) == {1e-5, 1e-2} and found["head"]["settings"] == {"lr": chosen}
    shared = Bench(str(tree), grid, tmp_path / "other")
    stages, spec, test = shared.stages(), shared.comparison.projector, shared.test()
    head = stages.probe(bench.with_settings(spec, {"lr": chosen}), taught=False, lora=False).model
    kept = head.label_head.weight.half()
    public = sum(weights.bytes for weights in encoders.load(spec.encoder).weights)
    images = test.images.float() / 255
    right = (head.encode(images) @ kept.float().T).argmax(1) == test.targets
    assert found["head"]["top1"]["runs"] == [pytest.approx(100 * right.double().mean().item())]
    safetensors.torch.save_file({"label_head.weight": kept}, tmp_path / "head")
    assert found["head"]["bytes"] == (tmp_path / "head").stat().st_size and found["head"]["public"] == public
    fitted = stages.projector(spec)
    projector = restore(fitted.start, fitted.adapter.rounded("float16"))
    assert found["projector"]["top1"]["runs"] == [top1(projector, test)]
    assert found["projector"]["bytes"] == adapter_bytes(fitted.adapter, "float16")
    assert found["projector-int8"]["bytes"] == adapter_bytes(fitted.adapter, "int8")
    teacher = TeacherLabels([stages.spec.network], [stages.teachers().observer], test.side)
    assert found["teacher"]["top1"]["runs"] == [top1(teacher.members[0], test)]
    assert (found["teacher"]["bytes"], found["teacher"]["public"]) == (teacher.size(), 0)
    monkeypatch.setattr(rivals, "_tested", lambda *call: pytest.fail("a model that is there is made again"))
    run(tree, out, grid, methods=["random"], labels=["hard"], ipcs=[1], seeds=[0], models=names)


def test_the_encoder_trained_as_a_whole_stands_beside_hello(tree: Path, grid: Comparison, tmp_path: Path) -> None:
    result = run(tree, tmp_path / "r.json", grid, methods=["rded-encoder"], labels=["teacher"], ipcs=[1], seeds=[0])
    fits = {trial["settings"]["lr"]: trial["held_top1"] for trial in result["trials"] if "fit" in trial}
    assert fits[1e-3] > fits[1e30] == 0
    (cell,) = result["cells"]
    assert cell["bytes"]["teacher"] > 100_000 and cell["bytes"]["labels"] == 0 and cell["top1_last"]["sd"] is None


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"methods": ["rdde"]}, "did you mean 'rded'"),
        ({"labels": ["hart"]}, "did you mean 'hard'"),
        ({"ipcs": [3]}, "no student training for IPC 3, only for 1, 2"),
        ({"students": ["convnet_w8"]}, "unknown network"),
        ({"models": ["haed"]}, "did you mean 'head'"),
        ({"models": ["stored-2"]}, "unknown model 'stored-2'"),
    ],
)
def test_wrong_names_are_told_before_anything_runs(
    tree: Path, grid: Comparison, tmp_path: Path, changes: dict[str, Any], told: str
) -> None:
    with pytest.raises(InputError, match=told):
        run(tree, tmp_path / "r.json", grid, **changes)
    assert not list(tmp_path.iterdir())


def test_a_head_that_cannot_be_is_told_before_anything_runs(tree: Path, grid: Comparison, tmp_path: Path) -> None:
    changed = replace(grid, projector=replace(grid.projector, normalize=False))
    with pytest.raises(InputError, match="set `normalize` to true"):
        run(tree, tmp_path / "r.json", changed, models=["head"])
    assert not list(tmp_path.iterdir())


def test_a_result_goes_on_with_methods_and_labels_that_were_added(tree: Path, grid: Comparison, tmp_path: Path) -> None:
    out, options = tmp_path / "r.json", {"labels": ["hard"], "ipcs": [2], "seeds": [0]}
    few = replace(
        grid,
        contenders={"random": grid.contenders["random"]},
        labels={"pruned": grid.labels["pruned"]},
        training={2: grid.training[2]},
        fits={name: grid.fits[name] for name in ("projector", "head")},
    )
    first = run(tree, out, few, methods=["random"], **options)
    assert list(first["recipe"]["methods"]) == ["random"]
    grown = run(tree, out, grid, methods=["rded"], **options)
    assert [cell["method"] for cell in grown["cells"]] == ["random", "rded"]
    assert grown["recipe"]["methods"].keys() == grid.contenders.keys()
    assert grown["recipe"]["training"].keys() == {str(ipc) for ipc in grid.training}
    assert run(tree, out, few, methods=["random"], **options) == grown, "an older version takes nothing away"
    assert grown["recipe"]["labels"].keys() == grid.labels.keys() and grown["recipe"]["fits"].keys() == grid.fits.keys()
    others = (
        replace(grid, contenders={**grid.contenders, "random": grid.contenders["rded"]}),
        replace(grid, fits={}),
        replace(grid, labels={**grid.labels, "quantized": Quantized(keep=0.5)}),
    )
    for other in others:
        with pytest.raises(InputError, match="other settings"):
            run(tree, out, other, methods=["rded"], **options)


def test_a_result_of_other_settings_is_not_mixed_in(tree: Path, grid: Comparison, tmp_path: Path) -> None:
    out = tmp_path / "r.json"
    run(tree, out, grid, methods=["random"], labels=["hard"], ipcs=[1], seeds=[0])
    with pytest.raises(InputError, match="other settings"):
        run(tree, out, replace(grid, trial_epochs=2), methods=["random"], labels=["hard"], ipcs=[1], seeds=[0])
    out.write_text("{}")
    with pytest.raises(InputError, match="no result of this command"):
        run(tree, out, grid)


def test_the_picture_is_the_same_twice(tree: Path, grid: Comparison, tmp_path: Path) -> None:
    out = tmp_path / "r.json"
    run(tree, out, grid, methods=["random"], labels=["hard", "teacher"], ipcs=[1], seeds=[0])
    first = plot(out).read_bytes()
    assert first.startswith(b"<?xml") and plot(out, tmp_path / "b.svg").read_bytes() == first
    out.write_text(json.dumps({**json.loads(out.read_text()), "cells": []}))
    with pytest.raises(InputError, match="no finished cell"):
        plot(out)


def test_nothing_is_chosen_where_no_images_are_held_out(tree: Path, grid: Comparison, tmp_path: Path) -> None:
    none = replace(grid, base=replace(grid.base, held_share=0.0))
    with pytest.raises(InputError, match="set `held_share` above 0"):
        run(tree, tmp_path / "r.json", none, methods=["random"], labels=["hard"], ipcs=[1], seeds=[0])


def test_a_tuned_projector_is_the_one_of_labels_and_of_the_method(grid: Comparison) -> None:
    tuned = grid.with_fit("projector", {"lr": 0.5, "weight": 2.0})
    assert (tuned.projector.optim.lr, tuned.projector.weight) == (0.5, 2.0)
    assert tuned.contenders["hello"].distiller.projector == tuned.projector
    assert tuned.contenders["rded"] == grid.contenders["rded"] and grid.projector.weight != 2.0
    teachers = grid.with_fit("rded-encoder", {"lr": 0.5}).contenders["rded-encoder"].teachers
    assert teachers is not None and teachers.optim.lr == 0.5


@pytest.mark.parametrize("name", recipes.COMPARISONS)
def test_named_comparisons_are_fair_and_can_be_written_down(name: str) -> None:
    made = recipes.find_comparison(name)
    assert json.loads(json.dumps(bench.described(made)))
    assert len(made.trials["hard"]) == len(made.trials["soft"])
    losses = [trial["loss"] for trial in made.trials["soft"]]
    assert losses.count("mse") == losses.count("kl"), "neither loss is tried more often"
    assert min(map(len, made.fits.values())) >= len(made.fits.get("projector", ())), "no rival has fewer short fits"
    others = {name for name, each in made.contenders.items() if each.teachers}
    assert set(made.fits) - {"projector"} == {"head"} | others
    comparison.check(made, list(made.contenders), list(made.labels), list(made.training), ["convnet3"])


def test_a_result_names_every_machine_that_added_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = Ledger(tmp_path / "r.json", {"name": "x"}, {})
    here = {"commit": "a", "processor": "one", "threads": 1}
    for processor, commit in (("one", "a"), ("one", "b"), ("two", "b"), ("two", "c")):
        found = {**here, "processor": processor, "commit": commit}
        monkeypatch.setattr("hello_distill.experiments.ledger.environment", lambda found=found: found)
        ledger.add_stages({"teacher": {"top1": 50.0}})
    result = ledger.read()
    assert result.environment == here
    assert result.more_environments == [{"commit": None, "processor": "two", "threads": 1}]
