"""The distilled data set: images, classes, and where their labels come from. Saved, loaded, iterated."""

from __future__ import annotations

import dataclasses
import filecmp
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import nn

from hello_distill import encoders
from hello_distill.data import parquet
from hello_distill.data.images import ImageSet
from hello_distill.data.licence import UNKNOWN, Origin
from hello_distill.data.samples import Samples, together
from hello_distill.format import pulled, storage, verification
from hello_distill.format.card import card
from hello_distill.format.kinds import KINDS
from hello_distill.format.manifest import CARD, CONFIG, FORMAT, IMAGES, MANIFEST, SUMS
from hello_distill.format.sizes import num_batches
from hello_distill.format.specs import Codec, StudentSpec, read
from hello_distill.labels.sources.hard import HardLabels
from hello_distill.system import distributed, publishing
from hello_distill.system.errors import ArtifactError, InputError
from hello_distill.system.machine import device
from hello_distill.training.machines import taken
from hello_distill.training.own import parse
from hello_distill.training.training_set import TrainingSet
from hello_distill.types import Batch, Images, LabelSource, Logits, Pixels, View
from hello_distill.views import sample_views, still_view, whole

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
    teachers: Sequence[Mapping[str, Any]] = ()
    """Teachers that were brought along (`manifest.Teacher`)."""


@dataclass(frozen=True)
class Artifact(TrainingSet):
    """A saved distilled data set, opened."""

    manifest: dict[str, Any]

    def dataset(self) -> Samples:
        """The images as torch's `DataLoader`, its workers and samplers know a data set: (3 h w) uint8, and class."""
        return Samples(self.data)

    def collate(self) -> Collate:
        """What makes batches, as `loader` gives them, of samples of `dataset()`.

        Raises InputError for labels that belong to images or views of the artefact; `loader` has those.
        """
        if not (self.labels.online or isinstance(self.labels, HardLabels)):
            raise InputError(
                f"{self.labels.kind} labels belong to images or views of their artefact, not to samples in any order; "
                "iterate `loader` in the place of a DataLoader"
            )
        labels = self.labels if self.labels.online else None
        return Collate(labels, self.student, self.classes, str(self.data.images.device))

    @property
    def projector(self) -> nn.Module:
        """Images (b 3 h w), float in [0, 1], to logits (b c): the very module that makes the labels, LoRA merged.

        Raises InputError where the labels are of another kind.
        """
        module = getattr(self.labels, "projector", None)
        if not isinstance(module, nn.Module):
            raise InputError(f"this artefact has {self.labels.kind} labels, and no projector")
        return module

    def label(self, images: Images | Pixels) -> Logits:
        """Labels (b c) of images of one's own, as a student would get them: logits, rounded to float16.

        Squares (b 3 h h), float in [0, 1] or uint8. A projector resizes them to its encoder's input; a teacher takes
        those of the artefact's side. Raises InputError for other images, and for labels that cannot label new ones.
        """
        if not self.labels.online:
            raise InputError(f"{self.labels.kind} labels cannot label new images; those of a projector or teacher can")
        if images.ndim != 4 or images.shape[1] != 3 or images.shape[2] != images.shape[3]:
            raise InputError(
                f"images to be labelled are squares (b 3 h h), not {tuple(images.shape)}; crop or pad them"
            )
        if self.labels.side not in (None, side := images.shape[3]):
            raise InputError(f"this {self.labels.kind} labels images of {self.labels.side} pixels, not {side}")
        floats = whole(images) if images.dtype == torch.uint8 else images
        return self.labels(floats.to(self.data.images.device), still_view(len(images), side))


@dataclass(frozen=True)
class Collate:
    """Samples to a batch of augmented images with their labels, on the device of the artefact.

    As `collate_fn` of a `DataLoader` it runs in the loader's workers; as `map(artifact.collate(), loader)` in the
    process that trains, which is where a GPU is. Views are drawn from torch's global generator: `torch.manual_seed`
    decides them, and of workers the loader's `generator`.
    """

    labels: LabelSource | None
    """None: the classes are the labels."""
    student: StudentSpec
    classes: tuple[str, ...]
    device: str

    def __call__(self, samples: Sequence[Any]) -> Batch:
        """Images (b 3 h w) in [0, 1], soft labels (b c), classes (b c) of one view of samples.

        These are a list, or what torch's own collate makes of it.
        """
        data = together(samples, self.classes).to(self.device)
        seed = int(torch.randint(2**31, ()))
        (view,) = sample_views(len(data), data.side, len(data), self.student.augment, seed, 0)
        return self.batch(data, view)

    def batch(self, data: ImageSet, view: View) -> Batch:
        """A view of samples that were put together; its rows are places among them."""
        labels = self.labels or HardLabels(data.targets, len(self.classes))
        return TrainingSet(data, labels, self.student).batch(view)


def first_images(artifact: Artifact, ipc: int) -> Artifact:
    """The same of the first `ipc` images of each class; students train for as many steps as on all of them.

    Raises InputError where a class has fewer, and for labels that are stored by view.
    """
    data, optim = artifact.data, artifact.student.optim
    fewest = min(data.counts().values())
    if not 1 <= ipc <= fewest:
        raise InputError(
            f"--ipc {ipc} asks for other images than there are: each class has at least {fewest}; ask for no more, or "
            "distil an artefact with that many"
        )
    rows = torch.cat([data.of_class(target)[:ipc] for target in range(len(data.classes))])
    steps = optim.epochs * num_batches(len(data), optim.batch_size)
    optim = optim.lasting(steps, num_batches(len(rows), optim.batch_size))
    student = dataclasses.replace(artifact.student, optim=optim)
    return dataclasses.replace(artifact, data=data.rows(rows), labels=artifact.labels.of_rows(rows), student=student)


