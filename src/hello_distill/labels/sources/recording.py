"""Stored labels: the views of a training with what is kept of their labels, in fixed-width columns.

A `Plan` is the training that shall be stored; it labels its views online. A `Recording` is the same read back from
disk, batch by batch, without holding it all in memory. Both give the same views and, for the codec `float16`, the
same labels bit for bit.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import torch
from torch import Tensor

from hello_distill.data.images import ImageSet
from hello_distill.format import sizes, tensors
from hello_distill.format.codecs import LabelCodec, codec
from hello_distill.format.kinds import check_stated
from hello_distill.format.specs import Augment
from hello_distill.labels.recorded import shard_file
from hello_distill.system.errors import ArtifactError, InputError
from hello_distill.training.together import batches_at_once, in_one_go
from hello_distill.types import Images, LabelSource, Logits, View
from hello_distill.views import check_images, render, sample_views

LARGEST = 2**15 - 1


@dataclass(frozen=True)
class Plan:
    """The first `batches` batches of a student's training, labelled online."""

    images: ImageSet
    source: LabelSource
    codec: LabelCodec
    augment: Augment
    batch_size: int
    seed: int
    batches: int

    def __post_init__(self) -> None:
        if max(self.batch_size, self.images.side, len(self.images.classes)) > LARGEST:
            raise InputError(f"stored labels count pixels, classes and places in a batch in 16 bits, up to {LARGEST}")

    @property
    def per_epoch(self) -> int:
        """Batches in an epoch."""
        return sizes.num_batches(len(self.images), self.batch_size)

    def view(self, number: int) -> View:
        """One batch's view; its key is its number."""
        epoch, batch = divmod(number, self.per_epoch)
        side = self.images.side
        return _epoch(len(self.images), side, self.batch_size, self.augment, self.seed, epoch)[batch]

    def labels(self, images: Images, view: View) -> Logits:
        """Labels (b c) of a rendered view, as the codec would give them back."""
        alone = batches_at_once(self.source, self.batch_size) == 1
        made = self.source(images, view) if alone else self._made(view.key)
        return self.codec.decode(self.codec.encode(made.cpu()), len(self.images.classes)).to(images.device)

    def _made(self, number: int) -> Logits:
        """One batch's labels, made with those of the batches beside it that training online labels in the same go."""
        at_once = batches_at_once(self.source, self.batch_size)
        epoch, place = divmod(number, self.per_epoch)
        first = number - place % at_once
        if first not in self._last:
            views = [self.view(n) for n in range(first, min(first + at_once, (epoch + 1) * self.per_epoch))]
            self._last.clear()
            self._last[first] = in_one_go(self.source, [render(self.images.images, v) for v in views], views)
        return self._last[first][number - first]

    @cached_property
    def _last(self) -> dict[int, list[Tensor]]:
        """The labels that were made last, by the number of their first batch."""
        return {}

    def size(self) -> int:
        """Bytes of the files that `write` makes."""
        columns = self.codec.columns(len(self.images.classes))
        return sizes.recording_bytes(len(self.images), self.per_epoch, self.batches, columns)["total"]

    def write(self, folder: Path) -> dict[str, Any]:
        """Label every view and write them; returns the manifest's part that `Recording.read` needs."""
        (folder / "labels").mkdir()
        columns = self.codec.columns(len(self.images.classes))
        epochs = sizes.shard_epochs(len(self.images), columns)
        parts = sizes.shards(self.batches, self.per_epoch, epochs)
        for number, part in enumerate(parts):
            tensors.write(shard(folder, number), self._tensors(part))
        return {
            "batches": self.batches,
            "batches_per_epoch": self.per_epoch,
            "batches_per_file": self.per_epoch * epochs,
            "classes": len(self.images.classes),
            "codec": self.codec.describe(),
            "seed": self.seed,
            "images": len(self.images),
        }

    def _tensors(self, part: range) -> dict[str, Tensor]:
        """The columns of some consecutive batches."""
        views = [self.view(number) for number in part]
        kept = [self.codec.encode(self._made(number).cpu()) for number in part]
        columns = {name: torch.cat([row[name] for row in kept]) for name in kept[0]}
        return {
            **columns,
            "rows": torch.cat([v.rows for v in views]).to(torch.int32),
            "box": torch.cat([v.box for v in views]).to(torch.int16),
            "flip": torch.cat([v.flip for v in views]),
            "partner": torch.cat([v.partner for v in views]).to(torch.int16),
            "share": torch.tensor([v.share for v in views], dtype=torch.float64),
            "hole": torch.tensor([v.hole for v in views], dtype=torch.int16),
            "length": torch.tensor([len(v.rows) for v in views], dtype=torch.int32),
        }


