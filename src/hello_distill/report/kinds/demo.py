"""`hello-distill demo`: four trainings on Fashion-MNIST."""

from __future__ import annotations

from hello_distill.format.results import Demo, DemoRow
from hello_distill.report.page import Section, Table, accuracy, count, weight, words
from hello_distill.report.parts import made

ROWS = {
    "random_hard": "(a) random real images, hard labels",
    "distilled_hard": "(b) distilled images, hard labels",
    "distilled_projector": "(c) distilled images, projector's labels",
    "random_projector": "(d) random real images, projector's labels",
}


def title(result: Demo) -> str:
    """What it is about."""
    return f"The demonstration: {result.data}"


def tables(result: Demo) -> list[Table]:
    """Accuracies and bytes."""
    head = ("students trained on", "last epoch", "best epoch", "n", "label bytes")
    rows = []
    students: dict[str, DemoRow] = {name: getattr(result, name) for name in ROWS}
    for name, row in students.items():
        labels = weight(result.bytes.projector if name.endswith("projector") else 0)
        rows.append((words(ROWS[name]), accuracy(row), accuracy(row.best), count(len(row.runs)), labels))
    sizes = [
        (words("images"), weight(result.bytes.images)),
        (words("projector"), weight(result.bytes.projector)),
        (words("stored float16 labels for the same training would take"), weight(result.bytes.stored_labels)),
    ]
    a, b, d = (
        f"{result.distilled_projector.mean - students[name].mean:+.1f}"
        for name in ("random_hard", "distilled_hard", "random_projector")
    )
    notes = [
        f"Top-1 in percent on the test split. (c) is {a} points from (a), {b} from (b) and {d} from (d).",
        "The spread is over students; (a) and (d) are one draw of images.",
    ]
    return [Table("Accuracies", head, rows, notes), Table("Bytes", ("what", "bytes"), sizes)]


def section(file: str, result: Demo) -> Section:
    """Both tables, and where they were made."""
    about = {"data": result.data, "test images": f"{result.test_images:,}", "seconds": result.seconds}
    return Section(title(result), file, [made(result.environment, about), *tables(result)])
