"""The manifest of an artefact, `hello.json`: what it may say, and the files that must lie beside it. Without torch.

An artefact may come from a stranger. Every field has a type and a limit, unknown fields are refused, and nothing in it
names a path or a module.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from hello_distill.format.fields import (
    LARGEST_COUNT,
    Classes,
    Count,
    Few,
    File,
    Line,
    Part,
    Pixels,
    Precision,
    Rank,
    Real,
    Sha256,
    Text,
    Weights,
    line,
)
from hello_distill.format.kinds import KINDS, LabelPart
from hello_distill.format.specs import Codec, StudentSpec, first_fault
from hello_distill.system.errors import ArtifactError, InputError

Labels = TypeVar("Labels", bound=LabelPart)
FORMAT = 2
MANIFEST = "hello.json"
CONFIG = "config.json"
SUMS = "SHA256SUMS"
CARD = "README.md"
IMAGES = "data/train-00000-of-00001.parquet"
LARGEST_FILE = 4 * 2**20
"""Bytes of JSON that are read at all."""
MOST_VALUES = 40_000
"""Values of JSON that are parsed at all, an object as four: each takes a thousand bytes, and may be written in two."""
LEAST_RUNS = 3
"""Students whose accuracies make an expectation."""


class Images(Part):
    """How many, and how large."""

    count: Few
    side: Pixels
    codec: Codec
    made_of: Line
    """Where the pixels come from: a card must say if they are crops of real images."""


SplitName = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^/\\]+$"), AfterValidator(line)]
"""Of a split, or of its folder in the source; never a path."""


class Reading(Part):
    """How the source was read, where that was asked for: test images are read so, too."""

    image_column: Line | None = None
    label_column: Line | None = None
    train_split: SplitName | None = None
    test_split: SplitName | None = None
    revision: Line | None = None
    own_classes: Classes | None = None
    """What the source itself calls the classes, in their order, where they were given other names."""


class Source(Part):
    """What is known of the data set that the images were made from; its licence is inherited, never assumed."""

    name: Line | None
    license: Line | None
    license_name: Line | None
    license_link: Line | None
    reading: Annotated[Reading, Field(default_factory=Reading)]
    """Not written where nothing was asked for."""


class Summary(Part):
    """Mean, standard deviation (n - 1) and the values, in percent."""

    mean: Annotated[float, Field(ge=0, le=100)]
    sd: Annotated[float, Field(ge=0, le=100)] | None
    runs: Annotated[list[Annotated[float, Field(ge=0, le=100)]], Field(min_length=1, max_length=10_000)]

    @model_validator(mode="after")
    def _sound(self) -> Summary:
        sd = statistics.stdev(self.runs) if len(self.runs) > 1 else 0.0
        if max(abs(self.mean - statistics.fmean(self.runs)), abs((self.sd or 0.0) - sd)) > 1e-6:
            raise ValueError("mean and standard deviation are not those of the runs")
        return self


class Expected(Part):
    """The accuracy that students reach by the recorded training, and on which images that was measured."""

    seeds: Annotated[list[Count], Field(min_length=1, max_length=10_000)]
    top1_last: Summary
    top1_best: Summary
    test_images: Few
    test_sha256: Sha256
    environment: dict[Line, Line | int | None]

    @model_validator(mode="after")
    def _sound(self) -> Expected:
        if len(self.seeds) != len(set(self.seeds)) or len(self.seeds) < LEAST_RUNS:
            raise ValueError(f"an accuracy to expect is that of at least {LEAST_RUNS} different seeds")
        if {len(self.top1_last.runs), len(self.top1_best.runs)} != {len(self.seeds)}:
            raise ValueError("there are more or fewer runs than seeds")
        return self


class Point(Part):
    """A form of the projector: what it takes, and its faithfulness to the teacher (`scores.Faithfulness`)."""

    encoder_rank: Rank
    head_rank: Rank
    precision: Precision
    bytes: Count
    agreement: Real
    error: Real


class ShortClasses(Part):
    """Classes with too few training images, and what became of them."""

    rule: Literal["repeat", "fewer"]
    training_images: dict[Text, Count]


class Figures(BaseModel):
    """What was measured while the artefact was made."""

    model_config = ConfigDict(extra="allow", strict=True, allow_inf_nan=False)
    __pydantic_extra__: dict[str, Real | None]
    fidelity: list[Point] = []
    """Faithfulness of each form that was measured; artefacts that exist call it so."""
    knee: Point | None = None
    skipped_images: dict[Line, Count] = {}
    """Training images left out, by reason."""
    short_classes: ShortClasses | None = None
    teacher_bytes: Annotated[Count, Field(strict=False)] = 0
    """Of the classifier that would otherwise have to be passed on; 0 where it is not known. May be written as 5.0."""

    @model_validator(mode="after")
    def _named(self) -> Figures:
        for name in self.__pydantic_extra__ or {}:
            line(name)
        return self


class Teacher(Weights):
    """A teacher that was trained elsewhere and brought along: its name without folders, and its file's hash."""

    network: Line


