"""`hello-distill study`: variants that differ in one thing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy.stats

from hello_distill.format.results.grids import Study, StudyRow
from hello_distill.report import published
from hello_distill.report.page import (
    Cell,
    Figure,
    Gallery,
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

LEAST_RUNS = 3
"""Seeds of each row, for anything to be said of them."""
WIDE = ("best epoch", "its labeller", "labels' size")
NOT_SEEN = "not seen"
NOTES = (
    "Top-1 in percent. Choices may rest on the held-out training images, and not on the test images. The spread "
    "is that of images and students: projectors are fitted once. A labeller is measured on held-out training "
    "images.",
    "Labels' size is that of the file; where a whole network is kept, numbers kept are those that were fitted.",
)
DUNNETT = (
    "At 5 %: better or worse than the first row on held-out images by Dunnett's test, which allows for there being "
    "so many variants, or no difference seen. Projectors are fitted once, and what another fit would give is not in it."
)


def title(result: Study) -> str:
    """What it is about."""
    return f"{result.recipe.question} ({result.data.name})"


def tables(result: Study) -> list[Table | Text]:
    """A table of variants for each student and number of images per class, and the runs without a result."""
    return [*_variants(result), *no_result(result)]


def section(file: str, result: Study) -> Section:
    """The tables, the paper's own, and curves."""
    about = {"question": result.recipe.question, "data": result.data.name, "commits of the cells": commits(result)}
    blocks: list[Table | Gallery | Text | None] = [
        made(result.environment, about, result.more_environments),
        *_variants(result),
        published.experiment(result.recipe.table),
        grid_curves(_groups(result), lambda row: row.method, result.commands),
        *no_result(result),
    ]
    return Section(title(result), file, [block for block in blocks if block is not None])


def _groups(result: Study) -> list[list[StudyRow]]:
    order = {name: place for place, name in enumerate(result.recipe.order)}
    return grouped(sorted(result.cells, key=lambda row: (row.student, row.ipc, order.get(row.method, -1))))


def _variants(result: Study) -> list[Table]:
    groups = _groups(result)
    return [variants(result, rows, last=rows is groups[-1]) for rows in groups]


def variants(result: Study, group: list[StudyRow], last: bool) -> Table:
    """A row for each variant, with its distance from the first; what the columns mean stands under the last table."""
    student, ipc, order = group[0].student, group[0].ipc, result.recipe.order
    first = next((row for row in group if row.method == order[0]), None)
    tested = against_first(group, order) if tries_for_its_place(result) else {}
    rows: list[list[Cell]] = []
    for row in group:
        end = row.top1_last
        gain = words("") if first in (None, row) else _signed(end.mean - first.top1_last.mean)
        figures = [accuracy(row.held_top1), accuracy(end), gain, accuracy(row.top1_best), count(len(end.runs))]
        size = weight(row.bytes.labels + row.bytes.teacher)
        rows.append([words(row.method), *figures, percent(_labeller(result, row)), count(row.numbers), size])
        if tested:
            rows[-1].append(words(tested.get(row.method, "")))
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


def tries_for_its_place(result: Study) -> bool:
    """Whether a study's first variant is a recipe's own, and the others are tried for its place."""
    from hello_distill.experiments.study import THE_RECIPE

    return result.recipe.order[0] == THE_RECIPE


def _signed(gain: float) -> Cell:
    return (Figure(gain, f"{gain:+.1f}"),)
