"""The paper's claims: what counts as a difference, and verdicts on results whose answer is known."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import scipy.stats

from hello_distill.format import results
from hello_distill.format.results.entries import Summary
from hello_distill.format.results.grids import THE_RECIPE, StudyRow
from hello_distill.recipes.studies import STUDIES
from hello_distill.recipes.studies.paper import RATES
from hello_distill.report import claims, report
from hello_distill.report.claims import FAILS, HOLDS, OPEN, UNTRIED, contrast, difference
from hello_distill.report.grids import against_first
from hello_distill.report.page import Table, number, words
from hello_distill.report.sections import section
from hello_distill.system import machine

REACH = 2.7764 * math.sqrt(2 / 3)
STEPS = ["linear probe", "+ weak teachers", "+ LoRA", "+ text initialisation", "+ image update"]


def summary(*runs: float) -> dict[str, Any]:
    mean = sum(runs) / len(runs)
    sd = math.sqrt(sum((run - mean) ** 2 for run in runs) / (len(runs) - 1)) if len(runs) > 1 else None
    return {"mean": mean, "sd": sd, "runs": list(runs)}


def around(mean: float) -> dict[str, Any]:
    """Three runs with a standard deviation of 1."""
    return summary(mean - 1, mean, mean + 1)


def place(method: str, mean: float, **changes: Any) -> dict[str, Any]:
    top1 = around(mean)
    cell = {"method": method, "student": "convnet3", "ipc": 10, "labels": "projector", "seeds": [0, 1, 2]}
    sizes = {"images": 1, "labels": 100, "teacher": 0, "public": 0}
    measured = {"held_top1": top1, "top1_last": top1, "top1_best": top1, "numbers": 100}
    return {**cell, "commits": [], "bytes": sizes, **measured, **changes}


def study(table: str | None, cells: list[dict[str, Any]], order: list[str] | None = None) -> dict[str, Any]:
    order = order or list(dict.fromkeys(cell["method"] for cell in cells))
    networks = {cell["student"]: {} for cell in cells}
    recipe = {"experiment": "study", "question": "?", "table": table, "order": order, "networks": networks}
    recipe["training"] = {}
    return {"data": {"name": "shapes"}, "environment": {}, "recipe": recipe, "cells": cells, "stages": {}}


def judged(content: dict[str, Any]) -> dict[str, tuple[str, str]]:
    """Verdict and figures by the claim's first words."""
    found = [line for line in claims.lines([results.read(content)]) if line.verdict != UNTRIED]
    assert {line.data for line in found} == {"shapes"}
    return {" ".join(line.claim.split()[:3]): (line.verdict, line.figures) for line in found}


def test_a_difference_reaches_as_far_as_student_s_t_test_says() -> None:
    ours, theirs = Summary(**summary(52.0, 54.5, 51.0)), Summary(**summary(49.0, 50.0, 48.5, 47.0))
    found = difference(ours, theirs)
    low, high = scipy.stats.ttest_ind(ours.runs, theirs.runs).confidence_interval(0.95)
    assert found.points - found.reach == pytest.approx(low) and found.points + found.reach == pytest.approx(high)
    # t with 4 degrees of freedom is 2.776 at 97.5 %; both standard deviations are 1, so the difference has sqrt(2/3).
    assert difference(Summary(**around(52.0)), Summary(**around(49.0))).reach == pytest.approx(REACH, rel=1e-4)
    single = difference(Summary(**summary(90.0)), Summary(**summary(10.0)))
    assert single.reach == math.inf and single.positive == single.equal == OPEN


def test_a_contrast_counts_rows_that_two_gains_share() -> None:
    rows = [Summary(**around(mean)) for mean in (20.0, 30.0, 50.0)]
    found = contrast([(1, rows[2]), (-2, rows[1]), (1, rows[0])])
    # The variance is 1, n is 3, degrees of freedom 6: 2.447 * sqrt((1 + 4 + 1) / 3).
    assert found.points == 10.0 and found.reach == pytest.approx(2.4469 * math.sqrt(2), rel=1e-4)


