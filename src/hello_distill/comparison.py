"""Methods and labels side by side: one data set, one student training, one table. `hello-distill compare`.

A cell is a method, a kind of labels, a number of images per class and a student; it has one run per seed. A seed draws
the images and trains the student; teachers and projector are trained once and serve every cell. Each run is written
when it ends, and a comparison that was stopped goes on where it was.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from hello_distill import artifact as artifacts
from hello_distill import distillers, sizes, storage
from hello_distill import labels as label_kinds
from hello_distill.artifact import Artifact, Distiller, StudentSpec
from hello_distill.data import ImageSet, Material, check_counts
from hello_distill.errors import DivergedError, InputError, nearest
from hello_distill.evaluate import train_student
from hello_distill.labels.projector import ProjectorLabels, describe
from hello_distill.labels.teacher import TeacherLabels
from hello_distill.ledger import Cell, Ledger, Run
from hello_distill.machine import commit, locked
from hello_distill.models import check_name
from hello_distill.pipeline import Recipe, prepare, test_images
from hello_distill.progress import SILENT, Progress
from hello_distill.projector import ProjectorSpec
from hello_distill.relabel import Relabel, label_source
from hello_distill.scores import percent
from hello_distill.stages import Stages, fingerprint
from hello_distill.teachers import TeacherSpec
from hello_distill.types import LabelSource

EQUAL_BY_DESIGN = {"stored": "teacher"}
"""Labels whose students are those of other labels bit for bit (a test shows it), so that bytes are all there is to
find out."""


@dataclass(frozen=True)
class Contender:
    """A method in a comparison."""

    distiller: Distiller
    teachers: TeacherSpec | None = None
    """Its own teachers instead of the comparison's."""


@dataclass(frozen=True)
class Comparison:
    """What all methods share, and the methods."""

    base: Recipe
    """Data, teachers, codec, and the student's training."""
    contenders: Mapping[str, Contender]
    projector: ProjectorSpec
    """Of `projector` labels, whatever images they label."""
    training: Mapping[int, tuple[int, int]]
    """Epochs and batch size of students by images per class, the same for every method."""
    labels: Mapping[str, Relabel]
    """Settings of the kinds that have some."""
    trials: Mapping[str, tuple[Mapping[str, Any], ...]] = field(default_factory=dict)
    """Settings of the student (fields of StudentSpec, and `lr`) that are tried on held-back training images, for each
    method: as many for `hard` as for `soft`. The first is taken where nothing is tried."""
    trial_ipc: int = 10
    trial_epochs: int = 60


