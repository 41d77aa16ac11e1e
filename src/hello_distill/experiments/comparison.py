"""Methods and labels side by side: one data set, one student training, one table. `hello-distill compare`.

A cell is a method, a kind of labels, a number of images per class and a student; it has one run per seed. A seed draws
the images and trains the student; teachers and projector are trained once and serve every cell. Each run is written
when it ends, and a comparison that was stopped goes on where it was.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from hello_distill import artifact as artifacts
from hello_distill import labels as label_kinds
from hello_distill.data.images import check_counts
from hello_distill.distillers.base import METHODS
from hello_distill.experiments import models as rivals
from hello_distill.experiments.grid import (
    HEAD,
    PROJECTOR,
    Bench,
    Comparison,
    Contender,
    artefact_bytes,
    described,
    kind_of,
    opened,
)
from hello_distill.experiments.ledger import Cell, Ledger, Run
from hello_distill.experiments.tuning import fit_settings, student_settings
from hello_distill.format.manifest import check_seeds
from hello_distill.format.results.grids import Bytes, GridCell
from hello_distill.student import tested, train_student
from hello_distill.system import context
from hello_distill.system.errors import InputError, nearest
from hello_distill.teachers import check_network, public_bytes
from hello_distill.training.scores import percent


def compare(
    data: str,
    out: str | Path,
    comparison: Comparison,
    methods: Sequence[str],
    labels: Sequence[str],
    ipcs: Sequence[int] | None,
    students: Sequence[str],
    seeds: Sequence[int],
    models: Sequence[str] = (),
) -> dict[str, Any]:
    """Run the grid, or what is left of it, and keep the result at `out` up to date; see `hello-distill compare`.

    `ipcs` None takes all that the comparison has. Several processes may work on one `out`: each takes what no other has
    begun. Accuracies are percent on the test split; `models` are tested once, after all students (see `models.py`).
    Raises InputError before any training for unknown names, and where `out` is the result of other settings.
    """
    ipcs = ipcs or list(comparison.training)
    check(comparison, methods, labels, ipcs, students)
    rivals.check(comparison, models)
    others = {name: Contender(METHODS.find(name)()) for name in methods if name not in comparison.contenders}
    comparison = replace(comparison, contenders={**comparison.contenders, **others})
    comparison.check_own_teachers(methods, labels, models)
    check_seeds(seeds)
    bench, ledger = opened(data, out, comparison, described(comparison))
    check_counts(bench.material.train, max(*ipcs, comparison.trial_ipc))
    for name in _fitted(comparison, methods, [*labels, *models]):
        bench.comparison = bench.comparison.with_fit(name, fit_settings(bench, ledger, name))
    cells = [Cell(m, kind, ipc, s) for ipc in ipcs for s in students for m in methods for kind in labels]
    cells.sort(key=lambda cell: _twin(cell) is not None)

    def run(cell: Cell, seed: int) -> None:
        settings = student_settings(bench, ledger, cell)
        ledger.add_run(cell, settings, seed, _run(bench, ledger, cell, settings, seed))
        ledger.add_stages(bench.figures())

    ledger.fill(cells, seeds, run)
    rivals.fill(bench, ledger, models)
    return ledger.read().content()


def _fitted(comparison: Comparison, methods: Sequence[str], labels: Sequence[str]) -> list[str]:
    """What a grid needs fitted beside its teachers: the projector, contenders' own teachers."""
    projects = any(comparison.contenders[name].distiller.projector_spec for name in methods)
    makers = {label_kinds.kind(kind_of(name)).made_by for name in labels if name != HEAD}
    needed = [PROJECTOR] if projects or PROJECTOR in makers else []
    return needed + [name for name in methods if comparison.contenders[name].teachers is not None]


def check(
    comparison: Comparison, methods: Sequence[str], labels: Sequence[str], ipcs: Sequence[int], students: Sequence[str]
) -> None:
    """Raise InputError for names that a comparison does not have. Other packages' methods come with their defaults."""
    for method in methods:
        methods_here = {*comparison.contenders, *METHODS.names()} - (METHODS.ours - {*comparison.contenders})
        if method not in methods_here:
            raise InputError(f"unknown method {method!r}: {nearest(method, methods_here)}")
    known = [*label_kinds.kinds(), *comparison.labels]
    for kind in labels:
        if kind not in known:
            raise InputError(f"unknown labels {kind!r}: {nearest(kind, known)}")
    comparison.check_ipcs(ipcs)
    for student in students:
        check_network(student)


def _run(bench: Bench, ledger: Ledger, cell: Cell, settings: dict[str, Any], seed: int) -> Run:
    """One seed of a cell."""
    start = time.monotonic()
    twin = ledger.read().cell(cell._replace(labels=_twin(cell) or "").fields)
    if twin is not None and seed in twin.seeds:
        return _copied(bench, cell, twin, twin.seeds.index(seed))
    with context.stage(cell.labels) as stage:
        student = bench.student(cell, settings)
        with bench.labelled(cell, seed, student) as folder:
            size = artefact_bytes(folder, cell.student)
            score = train_student(replace(artifacts.load(folder), student=student), bench.test(), seed)
        stage.figure = f"{cell.name}, seed {seed}: top-1 {percent(score.last)} last, {percent(score.best)} best"
    return Run(score.last, score.best, size, time.monotonic() - start, None, tested(score))


def _twin(cell: Cell) -> str | None:
    """Labels whose students are the same bit for bit, so that bytes are all there is to find out."""
    return label_kinds.kind(cell.labels).same_students_as if cell.labels in label_kinds.kinds() else None


def _copied(bench: Bench, cell: Cell, twin: GridCell, run: int) -> Run:
    """The twin's students, at the bytes that these labels take by formula. They rely on no public weights."""
    epochs, batch_size = bench.comparison.training[cell.ipc]
    kind = label_kinds.kind(cell.labels)
    stored = kind().stored_bytes(len(bench.material.train.classes), cell.ipc, epochs, batch_size)
    size = Bytes(images=twin.bytes.images, labels=stored, teacher=0, public=public_bytes(cell.student))
    return Run(twin.top1_last.runs[run], twin.top1_best.runs[run], size, 0.0, twin.labels)
