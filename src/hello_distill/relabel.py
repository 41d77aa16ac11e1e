"""Other labels for the images of an artefact: `hello-distill labels`."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from hello_distill import artifact as artifacts
from hello_distill import labels as label_kinds
from hello_distill.artifact import Artifact
from hello_distill.format import pulled
from hello_distill.format.kinds import KINDS, LabelKind
from hello_distill.system import context
from hello_distill.system.claims import claimed
from hello_distill.system.errors import InputError
from hello_distill.types import LabelSource


def wanted(kind: str, **options: Any) -> LabelKind:
    """Labels of a kind with these options; see `hello-distill labels`.

    Raises InputError for an unknown kind, a wrong value, and an option that would do nothing.
    """
    return label_kinds.kind(kind).of(options)


def recorded(kind: LabelKind) -> dict[str, Any]:
    """A kind and its options as a result file keeps them, with the defaults of the options that it has not.

    So wrote 0.1.0, whose results are continued only by a command of the same settings.
    """
    ours = map(KINDS.find, KINDS.ours)
    every = {each.name: each.default for one in ours for each in dataclasses.fields(one)}
    return {"kind": kind.name, **every, **dataclasses.asdict(kind)}


def relabel(folder: str | Path, out: str | Path, options: LabelKind, source: str | Path | None = None) -> Path:
    """Write an artefact with the images of `folder` and labels made by an online source.

    `source` names the artefact that keeps the source (a teacher or a projector), `folder` itself unless given. Raises
    InputError where it cannot label new views, or its classes are others, and for top-k labels that would save nothing.
    """
    with claimed(out):
        artifact = artifacts.load(folder := pulled.local(folder))
        given = artifact if source is None else artifacts.load(source)
        check_source(given, source or folder, artifact, folder)
        options.check(len(artifact.classes))
        with context.stage(f"labels {options.name}") as stage:
            made = label_source(artifact, given.labels, options)
            written = artifacts.save_relabelled(folder, made, artifact.student, out, given.manifest.get("teachers", ()))
            stage.figure = f"{written}"
        return written


def check_source(given: Artifact, source: str | Path, artifact: Artifact, folder: str | Path) -> None:
    """Raise InputError where the labels of the artefact in `source` cannot be those of the images in `folder`."""
    if given.classes != artifact.classes:
        raise InputError(f"{source} labels {len(given.classes)} other classes than {folder} has")
    if given.labels.side not in (None, artifact.data.side):
        raise InputError(
            f"the {given.labels.kind} of {source} was trained on images of {given.labels.side} pixels, "
            f"{folder} has {artifact.data.side}"
        )


def label_source(artifact: Artifact, online: LabelSource, options: LabelKind) -> LabelSource:
    """Labels of a kind for an artefact's images, made by an online source. Raises InputError where it is not online."""
    if options.made_by is not None and not online.online:
        able = [name for name in label_kinds.kinds() if label_kinds.kind(name).online]
        raise InputError(
            f"{online.kind} labels cannot label new views; give --source an artefact with {' or '.join(able)} labels"
        )
    made: LabelSource = options.make(artifact.data, artifact.student, online)
    return made