@pytest.mark.parametrize(
    ("points", "positive", "equal"),
    [(2.4, HOLDS, OPEN), (2.2, OPEN, OPEN), (-2.4, FAILS, OPEN), (0.0, OPEN, OPEN), (5.0, HOLDS, FAILS)],
)
def test_a_difference_that_was_not_seen_is_not_equality(points: float, positive: str, equal: str) -> None:
    found = difference(Summary(**around(40 + points)), Summary(**around(40.0)))
    assert (found.positive, found.equal) == (positive, equal)
    close = difference(Summary(**summary(40.0, 40.2, 40.4)), Summary(**summary(40.1, 40.3, 40.5)))
    assert (close.positive, close.equal) == (OPEN, HOLDS)


@pytest.mark.parametrize(
    ("means", "verdict"),
    [((20, 22, 40, 40, 41), HOLDS), ((20, 40, 42, 42, 42), FAILS), ((20, 25, 31, 31, 31), OPEN)],
)
def test_the_largest_step_is_that_of_lora_or_not(means: tuple[int, ...], verdict: str) -> None:
    cells = [place(name, mean) for name, mean in zip(STEPS, means, strict=True)]
    found = judged(study("Table 3", cells, STEPS))
    assert found["LoRA is the"][0] == verdict
    gain = means[2] - means[1]
    assert f"LoRA {gain:+.1f} +- 2.3" in found["LoRA is the"][1]
    assert found["The image update"] == (OPEN, f"{means[4] - means[3]:+.1f} +- 2.3 points")


@pytest.mark.parametrize(
    ("numbers", "mean", "spread", "verdict"),
    [(80, 40, 0.2, HOLDS), (80, 40, 1.0, OPEN), (80, 45, 1.0, HOLDS), (80, 35, 1.0, FAILS), (100, 40, 0.2, FAILS)],
)
def test_text_must_save_storage_and_cost_nothing(numbers: int, mean: int, spread: float, verdict: str) -> None:
    cells = [place(name, 40.0, top1_last=summary(40 - spread, 40, 40 + spread)) for name in STEPS]
    top1 = summary(mean - spread, mean, mean + spread)
    cells[3] = place(STEPS[3], mean, numbers=numbers, top1_last=top1)
    found = judged(study("Table 3", cells, STEPS))["Text initialisation saves"]
    assert found[0] == verdict
    assert found[1].endswith(f"points; {numbers} numbers in the place of 100, {100 - numbers:.1f} % less")


def test_choices_are_judged_by_dunnett_s_table() -> None:
    """Two-sided at 5 %, three variants against one, eight degrees of freedom: 2.88 (Dunnett 1964). Reach 2.35."""
    far = {"base": 50.0, "same": 50.0, "near": 52.3, "above": 52.4, "below": 47.6}
    for three, told in ((("same", "near", "below"), "worse"), (("same", "near", "above"), "better")):
        order = ["base", *three]
        places = [StudyRow(**place(name, far[name])) for name in order]
        assert against_first(places, order) == {"same": "not seen", "near": "not seen", three[2]: told}
    assert against_first(places[:3], order) == {} == against_first(places[:1], ["base"])
    two = StudyRow(**place("above", 60.0, held_top1=summary(59.0, 61.0)))
    assert against_first([*places[:3], two], order) == {}, "not before each has three runs"
    flat = [StudyRow(**place(name, 50, held_top1=summary(*[far[name]] * 3))) for name in ("base", "above")]
    assert against_first(flat, ["base", "above"]) == {}, "no spread, so no test"


def test_results_say_which_gpu_they_were_made_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "device", lambda: "cuda")
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.get_device_name", {"cuda": "One"}.__getitem__)
    assert machine.environment()["gpu"] == "One"
    monkeypatch.setattr(machine, "device", lambda: "cpu")
    assert "gpu" not in machine.environment()


