"""Classes that arrive one after another, by what DM, SRe2L and HeLlO call GDumb: `hello-distill continual`. Figure 2.

Classes arrive in steps, equally many in each, in an order drawn from the seed. What is kept of a class are the images
distilled when it arrives, with what is known then; they are never changed afterwards. At each step a new network is
trained, from new weights, on the kept images of all classes seen so far, and tested on the test images of these
classes. Nothing of the network of the step before is used.

Who labels is part of a run's name. `projector-seen` and `teacher-seen`: at each step teachers, and for HeLlO a
projector, are trained on the real images of the classes seen so far; they choose, move and label the images, and have
no logit for any other class. `projector-extended`: the same images and teachers, and labels of one projector that is
extended as classes arrive (`extension`), in the place of one fitted from nothing at each step. `projector-all` and
`teacher-all`: teachers and projector of all classes, made once, do the same from the first step on, and their logits
are restricted to the classes seen. They know of classes that are still to come, as the teacher of SRe2L's code does.
So does a teacher that is brought along (`--teacher`): it teaches `-seen` and `-extended`, too, with the logits of the
classes seen alone, and what differs between the labellers is then the projector.
`hard`: random real images with their classes, which need nobody.

Where this leaves the paper, which says GDumb, five and ten steps, IPC 10, and no more: it does not say who labels, so
both are here. Teachers of `-seen` see the real images of earlier classes again, which a learner that keeps nothing but
distilled images no longer has: they bound what could be known, not what was kept. So do those of `-extended`, whose
projector itself is fitted on new classes and kept images alone. A network's head has the classes seen so far; SRe2L's
code has a head of all classes, of which nobody asks the rest. Its classes arrive in numpy's permutation of seed 0 in
every run, ours in another one for each seed. One class alone can't be told from anything: a step that has seen one
class counts 100 % without training, and its images under `-seen` are random ones, since every crop is equally easy to
an observer of one class. A network's epochs are the recipe's at every step, so that later steps, with more images,
take more updates.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch

from hello_distill import artifact as artifacts
from hello_distill import labels as label_kinds
from hello_distill.data.images import ImageSet, check_counts
from hello_distill.experiments.arrivals import Arrivals, kept
from hello_distill.experiments.extension import Extended, Extensions
from hello_distill.experiments.grid import PROJECTOR, Bench, Comparison, artefact_bytes, described, opened
from hello_distill.experiments.ledger import Cell, Run
from hello_distill.format import storage
from hello_distill.format.manifest import check_seeds
from hello_distill.format.results import grids
from hello_distill.format.results.entries import Summary
from hello_distill.format.results.grids import Bytes, Curve, GridCell, GridResult
from hello_distill.format.specs import StudentSpec
from hello_distill.labels.sources.hard import HardLabels
from hello_distill.student import train_student
from hello_distill.system import context
from hello_distill.system.errors import InputError, nearest
from hello_distill.training.scores import percent
from hello_distill.training.training_set import TrainingSet
from hello_distill.types import Images, LabelSource, Logits, View

RANDOM = "random"
"""Name of the method that knows nothing: its images are those of a class that arrived alone."""
HARD, SEEN, EXTENDED, ALL = "hard", "-seen", "-extended", "-all"
EXTENDED_FIGURES = ("projector_top1", "labels_on_held_out", "view_agreement")
"""What is reported of an extended projector: before query fitting, after it, and on views of the images kept."""


@dataclass(frozen=True)
class Continual:
    """What a continual experiment runs."""

    comparison: Comparison
    """Data, teachers, methods, and students' epochs and batch size by images per class; nothing of it is tuned."""
    students: Mapping[str, Mapping[str, Any]]
    """Settings of the student (fields of StudentSpec, and its optimiser's `lr`, `epochs` and `name`) by method;
    `random` is always one of them."""

    def with_own_teachers(self, sources: Sequence[str]) -> Continual:
        """The same with teachers that were trained elsewhere. Those of the classes seen are these as well, restricted
        to the logits of such classes."""
        return replace(self, comparison=self.comparison.with_own_teachers(sources))

    def described(self) -> dict[str, Any]:
        """What a result needs to be repeated, as nested dictionaries."""
        students = {name: dict(settings) for name, settings in self.students.items()}
        return {"experiment": "continual", **described(self.comparison), "students": students}


