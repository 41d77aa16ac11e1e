"""What to ship: ways of keeping labels, tried by short students on held-out training images. `hello-distill plan`.

All students train for as many steps, on the same images, and are tested on images that were held out; the test split is
not looked at. Teachers have half of their steps, projectors half of one round of each kind unless that is very short,
and Eq. 7 moves no image. Labels that differ by less than a hundredth share their students, and only ways that the
recommendation hangs on have students of all seeds. Of the ways within a margin of the best that with the fewest bytes
in all is recommended; of several that take as few, to a twentieth, the most accurate. `distill --labels PLAN` makes it,
by all of the recipe.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hello_distill import artifact as artifacts
from hello_distill.api import check
from hello_distill.artifact import Artifact
from hello_distill.data.images import check_counts
from hello_distill.data.sources import short_name
from hello_distill.distillers import method
from hello_distill.distillers.hello import HeLlO
from hello_distill.distillers.recipe import Recipe, check_steps
from hello_distill.experiments.grid import HEAD, PROJECTOR, TEACHER, Bench, Comparison, Contender, artefact_bytes
from hello_distill.experiments.ledger import Cell
from hello_distill.experiments.models import deployed
from hello_distill.format import storage
from hello_distill.format.kinds import LabelKind
from hello_distill.format.manifest import check_seeds
from hello_distill.format.results import Alone, Plan, Tried
from hello_distill.format.results.entries import Summary
from hello_distill.format.results.grids import Bytes
from hello_distill.format.sizes import num_batches
from hello_distill.projector import ProjectorSpec
from hello_distill.queries import UNSEEN, labelled_views, on_views
from hello_distill.stages.kept import kept_for
from hello_distill.student import train_student
from hello_distill.system import context, distributed, publishing
from hello_distill.system.claims import claimed
from hello_distill.system.errors import InputError
from hello_distill.system.machine import environment
from hello_distill.training.own import shippable
from hello_distill.training.scores import top1

MARGIN, SHARE = 1.0, 0.05
"""Two ways are as good as each other within so many points of top-1, and within this share of the better one, since
short students of many classes lie close together: ours."""
NEAR = 0.05
"""Two ways take as many bytes as each other within this share of the fewer, images included: ours. Short students lie
closer together than long ones, so that what lies between them is not given away for so little."""
FAR = 2
"""Margins below the best, from which on a light way has no students of other seeds: ours."""
SAME = 0.01
"""Relative squared error on views, of labels as kept against what made them, below which students are shared: ours."""
LOWER = 4
"""By so much the ranks of a smaller projector are divided; its fits are halved once more."""
STEPS, SEEDS = 150, (0, 1)
"""Optimiser steps of a short student, and one student for each seed: ours."""
RANDOM = "random"


@dataclass(frozen=True)
class Way:
    """Images with a kind of labels, what they take and how well short students did."""

    comparison: Comparison
    cell: Cell
    bytes: Bytes
    top1: Summary

    @property
    def total(self) -> int:
        """Bytes of all that is shipped; public weights are not."""
        return self.bytes.total

    def described(self, ways: Sequence[Way], best: Way) -> Tried:
        """As it is written down; `front` are those that none beats in bytes or accuracy without losing in the other."""
        mine = self.total, self.top1.mean
        beaten = any(w.total <= mine[0] and w.top1.mean >= mine[1] and (w.total, w.top1.mean) != mine for w in ways)
        spec, kind = self.comparison.projector, self.comparison.labels[self.cell.labels]
        fitted = kind.made_by == PROJECTOR
        ranks = {"encoder_rank": spec.encoder_rank, "head_rank": spec.head_rank} if fitted else {}
        return Tried(
            images=self.cell.method,
            labels=self.cell.labels,
            **ranks,
            bytes=self.bytes,
            total=self.total,
            held_top1=self.top1,
            front=not beaten,
            recommended=self is best,
        )


def plan(
    data: str,
    out: str | Path,
    recipe: Recipe,
    labels: Mapping[str, LabelKind],
    limit: int | None = None,
    steps: int = STEPS,
    seeds: Sequence[int] = SEEDS,
    stages: str | Path | None = None,
) -> dict[str, Any]:
    """Try these labels, by name, on the recipe's images, and write down in the file `out` what to ship.

    Accuracies are percent on held-out training images, after `steps` optimiser steps. `limit` is the most bytes that
    may be shipped. Raises InputError where nothing is held out, and where nothing fits into the limit.
    """
    _alone()
    start = time.monotonic()
    with claimed(out), kept_for(out, stages) as work:
        bench, ways, best = _planned(data, recipe, labels, limit, steps, seeds, work)
        result = Plan(
            data=short_name(data),
            ipc=recipe.ipc,
            steps=steps,
            seeds=list(seeds),
            held_images=len(bench.material.held),
            ways=[way.described(ways, best) for way in sorted(ways, key=lambda way: way.total)],
            instead=_instead(bench, recipe, labels),
            recipe=artifacts.public(recipe.settings()),
            seconds=round(time.monotonic() - start),
            environment=environment(),
        ).content()
        publishing.write(Path(out), storage.as_json(result))
    return result


def distill_planned(
    data: str,
    out: str | Path,
    recipe: Recipe,
    labels: Mapping[str, LabelKind],
    stages: str | Path | None = None,
    asked: str = "auto",
) -> Path:
    """Write at `out` the recipe's images with labels of another kind than the method's own: `distill --labels`.

    `asked` is the name of one of the labels, the file of a plan, whose recommendation is made, or `auto`, for which one
    is made first. Raises InputError for labels that nothing here makes, and for a plan of another recipe.
    """
    _alone()
    with claimed(out), kept_for(out, stages) as work:
        if asked in labels:
            chosen = _named(asked, recipe, labels)
        elif asked == "auto":
            _, ways, best = _planned(data, recipe, labels, None, STEPS, SEEDS, work)
            chosen = best.described(ways, best).content()
        else:
            chosen = _recommendation(Path(asked), data, recipe, labels)
        _ship(data, chosen, recipe, labels, work, Path(out))
    return Path(out)


def _alone() -> None:
    """Raise InputError in one of several processes."""
    if distributed.launched().processes > 1:
        raise InputError("a plan, and labels other than the method's own, are one process's work; leave torchrun out")


def _named(name: str, recipe: Recipe, labels: Mapping[str, LabelKind]) -> dict[str, Any]:
    """The way of labels that were asked for by name."""
    if labels[name].made_by not in _makers(recipe):
        has = "no projector" if labels[name].made_by == PROJECTOR else "no teacher that an artefact can hold"
        raise InputError(f"--labels {name}: this recipe has {has}; choose others")
    return {"images": recipe.distiller.name, "labels": name}


def _recommendation(file: Path, data: str, recipe: Recipe, labels: Mapping[str, LabelKind]) -> dict[str, Any]:
    """The way that the file of a plan of these data recommends: its images, labels and ranks."""
    try:
        made = json.loads(file.read_bytes())
        way = next(way for way in made["ways"] if way["recommended"])
        ranks = {name: int(way[name]) for name in ("encoder_rank", "head_rank") if way.get(name) is not None}
        chosen, settings, planned = (
            {"images": way["images"], "labels": way["labels"], **ranks},
            made["recipe"],
            made["data"],
        )
        if chosen["labels"] not in labels or chosen["images"] not in (recipe.distiller.name, RANDOM):
            raise ValueError
    except (OSError, ValueError, TypeError, KeyError, StopIteration):
        raise InputError(
            f"--labels {file}: neither own, auto nor a kind of labels ({', '.join(labels)}), nor the file of a plan, "
            "which `hello-distill plan DATA --ipc N` writes"
        ) from None
    if settings != json.loads(storage.as_json(artifacts.public(recipe.settings()))):
        raise InputError(f"--labels {file}: that plan is of another recipe; give the options that it was made with")
    if planned != short_name(data):
        raise InputError(f"--labels {file}: that plan is of {planned}, and the data are {short_name(data)}")
    return chosen


def _planned(
    data: str,
    recipe: Recipe,
    labels: Mapping[str, LabelKind],
    limit: int | None,
    steps: int,
    seeds: Sequence[int],
    work: Path,
) -> tuple[Bench, list[Way], Way]:
    """What was tried, and the best of it; the bench can make it again."""
    check_seeds(seeds)
    check_steps(steps, "--steps")
    check(recipe)
    recipe = _shortened(recipe)
    bench = Bench(data, _comparison(recipe, labels), work, stages=work)
    if not len(bench.material.held):
        raise InputError("a plan is made on held-out training images, and there are none; set `held_share` above 0")
    check_counts(bench.material.train, recipe.ipc)
    bench.images(recipe.distiller.name, recipe.ipc, recipe.seed)  # under stages of their own, not the first way's
    if not shippable(recipe.teachers.sources):
        with context.stage("labels") as stage:
            stage.figure = "none of the teacher are tried: an artefact holds networks of torchvision and timm only"
    students = _Students(bench, steps)
    ways = list(_tried(bench, recipe, labels, students, limit, seeds[:1]))
    while few := [way for way in deciding(ways, limit) if len(way.top1.runs) < len(seeds)]:
        for way in few:
            with _other(bench, way.comparison.projector):
                ways[ways.index(way)] = students.way(way.cell, seeds)
    return bench, ways, recommended(ways, limit)


def _shortened(recipe: Recipe) -> Recipe:
    """The recipe with half of its teachers' steps, and of one round of each kind of a projector's fits; images stay as
    they were chosen, since Eq. 7 takes its time and was never seen to raise what students reach."""
    method, spec = recipe.distiller, recipe.distiller.projector_spec
    if isinstance(method, HeLlO):
        method = replace(method, update=None)
    method = method if spec is None else method.with_projector(spec.halved())
    return replace(recipe, teachers=recipe.teachers.halved(), distiller=method)


def _instead(bench: Bench, recipe: Recipe, labels: Mapping[str, LabelKind]) -> list[Alone]:
    """What networks do by themselves that could be shipped in the place of images: a head on the frozen encoder, at the
    projector's rate, and those that make the labels, in float16. The projector is the one before query fitting."""
    made_by = {kind.made_by for kind in labels.values()}
    spec = recipe.distiller.projector_spec
    heads = [HEAD] if spec and spec.normalize else []
    names = [*heads, *({PROJECTOR} & made_by)] if spec else []
    models = {name: deployed(bench, name, {}) for name in (*names, *({TEACHER} & made_by & _makers(recipe)))}
    held = bench.material.held
    return [
        Alone(model=name, bytes=made.bytes, public=made.public, held_top1=top1(made.classifier, held, name))
        for name, made in models.items()
    ]


