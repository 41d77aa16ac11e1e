"""What changes the result of a distillation, and nothing that does not."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, get_type_hints

import jsonargparse

from hello_distill import distillers
from hello_distill.distillers.base import Distiller
from hello_distill.distillers.hello import HeLlO
from hello_distill.format import specs
from hello_distill.format.fields import LARGEST_FEW, LARGEST_SIDE, Square
from hello_distill.format.sizes import num_batches
from hello_distill.format.specs import Codec, StudentSpec
from hello_distill.projector import ProjectorSpec
from hello_distill.system.errors import InputError
from hello_distill.system.settings import mistake
from hello_distill.teachers import TeacherSpec, recorded

BRING = "a teacher that is trained already is given by `teachers.sources: [SOURCE]`, or by --teacher SOURCE"
WORDS = ("checkpoint", "ckpt", "own", "path", "pretrained", "source", "teacher", "weights")
MEANT = {
    **{f"teachers.{word}": BRING for word in WORDS},
    **{word: BRING for word in ("teacher", "sources", "teacher_path", "teacher_weights", "teacher_checkpoint")},
}
"""What wrong keys mean that others know such settings by."""


@dataclass(frozen=True)
class Recipe:
    """Everything that changes the result of a distillation, and nothing that does not."""

    ipc: int = 10
    """Images per class."""
    seed: int = 0
    max_side: int = 224
    """Images are brought to squares of this many pixels, or of their own size where that is smaller."""
    size: int | None = field(default=None, repr=False)
    """Images are brought to squares of this many pixels, also where their own size is smaller; None: see `max_side`."""
    square: Square = field(default="crop", repr=False)
    """How an image is brought to a square. Whatever it is, what is made of the images is named by their pixels."""
    train_limit: int | None = None
    """At most so many training images are used, the same share of each class; None uses all."""
    held_share: float = 0.1
    """Share of each class's training images held out for the figures that a run prints."""
    held_limit: int = 2000
    """At most so many are held out."""
    teachers: TeacherSpec = field(default_factory=TeacherSpec)
    distiller: Distiller = field(default_factory=HeLlO)
    """The method and its settings."""
    student: StudentSpec = field(default_factory=StudentSpec)
    student_steps: int | None = None
    """Length of the student's training in optimiser steps, whatever the number of images; the artefact records it in
    epochs. None: `student.optim.epochs` is its length."""
    codec: Codec = field(default_factory=Codec)

    def student_for(self, images: int) -> StudentSpec:
        """The student's training on so many distilled images, its length in epochs."""
        batches = num_batches(images, self.student.optim.batch_size)
        return replace(self.student, optim=self.student.optim.lasting(self.student_steps, batches))

    def with_encoder(self, name: str) -> Recipe:
        """The same recipe for another encoder, at the size that encoder was made for.

        Raises InputError for a method that has none.
        """
        projector = self.distiller.projector_spec or ProjectorSpec()
        if name == projector.encoder and self.distiller.projector_spec:
            return self
        return replace(self, distiller=self.distiller.with_projector(replace(projector, encoder=name, size=None)))

    def with_own_teachers(self, sources: Sequence[str]) -> Recipe:
        """The same recipe with teachers that were trained elsewhere, in the place of those that it would train."""
        return replace(self, teachers=replace(self.teachers, sources=tuple(sources)))

    def with_label_bytes(self, limit: int) -> Recipe:
        """The same recipe with a byte budget for its labels. Raises InputError for a method that can keep none."""
        return replace(self, distiller=self.distiller.with_label_bytes(limit))

    def settings(self) -> dict[str, Any]:
        """The recipe as nested dictionaries, fit for `with_changes`.

        `size` and `square` are left out at their first values: recipes from before do not have them.
        """
        fields = dataclasses.asdict(self)
        for name in ("size", "square"):
            if fields[name] == getattr(Recipe, name):
                del fields[name]
        return {"method": self.distiller.name, **fields, "teachers": recorded(self.teachers)}

    def side_for(self, native: int) -> int:
        """Side of the squares that images of this size are brought to, in pixels.

        Raises InputError where that is none, or one that no artefact can have.
        """
        name, side = ("max_side", min(self.max_side, native)) if self.size is None else ("size", self.size)
        if not 1 <= side <= LARGEST_SIDE:
            raise InputError(f"config: {name} must be between 1 and {LARGEST_SIDE} for these images, not {side}")
        return side

    def with_changes(self, changes: dict[str, Any]) -> Recipe:
        """The same recipe with some fields changed, given as nested dictionaries (a --config file).

        `method` names another method, which then starts from its defaults. Raises InputError, naming the field,
        for one that does not exist or has the wrong type. Epochs of a training count in the place of the recipe's
        steps, unless steps are given, too.
        """
        changes = _in_epochs(changes)
        if (name := changes.pop("method", self.distiller.name)) != self.distiller.name:
            return replace(self, distiller=distillers.method(str(name))()).with_changes(changes)
        kinds = {**get_type_hints(Recipe), "distiller": type(self.distiller)}
        parser = jsonargparse.ArgumentParser(exit_on_error=False)
        for name, kind in kinds.items():
            parser.add_argument(f"--{name}", type=kind)
        try:
            parsed = parser.parse_object(_merged(dataclasses.asdict(self), changes))
        except jsonargparse.ArgumentError as error:
            raise InputError(f"config: {mistake(changes, kinds, MEANT) or ' '.join(str(error).split())}") from None
        return Recipe(**vars(parser.instantiate(parsed)))


LENGTHS = {
    ("student", "optim", "epochs"): ("student_steps",),
    ("teachers", "optim", "epochs"): ("teachers", "steps"),
    ("distiller", "projector", "optim", "epochs"): ("distiller", "projector", "steps"),
}
"""Fields that say the length of a training in epochs, and those that say it in steps, which count where both do."""


def _in_epochs(changes: dict[str, Any]) -> dict[str, Any]:
    """Changes that say a length in epochs alone, with no steps in their place."""
    for epochs, steps in LENGTHS.items():
        if _given(changes, epochs) and not _given(changes, steps):
            nothing: dict[str, Any] | None = None
            for name in reversed(steps):
                nothing = {name: nothing}
            changes = _merged(changes, nothing or {})
    return dict(changes)


def _given(changes: Any, path: Sequence[str]) -> bool:
    """Whether nested dictionaries have a field."""
    for name in path:
        if not isinstance(changes, dict) or name not in changes:
            return False
        changes = changes[name]
    return True


def _merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """`base` with `changes` laid over it, level by level."""
    both = {
        key: _merged(base[key], value) if isinstance(base.get(key), dict) and isinstance(value, dict) else value
        for key, value in changes.items()
    }
    return {**base, **both}


def check_settings(recipe: Recipe) -> None:
    """Raise InputError, naming the field, where a recipe asks for what no artefact can state."""
    for name in ("student", "codec", "teachers", "distiller"):
        specs.check(name, getattr(recipe, name))
    if recipe.student_steps is not None:
        check_steps(recipe.student_steps, "config: student_steps")


def check_steps(steps: int, name: str) -> None:
    """Raise InputError, by the setting's name, for a training's length that no artefact can state."""
    if not 1 <= steps <= LARGEST_FEW:
        raise InputError(f"{name} is {steps}; a training has 1 to {LARGEST_FEW} steps")
