"""Sections of all kinds of result files; here those of files that are written at once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import PurePath
from typing import Any

from hello_distill.format.results import Bench, Budgets, Demo, DemoRow, Form, Plan, Preset, Presets, Training
from hello_distill.format.results.entries import Result
from hello_distill.format.results.grids import Comparison, Continual, Study
from hello_distill.report import grids, page, published
from hello_distill.report.page import Block, Section, Table, Text
from hello_distill.report.parts import learning_curves, made

FORM = ("bytes", "encoder rank", "head rank", "precision", "agreement, %", "error")
ROWS = {
    "random_hard": "(a) random real images, hard labels",
    "distilled_hard": "(b) distilled images, hard labels",
    "distilled_projector": "(c) distilled images, projector's labels",
    "random_projector": "(d) random real images, projector's labels",
}


def budgets(file: str, result: Budgets) -> Section:
    """Of `scripts/budgets.py`: what each budget buys, and the whole curve."""
    cuts = sorted(result.artefacts.values(), key=lambda cut: -cut.budget)
    curve = {_form(point): (point.agreement, page.number(point.error, ".3g")) for point in result.curve}
    chosen = []
    for cut in cuts:
        form = _form(cut)
        row = page.row(page.weight(cut.budget), *form, *curve.get(form, (None, None)), cut.projector_test_top1)
        chosen.append(row)
    rows = [page.row(*form, *figures) for form, figures in curve.items()]
    knee = (
        f"From {result.knee.bytes:,} bytes on (ranks {result.knee.encoder_rank} and {result.knee.head_rank}, "
        f"{result.knee.precision}) more of them buy less than half a point of agreement."
    )
    lines = [result.command]
    tables = [
        Table("What was chosen", ("budget", *FORM, "its own top-1 on test images"), chosen, [], lines),
        Table(f"Faithfulness to {result.faithful_to}", FORM, rows, [knee], lines),
    ]
    title = f"Projectors cut to label budgets ({result.data.name})"
    return Section(title, file, [made(result.environment, {}), *tables], tables)


def _form(form: Form) -> tuple[int, int, int, str]:
    return form.bytes, form.encoder_rank, form.head_rank, form.precision


def demo(file: str, result: Demo) -> Section:
    """Of `hello-distill demo`: accuracies and bytes."""
    head = ("students trained on", "last epoch", "best epoch", "n", "label bytes")
    rows = []
    students: dict[str, DemoRow] = {name: getattr(result, name) for name in ROWS}
    for name, row in students.items():
        labels = page.weight(result.bytes.projector if name.endswith("projector") else 0)
        rows.append(page.row(ROWS[name], row, row.best, len(row.runs), labels))
    sizes = [
        page.row("images", page.weight(result.bytes.images)),
        page.row("projector", page.weight(result.bytes.projector)),
        page.row("stored float16 labels for the same training would take", page.weight(result.bytes.stored_labels)),
    ]
    a, b, d = (
        f"{result.distilled_projector.mean - students[name].mean:+.1f}"
        for name in ("random_hard", "distilled_hard", "random_projector")
    )
    notes = [
        f"Top-1 in percent on the test split. (c) is {a} points from (a), {b} from (b) and {d} from (d).",
        "The spread is over students; (a) and (d) are one draw of images.",
    ]
    tables = [Table("Accuracies", head, rows, notes), Table("Bytes", ("what", "bytes"), sizes)]
    about = {"data": result.data, "test images": f"{result.test_images:,}", "seconds": result.seconds}
    return Section(f"The demonstration: {result.data}", file, [made(result.environment, about), *tables], tables)


def training(file: str, result: Training) -> Section:
    """Of `hello-distill train --json`: accuracies and their way through the epochs."""
    head = ("student", "labels", "epochs", "last epoch", "best epoch", "n")
    scores = result.top1_last, result.top1_best, len(result.seeds)
    row = page.row(result.student, result.labels, result.epochs, *scores)
    note = f"Top-1 in percent on {result.test_images:,} images {result.test or 'of the test split'}."
    tables = [Table("Accuracies", head, [row], [note])]
    text = Text("Learning curves", ["This file keeps the last and the best of the tested epochs alone."])
    curves = learning_curves({result.student: {result.labels: result.tested}}, [])
    data = PurePath(result.data).name
    about = made(result.environment, {"data": data, "test images": f"{result.test_images:,}"})
    return Section(f"Students on {data}", file, [about, *tables, curves or text], tables)


def presets(file: str, result: Presets) -> Section:
    """Of `scripts/presets.py`: a row for each recipe and number of images, beside what is published."""
    head = ("recipe", "data", "IPC", "student", "labels", "last epoch", "best epoch", "n", "its teacher", "published")
    rows, known = [], []
    for preset in result.presets:
        entries = published.beside(preset.data, preset.settings.method, preset.labels, preset.ipc)
        known += entries
        names = preset.recipe, preset.data, preset.ipc, preset.student, preset.labels
        scores = preset.top1_last, preset.top1_best, len(preset.seeds), _teacher(preset)
        rows.append(page.row(*names, *scores, published.cell(entries)))
    about = "The spread is over students of one draw of images; teachers are measured on held-out training images."
    commands = [preset.command for preset in result.presets]
    notes = published.notes(list(dict.fromkeys(preset.student for preset in result.presets)), known)
    tables = [Table("Accuracies", head, rows, [about, *notes], commands)] if rows else []
    data = ", ".join(sorted({preset.data for preset in result.presets}))
    blocks = [*_machines(result), *tables, *_epochs(result, commands)]
    return Section(f"Methods as their authors' code runs them: {data}", file, blocks, tables)


def _teacher(preset: Preset) -> float | None:
    """Accuracy of the method's teacher on held-out training images, where it was measured."""
    known = [value for name, value in preset.figures.items() if name.endswith("teacher_top1")]
    return known[0] if known and isinstance(known[0], float) else None


