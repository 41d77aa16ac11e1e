"""`hello-distill demo`: four trainings on Fashion-MNIST."""

from __future__ import annotations

from typing import Any

from hello_distill.report.page import Section, Table, count, score, weight, words
from hello_distill.report.parts import Environment, Part, Summary, made
from hello_distill.report.terminal import DEMO_ROWS


class Row(Summary):
    """Accuracies after the last epoch, and at the best of the tested ones."""

    best: Summary


class Bytes(Part):
    """Of images, projector, and what stored labels would take."""

    images: int
    projector: int
    stored_labels: int


class Demo(Part, title="demo"):
    """The file."""

    data: str
    random_hard: Row
    distilled_hard: Row
    distilled_projector: Row
    random_projector: Row
    bytes: Bytes
    test_images: int
    seconds: int
    environment: Environment


def section(file: str, content: dict[str, Any]) -> Section | None:
    """The demonstration's table."""
    if "random_projector" not in content:
        return None
    found = Demo.model_validate(content)
    head = ("students trained on", "last epoch", "best epoch", "n", "label bytes")
    rows = []
    for key, text in DEMO_ROWS.items():
        row: Row = getattr(found, key)
        labels = weight(found.bytes.projector if key.endswith("projector") else 0)
        scores = score(row.mean, row.sd), score(row.best.mean, row.best.sd)
        rows.append((words(text), *scores, count(len(row.runs)), labels))
    sizes = [
        (words("images"), weight(found.bytes.images)),
        (words("projector"), weight(found.bytes.projector)),
        (words("stored float16 labels for the same training would take"), weight(found.bytes.stored_labels)),
    ]
    note = "The spread is over students; (a) and (d) are one draw of images."
    about = {"data": found.data, "test images": f"{found.test_images:,}", "seconds": found.seconds}
    blocks = [
        made(found.environment, about),
        Table("Accuracies", head, rows, [note]),
        Table("Bytes", ("what", "bytes"), sizes),
    ]
    return Section(f"The demonstration: {found.data}", file, blocks)
