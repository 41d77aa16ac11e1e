"""The manifest of an artefact, `hello.json`: what it may say, and the files that must lie beside it. Without torch.

An artefact may come from a stranger. Every field has a type and a limit, unknown fields are refused, and nothing in it
names a path or a module.
"""

from __future__ import annotations

import json
import statistics
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from hello_distill.format.sizes import num_files
from hello_distill.system.errors import ArtifactError, InputError

FORMAT = 2
MANIFEST = "hello.json"
CONFIG = "config.json"
SUMS = "SHA256SUMS"
CARD = "README.md"
IMAGES = "data/train-00000-of-00001.parquet"
PROJECTOR, TEACHER, LABELS = "projector", "teacher", "labels"
"""Folders of the labels' files."""
ADAPTER_CONFIG = "adapter_config.json"
STATIC = "static.safetensors"
HEAD = "label_head"
"""Name of the projector's linear head. peft matches target names by their end, so it must be one that no encoder
uses."""
LARGEST_FILE = 4 * 2**20
"""Bytes of JSON that are read at all."""
MOST_VALUES = 40_000
"""Values of JSON that are parsed at all, an object as four: each takes a thousand bytes, and may be written in two."""
LEAST_RUNS = 3
"""Students whose accuracies make an expectation."""
LARGEST_SIDE = 4096
"""Pixels of an image's side."""
LONGEST_TEXT = 1000
"""Letters of a class name or another text."""
LARGEST_COUNT = 2**40
"""Also of seeds."""


def clean(text: str) -> str:
    """The text. Raises ValueError for control characters, of Unicode's second set, too, but tabs and line ends."""
    if any(unicodedata.category(letter) == "Cc" and letter not in "\t\n" for letter in text):
        raise ValueError("must not hold control characters")
    return text


def line(text: str) -> str:
    """The text, of one line. Raises ValueError for line ends and tabs, too."""
    if any(letter in "\t\n\u2028\u2029" for letter in clean(text)):
        raise ValueError("must be one line, without tabs")
    return text


def _prompt(text: str) -> str:
    if text.count("{}") != 1 or text.replace("{}", "").count("{") or text.replace("{}", "").count("}"):
        raise ValueError("must hold {} once, for the name of the class, and no other braces")
    return text


Count: TypeAlias = Annotated[int, Field(ge=0, le=LARGEST_COUNT)]
Few: TypeAlias = Annotated[int, Field(ge=1, le=2**24)]
Pixels: TypeAlias = Annotated[int, Field(ge=1, le=LARGEST_SIDE)]
Rank: TypeAlias = Annotated[int, Field(ge=1, le=1024)]
Share: TypeAlias = Annotated[float, Field(ge=0, le=1)]
LARGEST = 1e6
"""Of factors and rates: what an artefact may name, and so what may be fitted with."""
Positive: TypeAlias = Annotated[float, Field(gt=0, le=LARGEST)]
Real: TypeAlias = Annotated[float, Field(ge=-1e9, le=1e9)]
Text: TypeAlias = Annotated[str, Field(max_length=LONGEST_TEXT), AfterValidator(clean)]
Line: TypeAlias = Annotated[str, Field(max_length=LONGEST_TEXT), AfterValidator(line)]
Name: TypeAlias = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_./@-]{0,199}$")]
"""Of an encoder, a network, a layer: never a path that leads elsewhere, nor an address."""
Prompt: TypeAlias = Annotated[Text, AfterValidator(_prompt)]
Templates: TypeAlias = Annotated[list[Prompt], Field(min_length=1, max_length=1000)]
Sha256: TypeAlias = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Classes: TypeAlias = Annotated[list[Annotated[Text, Field(min_length=1)]], Field(min_length=2, max_length=2**15 - 1)]


class Part(BaseModel):
    """A JSON object with exactly these fields."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class File(Part):
    """Size and hash of a file."""

    bytes: Count
    sha256: Sha256


class Weights(File):
    """A public weight file that labels rely on."""

    name: Line


class Codec(Part):
    """How images are kept."""

    format: Literal["png", "jpeg", "webp"]
    quality: Annotated[int, Field(ge=0, le=100)]
    subsampled: bool


class Images(Part):
    """How many, and how large."""

    count: Few
    side: Pixels
    codec: Codec
    made_of: Line
    """Where the pixels come from: a card must say if they are crops of real images."""


class Source(Part):
    """What is known of the data set that the images were made from; its licence is inherited, never assumed."""

    name: Line | None
    license: Line | None
    license_name: Line | None
    license_link: Line | None


class Encoder(Part):
    """Public facts of an encoder, its preprocessing among them."""

    name: Name
    size: Pixels
    width: Annotated[int, Field(ge=1, le=2**16)]
    mean: Annotated[list[Real], Field(min_length=3, max_length=3)]
    std: Annotated[list[Positive], Field(min_length=3, max_length=3)]
    interpolation: Literal["bicubic"]
    knows: Line
    weights: Annotated[list[Weights], Field(min_length=1, max_length=8)]


class ByPrecision(Part):
    """Bytes of a projector in each precision."""

    float32: Count
    float16: Count
    int8: Count
    int4: Count


class HardLabels(Part):
    """The classes alone."""

    kind: Literal["hard"]
    parameters: Literal[0]


class StaticLabels(Part):
    """One soft label per image."""

    kind: Literal["static"]
    parameters: Count


class TeacherLabels(Part):
    """Classifiers' weights."""

    kind: Literal["teacher"]
    parameters: Count
    networks: Annotated[list[Name], Field(min_length=1, max_length=64)]
    side: Pixels
    weights: Annotated[list[Weights], Field(max_length=64)]
    combine: Literal["mean", "norm"]
    batch_statistics: bool