def test_only_variants_that_are_tried_for_a_recipe_s_place_are_judged_so() -> None:
    for first, columns in (("hello, whole", 9), (THE_RECIPE, 10)):
        content = study(None, [place(first, 50.0), place("above", 55.0)])
        content["recipe"]["training"] = {"10": [1, 1]}
        found = section("f.json", results.read(content))
        table = next(block for block in found.blocks if isinstance(block, Table) and block.title.startswith("convnet3"))
        assert {len(row) for row in table.rows} == {columns}
        assert columns == 9 or [row[-1] for row in table.rows] == [words(""), words("better")]


def test_tables_of_several_students_share_their_notes_and_name_each_labeller() -> None:
    kept = {"bytes": {"images": 1, "labels": 0, "teacher": 9, "public": 0}}
    cells = [place("hello", 50, student=name) for name in ("a", "b")]
    cells += [place("rded", 50, student=name, **kept) for name in ("a", "b")] + [place("hard", 50, student="b")]
    known = {"hello": {"projector_top1": 72.5, "teacher_top1": 71.0}, "rded": {"teacher_top1": 71.0}}
    content = study(None, cells) | {"stages": known | {"hard": {"teacher_top1": 71.0}}}
    content["recipe"]["training"] = {"10": [1, 1]}
    found = section("f.json", results.read(content))
    tables = [block for block in found.blocks if isinstance(block, Table) and ", 10 images" in block.title]
    assert [bool(table.notes) for table in tables] == [False, True]
    place_of = tables[1].head.index("its labeller")
    assert [row[place_of] for row in tables[1].rows] == [number(72.5, ".1f"), number(71.0, ".1f"), words("")]


def test_a_report_names_every_machine_that_a_result_was_made_on() -> None:
    first = {"commit": "a", "device": "cpu", "processor": "one", "torch": "2.14.1"}
    others = [{**first, "commit": None, "device": "cuda", "gpu": "two"}, {**first, "commit": None}]
    content = study(None, [place("base", 50.0), place("above", 55.0)]) | {"environment": first}
    content["recipe"]["training"] = {"10": [1, 1]}
    found = section("f.json", results.read(content | {"more_environments": others}))
    rows = next(block.rows for block in found.blocks if isinstance(block, Table) and block.title == "What was run")
    assert [row for row in rows if row[0] == words("also run on")] == [
        (words("also run on"), words("device cuda, gpu two"))
    ], "the last is the first machine"


def test_an_unfinished_study_says_nothing() -> None:
    tables = ["Table 3", "Table 4, left", "Table 4, right", "Table 2"]
    assert [judged_or_nothing(study(table, [place(name, 40.0) for name in STEPS[:4]], STEPS)) for table in tables] == [
        {}
    ] * 4
    two = summary(40.0, 41.0)
    cells = [place(name, 40.0) for name in STEPS[:4]] + [place(STEPS[4], 40.0, top1_last=two)]
    assert judged_or_nothing(study("Table 3", cells, STEPS)) == {}
    pairs = [place(method, 40.0, student=name) for method in ("hello", "rded") for name in ("resnet18", "vgg11")]
    assert judged_or_nothing(study("Table 2", pairs)) != {} == judged_or_nothing(study("Table 2", pairs[:3]))


def test_a_study_of_which_a_run_diverged_is_told_apart_from_one_that_was_not_tried() -> None:
    content = study("Table 3", [place(name, 40.0) for name in STEPS[:4]], STEPS)
    lost = {"method": STEPS[4], "labels": "projector", "ipc": 10, "student": "convnet3", "seed": 1, "reason": "nan"}
    found = [line for line in claims.lines([results.read({**content, "diverged": [lost]})]) if line.verdict != UNTRIED]
    assert {(line.data, line.verdict) for line in found} == {("shapes", claims.DIVERGED)} and len(found) == 3


def judged_or_nothing(content: dict[str, Any]) -> dict[str, str]:
    return {line.claim: line.verdict for line in claims.lines([results.read(content)]) if line.verdict != UNTRIED}


