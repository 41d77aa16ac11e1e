"""What the paper claims, and what result files have to say to it.

A difference of means is a contrast of Student's, with one variance for all rows in it and a 95 % confidence interval.
It counts where the interval does not hold zero. Two means are equal where the whole interval lies within `MARGIN`
points of zero, and unequal where all of it lies outside; that a difference was not seen is not equality. Classes that
arrive in steps are compared seed by seed, since a seed's order of classes makes most of the spread.

The spread is that of images and students. Teachers, projectors and probes are fitted once, and what another fit would
give is in no interval; a line says so where they were made more than once. A study of which a row, or a third seed, is
missing says nothing yet.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import scipy.stats

from hello_distill.format.results.entries import Result, Summary
from hello_distill.format.results.grids import Comparison, Continual, GridCell, GridResult, Study, StudyRow
from hello_distill.report.grids import LEAST_RUNS
from hello_distill.report.page import Section, Table, row, words

HOLDS, FAILS, OPEN, UNTRIED = "holds", "does not hold", "open", "not tried yet"
HEADLINE = "It is more accurate than RDED, with fewer bytes of labels"
DIVERGED = "not to be said, a training diverged"
MARGIN = 2.0
"""Points of top-1 below which two accuracies are called equal: ours."""
EARLY, LATE, SWIN = "early", "late", "timm/swinv2_tiny_window8_256"
LORA, TEXT, UPDATE, QUERIES = "+ LoRA", "+ text initialisation", "+ image update", "+ query fitting"
BY_RULE = ", head by rule"
"""Names of variants and students that claims are about."""
LABELLERS = {
    "seen classes": ("projector-seen", "teacher-seen"),
    "seen classes, the projector extended": ("projector-extended", "teacher-seen"),
    "all classes": ("projector-all", "teacher-all"),
}
"""HeLlO's and RDED's where classes arrive, by what they know."""


class Line(NamedTuple):
    """A claim, the data that it was tried on, and the verdict with its figures."""

    claim: str
    data: str
    verdict: str
    figures: str


class Difference(NamedTuple):
    """Points between means, and how far they may be off."""

    points: float
    reach: float

    @property
    def positive(self) -> str:
        """Verdict of a claim that says it is above zero."""
        return OPEN if abs(self.points) <= self.reach else HOLDS if self.points > 0 else FAILS

    @property
    def equal(self) -> str:
        """Verdict of a claim that says it is nothing."""
        if abs(self.points) + self.reach < MARGIN:
            return HOLDS
        return FAILS if abs(self.points) - self.reach > MARGIN else OPEN

    def __str__(self) -> str:
        return f"{self.points:+.1f} +- {self.reach:.1f}"


def contrast(rows: Sequence[tuple[int, Summary]]) -> Difference:
    """The sum of means with these weights, and half of its 95 % confidence interval; one variance for all rows."""
    points = math.fsum(weight * row.mean for weight, row in rows)
    freedom = sum(len(row.runs) - 1 for _, row in rows)
    if not freedom:
        return Difference(points, math.inf)
    variance = math.fsum((row.sd or 0.0) ** 2 * (len(row.runs) - 1) for _, row in rows) / freedom
    error = math.sqrt(variance * math.fsum(weight**2 / len(row.runs) for weight, row in rows))
    return Difference(points, float(scipy.stats.t.ppf(0.975, freedom)) * error)


def difference(ours: Summary, theirs: Summary) -> Difference:
    """Ours less theirs."""
    return contrast([(1, ours), (-1, theirs)])


def lines(results: Iterable[Result | None]) -> list[Line]:
    """Every claim, once for each data set that it was tried on."""
    results = list(results)
    compared = [result for result in results if isinstance(result, Comparison)]
    continual = [result for result in results if isinstance(result, Continual)]
    studies: dict[str | None, list[Study]] = {}
    for result in results:
        if isinstance(result, Study):
            studies.setdefault(result.recipe.table, []).append(result)
    return [
        *_each(HEADLINE, compared, _headline),
        *_each("LoRA is the largest step", studies.get("Table 3", []), _largest_step),
        *_each("Text initialisation saves storage at equal accuracy", studies.get("Table 3", []), _text),
        *_each("The image update helps", studies.get("Table 3", []), _update),
        *_each("Accuracy is flat beyond a rank", studies.get("Table 4, left", []), _flat),
        *_each("Earlier teachers suit fewer images per class", studies.get("Table 4, right", []), _early),
        *_each("The gain over RDED carries to other networks", studies.get("Table 2", []), _carries),
        *_each("It is largest for Swin-V2-Tiny", studies.get("Table 2", []), _swin),
        *_each("It is better than RDED where classes arrive in steps", continual, _steps),
    ]


def _each(claim: str, tried: Sequence[GridResult], judge: Callable[[Any], tuple[str, str] | None]) -> list[Line]:
    judged = [(each, judge(each)) for each in tried]
    rows = [
        Line(claim, each.data.name, verdict[0], verdict[1] + refitted(each.stages))
        for each, verdict in judged
        if verdict is not None
    ]
    rows += [Line(claim, each.data.name, DIVERGED, "") for each in tried if each.diverged and judge(each) is None]
    return rows or [Line(claim, "", UNTRIED, "")]


def refitted(stages: Iterable[str]) -> str:
    """A warning where teachers and projectors were made anew in the middle of an experiment, by a ledger's names."""
    return "; teachers or projectors were made more than once" if any(", again" in name for name in stages) else ""


