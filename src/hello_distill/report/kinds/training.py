"""`hello-distill train --json`: students of one artefact."""

from __future__ import annotations

from pathlib import PurePath
from typing import Any

from pydantic import Field

from hello_distill.report.page import Gallery, Section, Table, Text, count, score, words
from hello_distill.report.parts import Environment, Part, Summary, Tested, learning_curves, made


class Training(Part, title="training"):
    """The file."""

    data: str
    student: str
    labels: str
    seeds: list[int]
    epochs: int
    tested_epochs: list[int]
    test_images: int
    environment: Environment
    top1_last: Summary
    top1_best: Summary
    tested: Tested = Field(default_factory=dict)


def section(file: str, content: dict[str, Any]) -> Section | None:
    """Accuracies and their way through the epochs."""
    if not {"training", "tested_epochs", "top1_last"} <= content.keys():
        return None
    found = Training.model_validate(content)
    data = PurePath(found.data).name
    head = ("student", "labels", "epochs", "last epoch", "best epoch", "n")
    scores = [score(summary.mean, summary.sd) for summary in (found.top1_last, found.top1_best)]
    row = [words(found.student), words(found.labels), count(found.epochs), *scores, count(len(found.top1_last.runs))]
    curves = learning_curves({found.student: {found.labels: found.tested}}, []) if found.tested else None
    blocks: list[Table | Gallery | Text] = [
        made(found.environment, {"data": data, "test images": f"{found.test_images:,}"}),
        Table("Accuracies", head, [row]),
        curves or Text("Learning curves", ["This file keeps the last and the best of the tested epochs alone."]),
    ]
    return Section(f"Students on {data}", file, blocks)
