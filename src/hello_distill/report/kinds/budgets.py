"""`scripts/budgets.py`: projectors cut to label budgets."""

from __future__ import annotations

from typing import Any

from hello_distill.report.page import Cell, Section, Table, count, number, weight, words
from hello_distill.report.parts import Data, Environment, Part, Percent, made


class Form(Part):
    """Ranks and precision of a projector, and its bytes."""

    encoder_rank: int
    head_rank: int
    precision: str
    bytes: int


class Cut(Form):
    """A projector cut to a budget."""

    budget: int
    projector_test_top1: Percent
    """Its own accuracy, which nothing was chosen by."""


class Point(Form):
    """How faithful a form is to the uncut projector, on held-out training images."""

    agreement: Percent
    error: float


class Budgets(Part, title="budgets"):
    """The file."""

    data: Data
    command: str
    artefacts: dict[str, Cut]
    curve: list[Point]
    knee: Form
    environment: Environment


def section(file: str, content: dict[str, Any]) -> Section | None:
    """What each budget buys, and the whole curve."""
    if not {"artefacts", "curve", "knee"} <= content.keys():
        return None
    found = Budgets.model_validate(content)
    cuts = sorted(found.artefacts.values(), key=lambda cut: -cut.budget)
    chosen: list[list[Cell]] = [
        [weight(cut.budget), *_form(cut), number(cut.projector_test_top1, ".1f")] for cut in cuts
    ]
    curve: list[list[Cell]] = [
        [*_form(point), number(point.agreement, ".1f"), number(point.error, ".3g")] for point in found.curve
    ]
    form = ("bytes", "encoder rank", "head rank", "precision")
    knee = (
        f"From {found.knee.bytes:,} bytes on (ranks {found.knee.encoder_rank} and {found.knee.head_rank}, "
        f"{found.knee.precision}) more of them buy less than half a point of agreement."
    )
    blocks = [
        made(found.environment, {}),
        Table("What was chosen", ("budget", *form, "its own top-1 on test images"), chosen, [], [found.command]),
        Table("Faithfulness to the uncut projector", (*form, "agreement, %", "error"), curve, [knee], [found.command]),
    ]
    return Section(f"Projectors cut to label budgets ({found.data.name})", file, blocks)


def _form(form: Form) -> list[Cell]:
    return [count(form.bytes), count(form.encoder_rank), count(form.head_rank), words(form.precision)]
