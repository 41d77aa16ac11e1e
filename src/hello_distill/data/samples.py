"""Images as torch's own loaders know them: samples by place, and what a loader collates put together again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, SupportsIndex, TypeAlias

import torch
from jaxtyping import UInt8
from torch import Tensor
from torch.utils.data import Dataset

from hello_distill.data.images import ImageSet

Sample: TypeAlias = tuple[UInt8[Tensor, "3 h w"], int]
"""An image and its class."""


class Samples(Dataset[Sample]):
    """Image (3 h w, uint8) and class by place in a set, in main memory whatever device the set is on."""

    def __init__(self, data: ImageSet) -> None:
        self.data = data.to("cpu")

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, row: SupportsIndex) -> Sample:
        return self.data.images[row], int(self.data.targets[row])


def together(samples: Sequence[Any], classes: tuple[str, ...]) -> ImageSet:
    """Samples as a set of their own: one by one, or as torch stacks them, images (b 3 h w) and classes (b)."""
    if isinstance(samples[0], Tensor):
        images, targets = samples
        return ImageSet(images, targets, classes)
    images, targets = zip(*samples, strict=True)
    return ImageSet(torch.stack(images), torch.tensor(targets), classes)