def _makers(recipe: Recipe) -> set[str | None]:
    """What a recipe has to make labels by: a projector, and a teacher unless no artefact can hold it."""
    with_projector = {PROJECTOR} if recipe.distiller.projector_spec else set()
    return {None, *with_projector, *({TEACHER} if shippable(recipe.teachers.sources) else ())}


def recommended(ways: Sequence[Way], limit: int | None) -> Way:
    """Of the ways that fit, and are within `margin` of the best of these, the most accurate of those that take as few
    bytes as the lightest, to `NEAR`."""
    accurate = _accurate(ways, limit)
    return max((way for way in accurate if way.total <= _light(accurate)), key=_better)


def _better(way: Way) -> tuple[float, int]:
    """What the better of two ways has more of: accuracy, and of as accurate ones the fewest bytes."""
    return way.top1.mean, -way.total


def _accurate(ways: Sequence[Way], limit: int | None) -> list[Way]:
    """The ways that fit, and are within `margin` of the best of these."""
    fitting = _fitting(ways, limit)
    best = max(way.top1.mean for way in fitting)
    return [way for way in fitting if way.top1.mean >= best - margin(best)]


def _light(ways: Sequence[Way]) -> float:
    """The most bytes that are still as few as the lightest way's."""
    return min(way.total for way in ways) * (1 + NEAR)


