"""What a distillation will take: `distill --dry-run` times a few batches of each stage and multiplies.

`distill --forecast` does the same first, and then distils.

Each stage is timed at two lengths, so that what it takes to begin does not count; what a step costs here is then
multiplied by the steps that the recipe asks for on so many images, classes and images per class.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch

from hello_distill import api, encoders
from hello_distill.data import reading
from hello_distill.data.images import ImageSet, Split
from hello_distill.data.mapped import in_memory
from hello_distill.data.sources import open_training
from hello_distill.distillers.hello import HeLlO
from hello_distill.distillers.rded import CUT, RDED, Patches
from hello_distill.distillers.recipe import Recipe
from hello_distill.distillers.short_classes import Rule, check_classes
from hello_distill.experiments import expected
from hello_distill.experiments.expected import Size
from hello_distill.format.sizes import num_batches
from hello_distill.labels.sources import budget
from hello_distill.labels.sources.projector import ProjectorLabels
from hello_distill.labels.sources.teacher import TeacherLabels
from hello_distill.projector import Adapter, Projector, fit_projector, restore, untrained, zero_shot
from hello_distill.queries import VIEWS, fit_queries
from hello_distill.student import train_student
from hello_distill.system import context
from hello_distill.system.errors import InputError
from hello_distill.system.machine import environment, peak_memory
from hello_distill.system.progress import Stopwatch
from hello_distill.teachers import Ensemble, train_teachers
from hello_distill.training.folding import without_norms
from hello_distill.training.scores import in_precision
from hello_distill.training.together import batches_at_once
from hello_distill.training.training_set import TrainingSet
from hello_distill.types import Classifier, LabelSource
from hello_distill.views import whole

FEW, MORE = 2, 6
"""Batches that a stage is timed on."""
SAMPLE, READ = 256, 1024
"""Images that stages are timed on, and that are read to time that."""


class Timed(NamedTuple):
    """A stage."""

    stage: str
    least: int
    """Steps, or what else it has, at least; rounds may be more."""
    most: int
    unit: str
    seconds: float
    """Of one."""
    memory: int
    """Most bytes that the process has held so far, on a few batches: freed memory stays with it."""


def _timed(stage: str, least: int, most: int, unit: str, seconds: float) -> Timed:
    """A stage that was timed just now."""
    return Timed(stage, least, most, unit, seconds, peak_memory())


def assumed(size: Size, words: list[str]) -> Size:
    """The size with numbers such as images=1281167. Raises InputError for others."""
    for word in words:
        name, _, number = word.partition("=")
        if name not in Size._fields or not number.isdigit() or int(number) < 1:
            raise InputError(f"--assume {word!r} is none of images=NUMBER, classes=NUMBER, ipc=NUMBER")
        size = size._replace(**{name: int(number)})
    return size


def forecast(data: str, recipe: Recipe, assume: list[str], short_class: Rule = "error") -> dict[str, Any]:
    """Seconds, memory, disk and label bytes of `distill` with this recipe; nothing is written.

    Raises what `distill` raises for the call, and InputError for methods other than hello and rded. Other numbers that
    are assumed are not held against the data.
    """
    if not isinstance(recipe.distiller, HeLlO | RDED):
        raise InputError(f"a forecast knows the stages of hello and rded, not of {recipe.distiller.name}")
    if recipe.teachers.sources:
        raise InputError("a forecast times teachers that are trained here; leave --teacher out")
    api.check(recipe)
    split = open_training(data)
    if not assume:
        check_classes(data, split.counts(), recipe, short_class)
    side = recipe.side_for(split.native_side())
    whole = sum(split.counts().values())
    used = min(recipe.train_limit or whole, whole)
    held = min(round(recipe.held_share * used), recipe.held_limit)
    size = assumed(Size(used - held, len(split.classes), recipe.ipc), assume)
    with context.stage("sample"):
        sample, decoding = _read(split, recipe, side)
    first = _timed("data", size.images, size.images, "images", decoding)
    *stages, student = _method(sample, recipe, size)
    timed, grown = [first, *stages], size.images * 3 * side**2
    return {
        "size": size._asdict(),
        "side": side,
        "stages": [each._asdict() for each in timed],
        "student": student._asdict(),
        "seconds": [sum(each.seconds * getattr(each, bound) for each in timed) for bound in ("least", "most")],
        "memory": {"decoded_images": grown, "decoded_in_memory": reading.fits(grown), "process": student.memory},
        "disk": expected.disk(sample, recipe, size),
        "labels": expected.label_bytes(sample, recipe, size),
        "environment": environment(),
    }


def beside_truth(said: dict[str, Any], run: Callable[[], Path]) -> tuple[Path, dict[str, Any]]:
    """Run a distillation; its artefact, and what `forecast` said of it beside what it took.

    `stages`: seconds of each, said at least and at most, and taken; `other` is what no forecast counts: tests, the
    views that rounds are judged by, and what lies between stages. A stage that was found from an earlier run takes
    nothing.
    """
    watch = Stopwatch(context.current().progress)
    start = time.monotonic()
    with context.changed(progress=watch):
        made = run()
    whole = time.monotonic() - start
    stages = [
        {
            "stage": each["stage"],
            "said": [each["seconds"] * each[bound] for bound in ("least", "most")],
            "took": watch.seconds[each["stage"]],
        }
        for each in said["stages"]
    ]
    other = whole - sum(stage["took"] for stage in stages)
    stages.append({"stage": "other", "said": [0.0, 0.0], "took": other})
    size = sum(file.stat().st_size for file in made.rglob("*") if file.is_file())
    artefact = {"said": said["disk"]["artefact"], "took": size}
    held = said["memory"]["process"] + said["memory"]["decoded_in_memory"] * said["memory"]["decoded_images"]
    memory = {"said": held, "took": peak_memory()}
    return made, {"stages": stages, "said": said["seconds"], "took": whole, "memory": memory, "artefact": artefact}


def _read(split: Split, recipe: Recipe, side: int) -> tuple[ImageSet, float]:
    """A sample of the images, and the seconds that one takes."""

    def read(count: int) -> ImageSet:
        images: ImageSet = split.limited(count, recipe.seed).read(side, recipe.square)[0]
        return images

    images = read(SAMPLE)
    return images, slope(read, len(images) // 4, min(READ, sum(split.counts().values())))


def slope(work: Callable[[int], object], few: int, more: int) -> float:
    """Seconds that one more takes; of all of them, where there are no more, or where one more costs less than the
    clock's noise: then what it takes to begin counts, and that is rather too much than nothing."""

    def timed(count: int) -> float:
        start = time.perf_counter()
        work(count)
        return time.perf_counter() - start

    first, last = timed(few), timed(more)
    return (last - first) / (more - few) if more > few and last > first else last / more