TEXT = 8 * 2**10
"""Bytes of card, manifest and sums, roughly."""


def save(
    distilled: Distilled,
    ipc: int,
    student: StudentSpec,
    codec: Codec,
    config: dict[str, Any],
    out: str | Path,
    source: Origin = UNKNOWN,
) -> Path:
    """Write an artefact. It appears under its name only when complete; nothing is left if writing fails.

    Raises MachineError where there is no room for it.
    """
    data = distilled.data
    content, settings = parquet.encoded(data, codec.encode, codec.format), public(config)
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
            "source": _stated(source),
            "labels": distilled.labels.save(partial),
            "student": dataclasses.asdict(student),
            "expected": None,
            "figures": distilled.figures,
            **({"teachers": list(distilled.teachers)} if distilled.teachers else {}),
            "versions": {**distributed.made_with(), **taken()},
        }
        _describe(partial, manifest)
    return Path(out)


OF_LABELS = {"fidelity", "knee", "labels_on_held_out", "view_agreement", "view_error"}
"""Figures of a manifest that are measured on its labels, and say nothing of others."""


def save_relabelled(
    folder: str | Path,
    labels: LabelSource,
    student: StudentSpec,
    out: str | Path,
    teachers: Sequence[Mapping[str, Any]] = (),
    source: Origin | None = None,
) -> Path:
    """Write an artefact with the images of another, byte for byte, and other labels.

    `teachers` were brought along to make these labels, `source` is where the images come from (None: as the other
    says). What accuracy to expect of it is not known, nor, unless the labels are the same, how faithful they are.
    """
    root, manifest = Path(folder), verification.check_files(folder)
    manifest |= {} if source is None else {"source": _stated(source)}
    brought = {each["sha256"]: each for each in (*manifest.get("teachers", ()), *teachers)}
    manifest |= {"teachers": list(brought.values())} if brought else {}
    elsewhere = {name: said for name, said in manifest["versions"].items() if name == "stages"}
    copied = [IMAGES, CONFIG]
    with published(out, _size(root, copied) + labels.size() + text_bytes(manifest["classes"])) as partial:
        _copy(root, partial, {name: manifest["files"][name]["sha256"] for name in copied})
        manifest |= {
            "labels": labels.save(partial),
            "student": dataclasses.asdict(student),
            "versions": {**distributed.made_with(), **elsewhere, **taken()},
        }
        if not _same(root, partial, set(manifest["files"]) - {*copied, CARD}, copied):
            figures = {name: value for name, value in manifest["figures"].items() if name not in OF_LABELS}
            manifest |= {"figures": figures}
        _describe(partial, {**manifest, "expected": None})
    return Path(out)


def _same(root: Path, partial: Path, names: set[str], others: Sequence[str]) -> bool:
    """Whether what is in a folder beside `others` is, byte for byte, what another has under these names."""
    written = {file.relative_to(partial).as_posix() for file in partial.rglob("*") if file.is_file()} - set(others)
    return written == names and len(filecmp.cmpfiles(root, partial, names, shallow=False)[0]) == len(names)


def save_measured(folder: str | Path, expected: dict[str, Any], out: str | Path) -> Path:
    """Write an artefact again, together with the accuracy to expect of it (see `manifest.Expected`)."""
    root, manifest = Path(folder), verification.check_files(folder)
    copied = sorted(set(manifest["files"]) - {CARD})
    with published(out, _size(root, copied) + text_bytes(manifest["classes"])) as partial:
        _copy(root, partial, {name: manifest["files"][name]["sha256"] for name in copied})
        _describe(partial, {**manifest, "expected": expected})
    return Path(out)


def public(settings: Any) -> Any:
    """Settings without the paths of encoders' and teachers' folders, which are nobody else's business."""
    if isinstance(settings, dict):
        own = {"sources": [parse(text).name for text in settings.get("sources", ())]} if "sources" in settings else {}
        return {name: public(value) for name, value in settings.items()} | own
    return encoders.public_name(settings) if isinstance(settings, str) else settings


def _stated(source: Origin) -> dict[str, Any]:
    """What a manifest says of a source."""
    return {name: value for name, value in source._asdict().items() if name != "reading" or value}


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

    `hf://owner/name[@revision]` is one on the Hub. `labels="hard"` leaves its soft labels aside and needs no encoder.

    Raises InputError where there is no artefact, ArtifactError where it is not what its manifest says, MachineError
    where a public weight that it names is missing.
    """
    root = pulled.local(folder)
    manifest = verification.check_files(root)
    data = parquet.read(root / IMAGES, manifest).to(device())
    if labels == "hard":
        source: LabelSource = HardLabels(data.targets, len(data.classes))
    else:
        source = KINDS.find(manifest["labels"]["kind"]).load(root, manifest["labels"], data)
    return Artifact(data, source, read(StudentSpec, manifest["student"]), manifest)