def margin(best: float) -> float:
    """Points below the best in which a way is as good as it."""
    return min(MARGIN, SHARE * best)


def deciding(ways: Sequence[Way], limit: int | None) -> list[Way]:
    """The best of the ways that fit, and what takes no more than may be recommended and is `FAR` margins from the best
    at most."""
    best, light = max(_fitting(ways, limit), key=_better), _light(_accurate(ways, limit))
    least = best.top1.mean - FAR * margin(best.top1.mean)
    lighter = [way for way in _fitting(ways, limit) if way.total <= light and way.top1.mean >= least]
    return [way for way in ways if way is best or way in lighter]


def _fitting(ways: Sequence[Way], limit: int | None) -> list[Way]:
    """The ways that take no more bytes than the limit. Raises InputError where there is none."""
    if fitting := [way for way in ways if limit is None or way.total <= limit]:
        return fitting
    least = min(way.total for way in ways)
    raise InputError(f"--bytes {limit} is too little: the least that was tried takes {least}; lower --ipc")


def _comparison(recipe: Recipe, labels: Mapping[str, LabelKind]) -> Comparison:
    contenders = {recipe.distiller.name: Contender(recipe.distiller), RANDOM: Contender(method(RANDOM)())}
    projector = recipe.distiller.projector_spec or ProjectorSpec()
    return Comparison(recipe, contenders, projector, {}, labels)


