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
        plain = self.stride == (2, 2) and self.dilation == (1, 1) and rows == columns and rows % 2 == 1
        return plain and x.shape[-2] % 2 == 0 and x.shape[-1] % 2 == 0


def with_same_padding(network: nn.Module) -> nn.Module:
    """The network with each `Conv2dSame` replaced, in place, by a `SameConv2d` of the same parameters."""
    for module in network.modules():
        if type(module) is Conv2dSame:
            module.__class__ = SameConv2d
    return network
