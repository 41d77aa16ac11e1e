"""Classes that arrive in steps: who is seen when, who labels, what a network starts from, and a run by definition."""

from __future__ import annotations

import copy
import importlib
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from conftest import CLASSES
from hello_distill import artifact as artifacts
from hello_distill import cli, recipes, stages
from hello_distill import student as evaluate
from hello_distill.data import parquet
from hello_distill.data.images import Material
from hello_distill.distillers.random import RandomImages
from hello_distill.distillers.rded import RDED
from hello_distill.distillers.recipe import Recipe
from hello_distill.experiments import continual
from hello_distill.experiments.arrivals import Arrivals, kept
from hello_distill.experiments.continual import Continual, Restricted, curves, network_seed
from hello_distill.experiments.grid import Bench, Comparison, Contender
from hello_distill.experiments.ledger import Cell
from hello_distill.format.results.entries import Summary
from hello_distill.format.results.grids import Bytes, GridCell
from hello_distill.format.specs import Queries
from hello_distill.labels.sources.teacher import TeacherLabels
from hello_distill.stages import Stages
from hello_distill.system.errors import InputError
from hello_distill.training.networks import build
from hello_distill.types import View
from hello_distill.views import mixed_targets, render, sample_views, whole

CLASSES_SORTED = tuple(sorted(CLASSES))
LABELS = {
    "hello": ("projector-all", "projector-extended", "projector-seen"),
    "rded": ("teacher-all", "teacher-seen"),
    "random": ("hard",),
}
ORDER = ("projector-seen", "projector-extended", "projector-all", "teacher-seen", "teacher-all", "hard")
"""In which labellers are run."""


@pytest.fixture(scope="module")
def experiment(recipe: Recipe) -> Continual:
    patches = recipe.distiller.patches
    contenders = {
        "random": Contender(RandomImages()),
        "rded": Contender(RDED(patches)),
        "hello": Contender(recipe.distiller),
    }
    comparison = Comparison(recipe, contenders, recipe.distiller.projector, training={2: (6, 4)}, labels={})
    return Continual(comparison, {"random": {"lr": 2e-3}, "rded": {"beta": 0.5}, "hello": {}})


def run(tree: Path, out: Path, experiment: Continual, **changes: Any) -> dict[str, Any]:
    grid = {"methods": ["hello", "rded", "random"], "steps": [2], "ipcs": [2], "seeds": [0], **changes}
    return continual.continual(str(tree), out, experiment, **grid)


