"""SRe2L: images recovered from noise by a trained network's batch statistics (Yin, Xing, Shen, NeurIPS 2023)."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import nn

from hello_distill.artifact import Distilled
from hello_distill.data.images import ImageSet, Material
from hello_distill.distillers.base import Distiller, register
from hello_distill.distillers.recover import (
    NOISE,
    Jitter,
    Pixel,
    backbone,
    batch_norms,
    channel_statistics,
    gap,
    inputs_of,
    recover,
)
from hello_distill.labels.sources.teacher import taught
from hello_distill.stages import Stages
from hello_distill.system import context
from hello_distill.teachers import network
from hello_distill.types import Scalar, Targets


@register("sre2l")
@dataclass(frozen=True)
class SRe2L(Distiller):
    """Squeeze, recover, relabel. Defaults are those of its code for ImageNet-1K."""

    steps: int = 4000
    lr: float = 0.25
    """Of Adam, in units of normalised pixels."""
    weight: float = 0.01
    """Of the statistics' distance beside CE (r_bn)."""
    first: float = 10.0
    """Factor of the first layer's distance (the code's, not the paper's)."""
    batch_size: int = 100
    """Images optimised together: one of each class, as many classes as go in. Their statistics are matched as one."""
    jitter: Jitter = field(default_factory=Jitter)
    batch_statistics: bool = False
    """The teacher labels with its batch normalisation in training mode, as SRe2L's code for CIFAR does: labels then
    depend on the batch."""

    def __call__(self, material: Material, stages: Stages, ipc: int, seed: int) -> Distilled:
        name, data = stages.spec.network, material.train
        if not stages.spec.sources:
            backbone(network(name, len(data.classes), data.side), name, "sre2l")  # before anything is trained
        observer, _ = stages.teachers()
        inner = backbone(observer, name, "sre2l")
        classes = torch.arange(len(data.classes), device=data.images.device)
        rounds = [(nth, chunk) for nth in range(ipc) for chunk in classes.split(self.batch_size)]
        made: list[list[torch.Tensor]] = [[] for _ in range(ipc)]
        with context.stage("recover") as stage:
            for number, (nth, chunk) in enumerate(context.track(rounds, len(rounds), "recover")):
                made[nth].append(self._recovered(inner, chunk, data.side, (seed * 1_000_003) + number))
            images = torch.stack([torch.cat(chunks) for chunks in made], 1).flatten(0, 1)
            stage.figure = f"{len(images)} images, {self.steps} steps each"
        targets = classes.repeat_interleave(ipc)
        labels = taught(stages, data.side, self.batch_statistics)
        return Distilled(ImageSet(images, targets, data.classes), labels, dict(stages.figures), NOISE)

    def _recovered(self, inner: nn.Module, targets: Targets, side: int, seed: int) -> torch.Tensor:
        norms = batch_norms(inner)
        with inputs_of([*norms]) as seen:

            def objective(images: Pixel, targets: Targets, step: int) -> Scalar:
                return F.cross_entropy(inner(images), targets) + self.weight * self.distance(norms, seen)

            return recover(targets, side, objective, self.steps, self.lr, self.jitter, seed)

    def distance(self, norms: list[nn.BatchNorm2d], seen: dict[int, torch.Tensor]) -> Scalar:
        """Sum over layers of the norms' distances between batch and running statistics, the first weighted more."""
        total = torch.zeros((), device=seen[0].device)
        for index, norm in enumerate(norms):
            assert norm.running_mean is not None and norm.running_var is not None
            each = gap(channel_statistics(seen[index]), (norm.running_mean, norm.running_var))
            total = total + (self.first if index == 0 else 1.0) * each
        return total
