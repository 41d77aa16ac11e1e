"""TensorFlow's padding of strided convolutions without a padded copy of the activations."""

from __future__ import annotations

import torch.nn.functional as F
from timm.layers import Conv2dSame
from torch import Tensor, nn


class UncopiedConv2dSame(Conv2dSame):
    """timm's `Conv2dSame`, which pads its input on the right and bottom where that has an even side: a copy of it.

    A zero before the kernel's first row and column, and as much padding on all sides, give the same sums without one.
    """

    def forward(self, x: Tensor) -> Tensor:
        if not self._halves(x):
            return super().forward(x)
        kernel, around = F.pad(self.weight, (1, 0, 1, 0)), self.kernel_size[0] // 2
        return F.conv2d(x, kernel, self.bias, self.stride, around, self.dilation, self.groups)

    def _halves(self, x: Tensor) -> bool:
        """Whether an odd kernel moves by two over even sides, which is what the other way of padding is right for."""
        rows, columns = self.kernel_size
        plain = self.stride == (2, 2) and self.dilation == (1, 1) and rows == columns
        return plain and rows > 1 and rows % 2 == 1 and x.shape[-2] % 2 == 0 and x.shape[-1] % 2 == 0


def without_padded_copies(network: nn.Module) -> nn.Module:
    """The network, whose every `Conv2dSame` is now, in place, a `UncopiedConv2dSame` of the same parameters."""
    return _changed(network, Conv2dSame, UncopiedConv2dSame)


def as_in_timm(network: nn.Module) -> nn.Module:
    """The network with timm's own layers again, in place: what a user without this module has."""
    return _changed(network, UncopiedConv2dSame, Conv2dSame)


def _changed(network: nn.Module, old: type[nn.Module], new: type[nn.Module]) -> nn.Module:
    for module in network.modules():
        if type(module) is old:
            module.__class__ = new
    return network
