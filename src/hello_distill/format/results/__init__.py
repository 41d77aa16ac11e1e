"""What result files say: a model for each kind, by which they are written and read. Does not import torch."""

from __future__ import annotations

from typing import Any

from pydantic import Field, ValidationError

from hello_distill.format.results.entries import (
    Data,
    Entry,
    Environment,
    Percent,
    Result,
    Summary,
    Tested,
    experiment_of,
)
from hello_distill.format.results.grids import Bytes, Comparison, Continual, GridResult, Study


class Training(Result):
    """Of `hello-distill train --json`: students of one artefact."""

    keys = frozenset({"training", "tested_epochs", "top1_last"})
    student: str
    labels: str
    seeds: list[int]
    epochs: int
    tested_epochs: list[int]
    test_images: int
    top1_last: Summary
    top1_best: Summary
    tested: Tested = Field(default_factory=dict)
    data: str
    test: str | None = None
    """Of which images the test images are, where not of the test split."""
    training: dict[str, Any] = Field(default_factory=dict)
    environment: Environment


class DemoRow(Summary):
    """Accuracies after the last epoch, and at the best of the tested ones."""

    best: Summary


class DemoBytes(Entry):
    """Of images, projector, and what stored labels would take."""

    images: int
    projector: int
    stored_labels: int


class Demo(Result):
    """Of `hello-distill demo`: four trainings on Fashion-MNIST."""

    keys = frozenset({"random_projector"})
    data: str
    random_hard: DemoRow
    distilled_hard: DemoRow
    distilled_projector: DemoRow
    random_projector: DemoRow
    bytes: DemoBytes
    figures: dict[str, Any] = Field(default_factory=dict)
    seeds: list[int] = Field(default_factory=list)
    test_images: int
    recipe: dict[str, Any] = Field(default_factory=dict)
    seconds: int
    environment: Environment


class Settings(Entry):
    """A preset's recipe."""

    method: str


class Preset(Training):
    """A recipe's artefact and the students trained on it."""

    recipe: str
    ipc: int
    published: str | None = None
    command: str
    settings: Settings
    figures: dict[str, Any]


class Presets(Result):
    """Of `scripts/presets.py`: methods with the settings and quirks of their authors' code."""

    keys = frozenset({"presets"})
    presets: list[Preset]


class Form(Entry):
    """Ranks and precision of a projector, and its bytes."""

    encoder_rank: int
    head_rank: int
    precision: str
    bytes: int


class Cut(Form):
    """A projector cut to a budget."""

    budget: int
    projector_test_top1: Percent
    """Its accuracy on test images, which nothing was chosen by."""


class Point(Form):
    """How faithful a form is, as `Budgets.faithful_to` says."""

    agreement: Percent
    error: float


class Budgets(Result):
    """Of `scripts/budgets.py`: projectors cut to label budgets."""

    keys = frozenset({"artefacts", "curve", "knee"})
    data: Data
    command: str
    artefacts: dict[str, Cut]
    curve: list[Point]
    faithful_to: str = "the uncut projector, on held-out training images"
    """What agreement and error are measured against. Older files do not say it."""
    knee: Form
    recipe: dict[str, Any] = Field(default_factory=dict)
    environment: Environment


class Speed(Entry):
    """A stage, timed in turns with the plain way."""

    name: str
    items: int
    """In one call, of `unit`."""
    unit: str
    ours_seconds: float
    """Of a call, the median of the turns."""
    plain_seconds: float
    ratio: float
    """How many times as fast ours is: the median of the turns' ratios, with the least and the most of them."""
    least: float
    most: float
    target: float
    flops: int
    """Of products and convolutions in a call of ours."""
    product_flops: float
    """FLOPs a second of a matrix product in float32 on this machine, measured in the same turns."""

    @property
    def verdict(self) -> str:
        """Whether the target is met."""
        return "met" if self.ratio >= self.target else "below target"


class Bench(Result):
    """Of `hello-distill bench`: how fast each stage is."""

    keys = frozenset({"stages", "turns", "seconds"})
    stages: list[Speed]
    turns: int
    seconds: int
    environment: Environment


class Tried(Entry):
    """Images with a kind of labels that a plan tried: bytes, and students on held-out training images."""

    images: str
    labels: str
    encoder_rank: int | None = None
    head_rank: int | None = None
    """Of a projector."""
    bytes: Bytes
    total: int
    held_top1: Summary
    front: bool
    """Whether none beats it in bytes or accuracy without losing in the other."""
    recommended: bool


class Alone(Entry):
    """A network that could be shipped in the place of images."""

    model: str
    bytes: int
    public: int
    held_top1: Percent | None


class Plan(Result):
    """Of `hello-distill plan`: the ways that were tried, the fewest bytes first."""

    keys = frozenset({"ways", "instead"})
    data: str
    ipc: int
    steps: int
    """Of each student."""
    seeds: list[int]
    held_images: int
    ways: list[Tried]
    instead: list[Alone]
    recipe: dict[str, Any]
    seconds: int | None = None
    """What the whole took. Older files do not say it."""
    environment: Environment

    @property
    def chosen(self) -> Tried:
        """The way that is recommended."""
        return next(way for way in self.ways if way.recommended)


KINDS: tuple[type[Result], ...] = (Bench, Budgets, Comparison, Continual, Demo, Plan, Presets, Study, Training)
NAMES = [kind.__name__.lower() for kind in KINDS]


def read(content: Any) -> Result | None:
    """The result that is in a file; None where it is of no kind that is known here.

    Raises ValidationError, whose title names the kind, where the file is not whole.
    """
    kinds = [kind for kind in KINDS if isinstance(content, dict) and kind.knows(content)]
    return kinds[0].model_validate(content) if kinds else None


def reason(error: Exception) -> str:
    """Why a file cannot be read, in a line."""
    if not isinstance(error, ValidationError):
        return f"cannot be read: {error}"
    first = error.errors()[0]
    field = ".".join(map(str, first["loc"]))
    return f"a result of {error.title.lower()}, but not whole: {field}: {first['msg']}"


def read_grid(content: Any) -> GridResult:
    """The result of a grid that is to be continued. Raises ValidationError where it is none."""
    named = experiment_of(content) if isinstance(content, dict) else None
    kind = next((kind for kind in (Study, Continual) if kind.experiment == named), Comparison)
    return kind.model_validate(content)