class LabelCodec(Part):
    """How a stored row of logits is kept."""

    name: Literal["float32", "float16", "float8", "int8", "topk"]
    k: Annotated[int, Field(ge=1, le=2**15 - 1)] = 0

    @model_validator(mode="after")
    def _k_of_topk(self) -> LabelCodec:
        if bool(self.k) != (self.name == "topk"):
            raise ValueError("k belongs to topk, and to topk alone")
        return self


class Draw(Part):
    """Which stored batches an epoch takes."""

    replacement: bool
    seed: Count


class RecordedLabels(Part):
    """Labels stored view by view."""

    kind: Literal["stored", "pruned", "quantized"]
    parameters: Count
    draw: Draw | None
    batches: Few
    batches_per_epoch: Few
    batches_per_file: Few
    classes: Few
    codec: LabelCodec
    seed: Count
    images: Few

    @model_validator(mode="after")
    def _sound(self) -> RecordedLabels:
        if num_files(self.batches, self.batches_per_file) > MOST_VALUES:
            raise ValueError("labels lie in more files than an artefact can list")
        if self.batches_per_epoch > self.images:
            raise ValueError("an epoch has more batches than images")
        if (self.kind == "pruned" and self.draw is None) or (self.kind == "stored" and self.draw is not None):
            raise ValueError("pruned labels are drawn, and stored ones are not")
        return self


class ProjectorLabels(Part):
    """The projector: what its matrices are low-rank updates of, and how logits follow from it."""

    kind: Literal["projector"]
    parameters: Count
    precision: Literal["float32", "float16", "int8", "int4"]
    bytes_by_precision: ByPrecision
    encoder: Encoder
    templates: Templates
    convolutions: Annotated[list[Name], Field(max_length=4096)]
    encoder_rank: Rank
    head_rank: Rank
    scale: Positive
    normalize: bool
    formula: Line


class Augment(Part):
    """`hello_distill.views.Augment`."""

    scale: Annotated[list[Share], Field(min_length=2, max_length=2)]
    ratio: Annotated[list[Positive], Field(min_length=2, max_length=2)]
    flip: Share
    mix: Literal["cutmix", "mixup", "none"]
    alpha: Positive

    @model_validator(mode="after")
    def _ascending(self) -> Augment:
        if self.scale != sorted(self.scale) or self.ratio != sorted(self.ratio):
            raise ValueError("scale and ratio must name the smaller number first")
        return self


class Optim(Part):
    """`hello_distill.training.fit.Optim`."""

    epochs: Few
    batch_size: Few
    lr: Annotated[float, Field(ge=0, le=1e6)]
    name: Literal["adamw", "sgd"]
    weight_decay: Annotated[float, Field(ge=0, le=1e6)]
    decayed: Literal["matrices", "all"]
    momentum: Share
    schedule: Literal["cosine", "half-cosine", "constant", "thirds"]
    changes: Literal["step", "epoch"]
    warmup: Share


class Student(Part):
    """`hello_distill.artifact.StudentSpec`."""

    network: Name
    loss: Literal["mse", "kl"]
    temperature: Positive
    squared: bool
    beta: Annotated[float, Field(ge=0, le=1e6)]
    ce_target: Literal["mixed", "base"]
    double_forward: bool
    augment: Augment
    optim: Optim
    evaluations: Few


class WantedProjector(Part):
    """What a recipe asks of a projector."""

    templates: Templates
    encoder_rank: Rank
    head_rank: Rank | None
    augment: Augment


class WantedTeachers(Part):
    """What a recipe asks of teachers."""

    augment: Augment


class Wanted(Part):
    """What a recipe asks for: what its artefact must be able to say, and every range of crops."""

    student: Student
    codec: Codec
    teachers: WantedTeachers
    projector: WantedProjector | None


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
    """A point of the fidelity curve."""

    encoder_rank: Rank
    head_rank: Rank
    precision: Literal["float32", "float16", "int8", "int4"]
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


