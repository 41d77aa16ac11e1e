"""`hello-distill train --json`: students of one artefact."""

from __future__ import annotations

from pathlib import PurePath

from hello_distill.format.results import Training
from hello_distill.report.page import Section, Table, Text, accuracy, count, words
from hello_distill.report.parts import learning_curves, made


def title(result: Training) -> str:
    """What it is about."""
    return f"Students on {PurePath(result.data).name}"


def tables(result: Training) -> list[Table]:
    """Accuracies."""
    head = ("student", "labels", "epochs", "last epoch", "best epoch", "n")
    scores = [accuracy(result.top1_last), accuracy(result.top1_best), count(len(result.seeds))]
    row = [words(result.student), words(result.labels), count(result.epochs), *scores]
    note = f"Top-1 in percent on {result.test_images:,} images {result.test or 'of the test split'}."
    return [Table("Accuracies", head, [row], [note])]


def section(file: str, result: Training) -> Section:
    """Accuracies and their way through the epochs."""
    curves = learning_curves({result.student: {result.labels: result.tested}}, [])
    about = {"data": PurePath(result.data).name, "test images": f"{result.test_images:,}"}
    text = Text("Learning curves", ["This file keeps the last and the best of the tested epochs alone."])
    return Section(title(result), file, [made(result.environment, about), *tables(result), curves or text])
