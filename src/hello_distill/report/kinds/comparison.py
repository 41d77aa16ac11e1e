"""`hello-distill compare`: methods and labels side by side."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from typing import Any

from hello_distill.report import charts, published
from hello_distill.report.page import Cell, Gallery, Picture, Section, Table, Text, count, number, score, weight, words
from hello_distill.report.parts import (
    GridCell,
    GridResult,
    Part,
    Percent,
    Tested,
    experiment,
    learning_curves,
    made,
    no_result,
)

ORDER = ("hard", "static", "teacher", "stored", "pruned", "quantized", "projector")
"""Families of labels, from the least that students are told to the most."""


class Compared(GridCell):
    """A method with a kind of labels."""

    labels: str
    same_students_as: str | None = None

    @property
    def order(self) -> tuple[Any, ...]:
        """By student, images, method, then labels as `ORDER` has them."""
        family = self.labels.partition("-")[0]
        place = ORDER.index(family) if family in ORDER else len(ORDER)
        return self.student, self.ipc, self.method, place, self.labels


class Recipe(Part):
    """Epochs and batch size of students by images per class."""

    training: dict[str, list[int]]


class Comparison(GridResult, title="comparison"):
    """The file."""

    recipe: Recipe
    cells: list[Compared]
    trials: list[dict[str, Any]]
    stages: dict[str, dict[str, Percent | int | None]]


def section(file: str, content: dict[str, Any]) -> Section | None:
    """Tables and charts of a comparison."""
    if not {"cells", "trials"} <= content.keys() or experiment(content) is not None:
        return None
    found = Comparison.model_validate(content)
    places = sorted(found.cells, key=lambda place: place.order)
    commits = sorted({commit[:8] for place in places for commit in place.commits})
    about = {
        "data": found.data.name,
        "finished cells": f"{len(places)}, of {sum(len(place.seeds) for place in places)} students",
        "commits of the cells": ", ".join(commits),
        "tuning trials on held-out training images": len(found.trials),
    }
    if not found.commands:
        about["commands"] = "the file names none"
    blocks: list[Table | Gallery | Text | None] = [made(found.environment, about, found.more_environments)]
    grids = list(dict.fromkeys((place.student, place.ipc) for place in places))
    for student, ipc in grids:
        chosen = [place for place in places if (place.student, place.ipc) == (student, ipc)]
        blocks.append(grid(found, chosen))
    if places:
        blocks += [bytes_charts(found.data.name, places, file), curves(places, found.commands), measured(found)]
        blocks.append(published.gains(pairs(found.data.name, places)))
    blocks += no_result(found.diverged)
    title = f"Comparison on {found.data.name}"
    return Section(title, file, [block for block in blocks if block is not None])


def grid(found: Comparison, places: list[Compared]) -> Table:
    """A student's accuracies with one number of images per class, a row for each method and kind of labels."""
    data, (student, ipc) = found.data.name, (places[0].student, places[0].ipc)
    entries = [published.beside(data, place.method, place.labels, ipc) for place in places]
    known = [entry for some in entries for entry in some]
    head = ["images", "labels", "last epoch", "best epoch", "n", "images' size", "labels' size", "teacher's size"]
    head += ["published"] if known else []
    rows: list[list[Cell]] = []
    for place, theirs in zip(places, entries, strict=True):
        last, best = (score(summary.mean, summary.sd) for summary in (place.top1_last, place.top1_best))
        sizes = [weight(place.bytes.images), weight(place.bytes.labels), weight(place.bytes.teacher)]
        row = [words(place.method), words(place.labels), last, best, count(len(place.top1_last.runs)), *sizes]
        rows.append([*row, *([published.cell(theirs)] if known else [])])
    twins = sorted({(place.labels, place.same_students_as) for place in places if place.same_students_as})
    notes = [f"Students of {labels} labels are those of {twin} labels, bit for bit." for labels, twin in twins]
    training = found.recipe.training.get(str(ipc))
    schedule = f", {training[0]} epochs in batches of {training[1]}" if training and len(training) == 2 else ""
    title = f"{ipc} image{'' if ipc == 1 else 's'} per class, {student}{schedule}"
    return Table(title, head, rows, [*notes, *published.notes(data, [student], known)], found.commands)


def bytes_charts(data: str, places: list[Compared], file: str) -> Gallery:
    """Accuracy against what is shipped beside the images, a panel for each student and number of images."""
    cells = [place.model_dump() for place in places]
    pictures = []
    for student, ipc in dict.fromkeys((place.student, place.ipc) for place in places):
        shown = [place for place in places if (place.student, place.ipc) == (student, ipc)]
        alt = f"Top-1 against the bytes of labels and teacher, {student}, IPC {ipc}: " + "; ".join(
            f"{place.method} with {place.labels} labels {place.top1_last.mean:.1f} % at "
            f"{place.bytes.labels + place.bytes.teacher:,} bytes"
            for place in shown
        )
        picture = Picture("image/svg+xml", charts.accuracy_by_bytes(data, cells, student, ipc), alt, 420)
        pictures.append(("", [picture]))
    about = ["Bytes are those of labels and teacher, beside the images; public weights are not shipped."]
    return Gallery("Accuracy against label bytes", pictures, about, [shlex.join(["hello-distill", "plot", file])])


def curves(places: list[Compared], lines: list[str]) -> Gallery | Text:
    """Accuracy by epoch where the file keeps it."""
    charted: dict[str, dict[str, Tested]] = {}
    for place in places:
        if place.tested:
            title = f"{place.student}, IPC {place.ipc}"
            charted.setdefault(title, {})[f"{place.method}, {place.labels}"] = place.tested
    text = "This file keeps of each training the last and the best tested epoch alone, so there is no curve to draw."
    return learning_curves(charted, lines) or Text("Learning curves", [text])


def measured(found: Comparison) -> Table | None:
    """Teachers and projector on held-out training images."""
    names = {
        "teacher_top1": "last epoch",
        "ensemble_top1": "ensemble",
        "zero_shot_top1": "before fitting",
        "projector_top1": "fitted",
    }
    rows = [
        (words(stage), *(words("") if (value := known.get(key)) is None else number(value, ".1f") for key in names))
        for stage, known in found.stages.items()
    ]
    head = ("network", *names.values())
    return Table("Teachers and projector on held-out training images", head, rows, [], found.commands) if rows else None


def pairs(data: str, places: list[Compared]) -> Iterable[tuple[str, int, str, float, float]]:
    """RDED with its teacher's labels and HeLlO with its projector's, where both have run."""
    means = {(p.student, p.ipc, p.method, p.labels): p.top1_last.mean for p in places}
    for student, ipc, method, labels in means:
        rded = means.get((student, ipc, "rded", "teacher"))
        if (method, labels) == ("hello", "projector") and rded is not None:
            yield data, ipc, student, rded, means[student, ipc, method, labels]
