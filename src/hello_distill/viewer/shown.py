"""What the page shows: an artefact's images, everything that can be asked for labels of them, and what labels take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from hello_distill import artifact as artifacts
from hello_distill import labels as label_kinds
from hello_distill.artifact import Artifact
from hello_distill.data.parquet import stored_images
from hello_distill.format import costs, pulled
from hello_distill.format.manifest import IMAGES
from hello_distill.labels.sources.hard import HardLabels
from hello_distill.relabel import check_source
from hello_distill.report.page import size
from hello_distill.report.pictures import check_before
from hello_distill.system.errors import InputError, MachineError, printable
from hello_distill.types import LabelSource


class Labeller(NamedTuple):
    """Something that can be asked for the label of any view."""

    name: str
    source: LabelSource
    about: str
    """What it looks at, in a few words."""


@dataclass(frozen=True)
class Shown:
    """An artefact, opened for the page."""

    name: str
    artefact: Artifact
    labellers: tuple[Labeller, ...]
    """Those of soft labels, and behind them the classes."""
    notes: tuple[str, ...]
    """What cannot be asked, and why."""
    before: Artifact | None
    """The images before the image update, where another artefact holds them."""
    files: dict[str, tuple[bytes, ...]]
    """The images' files, byte for byte as they are kept: `after` the image update, and `before` it."""
    facts: dict[str, Any]
    """What `costs.info` gives."""

    def described(self) -> dict[str, Any]:
        """All that the page says before anything is asked, as JSON."""
        images = self.facts["images"]
        return {
            "name": self.name,
            "lead": lead(self.facts, len(self.labellers) > 1),
            "classes": [printable(name) for name in self.artefact.classes],
            "targets": self.artefact.data.targets.tolist(),
            "side": images["side"],
            "labellers": [{"name": each.name, "about": each.about} for each in self.labellers],
            "notes": list(self.notes),
            "before": self.before is not None,
            "bar": bar(self.facts),
        }


def opened(folder: str | Path, others: Sequence[str | Path] = (), before: str | Path | None = None) -> Shown:
    """Open an artefact for the page, and the artefacts that it is to be shown beside.

    Labels that cannot be asked on this machine, or for any view, are left out with a note; where they are those of
    `others` this raises InputError. It raises InputError, too, where `others` or `before` have other classes or images,
    and what `artifact.load` raises.
    """
    root = pulled.local(folder)
    still = None if before is None else pulled.local(before)
    artefact, labellers, notes = _own(root)
    labellers += [_other(artefact, root, other) for other in others]
    earlier = None
    if still is not None:
        earlier = artifacts.load(still, "hard")
        check_before(root, artefact, still, earlier)
    classes = HardLabels(artefact.data.targets, len(artefact.classes))
    folders = {"after": root, **({"before": still} if still is not None else {})}
    return Shown(
        name=pulled.title(root),
        artefact=artefact,
        labellers=(*_named(labellers), Labeller("class", classes, "known, mixed like the images")),
        notes=tuple(notes),
        before=earlier,
        files={which: tuple(content for _, content in stored_images(place)) for which, place in folders.items()},
        facts=costs.info(root),
    )


def _own(folder: Path) -> tuple[Artifact, list[tuple[Labeller, Path]], list[str]]:
    """An artefact with its soft labels, where they can be asked; where not, a note says why."""
    try:
        artefact = artifacts.load(folder)
    except MachineError as error:
        return artifacts.load(folder, "hard"), [], [f"Its soft labels cannot be asked on this machine: {error}."]
    kind = artefact.labels.kind
    if kind == "hard":
        return artefact, [], ["It keeps no soft labels, only the classes."]
    if _by_view(artefact.labels):
        return artefact, [], [f"Its {kind} labels {STORED}. Give an artefact with a teacher or a projector as --with."]
    return artefact, [(Labeller(kind, artefact.labels, _about(artefact.labels)), folder)], []


STORED = "belong to views that were drawn when they were stored, and cannot be asked for others"


def _other(artefact: Artifact, folder: Path, other: str | Path) -> tuple[Labeller, Path]:
    """The labels of another artefact. Raises InputError where they cannot be asked for these images."""
    given = artifacts.load(root := pulled.local(other))
    check_source(given, other, artefact, folder)
    source = given.labels
    if source.kind == "hard":
        raise InputError(f"--with {other} keeps no soft labels; give an artefact with a teacher or a projector")
    if _by_view(source):
        raise InputError(
            f"the {source.kind} labels of --with {other} {STORED}; give an artefact with a teacher or a projector"
        )
    ours, theirs = (each.manifest["files"][IMAGES]["sha256"] for each in (artefact, given))
    if not source.online and ours != theirs:
        raise InputError(f"the {source.kind} labels of --with {other} are those of other images than {folder} has")
    return Labeller(source.kind, source, _about(source)), root


def _by_view(source: LabelSource) -> bool:
    """Whether labels are stored view by view: such a source draws its own views in the place of those it is given."""
    sampled = iter(())
    return source.views(0, sampled) is not sampled


def _about(source: LabelSource) -> str:
    if not source.online:
        return "one label an image, whatever the crop"
    return "sees what the student sees" if source.by_image else "sees what the student sees, and its batch"


def _named(labellers: Sequence[tuple[Labeller, Path]]) -> list[Labeller]:
    """Labellers by their kinds, and by their folders where two are of one kind."""
    kinds = [each.name for each, _ in labellers]
    return [
        each._replace(name=f"{each.name} of {pulled.title(folder)}") if kinds.count(each.name) > 1 else each
        for each, folder in labellers
    ]


def lead(facts: dict[str, Any], asked: bool) -> str:
    """What an artefact is, for somebody who never heard of one; `asked` where soft labels can be."""
    count, kind = facts["images"]["count"], facts["labels"]["kind"]
    begin = f"A network can be trained on these {count:,} small images alone, in {facts['classes']:,} classes."
    if kind == "hard":
        soft = "Of each it is told the class, and nothing else."
    else:
        soft = (
            "Each time it looks at a crop or a mixture of them, it is told how much of every class is to be seen, not "
            "one class alone."
        )
    return " ".join([begin, soft, *(["Move the crop, and watch the answer move."] if asked else [])])


def bar(facts: dict[str, Any]) -> dict[str, Any]:
    """Bytes of an artefact's labels, and of what they replace: a float16 label stored for every view of the training.

    Both are whole files on disk. `said` compares them in words.
    """
    ours, kind = facts["labels"]["bytes"] + facts["teacher"]["bytes"], facts["labels"]["kind"]
    rung = next(rung for rung in facts["ladder"] if rung["labels"] == "stored float16")
    stored, above = rung["bytes"], rung["smaller_from_ipc"]
    if not ours:
        said = "The classes take no bytes beside the images."
    elif ours == stored:
        said = "These are the stored labels."
    elif ours < stored:
        said = f"{stored / ours:.{1 if stored < 10 * ours else 0}f} times fewer bytes."
    else:
        said = f"{ours / stored:.1f} times as many bytes"
        said += f", of so few images; from {above:,} images per class on it is fewer." if above else "."
    online = label_kinds.kind(kind).online
    name = "classes alone" if kind == "hard" else kind if online else f"{kind} labels"
    replaced = "soft labels for every view" + (", which it replaces" if online else "")
    return {
        "labels": {"name": f"{name}, kept here", "bytes": ours, "text": size(ours)},
        "stored": {"name": replaced, "bytes": stored, "text": size(stored)},
        "said": said,
        "public": [f"{each['name']} ({size(each['bytes'])})" for each in facts["public_weights"]],
    }
