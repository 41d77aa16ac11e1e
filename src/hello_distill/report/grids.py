"""Sections of result files that are filled run by run: comparisons, studies, and classes that arrive in steps."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import scipy.stats

from hello_distill import labels as label_kinds
from hello_distill.format.kinds import REGIMES
from hello_distill.format.results import grids
from hello_distill.format.results.grids import (
    Comparison,
    Continual,
    Curve,
    GridCell,
    GridResult,
    Model,
    Study,
    StudyRow,
)
from hello_distill.report import page, parts, plot, published
from hello_distill.report.page import Block, Gallery, Picture, Section, Table, Text
from hello_distill.report.parts import grouped, schedule

STAGES = {
    "teacher_top1": "last epoch",
    "ensemble_top1": "ensemble",
    "zero_shot_top1": "before fitting",
    "projector_top1": "fitted",
}
"""What is measured of teachers and projector."""
NO_CURVES = "This file keeps of each training the last and the best tested epoch alone, so there is no curve to draw."
LEAST_RUNS = 3
"""Seeds of each row, for anything to be said of them."""
WIDE = ("best epoch", "its labeller", "labels' size")
NOT_SEEN = "not seen"
GRID = ["images", "labels", "last epoch", "best epoch", "n", "images' size", "labels' size", "teacher's size"]
WIDE_GRID = ("best epoch", "images' size", "labels' size", "teacher's size")
IN_ALL = (
    "In all: images, labels and teacher; public weights are not shipped. Rows of one regime compare fairly: hard "
    "labels, a fixed number of soft labels an image, or unlimited views, each labelled as it is drawn."
)
ITSELF = "A network that is shipped itself was fitted on the original images, once, and needs no student."
NOTES = (
    "Top-1 in percent. Choices may rest on the held-out training images, and not on the test images. The spread "
    "is that of images and students: projectors are fitted once. A labeller is measured on held-out training "
    "images.",
    "Labels' size is that of the file; where a whole network is kept, numbers kept are those that were fitted.",
)
EXTENDED = (
    "-extended: the images and teachers of -seen; one projector that gets rows for new classes and goes on being "
    "fitted, on their real images and on the images kept."
)
DUNNETT = (
    "At 5 %: better or worse than the first row on held-out images by Dunnett's test, which allows for there being "
    "so many variants, or no difference seen. Projectors are fitted once, and what another fit would give is not in it."
)


def section(
    title: str, file: str, result: GridResult, blocks: Sequence[Block | None], tables: Sequence[Table]
) -> Section:
    """What there is of blocks, and the runs without a result, which a terminal shows below the tables."""
    lost = [Text("Runs without a result", [parts.diverged(result.diverged)])] if result.diverged else []
    return Section(title, file, [*(block for block in blocks if block), *lost], [*tables, *lost])


def comparison(file: str, result: Comparison) -> Section:
    """Of `hello-distill compare`: a table for each student and number of images, and charts."""
    groups = grouped(sorted(result.cells, key=_order))
    cells = [cell for group in groups for cell in group]
    about = {
        "data": result.data.name,
        "finished cells": f"{len(cells)}, of {sum(len(cell.seeds) for cell in cells)} students",
        "commits of the cells": parts.commits(result),
        "tuning trials on held-out training images": len(result.trials),
        **({} if result.commands else {"commands": "the file names none"}),
    }
    tables = [grid(result, group) for group in groups]
    blocks: list[Block | None] = [parts.made(result.environment, about, result.more_environments), *tables]
    if cells:
        curves = parts.grid_curves(groups, lambda cell: f"{cell.method}, {cell.labels}", result.commands)
        blocks += [bytes_charts(result, groups, file), curves or Text("Learning curves", [NO_CURVES])]
        blocks += [measured(result), published.gains(result)]
    return section(f"Comparison on {result.data.name}", file, result, blocks, tables)


def _order(cell: GridCell) -> tuple[Any, ...]:
    """By student, images, regime, method, then from the labels that tell a student least to those that tell most."""
    family, regime = cell.labels.partition("-")[0], regime_of(cell.labels)
    rank = list(plot.MARKS).index(family) if family in plot.MARKS else len(plot.MARKS)
    apart = REGIMES.index(regime) if regime in REGIMES else len(REGIMES)
    return cell.student, cell.ipc, apart, cell.method, rank, cell.labels


def regime_of(labels: str) -> str:
    """One of `REGIMES`; nothing for labels of a package that is not here."""
    kind = labels.partition("-")[0]
    return label_kinds.kind(kind).regime() if kind in label_kinds.kinds() else ""


def grid(result: Comparison, cells: Sequence[GridCell]) -> Table:
    """A student's accuracies with one number of images per class, a row for each method and kind of labels.

    Networks that are shipped as they are stand below.
    """
    data, student, ipc = result.data.name, cells[0].student, cells[0].ipc
    entries = [published.beside(data, cell.method, cell.labels, ipc) for cell in cells]
    known = [entry for some in entries for entry in some]
    rows = []
    for cell, theirs in zip(cells, entries, strict=True):
        sizes = map(page.weight, (cell.bytes.images, cell.bytes.labels, cell.bytes.teacher))
        scores = cell.top1_last, cell.top1_best, len(cell.seeds)
        beside = [published.cell(theirs)] if known else []
        in_all = [*_in_all(result, cell.bytes.total), page.words(regime_of(cell.labels))]
        rows.append(page.row(cell.method, cell.labels, *scores, *sizes, *in_all, *beside))
    rows += [_model(result, model, bool(known)) for model in result.models]
    twins = sorted({(cell.labels, cell.same_students_as) for cell in cells if cell.same_students_as})
    notes = ["Top-1 in percent on the test split.", IN_ALL, *([ITSELF] if result.models else [])]
    notes += [f"Students of {labels} labels are those of {twin} labels, bit for bit." for labels, twin in twins]
    notes += published.notes([student], known)
    name = f"{ipc} image{'' if ipc == 1 else 's'} per class, {student}{schedule(result, ipc)}"
    bits = ["kbit per class"] if result.data.classes else []
    head = [*GRID, "in all", *bits, "regime", *(["published"] if known else [])]
    return Table(name, head, rows, notes, result.commands, WIDE_GRID)


def _in_all(result: Comparison, size: int) -> list[page.Cell]:
    """Bytes of all that is shipped, and what that is for each class, where the file says how many there are."""
    bits = result.data.bits_per_class(size)
    return [page.weight(size), *([] if bits is None else [page.number(bits / 1000, ",.1f")])]


def _model(result: Comparison, model: Model, published: bool) -> tuple[page.Cell, ...]:
    """The row of a network that is shipped in the place of images."""
    sizes = page.weight(0), None, None, *_in_all(result, model.bytes)
    scores = model.top1, None, len(model.seeds)
    return page.row("none", f"the {model.model} itself", *scores, *sizes, "no student", *[None] * published)


def bytes_charts(result: Comparison, groups: Sequence[Sequence[GridCell]], file: str) -> Gallery:
    """Accuracy against all that is shipped, a panel for each student and number of images."""
    every = [cell for group in groups for cell in group]
    pictures = []
    for group in groups:
        student, ipc = group[0].student, group[0].ipc
        points = [
            f"{cell.method} with {cell.labels} labels {cell.top1_last.mean:.1f} % at {cell.bytes.total:,} bytes"
            for cell in group
        ]
        points += [f"the {each.model} itself {each.top1.mean:.1f} % at {each.bytes:,} bytes" for each in result.models]
        alt = f"Top-1 against the bytes of all that is shipped, {student}, IPC {ipc}: " + "; ".join(points)
        draw = partial(plot.accuracy_by_bytes, result.data, every, student, ipc, result.models)
        pictures.append(("", [Picture("image/svg+xml", draw, alt, 420)]))
    about = ["Bytes are those of images, labels and teacher; public weights are not shipped."]
    return Gallery("Accuracy against bytes", pictures, about, [shlex.join(["hello-distill", "plot", file])])


def measured(result: Comparison) -> Table | None:
    """Teachers and projector on held-out training images."""
    rows = [page.row(name, *map(known.get, STAGES)) for name, known in result.stages.items()]
    head = ("network", *STAGES.values())
    name = "Teachers and projector on held-out training images"
    return Table(name, head, rows, [], result.commands) if rows else None


def study(file: str, result: Study) -> Section:
    """Of `hello-distill study`: a table of variants for each student and number of images, the paper's own, curves."""
    about = {
        "question": result.recipe.question,
        "data": result.data.name,
        "commits of the cells": parts.commits(result),
    }
    order = {name: rank for rank, name in enumerate(result.recipe.order)}
    groups = grouped(sorted(result.cells, key=lambda row: (row.student, row.ipc, order.get(row.method, -1))))
    tables = [variants(result, rows, last=rows is groups[-1]) for rows in groups]
    blocks: list[Block | None] = [
        parts.made(result.environment, about, result.more_environments),
        *tables,
        published.experiment(result.recipe.table),
        parts.grid_curves(groups, lambda row: row.method, result.commands),
    ]
    return section(f"{result.recipe.question} ({result.data.name})", file, result, blocks, tables)


