"""`hello-distill continual`: classes that arrive in steps."""

from __future__ import annotations

import shlex
from typing import Any

from pydantic import Field

from hello_distill.report import charts
from hello_distill.report.page import Cell, Gallery, Picture, Section, Table, Text, number, score, words
from hello_distill.report.parts import (
    Data,
    Diverged,
    Environment,
    Part,
    Percent,
    Summary,
    experiment,
    made,
    no_result,
    recipe_name,
)


class Curve(Part):
    """Top-1 after each step of a method with a labeller."""

    student: str
    ipc: int
    method: str
    labels: str
    steps: int
    classes: list[int]
    seeds: list[int]
    top1_by_step: list[Summary]
    top1_mean: Summary


class Continual(Part, title="continual"):
    """The file."""

    data: Data
    environment: Environment
    more_environments: list[Environment] = Field(default_factory=list)
    curves: list[Curve]
    class_order: dict[str, list[str]]
    stages: dict[str, dict[str, Percent | None]] = Field(default_factory=dict)
    diverged: list[Diverged] = Field(default_factory=list)


def section(file: str, content: dict[str, Any]) -> Section | None:
    """A table and a chart for each number of steps."""
    if experiment(content) != "continual" or "curves" not in content:
        return None
    found = Continual.model_validate(content)
    blocks: list[Table | Gallery | Text] = [made(found.environment, {"data": found.data.name}, found.more_environments)]
    for student, ipc, steps in sorted({(curve.student, curve.ipc, curve.steps) for curve in found.curves}):
        chosen = [curve for curve in found.curves if (curve.student, curve.ipc, curve.steps) == (student, ipc, steps)]
        seeds = sorted({seed for curve in chosen for seed in curve.seeds})
        recipe = named(content["recipe"]) or "RECIPE"
        call = ["hello-distill", "continual", found.data.name, "--recipe", recipe, "--steps", str(steps)]
        call += ["--ipc", str(ipc)]
        lines = [shlex.join([*call, "--seeds", *map(str, seeds), "--out", file])]
        blocks += [steps_table(chosen, lines), steps_chart(chosen, lines)]
    return Section(f"Classes that arrive in steps ({found.data.name})", file, [*blocks, *no_result(found.diverged)])


def steps_table(curves: list[Curve], lines: list[str]) -> Table:
    """A row for each labeller."""
    first = curves[0]
    head = ("images", "labels", *(f"{count} classes" for count in first.classes), "mean of steps", "n")
    rows: list[list[Cell]] = []
    for curve in curves:
        points = [score(point.mean, point.sd) for point in curve.top1_by_step]
        mean = score(curve.top1_mean.mean, curve.top1_mean.sd)
        rows.append([words(curve.method), words(curve.labels), *points, mean, number(len(curve.seeds))])
    notes = [
        "Top-1 in percent on the test images of the classes seen, after the last epoch of a new network at each step; "
        "each seed has an order of classes of its own.",
        "-seen: teachers and projector know the classes seen so far; -all: all of them, from the first step on.",
        "The paper says that HeLlO is significantly better than RDED here and prints no figures.",
    ]
    return Table(f"{first.steps} steps, {first.student}, IPC {first.ipc}", head, rows, notes, lines)


def steps_chart(curves: list[Curve], lines: list[str]) -> Gallery:
    """Top-1 by the number of classes seen."""
    drawn = {
        f"{curve.method}, {curve.labels}": {
            classes: point.mean for classes, point in zip(curve.classes, curve.top1_by_step, strict=True)
        }
        for curve in curves
    }
    alt = "Top-1 by classes seen: " + "; ".join(
        f"{name} ends at {points[max(points)]:.1f} %" for name, points in drawn.items()
    )
    picture = Picture("image/svg+xml", charts.curves(drawn, "classes seen"), alt, 520)
    return Gallery("Accuracy by classes seen", [("", [picture])], [], lines)


def named(settings: Any) -> str | None:
    """The recipe of `continual` whose settings these are, in this version; None where there is none."""
    from hello_distill.recipes import CONTINUALS

    return recipe_name(settings, {name: make().described() for name, make in CONTINUALS.items()})
