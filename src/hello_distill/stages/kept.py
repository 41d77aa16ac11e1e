"""Results of costly stages in a folder, each named by all that it depends on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

from torch import Tensor

from hello_distill.data.images import ImageSet
from hello_distill.format import storage, tensors
from hello_distill.system import cache, distributed, publishing, room
from hello_distill.training.scores import BATCH

WEIGHTS, FACTS = "weights.safetensors", "facts.json"
"""Files of a stage."""
Computed: TypeAlias = tuple[dict[str, Tensor], dict[str, Any]]
"""Tensors of a stage, and what else there is to know of them."""


class Kept:
    """The folder of one set of training images and one seed; without a folder everything is computed."""

    def __init__(self, folder: Path | None, data: ImageSet, seed: int) -> None:
        self.folder = folder
        self.data = data
        self.seed = seed

    @cached_property
    def _images(self) -> str:
        """The training images' fingerprint; of those in a file it takes minutes."""
        return fingerprint(self.data)

    def computed(self, kind: str, specs: Sequence[Any], needed: int, compute: Callable[[], Computed]) -> Computed:
        """Tensors and facts of a stage: from the folder, where they are there, else computed now.

        Raises MachineError where the folder has no room for `needed` bytes.
        """
        if self.folder is None:
            return compute()

        def make(folder: Path) -> None:
            room.check_room(folder, needed)
            weights, facts = compute()
            write(folder, weights, storage.as_json(facts))

        folder = self.made(kind, specs, make)
        return read(folder), json.loads((folder / FACTS).read_text())

    def made(self, kind: str, specs: Sequence[Any], make: Callable[[Path], None], parts: Collection[str] = ()) -> Path:
        """The folder of a stage, named by all that its result depends on; `make` writes it, or its missing parts."""
        assert self.folder is not None
        named = [[repr(spec) for spec in specs], self.seed, self._images]
        folder = self.folder / kind / hashlib.sha256(json.dumps(named).encode()).hexdigest()[:16]
        return cache.once(folder, lambda: make(folder), parts, together=True)


def fingerprint(data: ImageSet) -> str:
    """Hash of images, targets and class names; the same for images in memory and in a file."""
    digest = hashlib.sha256(json.dumps([list(data.images.shape), *data.classes]).encode())
    for start in range(0, len(data), BATCH):
        digest.update(data.images[start : start + BATCH].cpu().numpy().data)
    digest.update(data.targets.cpu().numpy().data)
    return digest.hexdigest()


def read(folder: Path) -> dict[str, Tensor]:
    """The tensors of a stage's folder."""
    return tensors.read(folder / WEIGHTS)


def write(folder: Path, weights: dict[str, Tensor], facts: bytes = b"") -> None:
    """Write a stage's folder, which appears only when complete, unless it is there."""
    if folder.is_dir() or not distributed.first():
        return
    with publishing.published(folder, tensors.size(weights) + len(facts)) as partial:
        tensors.write(partial / WEIGHTS, {key: value.contiguous() for key, value in weights.items()})
        if facts:
            (partial / FACTS).write_bytes(facts)
