"""What result files of several kinds have in common: accuracies, where they were made, curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from hello_distill.report import charts
from hello_distill.report.page import Gallery, Picture, Table, Text, words
from hello_distill.report.terminal import diverged

Percent = Annotated[float, Field(ge=0, le=100)]
Tested = dict[str, dict[str, Percent]]
"""Accuracy by epoch by seed."""
Environment = dict[str, str | int | None]


class Part(BaseModel):
    """A part of a result file: numbers are numbers, and finite. Fields that are not shown may be anything."""

    model_config = ConfigDict(strict=True, frozen=True, allow_inf_nan=False, extra="ignore")


class Summary(Part):
    """Mean, standard deviation (n - 1; None for a single run) and the runs, in percent."""

    mean: Percent
    sd: Percent | None
    runs: Annotated[list[Percent], Field(min_length=1)]


class Data(Part):
    """The data set's folder."""

    name: str


class Diverged(Part):
    """A run that gave no result."""

    method: str
    labels: str
    ipc: int
    student: str
    seed: int
    steps: int | None = None
    step: int | None = None


class Bytes(Part):
    """What a cell ships, and the public weights that it relies on."""

    images: int
    labels: int
    teacher: int
    public: int


class GridCell(Part):
    """What cells of comparisons and studies have in common."""

    method: str
    ipc: int
    student: str
    seeds: list[int]
    commits: list[str]
    bytes: Bytes
    top1_last: Summary
    top1_best: Summary
    tested: Tested = Field(default_factory=dict)


class GridResult(Part):
    """What comparisons, studies and continual experiments have in common."""

    data: Data
    environment: Environment
    more_environments: list[Environment] = Field(default_factory=list)
    commands: list[str] = Field(default_factory=list)
    """The calls that filled the file; older files hold none."""
    diverged: list[Diverged] = Field(default_factory=list)


def no_result(runs: Sequence[Diverged]) -> list[Text]:
    """A paragraph that names the runs without a result, where there are some."""
    text = diverged({"diverged": [run.model_dump() for run in runs]})
    return [Text("Runs without a result", [text.strip()])] if text else []


def experiment(content: Mapping[str, Any]) -> str | None:
    """The experiment that a result says it is of, beside comparisons, which say none."""
    recipe = content.get("recipe")
    named = recipe.get("experiment") if isinstance(recipe, dict) else None
    return named if isinstance(named, str) else None


def made(environment: Mapping[str, Any], about: Mapping[str, object], more: Sequence[Mapping[str, Any]] = ()) -> Table:
    """What was run, and where: `about` first, then commit, hardware and versions as the file gives them.

    Of `more` machines, what is not as on the first; commits stand with the cells.
    """
    first = ("commit", "device", "gpu", "processor", "machine", "system", "threads", "python", "hello_distill", "torch")
    known = [name for name in first if name in environment]
    rows = [(words(name), words(value)) for name, value in about.items()]
    rows += [(words(name), words(_told(environment[name]))) for name in known]
    others = ", ".join(f"{name} {_told(environment[name])}" for name in sorted(set(environment) - set(known)))
    rows += [(words("others"), words(others))] if others else []
    for other in more:
        apart = [name for name in other if name != "commit" and other[name] != environment.get(name)]
        if apart:
            rows.append((words("also run on"), words(", ".join(f"{name} {_told(other[name])}" for name in apart))))
    return Table("What was run", ("what", "value"), rows)


def _told(value: str | int | None) -> str:
    return "unknown" if value is None else str(value)


def mean_by_epoch(tested: Tested) -> dict[int, float]:
    """The mean over seeds after each epoch that all of them were tested after."""
    curves = [{int(epoch): value for epoch, value in curve.items()} for curve in tested.values()]
    shared = sorted(set.intersection(*map(set, curves))) if curves else []
    return {epoch: sum(curve[epoch] for curve in curves) / len(curves) for epoch in shared}


def learning_curves(charted: Mapping[str, Mapping[str, Tested]], commands: list[str]) -> Gallery | None:
    """A chart for each title, with a line for each name; None where no epoch but the last was kept."""
    pictures = []
    for title, lines in charted.items():
        curves = {name: mean_by_epoch(tested) for name, tested in lines.items()}
        curves = {name: curve for name, curve in curves.items() if len(curve) > 1}
        if curves:
            alt = f"Top-1 by epoch, {title}: " + "; ".join(
                f"{name} ends at {curve[max(curve)]:.1f} %" for name, curve in curves.items()
            )
            pictures.append((title, [Picture("image/svg+xml", charts.curves(curves), alt, 520)]))
    about = ["Mean over the seeds, after each epoch that was tested."]
    return Gallery("Learning curves", pictures, about, commands) if pictures else None
