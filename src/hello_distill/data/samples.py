"""Images as torch's own loaders know them: samples by place, and what a loader collates put together again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, SupportsIndex, TypeAlias

import torch
from jaxtyping import UInt8
from torch import Tensor
from torch.utils.data import Dataset

from hello_distill.data.images import ImageSet
from hello_distill.system.errors import InputError, one_line

Sample: TypeAlias = tuple[UInt8[Tensor, "3 h w"], int]
"""An image and its class."""
WANTED = "as `dataset()` gives them, square images (3 h h) in uint8 and the number of a class"
"""What samples to collate must be, in the words of an error."""


class Samples(Dataset[Sample]):
    """Image (3 h w, uint8) and class by place in a set, in main memory whatever device the set is on."""

    def __init__(self, data: ImageSet) -> None:
        self.data = data.to("cpu")

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, row: SupportsIndex) -> Sample:
        return self.data.images[row], int(self.data.targets[row])


def together(samples: Sequence[Any], classes: tuple[str, ...]) -> ImageSet:
    """Samples as a set of their own: one by one, or as torch stacks them, images (b 3 h w) and classes (b).

    Raises InputError for others than `Samples` gives, such as images that a transform made floats.
    """
    try:
        images, targets = samples if isinstance(samples[0], Tensor) else zip(*samples, strict=True)
        images = images if isinstance(images, Tensor) else torch.stack(images)
        targets = torch.as_tensor(targets)
    except (IndexError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"samples to collate are {WANTED}: {one_line(error)}") from None
    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != 3 or images.shape[2] != images.shape[3]:
        raise InputError(f"samples to collate are {WANTED}, not images {tuple(images.shape)} of {images.dtype}")
    if targets.shape != images.shape[:1] or not ((targets >= 0) & (targets < len(classes))).all():
        raise InputError(f"samples to collate are {WANTED}; there are {len(classes)} classes, from 0")
    return ImageSet(images, targets.long(), classes)
