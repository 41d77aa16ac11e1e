"""Files that are filled run by run: comparisons, studies, and classes that arrive in steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from pydantic import Field

from hello_distill.format.results.entries import Data, Entry, Environment, Percent, Result, Summary, Tested

FORMAT = 2
"""Of the files of grids."""
SORTED_BY = ("student", "ipc", "method", "labels", "steps", "step")


class Bytes(Entry):
    """What a cell ships, and the public weights that it relies on."""

    images: int
    labels: int
    teacher: int
    public: int

    @property
    def total(self) -> int:
        """Of all that is shipped; public weights are not."""
        return self.images + self.labels + self.teacher


class Names(Entry):
    """What is run: a method with a kind of labels, a number of images per class and a student."""

    method: str
    labels: str
    ipc: int
    student: str
    steps: int | None = None
    step: int | None = None
    """Of a continual run, from 1."""


class Runs(Entry):
    """A run for each seed, at these commits, with settings that were tried."""

    settings: dict[str, Any] = Field(default_factory=dict)
    seeds: list[int]
    commits: list[str]
    seconds: int = 0


class GridCell(Runs, Names):
    """Students; the settings are theirs."""

    bytes: Bytes
    top1_last: Summary
    top1_best: Summary
    tested: Tested = Field(default_factory=dict)
    same_students_as: str | None = None
    """Labels whose students these are, bit for bit, where none was trained."""

    def joined(self, other: GridCell) -> GridCell:
        """With the runs of other seeds. Images differ a little from seed to seed: bytes are those of the first."""
        first, second = sorted((self, other), key=lambda cell: cell.seeds[0])
        seeds, both = [*first.seeds, *second.seeds], second.content() | first.content()
        for name in both:
            if isinstance(summary := getattr(first, name), Summary):
                runs = zip(seeds, [*summary.runs, *getattr(second, name).runs], strict=True)
                both[name] = Summary.of([run for _, run in sorted(runs)])
        if "tested" in both:
            both["tested"] = self.tested | other.tested
        both |= {"seeds": sorted(seeds), "seconds": self.seconds + other.seconds}
        return self.model_validate({**both, "commits": sorted({*self.commits, *other.commits})})


class StudyRow(GridCell):
    """A variant with one student and one number of images per class."""

    numbers: int
    """How many the labels are kept in."""
    held_top1: Summary
    """On held-out training images."""


class Diverged(Names):
    """A run that gave no result."""

    seed: int
    reason: str = ""


class Trial(Entry):
    """Settings that were tried on held-out training images, for a student or for a fit."""

    fit: str | None = None
    method: str | None = None
    labels: str | None = None
    student: str | None = None
    settings: dict[str, Any]
    held_top1: Percent
    spread: float | None = None
    """Of the labels of a fit of the projector; see `queries.spread`."""

    @property
    def of(self) -> dict[str, str]:
        """What it is a trial of: a fit, or a method, a family of labels and a student."""
        named = {"fit": self.fit, "method": self.method, "labels": self.labels, "student": self.student}
        return {name: value for name, value in named.items() if value is not None}


class Recipe(Entry):
    """What was asked."""

    training: dict[str, list[int]] = Field(default_factory=dict)
    """Epochs and batch size of students by images per class."""


class GridResult(Result):
    """What comparisons, studies and continual experiments have in common."""

    row: ClassVar[type[GridCell]] = GridCell
    format: int = FORMAT
    data: Data
    recipe: Recipe
    environment: Environment
    more_environments: list[Environment] = Field(default_factory=list)
    commands: list[str] = Field(default_factory=list)
    """The calls that filled the file; older files hold none."""
    stages: dict[str, dict[str, Percent | int | None]] = Field(default_factory=dict)
    """What was measured of teachers and projectors."""
    trials: list[Trial] = Field(default_factory=list)
    cells: Sequence[GridCell] = Field(default_factory=list)
    diverged: list[Diverged] = Field(default_factory=list)

    def cell(self, names: Mapping[str, Any]) -> GridCell | None:
        """The cell of these names, such as method and labels."""
        return next((cell for cell in self.cells if _is_of(cell, names)), None)

    def has(self, names: Mapping[str, Any], seed: int) -> bool:
        """Whether a run is there, or diverged."""
        cell = self.cell(names)
        diverged = any(_is_of(run, names) and run.seed == seed for run in self.diverged)
        return diverged or (cell is not None and seed in cell.seeds)

    def add_run(self, names: Mapping[str, Any], seed: int, measured: Mapping[str, Any]) -> None:
        """Keep a run, unless it is there; mean and sd follow."""
        if (cell := self.cell(names)) is None or seed not in cell.seeds:
            run = self.row.model_validate({**names, "seeds": [seed], **measured})
            cells = [other for other in self.cells if other is not cell] + [cell.joined(run) if cell else run]
            order = [[key for name in SORTED_BY if (key := getattr(cell, name)) is not None] for cell in cells]
            self.cells = [cell for _, cell in sorted(zip(order, cells, strict=True), key=lambda pair: pair[0])]

    def add_diverged(self, run: Diverged) -> None:
        """Keep that a run gave no result and why; it is not tried again, since it would end the same way."""
        if run not in self.diverged:
            self.diverged = [*self.diverged, run]

    def trials_of(self, key: Mapping[str, str]) -> list[Trial]:
        """The trials of a method, a family of labels and a student, or of a fit."""
        return [trial for trial in self.trials if _is_of(trial, key)]

    def add_trial(self, trial: Trial) -> None:
        """Keep a trial, unless it is there."""
        if not any(kept.settings == trial.settings for kept in self.trials_of(trial.of)):
            self.trials = [*self.trials, trial]

    def add_stages(self, figures: Mapping[str, Mapping[str, Any]]) -> None:
        """Keep what was measured of teachers and projector; one that was trained again, elsewhere, stands beside."""
        stages = dict(self.stages)
        for name, values in figures.items():
            while any(stages.get(name, {}).get(key, value) != value for key, value in values.items()):
                name += ", again"
            stages[name] = {**stages.get(name, {}), **values}
        self.stages = stages

    def add_machine(self, here: Environment) -> None:
        """Keep a machine with its versions, where it is another than those before. Commits stand with the cells."""
        known = [{**machine, "commit": None} for machine in (self.environment, *self.more_environments)]
        here = {**here, "commit": None}
        self.more_environments = [*self.more_environments, *([] if here in known else [here])]


def _is_of(entry: Entry, names: Mapping[str, Any]) -> bool:
    return all(getattr(entry, name) == value for name, value in names.items())


class Model(Runs):
    """A network that is shipped as it is, in the place of images: no student is trained. The settings are its fit's."""

    model: str
    """`head`, or labels whose online maker it is."""
    bytes: int
    public: int
    """Bytes of the public weights that it relies on."""
    top1: Summary