class Restricted(LabelSource):
    """The logits of some classes from a source that has more; what is stored is the whole source."""

    def __init__(self, source: LabelSource, chosen: Sequence[int]) -> None:
        self.source = source
        self.chosen = torch.tensor(chosen)
        self.kind, self.unit = source.kind, source.unit
        self.online, self.by_image = source.online, source.by_image

    def views(self, epoch: int, sampled: Iterable[View]) -> Iterable[View]:
        return self.source.views(epoch, sampled)

    def __call__(self, images: Images, view: View) -> Logits:
        return self.source(images, view)[:, self.chosen.to(images.device)]

    def size(self) -> int:
        return self.source.size()

    def save(self, folder: Path) -> dict[str, Any]:
        return self.source.save(folder)


def continual(
    data: str,
    out: str | Path,
    experiment: Continual,
    methods: Sequence[str],
    steps: Sequence[int],
    ipcs: Sequence[int] | None,
    seeds: Sequence[int],
) -> dict[str, Any]:
    """Run every step, or what is left, and keep the result at `out` up to date; see `hello-distill continual`.

    `ipcs` None takes all that the experiment has. Several processes may work on one `out`. Accuracies are percent on
    the test images of the classes seen. Raises InputError before any training for unknown names, steps that do not
    divide the classes, and where `out` is the result of other settings.
    """
    ipcs = ipcs or list(experiment.comparison.training)
    check(experiment, methods, ipcs)
    experiment.comparison.check_own_teachers(methods)
    check_seeds(seeds)
    bench, ledger = opened(data, out, experiment.comparison, experiment.described())
    images = bench.material.train
    extensions = Extensions(bench)
    drawn = {(count, seed): Arrivals.drawn(len(images.classes), count, seed) for count in steps for seed in seeds}
    check_counts(images, max(ipcs))

    def run(step: Cell, seed: int) -> None:
        arrivals, settings = drawn[step.steps, seed], dict(experiment.students[step.method])
        folders = [_artefact(bench, step, arrivals.seen(past), seed) for past in range(1, step.step + 1)]
        student = bench.student(step, settings)
        extended = extensions(step.method, arrivals, folders) if step.labels.endswith(EXTENDED) else None
        ledger.add_run(step, settings, seed, _run(bench, step, arrivals, folders, student, seed, extended))
        ledger.add_stages(_measured(step, arrivals, folders[-1], seed, extended))
        ledger.change(lambda result: _conclude(result, seed, [images.classes[target] for target in arrivals.order]))

    ledger.fill(list(_places(experiment.comparison, methods, steps, ipcs)), seeds, run)
    return ledger.read().content()


def check(experiment: Continual, methods: Sequence[str], ipcs: Sequence[int]) -> None:
    """Raise InputError for names that an experiment does not have."""
    comparison = experiment.comparison
    for method in methods:
        if method not in comparison.contenders:
            raise InputError(f"unknown method {method!r}: {nearest(method, comparison.contenders)}")
    comparison.check_ipcs(ipcs)


def _places(
    comparison: Comparison, methods: Sequence[str], steps: Sequence[int], ipcs: Sequence[int]
) -> Iterator[Cell]:
    """Every step of every run."""
    for ipc in ipcs:
        for count in steps:
            for method in methods:
                kind = label_kinds.kind(comparison.contenders[method].distiller.labels)
                knowing = (SEEN, EXTENDED, ALL) if kind.name == PROJECTOR else (SEEN, ALL)
                for labels in [kind.name + known for known in knowing] if kind.online else [HARD]:
                    for step in range(1, count + 1):
                        yield Cell(method, labels, ipc, comparison.base.student.network, count, step)


def _artefact(bench: Bench, step: Cell, seen: Sequence[int], seed: int) -> Path:
    """The artefact with what a method makes, and labels, knowing the classes seen, or all of them."""
    if not step.labels.endswith((SEEN, EXTENDED)):
        return bench.images(step.method, step.ipc, seed)
    if len(seen) == 1:
        return bench.images(RANDOM, step.ipc, seed)
    return bench.only(seen).images(step.method, step.ipc, seed)


