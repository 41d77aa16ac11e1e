"""What the cells of a comparison share: its settings, teachers and projector, distilled images, labelled artefacts."""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from hello_distill import artifact as artifacts
from hello_distill import labels as label_kinds
from hello_distill.api import training_images
from hello_distill.artifact import Artifact
from hello_distill.data.images import ImageSet, Material
from hello_distill.data.sources import read_test_split, short_name
from hello_distill.distillers.base import Distiller
from hello_distill.distillers.recipe import Recipe
from hello_distill.experiments.ledger import Cell, Ledger
from hello_distill.format import costs
from hello_distill.format.kinds import LabelKind
from hello_distill.format.results.grids import Bytes
from hello_distill.format.specs import StudentSpec
from hello_distill.projector import ProjectorSpec
from hello_distill.relabel import label_source, recorded, wanted
from hello_distill.stages import Stages
from hello_distill.stages.kept import fingerprint
from hello_distill.system.cache import once
from hello_distill.system.errors import InputError
from hello_distill.system.machine import commit
from hello_distill.system.owners import beside, sweep
from hello_distill.teachers import TeacherSpec, only_last, public_weights
from hello_distill.teachers import recorded as taught_as
from hello_distill.training.own import OwnTeacher, check_sources
from hello_distill.training.own import described as own_teachers
from hello_distill.types import LabelSource

Spec = TypeVar("Spec", ProjectorSpec, TeacherSpec)
PROJECTOR, HEAD = "projector", "head"
"""Names of the projector, and of a linear head on its encoder, among what is fitted."""
TEACHER, HARD = "teacher", "hard"
"""Kinds of labels: those that ship their teachers, and those that ask none."""


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
    labels: Mapping[str, LabelKind]
    """Settings of the kinds that have some."""
    trials: Mapping[str, tuple[Mapping[str, Any], ...]] = field(default_factory=dict)
    """Settings of the student (fields of StudentSpec, and its optimiser's `lr`, `epochs` and `name`) that are tried on
    held-out training images, for each method: as many for `hard` as for `soft`. The first is taken where nothing is
    tried."""
    trial_ipc: int = 10
    trial_epochs: int = 60
    fits: Mapping[str, tuple[Mapping[str, float], ...]] = field(default_factory=dict)
    """Settings that are tried by short fits and judged on held-out training images, as many for each: of the
    `projector` (`lr`, and `weight`, the lambda of Eq. 5), by students that learn from it; by their own accuracy those
    of a `head` that is a model by itself (see `models`), and of the teachers of contenders that have their own."""
    fit_images: int = 6400
    """Training images that such a fit sees, once."""

    def check_ipcs(self, ipcs: Sequence[int]) -> None:
        """Raise InputError for images per class that students have no training for."""
        for ipc in ipcs:
            if ipc not in self.training:
                known = ", ".join(map(str, self.training))
                raise InputError(f"this experiment has no student training for IPC {ipc}, only for {known}")

    def with_own_teachers(self, sources: Sequence[str]) -> Comparison:
        """The same with teachers that were trained elsewhere, for all contenders that have none of their own."""
        return replace(self, base=self.base.with_own_teachers(sources))

    def check_own_teachers(
        self, methods: Sequence[str], labels: Sequence[str] = (), models: Sequence[str] = ()
    ) -> None:
        """Raise InputError or MachineError for own teachers that are not there, that nothing asks, or that what asks
        them could not ship; see `check_sources`."""
        if not self.base.teachers.sources:
            return
        shared = [name for name in methods if self.contenders[name].teachers is None]
        makers = {label_kinds.kind(kind_of(name)).made_by or HARD for name in labels}
        asked = {self.contenders[name].distiller.labels for name in shared} | set(map(kind_of, models)) - {HEAD}
        asked |= makers if shared else makers & {PROJECTOR}
        if asked <= {HARD}:
            raise InputError("nothing here asks the teacher that is brought along; leave --teacher out")
        check_sources(self.base.teachers.sources, TEACHER if TEACHER in asked else PROJECTOR)

    def with_fit(self, what: str, settings: Mapping[str, float]) -> Comparison:
        """The same comparison with these settings of the projector, or of a contender's teachers."""
        if what == PROJECTOR:
            projector = with_settings(self.projector, settings)
            tuned = {name: _with_projector(c, self.projector, projector) for name, c in self.contenders.items()}
            return replace(self, projector=projector, contenders=tuned)
        contender = self.contenders[what]
        assert contender.teachers is not None
        contender = replace(contender, teachers=with_settings(contender.teachers, settings))
        return replace(self, contenders={**self.contenders, what: contender})


def with_settings(spec: Spec, settings: Mapping[str, float]) -> Spec:
    """A specification with other fields; `lr` is its optimiser's."""
    changes: dict[str, Any] = dict(settings)
    optim = replace(spec.optim, lr=changes.pop("lr", spec.optim.lr))
    return replace(spec, optim=optim, **changes)


