"""What the paper claims, and what result files have to say to it.

A difference between two means counts where the 95 % confidence interval of Student's t-test (two samples, one variance)
does not hold zero: with three seeds on each side that is about 2.3 standard deviations. What a file cannot say is said.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import pairwise
from typing import Any, NamedTuple

import scipy.stats

from hello_distill.report.kinds.comparison import Comparison
from hello_distill.report.kinds.continual import Continual
from hello_distill.report.kinds.study import Place, Study
from hello_distill.report.page import Section, Table, words
from hello_distill.report.parts import Summary, experiment

HOLDS, FAILS, OPEN, UNTRIED = "holds", "does not hold", "cannot be told apart", "not tried yet"
EARLY, LATE, SWIN = "early", "late", "swin_v2_t"
LORA, TEXT, UPDATE = "+ LoRA", "+ text initialisation", "+ image update"
"""Names of variants and students that claims are about."""


class Line(NamedTuple):
    """A claim, the data that it was tried on, and the verdict with its figures."""

    claim: str
    data: str
    verdict: str
    figures: str


class Difference(NamedTuple):
    """Points between two means, and how far they may be off."""

    points: float
    reach: float

    @property
    def verdict(self) -> str:
        """Of a claim that says it is above zero."""
        return OPEN if abs(self.points) <= self.reach else HOLDS if self.points > 0 else FAILS

    def __str__(self) -> str:
        return f"{self.points:+.1f} +- {self.reach:.1f}"


def difference(ours: Summary, theirs: Summary) -> Difference:
    """Ours less theirs; a single run has no spread, and nothing follows from it."""
    if min(len(ours.runs), len(theirs.runs)) < 2:
        return Difference(ours.mean - theirs.mean, float("inf"))
    if not ours.sd and not theirs.sd:
        return Difference(ours.mean - theirs.mean, 0.0)
    low, high = scipy.stats.ttest_ind(ours.runs, theirs.runs).confidence_interval(0.95)
    return Difference(ours.mean - theirs.mean, float(high - low) / 2)


def lines(contents: Iterable[Mapping[str, Any]]) -> list[Line]:
    """Every claim, once for each data set that it was tried on."""
    studies: dict[str, list[Study]] = {}
    continual: list[Continual] = []
    compared: list[Comparison] = []
    for content in contents:
        if experiment(content) == "study":
            found = Study.model_validate(content)
            studies.setdefault(found.recipe.table or "", []).append(found)
        elif experiment(content) == "continual" and "curves" in content:
            continual.append(Continual.model_validate(content))
        elif {"cells", "trials"} <= content.keys():
            compared.append(Comparison.model_validate(content))
    return [
        *_each("It is more accurate than RDED, with fewer bytes of labels", compared, _headline),
        *_each("LoRA is the largest step", studies.get("Table 3", []), _largest_step),
        *_each("Text initialisation saves storage at equal accuracy", studies.get("Table 3", []), _text),
        *_each("The image update helps", studies.get("Table 3", []), _update),
        *_each("Accuracy is flat beyond a rank", studies.get("Table 4, left", []), _flat),
        *_each("Earlier teachers suit fewer images per class", studies.get("Table 4, right", []), _early),
        *_each("The gain over RDED carries to other networks", studies.get("Table 2", []), _carries),
        *_each("It is largest for Swin-V2-Tiny", studies.get("Table 2", []), _swin),
        *_each("It is better than RDED where classes arrive in steps", continual, _steps),
    ]


def _each(claim: str, found: list[Any], judge: Callable[[Any], tuple[str, str] | None]) -> list[Line]:
    judged = [(each.data.name, judge(each)) for each in found]
    told = [Line(claim, data, *verdict) for data, verdict in judged if verdict is not None]
    return told or [Line(claim, "", UNTRIED, "")]


def _headline(found: Comparison) -> tuple[str, str] | None:
    means = {(p.student, p.ipc, p.method, p.labels): p for p in found.cells}
    told, verdicts = [], []
    for (student, ipc, method, labels), place in sorted(means.items(), key=lambda item: item[0][:2]):
        rded = means.get((student, ipc, "rded", "teacher"))
        if (method, labels) != ("hello", "projector") or rded is None:
            continue
        gain = difference(place.top1_last, rded.top1_last)
        told.append(f"{gain} at IPC {ipc}, {place.bytes.labels:,} of {rded.bytes.teacher:,} bytes")
        verdicts.append(gain.verdict if place.bytes.labels < rded.bytes.teacher else FAILS)
    return (_together(verdicts), "; ".join(told)) if told else None


def _together(verdicts: list[str]) -> str:
    """One word for several cases."""
    counted = {kind: verdicts.count(kind) for kind in (HOLDS, FAILS, OPEN) if kind in verdicts}
    if len(counted) == 1:
        return verdicts[0]
    return ", ".join(f"{kind} in {count} of {len(verdicts)}" for kind, count in counted.items())


def _steps_of(found: Study) -> dict[str, Place] | None:
    """The ablation's rows in their order, where all of them are there."""
    cells = {place.method: place for place in found.cells}
    order = found.recipe.order
    whole = {LORA, TEXT, UPDATE} <= set(order) <= set(cells)
    return {name: cells[name] for name in order} if whole else None


