"""The distilled data set: images, classes, and where their labels come from. Saved, loaded, iterated."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

import datasets
from PIL import Image

from hello_distill import labels as label_kinds
from hello_distill import publishing, storage
from hello_distill.data import ImageSet, Material, Split
from hello_distill.errors import ArtifactError
from hello_distill.fit import Optim
from hello_distill.labels.hard import HardLabels
from hello_distill.losses import Form, Loss, divergence_loss, hard_loss, matching_loss
from hello_distill.machine import device, versions
from hello_distill.progress import SILENT, Progress
from hello_distill.publishing import Claim
from hello_distill.stages import Stages
from hello_distill.types import Batch, LabelSource, View
from hello_distill.views import NO_HOLE, Augment, mixed_targets, render, sample_views


@dataclass(frozen=True)
class StudentSpec:
    """How students are trained on an artefact: Algorithm 1, lines 12-15."""

    network: str = "resnet18"
    loss: Form = "mse"
    """What compares logits with soft labels: MSE (HeLlO, G_VBSM) or KL at a temperature (SRe2L, RDED, LPLD)."""
    temperature: float = 20.0
    """Of KL."""
    squared: bool = False
    """KL times the squared temperature (SRe2L's code for Tiny-ImageNet; not for ImageNet)."""
    beta: float = 0.1
    """Weight of CE beside it. Ours, after G_VBSM's weight for the same form of loss."""
    ce_target: Literal["mixed", "base"] = "mixed"
    """Class that CE aims at: mixed as the images are, or that of the own image alone (G_VBSM's code)."""
    double_forward: bool = False
    """A second forward pass in training mode before each step, as RDED's code makes for a logged figure: batch
    statistics move twice a step, with Mixup once on unmixed images."""
    augment: Augment = field(default_factory=Augment)
    """A of Algorithm 1."""
    optim: Optim = field(default_factory=lambda: Optim(epochs=300, batch_size=50))
    evaluations: int = 5
    """How often a training is tested, at even distances up to the last epoch."""

    def tested_epochs(self) -> list[int]:
        """The epochs (from 1) after which a student is tested."""
        times = min(self.evaluations, self.optim.epochs)
        return sorted({round(self.optim.epochs * (i + 1) / times) for i in range(times)})


@dataclass(frozen=True)
class Codec:
    """How images are kept. Students see the decoded pixels."""

    format: Literal["png", "jpeg", "webp"] = "png"
    quality: int = 90
    """Of JPEG and WebP; PNG is lossless."""
    subsampled: bool = False
    """JPEG keeps a quarter of the colour pixels, as Pillow does unless told otherwise."""

    def encode(self, picture: Image.Image) -> bytes:
        """The file's bytes."""
        options: dict[str, dict[str, Any]] = {
            "png": {"optimize": True},
            "jpeg": {"quality": self.quality, "subsampling": 2 if self.subsampled else 0, "optimize": True},
            "webp": {"quality": self.quality, "method": 6},
        }
        buffer = io.BytesIO()
        picture.save(buffer, self.format, **options[self.format])
        return buffer.getvalue()


class Distilled(NamedTuple):
    """What a distiller makes."""

    data: ImageSet
    labels: LabelSource
    figures: dict[str, Any]
    """What was measured on the way; kept in the manifest."""


@runtime_checkable
class Distiller(Protocol):
    """A method: training images in, distilled images and their label source out."""

    def __call__(
        self, material: Material, stages: Stages, ipc: int, seed: int, progress: Progress = SILENT
    ) -> Distilled: ...


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

    def loader(self, batch_size: int | None = None, epoch: int = 0, seed: int = 0) -> Iterator[Batch]:
        """One epoch of augmented images with their labels: `for images, soft, hard in artifact.loader(...)`.

        images (b 3 h w) in [0, 1]; soft (b c) in `labels.unit`; hard (b c) one-hot, mixed as the images are.
        Which augmentation, and the batch size unless given, is what the artefact records.
        """
        for view in self.views(batch_size, epoch, seed):
            yield self.batch(view)

    def views(self, batch_size: int | None = None, epoch: int = 0, seed: int = 0) -> Iterable[View]:
        """The views of an epoch: sampled, or the stored ones where labels were stored with their views."""
        batch_size = batch_size or self.student.optim.batch_size
        sampled = sample_views(len(self.data), self.data.side, batch_size, self.student.augment, seed, epoch)
        return self.labels.views(epoch, sampled)

    def batch(self, view: View) -> Batch:
        """The rendered images of a view with their labels."""
        images = render(self.data.images, view)
        aim = view if self.student.ce_target == "mixed" else view._replace(share=1.0, hole=NO_HOLE)
        return Batch(images, self.labels(images, view), mixed_targets(self.data.targets, aim, len(self.classes)))

    def student_loss(self) -> Loss:
        """The loss that fits the artefact's labels: logits are matched, classes are a CE target."""
        spec = self.student
        if self.labels.unit == "probabilities":
            return hard_loss
        if spec.loss == "mse":
            return matching_loss(spec.beta)
        return divergence_loss(spec.temperature, spec.squared, spec.beta)


TEXT = 6 * 2**10
"""Bytes of card, manifest and sums, roughly."""


def save(
    distilled: Distilled,
    ipc: int,
    student: StudentSpec,
    codec: Codec,
    config: dict[str, Any],
    out: str | Path | Claim,
) -> Path:
    """Write an artefact. It appears under its name only when complete; nothing is left if writing fails.

    Raises MachineError where there is no room for it.
    """
    data = distilled.data
    images = _images(data, codec)
    with _published(out, len(images) + distilled.labels.size() + len(storage.as_json(config)) + TEXT) as partial:
        (partial / storage.IMAGES).parent.mkdir()
        (partial / storage.IMAGES).write_bytes(images)
        manifest = {
            "format": storage.FORMAT,
            "classes": list(data.classes),
            "ipc": ipc,
            "images": {"count": len(data), "side": data.side, "codec": dataclasses.asdict(codec)},
            "labels": distilled.labels.save(partial),
            "student": dataclasses.asdict(student),
            "figures": distilled.figures,
            "versions": versions(),
        }
        (partial / "README.md").write_text(_card(data, partial / storage.IMAGES), encoding="utf-8")
        storage.write_json(partial / storage.CONFIG, config)
        storage.write_json(partial / storage.MANIFEST, {**manifest, "files": storage.listing(partial)})
    return publishing.path(out)


def save_relabelled(folder: str | Path, labels: LabelSource, student: StudentSpec, out: str | Path | Claim) -> Path:
    """Write an artefact with the images of another, byte for byte, and other labels."""
    root, manifest = Path(folder), storage.read_manifest(folder)
    copied = (storage.IMAGES, storage.CONFIG, "README.md")
    needed = sum((root / name).stat().st_size for name in copied) + labels.size() + TEXT
    with _published(out, needed) as partial:
        (partial / storage.IMAGES).parent.mkdir()
        for name in copied:
            shutil.copyfile(root / name, partial / name)
        manifest |= {"labels": labels.save(partial), "student": dataclasses.asdict(student), "versions": versions()}
        del manifest["files"]
        storage.write_json(partial / storage.MANIFEST, {**manifest, "files": storage.listing(partial)})
    return publishing.path(out)


@contextmanager
def _published(out: str | Path | Claim, needed: int) -> Iterator[Path]:
    """A folder to write into, which gets its name and its sums when all went well, and else disappears."""
    with publishing.published(out, needed) as partial:
        yield partial
        sums = [f"{entry['sha256']}  {name}\n" for name, entry in storage.listing(partial).items()]
        (partial / storage.SUMS).write_text("".join(sums), encoding="utf-8")


def _images(data: ImageSet, codec: Codec) -> bytes:
    """The file of images. It is made in memory: on a full disk `to_parquet` ends the process."""
    pictures = [Image.fromarray(image) for image in data.images.permute(0, 2, 3, 1).cpu().numpy()]
    records = [
        {"bytes": codec.encode(picture), "path": f"{row:06d}.{codec.format}"} for row, picture in enumerate(pictures)
    ]
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=list(data.classes))})
    table = datasets.Dataset.from_dict({"image": records, "label": data.targets.tolist()}, features=features)
    datasets.disable_progress_bars()
    buffer = io.BytesIO()
    table.to_parquet(buffer)
    return buffer.getvalue()