class Bench:
    """The grid at work: what is shared between cells, and where things are kept."""

    def __init__(self, data: str, comparison: Comparison, work: Path, progress: Progress = SILENT) -> None:
        self.data = data
        self.comparison = comparison
        self.work = work
        self.progress = progress
        self.material: Material = prepare(data, comparison.base, progress)
        self._stages: dict[str, Stages] = {}
        self._test: ImageSet | None = None

    def stages(self, spec: TeacherSpec | None = None) -> Stages:
        """Teachers and projectors, shared by all that ask for the same."""
        spec = spec or self.comparison.base.teachers
        if repr(spec) not in self._stages:
            seed = self.comparison.base.seed
            self._stages[repr(spec)] = Stages(self.material, spec, seed, self.progress, self.work / "stages")
        return self._stages[repr(spec)]

    def test(self, artifact: Artifact) -> ImageSet:
        """The test split, decoded once."""
        if self._test is None:
            self._test = test_images(self.data, artifact, self.progress)
        return self._test

    def images(self, method: str, ipc: int, seed: int) -> Path:
        """The method's artefact, made if it is not there: images drawn by the seed, labels its own."""
        base, contender = self.comparison.base, self.comparison.contenders[method]
        what = [repr(contender), repr(base), fingerprint(self.material.train)]
        digest = hashlib.sha256(json.dumps(what).encode()).hexdigest()[:12]
        folder = self.work / "images" / f"{method}-ipc{ipc}-seed{seed}-{digest}"
        with locked(folder.with_suffix(".lock")):
            if not folder.is_dir():
                stages = self.stages(contender.teachers)
                made = contender.distiller(self.material, stages, ipc, seed, self.progress)
                settings = replace(base, distiller=contender.distiller, ipc=ipc).settings()
                artifacts.save(made, ipc, base.student, base.codec, settings, folder)
        return folder

    def online(self, artifact: Artifact, method: str, labels: str) -> LabelSource:
        """What makes labels of a kind: the artefact's own teacher or the comparison's, or its projector as fitted."""
        kind = kind_of(labels)
        if kind == "hard" or (kind != "projector" and artifact.labels.kind == "teacher"):
            return artifact.labels
        if kind != "projector":
            stages = self.stages(self.comparison.contenders[method].teachers)
            return TeacherLabels([stages.spec.network], [stages.teachers().observer], artifact.data.side)
        fitted = self.stages().projector(self.comparison.projector)
        templates = self.comparison.projector.templates
        return ProjectorLabels(fitted.start, fitted.adapter, describe(fitted.encoder), templates)

    @contextmanager
    def labelled(self, cell: Cell, seed: int, student: StudentSpec) -> Iterator[Path]:
        """An artefact with the cell's images and labels, for as long as it is needed."""
        images = self.images(cell.method, cell.ipc, seed)
        artifact = replace(artifacts.load(images), student=student)
        options = replace(self.comparison.labels.get(cell.labels) or Relabel(kind_of(cell.labels)), seed=seed)
        source = label_source(artifact, self.online(artifact, cell.method, cell.labels), options)
        folder = self.work / f"labelled-{os.getpid()}"
        shutil.rmtree(folder, ignore_errors=True)
        try:
            yield artifacts.save_relabelled(images, source, student, folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def student(self, cell: Cell, settings: Mapping[str, Any]) -> StudentSpec:
        """The student's training in a cell: shared epochs and batch size, the method's tried settings."""
        epochs, batch_size = self.comparison.training[cell.ipc]
        base = self.comparison.base.student
        changes = dict(settings)
        optim = replace(base.optim, epochs=epochs, batch_size=batch_size, lr=changes.pop("lr", base.optim.lr))
        return replace(base, network=cell.student, optim=optim, **changes)


def kind_of(labels: str) -> str:
    """The kind behind a name such as `quantized`, `quantized-int8` or `projector`."""
    return labels.partition("-")[0]


def compare(
    data: str,
    out: str | Path,
    comparison: Comparison,
    methods: Sequence[str],
    labels: Sequence[str],
    ipcs: Sequence[int],
    students: Sequence[str],
    seeds: Sequence[int],
    progress: Progress = SILENT,
) -> dict[str, Any]:
    """Run the grid, or what is left of it, and keep the result at `out` up to date; see `hello-distill compare`.

    Several processes may work on one `out`: each takes what no other has begun. Accuracies are percent on the test
    split. Raises InputError before any training for unknown names, and where `out` is the result of other settings.
    """
    check(comparison, methods, labels, ipcs, students)
    file = Path(out)
    commit()  # of the code as it is now
    bench = Bench(data, comparison, file.with_name(f".{file.stem}.work"), progress)
    what = {"name": Path(data).resolve().name, "training_images": fingerprint(bench.material.train)}
    ledger = Ledger(file, what, described(comparison))
    check_counts(bench.material.train, max(*ipcs, comparison.trial_ipc))
    cells = [Cell(m, kind, ipc, s) for ipc in ipcs for s in students for m in methods for kind in labels]
    cells.sort(key=lambda cell: cell.labels in EQUAL_BY_DESIGN)
    for wait in (False, True):  # first what nobody works on, then what others have not finished
        for cell in cells:
            for seed in seeds:
                claim = bench.work / "claims" / f"{'-'.join(map(str, cell)).replace('/', '_')}-{seed}"
                with locked(claim, wait) as mine:
                    if mine and not ledger.has(cell, seed):
                        settings = _settings(bench, ledger, cell)
                        ledger.add_run(cell, settings, seed, _run(bench, ledger, cell, settings, seed))
    return ledger.read()


def check(
    comparison: Comparison, methods: Sequence[str], labels: Sequence[str], ipcs: Sequence[int], students: Sequence[str]
) -> None:
    """Raise InputError for names that a comparison does not have."""
    for method in methods:
        if method not in comparison.contenders:
            raise InputError(f"unknown method {method!r}: {nearest(method, comparison.contenders)}")
    known = [*label_kinds.kinds(), *comparison.labels]
    for kind in labels:
        if kind not in known:
            raise InputError(f"unknown labels {kind!r}: {nearest(kind, known)}")
    for ipc in ipcs:
        if ipc not in comparison.training:
            told = ", ".join(map(str, comparison.training))
            raise InputError(f"this comparison has no student training for IPC {ipc}, only for {told}")
    for student in students:
        check_name(student)


def described(comparison: Comparison) -> dict[str, Any]:
    """A comparison as nested dictionaries: what a result needs to be repeated."""
    return {
        "base": {key: value for key, value in comparison.base.settings().items() if key not in ("distiller", "method")},
        "methods": {
            name: {
                "method": distillers.name_of(contender.distiller),
                "distiller": dataclasses.asdict(contender.distiller),  # type: ignore[call-overload]
                "teachers": dataclasses.asdict(contender.teachers) if contender.teachers else None,
            }
            for name, contender in comparison.contenders.items()
        },
        "projector": dataclasses.asdict(comparison.projector),
        "training": {str(ipc): list(schedule) for ipc, schedule in comparison.training.items()},
        "labels": {name: dataclasses.asdict(options) for name, options in comparison.labels.items()},
        "trials": {name: [dict(trial) for trial in tried] for name, tried in comparison.trials.items()},
        "trial_ipc": comparison.trial_ipc,
        "trial_epochs": comparison.trial_epochs,
    }


def family(labels: str) -> str:
    """Labels that share their tried settings: those of `stored` and `pruned` labels are the online teacher's."""
    kind = kind_of(labels)
    return "teacher" if kind in ("stored", "pruned") else kind


def _settings(bench: Bench, ledger: Ledger, cell: Cell) -> dict[str, Any]:
    """The student settings that did best on held-back training images, for a method and a family of labels.

    Every trial is kept in the result; one that is there already is not repeated.
    """
    labels = family(cell.labels)
    candidates = [dict(c) for c in bench.comparison.trials.get("hard" if labels == "hard" else "soft", ({},))]
    if len(candidates) == 1:
        return candidates[0]
    place = Cell(cell.method, labels, bench.comparison.trial_ipc, cell.student)
    key = {"method": cell.method, "labels": labels, "student": cell.student}
    for number, candidate in enumerate(candidates):
        with locked(bench.work / "claims" / f"trial-{cell.method}-{labels}-{cell.student.replace('/', '_')}-{number}"):
            if not any(trial["settings"] == candidate for trial in ledger.trials(key)):
                ledger.add_trial(key, candidate, _trial(bench, place, candidate))
    chosen: dict[str, Any] = max(ledger.trials(key), key=lambda trial: trial["held_top1"])["settings"]
    return chosen


def _trial(bench: Bench, place: Cell, candidate: dict[str, Any]) -> float:
    """Top-1 on held-back training images of a shorter training with some settings; 0 where it diverged."""
    spec = bench.student(place, candidate)
    spec = replace(spec, evaluations=1, optim=replace(spec.optim, epochs=bench.comparison.trial_epochs))
    with bench.progress.stage(f"trial {place.method}") as stage:
        try:
            with bench.labelled(place, 0, spec) as folder:
                found = train_student(artifacts.load(folder), bench.material.held, 0, bench.progress).last
        except DivergedError:
            found = 0.0
        stage.figure = f"{place.labels}, {candidate}: {percent(found)} on held-back training images"
    return found


def _run(bench: Bench, ledger: Ledger, cell: Cell, settings: dict[str, Any], seed: int) -> Run:
    """One seed of a cell."""
    start = time.monotonic()
    twin = ledger.cell(cell._replace(labels=EQUAL_BY_DESIGN.get(cell.labels, "")))
    if twin is not None and seed in twin["seeds"]:
        return _copied(bench, cell, twin, twin["seeds"].index(seed))
    with bench.progress.stage(cell.labels) as stage:
        with bench.labelled(cell, seed, bench.student(cell, settings)) as folder:
            artifact = artifacts.load(folder)
            score = train_student(artifact, bench.test(artifact), seed, bench.progress)
            run = Run(score.last, score.best, _bytes(folder), time.monotonic() - start)
        stage.figure = f"{cell.name}, seed {seed}: top-1 {percent(score.last)} last, {percent(score.best)} best"
    return run


def _copied(bench: Bench, cell: Cell, twin: dict[str, Any], place: int) -> Run:
    """The twin's students, at the bytes that these labels take by formula."""
    epochs, batch_size = bench.comparison.training[cell.ipc]
    stored = sizes.stored_bytes(len(bench.material.train.classes), cell.ipc, epochs, batch_size)
    last, best = (twin[name]["runs"][place] for name in ("top1_last", "top1_best"))
    return Run(last, best, {**twin["bytes"], "labels": stored, "teacher": 0}, 0.0, twin["labels"])


def _bytes(folder: Path) -> dict[str, int]:
    """Bytes of an artefact's images, labels and teacher, and of the public weights that it relies on."""
    found = storage.info(folder)
    return {
        "images": found["images"]["bytes"],
        "labels": found["labels"]["bytes"],
        "teacher": found["teacher"]["bytes"],
        "public": sum(weights["bytes"] for weights in found["public_weights"]),
    }
