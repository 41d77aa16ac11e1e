"""Image update: move images so that the encoder sees the same after down- and up-sampling. Eq. 7."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from hello_distill.format.fields import Few, NotNegative
from hello_distill.format.sizes import num_batches
from hello_distill.stages.kept import Blocks, one_by_one
from hello_distill.system.errors import InputError
from hello_distill.training.fit import check_moved
from hello_distill.types import Features, Images, Pixels, Scalar
from hello_distill.views import whole

Encode = Callable[[Images], Features]


@dataclass(frozen=True)
class LIC:
    """Adam on the pixels of Eq. 7, which the paper takes from LIC ("Information Compensation", Sun et al. 2024).

    The paper gives no factor, steps or rate: all are ours.
    """

    factor: Few = 2
    """How many times smaller the image is made: the size its patches have in a 2x2 mosaic."""
    steps: Few = 20
    lr: NotNegative = 0.005
    """Step size in units of [0, 1]."""
    batch_size: Few = 50
    on: Literal["images", "patches"] = "images"
    """Ours: what the encoder is shown, whole images as students see them, or each patch of a mosaic by itself."""

    def __call__(
        self,
        images: Pixels,
        encode: Encode,
        per_side: int = 1,
        blocks: Blocks = one_by_one,
        known: Sequence[str] = (),
    ) -> Pixels:
        """The moved images, 8 bit again; `per_side` is how many patches an image has along a side.

        A batch is one of the `blocks` of work; `known` names images and encoder for those who keep them.

        Raises DivergedError where a loss or a pixel is not finite, and what `check` raises.
        """
        self.check(images.shape[-1], per_side)

        def batch(number: int) -> Pixels:
            first = number * self.batch_size
            return self._update(images[first : first + self.batch_size], encode, first, per_side)

        total = num_batches(len(images), self.batch_size)
        return torch.cat(blocks("image update", (self, per_side, *known), total, batch)).to(images.device)

    def _update(self, images: Pixels, encode: Encode, first: int, per_side: int) -> Pixels:
        x = whole(images).requires_grad_(True)
        optimiser = torch.optim.Adam([x], lr=self.lr)
        for step in range(self.steps):
            optimiser.zero_grad()
            loss = information_loss(encode, self._seen(x, per_side), self.factor)
            loss.backward()
            optimiser.step()
            with torch.no_grad():
                x.clamp_(0, 1)
            check_moved("image update", x, loss, step, torch.arange(first, first + len(x)))
        return x.detach().mul(255).round().to(torch.uint8)

    @torch.no_grad()
    def loss(self, images: Pixels, encode: Encode, per_side: int = 1) -> float:
        """Eq. 7 of kept images, averaged over all of them."""
        total = 0.0
        for part in images.split(self.batch_size):
            total += information_loss(encode, self._seen(whole(part), per_side), self.factor).item() * len(part)
        return total / len(images)

    def check(self, side: int, per_side: int) -> None:
        """Raise InputError where patches are to be moved by themselves and are of uneven size."""
        if self.on == "patches" and side % per_side:
            raise InputError(
                f"images of {side} pixels have no {per_side} patches of one size along a side; set "
                "`distiller.update.on` to images"
            )

    def _seen(self, images: Images, per_side: int) -> Float[Tensor, "n 3 k k"]:
        return patches_of(images, per_side) if self.on == "patches" else images


def patches_of(images: Images, per_side: int) -> Float[Tensor, "n 3 k k"]:
    """Mosaics (b 3 h w) cut into their patches (b * per_side^2, 3, h / per_side, w / per_side), row by row."""
    size = images.shape[-1] // per_side
    rows = images.unflatten(3, (per_side, size)).unflatten(2, (per_side, size))  # b 3 row height column width
    return rows.permute(0, 2, 4, 1, 3, 5).flatten(0, 2)


def degrade(images: Images, factor: int) -> Images:
    """Down by `factor` and up again (bilinear, antialiased on the way down)."""
    size = images.shape[-1]
    small = F.interpolate(images, (max(1, size // factor),) * 2, mode="bilinear", antialias=True, align_corners=False)
    return F.interpolate(small, (size, size), mode="bilinear", align_corners=False)


def information_loss(encode: Encode, images: Images, factor: int) -> Scalar:
    """Eq. 7: MSE between E_I(p) and E_I(up(down(p))), the mean over batch and features."""
    return F.mse_loss(encode(degrade(images, factor)), encode(images))
