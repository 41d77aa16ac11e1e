"""Labels made online by classifiers whose weights are shipped: what RDED's code does, and what it must be charged."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias, get_args

from pydantic import Field

from hello_distill.format.fields import Name, Pixels, Weights
from hello_distill.format.kinds import KINDS, LabelKind, LabelPart, option
from hello_distill.format.specs import Interface
from hello_distill.system.errors import InputError, nearest

FOLDER = "teacher"
TeacherPrecision: TypeAlias = Literal["float16", "int8", "int4"]
"""How weights are stored: as integers with a scale for each output channel where they have one, else in float16."""


class TeacherPart(LabelPart):
    """Classifiers' weights."""

    networks: Annotated[list[Name], Field(min_length=1, max_length=64)]
    """Names of the classifiers; the weights of the first lie in `teacher/0.safetensors`."""
    side: Pixels
    """Height and width in pixels of the images that they see."""
    weights: Annotated[list[Weights], Field(max_length=64)]
    """Public files that an `encoder/` network starts from; not shipped."""
    combine: Literal["mean", "norm"]
    """`mean` of the logits; with `norm` each brought to the mean Frobenius norm of all first."""
    batch_statistics: bool
    """Whether batch normalisation works as in training."""
    precision: TeacherPrecision = "float16"
    """Not written where it is float16, as in artefacts of 0.1.0."""
    interfaces: Annotated[list[Interface | None], Field(default_factory=list, max_length=64)]
    """One for each network, null for those that see images as networks do that are trained here; not written where all
    do."""

    def files(self) -> set[str]:
        return {f"{FOLDER}/{number}.safetensors" for number in range(len(self.networks))}

    def check_images(self, classes: int, images: int, side: int) -> None:
        if self.side != side:
            raise ValueError("the teacher was made for images of another size")
        if len(self.interfaces) not in (0, len(self.networks)):
            raise ValueError("there are more or fewer interfaces than networks")
        for interface in filter(None, self.interfaces):
            if len(interface.rows) != classes or max(interface.rows) >= interface.outputs:
                raise ValueError("an interface names other outputs than there are classes and outputs")

    def classifiers(self) -> list[str]:
        return self.networks

    def public_weights(self) -> list[Weights]:
        return self.weights


@KINDS.register("teacher")
@dataclass(frozen=True)
class Teacher(LabelKind):
    """Mean logits of classifiers on the very images that the student sees."""

    part = TeacherPart
    online = True
    made_by = "teacher"
    precision: str = option("float16", "float16 (default), int8 or int4")

    def __post_init__(self) -> None:
        if self.precision not in (known := get_args(TeacherPrecision)):
            raise InputError(f"unknown precision {self.precision!r} of a teacher: {nearest(self.precision, known)}")

    @classmethod
    def load(cls, folder: Path, part: dict[str, Any], data: Any) -> Any:
        from hello_distill.labels.sources import teacher

        return teacher.load(folder, part, data)

    def make(self, data: Any, student: Any, online: Any) -> Any:
        """The online source itself, in another precision where that is asked for."""
        self.check_maker(online)
        return online.rounded(self.precision)

    @classmethod
    def trained(cls, made: Any, teachers: Any, shared: Any, projector: Any) -> Any:
        """The artefact's own teacher, where it has one."""
        from hello_distill.labels.sources.teacher import taught

        return made.labels if made.labels.kind == cls.name else taught(teachers, made.data.side)
