"""Coresets: real images that stand for their class, chosen on a public encoder's features. Rivals of every method."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from hello_distill import encoders
from hello_distill.artifact import Distilled
from hello_distill.data.images import ImageSet, Material, check_counts
from hello_distill.distillers.base import Distiller, register
from hello_distill.encoders.encoder import Encoder
from hello_distill.format.fields import Pixels
from hello_distill.labels.sources.hard import HardLabels
from hello_distill.stages import Stages
from hello_distill.system import context
from hello_distill.teachers import TeacherSpec
from hello_distill.training.scores import predict


@register("coreset")
@dataclass(frozen=True)
class Coreset(Distiller):
    """`ipc` images of each class by herding or as greedy k-centres, with hard labels.

    The first k images of a class are its coreset of k. The seed changes nothing: what is chosen hangs on the images.
    """

    labels = "hard"
    rule: Literal["herding", "k-centre"] = "herding"
    encoder: str = "lite"
    """Whose L2-normalised features distances are taken of."""
    size: Pixels | None = None
    """Its input in pixels; None: what it was made for."""

    def __call__(self, material: Material, stages: Stages, ipc: int, seed: int) -> Distilled:
        data = material.train
        check_counts(data, ipc)
        encoder = encoders.load(self.encoder, self.size)
        tower = encoder.visual.to(data.images.device)
        choose = herding if self.rule == "herding" else k_centre
        with context.stage("coreset") as stage:
            rows = []
            for target in context.track(range(len(data.classes)), len(data.classes), "coreset"):
                candidates = data.of_class(target)
                features = predict(lambda images: tower(encoder.preprocess(images)), data.rows(candidates).images)
                rows.append(candidates[choose(F.normalize(features, dim=1), ipc)])
            chosen: ImageSet = data.rows(torch.cat(rows))
            stage.figure = f"{len(chosen)} images by {self.rule}"
        return Distilled(chosen, HardLabels(chosen.targets, len(data.classes)), {})

    def images_needed(self, ipc: int) -> int:
        return ipc

    def shipped_bytes(self, data: ImageSet, teachers: TeacherSpec, encoder: Encoder | None) -> int:
        return 0


def herding(features: Float[Tensor, "n d"], count: int) -> Int64[Tensor, "k"]:
    """Places of images whose running mean stays nearest to the mean of all (Welling 2009; iCaRL, Rebuffi et al. 2017,
    algorithm 4): each is the one that brings it nearest."""
    mean, total = features.mean(0), torch.zeros_like(features[0])
    chosen: list[int] = []
    for size in range(1, count + 1):
        gaps = ((total + features) / size - mean).square().sum(1)
        gaps[chosen] = torch.inf
        chosen.append(int(gaps.argmin()))
        total = total + features[chosen[-1]]
    return torch.tensor(chosen, device=features.device)


def k_centre(features: Float[Tensor, "n d"], count: int) -> Int64[Tensor, "k"]:
    """Places of images by farthest-first traversal (Sener and Savarese, ICLR 2018, algorithm 1), from the image that is
    nearest to the mean on: each is the one that is farthest from all before it."""
    chosen = [int((features - features.mean(0)).square().sum(1).argmin())]
    nearest = (features - features[chosen[0]]).square().sum(1)
    while len(chosen) < count:
        chosen.append(int(nearest.argmax()))
        nearest = torch.minimum(nearest, (features - features[chosen[-1]]).square().sum(1))
    return torch.tensor(chosen, device=features.device)