def _with_projector(contender: Contender, old: ProjectorSpec, new: ProjectorSpec) -> Contender:
    distiller = contender.distiller
    if distiller.projector_spec == old:
        return replace(contender, distiller=distiller.with_projector(new))
    return contender


class Bench:
    """The grid at work: what is shared between cells, and where things are kept."""

    def __init__(self, data: str, comparison: Comparison, work: Path, stages: Path | None = None) -> None:
        self.data = data
        self.comparison = comparison
        self.work = work
        self.kept = work / "stages" if stages is None else stages
        """Where teachers and projectors are kept, as `distill --stages` keeps them."""
        self.material, _, self.source = training_images(data, comparison.base)
        self._stages: dict[TeacherSpec, Stages] = {}
        self._whole: tuple[Bench, Sequence[int]] | None = None
        self._test: ImageSet | None = None

    def stages(self, spec: TeacherSpec | None = None) -> Stages:
        """Teachers and projectors, shared by all that ask for the same."""
        spec = spec or self.comparison.base.teachers
        if spec not in self._stages:
            base = self.comparison.base
            more, own = self._epochs(spec), self._own(spec)
            chosen = more, base.student.augment, own, base.codec
            self._stages[spec] = Stages(self.material, spec, base.seed, self.kept, *chosen)
        return self._stages[spec]

    def _own(self, spec: TeacherSpec) -> Sequence[OwnTeacher] | None:
        """Of some of the classes: own teachers as they were opened for all, with the logits of these alone."""
        if self._whole is None or not spec.sources:
            return None
        whole, chosen = self._whole
        return [teacher.only(chosen) for teacher in whole.stages(spec).own]

    def _epochs(self, spec: TeacherSpec) -> set[int]:
        """Every checkpoint that somebody wants of the same training run."""
        base = self.comparison.base.teachers
        specs = [base, *(contender.teachers or base for contender in self.comparison.contenders.values())]
        specs = [each.for_images(len(self.material.train)) for each in specs]
        run = only_last(spec.for_images(len(self.material.train)))
        return {epoch for each in specs if only_last(each) == run for epoch in each.weak_epochs}

    def figures(self) -> dict[str, dict[str, Any]]:
        """What was measured of the teachers and the projector that were asked for so far."""
        taught = {stages.observer_name: stages.figures for stages in self._stages.values()}
        fitted = {name: value for stages in self._stages.values() for name, value in stages.projector_figures.items()}
        return {name: dict(values) for name, values in {**taught, PROJECTOR: fitted}.items() if values}

    def test(self) -> ImageSet:
        """The test split, decoded once."""
        if self._test is None:
            train = self.material.train
            self._test = read_test_split(self.data, train.classes, train.side, square=self.comparison.base.square)
        return self._test

    def only(self, chosen: Sequence[int]) -> Bench:
        """The same with the training images of some classes, and what is kept of those in the same place."""
        part = copy.copy(self)
        part.material = Material(*(images.only(chosen) for images in self.material))
        part._stages, part._test, part._whole = {}, None, (self, chosen)
        return part

    def images(self, method: str, ipc: int, seed: int) -> Path:
        """The method's artefact, made if it is not there: images drawn by the seed, labels its own."""
        base, contender = self.comparison.base, self.comparison.contenders[method]
        own = [teacher.key for teacher in self.stages(contender.teachers).own]
        what = [repr(contender), repr(base), fingerprint(self.material.train), *own]
        digest = hashlib.sha256(json.dumps(what).encode()).hexdigest()[:12]
        name = contender.distiller.name  # contenders that are the same but for their name share images
        folder = self.work / "images" / f"{name}-ipc{ipc}-seed{seed}-{digest}"
        return once(folder, lambda: self._distill(contender, ipc, seed, folder))

    def _distill(self, contender: Contender, ipc: int, seed: int, folder: Path) -> None:
        base = self.comparison.base
        made = contender.distiller(self.material, self.stages(contender.teachers), ipc, seed)
        made = made._replace(teachers=self.stages(contender.teachers).brought())
        settings = replace(base, distiller=contender.distiller, ipc=ipc).settings()
        artifacts.save(made, ipc, base.student, base.codec, settings, folder)

    def online(self, artifact: Artifact, method: str, labels: str) -> LabelSource:
        """What makes labels of a kind: the artefact's own teacher or the comparison's, or its projector as fitted."""
        maker = label_kinds.kind(kind_of(labels)).made_by
        if maker is None:
            return artifact.labels
        teachers = self.stages(self.comparison.contenders[method].teachers)
        made: LabelSource = label_kinds.kind(maker).trained(
            artifact, teachers, self.stages(), self.comparison.projector
        )
        return made

    def kind(self, labels: str) -> LabelKind:
        """The kind of labels behind a name, with its options."""
        return self.comparison.labels.get(labels) or wanted(kind_of(labels))

    @contextmanager
    def labelled(self, cell: Cell, seed: int, student: StudentSpec) -> Iterator[Path]:
        """An artefact with the cell's images and labels, for as long as it is needed.

        It names the recipe's own network as its student, since no artefact may name an encoder for one.
        """
        images = self.images(cell.method, cell.ipc, seed)
        artifact = replace(artifacts.load(images), student=student)
        options = self.kind(cell.labels).with_seed(seed)
        source = label_source(artifact, self.online(artifact, cell.method, cell.labels), options)
        sweep(self.work / "labelled")
        folder = beside(self.work / "labelled")
        try:
            named = replace(student, network=self.comparison.base.student.network)
            yield artifacts.save_relabelled(images, source, named, folder, self._brought(cell), self.source)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _brought(self, cell: Cell) -> list[dict[str, Any]]:
        """What a manifest says of the own teachers that a cell's labels come of."""
        maker = label_kinds.kind(kind_of(cell.labels)).made_by
        if maker is None:
            return []
        asked = self.stages(None if maker == PROJECTOR else self.comparison.contenders[cell.method].teachers)
        return [teacher.described() for teacher in asked.own]

    def student(self, cell: Cell, settings: Mapping[str, Any]) -> StudentSpec:
        """The student's training in a cell: shared epochs and batch size, the method's tried settings."""
        epochs, batch_size = self.comparison.training[cell.ipc]
        base = self.comparison.base.student
        changes = dict(settings)
        shared = replace(base.optim, epochs=epochs, batch_size=batch_size)
        optim = replace(shared, **{key: changes.pop(key) for key in ("epochs", "lr", "name") if key in changes})
        augment = replace(base.augment, **changes.pop("augment", {}))
        return replace(base, network=cell.student, optim=optim, augment=augment, **changes)


