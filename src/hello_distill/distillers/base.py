"""What a method is, and what it says of itself to the rest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from hello_distill.artifact import Distilled
from hello_distill.data.images import ImageSet, Material
from hello_distill.encoders.encoder import Encoder
from hello_distill.projector import ProjectorSpec
from hello_distill.stages import Stages
from hello_distill.system.errors import InputError
from hello_distill.system.registry import Registry
from hello_distill.teachers import TeacherSpec, network, teacher_bytes, weights_bytes


@dataclass(frozen=True)
class Distiller:
    """A method: training images in, distilled images and their label source out.

    Derive a frozen dataclass, whose fields are the method's settings, and register it. The defaults are those of a
    method that makes images from noise and lets the teacher label them.
    """

    name: ClassVar[str]
    """Set by `register`."""
    labels: ClassVar[str] = "teacher"
    """Kind of the labels that it makes."""

    def __call__(self, material: Material, stages: Stages, ipc: int, seed: int) -> Distilled:
        """`ipc` distilled images of each class and their labels. Everything random depends on the seed.

        Raises InputError, before anything is trained, for settings and images that do not suit each other.
        """
        raise NotImplementedError

    @property
    def projector_spec(self) -> ProjectorSpec | None:
        """The encoder that the method relies on and how it is fitted; None where it relies on none."""
        return None

    def with_projector(self, projector: ProjectorSpec) -> Distiller:
        """The same method with another encoder, or one fitted in another way. Raises InputError where it has none."""
        raise InputError(f"the method {self.name} has no encoder; leave --encoder out")

    def with_label_bytes(self, limit: int) -> Distiller:
        """The same method with a budget in bytes for its labels. Raises InputError where it has no way to keep one."""
        raise InputError(f"--label-bytes sizes a projector, and the method {self.name} has none")

    def images_needed(self, ipc: int) -> int:
        """Training images that `ipc` distilled images need of each class."""
        return 1

    def shipped_bytes(self, data: ImageSet, teachers: TeacherSpec, encoder: Encoder | None) -> int:
        """About what its labels will take on disk; `encoder` is its public one, loaded."""
        return teacher_bytes(teachers, data)


def classifier_bytes(name: str, data: ImageSet) -> int:
    """Bytes that a network for such images takes in an artefact."""
    return weights_bytes(network(name, len(data.classes), data.side))


METHODS = Registry(Distiller, "hello_distill.distillers", "method")
register = METHODS.register
"""Makes a method known by its name, as a decorator: `@register("mine")`."""
