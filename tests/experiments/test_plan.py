"""What to ship: every way is tried alike, the cheapest good one is written, and nothing looks at the test split."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from hello_distill import cli
from hello_distill.api import distill
from hello_distill.artifact import Artifact, load
from hello_distill.data import sources
from hello_distill.distillers.random import RandomImages
from hello_distill.distillers.recipe import Recipe
from hello_distill.experiments.grid import Comparison
from hello_distill.experiments.ledger import Cell
from hello_distill.experiments.plan import Way, deciding, distill_planned, plan, recommended
from hello_distill.format.results import Alone, Plan
from hello_distill.format.results.entries import Summary
from hello_distill.format.results.grids import Bytes
from hello_distill.projector import ProjectorSpec
from hello_distill.recipes import PLANNED
from hello_distill.report import sections
from hello_distill.report.page import Text
from hello_distill.student import Score, train_student
from hello_distill.system.errors import InputError


def way(total: int, mean: float) -> Way:
    comparison = Comparison(Recipe(ipc=1), {}, ProjectorSpec(), {}, {str(total): PLANNED["hard"]})
    size = Bytes(images=total - 10, labels=10, teacher=0, public=0)
    return Way(comparison, Cell("hello", str(total), 1, "convnet3"), size, Summary.of([mean, mean]))


def test_the_cheapest_within_a_point_of_the_best_that_fits_is_recommended() -> None:
    ways = [way(100, 50.0), way(200, 59.2), way(300, 60.0), way(400, 61.0)]
    assert recommended(ways, None) is ways[2]
    assert recommended(ways, 300) is ways[1], "the best of those that fit is what counts"
    assert recommended(ways, 100) is ways[0]
    with pytest.raises(InputError, match="--bytes 99 is too little: the least that was tried takes 100"):
        recommended(ways, 99)


def test_within_a_twentieth_where_accuracies_are_low() -> None:
    ways = [way(100, 8.0), way(200, 8.5), way(300, 8.6), way(400, 9.0)]
    assert recommended(ways, None) is ways[2]
    assert deciding(ways, None) == ways[1:], "those below 8.1 are far"


def test_the_best_of_those_that_take_as_few_bytes() -> None:
    ways = [way(100, 50.0), way(400, 60.0), way(419, 60.5), way(421, 60.9)]
    assert recommended(ways, None) is ways[2], "a twentieth more, and no further"
    assert recommended(ways, 410) is ways[1]
    assert deciding(ways, None) == ways[1:], "what may come to be recommended has further students"
    assert recommended([way(419, 60.5), way(405, 60.5), way(400, 60.0)], None).total == 405


def test_further_students_are_of_ways_that_the_recommendation_hangs_on() -> None:
    ways = [way(100, 57.9), way(150, 58.1), way(160, 59.1), way(170, 59.9), way(300, 60.0), way(400, 59.9)]
    assert recommended(ways, None) is ways[2]
    assert deciding(ways, None) == [ways[1], ways[2], ways[4]], "and what is lighter and near"
    assert deciding(ways, 150) == ways[:2]


def test_none_beats_the_front_in_bytes_and_accuracy() -> None:
    ways = [way(100, 50.0), way(200, 49.0), way(300, 60.0), way(300, 59.0), way(400, 60.0), way(300, 60.0)]
    assert [each.described(ways, ways[2]).front for each in ways] == [True, False, True, False, False, True]
    assert [each.described(ways, ways[2]).recommended for each in ways] == [False, False, True, False, False, False]


def test_a_plan_of_every_way(
    tree: Path, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sources, "open_test", None)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr("hello_distill.recipes.find", lambda name, ipc=None: replace(recipe, held_share=0.3))
    out = tmp_path / "plan.json"
    call = ["--ipc", "2", "--recipe", "demo", "--stages", str(tmp_path / "stages")]
    assert cli.main(["plan", str(tree), *call, "--steps", "4", "--out", str(out), "--seeds", "0", "1"]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    written = json.loads(out.read_text())
    ways = written["ways"]
    assert len(ways) == len(PLANNED) + 3 + 1, "lower ranks of the projector, and random images"
    assert [w["total"] for w in ways] == sorted(w["total"] for w in ways)
    best = max(ways, key=lambda way: way["held_top1"]["mean"])
    for each in ways:
        if each["recommended"] or each is best:
            assert len(each["held_top1"]["runs"]) == 2, "the recommendation hangs on these"
        assert each["total"] == sum(each["bytes"][name] for name in ("images", "labels", "teacher"))
    assert [model["model"] for model in written["instead"]] == ["head", "projector", "teacher"]
    for model in written["instead"]:
        assert 0 <= model["held_top1"] <= 100 and f"{model['held_top1']:.1f} % at" in printed
    chosen = next(w for w in ways if w["recommended"])
    making = f"hello-distill distill {tree} {' '.join(call)} --labels {out} --out ARTEFACT"
    assert making in printed
    assert cli.main([*making.split()[1:-1], str(tmp_path / "made")]) == 0
    made = load(tmp_path / "made")
    assert made.labels.kind == chosen["labels"].partition("-")[0] and " ship " in printed
    assert made.student.optim.epochs == recipe.student.optim.epochs, "students train as the recipe says"
    by_name = {(w["images"], w["labels"], w.get("encoder_rank")): w["bytes"] for w in ways}
    full, low = (by_name["hello", "projector-int8", rank]["labels"] for rank in (2, 1))
    assert low < full < by_name["hello", "projector", 2]["labels"]
    assert by_name["hello", "teacher-int4", None]["teacher"] < by_name["hello", "teacher", None]["teacher"]


@pytest.mark.parametrize(("top1", "size", "said"), [(60.0, 90, True), (50.0, 90, False), (60.0, 101, False)])
def test_a_network_that_beats_the_students_in_fewer_bytes_is_said_to(top1: float, size: int, said: bool) -> None:
    chosen = way(100, 55.0)
    alone = Alone(model="head", bytes=size, public=0, held_top1=top1)
    result = Plan(
        data="x", ipc=1, steps=1, seeds=[0], held_images=9, ways=[chosen.described([chosen], chosen)], instead=[alone],
        recipe={}, environment={"commit": None, "device": "cpu"},
    )  # fmt: skip
    (*_, text) = sections.plan("", result).tables
    assert (
        isinstance(text, Text)
        and text.notes[0]
        == f"By themselves, after as short a training: a head on the frozen encoder {top1} % at {size} B."
    )
    assert [sentence.startswith("NO DISTILLATION") for sentence in text.notes[1:]] == [True] * said


def test_methods_without_a_projector_are_planned_without_one(tree: Path, recipe: Recipe, tmp_path: Path) -> None:
    method = replace(recipe, distiller=RandomImages(), held_share=0.3)
    result = plan(
        str(tree), tmp_path / "a", method, {"hard": PLANNED["hard"], "projector": PLANNED["projector"]}, steps=2
    )
    assert {each["labels"] for each in result["ways"]} == {"hard"}
    with pytest.raises(InputError, match="held-out training images, and there are none"):
        plan(str(tree), tmp_path / "b", replace(method, held_share=0.0), PLANNED)
    assert not (tmp_path / "b").exists()


def test_what_can_never_fit_is_told_after_the_first_student_and_impossible_steps_at_once(
    tree: Path, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[str] = []
    monkeypatch.setattr(
        "hello_distill.experiments.plan.train_student",
        lambda artifact, *_: (trained.append(artifact.labels.kind), Score(0, {1: 50.0}))[1],
    )
    method = replace(recipe, distiller=RandomImages(), held_share=0.3)
    with pytest.raises(InputError, match="--bytes 9 is too little: the least that was tried takes"):
        plan(str(tree), tmp_path / "a", method, PLANNED, limit=9, steps=2)
    assert trained == ["hard"] and not (tmp_path / "a").exists()
    with pytest.raises(InputError, match="--steps is 1000000000000; a training has 1 to 16777216 steps"):
        plan(str(tree), tmp_path / "a", method, PLANNED, steps=10**12)


def test_an_encoder_whose_features_are_not_normalised_has_no_head_to_compare_with(
    tree: Path, recipe: Recipe, tmp_path: Path
) -> None:
    method = recipe.distiller.with_projector(replace(recipe.distiller.projector_spec, normalize=False))
    one = {"projector": PLANNED["projector"]}
    result = plan(str(tree), tmp_path / "a", replace(recipe, distiller=method, held_share=0.3), one, steps=2, seeds=[0])
    assert [model["model"] for model in result["instead"]] == ["projector"]


def test_distill_with_labels_auto_is_what_a_plan_recommends(
    tree: Path, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    few = {name: PLANNED[name] for name in ("hard", "teacher-int4", "projector-int4")}
    monkeypatch.setattr("hello_distill.recipes.PLANNED", few)
    monkeypatch.setattr("hello_distill.experiments.plan.STEPS", 4)
    monkeypatch.setattr("hello_distill.recipes.find", lambda name, ipc=None: replace(recipe, held_share=0.3))
    call = ["distill", str(tree), "--ipc", "2", "--recipe", "cpu", "--labels", "auto"]
    assert cli.main([*call, "--out", str(tmp_path / "a"), "--stages", str(tmp_path / "stages")]) == 0
    asked = replace(recipe, held_share=0.3, ipc=2)
    plan(str(tree), tmp_path / "plan", asked, few, steps=4, stages=tmp_path / "stages")
    call[-1] = str(tmp_path / "plan")
    assert cli.main([*call, "--out", str(tmp_path / "b"), "--stages", str(tmp_path / "stages")]) == 0
    sums = [(tmp_path / name / "SHA256SUMS").read_bytes() for name in ("a", "b")]
    assert sums[0] == sums[1]
    made = json.loads((tmp_path / "plan").read_text())
    (tmp_path / "other").write_text(json.dumps({**made, "data": "flowers"}))
    (tmp_path / "broken").write_text(
        json.dumps({**made, "ways": [{"images": "hello", "labels": "x", "recommended": 1}]})
    )
    for more, said in (
        (["--short-class", "fewer", "--skipped", "x"], f"--labels {call[-1]} goes without --short-class and --skipped"),
        (["--seed", "7"], "that plan is of another recipe; give the options that it was made with"),
        (
            ["--labels", str(tree)],
            "neither own, auto nor a kind of labels (hard, teacher-int4, projector-int4), nor the file of a plan",
        ),
    ):
        assert cli.main([*call, *more, "--out", str(tmp_path / "c")]) == 2
        assert said in capsys.readouterr().err
        assert not (tmp_path / "c").exists()


@pytest.mark.parametrize(("same", "trained"), [(0.0, 12), (1e9, 6)])
def test_labels_that_differ_by_less_than_a_hundredth_share_students(
    same: float, trained: int, tree: Path, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of hard, static, teacher, projector, the smaller projector and random images, or of each of their precisions."""
    students = []

    def train(artifact: Artifact, *rest: Any) -> Score:
        students.append(artifact.labels.kind)
        return train_student(artifact, *rest)

    monkeypatch.setattr("hello_distill.experiments.plan.SAME", same)
    monkeypatch.setattr("hello_distill.experiments.plan.train_student", train)
    made = plan(str(tree), tmp_path / "plan", replace(recipe, held_share=0.3), PLANNED, steps=1, seeds=[0])
    own, drawn = ([way for way in made["ways"] if (way["images"] == "random") is random] for random in (False, True))
    best = max(way["held_top1"]["mean"] for way in own)
    lightest = min((way for way in own if way["held_top1"]["mean"] == best), key=lambda way: way["total"])
    assert [way["labels"] for way in drawn] == [lightest["labels"]], "of equal labels those of the fewest bytes"
    assert len(students) == trained
    assert students.count("teacher") - (students[-1] == "teacher") == (1 if same else 3)


