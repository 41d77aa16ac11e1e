"""Settings tried on held-out training images, never on the test split: as many trials for each method.

Every trial is kept in the result file, and one that is there already is not repeated.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch

from hello_distill import artifact as artifacts
from hello_distill import encoders
from hello_distill import labels as label_kinds
from hello_distill.data.images import ImageSet
from hello_distill.distillers.random import RandomImages
from hello_distill.experiments.grid import HEAD, PROJECTOR, Bench, kind_of, with_settings
from hello_distill.experiments.ledger import Cell, Ledger
from hello_distill.format.results.grids import Trial
from hello_distill.format.specs import StudentSpec
from hello_distill.labels.sources.projector import ProjectorLabels, describe
from hello_distill.projector import ProjectorSpec, fit_probe, fit_projector, zero_shot
from hello_distill.queries import spread
from hello_distill.student import train_student
from hello_distill.system import context
from hello_distill.system.cache import locked
from hello_distill.system.errors import DivergedError, InputError
from hello_distill.teachers import ENCODER_SCALE, TeacherSpec, train_teachers
from hello_distill.training.scores import percent, top1
from hello_distill.training.training_set import TrainingSet


class Tried(NamedTuple):
    """What a trial measured."""

    held_top1: float
    """In percent on held-out training images; 0 where the training diverged."""
    spread: float | None = None


Try = Callable[[Mapping[str, Any]], Tried]
"""What tries settings."""


def fit_settings(bench: Bench, ledger: Ledger, what: str) -> Mapping[str, float]:
    """The settings of a head, or of a contender's own teachers, that a short fit did best with, and those of the
    projector that students learnt most from."""
    comparison = bench.comparison
    candidates = comparison.fits.get(what, ())
    if len(candidates) < 2:
        return candidates[0] if candidates else {}
    if what == PROJECTOR:
        fit = _projector_fit(bench, comparison.projector)
    elif what == HEAD:
        fit = _head_fit(bench, comparison.projector)
    else:
        teachers = comparison.contenders[what].teachers
        assert teachers is not None
        fit = _teacher_fit(bench, teachers)
    return _best(bench, ledger, {"fit": what}, candidates, fit)


def _short(spec: ProjectorSpec, settings: Mapping[str, Any]) -> ProjectorSpec:
    """A fit of these settings that sees its images once."""
    tried = with_settings(spec, settings)
    return replace(tried, optim=replace(tried.optim, epochs=1), steps=None, rounds=1)


def _projector_fit(bench: Bench, spec: ProjectorSpec) -> Try:
    """How well a short fit teaches, not how well it classifies: an encoder that knows more than the weak teachers is
    drawn away from their labels by CE, and its students learn less."""

    def fit(settings: Mapping[str, Any]) -> Tried:
        data, tried = _some(bench), _short(spec, settings)
        encoder = encoders.load(tried.encoder, tried.size)
        start = zero_shot(encoder, data.classes, tried).to(data.images.device)
        ensemble = bench.stages().teachers().ensemble
        adapter = fit_projector(start, encoder, data, ensemble, tried, bench.comparison.base.seed)
        return _taught_by(bench, ProjectorLabels(start, adapter, describe(encoder), tried.templates))

    return fit


def _taught_by(bench: Bench, labels: ProjectorLabels) -> Tried:
    """Top-1 on held-out images of short students with these labels of random training images: mean of two.

    Beside it the labels' spread on the first one's images."""
    comparison = bench.comparison
    cell = Cell("random", PROJECTOR, comparison.trial_ipc, comparison.base.student.network)
    spec = _brief(bench, cell, comparison.trials.get("soft", ({},))[0])
    sets = [RandomImages()(bench.material, bench.stages(), cell.ipc, seed).data for seed in (0, 1)]
    reached = [
        train_student(TrainingSet(images, labels, spec), bench.material.held, seed).last
        for seed, images in enumerate(sets)
    ]
    steady = spread(labels.projector, sets[0], spec.augment, spec.optim.batch_size, bench.comparison.base.seed)
    return Tried(sum(reached) / len(reached), steady)


def _head_fit(bench: Bench, spec: ProjectorSpec) -> Try:
    def fit(settings: Mapping[str, Any]) -> Tried:
        tried = _short(spec, settings)
        encoder = encoders.load(tried.encoder, tried.size)
        seed = bench.comparison.base.seed
        model, _ = fit_probe(encoder, _some(bench), None, tried, False, ENCODER_SCALE, seed)
        return Tried(top1(model, bench.material.held) or 0.0)

    return fit


def _teacher_fit(bench: Bench, spec: TeacherSpec) -> Try:
    def fit(settings: Mapping[str, Any]) -> Tried:
        tried = with_settings(spec, settings)
        tried = replace(tried, weak_epochs=(1,), optim=replace(tried.optim, epochs=1))
        trained = train_teachers(_some(bench), tried, bench.comparison.base.seed)
        return Tried(top1(trained.observer, bench.material.held) or 0.0)

    return fit


def _some(bench: Bench) -> ImageSet:
    """The training images that a short fit sees, evenly spread."""
    data = bench.material.train
    return data.rows(torch.linspace(0, len(data) - 1, min(bench.comparison.fit_images, len(data))).long())


def family(labels: str) -> str:
    """Labels that share their tried settings: those of stored labels may be the online teacher's."""
    kind = label_kinds.kind(kind_of(labels))
    return kind.tuned_as or kind.name


