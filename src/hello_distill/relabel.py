"""Other labels for the images of an artefact: `hello-distill labels`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hello_distill import artifact as artifacts
from hello_distill import labels as label_kinds
from hello_distill.artifact import Artifact
from hello_distill.format import precision, sizes
from hello_distill.format.codecs import codec
from hello_distill.format.manifest import check_seeds
from hello_distill.labels.hard import HardLabels
from hello_distill.labels.projector import ProjectorLabels
from hello_distill.labels.pruned import pruned
from hello_distill.labels.quantized import quantized
from hello_distill.labels.recording import Plan
from hello_distill.labels.static import static
from hello_distill.labels.stored import stored
from hello_distill.labels.teacher import TeacherLabels
from hello_distill.system import context
from hello_distill.system.errors import InputError, nearest
from hello_distill.system.publishing import Claim, claimed
from hello_distill.types import LabelSource


@dataclass(frozen=True)
class Relabel:
    """Which labels, and how they are kept."""

    kind: str
    """A module of `labels/`."""
    keep: float | None = None
    """Share of a training's batches that is kept. None: 1/40 for `pruned` (LPLD's strongest), all for `quantized`."""
    replacement: bool | None = None
    """Whether an epoch draws from what was kept with replacement. None: as LPLD (`pruned`) and LPQLD do."""
    codec: str = "topk"
    """Of `quantized` labels: topk, int8, float8."""
    k: int = 10
    """Of top-k."""
    precision: str = "float16"
    """Of the `projector`."""
    seed: int = 0
    """Of the views that are stored: a student of this seed sees what it would have seen online."""

    def __post_init__(self) -> None:
        if self.kind not in label_kinds.kinds():
            raise InputError(f"unknown kind of labels {self.kind!r}: {nearest(self.kind, label_kinds.kinds())}")
        if self.keep is not None and not 0 < self.keep <= 1:
            raise InputError(f"--keep {self.keep} is no share; give a number above 0 and up to 1")
        check_seeds([self.seed], "--seed")
        precision.named(self.precision)
        codec(self.codec, self.k)


OPTIONS = {
    "keep": ("pruned", "quantized"),
    "replacement": ("pruned", "quantized"),
    "codec": ("quantized",),
    "k": ("quantized",),
    "precision": ("projector",),
    "seed": ("stored", "pruned", "quantized"),
}
"""Kinds of labels that a field of `Relabel` has a meaning for."""


def chosen(kind: str, options: Mapping[str, Any]) -> Relabel:
    """Labels of a kind with these options, of which None takes the default; see `hello-distill labels`.

    Raises InputError for an option that would do nothing: one of other kinds, and `k` of a codec that has none.
    """
    wanted = Relabel(kind)
    given = {name: value for name, value in options.items() if value is not None}
    for name in given:
        if kind not in OPTIONS[name]:
            raise InputError(f"--{name} is for {' or '.join(OPTIONS[name])} labels, not {kind}")
    if "k" in given and given.get("codec", wanted.codec) != "topk":
        raise InputError(f"--k is for the codec topk, not {given['codec']}")
    return replace(wanted, **given)


def relabel(
    folder: str | Path,
    out: str | Path | Claim,
    options: Relabel,
    source: str | Path | None = None,
) -> Path:
    """Write an artefact with the images of `folder` and labels made by an online source.

    `source` names the artefact that keeps the source (a teacher or a projector), `folder` itself unless given. Raises
    InputError where it cannot label new views, or its classes are others, and for top-k labels that would save nothing.
    """
    if not isinstance(out, Claim):
        with claimed(out) as claim:
            return relabel(folder, claim, options, source)
    artifact = artifacts.load(folder)
    given = artifact if source is None else artifacts.load(source)
    if given.classes != artifact.classes:
        raise InputError(f"{source} labels {len(given.classes)} other classes than {folder} has")
    if given.labels.kind == "teacher" and given.data.side != artifact.data.side:
        raise InputError(
            f"the teacher of {source} was trained on images of {given.data.side} pixels, "
            f"{folder} has {artifact.data.side}"
        )
    check_smaller(options, len(artifact.classes))
    with context.stage(f"labels {options.kind}") as stage:
        written = artifacts.save_relabelled(
            folder, label_source(artifact, given.labels, options), artifact.student, out
        )
        stage.figure = f"{written}"
    return written


def check_smaller(options: Relabel, classes: int) -> None:
    """Raise InputError where top-k labels would keep every logit, and more bytes than float16 labels take."""
    if options.kind != "quantized" or options.codec != "topk" or options.k < classes:
        return
    smaller = (classes - 1) // 2
    lower = f"a --k of {smaller} or less, or " if smaller else ""
    raise InputError(
        f"--k {options.k} of {classes} classes keeps every logit and its class, which takes more bytes than float16 "
        f"labels; give {lower}--codec float8"
    )


def label_source(artifact: Artifact, online: LabelSource, options: Relabel) -> LabelSource:
    """Labels of a kind for an artefact's images, made by an online source."""
    if options.kind == "hard":
        return HardLabels(artifact.data.targets, len(artifact.classes))
    if online.kind not in ("teacher", "projector"):
        raise InputError(
            f"{online.kind} labels cannot label new views; give --source an artefact with teacher or projector labels"
        )
    if options.kind == "static":
        return static(artifact.data, online)
    if options.kind in ("teacher", "projector"):
        return _of_kind(online, options)
    plan = _plan(artifact, online, options)
    if options.kind == "stored":
        return stored(plan)
    if options.kind == "pruned":
        return pruned(plan, True if options.replacement is None else options.replacement)
    return quantized(plan, _share(options), bool(options.replacement))


def _of_kind(online: LabelSource, options: Relabel) -> LabelSource:
    """The online source itself, a projector in another precision."""
    if online.kind != options.kind:
        raise InputError(f"no {options.kind} here, but a {online.kind}; give --source an artefact that has one")
    if isinstance(online, ProjectorLabels):
        return online.rounded(precision.named(options.precision))
    assert isinstance(online, TeacherLabels)
    return online


def _share(options: Relabel) -> float:
    if options.keep is not None:
        return options.keep
    return 1 / 40 if options.kind == "pruned" else 1.0


def _plan(artifact: Artifact, online: LabelSource, options: Relabel) -> Plan:
    """The batches of the artefact's own student training that are stored."""
    student, share = artifact.student, _share(options)
    batches = student.optim.epochs * sizes.num_batches(len(artifact.data), student.optim.batch_size)
    return Plan(
        images=artifact.data,
        source=online,
        codec=codec(options.codec, options.k) if options.kind == "quantized" else codec("float16"),
        augment=student.augment,
        batch_size=student.optim.batch_size,
        seed=options.seed,
        batches=batches if options.kind == "stored" else sizes.kept_batches(batches, share),
    )