def ranks(*means: float, spread: float = 0.2) -> list[dict[str, Any]]:
    """Encoder ranks 8, 1, 2, 4 and 16 with the head's rule, as the study orders them."""
    cells = []
    for rank, mean in zip((8, 1, 2, 4, 16), means, strict=True):
        top1 = summary(mean - spread, mean, mean + spread)
        cells.append(place(f"encoder {rank}, head by rule", mean, numbers=10 * rank, top1_last=top1))
    return cells


@pytest.mark.parametrize(
    ("cells", "verdict", "told"),
    [
        (ranks(41, 30, 35, 41, 41), HOLDS, "encoder: flat from 40 numbers on (30.0 with 10, 35.0 with 20, "),
        (ranks(40, 40, 40, 40, 40), HOLDS, "encoder: flat from 10 numbers on ("),
        (ranks(40, 10, 20, 30, 50), FAILS, "encoder: flat nowhere for sure ("),
        (ranks(50, 10, 20, 30, 40), FAILS, "encoder: flat nowhere for sure ("),
        (ranks(40, 40, 40, 40, 40, spread=3), OPEN, "encoder: flat nowhere for sure ("),
    ],
)
def test_ranks_are_flat_where_they_are_shown_to_be(cells: list[dict[str, Any]], verdict: str, told: str) -> None:
    found = judged(study("Table 4, left", cells))["Accuracy is flat"]
    assert found[0] == verdict and found[1].startswith(told)


def test_a_line_says_where_labellers_were_made_anew() -> None:
    cells = [place("early", 60), place("late", 60), place("early", 60, ipc=50), place("late", 60, ipc=50)]
    content = study("Table 4, right", cells)
    for stages, ends in (({"late": {}}, "at IPC 50"), ({"late": {}, "late, again": {}}, "were made more than once")):
        assert judged(content | {"stages": stages})["Earlier teachers suit"][1].endswith(ends)


def test_ranks_of_the_head_are_judged_by_themselves() -> None:
    heads = [
        place(f"encoder 8, head {rank}", 20.0 + rank, numbers=70 + rank, top1_last=summary(*[20.0 + rank] * 3))
        for rank in (1, 6)
    ]
    verdict, told = judged(study("Table 4, left", [*ranks(41, 41, 41, 41, 41), *heads]))["Accuracy is flat"]
    assert verdict == f"{HOLDS} in 1 of 2, {FAILS} in 1 of 2"
    assert "; head: flat nowhere for sure (21.0 with 71, 26.0 with 76, 41.0 with 80)" in told


@pytest.mark.parametrize(
    ("few", "many", "verdict"), [(5, -5, HOLDS), (-5, 5, FAILS), (5, 4, OPEN), (-4, -15, FAILS), (0, -9, OPEN)]
)
def test_earlier_teachers_must_be_better_with_few_images_and_less_so_with_many(
    few: int, many: int, verdict: str
) -> None:
    cells = [place("early", 30 + few, ipc=1), place("late", 30, ipc=1)]
    cells += [place("early", 60 + many, ipc=50), place("late", 60, ipc=50), place("the recipe", 60, ipc=50)]
    found = judged(study("Table 4, right", cells))["Earlier teachers suit"]
    assert found == (verdict, f"early less late teachers: {few:+.1f} +- 2.3 at IPC 1, {many:+.1f} +- 2.3 at IPC 50")


def test_gains_carry_where_each_network_has_one() -> None:
    gains = {"resnet18": 5.0, "vgg11": 1.0, claims.SWIN: 15.0}
    cells = [place("hello", 30 + gain, student=name) for name, gain in gains.items()]
    cells += [place("rded", 30, student=name) for name in gains]
    found = judged(study("Table 2", cells))
    assert found["The gain over"][0] == f"{HOLDS} in 2 of 3, {OPEN} in 1 of 3"
    assert found["It is largest"] == (HOLDS, "+15.0 +- 2.3; the best other, resnet18, +5.0 +- 2.3")
    cells[2] = place("hello", 30, student=claims.SWIN)
    assert judged(study("Table 2", cells))["It is largest"][0] == FAILS


