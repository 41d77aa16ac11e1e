"""LoRA inside the weight that it moves, so that an adapted convolution is one convolution.

peft runs LoRA's two factors beside each adapted layer, which saves the weight's own gradient: three small convolutions
and a sum of activations. On a CPU these take longer than that gradient. Where a layer is one product again, the norm
after it can be folded, too.
"""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils import parametrize


class LowRank(nn.Module):
    """W + s B A, as Eq. 4 has it, of A (r in ...) and B (out r ...); s scales rows as a folded norm scales channels."""

    def __init__(self, a: Tensor, b: Tensor, scale: Float[Tensor, "out"] | None = None) -> None:
        super().__init__()
        self.a, self.b = nn.Parameter(a), nn.Parameter(b)
        self.scale: Tensor | None
        self.register_buffer("scale", None if scale is None else scale[:, None], persistent=False)

    def forward(self, weight: Tensor) -> Tensor:
        b = self.b.flatten(1)
        moved = (b if self.scale is None else self.scale * b) @ self.a.flatten(1)
        return weight + moved.view_as(weight)


def add_low_rank(layer: nn.Module, a: Tensor, b: Tensor, scale: Float[Tensor, "out"] | None = None) -> None:
    """Add B A to a layer's weight, in place: copies of A and B on the layer's device, as parameters to be trained."""
    device = next(layer.parameters()).device
    factors = LowRank(a.to(device, copy=True), b.to(device, copy=True), scale)
    parametrize.register_parametrization(layer, "weight", factors)


def low_rank(layer: nn.Module) -> LowRank:
    """What `add_low_rank` gave a layer."""
    (found,) = (module for module in layer.modules() if isinstance(module, LowRank))
    return found
