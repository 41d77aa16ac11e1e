"""What `bench` measures: each stage of ours beside the plain one, on the same images with the same networks."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from hello_distill import api, encoders
from hello_distill.data.images import ImageSet, Material
from hello_distill.data.mapped import in_memory
from hello_distill.data.sources import open_training
from hello_distill.distillers.rded import RDED, Patches
from hello_distill.distillers.recipe import Recipe
from hello_distill.distillers.recover import Jitter
from hello_distill.distillers.sre2l import SRe2L
from hello_distill.encoders.padding import as_in_timm
from hello_distill.experiments.benchmarks import plain
from hello_distill.format.specs import Augment, Optim, StudentSpec
from hello_distill.labels.sources.projector import ProjectorLabels, describe
from hello_distill.projector import ProjectorSpec, fit_projector, untrained, with_adapter, zero_shot
from hello_distill.stages import Stages
from hello_distill.student import train_student
from hello_distill.teachers import Ensemble, TeacherSpec, train_teachers
from hello_distill.training.networks import build
from hello_distill.training.training_set import TrainingSet
from hello_distill.views import crops, sample_boxes, sample_views, whole

CLASSES = 4
NAMES = ("cat", "chair", "lake", "lorry")
SIDE, BATCH = 64, 32
CROPS, FACTOR, IPC = 5, 2, 5
SCALE = (0.25, 1.0)
Work = Callable[[], object]


@dataclass(frozen=True)
class Pair:
    """A stage, ours and the plain one."""

    name: str
    ours: Work
    plain: Work
    items: int
    unit: str
    """Of what there are so many `items` in a call."""
    target: float
    """How many times as fast ours should be."""


def write_photographs(folder: Path, number: int, side: int) -> list[list[Path]]:
    """JPEG files of smooth random pictures a quarter wider than high, in class folders, for `number` of each class."""
    rng = np.random.default_rng(side)
    files = []
    for name in NAMES:
        (folder / "train" / name).mkdir(parents=True)
        small = rng.integers(0, 256, (number, 12, 15, 3)).astype(np.uint8)
        files.append([folder / "train" / name / f"{each:04d}.jpg" for each in range(number)])
        for file, pixels in zip(files[-1], small, strict=True):
            picture = Image.fromarray(pixels).resize((side * 5 // 4, side), Image.Resampling.BICUBIC)
            picture.save(file, quality=90)
    return files


def stages(folder: Path) -> Iterator[Pair]:
    """The pairs, one after another, each with its own data in `folder`."""
    for side, number in ((96, 64), (224, 24)):
        yield from _images(folder, side, number)
    yield _large(folder)
    data = _drawn(256)
    yield _teacher(data)
    yield from _projector(data)
    yield _recovery(data)
    yield _distill(folder)


def _drawn(number: int) -> ImageSet:
    generator = torch.Generator().manual_seed(0)
    small = torch.rand(number, 3, 8, 8, generator=generator)
    pixels = torch.nn.functional.interpolate(small, (SIDE, SIDE), mode="bilinear").mul(255).to(torch.uint8)
    return ImageSet(pixels, torch.arange(number) % CLASSES, NAMES)


def _images(folder: Path, side: int, number: int) -> Iterator[Pair]:
    """Decoding and cropping, then choosing patches from the files to the mosaics."""
    source = folder / f"photographs-{side}"
    files = write_photographs(source, number, side)
    network = build("resnet18", CLASSES, side, seed=0).eval()
    spec = Patches(FACTOR, CROPS, number, scale=SCALE)

    def read() -> ImageSet:
        return open_training(str(source)).read(side, "crop")[0]

    def cut() -> object:
        data, rng = read(), np.random.default_rng(0)
        rows = torch.arange(len(data)).repeat_interleave(CROPS)
        boxes = torch.from_numpy(sample_boxes(rng, len(rows), side, SCALE, (1.0, 1.0)))
        return [
            crops(in_memory(data.images), places, part, side // FACTOR)
            for places, part in zip(rows.split(500), boxes.split(500), strict=True)
        ]

    def cut_plainly() -> object:
        every = [file for some in files for file in some]
        return list(plain.crops(plain.decoded(every), CROPS, side // FACTOR, SCALE))

    count = CLASSES * number
    yield Pair(f"decode and crop, {side} px", cut, cut_plainly, count, "images", 1.0)

    def choose(chosen: Patches) -> object:
        return chosen(read(), network, IPC, 0)

    for what, chosen in (("choose padded patches", spec), ("choose patches", replace(spec, padded=False))):
        yield Pair(
            f"{what}, {side} px",
            partial(choose, chosen),
            lambda: plain.patches(files, network, IPC, FACTOR, CROPS, side),
            count,
            "images",
            4.0,
        )


def _large(folder: Path) -> Pair:
    """Photographs of about 500 pixels, of which 64 are kept."""
    source, number = folder / "photographs-large", 24
    files = [file for some in write_photographs(source, number, 448) for file in some]

    def read_plainly() -> object:
        return list(plain.resized(plain.decoded(files), SIDE))

    ours = partial(open_training(str(source)).read, SIDE, "crop")
    return Pair("decode 448 px to 64", ours, read_plainly, CLASSES * number, "images", 1.0)


def _teacher(data: ImageSet) -> Pair:
    optim = Optim(epochs=1, batch_size=BATCH, lr=1e-3)
    spec = TeacherSpec("resnet18", (1,), Augment(scale=SCALE, mix="none"), optim)
    return Pair(
        "train a teacher",
        lambda: train_teachers(data, spec, seed=0),
        lambda: plain.teacher_epoch(
            build("resnet18", CLASSES, SIDE, seed=0), in_memory(data.images), data.targets, BATCH
        ),
        len(data) // BATCH,
        "steps",
        1.0,
    )


def _projector(data: ImageSet) -> Iterator[Pair]:
    """A step of Eq. 5, labelling, and a student's epoch with the labels."""
    weak = [build("resnet18", CLASSES, SIDE, seed).eval().requires_grad_(False) for seed in range(3)]
    optim = Optim(epochs=1, batch_size=BATCH, lr=1e-3)
    skip = r"conv_stem|blocks\.[01]\."
    spec = ProjectorSpec("lite", 96, skip=skip, scale=10.0, augment=Augment(scale=(0.5, 1.0)), optim=optim)
    encoder = encoders.load(spec.encoder, spec.size)
    start = zero_shot(encoder, data.classes, spec)
    first = untrained(start, encoder, data, weak[0], spec, seed=0)
    lora = as_in_timm(with_adapter(start, first))
    few = data.rows(torch.arange(128))
    pixels = in_memory(few.images)
    yield Pair(
        "fit the projector",
        lambda: fit_projector(start, encoder, few, Ensemble(weak), spec, 0, first),
        lambda: plain.projector_epoch(as_in_timm(with_adapter(start, first)), weak, pixels, few.targets, BATCH),
        len(few) // BATCH,
        "steps",
        1.0,
    )
    labels, images = ProjectorLabels(start, first, describe(encoder), spec.templates), whole(pixels)
    view = next(iter(sample_views(len(few), SIDE, len(few), Augment(), seed=0, epoch=0)))

    def labelled_plainly() -> object:
        with torch.no_grad():
            return lora(images)

    yield Pair("label views", lambda: labels(images, view), labelled_plainly, len(few), "images", 1.5)
    student = StudentSpec("resnet18", augment=Augment(scale=SCALE), optim=replace(optim, batch_size=20), evaluations=1)
    training = TrainingSet(few, labels, student)
    yield Pair(
        "an epoch of a student",
        lambda: train_student(training, few.rows(torch.arange(1)), seed=0),
        lambda: plain.student_epoch(build("resnet18", CLASSES, SIDE, seed=0), weak[0], pixels, 20),
        len(few),
        "images",
        1.0,
    )


