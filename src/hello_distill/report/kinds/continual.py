"""`hello-distill continual`: classes that arrive in steps."""

from __future__ import annotations

from hello_distill.format.results.grids import Continual, Curve
from hello_distill.report import charts
from hello_distill.report.page import Gallery, Picture, Section, Table, Text, accuracy, number, words
from hello_distill.report.parts import made, no_result


def title(result: Continual) -> str:
    """What it is about."""
    return f"Classes that arrive in steps ({result.data.name})"


def tables(result: Continual) -> list[Table | Text]:
    """A table for each number of steps, and the runs without a result."""
    return [*(steps_table(curves, result.commands) for curves in _by_steps(result)), *no_result(result)]


def section(file: str, result: Continual) -> Section:
    """Each table with its chart."""
    blocks: list[Table | Gallery | Text] = [
        made(result.environment, {"data": result.data.name}, result.more_environments)
    ]
    for curves in _by_steps(result):
        blocks += [steps_table(curves, result.commands), steps_chart(curves, result.commands)]
    return Section(title(result), file, [*blocks, *no_result(result)])


def _by_steps(result: Continual) -> list[list[Curve]]:
    groups: dict[tuple[str, int, int], list[Curve]] = {}
    for curve in result.curves:
        groups.setdefault((curve.student, curve.ipc, curve.steps), []).append(curve)
    return [curves for _, curves in sorted(groups.items())]


def steps_table(curves: list[Curve], lines: list[str]) -> Table:
    """A row for each labeller."""
    first = curves[0]
    steps = [f"{count} classes" for count in first.classes]
    rows = []
    for curve in curves:
        points = [accuracy(point) for point in (*curve.top1_by_step, curve.top1_mean)]
        rows.append([words(curve.method), words(curve.labels), *points, number(len(curve.seeds))])
    notes = [
        "Top-1 in percent on the test images of the classes seen, after the last epoch of a new network at each step; "
        "each seed has an order of classes of its own.",
        "-seen: teachers and projector know the classes seen so far; -all: all of them, from the first step on.",
        "The paper says that HeLlO is significantly better than RDED here and prints no figures.",
    ]
    head = ("images", "labels", *steps, "mean of steps", "n")
    name = f"{first.steps} steps, {first.student}, IPC {first.ipc}"
    return Table(name, head, rows, notes, lines, series=range(2, 2 + len(steps)))


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