class Trained:
    """What every student of a run was made of, in the order in which they were trained."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.untrained: list[dict[str, torch.Tensor]] = []
        self.networks: list[torch.nn.Module] = []
        self.memories: list[Any] = []
        self.tests: list[Any] = []
        self.seeds: list[int] = []
        monkeypatch.setattr(evaluate, "build", self.built)
        monkeypatch.setattr(continual, "train_student", self.train)

    def built(self, *arguments: Any) -> torch.nn.Module:
        self.networks.append(build(*arguments))
        self.untrained.append(copy.deepcopy(self.networks[-1].state_dict()))
        return self.networks[-1]

    def train(self, artifact: Any, test: Any, seed: int) -> Any:
        self.memories.append(artifact)
        self.tests.append(test)
        self.seeds.append(seed)
        return evaluate.train_student(artifact, test, seed)


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> Trained:
    return Trained(monkeypatch)


class Done(NamedTuple):
    """One run of everything, at two and four steps of four classes, that several tests look at."""

    out: Path
    result: dict[str, Any]
    trained: Trained
    fitted: dict[str, list[tuple[str, ...]]]
    """Classes of each training of teachers and of each fit of a projector."""


@pytest.fixture(scope="module")
def done(tree: Path, experiment: Continual, tmp_path_factory: pytest.TempPathFactory) -> Done:
    fitted: dict[str, list[tuple[str, ...]]] = {"train_teachers": [], "fit_projector": []}

    def counted(name: str, function: Any, place: int) -> Any:
        def call(*arguments: Any, **named: Any) -> Any:
            fitted[name].append(arguments[place].classes)
            return function(*arguments, **named)

        return call

    with pytest.MonkeyPatch.context() as patch:
        trained = Trained(patch)
        patch.setattr(stages, "train_teachers", counted("train_teachers", stages.train_teachers, 0))
        patch.setattr(stages, "fit_projector", counted("fit_projector", stages.fit_projector, 2))
        out = tmp_path_factory.mktemp("continual") / "r.json"
        return Done(out, run(tree, out, experiment, steps=[2, 4]), trained, fitted)


def two_steps(done: Done) -> list[Any]:
    """The memories of the run in two steps, which came first: two of each labeller."""
    return done.trained.memories[: 2 * len(ORDER)]


def test_classes_arrive_in_the_order_of_the_seed_and_evenly() -> None:
    five, ten = Arrivals.drawn(20, 5, seed=1), Arrivals.drawn(20, 10, seed=1)
    assert five.order == ten.order == tuple(np.random.default_rng([1, 6]).permutation(20).tolist())
    assert five.order != Arrivals.drawn(20, 5, seed=2).order and sorted(five.order) == list(range(20))
    for arrivals, share in ((five, 4), (ten, 2)):
        arrived: list[int] = []
        for step in range(1, arrivals.steps + 1):
            assert len(arrivals.new(step)) == share and not set(arrivals.new(step)) & set(arrived)
            arrived += arrivals.new(step)
            assert arrivals.seen(step) == tuple(sorted(arrived))
        assert arrived == list(arrivals.order)


def test_steps_must_divide_the_classes(tree: Path, experiment: Continual, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"4 classes cannot be divided evenly over 3 steps; --steps may be 2, 4$"):
        run(tree, tmp_path / "r.json", experiment, steps=[2, 3])
    assert not (tmp_path / "r.json").exists()


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"methods": ["helo"]}, "unknown method 'helo': did you mean 'hello'"),
        ({"ipcs": [3]}, "no student training for IPC 3, only for 2"),
    ],
)
def test_wrong_names_are_told(
    tree: Path, experiment: Continual, tmp_path: Path, changes: dict[str, Any], told: str
) -> None:
    with pytest.raises(InputError, match=told):
        run(tree, tmp_path / "r.json", experiment, **changes)
    assert not list(tmp_path.iterdir())


def test_every_step_of_every_labeller_is_run_and_told(done: Done) -> None:
    result = done.result
    assert json.loads(done.out.read_text()) == json.loads(json.dumps(result))
    assert {"data", "environment", "recipe", "class_order", "cells", "curves"} <= result.keys()
    assert result["recipe"]["students"]["rded"] == {"beta": 0.5}
    order = Arrivals.drawn(4, 2, 0).order
    assert result["class_order"] == {"0": [CLASSES_SORTED[target] for target in order]}
    assert [(c["method"], c["labels"], c["steps"]) for c in result["curves"]] == [
        (method, labels, steps) for method in sorted(LABELS) for labels in LABELS[method] for steps in (2, 4)
    ]
    for curve in result["curves"]:
        cells = [c for c in result["cells"] if all(c[k] == curve[k] for k in ("method", "labels", "ipc", "steps"))]
        assert [cell["step"] for cell in cells] == list(range(1, curve["steps"] + 1))
        assert curve["classes"] == ([2, 4] if curve["steps"] == 2 else [1, 2, 3, 4]) and curve["seeds"] == [0]
        runs = [cell["top1_last"]["runs"][0] for cell in cells]
        assert curve["top1_mean"]["mean"] == pytest.approx(sum(runs) / len(runs))
        assert [point["runs"] for point in curve["top1_by_step"]] == [[value] for value in runs]
        images = [cell["bytes"]["images"] for cell in cells]
        assert images == sorted(images) and len(set(images)) == len(images), "more classes, more images"
        if curve["steps"] == 4:
            assert runs[0] == 100, "one class"
    found = {(cell["labels"], cell["steps"], cell["step"]): cell["bytes"] for cell in result["cells"]}
    assert found["hard", 2, 2]["labels"] == found["hard", 2, 2]["teacher"] == found["teacher-all", 2, 1]["labels"] == 0
    assert found["teacher-all", 2, 1]["teacher"] > found["teacher-seen", 2, 1]["teacher"] > 0, "a smaller head"
    assert found["projector-all", 2, 1]["labels"] > found["projector-seen", 2, 1]["labels"] > 0
    assert found["projector-extended", 2, 1] == found["projector-seen", 2, 1]
    runs = {
        (c["labels"], c["step"]): c["top1_last"]["runs"]
        for c in result["cells"]
        if c["method"] == "hello" and c["steps"] == 2
    }
    assert runs["projector-extended", 1] == runs["projector-seen", 1], "nothing was known that could be extended"


def test_only_the_classes_seen_are_tested_and_kept(done: Done) -> None:
    assert len(done.trained.memories) == 6 * (2 + 3), "six labellers; a step of one class trains no network"
    for memory, test in zip(done.trained.memories, done.trained.tests, strict=True):
        assert memory.classes == test.classes and len(memory.classes) >= 2
        assert memory.data.targets.tolist() == [t for t in range(len(memory.classes)) for _ in range(2)]
        assert test.counts() == {name: 6 for name in memory.classes}, "all their test images, and no others"


def test_teachers_and_projector_of_a_set_of_classes_are_made_once(done: Done) -> None:
    """For two methods, two numbers of steps, and the last step, which has seen what `-all` knows. What is extended is
    fitted at each step but the first of two, which it shares with `-seen`; the first of four has one class alone."""
    order = Arrivals.drawn(4, 2, 0).order
    prefixes = [tuple(CLASSES_SORTED[target] for target in sorted(order[:count])) for count in (2, 3, 4)]
    assert sorted(done.fitted["train_teachers"]) == sorted(prefixes)
    assert sorted(done.fitted["fit_projector"]) == sorted([*prefixes, prefixes[-1], *prefixes])
    extended = [(2, "1 of 2"), (4, "2 of 2"), (2, "2 of 4"), (3, "3 of 4"), (4, "4 of 4")]
    names = {f"hello, {n} classes of seed 0, extended, step {step}" for n, step in extended} | {
        f"{m}, {k}" for m in ("hello", "rded") for k in (*(f"{n} classes of seed 0" for n in (2, 3, 4)), "all classes")
    }
    assert set(done.result["stages"]) == names
    assert {"teacher_top1", "projector_top1"} <= done.result["stages"]["hello, all classes"].keys()
    assert done.result["stages"]["rded, all classes"] == done.result["stages"]["rded, 4 classes of seed 0"]


def test_other_seeds_are_added_with_their_own_order(
    tree: Path, experiment: Continual, tmp_path: Path, trained: Trained
) -> None:
    out = tmp_path / "r.json"
    first = run(tree, out, experiment, methods=["random"])
    both = run(tree, out, experiment, methods=["random"], seeds=[0, 1])
    assert len(trained.memories) == 4, "two steps of two seeds, none of them twice"
    assert set(both["class_order"]) == {"0", "1"} and both["class_order"]["0"] == first["class_order"]["0"]
    assert both["class_order"]["1"] == [CLASSES_SORTED[target] for target in Arrivals.drawn(4, 2, 1).order]
    (curve,) = both["curves"]
    assert curve["seeds"] == [0, 1] and curve["top1_mean"]["runs"][:1] == first["curves"][0]["top1_mean"]["runs"]
    with pytest.raises(InputError, match="other settings"):
        run(tree, out, replace(experiment, students={**experiment.students, "random": {}}), methods=["random"])


def test_every_step_starts_from_new_weights(
    tree: Path, experiment: Continual, tmp_path: Path, trained: Trained
) -> None:
    run(tree, tmp_path / "r.json", experiment, methods=["random"], steps=[4])
    assert [len(memory.classes) for memory in trained.memories] == [2, 3, 4]
    assert trained.seeds == [network_seed(0, step) for step in (2, 3, 4)] and len(set(trained.seeds)) == 3
    for place, (untrained, seed) in enumerate(zip(trained.untrained, trained.seeds, strict=True)):
        drawn = build("convnet2_w8", place + 2, 32, seed).state_dict()
        assert all(torch.equal(untrained[name], value) for name, value in drawn.items()), "as drawn from the seed"
        for name in ("backbone.0.weight", "backbone.4.weight"):
            for other in range(place):
                assert not torch.equal(untrained[name], trained.untrained[other][name]), "not drawn again"
                left = trained.networks[other].state_dict()[name]
                assert (untrained[name] - left).abs().max() > 0.01, "nothing of the trained ones"
            assert not torch.equal(untrained[name], trained.networks[place].state_dict()[name]), "and it was trained"
    assert all(trained.untrained[k]["backbone.1.num_batches_tracked"] == 0 for k in range(3)), "nor of their statistics"


def test_a_step_is_the_same_without_those_before_it(tree: Path, experiment: Continual, tmp_path: Path) -> None:
    """Another labeller's run takes the result of an earlier step away; the last step is trained anew, to the bit."""
    out = tmp_path / "r.json"
    whole_run = run(tree, out, experiment, methods=["rded"])
    cut = json.loads(out.read_text())
    cut["cells"] = [cell for cell in cut["cells"] if cell["step"] == 1]
    out.write_text(json.dumps(cut))
    assert figures(run(tree, out, experiment, methods=["rded"])) == figures(whole_run)