def variants(result: Study, group: list[StudyRow], last: bool) -> Table:
    """A row for each variant, with its distance from the first; what the columns mean stands under the last table."""
    student, ipc, order = group[0].student, group[0].ipc, result.recipe.order
    first = next((row for row in group if row.method == order[0]), None)
    tested = against_first(group, order) if order[0] == grids.THE_RECIPE else {}
    rows = []
    for row in group:
        gain = None if first in (None, row) else page.signed(row.top1_last.mean - first.top1_last.mean)
        figures = row.held_top1, row.top1_last, gain, row.top1_best, len(row.seeds), _labeller(result, row)
        size = page.weight(row.bytes.labels + row.bytes.teacher)
        decided = [tested.get(row.method)] if tested else []
        rows.append(page.row(row.method, *figures, row.numbers, size, *decided))
    head = ["variant", "held-out images", "test images, last epoch", f"from {order[0]}", "best epoch", "n"]
    head += ["its labeller", "numbers kept", "labels' size", *(["at 5 %"] if tested else [])]
    name = f"{student}, {ipc} image{'' if ipc == 1 else 's'} per class{schedule(result, ipc)}"
    notes = [*NOTES, *([DUNNETT] if tested else [])] if last else []
    return Table(name, head, rows, notes, result.commands, WIDE)