def _batches(sample: ImageSet, count: int, batch_size: int) -> ImageSet:
    """So many batches, of the sample's images again and again."""
    return sample.rows(torch.arange(count * batch_size) % len(sample))


def _method(sample: ImageSet, recipe: Recipe, size: Size) -> list[Timed]:
    """The stages of HeLlO, or those of RDED; the last is a student, which is trained afterwards."""
    spec = recipe.teachers.for_images(size.images)
    short = replace(spec, weak_epochs=(1,), optim=replace(spec.optim, epochs=1), steps=None)
    batch_size = spec.optim.batch_size

    with context.stage("a few steps of teachers") as stage:
        observer = train_teachers(_batches(sample, 1, batch_size), short, 0).observer
        seconds = slope(lambda n: train_teachers(_batches(sample, n, batch_size), short, 0), FEW, MORE)
        stage.figure = f"{seconds:.3g} s a step"
    steps = spec.optim.epochs * spec.batches(size.images)
    timed = [_timed("teachers", steps, steps, "steps", seconds)]
    method = recipe.distiller
    assert isinstance(method, HeLlO | RDED)
    timed.append(_patches(sample, method.patches, in_precision(observer, spec.precision), size))
    if isinstance(method, HeLlO):
        return timed + _projector(sample, method, recipe, observer, size)
    return [*timed, _student(sample, recipe, TeacherLabels([spec.network], [observer], sample.side), size)]


