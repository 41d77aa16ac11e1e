"""Classes that arrive in steps, and what is kept of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from hello_distill import artifact as artifacts
from hello_distill.data import parquet
from hello_distill.data.images import ImageSet
from hello_distill.system.errors import InputError
from hello_distill.types import Pixels


@dataclass(frozen=True)
class Arrivals:
    """Classes in the order in which they arrive, equally many at each step. Steps count from 1."""

    order: tuple[int, ...]
    steps: int

    @classmethod
    def drawn(cls, classes: int, steps: int, seed: int) -> Arrivals:
        """The order that a seed draws. Raises InputError where the classes cannot be divided evenly."""
        if classes % steps:
            even = [str(count) for count in range(2, classes + 1) if not classes % count]
            raise InputError(
                f"{classes} classes cannot be divided evenly over {steps} steps; --steps may be {', '.join(even)}"
            )
        return cls(tuple(np.random.default_rng([seed, 6]).permutation(classes).tolist()), steps)

    def new(self, step: int) -> tuple[int, ...]:
        """The classes that arrive at a step."""
        share = len(self.order) // self.steps
        return self.order[(step - 1) * share : step * share]

    def seen(self, step: int) -> tuple[int, ...]:
        """The classes that have arrived, in the order of the data set, which is also that of their labels."""
        return tuple(sorted(self.order[: step * len(self.order) // self.steps]))


def kept(classes: Sequence[str], arrivals: Arrivals, folders: Sequence[Path]) -> tuple[ImageSet, int]:
    """The images of the classes seen, each class as it was distilled when it arrived, and the bytes of their files.

    `folders` are the artefacts from which the images of each step so far are kept.
    """
    arrived: dict[str, Pixels] = {}
    size = 0
    for past, folder in enumerate(folders, start=1):
        data = artifacts.load(folder, "hard").data
        new = {data.classes.index(classes[target]): classes[target] for target in arrivals.new(past)}
        arrived |= {name: data.images[data.of_class(target)] for target, name in new.items()}
        size += sum(len(file) for target, file in parquet.stored_images(folder) if target in new)
    names = tuple(classes[target] for target in arrivals.seen(len(folders)))
    targets = [torch.full((len(arrived[name]),), target) for target, name in enumerate(names)]
    images = torch.cat([arrived[name] for name in names])
    return ImageSet(images, torch.cat(targets).to(images.device), names), size
