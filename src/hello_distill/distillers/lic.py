"""Image update: move images so that the encoder sees the same after down- and up-sampling. Eq. 7."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from hello_distill.fit import check_moved
from hello_distill.progress import SILENT, Progress
from hello_distill.types import Features, Images, Pixels, Scalar
from hello_distill.views import whole

Encode = Callable[[Images], Features]


@dataclass(frozen=True)
class LIC:
    """Adam on the pixels of Eq. 7. The paper gives no factor, steps or rate: all are ours."""

    factor: int = 2
    """How many times smaller the image is made: the size its patches have in a 2x2 mosaic."""
    steps: int = 20
    lr: float = 0.005
    """Step size in units of [0, 1]."""
    batch_size: int = 50

    def __call__(self, images: Pixels, encode: Encode, progress: Progress = SILENT) -> Pixels:
        """The moved images, 8 bit again. Raises DivergedError where a loss or a pixel is not finite."""
        parts = range(0, len(images), self.batch_size)
        tracked = progress.track(parts, len(parts), "image update")
        return torch.cat([self._update(images[at : at + self.batch_size], encode, at) for at in tracked])

    def _update(self, images: Pixels, encode: Encode, first: int) -> Pixels:
        x = whole(images).requires_grad_(True)
        optimiser = torch.optim.Adam([x], lr=self.lr)
        for step in range(self.steps):
            optimiser.zero_grad()
            loss = information_loss(encode, x, self.factor)
            loss.backward()
            optimiser.step()
            with torch.no_grad():
                x.clamp_(0, 1)
            check_moved("image update", x, loss, step, torch.arange(first, first + len(x)))
        return x.detach().mul(255).round().to(torch.uint8)

    @torch.no_grad()
    def loss(self, images: Pixels, encode: Encode) -> float:
        """Eq. 7 of kept images, averaged over all of them."""
        parts = images.split(self.batch_size)
        return sum(information_loss(encode, whole(p), self.factor).item() * len(p) for p in parts) / len(images)


def degrade(images: Images, factor: int) -> Images:
    """Down by `factor` and up again (bilinear, antialiased on the way down)."""
    size = images.shape[-1]
    small = F.interpolate(images, (max(1, size // factor),) * 2, mode="bilinear", antialias=True, align_corners=False)
    return F.interpolate(small, (size, size), mode="bilinear", align_corners=False)


def information_loss(encode: Encode, images: Images, factor: int) -> Scalar:
    """Eq. 7: MSE between E_I(p) and E_I(up(down(p))), the mean over batch and features."""
    return F.mse_loss(encode(degrade(images, factor)), encode(images))