def _tried(
    bench: Bench,
    recipe: Recipe,
    labels: Mapping[str, LabelKind],
    students: _Students,
    limit: int | None,
    seeds: Sequence[int],
) -> Iterator[Way]:
    """Each kind of labels on the recipe's images, smaller projectors, and random images with the best labels that fit.

    Raises InputError as soon as not even images with their classes alone fit.
    """
    spec = recipe.distiller.projector_spec
    makers = _makers(recipe)
    usable = [name for name, kind in labels.items() if kind.made_by in makers]
    ways = []
    for name in usable:
        ways.append(students.way(Cell(recipe.distiller.name, name, recipe.ipc, recipe.student.network), seeds))
        if labels[name].made_by is None:
            _fitting(ways, limit)
        yield ways[-1]
    if spec is not None:
        fitted = bench.stages().projector(spec).adapter
        encoder_rank, head_rank = (max(1, rank // LOWER) for rank in (fitted.encoder_rank, fitted.head_rank))
        with _other(bench, replace(spec.halved(), encoder_rank=encoder_rank, head_rank=head_rank)):
            for name in (name for name in usable if labels[name].made_by == PROJECTOR):
                ways.append(students.way(Cell(recipe.distiller.name, name, recipe.ipc, recipe.student.network), seeds))
                yield ways[-1]
    best = max(_fitting(ways, limit), key=_better)
    with _other(bench, best.comparison.projector):
        yield students.way(best.cell._replace(method=RANDOM), seeds)


@contextmanager
def _other(bench: Bench, projector: ProjectorSpec) -> Iterator[None]:
    """The bench with another projector for a while."""
    whole, bench.comparison = bench.comparison, replace(bench.comparison, projector=projector)
    try:
        yield
    finally:
        bench.comparison = whole


class _Students:
    """Short students, each trained once."""

    def __init__(self, bench: Bench, steps: int) -> None:
        self.bench, self.steps = bench, steps
        self.scores: dict[tuple[ProjectorSpec, Cell], dict[int, float]] = {}

    def way(self, cell: Cell, seeds: Sequence[int]) -> Way:
        """The cell with students of these seeds, for the bench's projector."""
        bench, recipe = self.bench, self.bench.comparison.base
        batches = num_batches(cell.ipc * len(bench.material.train.classes), recipe.student.optim.batch_size)
        student = replace(recipe.student, optim=recipe.student.optim.lasting(self.steps, batches), evaluations=1)
        with context.stage(cell.labels) as stage, bench.labelled(cell, recipe.seed, student) as folder:
            artifact, size = artifacts.load(folder), artefact_bytes(folder)
            scores = self.scores.setdefault((bench.comparison.projector, self._alike(artifact, cell)), {})
            for seed in (seed for seed in seeds if seed not in scores):
                scores[seed] = train_student(artifact, bench.material.held, seed).last
            way = Way(bench.comparison, cell, size, Summary.of([scores[seed] for seed in seeds]))
            stage.figure = (
                f"{cell.method}, {way.total:,} bytes: top-1 {way.top1.mean:.1f} % on held-out training images"
            )
        return way

    def _alike(self, artifact: Artifact, cell: Cell) -> Cell:
        """The cell itself; one for all labels that are the same as what made them, but for rounding."""
        maker = self.bench.kind(cell.labels).made_by
        if maker is None or not artifact.labels.online:
            return cell
        made_by = replace(artifact, labels=self.bench.online(artifact, cell.method, cell.labels))
        optim, augment = artifact.student.optim, artifact.student.augment
        views = labelled_views(artifact.data, augment, made_by.label, optim.batch_size, UNSEEN)
        return cell._replace(labels=maker) if on_views(artifact.label, views).error < SAME else cell


def _ship(
    data: str, chosen: Mapping[str, Any], recipe: Recipe, labels: Mapping[str, LabelKind], work: Path, out: Path
) -> None:
    """Write the artefact of a way that was described, fitted as the recipe says and with its training of students."""
    check(recipe)
    bench = Bench(data, _comparison(recipe, labels), work, stages=work)
    ranks = {name: chosen[name] for name in ("encoder_rank", "head_rank") if name in chosen}
    cell = Cell(chosen["images"], chosen["labels"], recipe.ipc, recipe.student.network)
    student = recipe.student_for(recipe.ipc * len(bench.material.train.classes))
    with (
        _other(bench, replace(bench.comparison.projector, **ranks)),
        bench.labelled(cell, recipe.seed, student) as folder,
        publishing.published(out, artefact_bytes(folder).total) as partial,
    ):
        shutil.copytree(folder, partial, dirs_exist_ok=True)