def _run(
    bench: Bench,
    step: Cell,
    arrivals: Arrivals,
    folders: Sequence[Path],
    student: StudentSpec,
    seed: int,
    extended: Extended | None,
) -> Run:
    """One seed of a step: a new network, trained on what is kept and tested on the classes seen.

    `folders` are the artefacts from which the images of each step so far are kept; the last labels them, unless
    `extended` does.
    """
    start = time.monotonic()
    seen = arrivals.seen(step.step)
    images, image_bytes = kept(bench.material.train.classes, arrivals, folders)
    if len(seen) == 1:
        return Run(100.0, 100.0, Bytes(images=image_bytes, labels=0, teacher=0, public=0), 0.0)
    with context.stage(f"step {step.step} of {step.steps}") as stage:
        labels = labeller(step, seen, folders[-1], images) if extended is None else extended.labels
        memory = TrainingSet(images, labels, student)
        score = train_student(memory, bench.test().only(seen), network_seed(seed, step.step))
        stage.figure = f"{step.name}, seed {seed}: top-1 {percent(score.last)} of {len(seen)} classes"
    shipped = {} if extended is None else {"labels": extended.labels.size()}
    sizes = artefact_bytes(folders[-1]).model_copy(update={"images": image_bytes, **shipped})
    return Run(score.last, score.best, sizes, time.monotonic() - start)


def labeller(step: Cell, seen: Sequence[int], folder: Path, images: ImageSet) -> LabelSource:
    """What labels the images of a step, with a logit for each class seen and no other: an artefact's source."""
    if step.labels == HARD:
        return HardLabels(images.targets, len(seen))
    source = artifacts.load(folder).labels
    return source if step.labels.endswith(SEEN) else Restricted(source, seen)


def network_seed(seed: int, step: int) -> int:
    """The seed of a step's network and of the views that it sees: another one at each step."""
    return int(np.random.default_rng([seed, 7, step]).integers(2**31))


def _measured(
    step: Cell, arrivals: Arrivals, folder: Path, seed: int, extended: Extended | None
) -> dict[str, dict[str, Any]]:
    """Accuracies of a step's teachers and projector on held-out training images of the classes that they know."""
    seen = arrivals.seen(step.step)
    if step.labels == HARD or len(seen) == 1:
        return {}
    if extended is not None:
        name = f"{step.method}, {len(seen)} classes of seed {seed}, extended, step {step.step} of {step.steps}"
        return {name: {figure: extended.figures[figure] for figure in EXTENDED_FIGURES if figure in extended.figures}}
    figures = storage.read_manifest(folder)["figures"]
    known = f"{len(seen)} classes of seed {seed}" if step.labels.endswith(SEEN) else "all classes"
    return {f"{step.method}, {known}": {name: value for name, value in figures.items() if name.endswith("top1")}}


def _conclude(result: GridResult, seed: int, order: list[str]) -> None:
    """Write down the order of a seed, and what follows from all steps."""
    assert isinstance(result, grids.Continual)
    result.class_order = {**result.class_order, str(seed): order}
    result.curves = curves(result.cells, len(order))


def curves(cells: Sequence[GridCell], num_classes: int) -> list[Curve]:
    """Top-1 after each step and its mean over the steps, for the seeds of which all steps are there."""
    complete = []
    key = ("student", "ipc", "method", "labels", "steps")
    for names, group in groupby(cells, lambda cell: [getattr(cell, name) for name in key]):  # cells are sorted so
        steps = list(group)
        seeds = sorted(set.intersection(*(set(cell.seeds) for cell in steps)))
        if len(steps) < (steps[0].steps or 0) or not seeds:
            continue
        runs = [[cell.top1_last.runs[cell.seeds.index(seed)] for seed in seeds] for cell in steps]
        curve = Curve(
            **dict(zip(key, names, strict=True)),
            classes=[num_classes * step // len(steps) for step in range(1, len(steps) + 1)],
            seeds=seeds,
            top1_by_step=[Summary.of(each) for each in runs],
            top1_mean=Summary.of([fmean(each) for each in zip(*runs, strict=True)]),
        )
        complete.append(curve)
    return complete
