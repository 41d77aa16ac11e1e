"""G_VBSM: images recovered by statistics of several networks' layers (Shao, Yin, Zhou, Zhang, Shen, CVPR 2024)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from hello_distill.artifact import Distilled
from hello_distill.data.images import ImageSet, Material
from hello_distill.distillers.base import Distiller, classifier_bytes, register
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
    uniform,
)
from hello_distill.encoders.encoder import Encoder
from hello_distill.labels.sources.teacher import TeacherLabels
from hello_distill.stages import Stages
from hello_distill.system import context
from hello_distill.teachers import TeacherSpec, network
from hello_distill.training.networks import IMAGENET_MEAN, IMAGENET_STD
from hello_distill.types import Scalar, Targets
from hello_distill.views import whole

Moments = tuple[Tensor, Tensor]


class Watched(NamedTuple):
    """A network with what its layers saw of the real training images."""

    inner: nn.Module
    convolutions: list[nn.Conv2d]
    norms: list[nn.BatchNorm2d]
    channels: list[Moments]
    """Mean and variance of each channel of each convolution's input."""
    patches: list[Moments]
    """Mean and variance of each patch position of each convolution's input."""


@register("gvbsm")
@dataclass(frozen=True)
class GVBSM(Distiller):
    """Generalised various backbone and statistical matching. Defaults are those of its code for ImageNet-1K."""

    networks: tuple[str, ...] = ("resnet18", "mobilenet_v2", "efficientnet_b0", "shufflenet_v2_x0_5")
    """One takes each step in turn; together they label."""
    steps: int = 4000
    lr: float = 0.1
    weight: float = 0.01
    """Of all statistics beside CE (r_loss)."""
    density: float = 1.0
    """Of data densification (nuc_norm)."""
    first: float = 10.0
    """Factor of the first watched layer, which is a convolution (the code's)."""
    patch: int = 16
    """Side of the patches whose statistics are matched; 4 for small images."""
    momentum: float = 0.4
    """Of the running mean of batch statistics; 0.8 for small images."""
    from_zero: bool = False
    """The running mean starts at zero and is carried from one batch of images to the next, as in the code, which is
    biased low thereby. Ours: it starts at the first statistic, anew for each batch of images."""
    skipped: float = 0.0
    """Probability that a convolution's statistics are left out of a step; 0.4 for small images."""
    batch_size: int = 80
    """Images optimised together, class by class."""
    pool: int = 5000
    """Training images that the statistics are taken from, evenly spread (the code takes all)."""
    combine: Literal["mean", "norm"] = "norm"
    """How labels are averaged: see `hello_distill.labels.teacher`."""
    jitter: Jitter = field(default_factory=Jitter)

    def __call__(self, material: Material, stages: Stages, ipc: int, seed: int) -> Distilled:
        data = material.train
        for name in self.networks:  # before anything is trained
            backbone(network(name, len(data.classes), data.side), name, "gvbsm")
        teachers = [stages.teachers(name).observer for name in self.networks]
        with context.stage("statistics") as stage:
            watched = [self._watch(t, name, data) for t, name in zip(teachers, self.networks, strict=True)]
            stage.figure = f"{sum(len(w.convolutions) + len(w.norms) for w in watched)} layers"
        targets = torch.arange(len(data.classes), device=data.images.device).repeat_interleave(ipc)
        parts = targets.split(self.batch_size)
        running = Running(self.momentum, self.from_zero)
        with context.stage("recover") as stage:
            images = torch.cat(
                [
                    self._recovered(watched, part, data.side, seed * 1_000_003 + number, running)
                    for number, part in enumerate(context.track(parts, len(parts), "recover"))
                ]
            )
            stage.figure = f"{len(images)} images, {self.steps} steps each"
        labels = TeacherLabels(self.networks, teachers, data.side, self.combine)
        return Distilled(ImageSet(images, targets, data.classes), labels, dict(stages.figures), NOISE)

    def shipped_bytes(self, data: ImageSet, teachers: TeacherSpec, encoder: Encoder | None) -> int:
        return sum(classifier_bytes(name, data) for name in self.networks)

    @torch.no_grad()
    def _watch(self, teacher: nn.Module, name: str, data: ImageSet) -> Watched:
        """Statistics of each convolution's input: the mean over batches of those of each batch."""
        inner = backbone(teacher, name, "gvbsm")
        convolutions = [module for module in inner.modules() if isinstance(module, nn.Conv2d)]
        mean, std = (torch.tensor(v, device=data.images.device).view(1, 3, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_STD))
        rows = torch.linspace(0, len(data) - 1, min(self.pool, len(data))).long()
        rows = rows[torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))]
        sums: list[list[Tensor]] = [[] for _ in convolutions]
        with inputs_of([*convolutions]) as seen:
            for part in rows.split(100):
                inner((whole(data.images[part]) - mean) / std)
                share = len(part) / len(rows)
                for index, total in enumerate(sums):
                    moments = [*channel_statistics(seen[index]), *patch_statistics(seen[index], self.patch)]
                    scaled = [share * each for each in moments]
                    sums[index] = [a + b for a, b in zip(total, scaled, strict=True)] if total else scaled
        channels, patches = [(s[0], s[1]) for s in sums], [(s[2], s[3]) for s in sums]
        return Watched(inner, convolutions, batch_norms(inner), channels, patches)

    def _recovered(self, watched: list[Watched], targets: Targets, side: int, seed: int, running: Running) -> Tensor:
        running.restart()
        generator = torch.Generator().manual_seed(seed + 500_009)  # not the seed of another batch

        def objective(images: Pixel, targets: Targets, step: int) -> Scalar:
            turn = step % len(watched)
            one = watched[turn]
            with inputs_of([*one.convolutions, *one.norms]) as seen:
                loss = F.cross_entropy(one.inner(images), targets)
            loss = loss + self.weight * self._distance(one, seen, running, turn, generator)
            return loss + self.density * densification(images, targets)

        return recover(targets, side, objective, self.steps, self.lr, self.jitter, seed)

    def _distance(
        self, one: Watched, seen: dict[int, Tensor], running: Running, turn: int, generator: torch.Generator
    ) -> Scalar:
        """Distances of convolutions' inputs (channels and patches) and of batch normalisations' inputs."""
        total = torch.zeros((), device=seen[0].device)
        for index in range(len(one.convolutions)):
            if uniform(generator, 0.0, 1.0) < self.skipped:
                continue
            factor = self.first if index == 0 else 1.0
            channels = running((turn, index, "channels"), channel_statistics(seen[index]))
            patches = running((turn, index, "patches"), patch_statistics(seen[index], self.patch))
            total = total + factor * (gap(channels, one.channels[index]) + gap(patches, one.patches[index]))
        for number, norm in enumerate(one.norms):
            assert norm.running_mean is not None and norm.running_var is not None
            moments = channel_statistics(seen[len(one.convolutions) + number])
            total = total + gap(running((turn, number, "norm"), moments), (norm.running_mean, norm.running_var))
        return total


