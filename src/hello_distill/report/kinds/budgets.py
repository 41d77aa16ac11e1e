"""`scripts/budgets.py`: projectors cut to label budgets."""

from __future__ import annotations

from hello_distill.format.results import Budgets, Form
from hello_distill.report.page import Cell, Section, Table, count, number, weight, words
from hello_distill.report.parts import made

FORM = ("bytes", "encoder rank", "head rank", "precision", "agreement, %", "error")


def title(result: Budgets) -> str:
    """What it is about."""
    return f"Projectors cut to label budgets ({result.data.name})"


def tables(result: Budgets) -> list[Table]:
    """What each budget buys, and the whole curve."""
    cuts = sorted(result.artefacts.values(), key=lambda cut: -cut.budget)
    curve = {_form(point): (number(point.agreement, ".1f"), number(point.error, ".3g")) for point in result.curve}
    unknown = (words(""), words(""))
    chosen = [
        [weight(cut.budget), *_form(cut), *curve.get(_form(cut), unknown), number(cut.projector_test_top1, ".1f")]
        for cut in cuts
    ]
    rows = [[*form, *figures] for form, figures in curve.items()]
    knee = (
        f"From {result.knee.bytes:,} bytes on (ranks {result.knee.encoder_rank} and {result.knee.head_rank}, "
        f"{result.knee.precision}) more of them buy less than half a point of agreement."
    )
    lines = [result.command]
    return [
        Table("What was chosen", ("budget", *FORM, "its own top-1 on test images"), chosen, [], lines),
        Table("Faithfulness to the uncut projector", FORM, rows, [knee], lines),
    ]


def section(file: str, result: Budgets) -> Section:
    """Both tables, and where they were made."""
    return Section(title(result), file, [made(result.environment, {}), *tables(result)])


def _form(form: Form) -> tuple[Cell, ...]:
    return count(form.bytes), count(form.encoder_rank), count(form.head_rank), words(form.precision)
