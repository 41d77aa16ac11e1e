"""The distilled data set: images, classes, and where their labels come from. Saved, loaded, iterated."""

from __future__ import annotations

import dataclasses
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch

from hello_distill import encoders
from hello_distill.data import parquet
from hello_distill.data.images import ImageSet
from hello_distill.data.licence import UNKNOWN, Source
from hello_distill.format import storage, verification
from hello_distill.format.card import card
from hello_distill.format.kinds import KINDS
from hello_distill.format.manifest import CARD, CONFIG, FORMAT, IMAGES, MANIFEST, SUMS
from hello_distill.format.specs import Codec, StudentSpec, read
from hello_distill.labels.sources.hard import HardLabels
from hello_distill.system import publishing
from hello_distill.system.distributed import EVERY
from hello_distill.system.errors import ArtifactError, InputError
from hello_distill.system.machine import device, versions
from hello_distill.training.losses import Loss, divergence_loss, hard_loss, matching_loss
from hello_distill.types import Batch, LabelSource, View
from hello_distill.views import NO_HOLE, mixed_targets, render, sample_views

os.register_at_fork(after_in_child=partial(torch.set_num_threads, 1))
"""As in workers of torch's DataLoader: threads do not survive a fork, and the child's first operation would hang."""


CROPS = "crops of real images of the source"
"""What most methods' images are."""


class Distilled(NamedTuple):
    """What a distiller makes."""

    data: ImageSet
    labels: LabelSource
    figures: dict[str, Any]
    """What was measured on the way; kept in the manifest."""
    made_of: str = CROPS
    """Where the pixels come from; the card says it."""


@dataclass(frozen=True)
class Artifact:
    """A saved distilled data set, opened."""

    data: ImageSet
    labels: LabelSource
    student: StudentSpec
    manifest: dict[str, Any]

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the targets."""
        return self.data.classes

    def loader(self, batch_size: int | None = None, epoch: int = 0, seed: int = 0) -> Loader:
        """Augmented images with their labels: `for images, soft, hard in artifact.loader(...)`.

        images (b 3 h w) in [0, 1]; soft (b c) in `labels.unit`; hard (b c) one-hot, mixed as the images are.
        Which augmentation, and the batch size unless given, is what the artefact records. Iterated again, it gives the
        next epoch. Raises InputError for a batch size below 1, and where stored labels have other batches.
        """
        return Loader(self, batch_size, epoch, seed)

    def views(self, batch_size: int | None = None, epoch: int = 0, seed: int = 0) -> Iterable[View]:
        """The views of an epoch: sampled, or the stored ones where labels were stored with their views."""
        batch_size = self.student.optim.batch_size if batch_size is None else batch_size
        if batch_size < 1:
            raise InputError(f"batch_size is {batch_size}; a batch holds at least one image")
        sampled = sample_views(len(self.data), self.data.side, batch_size, self.student.augment, seed, epoch)
        return self.labels.views(epoch, sampled)

    def batch(self, view: View, own: slice = EVERY) -> Batch:
        """The rendered images of a view, or of these rows of it, with their labels."""
        images = render(self.data.images, view, own)
        aim = view if self.student.ce_target == "mixed" else view._replace(share=1.0, hole=NO_HOLE)
        hard = mixed_targets(self.data.targets, aim, len(self.classes))[own]
        if own == EVERY or self.labels.by_image:
            return Batch(images, self.labels(images, view), hard)
        return Batch(images, self.labels(render(self.data.images, view), view)[own], hard)

    def student_loss(self) -> Loss:
        """The loss that fits the artefact's labels: logits are matched, classes are a CE target."""
        spec = self.student
        if self.labels.unit == "probabilities":
            return hard_loss
        if spec.loss == "mse":
            return matching_loss(spec.beta)
        return divergence_loss(spec.temperature, spec.squared, spec.beta)


class Loader:
    """A whole epoch of an artefact's batches each time that it is iterated, of new views each time."""

    def __init__(self, artifact: Artifact, batch_size: int | None, epoch: int, seed: int) -> None:
        self.artifact = artifact
        self.batch_size = batch_size
        self.epoch = epoch
        """The epoch that comes next."""
        self.seed = seed
        self.batches = sum(1 for _ in self._views())
        """Of each epoch."""

    def __iter__(self) -> Iterator[Batch]:
        views = self._views()
        self.epoch += 1
        return map(self.artifact.batch, views)

    def __len__(self) -> int:
        return self.batches

    def _views(self) -> Iterable[View]:
        return self.artifact.views(self.batch_size, self.epoch, self.seed)


TEXT = 8 * 2**10
"""Bytes of card, manifest and sums, roughly."""