def _headline(compared: Comparison) -> tuple[str, str] | None:
    sentences, verdicts = [], []
    for hello, rded in compared.pairs():
        if _finished([hello, rded]):
            gain = difference(hello.top1_last, rded.top1_last)
            sizes = f"{hello.bytes.labels:,} bytes and a public encoder of {hello.bytes.public:,} against"
            sentences.append(f"{gain} at IPC {hello.ipc}, {sizes} {rded.bytes.teacher:,}")
            verdicts.append(gain.positive if hello.bytes.labels < rded.bytes.teacher else FAILS)
    return (_together(verdicts), "; ".join(sentences)) if sentences else None


def _finished(cells: Iterable[GridCell]) -> bool:
    return all(len(cell.top1_last.runs) >= LEAST_RUNS for cell in cells)


def _together(verdicts: list[str]) -> str:
    """One word for several cases, or how many of them have which."""
    counted = {kind: verdicts.count(kind) for kind in (HOLDS, FAILS, OPEN) if kind in verdicts}
    if len(counted) == 1:
        return verdicts[0]
    return ", ".join(f"{kind} in {count} of {len(verdicts)}" for kind, count in counted.items())


def _rows(study: Study) -> dict[str, StudyRow] | None:
    """The rows of a study of one network and one number of images, in order; None where it is not finished."""
    cells = {cell.method: cell for cell in study.cells}
    order = study.recipe.order
    whole = set(order) <= set(cells) and _finished(cells.values())
    return {name: cells[name] for name in order} if whole else None


def _ablation(study: Study) -> dict[str, StudyRow] | None:
    """The paper's own steps: query fitting is ours, and no claim is about it."""
    rows = {name: row for name, row in (_rows(study) or {}).items() if name != QUERIES}
    return rows if {LORA, TEXT, UPDATE} <= set(rows) else None


def _largest_step(study: Study) -> tuple[str, str] | None:
    """LoRA's gain less each other gain, with the rows that both share."""
    if (rows := _ablation(study)) is None:
        return None
    steps = {after: {after: 1, before: -1} for before, after in pairwise(rows)}
    ahead = []
    for name in steps:
        if name != LORA:
            weights = {row: steps[LORA].get(row, 0) - steps[name].get(row, 0) for row in rows}
            ahead.append(contrast([(weights[row], cell.top1_last) for row, cell in rows.items()]).positive)
    verdict = HOLDS if set(ahead) == {HOLDS} else FAILS if FAILS in ahead else OPEN
    gains = {name: difference(rows[name].top1_last, rows[before].top1_last) for before, name in pairwise(rows)}
    return verdict, ", ".join(f"{name.removeprefix('+ ')} {gain}" for name, gain in gains.items())


def _text(study: Study) -> tuple[str, str] | None:
    """What is saved is arithmetic; that nothing is lost is the claim."""
    if (rows := _ablation(study)) is None:
        return None
    before, after = rows[LORA], rows[TEXT]
    gain = difference(after.top1_last, before.top1_last)
    verdict = FAILS if after.numbers >= before.numbers else HOLDS if gain.positive == HOLDS else gain.equal
    saved = 100 * (1 - after.numbers / before.numbers)
    return verdict, f"{gain} points; {after.numbers:,} numbers in the place of {before.numbers:,}, {saved:.1f} % less"


def _update(study: Study) -> tuple[str, str] | None:
    if (rows := _ablation(study)) is None:
        return None
    gain = difference(rows[UPDATE].top1_last, rows[TEXT].top1_last)
    return gain.positive, f"{gain} points"


def _flat(study: Study) -> tuple[str, str] | None:
    """Encoder and head apart: from some rank below the highest on, none differs from the highest."""
    if (rows := _rows(study)) is None:
        return None
    by_rule = {name: cell for name, cell in rows.items() if name.endswith(BY_RULE)}
    base = next(iter(rows)).removesuffix(BY_RULE)
    heads = {name: cell for name, cell in rows.items() if name.startswith(base)}
    verdicts, sentences = [], []
    for what, sweep in (("encoder", by_rule), ("head", heads)):
        cells = sorted(sweep.values(), key=lambda cell: cell.numbers)
        if len(cells) < 3:
            continue
        below = [difference(cell.top1_last, cells[-1].top1_last) for cell in cells[:-1]]
        verdicts.append(below[-1].equal)
        flat = [cell for at, cell in enumerate(cells[:-1]) if all(gap.equal == HOLDS for gap in below[at:])]
        where = f"flat from {flat[0].numbers:,} numbers on" if flat else "flat nowhere for sure"
        means = ", ".join(f"{cell.top1_last.mean:.1f} with {cell.numbers:,}" for cell in cells)
        sentences.append(f"{what}: {where} ({means})")
    return (_together(verdicts), "; ".join(sentences)) if sentences else None


