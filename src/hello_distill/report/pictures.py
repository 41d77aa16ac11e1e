"""What an artefact has to show: its images, what the image update did to them, the classes its labels confuse."""

from __future__ import annotations

import io
import json
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

from hello_distill import artifact as artifacts
from hello_distill import distillers
from hello_distill import labels as label_kinds
from hello_distill.artifact import Artifact
from hello_distill.data.images import ImageSet
from hello_distill.data.manner import repeated
from hello_distill.data.mapped import in_memory
from hello_distill.data.sources import read_test_split
from hello_distill.format import costs, pulled, storage
from hello_distill.format.manifest import CONFIG
from hello_distill.labels.sources.static import static
from hello_distill.recipes import PLANNED
from hello_distill.report import terminal
from hello_distill.report.page import Figure, Gallery, Picture, Section, Table, Text, row, weight
from hello_distill.system.errors import InputError, printable
from hello_distill.training.scores import confusion

CLASSES = 20
IMAGES = 10
"""At most so many classes are shown, and images of each."""
SIDE = 96
"""Larger images are shown at so many pixels."""
GAP = 2
"""Transparent pixels between images."""
LOUDER = 8
"""Times a difference is enlarged, so that it is seen."""
PAIRS = 10
"""Confused pairs that are listed."""
MAKE_BEFORE = "make it with the settings of the artefact's config.json and `update: null`"


@dataclass(frozen=True)
class Shown:
    """Artefacts to show; `before` are those of the same runs without the image update, `data` is their source."""

    artefacts: tuple[Path, ...]
    before: tuple[Path, ...]
    data: str | None


def sections_of(shown: Shown, command: str) -> list[Section]:
    """A section for each artefact; `command` makes the page.

    Raises InputError where an artefact of `before` is not the run of another without its update, MachineError where
    labels are to be asked and their encoder is missing.
    """
    earlier: dict[Path, Path] = {}
    for folder in shown.before:
        partners = [a for a in shown.artefacts if _is_before(folder, a)]
        if not partners:
            raise InputError(
                f"--before {folder} is not the run of any --artefact without its image update; {MAKE_BEFORE}"
            )
        earlier |= dict.fromkeys(partners, folder)
    return [_section(folder, earlier.get(folder), shown, command) for folder in shown.artefacts]


def _section(folder: Path, before: Path | None, shown: Shown, command: str) -> Section:
    artifact, name = artifacts.load(folder, "hard"), pulled.title(folder)
    blocks: list[Table | Gallery | Text] = [_held(folder, artifact, name), _images(folder, artifact, name)]
    if before is not None:
        blocks.append(_update(artifact, artifacts.load(before, "hard"), before, command))
    elif _updated(folder):
        blocks.append(Text("Before and after the image update", [_how(name)]))
    if shown.data is not None:
        blocks.append(_confused(folder, artifact, shown.data, command))
    return Section(f"Artefact {name}", f"{name}/", blocks)


def _held(folder: Path, artifact: Artifact, name: str) -> Table:
    """What it holds, states and measured."""
    facts, source, versions = costs.info(folder), artifact.manifest["source"], artifact.manifest["versions"]
    rows = [
        row("made of", source["name"] or "a data set that it does not name"),
        row("classes", facts["classes"]),
        row("images", facts["images"]["count"]),
        row("pixels a side", facts["images"]["side"]),
        row("bytes of images", weight(facts["images"]["bytes"])),
        row("labels", facts["labels"]["kind"]),
        row("bytes of labels", weight(facts["labels"]["bytes"])),
        row("bytes of the teacher", weight(facts["teacher"]["bytes"])),
    ]
    if expected := artifact.manifest["expected"]:
        for key, text in (("top1_last", "states, last epoch"), ("top1_best", "states, best epoch")):
            stated = expected[key]
            sd = "" if stated["sd"] is None else f" ± {stated['sd']:.1f}"
            shown = f"{stated['mean']:.1f}{sd} % (n = {len(stated['runs'])})"
            rows.append(row(text, (Figure(stated["mean"], shown),)))
    rows += [row(*each) for each in terminal.figures(artifact.manifest["figures"])]
    rows.append(row("versions", ", ".join(f"{key} {value}" for key, value in sorted(versions.items()))))
    return Table("What it holds", ("what", "value"), rows, [], _made(folder, artifact, name))


def _made(folder: Path, artifact: Artifact, name: str) -> list[str]:
    """The command that makes it again, where one does: labels of other kinds than the method's own are named."""
    labels, own = artifact.manifest["labels"], distillers.method(str(_settings(folder).get("method"))).labels
    words = ["hello-distill", "distill", "DATA", "--config", f"{name}/{CONFIG}", "--out", name]
    if labels["kind"] != own:
        precision = labels.get("precision", "float16")
        asked = labels["kind"] + ("" if precision == "float16" else f"-{precision}")
        if asked not in PLANNED:
            return []
        words += ["--labels", asked]
    return [shlex.join(words)]


def _images(folder: Path, artifact: Artifact, name: str) -> Gallery:
    """A strip of images for each class."""
    strips = [
        (printable(artifact.classes[target]), [_picture(images, f"distilled images of {artifact.classes[target]}")])
        for target, images in _rows(artifact.data)
    ]
    return Gallery("Distilled images", strips, [_limits(artifact.data)], _made(folder, artifact, name))


