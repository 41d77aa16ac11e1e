"""Labelled images, not yet decoded (`Split`) and decoded (`ImageSet`), and how they are divided.

Decoding is ours (`decoding`), so that the same file gives the same pixels whatever the source.
"""

from __future__ import annotations

import math
import os
import statistics
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import datasets
import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from hello_distill.data import reading
from hello_distill.data.decoding import Unreadable, decode
from hello_distill.data.mapped import KeptImages, part
from hello_distill.data.names import opaque
from hello_distill.data.skipped import Bad, Skipped
from hello_distill.format.fields import Square
from hello_distill.system.errors import InputError, listed
from hello_distill.types import Targets

MUCH = 0.4
"""Share of images that a centre square may leave out without a word: a photograph of 3:2 loses a third (ours)."""


@dataclass(frozen=True)
class ImageSet:
    """Square uint8 RGB images (n 3 side side) with integer classes (n) and the classes' names.

    A set that is large for this machine is memory-mapped (`mapped`); an index reads from its file.
    """

    images: KeptImages
    targets: Targets
    classes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.targets)

    @property
    def side(self) -> int:
        """Height and width in pixels."""
        return self.images.shape[-1]

    def rows(self, index: Tensor) -> ImageSet:
        """The images at these rows, in this order."""
        return ImageSet(part(self.images, index), self.targets[index], self.classes)

    def to(self, device: str) -> ImageSet:
        """The same images on another device; memory-mapped ones go to it when they are read."""
        return ImageSet(self.images.to(device), self.targets.to(device), self.classes)

    def counts(self) -> dict[str, int]:
        """Images per class."""
        return counted(self.targets, self.classes)

    def of_class(self, target: int) -> Tensor:
        """Rows of one class, ascending."""
        return torch.nonzero(self.targets == target).flatten()

    def only(self, chosen: Sequence[int]) -> ImageSet:
        """The images of some classes, renumbered in the order in which these are given."""
        targets = _renumbered(self.targets, chosen, len(self.classes))
        names = tuple(self.classes[target] for target in chosen)
        return ImageSet(part(self.images, targets >= 0), targets[targets >= 0], names)


def labels_of(table: datasets.Dataset) -> Targets:
    """The column of classes as the table numbers them, without an object for each row."""
    column = table.select_columns("label").with_format("arrow")["label"][:]
    return torch.from_numpy(column.to_numpy().astype(np.int64))


@dataclass(frozen=True)
class Split:
    """One split, not yet decoded."""

    source: str
    name: str
    table: datasets.Dataset
    """`image` {bytes, path} (a folder's paths as bytes, since file names need not be text) and `label`."""
    classes: tuple[str, ...]
    roots: tuple[Path, ...] = ()
    """Folders in which a path may lie that the table names (resolved). None: the table holds the bytes itself."""
    rows: Int64[Tensor, "n"] | None = None
    """Rows of the whole split, where this is a part of it."""
    numbers: tuple[int, ...] | None = None
    """The table's number of each class, where these are some of its classes."""
    own_classes: tuple[str, ...] | None = None
    """What the source calls the classes, where they were given other names."""
    notes: tuple[str, ...] = ()
    """What the line of a run's first stage says of how it was read."""

    @property
    def targets(self) -> Targets:
        labels = labels_of(self.table)
        return labels if self.numbers is None else _renumbered(labels, self.numbers, max(self.numbers) + 1)

    def counts(self) -> dict[str, int]:
        """Images per class."""
        return counted(self.targets, self.classes)

    def limited(self, limit: int | None, seed: int) -> Split:
        """At most about `limit` images: the same share of each class, and one of each at least."""
        if limit is None or len(self.table) <= limit:
            return self
        return self.part(_drawn(self.targets, limit / len(self.table), 1, np.random.default_rng([seed, 4])))

    def only(self, names: Collection[str]) -> Split:
        """The images of some classes, which stay in the split's order."""
        chosen = [target for target, name in enumerate(self.classes) if name in names]
        part = self.part(torch.nonzero(torch.isin(self.targets, torch.tensor(chosen))).flatten())
        return replace(part, classes=tuple(self.classes[target] for target in chosen), numbers=tuple(chosen))

    def noting(self, *notes: str) -> Split:
        """The same split with more to say of how it was read."""
        return replace(self, notes=(*self.notes, *filter(None, notes)))

    def part(self, rows: Int64[Tensor, "n"]) -> Split:
        """The images at these rows."""
        table = self.table.select(rows.tolist())
        return replace(self, table=table, rows=rows if self.rows is None else self.rows[rows])

    def native_side(self) -> int:
        """Median of the shorter sides in pixels of up to 50 images, evenly spread over the split.

        Unreadable ones are passed over (`read` reports them); all images are looked at where those are all unreadable.
        """
        return statistics.median_low(map(min, self._sizes)) if self._sizes else 1

    def cut_away(self) -> float:
        """The share of the same images' pixels, on average, that lies outside of their centre squares."""
        return statistics.fmean(1 - min(size) / max(size) for size in self._sizes) if self._sizes else 0.0

    def remarks(self, square: Square, names_count: bool) -> list[str]:
        """What is to be said of images of which such a square holds little, and, where names count, of those that
        say nothing."""
        said = [opaque(self.classes)] if names_count else []
        if square == "crop" and (share := self.cut_away()) > MUCH:
            said.append(
                f"note: {100 * share:.0f} % of the images lie outside of their centre squares; --square pad keeps all "
                "of them between bars, and --square squash out of proportion"
            )
        return [*filter(None, said)]

    @cached_property
    def _sizes(self) -> list[tuple[int, int]]:
        """Width and height of some images, or of all where those cannot be read."""
        return self._sizes_of_every(math.ceil(len(self.table) / 50)) or self._sizes_of_every(1)

    def _sizes_of_every(self, step: int) -> list[tuple[int, int]]:
        sizes = []
        for record in self.table.select(range(0, len(self.table), step)):
            with suppress(Unreadable):
                sizes.append(decode(record["image"], self.roots).size)
        return sizes

    def read(self, side: int, square: Square = "crop") -> tuple[ImageSet, Skipped]:
        """All images, brought to squares of `side` pixels (`decoding.square`).

        Those that cannot be read are left out, with their targets, and reported. Raises MachineError where memory
        cannot hold the images.
        """
        part = None if self.rows is None else tuple(self.rows.tolist())
        images, rows, faults = reading.read(reading.Undecoded(self.table, self.roots, part, side, square), self.name)
        targets, bad = self.targets, []
        for row, reason, detail in faults:
            name = self._name(row, self.table[row]["image"])
            bad.append(Bad(name, self.classes[int(targets[row])], reason, detail))
        kept = ImageSet(images, targets[rows], self.classes)
        return kept, Skipped(self.source, self.name, len(self.table), tuple(bad))

    def _name(self, row: int, image: dict[str, Any] | None) -> str:
        """What a person finds an image by: its path, or its row in the source."""
        path = os.fsdecode(image["path"]) if image and image["path"] else ""
        if path and image and image["bytes"] is None:
            return path
        return f"row {row if self.rows is None else int(self.rows[row])}" + (f" ({path})" if path else "")


