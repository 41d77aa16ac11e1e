"""Logits and accuracy of a classifier on kept images, and how well it imitates another."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Int64
from torch import Tensor

from hello_distill.data.images import ImageSet
from hello_distill.data.mapped import KeptImages
from hello_distill.system import context, distributed
from hello_distill.system.machine import autocast
from hello_distill.types import Classifier, Images, Logits, Targets
from hello_distill.views import whole

GPU_BATCH, CPU_BATCH = 250, 32
"""Images at once. A CPU's caches hold what a ConvNet makes of 32; where more come at once, each takes longer."""


def batch_size(device: torch.device) -> int:
    """Of forward passes without gradients."""
    return CPU_BATCH if device.type == "cpu" else GPU_BATCH


def in_precision(classifier: Classifier, precision: str) -> Classifier:
    """The classifier with its forward passes in a precision (`Optim.precision`) and its logits in float32.

    In float32 it is the classifier itself.
    """
    if precision == "float32":
        return classifier

    def called(images: Images) -> Logits:
        with autocast(precision):
            logits = classifier(images)
        return logits.float()

    return called


@torch.no_grad()
def predict(classifier: Classifier, images: KeptImages, what: str = "") -> Logits:
    """Logits (n c) of kept images, without augmentation. The classifier's mode is the caller's affair.

    Of several processes each makes some batches, and all get all: so all of them call this, with the same weights.
    """
    size = batch_size(images[:1].device)
    starts = distributed.dealt(range(0, len(images), size))
    tracked = context.track(starts, len(starts), what)
    made = [classifier(whole(images[start : start + size])) for start in tracked]
    return distributed.gathered(made, len(images), size)


def top1(classifier: Classifier, data: ImageSet, what: str = "") -> float | None:
    """Top-1 accuracy in percent, None on an empty set."""
    if not len(data):
        return None
    right = predict(classifier, data.images, what).argmax(1) == data.targets
    return 100 * int(right.sum()) / len(data)


def confusion(logits: Logits, targets: Targets, classes: int) -> Int64[Tensor, "c c"]:
    """Images counted by their class (rows) and by the class of their largest logit (columns)."""
    return torch.bincount(targets * classes + logits.argmax(1), minlength=classes**2).view(classes, classes)


class Faithfulness(NamedTuple):
    """How well a labeller imitates a teacher."""

    agreement: float
    """Share of views, in percent, of which both name the same class."""
    error: float
    """Squared difference of logits that are centred over the classes, over the teacher's own squares: 0 is a copy, and
    1 no better than a constant."""


def faithfulness(wanted: Logits, given: Logits) -> Faithfulness:
    """Of labels `given` (n c) to a teacher's."""
    wanted, given = (logits - logits.mean(1, keepdim=True) for logits in (wanted, given))
    same = (wanted.argmax(1) == given.argmax(1)).float().mean().item()
    return Faithfulness(100 * same, ((given - wanted).square().sum() / wanted.square().sum()).item())


def percent(value: float | None) -> str:
    """Accuracy as people read it."""
    return "unknown (no images held out)" if value is None else f"{value:.1f} %"