def _early(study: Study) -> tuple[str, str] | None:
    """Early teachers are better with the fewest images, and their gain is smaller with the most."""
    by_cell = {(cell.ipc, cell.method): cell.top1_last for cell in study.cells}
    ipcs = sorted({ipc for ipc, _ in by_cell})
    if len(ipcs) < 2 or not _finished(study.cells) or not {(i, n) for i in ipcs for n in (EARLY, LATE)} <= set(by_cell):
        return None
    gains = {ipc: difference(by_cell[ipc, EARLY], by_cell[ipc, LATE]) for ipc in ipcs}
    few, many = ipcs[0], ipcs[-1]
    signs = ((1, few, EARLY), (-1, few, LATE), (-1, many, EARLY), (1, many, LATE))
    trend = contrast([(sign, by_cell[ipc, name]) for sign, ipc, name in signs]).positive
    both = {gains[few].positive, trend}
    verdict = FAILS if FAILS in both else HOLDS if both == {HOLDS} else OPEN
    sentences = ", ".join(f"{gain} at IPC {ipc}" for ipc, gain in gains.items())
    return verdict, f"early less late teachers: {sentences}"


def _pairs(study: Study) -> dict[str, tuple[Summary, Summary]]:
    """HeLlO's and RDED's accuracy by student, where all of the study's students are there."""
    by_cell = {(cell.student, cell.method): cell.top1_last for cell in study.cells}
    both = sorted(name for name, method in by_cell if method == "hello" and (name, "rded") in by_cell)
    whole = set(both) == set(study.recipe.networks) and _finished(study.cells)
    return {name: (by_cell[name, "hello"], by_cell[name, "rded"]) for name in both} if whole else {}


def _carries(study: Study) -> tuple[str, str] | None:
    gains = {name: difference(*pair) for name, pair in _pairs(study).items()}
    sentences = ", ".join(f"{name} {gain}" for name, gain in gains.items())
    return (_together([gain.positive for gain in gains.values()]), sentences) if gains else None


def _swin(study: Study) -> tuple[str, str] | None:
    """Swin's gain less that of each other student."""
    pairs = _pairs(study)
    if SWIN not in pairs or len(pairs) < 2:
        return None
    hello, rded = pairs[SWIN]
    ahead = [
        contrast([(1, hello), (-1, rded), (-1, ours), (1, theirs)]).positive
        for name, (ours, theirs) in pairs.items()
        if name != SWIN
    ]
    verdict = HOLDS if set(ahead) == {HOLDS} else FAILS if FAILS in ahead else OPEN
    best = max((name for name in pairs if name != SWIN), key=lambda name: pairs[name][0].mean - pairs[name][1].mean)
    return verdict, f"{difference(hello, rded)}; the best other, {best}, {difference(*pairs[best])}"


def _steps(continual: Continual) -> tuple[str, str] | None:
    curves = {(curve.steps, curve.method, curve.labels): curve for curve in continual.curves}
    sentences, verdicts = [], []
    for steps in sorted({curve.steps for curve in continual.curves}):
        for knows, (projector, teacher) in LABELLERS.items():
            ours = curves.get((steps, "hello", projector))
            theirs = curves.get((steps, "rded", teacher))
            if ours is None or theirs is None or ours.seeds != theirs.seeds or len(ours.seeds) < LEAST_RUNS:
                continue
            gain = paired(ours.top1_mean.runs, theirs.top1_mean.runs)
            sentences.append(f"{gain} in {steps} steps, labellers of {knows}")
            verdicts.append(gain.positive)
    return (_together(verdicts), "; ".join(sentences)) if sentences else None


def paired(ours: Sequence[float], theirs: Sequence[float]) -> Difference:
    """Ours less theirs, seed by seed."""
    gaps = [mine - other for mine, other in zip(ours, theirs, strict=True)]
    mean = math.fsum(gaps) / len(gaps)
    spread = math.sqrt(math.fsum((gap - mean) ** 2 for gap in gaps) / (len(gaps) - 1))
    return Difference(mean, float(scipy.stats.t.ppf(0.975, len(gaps) - 1)) * spread / math.sqrt(len(gaps)))


def table(results: Iterable[Result | None]) -> Table:
    """Every claim with its verdict."""
    about = [
        "Differences are points of top-1 on the test split after the last epoch, with half of their 95 % confidence "
        "interval. That one is better holds, or does not, where zero lies outside of it, and is open where it lies "
        f"inside; that two are equal holds where all of it lies within {MARGIN:g} points. Intervals are those of "
        "images and students; teachers and projectors are fitted once, unless the line says more. A study that is not "
        "finished says nothing yet.",
    ]
    rows = [row(*line) for line in lines(results)]
    return Table("The paper's claims, tried here", ("claim", "data", "verdict", "figures"), rows, about)


def section(results: Iterable[Result]) -> Section | None:
    """The claims as the first section of a report; None where none was tried."""
    claimed = table(results)
    tried = any(cells[2] != words(UNTRIED) for cells in claimed.rows)
    return Section("The paper's claims", "all result files", [claimed]) if tried else None
