"""From images to an artefact, and from an artefact to students: what the commands call."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, get_type_hints

import jsonargparse
import torch
from PIL import Image

from hello_distill import artifact as artifacts
from hello_distill import distillers, encoders, storage
from hello_distill.artifact import Artifact, Codec, Distiller, StudentSpec
from hello_distill.data import ImageSet, Material, Split, hold_back, open_splits
from hello_distill.distillers.gvbsm import GVBSM
from hello_distill.distillers.hello import HeLlO
from hello_distill.distillers.random import RandomImages
from hello_distill.encoders import Encoder
from hello_distill.errors import InputError
from hello_distill.evaluate import evaluate, summary
from hello_distill.machine import device, environment
from hello_distill.models import check_name
from hello_distill.progress import SILENT, Progress
from hello_distill.projector import ProjectorSpec, lora_numbers
from hello_distill.publishing import Claim, check_room, claimed
from hello_distill.stages import Stages
from hello_distill.teachers import TeacherSpec, check_network, network, weights_bytes


@dataclass(frozen=True)
class Recipe:
    """Everything that changes the result of a distillation, and nothing that does not."""

    ipc: int = 10
    """Images per class."""
    seed: int = 0
    max_side: int = 224
    """Images are brought to squares of this many pixels, or of their own size where that is smaller."""
    train_limit: int | None = None
    """At most so many training images are used, the same share of each class; None uses all."""
    held_share: float = 0.1
    """Share of each class's training images held back for the figures that a run prints."""
    held_limit: int = 2000
    """At most so many are held back."""
    teachers: TeacherSpec = field(default_factory=TeacherSpec)
    distiller: Distiller = field(default_factory=HeLlO)
    """The method and its settings."""
    student: StudentSpec = field(default_factory=StudentSpec)
    codec: Codec = field(default_factory=Codec)

    @property
    def method(self) -> str:
        """Name of the distiller's method."""
        return distillers.name_of(self.distiller)

    @property
    def public_encoder(self) -> ProjectorSpec | None:
        """The encoder that the method relies on, if it does."""
        return self.distiller.projector if isinstance(self.distiller, HeLlO) else None

    def with_encoder(self, name: str) -> Recipe:
        """The same recipe for another encoder, at the size that encoder was made for.

        Raises InputError for a method that has none.
        """
        if not isinstance(self.distiller, HeLlO):
            raise InputError(f"the method {self.method} has no encoder; leave --encoder out")
        if name == self.distiller.projector.encoder:
            return self
        projector = replace(self.distiller.projector, encoder=name, size=None)
        return replace(self, distiller=replace(self.distiller, projector=projector))

    def with_label_bytes(self, limit: int) -> Recipe:
        """The same recipe with a byte budget for the projector, fitted at twice the ranks to be cut from.

        Where the head's rank is left to its rule, it stays: that rank is as high as pays. A recipe that has a budget
        already is fitted at high ranks, and takes the new budget as it is.

        Raises InputError for a method without a projector.
        """
        if not isinstance(self.distiller, HeLlO):
            raise InputError(f"--label-bytes sizes a projector, and the method {self.method} has none")
        projector = self.distiller.projector
        if self.distiller.label_bytes is None:
            projector = replace(
                projector,
                encoder_rank=2 * projector.encoder_rank,
                head_rank=projector.head_rank and 2 * projector.head_rank,
            )
        return replace(self, distiller=replace(self.distiller, projector=projector, label_bytes=limit))

    def settings(self) -> dict[str, Any]:
        """The recipe as nested dictionaries, fit for `with_changes`."""
        return {"method": self.method, **dataclasses.asdict(self)}

    def with_changes(self, changes: dict[str, Any]) -> Recipe:
        """The same recipe with some fields changed, given as nested dictionaries (a --config file).

        `method` names another method, which then starts from its defaults. Raises InputError, naming the field,
        for one that does not exist or has the wrong type.
        """
        changes = dict(changes)
        if (name := changes.pop("method", self.method)) != self.method:
            return replace(self, distiller=distillers.method(name)()).with_changes(changes)
        parser = jsonargparse.ArgumentParser(exit_on_error=False)
        for name, kind in get_type_hints(Recipe).items():
            parser.add_argument(f"--{name}", type=type(self.distiller) if name == "distiller" else kind)
        try:
            parsed = parser.parse_object(_merged(dataclasses.asdict(self), changes))
        except jsonargparse.ArgumentError as error:
            raise InputError(f"config: {' '.join(str(error).split())}") from None
        return Recipe(**vars(parser.instantiate(parsed)))


