"""`hello-distill compare`: methods and labels side by side."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Any

from hello_distill.format.results.grids import Comparison, GridCell
from hello_distill.report import charts, plot, published
from hello_distill.report.page import (
    Cell,
    Gallery,
    Picture,
    Section,
    Table,
    Text,
    accuracy,
    count,
    percent,
    weight,
    words,
)
from hello_distill.report.parts import commits, grid_curves, grouped, made, no_result, schedule

STAGES = {
    "teacher_top1": "last epoch",
    "ensemble_top1": "ensemble",
    "zero_shot_top1": "before fitting",
    "projector_top1": "fitted",
}
"""What is measured of teachers and projector."""
NO_CURVES = "This file keeps of each training the last and the best tested epoch alone, so there is no curve to draw."


def title(result: Comparison) -> str:
    """What it is about."""
    return f"Comparison on {result.data.name}"


def tables(result: Comparison) -> list[Table | Text]:
    """A table for each student and number of images, and the runs without a result."""
    return [*(grid(result, cells) for cells in by_grid(result)), *no_result(result)]


def by_grid(result: Comparison) -> list[list[GridCell]]:
    """The cells of each student and number of images."""
    return grouped(sorted(result.cells, key=_order))


def _order(cell: GridCell) -> tuple[Any, ...]:
    """By student, images, method, then from the labels that tell a student least to those that tell most."""
    family = cell.labels.partition("-")[0]
    place = list(plot.MARKS).index(family) if family in plot.MARKS else len(plot.MARKS)
    return cell.student, cell.ipc, cell.method, place, cell.labels


def section(file: str, result: Comparison) -> Section:
    """Tables and charts of a comparison."""
    grids = by_grid(result)
    cells = [cell for group in grids for cell in group]
    about = {
        "data": result.data.name,
        "finished cells": f"{len(cells)}, of {sum(len(cell.seeds) for cell in cells)} students",
        "commits of the cells": commits(result),
        "tuning trials on held-out training images": len(result.trials),
        **({} if result.commands else {"commands": "the file names none"}),
    }
    blocks: list[Table | Gallery | Text | None] = [made(result.environment, about, result.more_environments)]
    blocks += [grid(result, group) for group in grids]
    if cells:
        curves = grid_curves(grids, lambda cell: f"{cell.method}, {cell.labels}", result.commands)
        blocks += [bytes_charts(result.data.name, grids, file), curves or Text("Learning curves", [NO_CURVES])]
        blocks += [measured(result), published.gains(result)]
    blocks += no_result(result)
    return Section(title(result), file, [block for block in blocks if block is not None])


def grid(result: Comparison, cells: Sequence[GridCell]) -> Table:
    """A student's accuracies with one number of images per class, a row for each method and kind of labels."""
    data, student, ipc = result.data.name, cells[0].student, cells[0].ipc
    entries = [published.beside(data, cell.method, cell.labels, ipc) for cell in cells]
    known = [entry for some in entries for entry in some]
    head = ["images", "labels", "last epoch", "best epoch", "n", "images' size", "labels' size", "teacher's size"]
    rows: list[list[Cell]] = []
    for cell, theirs in zip(cells, entries, strict=True):
        scores = [accuracy(cell.top1_last), accuracy(cell.top1_best), count(len(cell.top1_last.runs))]
        sizes = [weight(cell.bytes.images), weight(cell.bytes.labels), weight(cell.bytes.teacher)]
        row = [words(cell.method), words(cell.labels), *scores, *sizes]
        rows.append([*row, *([published.cell(theirs)] if known else [])])
    twins = sorted({(cell.labels, cell.same_students_as) for cell in cells if cell.same_students_as})
    notes = ["Top-1 in percent on the test split."]
    notes += [f"Students of {labels} labels are those of {twin} labels, bit for bit." for labels, twin in twins]
    notes += published.notes([student], known)
    name = f"{ipc} image{'' if ipc == 1 else 's'} per class, {student}{schedule(result, ipc)}"
    return Table(name, [*head, *(["published"] if known else [])], rows, notes, result.commands, ["best epoch"])


def bytes_charts(data: str, grids: Sequence[Sequence[GridCell]], file: str) -> Gallery:
    """Accuracy against what is shipped beside the images, a panel for each student and number of images."""
    every = [cell for group in grids for cell in group]
    pictures = []
    for group in grids:
        student, ipc = group[0].student, group[0].ipc
        alt = f"Top-1 against the bytes of labels and teacher, {student}, IPC {ipc}: " + "; ".join(
            f"{cell.method} with {cell.labels} labels {cell.top1_last.mean:.1f} % at "
            f"{cell.bytes.labels + cell.bytes.teacher:,} bytes"
            for cell in group
        )
        picture = Picture("image/svg+xml", charts.accuracy_by_bytes(data, every, student, ipc), alt, 420)
        pictures.append(("", [picture]))
    about = ["Bytes are those of labels and teacher, beside the images; public weights are not shipped."]
    return Gallery("Accuracy against label bytes", pictures, about, [shlex.join(["hello-distill", "plot", file])])


def measured(result: Comparison) -> Table | None:
    """Teachers and projector on held-out training images."""
    rows = [(words(name), *(percent(known.get(key)) for key in STAGES)) for name, known in result.stages.items()]
    head = ("network", *STAGES.values())
    name = "Teachers and projector on held-out training images"
    return Table(name, head, rows, [], result.commands) if rows else None
