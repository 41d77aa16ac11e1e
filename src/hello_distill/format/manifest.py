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
    """Rows of the Parquet file."""
    side: Pixels
    """Height and width in pixels of every image."""
    codec: Codec
    """How each is encoded."""
    made_of: Line
    """Where the pixels come from: a card must say if they are crops of real images."""


SplitName = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^/\\]+$"), AfterValidator(line)]
"""Of a split, or of its folder in the source; never a path."""


class Reading(Part):
    """How the source was read, where that was asked for: test images are read so, too."""

    image_column: Line | None = None
    """Column with the images."""
    label_column: Line | None = None
    """Column with the classes."""
    train_split: SplitName | None = None
    """Split that training images are of."""
    test_split: SplitName | None = None
    """Split that test images are of."""
    revision: Line | None = None
    """Of a data set on the Hub."""
    own_classes: Classes | None = None
    """What the source itself calls the classes, in their order, where they were given other names."""


class Source(Part):
    """What is known of the data set that the images were made from; its licence is inherited, never assumed."""

    name: Line | None
    """Its id on the Hub; null for a folder of files."""
    license: Line | None
    """Its licence by the Hub's name, or `other`; null where it states none."""
    license_name: Line | None
    """What its card calls a licence that is `other`."""
    license_link: Line | None
    """Where the card says that this licence is."""
    reading: Annotated[Reading, Field(default_factory=Reading)]
    """Not written where nothing was asked for."""


class Summary(Part):
    """Mean, standard deviation (n - 1) and the values, in percent."""

    mean: Annotated[float, Field(ge=0, le=100)]
    """Their mean."""
    sd: Annotated[float, Field(ge=0, le=100)] | None
    """Null where there is one value."""
    runs: Annotated[list[Annotated[float, Field(ge=0, le=100)]], Field(min_length=1, max_length=10_000)]
    """One for each seed, in their order."""

    @model_validator(mode="after")
    def _sound(self) -> Summary:
        sd = statistics.stdev(self.runs) if len(self.runs) > 1 else 0.0
        if max(abs(self.mean - statistics.fmean(self.runs)), abs((self.sd or 0.0) - sd)) > 1e-6:
            raise ValueError("mean and standard deviation are not those of the runs")
        return self


class Expected(Part):
    """The accuracy that students reach by the recorded training, and on which images that was measured."""

    seeds: Annotated[list[Count], Field(min_length=1, max_length=10_000)]
    """Of the students, at least three different ones."""
    top1_last: Summary
    """Top-1 accuracy after the last epoch."""
    top1_best: Summary
    """Top-1 accuracy of the best of the epochs that were tested."""
    test_images: Few
    """How many images it was measured on."""
    test_sha256: Sha256
    """Of the JSON `[[n, 3, height, width], name of a class, ...]`, with a space behind each comma and ASCII alone; then
    of their bytes, and of their labels as int64."""
    environment: dict[Line, Line | int | None]
    """Versions, threads and machine that it was measured with."""

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
    """LoRA's rank on convolutions."""
    head_rank: Rank
    """LoRA's rank on the head."""
    precision: Precision
    """Of the stored matrices."""
    bytes: Count
    """Of the files in `projector/`."""
    agreement: Real
    """Views, in percent, of which it names the teacher's class."""
    error: Real
    """Squared difference of centred logits over the teacher's own squares."""


class ShortClasses(Part):
    """Classes with too few training images, and what became of them."""

    rule: Literal["repeat", "fewer"]
    """Images were used more than once, or there are fewer."""
    training_images: dict[Text, Count]
    """Number of training images by class, of the short classes alone."""


class Figures(BaseModel):
    """What was measured while the artefact was made."""

    model_config = ConfigDict(extra="allow", strict=True, allow_inf_nan=False)
    __pydantic_extra__: dict[str, Real | None]
    fidelity: list[Point] = []
    """Faithfulness of each form that was measured; artefacts that exist call it so."""
    knee: Point | None = None
    """The smallest whose agreement is within half a percent of the best."""
    skipped_images: dict[Line, Count] = {}
    """Training images left out, by reason."""
    short_classes: ShortClasses | None = None
    """Not written where every class had enough."""
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
    """Which network its weights are of."""


class Manifest(Part, Generic[Labels]):
    """`hello.json` as a whole."""

    format: Literal[2]
    """Version of this format."""
    classes: Classes
    """Names of the classes, all different; a label is a place in this list, from 0."""
    ipc: Few
    """Images per class, at most."""
    images: Images
    """The images."""
    source: Source
    """The data set that they were made from."""
    labels: Labels
    """The part of the kind that it names."""
    student: StudentSpec
    """How students are trained on this artefact."""
    expected: Expected | None
    """What accuracy they reach; null where it was not measured."""
    figures: Figures
    """What was measured while it was made."""
    teachers: Annotated[list[Teacher], Field(default_factory=list, max_length=64)]
    """That were brought along; not written where teachers were trained for the artefact, or none."""
    versions: dict[Line, Line | int | None]
    """Of Python and the packages that made it, the machine's type, threads, processes; `stages` names those, such as
    teachers, that were taken as another machine had made them, and in what that differs."""
    files: dict[Annotated[str, Field(max_length=200)], File]
    """Every file by its path with `/`, but `hello.json` and `SHA256SUMS`."""

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
