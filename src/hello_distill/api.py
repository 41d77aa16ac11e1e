"""From images to an artefact, and from an artefact to students: what the commands call."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from hello_distill import artifact as artifacts
from hello_distill import encoders
from hello_distill.artifact import Artifact
from hello_distill.data.folders import HELD_OUT
from hello_distill.data.images import ImageSet, Material, hold_out
from hello_distill.data.licence import UNKNOWN, Origin, source_of
from hello_distill.data.manner import manner, repeated
from hello_distill.data.order import check_classes_match, check_order, other_names
from hello_distill.data.skipped import Skipped, check_file
from hello_distill.data.sources import open_training, read_test_split
from hello_distill.distillers.base import Distiller
from hello_distill.distillers.recipe import Recipe, check_settings
from hello_distill.distillers.short_classes import Rule, ShortClasses, check_classes
from hello_distill.encoders.encoder import Encoder
from hello_distill.format import pulled, storage, verification
from hello_distill.format.manifest import LEAST_RUNS, check_seeds
from hello_distill.format.results import Training
from hello_distill.format.results.entries import Summary
from hello_distill.labels.sources.static import static
from hello_distill.stages import Stages
from hello_distill.stages.kept import fingerprint, kept_for
from hello_distill.student import students_of, tested
from hello_distill.system import context, distributed
from hello_distill.system.claims import claimed
from hello_distill.system.errors import ArtifactError, InputError, MachineError
from hello_distill.system.machine import device, environment
from hello_distill.system.room import check_room
from hello_distill.teachers import check_network, check_teachers
from hello_distill.training.expectation import verdict
from hello_distill.training.networks import check_name
from hello_distill.training.scores import percent
from hello_distill.types import LabelSource


def distill(
    data: str,
    out: str | Path,
    recipe: Recipe,
    stages: str | Path | None = None,
    skipped: str | Path | None = None,
    short_class: Rule = "error",
) -> Path:
    """Distil the training images of `data` (see `hello_distill.data.images`) into an artefact at `out`.

    What takes long is cached in the folder `stages` for later runs; without one in `.NAME.stages` beside `out`, which
    goes when the artefact is there. A run that was stopped goes on from it. Images that cannot be read are left out, up
    to the share `Context.max_bad`, and listed in `skipped`. `short_class`: classes with too few (see `short_classes`).

    Everything that can be wrong with the call is looked at before anything is trained. Raises InputError and
    MachineError; then nothing is left at `out`, which belongs to this run from its start.
    """
    with claimed(out):
        encoder = check(recipe)
        material, left_out, source = training_images(data, recipe, skipped, short_class)
        check_room(Path(out), expected_bytes(material.train, recipe, encoder), rough=True)
        figures = {"skipped_images": left_out.reasons()} if left_out.bad else {}
        with kept_for(out, stages) as folder:
            store = stages_of(material, recipe, folder)
            return distill_material(material, recipe, recipe.distiller, out, store, source, short_class, figures)


def check(recipe: Recipe) -> Encoder | None:
    """Raise what can be raised without looking at the data: names, weights. Gives the encoder of a method with one."""
    if recipe.ipc < 1:
        raise InputError(f"--ipc is {recipe.ipc}; a class needs at least one image")
    check_seeds([recipe.seed], "--seed")
    check_settings(recipe)
    check_teachers(recipe.teachers, recipe.distiller.labels)
    check_name(recipe.student.network)
    projector = recipe.distiller.projector_spec
    return encoders.load(projector.encoder, projector.size) if projector else None


def expected_bytes(data: ImageSet, recipe: Recipe, encoder: Encoder | None) -> int:
    """Bytes of the artefact to come, roughly: its images may compress better or worse than those of the data."""
    some = data.images[torch.linspace(0, len(data) - 1, min(20, len(data))).long()]
    sizes = [len(recipe.codec.encode(Image.fromarray(image))) for image in some.permute(0, 2, 3, 1).cpu().numpy()]
    images = round(recipe.ipc * len(data.classes) * statistics.fmean(sizes))
    return images + recipe.distiller.shipped_bytes(data, recipe.teachers, encoder) + artifacts.text_bytes(data.classes)


def prepare(data: str, recipe: Recipe) -> Material:
    """Open, check, decode and divide the training images; see `distill`."""
    return training_images(data, recipe)[0]


def training_images(
    data: str,
    recipe: Recipe,
    skipped: str | Path | None = None,
    short_class: Rule = "error",
) -> tuple[Material, Skipped, Origin]:
    """The training images in two parts, what was left out of them, and where they come from; see `distill`."""
    if skipped is not None:
        check_file(skipped)
    with context.stage("data") as stage:
        train = open_training(data)
        check_classes(data, train.counts(), recipe, short_class)
        side = recipe.side_for(train.native_side())
        images, left_out = train.limited(recipe.train_limit, recipe.seed).read(side, recipe.square)
        if skipped is not None and distributed.first():
            left_out.write(skipped)
        left_out.check(context.current().max_bad)
        if left_out.bad:
            check_classes(data, images.counts(), replace(recipe, train_limit=None), short_class)
        material = hold_out(images, recipe.held_share, recipe.held_limit, recipe.seed)
        counts = f"{len(material.train)} + {len(material.held)} held-out training images of {side} pixels"
        remarks = [left_out.summary(), *train.remarks(recipe.square, bool(recipe.distiller.projector_spec))]
        stage.figure = "; ".join([f"{counts}, {len(train.classes)} classes", *train.notes, *filter(None, remarks)])
    source = source_of(data)._replace(reading=manner(train))
    return Material(material.train.to(device()), material.held.to(device())), left_out, source


def stages_of(material: Material, recipe: Recipe, folder: Path | None = None) -> Stages:
    """Teachers and projectors of a recipe for these images; kept in `folder`, where one is given."""
    return Stages(material, recipe.teachers, recipe.seed, folder, augment=recipe.student.augment, codec=recipe.codec)


def distill_material(
    material: Material,
    recipe: Recipe,
    distiller: Distiller,
    out: str | Path,
    store: Stages | None = None,
    source: Origin = UNKNOWN,
    short_class: Rule = "error",
    figures: Mapping[str, Any] | None = None,
) -> Path:
    """Run a distiller and write its artefact, with these figures beside the method's own.

    `store` are the stages of `stages_of` where others ask them, too; None: new ones, which are kept in memory alone.
    """
    store = stages_of(material, recipe) if store is None else store
    short = ShortClasses.of(material.train, distiller, recipe.ipc, short_class)  # teachers see no repeated image
    distilled = short.cut(distiller(short.repeated(material), store, recipe.ipc, recipe.seed))
    distilled = distilled._replace(figures={**distilled.figures, **(figures or {})}, teachers=store.brought())
    distributed.barrier()  # all have read what the first removes once the artefact is there: `kept_for`
    if not distributed.first():
        return Path(out)
    settings = replace(recipe, distiller=distiller).settings()
    student = recipe.student_for(len(distilled.data))
    return artifacts.save(distilled, recipe.ipc, student, recipe.codec, settings, out, source)


def train(
    folder: str | Path,
    data: str,
    student: str | None = None,
    labels: str | None = None,
    seeds: Sequence[int] = (0, 1, 2),
    test: str | None = None,
    ipc: int | None = None,
) -> dict[str, Any]:
    """Train students from a saved artefact and test them on the test split of `data`; see `hello-distill train`.

    `test` names another split, a folder of class folders, or `held-out`: see `evaluation_images`.

    `labels` is the kind that the artefact keeps (None takes it), or `hard`; `ipc` asks for the first images of each
    class alone (`artifact.first_images`). Accuracies are percent. Test images that cannot be read are left out, up to
    the share `Context.max_bad`. Raises InputError, ArtifactError and MachineError before any training.
    """
    check_seeds(seeds)
    artifact = opened(folder := pulled.local(folder), student, labels, ipc)
    images, described = evaluation_images(folder, data, artifact, test)
    scores = students_of(artifact, images, seeds)
    return Training(
        student=artifact.student.network,
        labels=artifact.labels.kind,
        seeds=list(seeds),
        epochs=artifact.student.optim.epochs,
        tested_epochs=artifact.student.tested_epochs(),
        test_images=len(images),
        top1_last=Summary.of([score.last for score in scores]),
        top1_best=Summary.of([score.best for score in scores]),
        tested={str(score.seed): tested(score) for score in scores},
        data=data,
        **({"test": described} if test else {}),
        training=dataclasses.asdict(artifact.student),
        environment=environment(),
    ).content()


def reproduce(
    folder: str | Path,
    data: str,
    seeds: Sequence[int] | None = None,
    test: str | None = None,
) -> dict[str, Any]:
    """Train students as the artefact records it, and say whether they reach what it states; `hello-distill evaluate`.

    `seeds` are those that it states unless given. Test images that cannot be read are left out, up to the share
    `Context.max_bad`. Raises InputError where it states nothing, or was measured on other test images.
    """
    check_seeds(seeds or ())
    artifact = artifacts.load(folder := pulled.local(folder))
    expected = artifact.manifest["expected"]
    if expected is None:
        raise InputError(
            f"{folder} states no accuracy to expect; `hello-distill evaluate {folder} --data {data} --record OUT` "
            "measures it and writes an artefact that does"
        )
    images, _ = evaluation_images(folder, data, artifact, test)
    if fingerprint(images) != expected["test_sha256"]:
        raise InputError(
            f"the {len(images)} test images of {data} are not the {expected['test_images']} on which the stated "
            "accuracy was measured; give the same data, and the same --test"
        )
    scores = students_of(artifact, images, expected["seeds"] if seeds is None else seeds)
    result = verdict(expected, [score.last for score in scores])
    return {**result, "expected": expected, "student": artifact.student.network, "environment": environment()}


def record(
    folder: str | Path,
    data: str,
    out: str | Path,
    seeds: Sequence[int] = (0, 1, 2),
    test: str | None = None,
) -> Path:
    """Train students as the artefact records it, and write it again at `out` with the accuracy that they reach.

    Test images that cannot be read are left out, up to the share `Context.max_bad`.
    Raises InputError for fewer than three seeds: an expectation needs a spread.
    """
    with claimed(out):
        check_seeds(seeds)
        if len(seeds) < LEAST_RUNS:
            raise InputError(f"an accuracy to expect needs at least {LEAST_RUNS} seeds, not {len(seeds)}")
        artifact = artifacts.load(folder := pulled.local(folder))
        images, _ = evaluation_images(folder, data, artifact, test)
        scores = students_of(artifact, images, seeds)
        expected = {
            "seeds": list(seeds),
            "top1_last": Summary.of([score.last for score in scores]).content(),
            "top1_best": Summary.of([score.best for score in scores]).content(),
            "test_images": len(images),
            "test_sha256": fingerprint(images),
            "environment": environment(),
        }
        return artifacts.save_measured(folder, expected, out)


def verify(
    folder: str | Path,
    data: str | None = None,
    teacher: str | Path | None = None,
    test: str | None = None,
) -> dict[str, Any]:
    """Look at everything in an artefact that can be looked at; see `hello-distill verify`.

    `data` are labelled images, of which the share `Context.max_bad` may be unreadable, `teacher` is another artefact
    with a teacher or a projector: the order of classes is compared with theirs. Raises InputError where there is no
    artefact, ArtifactError for the first thing that is wrong. What this machine cannot check stands in `not_checked`.
    """
    manifest = verification.check_files(folder := pulled.local(folder))
    checks = [
        f"{len(manifest['files']) + 2} files of the listed sizes and SHA-256, none beside them",
        f"{manifest['images']['count']} images of {manifest['images']['side']} pixels in {len(manifest['classes'])} "
        "classes, each decoded",
    ]
    try:
        artifact, missing = artifacts.load(folder), []
        checks.append(f"{artifact.labels.kind} labels of the shapes that the manifest describes, all numbers finite")
    except MachineError as error:
        artifact, missing = artifacts.load(folder, "hard"), [f"labels: {error}"]
    if data is not None:
        checks += _order(artifact.labels, evaluation_images(folder, data, artifact, test)[0], f"the labels of {folder}")
    if teacher is not None:
        given = artifacts.load(teacher)
        if other := other_names(given.classes, artifact.classes):
            raise ArtifactError(f"{teacher} has other classes than {folder}: {other}")
        checks += _order(given.labels, artifact.data, f"the labels of {teacher}")
    return {"artefact": str(folder), "checks": checks, "not_checked": missing}


def _order(source: LabelSource, images: ImageSet, what: str) -> list[str]:
    """What was found out of the order of a source's classes. Raises ArtifactError where it is another."""
    if not source.online:
        return ["class names in the order of the images' (these labels cannot be asked for new images)"]
    logits = static(images, source).logits.float()
    check_order(logits, images, what)
    right = 100 * (logits.argmax(1) == images.targets.cpu()).double().mean().item()
    return [f"classes in the order of {what}, which are right for {percent(right)} of {len(images)} images"]