class Comparison(GridResult):
    """Of `hello-distill compare`: methods and labels side by side."""

    keys = frozenset({"cells", "trials"})
    models: list[Model] = Field(default_factory=list)
    """Older files hold none."""

    def add_model(self, model: Model) -> None:
        """Keep a model; those that were asked for stand in the order of their names."""
        self.models = sorted([*self.models, model], key=lambda each: each.model)

    def pairs(self) -> list[tuple[GridCell, GridCell]]:
        """HeLlO with its projector's labels and RDED with its teacher's, where both have run, by student and images.

        Students from random weights alone, as the paper's: a head on a public encoder is another question.
        """
        fresh = [cell for cell in self.cells if not cell.student.startswith("encoder/")]
        cells = {(cell.student, cell.ipc, cell.method, cell.labels): cell for cell in fresh}
        both = sorted((*key, "hello", "projector") for key in {key[:2] for key in cells})
        sides = [(cells.get(key), cells.get((*key[:2], "rded", "teacher"))) for key in both]
        return [(hello, rded) for hello, rded in sides if hello is not None and rded is not None]


THE_RECIPE = "the recipe"
"""Name of the first variant where the others are tried for its place: these are tested for being better."""


class StudyRecipe(Recipe):
    """What a study asks, and its variants in order."""

    question: str
    table: str | None
    order: list[str]
    networks: dict[str, dict[str, Any]]


class Study(GridResult):
    """Of `hello-distill study`: variants that differ in one thing."""

    experiment = "study"
    row = StudyRow
    recipe: StudyRecipe
    cells: list[StudyRow] = Field(default_factory=list)


class Curve(Entry):
    """Top-1 after each step of a method with a labeller."""

    student: str
    ipc: int
    method: str
    labels: str
    steps: int
    classes: list[int]
    seeds: list[int]
    top1_by_step: list[Summary]
    top1_mean: Summary


class Continual(GridResult):
    """Of `hello-distill continual`: classes that arrive in steps."""

    experiment = "continual"
    curves: list[Curve] = Field(default_factory=list)
    class_order: dict[str, list[str]] = Field(default_factory=dict)
    """By seed."""