def _merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """`base` with `changes` laid over it, level by level."""
    both = {
        key: _merged(base[key], value) if isinstance(base.get(key), dict) and isinstance(value, dict) else value
        for key, value in changes.items()
    }
    return {**base, **both}


def distill(
    data: str,
    out: str | Path | Claim,
    recipe: Recipe,
    progress: Progress = SILENT,
    stages: str | Path | None = None,
) -> Path:
    """Distil the training images of `data` (see `hello_distill.data`) into an artefact at `out`.

    Teachers and projectors are kept in the folder `stages`, if one is given, and found there by later runs.
    Everything that can be wrong with the call is looked at before anything is trained. Raises InputError and
    MachineError; then nothing is left at `out`, which belongs to this run from its start.
    """
    if not isinstance(out, Claim):
        with claimed(out) as claim:
            return distill(data, claim, recipe, progress, stages)
    encoder = check(recipe)
    material = prepare(data, recipe, progress)
    check_room(out.target, forecast(material.train, recipe, encoder), rough=True)
    return distill_material(material, recipe, recipe.distiller, out, progress, stages)


def check(recipe: Recipe) -> Encoder | None:
    """Raise what can be raised without looking at the data: names, weights. Gives the encoder of a method with one."""
    if recipe.ipc < 1:
        raise InputError(f"--ipc is {recipe.ipc}; a class needs at least one image")
    check_network(recipe.teachers.network)
    check_name(recipe.student.network)
    if recipe.public_encoder is None:
        return None
    return encoders.load(recipe.public_encoder.encoder, recipe.public_encoder.size)


def forecast(data: ImageSet, recipe: Recipe, encoder: Encoder | None) -> int:
    """Bytes of the artefact to come, roughly: its images may compress better or worse than those of the data."""
    some = data.images[torch.linspace(0, len(data) - 1, min(20, len(data))).long()]
    sizes = [len(recipe.codec.encode(Image.fromarray(image))) for image in some.permute(0, 2, 3, 1).cpu().numpy()]
    images = round(recipe.ipc * len(data.classes) * statistics.fmean(sizes))
    return images + _label_bytes(data, recipe, encoder) + artifacts.TEXT


def _label_bytes(data: ImageSet, recipe: Recipe, encoder: Encoder | None) -> int:
    """Bytes of a projector, or of the classifiers that label."""
    distiller = recipe.distiller
    if isinstance(distiller, HeLlO) and encoder is not None:
        return distiller.label_bytes or 2 * lora_numbers(encoder, distiller.projector, len(data.classes))
    if isinstance(distiller, RandomImages):
        return 0
    names = distiller.networks if isinstance(distiller, GVBSM) else (recipe.teachers.network,)
    return sum(weights_bytes(network(name, len(data.classes), data.side)) for name in names)


def prepare(data: str, recipe: Recipe, progress: Progress = SILENT) -> Material:
    """Open, check, decode and divide the training images."""
    with progress.stage("data") as stage:
        train, test = open_splits(data)
        check_classes(train, recipe)
        side = min(recipe.max_side, train.native_side())
        images = train.limited(recipe.train_limit, recipe.seed).decode(side, progress)
        material = hold_back(images, recipe.held_share, recipe.held_limit, recipe.seed)
        stage.figure = (
            f"{len(material.train)} + {len(material.held)} held-back training images of {side} pixels, "
            f"{len(train.classes)} classes; {len(test.table)} test images stay untouched"
        )
    return Material(material.train.to(device()), material.held.to(device()))