def opened(
    folder: str | Path, student: str | None = None, labels: str | None = None, ipc: int | None = None
) -> Artifact:
    """An artefact for training a student by name, with its own labels or none but classes, whole or in part."""
    if student is not None:
        check_network(student)
    kept = storage.read_manifest(folder)["labels"]["kind"]
    if labels not in (None, kept, "hard"):
        raise InputError(
            f"{folder} keeps {kept} labels, not {labels}; leave --labels out, give --labels hard, or make others "
            "with `hello-distill labels`"
        )
    artifact = artifacts.load(folder, "hard" if labels == "hard" else "kept")
    if ipc is not None:
        artifact = artifacts.first_images(artifact, ipc)
    return replace(artifact, student=replace(artifact.student, network=student or artifact.student.network))


def evaluation_images(
    folder: str | Path, data: str, artifact: Artifact, test: str | None = None
) -> tuple[ImageSet, str]:
    """The images that students of an artefact in `folder` are tested on, and which these are, in words.

    The images have the artefact's size and are read as its own were (`manner`); what cannot be read is left out.

    `test` None takes the test split of `data`; a name another split, a path a folder of class folders; `held-out` the
    share of the training images that the distillation held out: never fitted on nor made images of, and drawn with the
    recipe's seed, so that the same data give the same images.

    Raises InputError for none, for other classes, and where more than the share `Context.max_bad` cannot be read.
    """
    with repeated(artifact.manifest, data):
        if test == HELD_OUT:
            return _held_out(folder, data, artifact)
        images = read_test_split(data, artifact.classes, artifact.data.side, test, storage.squared(folder))
        return images, f"of {test or 'the test split'}"


def _held_out(folder: str | Path, data: str, artifact: Artifact) -> tuple[ImageSet, str]:
    """The training images of `data` that the distillation held out; see `evaluation_images`."""
    recipe = Recipe(ipc=1).with_changes(storage.drawn(folder))
    with context.stage("test data") as stage:
        held = prepare(data, recipe).held
        if not len(held):
            why = ": it held no images out; name a test split"
            if recipe.held_share and recipe.held_limit:
                why = f", and no class of {data} has enough images for that; give what it was distilled from"
            raise InputError(f"the artefact was distilled with `held_share` {recipe.held_share:g}{why}")
        check_classes_match(data, held.classes, artifact.classes)
        if held.side != artifact.data.side:
            raise InputError(
                f"{data} gives images of {held.side} pixels, and the artefact has {artifact.data.side}; "
                "give the data that it was distilled from"
            )
        described = (
            f"of the training split that the distillation held out (share {recipe.held_share:g}, at most "
            f"{recipe.held_limit}, seed {recipe.seed})"
        )
        stage.figure = f"{len(held)} images {described}"
    return held, described