def _patches(sample: ImageSet, patches: Patches, observer: Classifier, size: Size) -> Timed:
    one = ImageSet(sample.images, torch.zeros_like(sample.targets), ("one class",))
    few, more = (max(patches.factor**2, count // patches.crops) for count in (CUT // 5, CUT))

    def choose(pool: int) -> object:
        return replace(patches, pool=min(pool, len(one)))(one, observer, 1, 0)

    with context.stage("a few patches") as stage:
        seconds = slope(choose, min(few, len(one)), min(more, len(one))) / patches.crops
        stage.figure = f"{seconds:.3g} s a crop"
    pool = min(max(patches.pool, size.ipc * patches.factor**2), size.images // size.classes)
    crops = size.classes * pool * patches.crops
    return _timed("patches", crops, crops, "crops", seconds)


def _projector(sample: ImageSet, method: HeLlO, recipe: Recipe, observer: Any, size: Size) -> list[Timed]:
    """Eq. 5, Eq. 7 and query fitting, faithfulness, and a student."""
    spec, distilled = method.projector, size.classes * size.ipc
    encoder = encoders.load(spec.encoder, spec.size)
    start = zero_shot(encoder, sample.classes, spec).to(sample.images.device)
    observer = without_norms(observer)
    weak = Ensemble([observer] * len(recipe.teachers.weak_epochs), spec.match)
    first = untrained(start, encoder, sample, weak, replace(spec, scale=1.0), 0)
    short = replace(spec, optim=replace(spec.optim, epochs=1), steps=None)
    batch_size = spec.optim.batch_size
    with context.stage("a few steps of the projector") as stage:
        seconds = slope(
            lambda n: fit_projector(start, encoder, _batches(sample, n, batch_size), weak, short, 0, first), FEW, MORE
        )
        stage.figure = f"{seconds:.3g} s a step"
    optim, batches = spec.optim.for_steps(spec.steps, size.images)
    steps = optim.epochs * batches
    timed = [_timed("projector", steps, steps * spec.rounds, "steps", seconds)]
    if method.update is not None:
        timed.append(_update(sample, method, restore(start, first), distilled))
    if spec.queries is not None:
        teacher = {"observer": observer, "ensemble": weak}[spec.queries.target]
        timed.append(_queries(sample, method, recipe, (start, first), teacher, distilled))
    forms = budget.as_fitted(first) if method.label_bytes is None else budget.halved(first)
    timed.append(_faithfulness(sample, restore(start, first), weak, len(forms)))
    return [*timed, _student(sample, recipe, ProjectorLabels(start, first, {}, ()), size)]


def _update(sample: ImageSet, method: HeLlO, projector: Projector, distilled: int) -> Timed:
    update, pixels = method.update, in_memory(sample.images)
    assert update is not None
    some = pixels[torch.arange(min(update.batch_size, distilled)) % len(pixels)]
    with context.stage("a few steps of the image update") as stage:
        seconds = slope(lambda n: replace(update, steps=n)(some, projector.encode, method.patches.factor), FEW, MORE)
        stage.figure = f"{seconds:.3g} s a step"
    steps = update.steps * num_batches(distilled, update.batch_size)
    return _timed("image update", steps, steps, "steps", seconds)


def _queries(
    sample: ImageSet, method: HeLlO, recipe: Recipe, projector: tuple[Projector, Adapter], teacher: Any, distilled: int
) -> Timed:
    queries = method.projector.queries
    assert queries is not None
    some = sample.rows(torch.arange(min(distilled, 2 * queries.batch_size)) % len(sample))
    per_epoch = num_batches(len(some), queries.batch_size)

    def fit(steps: int) -> object:
        short = replace(queries, steps=steps, rounds=1)
        return fit_queries(*projector, some, teacher, short, recipe.student.augment, 0)

    with context.stage("a few steps of query fitting") as stage:
        seconds = slope(fit, FEW * per_epoch, MORE * per_epoch)
        stage.figure = f"{seconds:.3g} s a step"
    optim, batches = queries.optim(distilled)
    steps = optim.epochs * batches
    return _timed("query fitting", steps, steps * queries.rounds, "steps", seconds)


@torch.no_grad()
def _faithfulness(sample: ImageSet, labeller: Classifier, teacher: Classifier, forms: int) -> Timed:
    """Views that the teacher labels once, and the projector in each form that it may be kept in."""
    few, more = 25, 100

    def of(classifier: Classifier) -> float:
        return slope(lambda count: classifier(whole(in_memory(_batches(sample, 1, count).images))), few, more)

    with context.stage("a few views") as stage:
        seconds = of(teacher) + forms * of(labeller)
        stage.figure = f"{seconds:.3g} s for a view in {forms} forms"
    return _timed("faithfulness", VIEWS, VIEWS, "views", seconds)


def _student(sample: ImageSet, recipe: Recipe, labels: LabelSource, size: Size) -> Timed:
    """A student of the recipe, with the artefact's own kind of labels."""
    spec = recipe.student_for(distilled := size.classes * size.ipc)
    batch_size = min(spec.optim.batch_size, distilled)
    at_once = batches_at_once(labels, batch_size)
    batches = _batches(sample, at_once, batch_size)

    def train(epochs: int) -> object:
        short = replace(spec, optim=replace(spec.optim, epochs=epochs), evaluations=1)
        return train_student(TrainingSet(batches, labels, short), sample.rows(torch.arange(0)), 0)

    with context.stage("a few steps of a student") as stage:
        seconds = slope(train, FEW, MORE) / at_once
        stage.figure = f"{seconds:.3g} s a step"
    steps = spec.optim.epochs * num_batches(distilled, spec.optim.batch_size)
    return _timed(f"a student ({spec.network})", steps, steps, "steps", seconds)
