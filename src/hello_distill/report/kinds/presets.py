"""`scripts/presets.py`: methods with the settings and quirks of their authors' code."""

from __future__ import annotations

from hello_distill.format.results import Preset, Presets
from hello_distill.report import published
from hello_distill.report.page import Gallery, Section, Table, Text, accuracy, count, percent, words
from hello_distill.report.parts import learning_curves, made


def title(result: Presets) -> str:
    """What it is about."""
    data = ", ".join(sorted({preset.data for preset in result.presets}))
    return f"Methods as their authors' code runs them: {data}"


def tables(result: Presets) -> list[Table]:
    """A row for each recipe and number of images, beside what is published."""
    head = ("recipe", "data", "IPC", "student", "labels", "last epoch", "best epoch", "n", "its teacher", "published")
    rows, known = [], []
    for preset in result.presets:
        entries = published.beside(preset.data, preset.settings.method, preset.labels, preset.ipc)
        known += entries
        names = [words(preset.recipe), words(preset.data), count(preset.ipc), words(preset.student)]
        scores = [accuracy(preset.top1_last), accuracy(preset.top1_best), count(len(preset.top1_last.runs))]
        row = [*names, words(preset.labels), *scores, percent(_teacher(preset)), published.cell(entries)]
        rows.append(row)
    about = "The spread is over students of one draw of images; teachers are measured on held-out training images."
    commands = [preset.command for preset in result.presets]
    students = list(dict.fromkeys(preset.student for preset in result.presets))
    notes = published.notes(students, known)
    return [Table("Accuracies", head, rows, [about, *notes], commands)] if rows else []


def _teacher(preset: Preset) -> float | None:
    """Accuracy of the method's teacher on held-out training images, where it was measured."""
    known = [value for name, value in preset.figures.items() if name.endswith("teacher_top1")]
    return known[0] if known and isinstance(known[0], float) else None


def section(file: str, result: Presets) -> Section:
    """Presets beside what is published, and their curves."""
    blocks: list[Table | Gallery | Text] = []
    for environment in {str(preset.environment): preset.environment for preset in result.presets}.values():
        recipes = [preset.recipe for preset in result.presets if preset.environment == environment]
        blocks.append(made(environment, {"recipes": ", ".join(recipes)}))
    blocks += tables(result)
    charted = {f"{p.recipe}, IPC {p.ipc}, {p.student}": {p.labels: p.tested} for p in result.presets}
    if curves := learning_curves(charted, [preset.command for preset in result.presets]):
        blocks.append(curves)
    texts = [
        f"{p.recipe}, IPC {p.ipc}: tested after {', '.join(map(str, p.tested_epochs))} epochs; the file keeps the last "
        "and the best alone, so there is no curve to draw."
        for p in result.presets
        if not p.tested
    ]
    return Section(title(result), file, [*blocks, *([Text("Tested epochs", texts)] if texts else [])])
