"""Logits and accuracy of a classifier on kept images."""

from __future__ import annotations

import torch
from jaxtyping import Int64
from torch import Tensor

from hello_distill.data.images import ImageSet
from hello_distill.data.mapped import KeptImages
from hello_distill.system import context
from hello_distill.types import Classifier, Logits, Targets
from hello_distill.views import whole

BATCH = 250


@torch.no_grad()
def predict(classifier: Classifier, images: KeptImages, what: str = "") -> Logits:
    """Logits (n c) of kept images, without augmentation. The classifier's mode is the caller's affair."""
    starts = range(0, len(images), BATCH)
    tracked = context.track(starts, len(starts), what)
    return torch.cat([classifier(whole(images[start : start + BATCH])) for start in tracked])


def top1(classifier: Classifier, data: ImageSet, what: str = "") -> float | None:
    """Top-1 accuracy in percent, None on an empty set."""
    if not len(data):
        return None
    right = predict(classifier, data.images, what).argmax(1) == data.targets
    return 100 * int(right.sum()) / len(data)


def confusion(logits: Logits, targets: Targets, classes: int) -> Int64[Tensor, "c c"]:
    """Images counted by their class (rows) and by the class of their largest logit (columns)."""
    return torch.bincount(targets * classes + logits.argmax(1), minlength=classes**2).view(classes, classes)


def percent(value: float | None) -> str:
    """Accuracy as people read it."""
    return "unknown (no images held out)" if value is None else f"{value:.1f} %"