def _renumbered(labels: Targets, chosen: Sequence[int], count: int) -> Targets:
    """Labels below `count` by their index in `chosen`; -1 for those that are not in it."""
    indices = torch.full((count,), -1, device=labels.device)
    indices[list(chosen)] = torch.arange(len(chosen), device=labels.device)
    return indices[labels]


def counted(targets: Targets, classes: tuple[str, ...]) -> dict[str, int]:
    """How often each class is among the targets."""
    return dict(zip(classes, torch.bincount(targets, minlength=len(classes)).tolist(), strict=True))


class Material(NamedTuple):
    """The training images of a run in two parts."""

    train: ImageSet
    """What everything is fitted on and cut from."""
    held: ImageSet
    """Held out for the figures that a run prints and for tuning; may be empty."""


def check_counts(data: ImageSet, ipc: int) -> None:
    """Raise InputError naming the classes with fewer images than are asked for."""
    if short := short_classes(data, ipc):
        raise InputError(
            f"fewer than {ipc} training images (after holding some out) in {shown_counts(short)}; "
            f"lower --ipc to {min(short.values())}, add images, or `distill` with --short-class repeat or fewer"
        )


def short_classes(data: ImageSet, needed: int) -> dict[str, int]:
    """Classes with fewer images than are needed, and how many they have."""
    return {name: count for name, count in data.counts().items() if count < needed}


def shown_counts(counts: Mapping[str, int]) -> str:
    """Classes with their numbers of images, for a message."""
    return listed([f"{name} ({count})" for name, count in counts.items()])


def hold_out(data: ImageSet, share: float, limit: int, seed: int) -> Material:
    """Split training images in two: to fit on, and held out for the figures that a run prints.

    The same share of each class is held out, at most about `limit` images in all; no class is left empty.
    """
    share = min(share, limit / len(data))
    held = torch.zeros(len(data), dtype=torch.bool)
    held[_drawn(data.targets, share, 0, np.random.default_rng([seed, 1]))] = True
    return Material(data.rows(torch.nonzero(~held).flatten()), data.rows(torch.nonzero(held).flatten()))


def _drawn(targets: Targets, share: float, least: int, rng: np.random.Generator) -> Int64[Tensor, "m"]:
    """Rows of a share of each class, drawn without replacement; `least` of each, and never a whole class
    unless `least` asks for it."""
    drawn = []
    for target in range(int(targets.max()) + 1):
        rows = torch.nonzero(targets == target).flatten().numpy()
        drawn.append(rng.permutation(rows)[: _share_of(len(rows), share, least)])
    return torch.from_numpy(np.sort(np.concatenate(drawn)))


def _share_of(count: int, share: float, least: int) -> int:
    """How many of so many images a share of them is; see `_drawn`."""
    return max(least, min(round(share * count), count - 1))


def left_to_fit(counts: Mapping[str, int], limit: int | None, share: float, held_limit: int) -> dict[str, int]:
    """Images of each class that `limited` and `hold_out` leave to be fitted on, of a split with so many."""
    left, total = dict(counts), sum(counts.values())
    if limit is not None and total > limit:
        left = {name: min(count, _share_of(count, limit / total, 1)) for name, count in left.items()}
    share = min(share, held_limit / max(1, sum(left.values())))
    return {name: count - _share_of(count, share, 0) for name, count in left.items()}