@lru_cache(maxsize=2)
def _epoch(images: int, side: int, batch_size: int, augment: Augment, seed: int, epoch: int) -> list[View]:
    return list(sample_views(images, side, batch_size, augment, seed, epoch))


def shard(folder: Path, number: int) -> Path:
    """A file of stored labels."""
    return folder / "labels" / shard_file(number)


class Recording:
    """Stored labels on disk."""

    def __init__(self, folder: Path, described: dict[str, Any], codec: LabelCodec) -> None:
        self.folder = folder
        self.codec = codec
        self.described = described
        self.batches: int = described["batches"]
        self.per_epoch: int = described["batches_per_epoch"]
        self.per_file: int = described["batches_per_file"]
        self.files = [self._open(number) for number in range(-(-self.batches // self.per_file))]

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled as where it lies: another process opens the files for itself."""
        return Recording, (self.folder.absolute(), self.described, self.codec)

    def _open(self, number: int) -> tuple[Any, list[int]]:
        """A file and the places of its batches' first views."""
        path = shard(self.folder, number)
        first = number * self.per_file
        batches = min(self.per_file, self.batches - first)
        before, after = (self._views(number) for number in (first, first + batches))
        columns = self.codec.columns(self.described["classes"])
        tensors.check_layout(path, sizes.recording_layout(after - before, batches, columns))
        try:
            file = safetensors.safe_open(path, "pt")
        except tensors.UNREADABLE as error:
            raise ArtifactError(f"{path} cannot be read: {error}; get the artefact again") from None
        lengths = file.get_tensor("length").tolist()
        expected = [self._views(number + 1) - self._views(number) for number in range(first, first + batches)]
        if lengths != expected:
            raise ArtifactError(f"{path} holds batches of other sizes than a training on these images has")
        return file, [0, *itertools.accumulate(lengths)]

    def _views(self, batches: int) -> int:
        """Views in the first batches."""
        return sizes.num_views(self.described["images"], self.per_epoch, batches)

    def check(self, side: int) -> None:
        """Raise ArtifactError where a stored number is not finite, or a view leads outside of the images.

        Reads everything, a batch at a time.
        """
        columns = self.codec.columns(self.described["classes"])
        for number in range(self.batches):
            file, _, rows = self._rows(number)
            kept = {name: file.get_slice(name)[rows] for name in columns}
            path = shard(self.folder, number // self.per_file)
            for name, column in kept.items():
                tensors.check_finite(path, name, column)
            view = self.view(number)
            inside = _below(view.rows, self.described["images"]) and _below(view.partner, len(view.rows))
            inside = inside and _within(view.box, side, least=1) and _within(torch.tensor([view.hole]), side, least=0)
            inside = inside and _below(kept.get("classes", torch.zeros(1)), self.described["classes"])
            if not inside or not 0 <= view.share <= 1:
                raise ArtifactError(f"{path}: view {number} leads outside of the images; get the artefact again")

    def _rows(self, number: int) -> tuple[Any, int, slice]:
        file, starts = self.files[number // self.per_file]
        index = number % self.per_file
        return file, index, slice(starts[index], starts[index + 1])

    def view(self, number: int) -> View:
        """One batch's view; its key is its number."""
        file, index, rows = self._rows(number)
        cut = {name: file.get_slice(name)[rows] for name in sizes.VIEW_COLUMNS}
        top, left, height, width = file.get_slice("hole")[index : index + 1][0].tolist()
        return View(
            key=number,
            rows=cut["rows"].long(),
            box=cut["box"].long(),
            flip=cut["flip"],
            partner=cut["partner"].long(),
            share=file.get_slice("share")[index : index + 1].item(),
            hole=(top, left, height, width),
        )

    def labels(self, images: Images, view: View) -> Logits:
        """The stored labels (b c) of a view."""
        file, _, rows = self._rows(view.key)
        kept = {name: file.get_slice(name)[rows] for name in self.codec.columns(self.described["classes"])}
        return self.codec.decode(kept, self.described["classes"]).to(images.device)

    def size(self) -> int:
        """Bytes of its files."""
        return sum(shard(self.folder, number).stat().st_size for number in range(len(self.files)))

    def write(self, folder: Path) -> dict[str, Any]:
        """Copy the files into another artefact."""
        (folder / "labels").mkdir()
        for number in range(len(self.files)):
            shard(folder, number).write_bytes(shard(self.folder, number).read_bytes())
        return self.described


def _below(numbers: Tensor, limit: int) -> bool:
    return bool(((numbers >= 0) & (numbers < limit)).all())


def _within(boxes: Tensor, side: int, least: int) -> bool:
    """Whether boxes (n 4: top, left, height, width) lie inside of a square, no edge shorter than `least`."""
    corner, extent = boxes[:, :2], boxes[:, 2:]
    return bool(((corner >= 0) & (extent >= least) & (corner + extent <= side)).all())


@dataclass(frozen=True)
class Draw:
    """Which stored batches an epoch takes, where only some of a training were kept: as many as it had, at random.

    LPLD draws with replacement, LPQLD without (within an epoch, as far as the pool goes), HALD in `rounds`: every batch
    of the pool once, before any comes again. Every student of an artefact draws the same.
    """

    replacement: bool = True
    seed: int = 0
    rounds: bool = False
    """Then the pool is that of whole epochs."""

    def described(self) -> dict[str, Any]:
        """As a manifest has it; artefacts of 0.1.0 know of no rounds."""
        return {name: value for name, value in asdict(self).items() if name != "rounds" or value}

    def numbers(self, batches: int, per_epoch: int, epoch: int) -> list[int]:
        """Numbers of the batches of an epoch."""
        if self.rounds:
            number, part = divmod(epoch, batches // per_epoch)
            drawn = np.random.default_rng([self.seed, 5, number]).permutation(batches)
            return drawn[part * per_epoch : (part + 1) * per_epoch].tolist()
        rng = np.random.default_rng([self.seed, 5, epoch])
        if self.replacement:
            return rng.integers(batches, size=per_epoch).tolist()
        rounds = [rng.permutation(batches) for _ in range(-(-per_epoch // batches))]
        return np.concatenate(rounds)[:per_epoch].tolist()


class RecordedLabels(LabelSource):
    """Labels that were stored view by view: the views come from the store, not from the student's sampling."""

    def __init__(self, kind: str, kept: Plan | Recording, draw: Draw | None) -> None:
        self.kind = kind
        self.kept = kept
        self.draw = draw

    def views(self, epoch: int, sampled: Iterable[View]) -> Iterable[View]:
        """The stored views of an epoch, whatever seed the sampled ones have: every student sees the same.

        Raises InputError for an epoch that was not stored, and for batches of another size than the stored ones.
        """
        kept = self.kept
        asked = next(iter(sampled), None)
        if asked is not None and len(asked.rows) != len(kept.view(0).rows):
            raise InputError(
                f"labels are stored for batches of {len(kept.view(0).rows)} images, not of {len(asked.rows)}; ask for "
                "those, or store others with `hello-distill labels`"
            )
        if self.draw is not None:
            numbers: Iterable[int] = self.draw.numbers(kept.batches, kept.per_epoch, epoch)
        elif (epoch + 1) * kept.per_epoch <= kept.batches:
            numbers = range(epoch * kept.per_epoch, (epoch + 1) * kept.per_epoch)
        else:
            raise InputError(
                f"labels of {kept.batches // kept.per_epoch} epochs are stored, and epoch {epoch + 1} was asked for; "
                "train for fewer epochs, or store more with `hello-distill labels`"
            )
        return (kept.view(number) for number in numbers)

    def __call__(self, images: Images, view: View) -> Logits:
        check_images(images)
        return self.kept.labels(images, view)

    def size(self) -> int:
        return self.kept.size()

    def save(self, folder: Path) -> dict[str, Any]:
        described = self.kept.write(folder)
        draw = self.draw.described() if self.draw else None
        return {"kind": self.kind, "parameters": stored_numbers(described), "draw": draw, **described}


def stored_numbers(described: dict[str, Any]) -> int:
    """How many numbers the stored labels are."""
    views = sizes.num_views(described["images"], described["batches_per_epoch"], described["batches"])
    form = described["codec"]
    columns = sizes.label_columns(form["name"], described["classes"], form.get("k", 0))
    return views * sum(math.prod(shape) for _, shape in columns.values())


def open_recorded(folder: Path, described: dict[str, Any], side: int) -> RecordedLabels:
    """Stored labels of an artefact with images of `side` pixels.

    Raises ArtifactError where files and manifest disagree, or a file leads outside of the images.
    """
    form = described["codec"]
    kept = Recording(folder, described, codec(form["name"], form.get("k", 10)))
    kept.check(side)
    check_stated(folder, described, {"parameters": stored_numbers(described)})
    draw = Draw(**described["draw"]) if described["draw"] else None
    return RecordedLabels(described["kind"], kept, draw)