def test_labels_of_another_kind_are_asked_for_by_name(tree: Path, recipe: Recipe, tmp_path: Path) -> None:
    asked = replace(recipe, distiller=RandomImages())
    distill_planned(str(tree), tmp_path / "a", asked, PLANNED, asked="teacher-int8")
    made = load(tmp_path / "a")
    assert made.labels.kind == "teacher" and set(made.data.counts().values()) == {recipe.ipc}
    with pytest.raises(InputError, match="--labels projector-int8: this recipe has no projector; choose others"):
        distill_planned(str(tree), tmp_path / "b", asked, PLANNED, asked="projector-int8")
    assert not (tmp_path / "b").exists()


def test_labels_of_another_kind_go_with_the_same_images_and_teachers(
    tree: Path, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder of stages that both runs name is shared, so nothing is trained again."""

    def never(*_: object, **__: object) -> None:
        raise AssertionError("training began")

    stages = tmp_path / "stages"
    own = load(distill(str(tree), tmp_path / "own", recipe, stages))
    for name in ("hello_distill.stages.train_teachers", "hello_distill.stages.fit_projector"):
        monkeypatch.setattr(name, never)
    taught = load(distill_planned(str(tree), tmp_path / "taught", recipe, PLANNED, stages, "teacher"))
    assert torch.equal(taught.data.images, own.data.images) and taught.labels.kind == "teacher"