def figures(result: dict[str, Any]) -> Any:
    return {**result, "cells": [{**cell, "seconds": 0} for cell in result["cells"]]}


def test_a_stopped_run_goes_on_to_the_same_file(
    tree: Path, experiment: Continual, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: dict[str, Any] = {"methods": ["rded", "random"], "seeds": [0, 1]}
    whole_run = run(tree, tmp_path / "whole.json", experiment, **options)
    train, calls = continual.train_student, 0

    def stops(*arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 4:
            raise KeyboardInterrupt
        return train(*arguments)

    monkeypatch.setattr(continual, "train_student", stops)
    with pytest.raises(KeyboardInterrupt):
        run(tree, tmp_path / "half.json", experiment, **options)
    half = json.loads((tmp_path / "half.json").read_text())
    assert sum(len(cell["seeds"]) for cell in half["cells"]) == 3
    assert [curve["seeds"] for curve in half["curves"]] == [[0]]
    result = run(tree, tmp_path / "half.json", experiment, **options)
    assert calls == 4 + 12 - 3 and figures(result) == figures(whole_run)


def test_labels_have_a_logit_for_each_class_seen_and_no_other(done: Done, experiment: Continual) -> None:
    order, memories = Arrivals.drawn(4, 2, 0).order, two_steps(done)
    seen = tuple(CLASSES_SORTED[target] for target in sorted(order[:2]))
    found = {}
    for memory in memories:
        labels, size = memory.labels, len(memory.classes)
        batch = next(iter(memory.loader(epoch=0, seed=0)))
        assert batch.soft.shape[1] == batch.hard.shape[1] == size
        found.setdefault((labels.kind, isinstance(labels, Restricted), size), labels)
    assert len(found) == 10, "five labellers, two steps; what is extended comes second of its kind"
    for kind in ("teacher", "projector"):
        alone, everyone = found[kind, False, 2], found[kind, True, 2]
        assert everyone.chosen.tolist() == sorted(order[:2])
        head = alone.members[0].backbone[-1] if kind == "teacher" else alone.projector.label_head
        assert head.weight.shape[0] == 2, "a head of two classes: there is nothing to hide"
        images = whole(memories[0].data.images)
        view = next(iter(sample_views(len(images), 32, 8, experiment.comparison.base.student.augment, 0, 0)))
        full = everyone.source(images, view)
        assert full.shape[1] == 4 and torch.equal(everyone(images, view), full[:, sorted(order[:2])])
        assert not torch.allclose(alone(images, view), everyone(images, view))
    assert memories[0].classes == seen
    steps = [memory for memory in memories if len(memory.classes) == 4 and memory.labels.kind == "projector"]
    last = [memory.labels.source if isinstance(memory.labels, Restricted) else memory.labels for memory in steps]
    view = View(
        0, torch.arange(1), torch.tensor([[0, 0, 32, 32]]), torch.tensor([False]), torch.arange(1), 1.0, (0,) * 4
    )
    refitted, extended, everyone = (labels(images[:1], view) for labels in last)
    assert torch.equal(refitted, everyone), "in the end both have seen all"
    assert not torch.equal(extended, refitted), "it has come another way"


def test_images_are_made_once_and_never_changed(done: Done, tree: Path, experiment: Continual) -> None:
    first = Arrivals.drawn(4, 2, 0).new(1)
    by_source: dict[str, list[Any]] = {}
    for place, memory in enumerate(two_steps(done)):
        images = {name: images_of(memory.data, name) for name in memory.classes}
        by_source.setdefault(ORDER[place // 2], []).append(images)
    assert all(
        torch.equal(by_source["projector-extended"][1][name], by_source["projector-seen"][1][name]) for name in CLASSES
    ), "another labeller, the same images"
    for early, late in by_source.values():
        assert set(early) == {CLASSES_SORTED[target] for target in first} and set(late) == set(CLASSES)
        assert all(torch.equal(late[name], images) for name, images in early.items())
    name = CLASSES_SORTED[first[0]]
    assert not torch.equal(by_source["teacher-seen"][0][name], by_source["teacher-all"][0][name]), (
        "an observer of the classes seen chooses others than one of all classes"
    )
    bench = Bench(str(tree), experiment.comparison, done.out.with_name(".work"))
    folder = bench.images("rded", 2, 0)
    cell = next(c for c in done.result["cells"] if (c["labels"], c["steps"], c["step"]) == ("teacher-all", 2, 2))
    assert cell["bytes"]["images"] == sum(len(file) for _, file in parquet.stored_images(folder))
    assert torch.equal(
        kept(CLASSES_SORTED, Arrivals.drawn(4, 2, 0), [folder] * 2)[0].images, artifacts.load(folder).data.images
    )


def images_of(data: Any, name: str) -> torch.Tensor:
    return data.images[data.of_class(data.classes.index(name))]


def test_a_class_that_comes_alone_is_kept_as_random_images(done: Done, tree: Path, experiment: Continual) -> None:
    first = CLASSES_SORTED[Arrivals.drawn(4, 4, 0).order[0]]
    bench = Bench(str(tree), experiment.comparison, done.out.with_name(".work"))
    random = artifacts.load(bench.images("random", 2, 0)).data
    four_steps = [memory for memory in done.trained.memories[2 * len(ORDER) :] if memory.labels.kind == "teacher"]
    kept_with = {isinstance(m.labels, Restricted): images_of(m.data, first) for m in four_steps}
    assert torch.equal(kept_with[False], images_of(random, first))
    assert not torch.equal(kept_with[True], images_of(random, first)), "an observer of all classes can choose"
    alone = [cell for cell in done.result["cells"] if (cell["steps"], cell["step"]) == (4, 1)]
    assert len(alone) == 6
    assert all(cell["top1_last"]["runs"] == [100.0] and cell["bytes"]["teacher"] == 0 for cell in alone)


def test_two_steps_by_definition(tree: Path, experiment: Continual, tmp_path: Path, trained: Trained) -> None:
    """RDED labelled by a teacher of the classes seen: written out, with a loop of its own, to the same weights."""
    result = run(tree, tmp_path / "r.json", experiment, methods=["rded"], seeds=[3])
    base, settings = experiment.comparison.base, experiment.comparison
    everything = Bench(str(tree), settings, tmp_path / "w").material
    test = Bench(str(tree), settings, tmp_path / "w").test()
    order = np.random.default_rng([3, 6]).permutation(4)
    memory: dict[int, torch.Tensor] = {}
    accuracies, networks = [], []
    for step, new in ((1, order[:2]), (2, order[2:])):
        seen = sorted(order[: 2 * step])
        known = Material(*(part.rows(torch.isin(part.targets, torch.tensor(seen))) for part in everything))
        known = Material(
            *(
                replace(part, targets=torch.tensor([seen.index(t) for t in part.targets.tolist()]),
                        classes=tuple(part.classes[t] for t in seen))
                for part in known
            )
        )  # fmt: skip
        teachers = Stages(known, base.teachers, base.seed)
        made = settings.contenders["rded"].distiller(known, teachers, 2, 3).data
        memory |= {target: made.images[made.targets == seen.index(target)] for target in new}
        images = torch.cat([memory[target] for target in seen])
        targets = torch.arange(len(seen)).repeat_interleave(2)
        labels = TeacherLabels([base.teachers.network], [teachers.teachers().observer], 32)
        seed = int(np.random.default_rng([3, 7, step]).integers(2**31))
        network = build(base.student.network, len(seen), 32, seed)
        decayed = [p for p in network.parameters() if p.ndim > 1]
        others = [p for p in network.parameters() if p.ndim < 2]
        groups = [{"params": decayed, "weight_decay": 0.01}, {"params": others, "weight_decay": 0.0}]
        adam = torch.optim.AdamW(groups, fused=True)
        updates = 6 * math.ceil(len(images) / 4)
        done = 0
        for epoch in range(6):
            for view in sample_views(len(images), 32, 4, base.student.augment, seed, epoch):
                for group in adam.param_groups:
                    group["lr"] = 1e-3 * 0.5 * (1 + math.cos(math.pi * done / updates))
                x = render(images, view)
                prediction = network.train()(x)
                hard = mixed_targets(targets, view, len(seen))
                loss = F.mse_loss(prediction, labels(x, view)) + 0.5 * F.cross_entropy(prediction, hard)
                adam.zero_grad()
                loss.backward()
                adam.step()
                done += 1
        rows = torch.isin(test.targets, torch.tensor(seen))
        with torch.no_grad():
            right = network.eval()(whole(test.images[rows])).argmax(1)
        answers = torch.tensor([seen.index(t) for t in test.targets[rows].tolist()])
        accuracies.append(100 * (right == answers).sum().item() / len(answers))
        networks.append(network)
    curve = next(c for c in result["curves"] if c["labels"] == "teacher-seen")
    assert [point["runs"] for point in curve["top1_by_step"]] == [[value] for value in accuracies]
    ours = [n for n, m in zip(trained.networks, trained.memories, strict=True) if not isinstance(m.labels, Restricted)]
    for network, reference in zip(ours, networks, strict=True):
        for name, value in reference.state_dict().items():
            torch.testing.assert_close(network.state_dict()[name], value, rtol=0, atol=0)


def test_curves_are_means_over_complete_seeds() -> None:
    size = Bytes(images=1, labels=2, teacher=3, public=4)

    def cell(step: int, runs: list[float], seeds: list[int], steps: int = 2) -> GridCell:
        place = Cell("rded", "teacher-all", 10, "convnet3", steps, step).fields
        top1 = Summary.of(runs)
        return GridCell(**place, seeds=seeds, commits=[], bytes=size, top1_last=top1, top1_best=top1)

    (curve,) = curves(
        [cell(1, [80.0, 90.0, 70.0], [0, 1, 2]), cell(2, [50.0, 40.0], [0, 2]), cell(1, [1.0], [0], 5)], 10
    )
    assert curve.seeds == [0, 2] and curve.classes == [5, 10]
    assert curve.top1_by_step[0].content() == {"mean": 75.0, "sd": pytest.approx(50**0.5), "runs": [80.0, 70.0]}
    assert curve.top1_mean.content() == {"mean": 60.0, "sd": pytest.approx(50**0.5), "runs": [65.0, 55.0]}
    assert curves([cell(1, [80.0], [0]), cell(2, [50.0], [1])], 10) == []


def test_the_command_prints_a_line_for_each_run(
    tree: Path,
    experiment: Continual,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setattr(recipes, "find_continual", lambda name: experiment)
    out = tmp_path / "r.json"
    call = ["continual", str(tree), "--steps", "2", "--ipc", "2", "--methods", "random", "--seeds", "0", "1"]
    assert cli.main([*call, "--out", str(out)]) == 0
    (curve,) = json.loads(out.read_text())["curves"]
    line = next(line for line in capsys.readouterr().out.splitlines() if "random" in line)
    points = " ".join(f"{point['mean']:.1f}" for point in curve["top1_by_step"])
    assert points in line and f"{curve['top1_mean']['mean']:.1f} +- {curve['top1_mean']['sd']:.1f}" in line
    monkeypatch.undo()
    assert cli.main([*call, "--out", str(out), "--recipe", "smal"]) == 2
    assert "unknown continual experiment 'smal': did you mean 'small'" in capsys.readouterr().err


def test_the_command_runs_all_that_its_recipe_has_training_for(
    tree: Path, experiment: Continual, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recipes, "find_continual", lambda name: experiment)
    out = tmp_path / "r.json"
    call = ["continual", str(tree), "--steps", "2", "--methods", "random", "--seeds", "0", "--out", str(out)]
    assert cli.main(call) == 0
    assert [curve["ipc"] for curve in json.loads(out.read_text())["curves"]] == [2]


@pytest.mark.parametrize("name", recipes.CONTINUALS)
def test_named_experiments_can_be_written_down(name: str) -> None:
    made = recipes.find_continual(name)
    assert json.loads(json.dumps(made.described()))["experiment"] == "continual"
    assert set(made.students) == set(made.comparison.contenders) == {"hello", "rded", "random"}
    assert not made.comparison.trials and not made.comparison.fits
    ablation = recipes.find_study({"small": "ablation", "many": "ablation-many"}[name]).comparison
    method, same = made.comparison.contenders["hello"].distiller, ablation.contenders["+ query fitting"].distiller
    short = recipes.find("hello-small")
    projector = replace(short.distiller.projector, steps=200, rounds=3, queries=Queries(steps=300))
    assert method == replace(same, projector=projector, patches=short.distiller.patches)
    assert made.comparison.projector == projector
    base = replace(made.comparison.base, train_limit=ablation.base.train_limit)
    longer = ablation.base.teachers
    assert base.teachers == replace(longer, weak_epochs=(4, 7, 10), optim=replace(longer.optim, epochs=10))
    assert replace(base, teachers=ablation.base.teachers) == replace(ablation.base, distiller=method)


def test_the_readme_has_a_table_for_each_number_of_steps(done: Done, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "scripts"))
    readme = importlib.import_module("readme")
    table = readme.continual(readme.read(done.result))
    head = "| images | labels | 2 classes | 4 classes | mean of steps | n |"
    assert f"**2 steps, convnet2_w8, IPC 2**\n\n{head}\n|---|---|---|---|---|---|\n" in table
    rows = [line for line in table.splitlines() if line.startswith(("| hello", "| rded", "| random"))]
    assert len(rows) == 12
    curve = next(c for c in done.result["curves"] if (c["labels"], c["steps"]) == ("projector-seen", 4))
    points = " | ".join(f"{point['mean']:.1f}" for point in curve["top1_by_step"])
    assert f"| hello | projector-seen | {points} | {curve['top1_mean']['mean']:.1f} | 1 |" in rows


def test_settings_are_those_that_did_best_on_record() -> None:
    found = json.loads((Path(__file__).parents[2] / "results" / "cifar10.json").read_text())
    labels = {"random": "hard", "rded": "teacher", "hello": "projector"}
    for method, settings in recipes.find_continual("small").students.items():
        (cell,) = [c for c in found["cells"] if (c["method"], c["labels"], c["ipc"]) == (method, labels[method], 10)]
        assert cell["settings"] == settings