def test_classes_that_arrive_are_judged_by_the_mean_of_steps() -> None:
    curves = [
        {
            **{"student": "convnet3", "ipc": 10, "method": method, "labels": labels, "steps": steps, "classes": [2, 4]},
            **{"seeds": [0, 1, 2], "top1_by_step": [around(mean)] * 2, "top1_mean": around(mean)},
        }
        for steps, method, labels, mean in [
            (2, "hello", "projector-seen", 50.0),
            (2, "rded", "teacher-seen", 40.0),
            (2, "hello", "projector-extended", 45.0),
            (2, "hello", "projector-all", 40.0),
            (2, "rded", "teacher-all", 50.0),
            (5, "hello", "projector-seen", 50.0),
        ]
    ]
    content = {
        "data": {"name": "shapes"},
        "environment": {},
        "recipe": {"experiment": "continual"},
        "curves": curves,
        "class_order": {},
    }
    verdict, told = judged(content)["It is better"]
    assert verdict == f"{HOLDS} in 2 of 3, {FAILS} in 1 of 3"
    assert told == (
        "+10.0 +- 0.0 in 2 steps, labellers of seen classes; "
        "+5.0 +- 0.0 in 2 steps, labellers of seen classes, the projector extended; "
        "-10.0 +- 0.0 in 2 steps, labellers of all classes"
    )


def test_seeds_are_compared_one_by_one() -> None:
    """The gaps are 1, 2 and 3, whatever the spread over orders: 4.303 * 1 / sqrt(3)."""
    found = claims.paired([21.0, 42.0, 63.0], [20.0, 40.0, 60.0])
    assert found.points == 2.0 and found.reach == pytest.approx(4.3027 / math.sqrt(3), rel=1e-4)


def test_the_headline_needs_accuracy_and_bytes() -> None:
    def compared(labels: int) -> dict[str, Any]:
        sizes = {"images": 1, "labels": labels, "teacher": 0, "public": 7}
        cells = [place("hello", 50.0, bytes=sizes)]
        cells += [place("rded", 40.0, labels="teacher", bytes={**sizes, "labels": 0, "teacher": 1000})]
        head = {"data": {"name": "shapes"}, "environment": {}, "recipe": {"training": {}}, "stages": {}, "trials": []}
        return {**head, "cells": cells}

    told = "+10.0 +- 2.3 at IPC 10, 999 bytes and a public encoder of 7 against 1,000"
    assert judged(compared(999))["It is more"] == (HOLDS, told)
    assert judged(compared(1000))["It is more"][0] == FAILS


def test_names_that_claims_ask_for_are_those_of_the_studies() -> None:
    assert list(STUDIES["ablation"]().comparison.contenders) == [*STEPS, claims.QUERIES]
    assert {claims.LORA, claims.TEXT, claims.UPDATE} <= set(STEPS)
    assert all(
        name.startswith("encoder 8") or name.endswith(claims.BY_RULE)
        for name in STUDIES["ranks"]().comparison.contenders
    )
    assert {claims.EARLY, claims.LATE} <= set(STUDIES["stages"]().comparison.contenders)
    assert claims.SWIN in RATES


def test_every_claim_has_a_line_and_a_report_has_them_first(tmp_path: Path) -> None:
    assert [line.verdict for line in claims.lines([])] == [UNTRIED] * 9
    assert claims.section([]) is None
    folder = tmp_path / "results"
    folder.mkdir()
    content = study("Table 3", [place(name, 40.0) for name in STEPS], STEPS)
    content["recipe"]["training"] = {"10": [3, 4]}
    (folder / "a.json").write_text(json.dumps(content))
    page = report(folder, tmp_path / "r.html").read_text()
    assert 0 < page.index("The paper&#39;s claims, tried here") < page.index("convnet3, 10 images per class")
    assert page.count(UNTRIED) == 6 and "100 numbers in the place of 100, 0.0 % less" in page
