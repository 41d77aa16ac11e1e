"""Small batches are labelled several in one go, always the same ones: stored labels are online ones bit for bit."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from hello_distill.format.sizes import num_batches
from hello_distill.types import LabelSource, View

AT_ONCE = 32
"""About so many images a network labels in one go, where batches are smaller: ours. On a CPU an image takes longer
where fewer than 16 come at once, since PyTorch has another kernel for their convolutions of one pixel."""


def batches_at_once(labels: LabelSource, batch_size: int) -> int:
    """Consecutive batches of an epoch, counted from its first, that are labelled in one go."""
    return num_batches(AT_ONCE, batch_size) if labels.by_image else 1


def in_one_go(labels: LabelSource, images: Sequence[Tensor], views: Sequence[View]) -> list[Tensor]:
    """Labels (b c) of each of some batches of rendered images (b 3 h w), of these views or of a part of each."""
    if len(views) == 1:
        return [labels(images[0], views[0])]
    return list(labels(torch.cat([*images]), views[0]).split([len(batch) for batch in images]))
