"""`scripts/presets.py`: methods with the settings and quirks of their authors' code."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from hello_distill.report import published
from hello_distill.report.page import Cell, Gallery, Section, Table, Text, count, number, score, words
from hello_distill.report.parts import Environment, Part, Percent, Summary, Tested, learning_curves, made


class Settings(Part):
    """The recipe's method."""

    method: str


class Preset(Part):
    """A recipe's artefact and the students trained on it."""

    recipe: str
    data: str
    ipc: int
    labels: str
    student: str
    command: str
    epochs: int
    test_images: int
    tested_epochs: list[int]
    settings: Settings
    figures: dict[str, Any]
    environment: Environment
    top1_last: Summary
    top1_best: Summary
    tested: Tested = Field(default_factory=dict)

    @property
    def teacher(self) -> Percent | None:
        """Accuracy of the method's teacher on held-out training images, where it was measured."""
        found = [value for name, value in self.figures.items() if name.endswith("teacher_top1")]
        return found[0] if found and isinstance(found[0], float) else None


class Presets(Part, title="presets"):
    """The file."""

    presets: list[Preset]


def section(file: str, content: dict[str, Any]) -> Section | None:
    """Presets beside what is published."""
    if "presets" not in content:
        return None
    found = Presets.model_validate(content).presets
    blocks: list[Table | Gallery | Text] = []
    for environment in {str(preset.environment): preset.environment for preset in found}.values():
        of = [preset.recipe for preset in found if preset.environment == environment]
        blocks.append(made(environment, {"recipes": ", ".join(of)}))
    commands = [preset.command for preset in found]
    if found:
        blocks.append(accuracies(found, commands))
    lines = {f"{p.recipe}, IPC {p.ipc}, {p.student}": {p.labels: p.tested} for p in found if p.tested}
    texts = [
        f"{p.recipe}, IPC {p.ipc}: tested after {', '.join(map(str, p.tested_epochs))} epochs; the file keeps the last "
        "and the best alone, so there is no curve to draw."
        for p in found
        if not p.tested
    ]
    curves = learning_curves(lines, commands)
    blocks += [curves] if curves else []
    blocks += [Text("Tested epochs", texts)] if texts else []
    data = ", ".join(sorted({preset.data for preset in found}))
    return Section(f"Methods as their authors' code runs them: {data}", file, blocks)


def accuracies(found: list[Preset], commands: list[str]) -> Table:
    """A row for each recipe and number of images."""
    head = ("recipe", "data", "IPC", "student", "labels", "last epoch", "best epoch", "n", "its teacher", "published")
    rows: list[list[Cell]] = []
    notes: list[str] = []
    for preset in found:
        entries = published.beside(preset.data, preset.settings.method, preset.labels, preset.ipc)
        notes += published.notes(preset.data, [preset.student], entries)
        names = [words(preset.recipe), words(preset.data), count(preset.ipc), words(preset.student)]
        scores = [score(summary.mean, summary.sd) for summary in (preset.top1_last, preset.top1_best)]
        teacher = words("") if preset.teacher is None else number(preset.teacher, ".1f")
        row = [*names, words(preset.labels), *scores, count(len(preset.top1_last.runs)), teacher]
        rows.append([*row, published.cell(entries)])
    about = "The spread is over students of one draw of images; teachers are measured on held-out training images."
    return Table("Accuracies", head, rows, [about, *dict.fromkeys(notes)], commands)
