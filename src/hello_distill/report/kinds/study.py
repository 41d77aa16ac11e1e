"""`hello-distill study`: variants that differ in one thing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.stats

from hello_distill.report import published
from hello_distill.report.page import Cell, Figure, Gallery, Section, Table, Text, count, number, score, weight, words
from hello_distill.report.parts import (
    GridCell,
    GridResult,
    Part,
    Percent,
    Summary,
    Tested,
    experiment,
    learning_curves,
    made,
    no_result,
)

LEAST_RUNS = 3
"""Seeds of each row, for anything to be said of them."""
NOT_SEEN = "not seen"
DUNNETT = (
    "At 5 %: better or worse than the first row on held-out images by Dunnett's test, which allows for there being "
    "so many variants, or no difference seen. Projectors are fitted once, and what another fit would give is not in it."
)


class Variant(GridCell):
    """A variant with one student and one number of images per class."""

    numbers: int
    held_top1: Summary


class Recipe(Part):
    """What was asked."""

    question: str
    table: str | None
    order: list[str]
    networks: dict[str, dict[str, Any]]
    training: dict[str, list[int]]


class Study(GridResult, title="study"):
    """The file."""

    recipe: Recipe
    cells: list[Variant]
    stages: dict[str, dict[str, Percent | None]]


def section(file: str, content: dict[str, Any]) -> Section | None:
    """A table of variants for each student and number of images per class, and the paper's own."""
    if experiment(content) != "study":
        return None
    found = Study.model_validate(content)
    order = found.recipe.order
    places = sorted(found.cells, key=lambda p: (p.student, p.ipc, order.index(p.method) if p.method in order else -1))
    about = {
        "question": found.recipe.question,
        "data": found.data.name,
        "commits of the cells": ", ".join(sorted({commit[:8] for place in places for commit in place.commits})),
    }
    blocks: list[Table | Gallery | Text | None] = [made(found.environment, about, found.more_environments)]
    groups = list(dict.fromkeys((place.student, place.ipc) for place in places))
    for group in groups:
        chosen = [place for place in places if (place.student, place.ipc) == group]
        blocks.append(variants(found, chosen, last=group == groups[-1]))
    charted: dict[str, dict[str, Tested]] = {}
    for place in places:
        charted.setdefault(f"{place.student}, IPC {place.ipc}", {})[place.method] = place.tested
    blocks += [
        published.experiment(found.recipe.table),
        learning_curves(charted, found.commands),
        *no_result(found.diverged),
    ]
    title = f"{found.recipe.question} ({found.data.name})"
    return Section(title, file, [block for block in blocks if block is not None])


def variants(found: Study, places: list[Variant], last: bool) -> Table:
    """A row for each variant, with its distance from the first; what the columns mean stands under the last table."""
    student, ipc = places[0].student, places[0].ipc
    first = next((place for place in places if place.method == found.recipe.order[0]), None)
    tested = against_first(places, found.recipe.order) if tries_for_its_place(found) else {}
    rows: list[list[Cell]] = []
    for place in places:
        end, best, held = place.top1_last, place.top1_best, place.held_top1
        gain = words("") if first in (None, place) else _signed(end.mean - first.top1_last.mean)
        known = _labeller(found, place)
        labeller = words("") if known is None else number(known, ".1f")
        figures = [score(held.mean, held.sd), score(end.mean, end.sd), gain, score(best.mean, best.sd)]
        size = weight(place.bytes.labels + place.bytes.teacher)
        rows.append([words(place.method), *figures, count(len(end.runs)), labeller, count(place.numbers), size])
        if tested:
            rows[-1].append(words(tested.get(place.method, "")))
    gains = f"from {found.recipe.order[0]}"
    head = ["variant", "held-out images", "test images, last epoch", gains, "best epoch", "n", "its labeller"]
    head += ["numbers kept", "labels' size"]
    head += ["at 5 %"] if tested else []
    epochs, batch = found.recipe.training[str(ipc)]
    title = f"{student}, {ipc} image{'' if ipc == 1 else 's'} per class, {epochs} epochs in batches of {batch}"
    notes = [
        "Top-1 in percent. Choices may rest on the held-out training images, and not on the test images. The spread "
        "is that of images and students: projectors are fitted once. A labeller is measured on held-out training "
        "images.",
        "Labels' size is that of the file; where a whole network is kept, numbers kept are those that were fitted.",
    ]
    if tested:
        notes.append(DUNNETT)
    return Table(title, head, rows, notes if last else [], found.commands)


def _labeller(found: Study, place: Variant) -> float | None:
    """Accuracy of what labels a variant's images on held-out images: its projector, else the teacher that it keeps."""
    known = found.stages.get(place.method, {})
    return known.get("projector_top1", known.get("teacher_top1") if place.bytes.teacher else None)


def against_first(places: Sequence[Variant], order: Sequence[str]) -> dict[str, str]:
    """Whether each variant is `better` or `worse` than the first on held-out images, or neither is seen.

    Dunnett's test, two-sided, at 5 % for all variants together, with one variance for all; empty until each has three
    runs. Runs of one seed share what the seed draws, and are treated as independent, which errs towards seeing nothing.
    What another fit of a projector would give is in no probability. The test integrates by random points, whose seed is
    fixed.
    """
    runs = {place.method: place.held_top1.runs for place in places}
    if set(runs) != set(order) or len(order) < 2 or min(map(len, runs.values())) < LEAST_RUNS:
        return {}
    if not any(np.ptp(each) for each in runs.values()):  # no spread, and so no test
        return {}
    own = runs.pop(order[0])
    found = scipy.stats.dunnett(*runs.values(), control=own, random_state=0)
    return {
        name: ("better" if gain > 0 else "worse") if p < 0.05 else NOT_SEEN
        for name, p, gain in zip(runs, found.pvalue, found.statistic, strict=True)
    }


def tries_for_its_place(found: Study) -> bool:
    """Whether a study's first variant is a recipe's own, and the others are tried for its place."""
    from hello_distill.experiments.study import THE_RECIPE

    return found.recipe.order[0] == THE_RECIPE


def _signed(gain: float) -> Cell:
    return (Figure(gain, f"{gain:+.1f}"),)