def check_classes(train: Split, recipe: Recipe) -> None:
    """Raise InputError naming the classes that have fewer images than are asked for."""
    short = {name: count for name, count in train.counts().items() if count < recipe.ipc}
    if short:
        shown = ", ".join(f"{name} ({count})" for name, count in list(short.items())[:5])
        raise InputError(
            f"{train.source}: fewer than {recipe.ipc} training images in {shown}"
            f"{', ...' if len(short) > 5 else ''}; lower --ipc to {min(short.values())} or add images"
        )


def distill_material(
    material: Material,
    recipe: Recipe,
    distiller: Distiller,
    out: str | Path | Claim,
    progress: Progress = SILENT,
    stages: str | Path | None = None,
) -> Path:
    """Run a distiller and write its artefact."""
    kept = Stages(material, recipe.teachers, recipe.seed, progress, Path(stages) if stages is not None else None)
    distilled = distiller(material, kept, recipe.ipc, recipe.seed, progress)
    settings = replace(recipe, distiller=distiller).settings()
    return artifacts.save(distilled, recipe.ipc, recipe.student, recipe.codec, settings, out)


def train(
    folder: str | Path,
    data: str,
    student: str | None = None,
    labels: str | None = None,
    seeds: Sequence[int] = (0, 1, 2),
    progress: Progress = SILENT,
) -> dict[str, Any]:
    """Train students from a saved artefact and test them on the test split of `data`; see `hello-distill train`.

    `labels` is the kind that the artefact keeps (None takes it), or `hard`. Accuracies are percent. Raises
    InputError, ArtifactError and MachineError before any training.
    """
    artifact = opened(folder, student, labels)
    test = test_images(data, artifact, progress)
    scores = evaluate(artifact, test, seeds, progress)
    return {
        "student": artifact.student.network,
        "labels": artifact.labels.kind,
        "seeds": list(seeds),
        "epochs": artifact.student.optim.epochs,
        "tested_epochs": artifact.student.tested_epochs(),
        "test_images": len(test),
        "top1_last": summary([score.last for score in scores]),
        "top1_best": summary([score.best for score in scores]),
        "data": data,
        "training": dataclasses.asdict(artifact.student),
        "environment": environment(),
    }


def opened(folder: str | Path, student: str | None = None, labels: str | None = None) -> Artifact:
    """An artefact for training a student by name, with its own labels or none but classes."""
    if student is not None:
        check_name(student)
    kept = storage.read_manifest(folder)["labels"]["kind"]
    if labels not in (None, kept, "hard"):
        raise InputError(
            f"{folder} keeps {kept} labels, not {labels}; leave --labels out, give --labels hard, or make others "
            "with `hello-distill labels`"
        )
    artifact = artifacts.load(folder, "hard" if labels == "hard" else "kept")
    if student is None:
        return artifact
    return replace(artifact, student=replace(artifact.student, network=student))


def test_images(data: str, artifact: Artifact, progress: Progress = SILENT) -> ImageSet:
    """The test split of `data`, at the artefact's size. Raises InputError where its classes are others."""
    with progress.stage("test data") as stage:
        _, test = open_splits(data)
        if test.classes != artifact.classes:
            raise InputError(
                f"{data} has the classes {_shown(test.classes)}, the artefact {_shown(artifact.classes)}; "
                "give the data that it was distilled from"
            )
        decoded = test.decode(artifact.data.side, progress).to(device())
        stage.figure = f"{len(decoded)} images of {decoded.side} pixels"
    return decoded


def _shown(classes: Sequence[str]) -> str:
    return f"{', '.join(classes[:4])}{', ...' if len(classes) > 4 else ''} ({len(classes)})"
