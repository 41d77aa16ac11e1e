"""What sections of several kinds have in common: where a result was made, runs that gave none, curves."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TypeVar

from hello_distill.format.results.entries import Environment, Tested
from hello_distill.format.results.grids import Diverged, GridCell, GridResult
from hello_distill.report import plot
from hello_distill.report.page import Gallery, Picture, Table, row

Row = TypeVar("Row", bound=GridCell)


def diverged(runs: Sequence[Diverged]) -> str:
    """A sentence on the runs that gave no result, where there are some."""
    sentences = [
        f"{run.method}, {run.labels}, {run.student}, IPC {run.ipc}"
        + (f", step {run.step} of {run.steps}" if run.step else "")
        + f", seed {run.seed}"
        for run in runs
    ]
    return f"No result, because training diverged: {'; '.join(sentences)}." if sentences else ""


def schedule(result: GridResult, ipc: int) -> str:
    """Epochs and batch size of students, where the file has them, after a comma."""
    epochs, batch = [*result.recipe.training.get(str(ipc), ()), None, None][:2]
    return "" if batch is None else f", {epochs} epochs in batches of {batch}"


def commits(result: GridResult) -> str:
    """The commits that made the cells."""
    return ", ".join(sorted({commit[:8] for cell in result.cells for commit in cell.commits}))


def made(environment: Environment, about: Mapping[str, object], more: Sequence[Environment] = ()) -> Table:
    """What was run, and where: `about` first, then commit, hardware and versions as the file gives them.

    Of `more` machines, what is not as on the first; commits stand with the cells.
    """
    first = ("commit", "device", "gpu", "processor", "machine", "system", "threads", "python", "hello_distill", "torch")
    known = [name for name in first if name in environment]
    rows = [row(name, str(value)) for name, value in about.items()]
    rows += [row(name, _stated(environment[name])) for name in known]
    others = ", ".join(f"{name} {_stated(environment[name])}" for name in sorted(set(environment) - set(known)))
    rows += [row("others", others)] if others else []
    for other in more:
        apart = [name for name in other if name != "commit" and other[name] != environment.get(name)]
        if apart:
            rows.append(row("also run on", ", ".join(f"{name} {_stated(other[name])}" for name in apart)))
    return Table("What was run", ("what", "value"), rows)


def _stated(value: str | int | None) -> str:
    return "unknown" if value is None else str(value)


def grouped(cells: Sequence[Row]) -> list[list[Row]]:
    """The cells of each student and number of images per class, in their order."""
    groups: dict[tuple[str, int], list[Row]] = {}
    for cell in cells:
        groups.setdefault((cell.student, cell.ipc), []).append(cell)
    return list(groups.values())


def mean_by_epoch(tested: Tested) -> dict[int, float]:
    """The mean over seeds after each epoch that all of them were tested after."""
    curves = [{int(epoch): value for epoch, value in curve.items()} for curve in tested.values()]
    shared = sorted(set.intersection(*map(set, curves))) if curves else []
    return {epoch: sum(curve[epoch] for curve in curves) / len(curves) for epoch in shared}


def grid_curves(groups: Sequence[Sequence[Row]], name: Callable[[Row], str], commands: list[str]) -> Gallery | None:
    """A chart for each group of cells, where the file keeps their epochs."""
    charted = {f"{cells[0].student}, IPC {cells[0].ipc}": {name(c): c.tested for c in cells} for cells in groups}
    return learning_curves(charted, commands)


def chart(curves: Mapping[str, Mapping[int, float]], by: str, of: str = "") -> Picture:
    """Accuracy in percent by what is counted, a line for each name."""
    ends = "; ".join(f"{name} ends at {curve[max(curve)]:.1f} %" for name, curve in curves.items())
    return Picture("image/svg+xml", partial(plot.curves, curves, by), f"Top-1 by {by}{of}: {ends}", 520)


def learning_curves(charted: Mapping[str, Mapping[str, Tested]], commands: list[str]) -> Gallery | None:
    """A chart for each title, with a line for each name; None where no epoch but the last was kept."""
    pictures = []
    for title, lines in charted.items():
        curves = {name: mean_by_epoch(tested) for name, tested in lines.items()}
        curves = {name: curve for name, curve in curves.items() if len(curve) > 1}
        if curves:
            pictures.append((title, [chart(curves, "epoch", f", {title}")]))
    about = ["Mean over the seeds, after each epoch that was tested."]
    return Gallery("Learning curves", pictures, about, commands) if pictures else None