def _largest_step(found: Study) -> tuple[str, str] | None:
    if (rows := _steps_of(found)) is None:
        return None
    places = list(rows.values())
    gains = {after.method: difference(after.top1_last, before.top1_last) for before, after in pairwise(places)}
    lora = gains[LORA]
    others = max(gain.points for name, gain in gains.items() if name != LORA)
    verdict = HOLDS if lora.points - lora.reach > others else OPEN if lora.points + lora.reach > others else FAILS
    return verdict, ", ".join(f"{name.removeprefix('+ ')} {gain}" for name, gain in gains.items())


def _text(found: Study) -> tuple[str, str] | None:
    if (rows := _steps_of(found)) is None:
        return None
    before, after = rows[LORA], rows[TEXT]
    gain = difference(after.top1_last, before.top1_last)
    verdict = FAILS if gain.verdict == FAILS or after.numbers >= before.numbers else HOLDS
    return verdict, f"{after.numbers:,} numbers in the place of {before.numbers:,}, {gain} points"


def _update(found: Study) -> tuple[str, str] | None:
    if (rows := _steps_of(found)) is None:
        return None
    gain = difference(rows[UPDATE].top1_last, rows[TEXT].top1_last)
    return gain.verdict, f"{gain} points"


def _flat(found: Study) -> tuple[str, str] | None:
    """Flat: from some rank on, no larger number of parameters is better by more than the spread."""
    places = sorted(found.cells, key=lambda place: place.numbers)
    if len(places) < 3:
        return None
    best = max(places, key=lambda place: place.top1_last.mean)
    behind = [difference(best.top1_last, place.top1_last) for place in places]
    first = next(at for at, gap in enumerate(behind) if all(later.verdict == OPEN for later in behind[at:]))
    told = ", ".join(f"{place.top1_last.mean:.1f} with {place.numbers:,}" for place in places)
    if first == len(places) - 1:
        return FAILS, told
    where = "at every rank tried" if first == 0 else f"from {places[first].numbers:,} numbers on"
    return HOLDS, f"flat {where}: {told}"


def _early(found: Study) -> tuple[str, str] | None:
    by_cell = {(place.ipc, place.method): place for place in found.cells}
    ipcs = sorted({ipc for ipc, name in by_cell if {(ipc, EARLY), (ipc, LATE)} <= set(by_cell)})
    if len(ipcs) < 2:
        return None
    gains = {ipc: difference(by_cell[ipc, EARLY].top1_last, by_cell[ipc, LATE].top1_last) for ipc in ipcs}
    few, many = gains[ipcs[0]], gains[ipcs[-1]]
    trend = Difference(few.points - many.points, (few.reach**2 + many.reach**2) ** 0.5)
    told = ", ".join(f"{gain} at IPC {ipc}" for ipc, gain in gains.items())
    return trend.verdict, f"early less late teachers: {told}"


def _gains(found: Study) -> dict[str, Difference]:
    """HeLlO less RDED, by student."""
    by_cell = {(place.student, place.method): place for place in found.cells}
    both = sorted(name for name, method in by_cell if method == "hello" and (name, "rded") in by_cell)
    return {name: difference(by_cell[name, "hello"].top1_last, by_cell[name, "rded"].top1_last) for name in both}


def _carries(found: Study) -> tuple[str, str] | None:
    gains = _gains(found)
    told = ", ".join(f"{name} {gain}" for name, gain in gains.items())
    return (_together([gain.verdict for gain in gains.values()]), told) if gains else None


def _swin(found: Study) -> tuple[str, str] | None:
    gains = _gains(found)
    if SWIN not in gains or len(gains) < 2:
        return None
    next_best = max((gain.points, name) for name, gain in gains.items() if name != SWIN)
    swin = gains[SWIN]
    apart = Difference(swin.points - next_best[0], (swin.reach**2 + gains[next_best[1]].reach ** 2) ** 0.5)
    return apart.verdict, f"{swin}; the next, {next_best[1]}, {gains[next_best[1]]}"


def _steps(found: Continual) -> tuple[str, str] | None:
    means = {(curve.steps, curve.method, curve.labels): curve.top1_mean for curve in found.curves}
    told, verdicts = [], []
    for steps in sorted({curve.steps for curve in found.curves}):
        for knows in ("seen", "all"):
            pair = means.get((steps, "hello", f"projector-{knows}")), means.get((steps, "rded", f"teacher-{knows}"))
            if pair[0] is not None and pair[1] is not None:
                gain = difference(pair[0], pair[1])
                told.append(f"{gain} in {steps} steps, labellers of {knows} classes")
                verdicts.append(gain.verdict)
    return (_together(verdicts), "; ".join(told)) if told else None


def section(contents: Iterable[Mapping[str, Any]]) -> Section | None:
    """The claims as the first section of a report; None where none was tried."""
    found = lines(contents)
    if all(line.verdict == UNTRIED for line in found):
        return None
    rows = [tuple(map(words, line)) for line in found]
    about = [
        "Differences are points of top-1 on the test split after the last epoch, with half of their 95 % confidence "
        "interval; a claim holds where zero lies outside of it, and nothing is said where it lies inside.",
    ]
    table = Table("The paper's claims, tried here", ("claim", "data", "verdict", "figures"), rows, about)
    return Section("The paper's claims", "all result files", [table])
