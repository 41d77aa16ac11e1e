"""What the stages of a run give, and how long a fit lasted in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from torch import nn

from hello_distill.data.images import Material
from hello_distill.encoders.encoder import Encoder
from hello_distill.projector import Adapter, Projector, ProjectorSpec
from hello_distill.system import context
from hello_distill.teachers import Teachers, TeacherSpec
from hello_distill.training.rounds import described
from hello_distill.training.scores import in_precision, top1


class Fitted(NamedTuple):
    """A projector's start and what fitting made of it."""

    encoder: Encoder
    start: Projector
    """Zero-shot, at the logit scale that was fitted with."""
    adapter: Adapter
    """In float32."""
    figures: dict[str, Any]
    origin: tuple[str, ...] = ()
    """Hashes of what it was fitted on and went on from, where that is not all training images and nothing."""


class Probed(NamedTuple):
    """An encoder with a whole linear head of its own, and what was measured of it."""

    model: nn.Module
    figures: dict[str, Any]


def alone(spec: ProjectorSpec) -> ProjectorSpec:
    """What Eq. 5 depends on: neither how the matrices are stored nor what comes after it."""
    return replace(spec, precision="float32", queries=None)


def length(spec: ProjectorSpec, count: int, errors: Sequence[float]) -> str:
    """How long a fit on so many images lasted and, where it has rounds, why it ended, in words."""
    ended = f", {described(errors, spec.gain)}" if errors else ""
    return f"{steps_taken(spec, count, errors):,} steps{ended}"


def steps_taken(spec: ProjectorSpec, count: int, errors: Sequence[float]) -> int:
    """Of a fit on so many images; `errors` are those of its start and its rounds, where it has some."""
    optim, batches = spec.optim.for_steps(spec.steps, count)
    return optim.epochs * batches * max(len(errors) - 1, 1)


def log_held_out(what: str, accuracies: Mapping[int, float | None]) -> None:
    """Accuracies on held-out training images, in percent, by the training's steps, as a curve of its own."""
    curves = context.current().log.begin(f"{what}, held-out images")
    for step, accuracy in accuracies.items():
        if accuracy is not None:
            curves.add_scalar("top1", accuracy, step)


def log_checkpoints(spec: TeacherSpec, teachers: Teachers, material: Material) -> None:
    """How accurate each weak teacher is on held-out images: measured for the run's curves alone."""
    if context.current().log.folder is not None and not spec.sources:
        batches = spec.batches(len(material.train))
        members = zip(spec.weak_epochs, teachers.ensemble.members, strict=True)
        log_held_out(
            "teachers",
            {epoch * batches: top1(in_precision(member, spec.precision), material.held) for epoch, member in members},
        )