def _update(after: Artifact, before: Artifact, folder: Path, command: str) -> Gallery:
    """Images before and after the update, and what is between them. Raises InputError where they do not belong."""
    _check_same(after, before, folder)
    moved = in_memory(after.data.images).short() - in_memory(before.data.images).short()
    strips = []
    for (target, old), (_, new) in zip(_rows(before.data), _rows(after.data), strict=True):
        change = (new.short() - old.short()).mul(LOUDER).add(128).clamp(0, 255).to(torch.uint8)
        name = printable(after.classes[target])
        pictures = [
            _picture(images, f"{name}, {text}")
            for images, text in ((old, "before"), (new, "after"), (change, "difference"))
        ]
        strips.append((name, pictures))
    about = (
        f"Of each class: before, after, and the difference, {LOUDER} times as large on grey. Over all images a value "
        f"of 0 to 255 moved by {moved.abs().float().mean():.2f} on average."
    )
    return Gallery("Before and after the image update", strips, [about, _limits(after.data)], [command])


def check_before(folder: Path, after: Artifact, earlier: Path, before: Artifact) -> None:
    """Raise InputError where the artefact in `earlier` is not the run of the one in `folder` without its update."""
    if not _is_before(earlier, folder):
        raise InputError(f"--before {earlier} is not the run of {folder} without its image update; {MAKE_BEFORE}")
    _check_same(after, before, earlier)


def _check_same(after: Artifact, before: Artifact, folder: Path) -> None:
    """Raise InputError where the images before an update cannot be those after it."""
    same = before.classes == after.classes and before.data.images.shape == after.data.images.shape
    if not same or not torch.equal(before.data.targets, after.data.targets):
        raise InputError(f"--before {folder} has other classes or images than its artefact; make it of the same data")


def _is_before(before: Path, folder: Path) -> bool:
    """Whether an artefact is the run of another without its image update."""
    return _without_update(folder) == _settings(before) and _updated(folder)


def _how(name: str) -> str:
    return (
        f"An artefact keeps its images after the update alone. To see both, copy {name}/{CONFIG}, set `update` of its "
        "`distiller` to null, make another artefact of the same data with `hello-distill distill DATA --config COPY "
        "--out BEFORE`, and give `--before BEFORE` to this command."
    )


def _confused(folder: Path, artifact: Artifact, data: str, command: str) -> Table | Text:
    """Classes of test images that the labels take for others, the most frequent pairs first."""
    title, kind = "Most confused classes", artifact.manifest["labels"]["kind"]
    if not label_kinds.kind(kind).online:
        return Text(title, [f"Labels of the kind {kind} cannot be asked for new images."])
    with repeated(artifact.manifest, data):
        test = read_test_split(data, artifact.classes, artifact.data.side, square=storage.squared(folder)).to("cpu")
    logits = static(test.to(str(artifact.data.images.device)), artifacts.load(folder).labels).logits.float()
    counts = confusion(logits.cpu(), test.targets, len(artifact.classes))
    of_class = counts.sum(1)
    pairs = [(int(counts[a, b]), a, b) for a, b in (counts - counts.diag().diag()).nonzero().tolist()]
    rows = [
        row(artifact.classes[a], artifact.classes[b], n, 100 * n / int(of_class[a]))
        for n, a, b in sorted(pairs, key=lambda pair: (-pair[0], *pair[1:]))[:PAIRS]
    ]
    right = 100 * int(counts.diag().sum()) / max(1, len(test))
    about = (
        f"The {kind}'s label has its largest value at the right class for {right:.1f} % of {len(test):,} test images."
    )
    return Table(title, ("images of", "taken for", "images", "% of the class"), rows, [about], [command])


def _rows(data: ImageSet) -> list[tuple[int, UInt8[Tensor, "n 3 s s"]]]:
    """The first classes, and the first images of each."""
    return [
        (target, data.images[data.of_class(target)[:IMAGES]].cpu())
        for target in range(min(CLASSES, len(data.classes)))
        if len(data.of_class(target))
    ]


def _limits(data: ImageSet) -> str:
    """What is shown of an artefact."""
    most = max(data.counts().values())
    classes = f"{min(CLASSES, len(data.classes))} of {len(data.classes)} classes"
    size = f", of {data.side} pixels, shown at {SIDE}" if data.side > SIDE else f", of {data.side} pixels"
    return f"{classes}, {min(IMAGES, most)} of at most {most} images each{size}."


def _picture(images: UInt8[Tensor, "n 3 s s"], alt: str) -> Picture:
    """A strip as PNG."""
    side = min(images.shape[-1], SIDE)
    strip = Image.new("RGBA", (len(images) * (side + GAP) - GAP, side))
    for index, image in enumerate(images.permute(0, 2, 3, 1).numpy()):
        picture = Image.fromarray(image)
        picture = picture if picture.size == (side, side) else picture.resize((side, side), Image.Resampling.LANCZOS)
        strip.paste(picture, (index * (side + GAP), 0))
    content = io.BytesIO()
    strip.save(content, "png", optimize=True)
    times = 2 if side <= 48 else 1
    return Picture("image/png", content.getvalue, printable(alt), times * strip.width, times > 1)


def _settings(folder: Path) -> dict[str, Any]:
    """The recipe of an artefact whose files are those of its manifest."""
    artifacts.load(folder, "hard")
    settings: dict[str, Any] = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    return settings


def _updated(folder: Path) -> bool:
    """Whether the images of an artefact were moved after they were chosen."""
    return bool(_distiller(_settings(folder)).get("update"))


def _without_update(folder: Path) -> dict[str, Any]:
    """The recipe of the same run without the image update."""
    settings = _settings(folder)
    return {**settings, "distiller": {**_distiller(settings), "update": None}}


def _distiller(settings: dict[str, Any]) -> dict[str, Any]:
    distiller = settings.get("distiller")
    return distiller if isinstance(distiller, dict) else {}