def _recovery(data: ImageSet) -> Pair:
    steps, spec = 50, TeacherSpec("resnet18", (1,), optim=Optim(epochs=1, batch_size=BATCH))
    method = SRe2L(steps=steps, jitter=Jitter(shift=0))
    few = data.rows(torch.arange(64))
    stages = Stages(Material(few, few.rows(torch.arange(0))), spec, seed=0)
    network = copy.deepcopy(stages.teachers().observer).eval().requires_grad_(False)
    targets = torch.arange(CLASSES)
    inner = network.backbone
    assert isinstance(inner, torch.nn.Module)
    return Pair(
        "recover images",
        lambda: method(Material(few, few.rows(torch.arange(0))), stages, 1, 0),
        lambda: plain.recovery(inner, targets, SIDE, steps),
        steps,
        "steps",
        1.0,
    )


def _distill(folder: Path) -> Pair:
    """From files to an artefact, by RDED: the plain way trains a teacher, chooses patches and saves JPEG files."""
    source, number = folder / "photographs", 64
    files = write_photographs(source, number, SIDE)
    optim = Optim(epochs=1, batch_size=BATCH, lr=1e-3)
    recipe = Recipe(
        ipc=IPC,
        max_side=SIDE,
        held_share=0.0,
        teachers=TeacherSpec("resnet18", (1,), Augment(scale=SCALE, mix="none"), optim),
        distiller=RDED(Patches(FACTOR, CROPS, number, scale=SCALE)),
    )

    def ours() -> None:
        shutil.rmtree(folder / "artefact", ignore_errors=True)
        api.distill(str(source), folder / "artefact", recipe)

    def plainly() -> None:
        network = build("resnet18", CLASSES, SIDE, seed=0)
        crop = torch.stack([image[:, :SIDE, :SIDE] for image in plain.decoded([f for some in files for f in some])])
        targets = torch.arange(CLASSES).repeat_interleave(number)
        plain.teacher_epoch(network, crop.mul(255).to(torch.uint8), targets, BATCH)
        made = torch.cat(plain.patches(files, network.eval(), IPC, FACTOR, CROPS, SIDE))
        for row, pixels in enumerate(made.permute(0, 2, 3, 1).numpy()):
            Image.fromarray(pixels).save(folder / f"{row}.jpg", quality=90)

    return Pair("distil from files to an artefact", ours, plainly, CLASSES * number, "images", 1.0)