class Manifest(Part, Generic[Labels]):
    """`hello.json` as a whole."""

    format: Literal[2]
    classes: Classes
    ipc: Few
    images: Images
    source: Source
    labels: Labels
    """The part of the kind that it names."""
    student: StudentSpec
    expected: Expected | None
    figures: Figures
    teachers: Annotated[list[Teacher], Field(default_factory=list, max_length=64)]
    """That were brought along; not written where teachers were trained for the artefact, or none."""
    versions: dict[Line, Line | int | None]
    files: dict[Annotated[str, Field(max_length=200)], File]

    @model_validator(mode="after")
    def _sound(self) -> Manifest[Labels]:
        if len(set(self.classes)) != len(self.classes):
            raise ValueError("two classes have one name")
        if (own := self.source.reading.own_classes) and len({*own}) != len(self.classes):
            raise ValueError("there are other own names of classes than classes")
        if self.images.count > len(self.classes) * self.ipc:
            raise ValueError("there are more images than classes times images per class")
        if self.student.network.startswith("encoder/"):
            raise ValueError("the student is a public encoder, which its user chooses")
        self.labels.check_images(len(self.classes), self.images.count, self.images.side)
        needed = {CARD, CONFIG, IMAGES, *self.labels.files()}
        if differing := sorted(set(self.files) ^ needed):
            state = "not listed" if differing[0] in needed else "listed, and no part of it"
            raise ValueError(f"the file {differing[0]!r} is {state}")
        return self


def parse(text: bytes, file: Path) -> dict[str, Any]:
    """A manifest's content, checked. Raises ArtifactError naming the field that is not as it must be."""
    if _values(text) > MOST_VALUES:
        raise ArtifactError(f"{file} holds more than {MOST_VALUES} values, which no artefact needs; get another one")
    try:
        content = json.loads(text)
        made_by = content.get("format")
        if made_by != FORMAT:
            raise ArtifactError(
                f"{file} has format {made_by!r}, this version reads {FORMAT}; use the version that wrote it"
            )
        model = _manifest(_labels_part(content.get("labels"), file))
        manifest = model.model_validate_json(text).model_dump(mode="json", exclude_unset=True)
    except ValidationError as error:
        raise ArtifactError(f"{file} cannot be trusted: {first_fault(error)}; get the artefact again") from None
    except (ValueError, AttributeError, RecursionError) as error:
        raise ArtifactError(f"{file} cannot be read as JSON ({type(error).__name__}); get the artefact again") from None
    if (manifest["student"], manifest["images"]) != (_completed(content["student"]), content["images"]):
        raise ArtifactError(f"{file} cannot be trusted: `student` or `images` lacks a field; get the artefact again")
    return manifest


def _completed(student: dict[str, Any]) -> dict[str, Any]:
    """The student of an artefact with the precision of its training, which 0.1.0 did not state: it was float32."""
    return {**student, "optim": {"precision": "float32", **student.get("optim", {})}}


@cache
def _manifest(part: type[LabelPart]) -> type[BaseModel]:
    """The model of a manifest with this part about labels. Pydantic forgets such a model once nobody holds it."""
    return Manifest[part]  # type: ignore[valid-type]


def _labels_part(labels: Any, file: Path) -> type[LabelPart]:
    """The model of the labels' part. Raises ArtifactError for a kind that is not registered: nothing of it is run."""
    kind = labels.get("kind") if isinstance(labels, dict) else None
    if not isinstance(kind, str):
        return LabelPart
    if kind not in KINDS.names():
        raise ArtifactError(
            f"{file} cannot be trusted: `labels.kind`: {kind[:40]!r} is none of {', '.join(KINDS.names())}; get the "
            "artefact again, or install the package that has this kind"
        )
    return KINDS.find(kind).part


def check_seeds(seeds: Sequence[int], option: str = "--seeds") -> None:
    """Raise InputError, naming the option, for a seed that no artefact can state, and for one that is named twice.

    A student counted twice would make the spread look smaller than it is.
    """
    for seed in seeds:
        if not 0 <= seed <= LARGEST_COUNT:
            raise InputError(f"{option} is {seed}; seeds are 0 or more, and {LARGEST_COUNT} at most")
        if (times := seeds.count(seed)) > 1:
            often = "twice" if times == 2 else f"{times} times"
            raise InputError(f"{option} names {seed} {often}; give each seed once")


def _values(text: bytes) -> int:
    """How many values a JSON text holds, about: what stands outside of its strings is counted."""
    outside = text.replace(b"\\\\", b"").replace(b'\\"', b"").split(b'"', 4 * MOST_VALUES)[::2]
    return sum(part.count(b",") + part.count(b"[") + 4 * part.count(b"{") for part in outside)