def _labeller(result: Study, row: StudyRow) -> float | None:
    """Accuracy of what labels a variant's images on held-out images: its projector, else the teacher that it keeps."""
    known = result.stages.get(row.method, {})
    return known.get("projector_top1", known.get("teacher_top1") if row.bytes.teacher else None)


def against_first(rows: Sequence[StudyRow], order: Sequence[str]) -> dict[str, str]:
    """Whether each variant is `better` or `worse` than the first on held-out images, or neither is seen.

    Dunnett's test, two-sided, at 5 % for all variants together, with one variance for all; empty until each has three
    runs. Runs of one seed share what the seed draws, and are treated as independent, which errs towards seeing nothing.
    What another fit of a projector would give is in no probability. The test integrates by random points, whose seed is
    fixed.
    """
    runs = {row.method: row.held_top1.runs for row in rows}
    if set(runs) != set(order) or len(order) < 2 or min(map(len, runs.values())) < LEAST_RUNS:
        return {}
    if not any(np.ptp(each) for each in runs.values()):  # no spread, and so no test
        return {}
    first = runs.pop(order[0])
    test = scipy.stats.dunnett(*runs.values(), control=first, random_state=0)
    return {
        name: ("better" if gain > 0 else "worse") if p < 0.05 else NOT_SEEN
        for name, p, gain in zip(runs, test.pvalue, test.statistic, strict=True)
    }


def continual(file: str, result: Continual) -> Section:
    """Of `hello-distill continual`: a table and a chart for each number of steps."""
    groups: dict[tuple[str, int, int], list[Curve]] = {}
    for curve in result.curves:
        groups.setdefault((curve.student, curve.ipc, curve.steps), []).append(curve)
    tables = [steps_table(curves, result.commands) for _, curves in sorted(groups.items())]
    blocks: list[Block | None] = [parts.made(result.environment, {"data": result.data.name}, result.more_environments)]
    for table, (_, curves) in zip(tables, sorted(groups.items()), strict=True):
        lines = {}
        for curve in curves:
            means = [point.mean for point in curve.top1_by_step]
            lines[f"{curve.method}, {curve.labels}"] = dict(zip(curve.classes, means, strict=True))
        pictures = [("", [parts.chart(lines, "classes seen")])]
        blocks += [table, Gallery("Accuracy by classes seen", pictures, [], result.commands)]
    return section(f"Classes that arrive in steps ({result.data.name})", file, result, blocks, tables)


def steps_table(curves: list[Curve], lines: list[str]) -> Table:
    """A row for each labeller."""
    first = curves[0]
    steps = [f"{count} classes" for count in first.classes]
    rows = [
        page.row(curve.method, curve.labels, *curve.top1_by_step, curve.top1_mean, len(curve.seeds)) for curve in curves
    ]
    notes = [
        "Top-1 in percent on the test images of the classes seen, after the last epoch of a new network at each step; "
        "each seed has an order of classes of its own.",
        "-seen: teachers and projector know the classes seen so far; -all: all of them, from the first step on.",
        *([EXTENDED] if any(curve.labels.endswith("-extended") for curve in curves) else []),
        "The paper says that HeLlO is significantly better than RDED here and prints no figures.",
    ]
    head = ("images", "labels", *steps, "mean of steps", "n")
    name = f"{first.steps} steps, {first.student}, IPC {first.ipc}"
    return Table(name, head, rows, notes, lines, series=range(2, 2 + len(steps)))
