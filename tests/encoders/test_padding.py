"""Padding without a copy against timm's, which makes one."""

from __future__ import annotations

import pytest
import torch
from timm.layers import Conv2dSame
from torch import Tensor, nn

from hello_distill.encoders.padding import UncopiedConv2dSame, without_padded_copies


@pytest.mark.parametrize("sides", [(8, 8), (7, 7), (8, 7)])
@pytest.mark.parametrize(
    ("kernel", "stride", "groups"), [(3, 2, 1), (3, 2, 6), (5, 2, 6), (7, 2, 3), (4, 2, 1), (1, 2, 1), (3, 1, 6)]
)
def test_sums_and_gradients_are_those_of_the_padded_copy(
    sides: tuple[int, int], kernel: int, stride: int, groups: int
) -> None:
    torch.manual_seed(0)
    padded = Conv2dSame(6, 12, kernel, stride=stride, groups=groups).double()

    def made(layer: nn.Module) -> tuple[Tensor, ...]:
        images = torch.rand(2, 6, *sides, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
        images.requires_grad_()
        layer.zero_grad()
        answer = layer(images)
        (answer * torch.arange(answer.numel()).reshape(answer.shape)).sum().backward()
        return answer, images.grad, *[parameter.grad.clone() for parameter in layer.parameters()]

    plain = made(padded)
    same = without_padded_copies(nn.Sequential(padded))
    assert type(same[0]) is UncopiedConv2dSame
    for ours, reference in zip(made(same), plain, strict=True):
        torch.testing.assert_close(ours, reference, rtol=1e-12, atol=1e-12)
