"""TensorFlow's padding of strided convolutions without a padded copy of the activations."""

from __future__ import annotations

import torch.nn.functional as F
from timm.layers import Conv2dSame
from torch import Tensor, nn


class SameConv2d(Conv2dSame):
    """timm's `Conv2dSame`, which pads its input on the right and bottom where that has an even side: a copy of it.

    A zero before the kernel's first row and column, and as much padding on all sides, give the same sums without one.
    """

    def forward(self, x: Tensor) -> Tensor:
        if not self._halves(x):
            return super().forward(x)
        kernel, around = F.pad(self.weight, (1, 0, 1, 0)), self.kernel_size[0] // 2
        return F.conv2d(x, kernel, self.bias, self.stride, around, self.dilation, self.groups)

    def _halves(self, x: Tensor) -> bool:
        rows, columns = self.kernel_size
        plain = self.stride == (2, 2) and self.dilation == (1, 1) and rows == columns
        return plain and rows > 1 and rows % 2 == 1 and x.shape[-2] % 2 == 0 and x.shape[-1] % 2 == 0


def with_same_padding(network: nn.Module) -> nn.Module:
    """The network, whose every `Conv2dSame` is now, in place, a `SameConv2d` of the same parameters."""
    return _changed(network, Conv2dSame, SameConv2d)


def as_in_timm(network: nn.Module) -> nn.Module:
    """The other way around."""
    return _changed(network, SameConv2d, Conv2dSame)


def _changed(network: nn.Module, old: type[nn.Module], new: type[nn.Module]) -> nn.Module:
    for module in network.modules():
        if type(module) is old:
            module.__class__ = new
    return network
