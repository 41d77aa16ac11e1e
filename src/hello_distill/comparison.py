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
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from hello_distill import artifact as artifacts
from hello_distill import distillers, sizes, storage
from hello_distill import labels as label_kinds
from hello_distill.artifact import Artifact, Distiller, StudentSpec
from hello_distill.data import ImageSet, Material
from hello_distill.errors import InputError, nearest
from hello_distill.evaluate import train_student
from hello_distill.labels.projector import ProjectorLabels, describe
from hello_distill.labels.teacher import TeacherLabels
from hello_distill.machine import environment
from hello_distill.models import check_name
from hello_distill.pipeline import Recipe, prepare, test_images
from hello_distill.progress import SILENT, Progress
from hello_distill.projector import ProjectorSpec
from hello_distill.relabel import Relabel, label_source
from hello_distill.scores import percent
from hello_distill.stages import Stages, fingerprint
from hello_distill.teachers import TeacherSpec
from hello_distill.types import LabelSource

FORMAT = 1
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


class Cell(NamedTuple):
    """A place in the grid."""

    method: str
    labels: str
    ipc: int
    student: str

    @property
    def name(self) -> str:
        """As people read it."""
        return f"{self.method}, {self.labels}, IPC {self.ipc}, {self.student}"


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
        if not folder.is_dir():
            stages = self.stages(contender.teachers)
            made = contender.distiller(self.material, stages, ipc, seed, self.progress)
            settings = replace(base, distiller=contender.distiller, ipc=ipc).settings()
            artifacts.save(made, ipc, base.student, base.codec, settings, folder)
        return folder

    def online(self, artifact: Artifact, method: str, labels: str) -> LabelSource:
        """What makes labels of a kind: the artefact's own source, or the comparison's teacher or projector."""
        wanted = "projector" if labels == "projector" else "teacher"
        if artifact.labels.kind == wanted:
            return artifact.labels
        if wanted == "teacher":
            stages = self.stages(self.comparison.contenders[method].teachers)
            return TeacherLabels([stages.spec.network], [stages.teachers().observer], artifact.data.side)
        fitted = self.stages().projector(self.comparison.projector)
        adapter = fitted.adapter.rounded(self.comparison.projector.precision)
        return ProjectorLabels(fitted.start, adapter, describe(fitted.encoder), self.comparison.projector.templates)

    def labelled(self, cell: Cell, seed: int, student: StudentSpec) -> Path:
        """An artefact with the cell's images and labels, in a place that the next one takes."""
        artifact = replace(artifacts.load(self.images(cell.method, cell.ipc, seed)), student=student)
        options = replace(self.comparison.labels.get(cell.labels) or Relabel(kind_of(cell.labels)), seed=seed)
        source = label_source(artifact, self.online(artifact, cell.method, cell.labels), options)
        folder = self.work / f"labelled-{os.getpid()}"
        shutil.rmtree(folder, ignore_errors=True)
        images = self.images(cell.method, cell.ipc, seed)
        return artifacts.save_relabelled(images, source, student, folder)

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

    Accuracies are percent on the test split. Raises InputError before any training for unknown names, and where `out`
    is the result of other settings.
    """
    check(comparison, methods, labels, ipcs, students)
    file = Path(out)
    result = _begun(file, data, comparison)
    work = file.with_name(f".{file.stem}.work")
    bench = Bench(data, comparison, work, progress)
    check_classes_of(bench, ipcs)
    cells = [
        Cell(method, kind, ipc, student) for ipc, student, method, kind in _product(ipcs, students, methods, labels)
    ]
    for cell in sorted(cells, key=lambda cell: cell.labels in EQUAL_BY_DESIGN):
        settings = _settings(bench, result, file, cell)
        for seed in seeds:
            _run(bench, result, file, cell, settings, seed)
    return result


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


def check_classes_of(bench: Bench, ipcs: Sequence[int]) -> None:
    """Raise InputError where a class has fewer images than are asked for."""
    for target, name in enumerate(bench.material.train.classes):
        count = len(bench.material.train.of_class(target))
        if count < max(ipcs):
            raise InputError(f"class {name!r} has {count} training images, and IPC {max(ipcs)} was asked for")


def _product(
    ipcs: Sequence[int], students: Sequence[str], methods: Sequence[str], labels: Sequence[str]
) -> Iterator[tuple[int, str, str, str]]:
    for ipc in ipcs:
        for student in students:
            for method in methods:
                for kind in labels:
                    yield ipc, student, method, kind


def _begun(file: Path, data: str, comparison: Comparison) -> dict[str, Any]:
    """The result so far. Raises InputError where the file holds that of other settings."""
    recipe = json.loads(json.dumps(described(comparison)))
    name = Path(data).name
    if not file.exists():
        return {
            "format": FORMAT,
            "data": name,
            "recipe": recipe,
            "environment": environment(),
            "trials": [],
            "cells": [],
        }
    try:
        result: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        same = result["recipe"] == recipe and result["data"] == name
    except (ValueError, KeyError, TypeError):
        raise InputError(f"{file} is no result of a comparison; choose another --out") from None
    if not same:
        raise InputError(f"{file} is the result of other data or other settings; choose another --out")
    return result


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
    """Labels that share their tried settings: `hard`, `projector`, or `teacher` and what is made of it."""
    return labels if labels in ("hard", "projector") else "teacher"


def _settings(bench: Bench, result: dict[str, Any], file: Path, cell: Cell) -> dict[str, Any]:
    """The student settings that did best on held-back training images, for a method and a family of labels.

    Every trial is kept in the result; one that is there already is not repeated.
    """
    labels = family(cell.labels)
    candidates = bench.comparison.trials.get("hard" if labels == "hard" else "soft", ({},))
    if len(candidates) == 1:
        return dict(candidates[0])
    place = Cell(cell.method, labels, bench.comparison.trial_ipc, cell.student)
    key = {"method": cell.method, "labels": labels, "student": cell.student}
    for candidate in candidates:
        tried = [trial for trial in result["trials"] if key.items() <= trial.items()]
        if any(trial["settings"] == dict(candidate) for trial in tried):
            continue
        spec = bench.student(place, candidate)
        spec = replace(spec, evaluations=1, optim=replace(spec.optim, epochs=bench.comparison.trial_epochs))
        with bench.progress.stage(f"trial {place.method}") as stage:
            artifact = artifacts.load(bench.labelled(place, 0, spec))
            score = train_student(artifact, bench.material.held, 0, bench.progress)
            stage.figure = f"{labels}, {dict(candidate)}: {percent(score.last)} on held-back training images"
        result["trials"].append({**key, "settings": dict(candidate), "held_top1": score.last})
        _write(file, result)
    tried = [trial for trial in result["trials"] if key.items() <= trial.items()]
    chosen: dict[str, Any] = max(tried, key=lambda trial: trial["held_top1"])["settings"]
    return chosen


def _run(bench: Bench, result: dict[str, Any], file: Path, cell: Cell, settings: dict[str, Any], seed: int) -> None:
    """One seed of a cell, unless the result has it."""
    entry = _entry(result, cell, settings)
    if seed in entry["seeds"]:
        return
    start = time.monotonic()
    spec = bench.student(cell, settings)
    twin = _twin(result, cell, seed)
    with bench.progress.stage(cell.labels) as stage:
        if twin is None:
            folder = bench.labelled(cell, seed, spec)
            artifact = artifacts.load(folder)
            score = train_student(artifact, bench.test(artifact), seed, bench.progress)
            last, best = score.last, score.best
            entry["bytes"] = _bytes(folder)
            shutil.rmtree(folder)
        else:
            place = twin["seeds"].index(seed)
            last, best = twin["top1_last"]["runs"][place], twin["top1_best"]["runs"][place]
            entry["same_students_as"] = twin["labels"]
            stored = sizes.stored_bytes(
                len(bench.material.train.classes), cell.ipc, *bench.comparison.training[cell.ipc]
            )
            entry["bytes"] = {**twin["bytes"], "labels": stored, "teacher": 0}
        stage.figure = f"{cell.name}, seed {seed}: top-1 {percent(last)} last, {percent(best)} best"
    entry["seeds"].append(seed)
    for name, value in (("top1_last", last), ("top1_best", best)):
        runs = [*entry[name]["runs"], value]
        sd = statistics.stdev(runs) if len(runs) > 1 else None
        entry[name] = {"mean": statistics.fmean(runs), "sd": sd, "runs": runs}
    entry["seconds"] = round(entry["seconds"] + time.monotonic() - start)
    _write(file, result)


def _entry(result: dict[str, Any], cell: Cell, settings: dict[str, Any]) -> dict[str, Any]:
    """The cell's part of the result."""
    for entry in result["cells"]:
        if (entry["method"], entry["labels"], entry["ipc"], entry["student"]) == cell:
            found: dict[str, Any] = entry
            return found
    empty: dict[str, Any] = {"mean": None, "sd": None, "runs": []}
    new = {**cell._asdict(), "settings": settings, "seeds": [], "top1_last": empty, "top1_best": empty, "seconds": 0}
    result["cells"].append(new)
    return new


def _twin(result: dict[str, Any], cell: Cell, seed: int) -> dict[str, Any] | None:
    """The cell whose students are this cell's, bit for bit, if it has run."""
    if cell.labels not in EQUAL_BY_DESIGN:
        return None
    wanted = cell._replace(labels=EQUAL_BY_DESIGN[cell.labels])
    for entry in result["cells"]:
        same = (entry["method"], entry["labels"], entry["ipc"], entry["student"]) == wanted
        if same and seed in entry["seeds"]:
            found: dict[str, Any] = entry
            return found
    return None


def _bytes(folder: Path) -> dict[str, int]:
    """Bytes of an artefact's images, labels and teacher, and of the public weights that it relies on."""
    found = storage.info(folder)
    return {
        "images": found["images"]["bytes"],
        "labels": found["labels"]["bytes"],
        "teacher": found["teacher"]["bytes"],
        "public": sum(weights["bytes"] for weights in found["public_weights"]),
    }


def _write(file: Path, result: dict[str, Any]) -> None:
    """Keep the result: the file is whole at any moment."""
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(f".{file.name}.partial")
    storage.write_json(partial, result)
    partial.rename(file)
