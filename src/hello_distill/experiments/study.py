"""One question about a method: variants that differ in one thing, side by side. `hello-distill study`.

A variant is a method with its settings, and the settings of the students that its artefact trains. Nothing is tuned
inside a study. Each run tests its student on held-out training images, which choices may rest on, and on the test
split, which they may not. The first variant is the one that the others are compared with.

A seed draws the images and trains the student; teachers, projectors and probes are trained once and serve all seeds.
So the spread over seeds is that of images and students, not that of projectors.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from hello_distill import artifact as artifacts
from hello_distill.data.images import check_counts
from hello_distill.experiments.grid import Bench, Comparison, artefact_bytes, described, opened
from hello_distill.experiments.ledger import Cell, Run
from hello_distill.format.manifest import check_seeds
from hello_distill.format.specs import StudentSpec
from hello_distill.student import tested, train_student
from hello_distill.system import context
from hello_distill.system.errors import InputError, nearest
from hello_distill.training.networks import check_name
from hello_distill.training.scores import percent


@dataclass(frozen=True)
class Study:
    """A question, and what is run to answer it."""

    question: str
    table: str | None
    """Where the paper has its own figures."""
    comparison: Comparison
    """Data, teachers, variants (its contenders, the first of which the others are compared with), and students' epochs
    and batch size by images per class."""
    student: Mapping[str, Any]
    """Settings of the student (fields of StudentSpec, and its optimiser's `lr`, `epochs` and `name`) that all variants
    share."""
    variants: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Settings of the student in which a variant differs, where it does."""
    networks: Mapping[str, Mapping[str, Any]] = field(default_factory=lambda: {"convnet3": {}})
    """Students, and the settings that belong to each."""
    labels: str | None = None
    """What labels the images of every variant; None: each variant's own labels."""

    def with_own_teachers(self, sources: Sequence[str]) -> Study:
        """The same with teachers that were trained elsewhere, for all variants that have none of their own."""
        return replace(self, comparison=self.comparison.with_own_teachers(sources))

    def described(self) -> dict[str, Any]:
        """What a result needs to be repeated, as nested dictionaries."""
        return {
            "experiment": "study",
            "question": self.question,
            "table": self.table,
            "order": list(self.comparison.contenders),
            **described(self.comparison),
            "student": dict(self.student),
            "variants": {name: dict(settings) for name, settings in self.variants.items()},
            "networks": {name: dict(settings) for name, settings in self.networks.items()},
            **({"labels_of_all": self.labels} if self.labels else {}),
        }

    def settings(self, cell: Cell) -> dict[str, Any]:
        """Settings of the student in a cell: the network's over the variant's over the shared ones."""
        return {**self.student, **self.variants.get(cell.method, {}), **self.networks[cell.student]}


def study(
    data: str,
    out: str | Path,
    wanted: Study,
    variants: Sequence[str] | None = None,
    ipcs: Sequence[int] | None = None,
    students: Sequence[str] | None = None,
    seeds: Sequence[int] = (0, 1, 2),
) -> dict[str, Any]:
    """Run a study, or what is left of it, and keep the result at `out` up to date; see `hello-distill study`.

    None takes all that the study has. Several processes may work on one `out`. Accuracies are percent. Raises
    InputError before any training for unknown names, and where `out` is the result of other settings.
    """
    variants, students = variants or list(wanted.comparison.contenders), students or list(wanted.networks)
    ipcs = ipcs or list(wanted.comparison.training)
    check(wanted, variants, ipcs, students)
    wanted.comparison.check_own_teachers(variants, [wanted.labels] if wanted.labels else [])
    check_seeds(seeds)
    bench, ledger = opened(data, out, wanted.comparison, wanted.described())
    if not len(bench.material.held):
        raise InputError("a study tests students on held-out training images, too; set `held_share` above 0")
    check_counts(bench.material.train, max(ipcs))

    def run(cell: Cell, seed: int) -> None:
        settings = wanted.settings(cell)
        student = bench.student(cell, settings)
        if wanted.labels:
            with bench.labelled(cell, seed, student) as folder:
                outcome, figures = _run(bench, cell, folder, student, seed)
        else:
            outcome, figures = _run(bench, cell, bench.images(cell.method, cell.ipc, seed), student, seed)
        ledger.add_run(cell, settings, seed, outcome)
        ledger.add_stages({cell.method: {name: value for name, value in figures.items() if name.endswith("top1")}})

    kinds = {name: wanted.labels or wanted.comparison.contenders[name].distiller.labels for name in variants}
    cells = [Cell(name, kinds[name], ipc, network) for network in students for ipc in ipcs for name in variants]
    ledger.fill(cells, seeds, run)
    return ledger.read().content()


def check(wanted: Study, variants: Sequence[str], ipcs: Sequence[int], students: Sequence[str]) -> None:
    """Raise InputError for what a study does not have."""
    for name in variants:
        if name not in wanted.comparison.contenders:
            raise InputError(f"unknown variant {name!r}: {nearest(name, wanted.comparison.contenders)}")
    wanted.comparison.check_ipcs(ipcs)
    for name in students:
        if name not in wanted.networks:
            raise InputError(f"this study has no settings for the student {name!r}: {nearest(name, wanted.networks)}")
        check_name(name)


def _run(bench: Bench, cell: Cell, folder: Path, student: StudentSpec, seed: int) -> tuple[Run, dict[str, Any]]:
    """One seed of a cell, trained on the artefact in `folder`, and what was measured of its labeller."""
    start = time.monotonic()
    with context.stage(cell.method) as stage:
        artifact = replace(artifacts.load(folder), student=student)
        score = train_student(artifact, bench.test(), seed, bench.material.held)
        accuracies = f"{percent(score.held)} on held-out training images, {percent(score.last)} on test images"
        stage.figure = f"{cell.name}, seed {seed}: top-1 {accuracies}"
    figures, labels = artifact.manifest["figures"], artifact.manifest["labels"]
    numbers = int(figures.get("fitted_numbers", labels["parameters"]))
    took = time.monotonic() - start
    run = Run(score.last, score.best, artefact_bytes(folder), took, None, tested(score), score.held, numbers)
    return run, figures
