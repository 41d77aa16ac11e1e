"""`hello-distill continual`: classes that arrive in steps."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from hello_distill.report import charts
from hello_distill.report.page import Cell, Gallery, Picture, Section, Table, Text, number, score, words
from hello_distill.report.parts import (
    GridResult,
    Part,
    Percent,
    Summary,
    experiment,
    made,
    no_result,
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


class Continual(GridResult, title="continual"):
    """The file."""

    curves: list[Curve]
    class_order: dict[str, list[str]]
    stages: dict[str, dict[str, Percent | None]] = Field(default_factory=dict)


def section(file: str, content: dict[str, Any]) -> Section | None:
    """A table and a chart for each number of steps."""
    if experiment(content) != "continual" or "curves" not in content:
        return None
    found = Continual.model_validate(content)
    blocks: list[Table | Gallery | Text] = [made(found.environment, {"data": found.data.name}, found.more_environments)]
    for student, ipc, steps in sorted({(curve.student, curve.ipc, curve.steps) for curve in found.curves}):
        chosen = [curve for curve in found.curves if (curve.student, curve.ipc, curve.steps) == (student, ipc, steps)]
        blocks += [steps_table(chosen, found.commands), steps_chart(chosen, found.commands)]
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