def _machines(result: Presets) -> list[Table]:
    """Where the presets were made, and which of them where."""
    recipes: dict[str, list[Preset]] = {}
    for preset in result.presets:
        recipes.setdefault(str(preset.environment), []).append(preset)
    return [made(some[0].environment, {"recipes": ", ".join(p.recipe for p in some)}) for some in recipes.values()]


def _epochs(result: Presets, commands: list[str]) -> list[Block]:
    """Learning curves, and the epochs of presets that have none."""
    curves = learning_curves(
        {f"{p.recipe}, IPC {p.ipc}, {p.student}": {p.labels: p.tested} for p in result.presets}, commands
    )
    texts = [
        f"{p.recipe}, IPC {p.ipc}: tested after {', '.join(map(str, p.tested_epochs))} epochs; the file keeps the last "
        "and the best alone, so there is no curve to draw."
        for p in result.presets
        if not p.tested
    ]
    return [*([curves] if curves else []), *([Text("Tested epochs", texts)] if texts else [])]


def bench(file: str, result: Bench) -> Section:
    """Of `hello-distill bench`: a row for each stage."""
    head = ("stage", "ours, a second", "plain, a second", "times as fast", "least to most", "target", "of the limit, %")
    rows = []
    for speed in result.stages:
        ours, plain = (speed.items / each for each in (speed.ours_seconds, speed.plain_seconds))
        shares = (
            page.number(100 * speed.flops / speed.product_flops / speed.ours_seconds, ".0f") if speed.flops else None
        )
        spread = f"{speed.least:.2f} to {speed.most:.2f}"
        target = f"{speed.target:g}, {speed.verdict}"
        name, ratio = f"{speed.name} ({speed.unit})", page.number(speed.ratio, ".2f")
        rows.append(page.row(name, page.number(ours, ".3g"), page.number(plain, ".3g"), ratio, spread, target, shares))
    notes = [
        f"Median of {result.turns} turns, in which both ways follow each other; the plain way does what the published "
        "codes do, image by image, with the same images, networks and steps.",
        "The limit is the time that the stage's products and convolutions would take at the speed of a product of two "
        "matrices, measured in the same turns; some kinds of convolution need fewer operations than are counted.",
    ]
    table = Table("Speed", head, rows, notes)
    return Section(
        "How fast each stage is", file, [made(result.environment, {"seconds": result.seconds}), table], [table]
    )


def plan(file: str, result: Plan) -> Section:
    """Of `hello-distill plan`: every way that was tried, and networks that could be shipped in their place."""
    head = ("images, labels", "top-1", "n", "labels", "in all", "")
    rows = []
    for way in result.ways:
        ranks = f", ranks {way.encoder_rank} and {way.head_rank}" if way.head_rank else ""
        mark = "ship" if way.recommended else "front" if way.front else ""
        sizes = page.weight(way.bytes.labels + way.bytes.teacher), page.weight(way.total)
        top1 = way.held_top1
        rows.append(page.row(f"{way.images}, {way.labels}{ranks}", top1, len(top1.runs), *sizes, mark))
    notes = [
        f"n students of {result.steps} steps, tested on {result.held_images} held-out training images. Of what "
        "comes within a point of the best, and within a twentieth of its accuracy, the fewest bytes are recommended; "
        "of several ways that take as few, to a twentieth, the most accurate: `ship`. `front` is what nothing beats in "
        "one without losing in the other. In all are images and labels; public weights are not shipped.",
    ]
    title = f"What to ship of {result.data} at {result.ipc} images per class"
    about = {"seconds": result.seconds} if result.seconds else {}
    table = Table("Ways that were tried", head, rows, notes)
    texts = [Text("In the place of images", sentences)] if (sentences := _instead(result)) else []
    return Section(title, file, [made(result.environment, about), table, *texts], [table, *texts])


def _instead(result: Plan) -> list[str]:
    """What networks do by themselves: who can ship one needs no distilled images."""
    names = {"head": "a head on the frozen encoder", "projector": "the projector", "teacher": "the teacher"}
    known = [(alone.held_top1, alone) for alone in result.instead if alone.held_top1 is not None]
    shown = [f"{names[each.model]} {top1:.1f} % at {page.size(each.bytes)}" for top1, each in known]
    sentences = [f"By themselves, after as short a training: {'; '.join(shown)}."] if shown else []
    chosen = result.chosen
    good = [(top1, m) for top1, m in known if top1 >= chosen.held_top1.mean and m.bytes <= chosen.total]
    if good:
        _, best = max(good, key=lambda found: found[0])
        sentences.append(
            f"NO DISTILLATION is the better answer for whom a classifier is enough: {names[best.model]} does better "
            "than these short students, in fewer bytes (public weights apart). Distilled images are for those who "
            "train networks of their own."
        )
    return sentences


KINDS: dict[type[Result], Callable[[str, Any], Section]] = {
    Bench: bench,
    Budgets: budgets,
    Comparison: grids.comparison,
    Continual: grids.continual,
    Demo: demo,
    Plan: plan,
    Presets: presets,
    Study: grids.study,
    Training: training,
}


def section(file: str, result: Result) -> Section:
    """The part of a page that shows a result."""
    return KINDS[type(result)](file, result)