def student_settings(bench: Bench, ledger: Ledger, cell: Cell) -> dict[str, Any]:
    """The student settings that did best for a method and a family of labels."""
    labels = family(cell.labels)
    candidates = bench.comparison.trials.get(label_kinds.kind(labels).trials, ({},))
    if len(candidates) == 1:
        return dict(candidates[0])
    cell_of_trial = Cell(cell.method, labels, bench.comparison.trial_ipc, cell.student)
    key = {"method": cell.method, "labels": labels, "student": cell.student}
    return dict(_best(bench, ledger, key, candidates, lambda candidate: _student(bench, cell_of_trial, candidate)))


def _student(bench: Bench, cell_of_trial: Cell, candidate: Mapping[str, Any]) -> Tried:
    """Top-1 on held-out training images after a shorter training."""
    spec = _brief(bench, cell_of_trial, candidate)
    with bench.labelled(cell_of_trial, 0, spec) as folder:
        return Tried(train_student(replace(artifacts.load(folder), student=spec), bench.material.held, 0).last)


def _brief(bench: Bench, cell: Cell, settings: Mapping[str, Any]) -> StudentSpec:
    """A student's training in a cell as it is tried: shorter."""
    spec = bench.student(cell, settings)
    return replace(spec, evaluations=1, optim=replace(spec.optim, epochs=bench.comparison.trial_epochs))


def _best(
    bench: Bench,
    ledger: Ledger,
    key: dict[str, str],
    candidates: Sequence[Mapping[str, Any]],
    trial: Try,
) -> Mapping[str, Any]:
    """The candidate with the highest top-1 on held-out training images, of equal ones the first.

    A training that diverged counts as 0.

    Raises InputError where no images are held out: then nothing can be chosen.
    """
    if not len(bench.material.held):
        raise InputError("settings are tried on held-out training images, and there are none; set `held_share` above 0")
    name = "-".join(key.values()).replace("/", "_")
    for wait in (False, True):  # first what nobody tries, then what others have not finished
        for number, candidate in enumerate(map(dict, candidates)):
            with locked(ledger.claims / f"trial-{name}-{number}", wait) as mine:
                if mine and not any(done.settings == candidate for done in ledger.read().trials_of(key)):
                    ledger.add_trial(_tried(key, candidate, trial))
    reached = {json.dumps(done.settings, sort_keys=True): done.held_top1 for done in ledger.read().trials_of(key)}
    return max(candidates, key=lambda candidate: reached[json.dumps(dict(candidate), sort_keys=True)])


def _tried(key: dict[str, str], candidate: Mapping[str, Any], trial: Try) -> Trial:
    with context.stage("trial") as stage:
        try:
            tried = trial(candidate)
        except DivergedError:
            tried = Tried(0.0)
        shown = percent(tried.held_top1)
        stage.figure = f"{', '.join(key.values())}, {candidate}: {shown} on held-out training images"
    measured = {name: figure for name, figure in tried._asdict().items() if figure is not None}
    return Trial.model_validate({**key, "settings": dict(candidate), **measured})