def save(
    distilled: Distilled,
    ipc: int,
    student: StudentSpec,
    codec: Codec,
    config: dict[str, Any],
    out: str | Path,
    source: Source = UNKNOWN,
) -> Path:
    """Write an artefact. It appears under its name only when complete; nothing is left if writing fails.

    Raises MachineError where there is no room for it.
    """
    data = distilled.data
    content, settings = parquet.encoded(data, codec.encode, codec.format), _public(config)
    images = {"count": len(data), "side": data.side, "codec": dataclasses.asdict(codec), "made_of": distilled.made_of}
    with published(
        out, len(content) + distilled.labels.size() + len(storage.as_json(settings)) + text_bytes(data.classes)
    ) as partial:
        (partial / IMAGES).parent.mkdir()
        (partial / IMAGES).write_bytes(content)
        storage.write_json(partial / CONFIG, settings)
        manifest = {
            "format": FORMAT,
            "classes": list(data.classes),
            "ipc": ipc,
            "images": images,
            "source": source._asdict(),
            "labels": distilled.labels.save(partial),
            "student": dataclasses.asdict(student),
            "expected": None,
            "figures": distilled.figures,
            "versions": versions(),
        }
        _describe(partial, manifest)
    return Path(out)


def save_relabelled(folder: str | Path, labels: LabelSource, student: StudentSpec, out: str | Path) -> Path:
    """Write an artefact with the images of another, byte for byte, and other labels.

    What accuracy to expect of it is not known.
    """
    root, manifest = Path(folder), verification.check_files(folder)
    copied = [IMAGES, CONFIG]
    with published(out, _size(root, copied) + labels.size() + text_bytes(manifest["classes"])) as partial:
        _copy(root, partial, {name: manifest["files"][name]["sha256"] for name in copied})
        manifest |= {"labels": labels.save(partial), "student": dataclasses.asdict(student), "versions": versions()}
        _describe(partial, {**manifest, "expected": None})
    return Path(out)


def save_measured(folder: str | Path, expected: dict[str, Any], out: str | Path) -> Path:
    """Write an artefact again, together with the accuracy to expect of it (see `manifest.Expected`)."""
    root, manifest = Path(folder), verification.check_files(folder)
    copied = sorted(set(manifest["files"]) - {CARD})
    with published(out, _size(root, copied) + text_bytes(manifest["classes"])) as partial:
        _copy(root, partial, {name: manifest["files"][name]["sha256"] for name in copied})
        _describe(partial, {**manifest, "expected": expected})
    return Path(out)


def _public(settings: Any) -> Any:
    """Settings without the paths of encoders' folders, which are nobody else's business."""
    if isinstance(settings, dict):
        return {name: _public(value) for name, value in settings.items()}
    return encoders.public_name(settings) if isinstance(settings, str) else settings


def text_bytes(classes: Sequence[str]) -> int:
    """About what card, manifest and sums take; both of the first list the names of the classes."""
    return TEXT + sum(32 + 2 * len(name.encode()) for name in classes)


def _size(root: Path, names: Iterable[str]) -> int:
    return sum((root / name).stat().st_size for name in names)


def _copy(root: Path, target: Path, hashes: Mapping[str, str]) -> None:
    """Copy files of an artefact into another. Raises ArtifactError where one is no longer what was checked."""
    for name, digest in hashes.items():
        (target / name).parent.mkdir(exist_ok=True)
        shutil.copyfile(root / name, target / name)
        if storage.sha256(target / name) != digest:
            raise ArtifactError(f"{root / name} has changed while it was copied; get the artefact again")


def _describe(folder: Path, manifest: dict[str, Any]) -> None:
    """Write card and manifest of an artefact whose other files are there.

    Raises InputError where it would be one that nobody can open, such as a class name with control characters in it.
    """
    manifest = {name: part for name, part in manifest.items() if name != "files"}
    (folder / CARD).write_text(card(manifest, storage.listing(folder)[IMAGES]), encoding="utf-8")
    storage.write_json(folder / MANIFEST, {**manifest, "files": storage.listing(folder)})
    try:
        storage.read_manifest(folder)
    except ArtifactError as error:
        raise InputError(f"this cannot be kept as an artefact: {error}") from None


@contextmanager
def published(out: str | Path, needed: int) -> Iterator[Path]:
    """A folder to write into, which gets its name and its sums when all went well, and else disappears."""
    with publishing.published(out, needed) as partial:
        yield partial
        hashes = {name: entry["sha256"] for name, entry in storage.listing(partial).items()}
        (partial / SUMS).write_text(storage.sums(hashes), encoding="utf-8")


def load(folder: str | Path, labels: Literal["kept", "hard"] = "kept") -> Artifact:
    """Open a saved artefact, a stranger's, too: its files are checked against its manifest before they are opened.

    `labels="hard"` leaves its soft labels aside and needs no encoder.

    Raises InputError where there is no artefact, ArtifactError where it is not what its manifest says, MachineError
    where a public weight that it names is missing.
    """
    root = Path(folder)
    manifest = verification.check_files(root)
    data = parquet.read(root / IMAGES, manifest).to(device())
    if labels == "hard":
        source: LabelSource = HardLabels(data.targets, len(data.classes))
    else:
        source = KINDS.find(manifest["labels"]["kind"]).load(root, manifest["labels"], data)
    return Artifact(data, source, read(StudentSpec, manifest["student"]), manifest)