def opened(
    data: str,
    out: str | Path,
    comparison: Comparison,
    settings: dict[str, Any],
) -> tuple[Bench, Ledger]:
    """A bench, and the result file at `out` that it fills.

    Teachers, projectors and distilled images are kept in the folder `.work` beside it, which all results in one folder
    share: each is named by everything that it depends on. Raises InputError where `out` is the result of other data or
    other settings.
    """
    commit()  # of the code as it is now
    file = Path(out)
    bench = Bench(data, comparison, file.with_name(".work"))
    train = bench.material.train
    what = {"name": short_name(data), "training_images": fingerprint(train), "classes": len(train.classes)}
    return bench, Ledger(file, what, settings)


def artefact_bytes(folder: Path, student: str = "") -> Bytes:
    """Bytes of an artefact's images, labels and teacher, and of the public weights that it or a student relies on."""
    info = costs.info(folder)
    sizes = {name: info[name]["bytes"] for name in ("images", "labels", "teacher")}
    public = {weights["name"]: weights["bytes"] for weights in info["public_weights"]}
    public |= {weights.name: weights.bytes for weights in public_weights(student)}
    return Bytes(**sizes, public=sum(public.values()))


def kind_of(labels: str) -> str:
    """The kind behind a name such as `quantized`, `quantized-int8` or `projector`."""
    return labels.partition("-")[0]


def described(comparison: Comparison) -> dict[str, Any]:
    """A comparison as nested dictionaries: what a result needs to be repeated. Own teachers are named by their hashes,
    and not by the folders in which they lie."""
    shared = {**comparison.base.settings(), "teachers": _taught_as(comparison.base.teachers)}
    return {
        "base": {key: value for key, value in shared.items() if key not in ("distiller", "method")},
        "methods": {
            name: {
                "method": contender.distiller.name,
                "distiller": dataclasses.asdict(contender.distiller),
                "teachers": _taught_as(contender.teachers) if contender.teachers else None,
            }
            for name, contender in comparison.contenders.items()
        },
        "projector": dataclasses.asdict(comparison.projector),
        "training": {str(ipc): list(schedule) for ipc, schedule in comparison.training.items()},
        "labels": {name: recorded(options) for name, options in comparison.labels.items()},
        "trials": {name: [dict(trial) for trial in tried] for name, tried in comparison.trials.items()},
        "trial_ipc": comparison.trial_ipc,
        "trial_epochs": comparison.trial_epochs,
        "fits": {name: [dict(fit) for fit in tried] for name, tried in comparison.fits.items()},
        "fit_images": comparison.fit_images,
    }


def _taught_as(spec: TeacherSpec) -> dict[str, Any]:
    own = {"sources": own_teachers(spec.sources)} if spec.sources else {}
    return taught_as(spec) | own
