"""What SRe2L and G_VBSM share: images optimised from noise so that trained networks recognise them and see the
statistics of their training data. Images live in the networks' normalised space while they are moved.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from hello_distill.system.errors import InputError
from hello_distill.training.fit import check_moved
from hello_distill.training.networks import IMAGENET_MEAN, IMAGENET_STD, Normalised
from hello_distill.types import Pixels, Scalar, Targets

NOISE = "noise, optimised until trained networks recognise it and see the statistics of their training images in it"
"""What the images are made of, for their card."""
Pixel = Float[Tensor, "b 3 h w"]
"""Images with ImageNet's mean and standard deviation taken out."""
Objective = Callable[[Pixel, Targets, int], Scalar]
"""Augmented images, their classes and the step to a loss."""


@dataclass(frozen=True)
class Jitter:
    """Augmentation inside the optimisation: crop and flip, then a cyclic shift."""

    scale: tuple[float, float] | None = (0.08, 1.0)
    """Area of a random resized crop (aspect 3/4 to 4/3), with a flip of probability 1/2; None for neither."""
    shift: int = 32
    """Cyclic shift down and to the right, each uniform from 0 to this many pixels."""
    per_image: bool = False
    """One draw per image. The codes of SRe2L and G_VBSM make one draw for the whole batch."""

    def __call__(self, images: Pixel, generator: torch.Generator) -> Pixel:
        """Another view of each image; differentiable."""
        if not self.per_image:
            return self._moved(images, generator)
        return torch.cat([self._moved(image[None], generator) for image in images])

    def _moved(self, images: Pixel, generator: torch.Generator) -> Pixel:
        side = images.shape[-1]
        if self.scale is not None:
            top, left, height, width = self._box(side, generator)
            part = images[:, :, top : top + height, left : left + width]
            images = F.interpolate(part, (side, side), mode="bilinear", antialias=True, align_corners=False)
            if uniform(generator, 0.0, 1.0) < 0.5:
                images = images.flip(-1)
        down, right = (integer(generator, self.shift + 1) for _ in range(2))
        return images.roll((down, right), dims=(2, 3))

    def _box(self, side: int, generator: torch.Generator) -> tuple[int, int, int, int]:
        """Top, left, height, width by the rule of torchvision's RandomResizedCrop."""
        assert self.scale is not None
        for _ in range(10):
            area = side * side * uniform(generator, *self.scale)
            aspect = math.exp(uniform(generator, math.log(3 / 4), math.log(4 / 3)))
            height, width = round(math.sqrt(area / aspect)), round(math.sqrt(area * aspect))
            if 0 < height <= side and 0 < width <= side:
                top = integer(generator, side - height + 1)
                return top, integer(generator, side - width + 1), height, width
        return 0, 0, side, side


def uniform(generator: torch.Generator, low: float, high: float) -> float:
    """A number in [low, high)."""
    return low + (high - low) * torch.rand((), generator=generator).item()


def integer(generator: torch.Generator, count: int) -> int:
    """A whole number from 0 to count - 1."""
    return int(torch.randint(count, (), generator=generator))


def recover(
    targets: Targets, side: int, objective: Objective, steps: int, lr: float, jitter: Jitter, seed: int
) -> Pixels:
    """One image per target, from noise: Adam (0.5, 0.9), the rate falling to zero by a cosine, pixels kept in range.

    The last iterate counts, as in SRe2L's code (its "best images" are the last, too). Raises DivergedError where a
    loss or a pixel is not finite.
    """
    generator = torch.Generator().manual_seed(seed)
    mean, std = (torch.tensor(v).view(1, 3, 1, 1).to(targets.device) for v in (IMAGENET_MEAN, IMAGENET_STD))
    low, high = -mean / std, (1 - mean) / std
    x = torch.randn(len(targets), 3, side, side, generator=generator).to(targets.device).requires_grad_(True)
    optimiser = torch.optim.Adam([x], lr=lr, betas=(0.5, 0.9), eps=1e-8)
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = lr * 0.5 * (1 + math.cos(math.pi * step / steps))
        optimiser.zero_grad()
        loss = objective(jitter(x, generator), targets, step)
        loss.backward()
        optimiser.step()
        with torch.no_grad():
            x.copy_(torch.maximum(torch.minimum(x, high), low))
        check_moved("recover", x, loss, step, targets, "images of classes")
    return ((x.detach() * std + mean).clamp(0, 1) * 255).to(torch.uint8)


def backbone(network: nn.Module, name: str, method: str) -> nn.Module:
    """The network behind its normalisation. Raises InputError where it has no batch normalisation to match.

    So it does for one that was trained elsewhere and does not see images as those do that are trained here.
    """
    if isinstance(network, Normalised) and network.interface is not None:
        raise InputError(
            f"{method} makes images of the data's size in ImageNet's normalisation for these classes alone, and this "
            "--teacher sees other images or knows other classes; choose another teacher, or another --recipe"
        )
    inner = network.backbone if isinstance(network, Normalised) else network
    if not isinstance(network, Normalised) or not batch_norms(inner):
        raise InputError(
            f"{method} matches statistics of batch normalisation of a classifier, and {name!r} is none that has it; "
            f"choose another in `{'distiller.networks' if method == 'gvbsm' else 'teachers.network'}`, such as resnet18"
        )
    return inner


def batch_norms(network: nn.Module) -> list[nn.BatchNorm2d]:
    """The batch normalisations of a network, in order."""
    return [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]


@contextmanager
def inputs_of(modules: list[nn.Module]) -> Iterator[dict[int, Tensor]]:
    """While open: what each module (by its index in the list) was last called with."""
    seen: dict[int, Tensor] = {}

    def keeper(index: int) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def keep(module: nn.Module, arguments: tuple[Tensor, ...]) -> None:
            seen[index] = arguments[0]

        return keep

    hooks = [module.register_forward_pre_hook(keeper(index)) for index, module in enumerate(modules)]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def channel_statistics(features: Float[Tensor, "b c h w"]) -> tuple[Float[Tensor, "c"], Float[Tensor, "c"]]:
    """Mean and biased variance of each channel, over batch and places."""
    return features.mean((0, 2, 3)), features.var((0, 2, 3), unbiased=False)


def gap(measured: tuple[Tensor, Tensor], wanted: tuple[Tensor, Tensor]) -> Scalar:
    """||mean - mean'||_2 + ||variance - variance'||_2: norms, not their squares (both codes)."""
    return (wanted[1] - measured[1]).norm() + (wanted[0] - measured[0]).norm()