class Running:
    """Running means of statistics whose value is the mean's and whose gradient is the new statistic's."""

    def __init__(self, momentum: float, from_zero: bool) -> None:
        self.momentum = momentum
        self.from_zero = from_zero
        self.kept: dict[tuple[int, int, str], Moments] = {}

    def restart(self) -> None:
        """Forget, unless the code's habit of carrying on is asked for."""
        if not self.from_zero:
            self.kept.clear()

    def __call__(self, key: tuple[int, int, str], moments: Moments) -> Moments:
        """The running mean with the new statistic in it."""
        start = (moments[0] * 0, moments[1] * 0) if self.from_zero else moments
        old = self.kept.get(key, start)
        new = tuple(
            self.momentum * o.detach() + (1 - self.momentum) * f.detach() for o, f in zip(old, moments, strict=True)
        )
        self.kept[key] = (new[0], new[1])
        return moments[0] + (new[0] - moments[0]).detach(), moments[1] + (new[1] - moments[1]).detach()


def patch_statistics(features: Float[Tensor, "b c h w"], patch: int) -> Moments:
    """Mean and biased variance at each patch position, over batch, channels and the patch's inside.

    The map is resized (bilinear) to the next multiple of `patch` first.
    """
    height, width = (-(-size // patch) * patch for size in features.shape[2:])
    if (height, width) != features.shape[2:]:
        features = F.interpolate(features, (height, width), mode="bilinear", align_corners=False)
    cells = features.unflatten(3, (-1, patch)).unflatten(2, (-1, patch))  # b c rows inside columns inside
    return cells.mean((0, 1, 3, 5)).flatten(), cells.var((0, 1, 3, 5), unbiased=False).flatten()


def densification(images: Pixel, targets: Targets) -> Scalar:
    """Data densification: sum over classes of KL(softmax(e / 4) || softmax(e)), e the eigenvalues of the Gram matrix.

    Images are averaged down (or up) to 32 x 32; the first distribution is the target and carries no gradient.
    """
    flat = F.adaptive_avg_pool2d(images, 32).flatten(1)
    total = torch.zeros((), device=images.device)
    for target in targets.unique():
        members = flat[targets == target]
        values = torch.linalg.eigvalsh(members @ members.T)
        total = total + F.kl_div(F.log_softmax(values, 0), F.softmax(values / 4, 0).detach(), reduction="sum")
    return total