class Manifest(Part):
    """`hello.json` as a whole."""

    format: Literal[2]
    classes: Classes
    ipc: Few
    images: Images
    source: Source
    labels: Annotated[
        HardLabels | StaticLabels | TeacherLabels | RecordedLabels | ProjectorLabels, Field(discriminator="kind")
    ]
    student: Student
    expected: Expected | None
    figures: Figures
    versions: dict[Line, Line | int | None]
    files: dict[Annotated[str, Field(max_length=200)], File]

    @model_validator(mode="after")
    def _sound(self) -> Manifest:
        if len(set(self.classes)) != len(self.classes):
            raise ValueError("two classes have one name")
        if self.images.count > len(self.classes) * self.ipc:
            raise ValueError("there are more images than classes times images per class")
        match self.labels:
            case RecordedLabels(classes=classes, images=images):
                if (classes, images) != (len(self.classes), self.images.count):
                    raise ValueError("labels are stored for other classes or images")
            case TeacherLabels(side=side) if side != self.images.side:
                raise ValueError("the teacher was made for images of another size")
        needed = file_names(self.labels.model_dump())
        if differing := sorted(set(self.files) ^ needed):
            state = "not listed" if differing[0] in needed else "listed, and no part of it"
            raise ValueError(f"the file {differing[0]!r} is {state}")
        return self


def adapter_file(precision: str) -> str:
    """Name of the file of matrices. Integers have another name than peft's, so that peft does not misread them."""
    return f"adapter_{'model' if precision.startswith('float') else precision}.safetensors"


def shard_file(place: int) -> str:
    """Name of a file of stored labels."""
    return f"{place:05d}.safetensors"


def file_names(labels: Mapping[str, Any]) -> set[str]:
    """The files of an artefact with labels so described, beside the manifest and the sums."""
    kind, found = labels["kind"], {CARD, CONFIG, IMAGES}
    if kind == "projector":
        found |= {f"{PROJECTOR}/{name}" for name in (ADAPTER_CONFIG, adapter_file(labels["precision"]))}
    elif kind == "teacher":
        found |= {f"{TEACHER}/{place}.safetensors" for place in range(len(labels["networks"]))}
    elif kind == "static":
        found.add(f"{LABELS}/{STATIC}")
    elif kind != "hard":
        count = num_files(labels["batches"], labels["batches_per_file"])
        found |= {f"{LABELS}/{shard_file(place)}" for place in range(count)}
    return found


def adapter_config(convolutions: Sequence[str], encoder_rank: int, head_rank: int) -> str:
    """adapter_config.json: the least that stock peft needs, in a stable order."""
    config = {
        "peft_type": "LORA",
        "r": encoder_rank,
        "lora_alpha": encoder_rank,
        "target_modules": sorted([HEAD, *(f"visual.{name}" for name in convolutions)]),
        "rank_pattern": {HEAD: head_rank},
        "alpha_pattern": {HEAD: head_rank},
        "inference_mode": True,
    }
    return json.dumps(config, indent=2, sort_keys=True) + "\n"


def parse(text: bytes, file: Path) -> dict[str, Any]:
    """A manifest's content, checked. Raises ArtifactError naming the field that is not as it must be."""
    if _values(text) > MOST_VALUES:
        raise ArtifactError(f"{file} holds more than {MOST_VALUES} values, which no artefact needs; get another one")
    try:
        made_by = json.loads(text).get("format")
        if made_by != FORMAT:
            raise ArtifactError(
                f"{file} has format {made_by!r}, this version reads {FORMAT}; use the version that wrote it"
            )
        return Manifest.model_validate_json(text).model_dump(exclude_unset=True)
    except ValidationError as error:
        raise ArtifactError(f"{file} cannot be trusted: {_first(error)}; get the artefact again") from None
    except (ValueError, AttributeError, RecursionError) as error:
        raise ArtifactError(f"{file} cannot be read as JSON ({type(error).__name__}); get the artefact again") from None


def check_stated(folder: Path, stated: Mapping[str, Any], counted: Mapping[str, Any]) -> None:
    """Raise ArtifactError where labels state another number than was counted in their files."""
    for name, number in counted.items():
        if stated[name] != number:
            raise ArtifactError(
                f"{folder} states {stated[name]} as `labels.{name}`, and its files hold {number}; "
                "get the artefact again"
            )


def check_wanted(wanted: Mapping[str, Any]) -> None:
    """Raise InputError where a recipe asks for what no artefact can say (see `Wanted`)."""
    try:
        Wanted.model_validate_json(json.dumps(wanted))
    except ValidationError as error:
        raise InputError(f"config: {_first(error)}") from None


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


def _first(error: ValidationError) -> str:
    """The first complaint, in a few words. Where there are very many they are not even listed."""
    if error.error_count() > 1000:
        return f"{error.error_count()} fields are not as they must be"
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    place = ".".join(str(part) for part in first["loc"])[:120]
    return f"`{place}`: {first['msg']}" if place else first["msg"]