def _card(data: ImageSet, images: Path) -> str:
    """A data set card that `datasets` reads: which files are the data.

    The images' hash is part of it because `datasets` finds its cache by the folder's name and by these lines alone:
    without it, two artefacts in folders of one name would both open as the first.
    """
    digest = hashlib.sha256(images.read_bytes()).hexdigest()
    return f"""---
configs:
- config_name: default
  description: sha256 of the images {digest}
  data_files:
  - split: train
    path: data/train-*.parquet
tags:
- dataset-distillation
- image-classification
---
# A distilled data set

{len(data)} images of {data.side} pixels in {len(data.classes)} classes, made from real images by hello-distill.
`hello.json` says how they were made, how their labels are made while a network trains, and how that training went.

    import hello_distill as hd
    artifact = hd.load("PATH")
    for images, soft, hard in artifact.loader(batch_size=64, epoch=0):
        ...
"""


def load(folder: str | Path, labels: Literal["kept", "hard"] = "kept") -> Artifact:
    """Open a saved artefact; `labels="hard"` leaves its soft labels aside and needs no encoder.

    Raises InputError where there is no artefact, ArtifactError where it is not what its manifest says,
    MachineError where a public weight that it names is missing.
    """
    root = Path(folder)
    manifest = storage.read_manifest(root)
    data = _read_images(root, manifest).to(device())
    if labels == "hard":
        source: LabelSource = HardLabels(data.targets, len(data.classes))
    else:
        source = label_kinds.load(root, manifest["labels"], data.classes, data.targets)
    return Artifact(data, source, student_spec(manifest["student"]), manifest)


def student_spec(recorded: dict[str, Any]) -> StudentSpec:
    """The student training that a manifest records."""
    optim = Optim(**recorded["optim"])
    listed: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in recorded["augment"].items()}
    return StudentSpec(**{**recorded, "augment": Augment(**listed), "optim": optim})


def _read_images(root: Path, manifest: dict[str, Any]) -> ImageSet:
    try:
        table = datasets.Dataset.from_parquet(str(root / storage.IMAGES), keep_in_memory=True)
    except (OSError, ValueError, datasets.exceptions.DatasetGenerationError) as error:
        raise ArtifactError(f"{root / storage.IMAGES} cannot be read: {error}") from None
    classes = tuple(table.features["label"].names)
    if list(classes) != manifest["classes"] or len(table) != manifest["images"]["count"]:
        raise ArtifactError(f"{root / storage.IMAGES} and {storage.MANIFEST} disagree on classes or number of images")
    table = table.cast_column("image", datasets.Image(decode=False))
    return Split(str(root), "train", table, classes).decode(manifest["images"]["side"])
