"""Low-rank matrices in fewer bytes: float16, int8 and int4 with a scale for each rank."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from hello_distill.format import sizes
from hello_distill.format.fields import Precision

LARGEST = {"int8": 127, "int4": 7}
SHARES = tuple(1 - step / 20 for step in range(13))
"""1 to 0.4, of the scale that spares the largest number of a row."""


def to_stored(name: str, matrix: Tensor, precision: Precision) -> dict[str, Tensor]:
    """A LoRA matrix as it is kept, by name: one tensor, or integers and their scales.

    `lora_A` has a scale for each of its rows, `lora_B` for each of its columns: either is one rank of the product.
    A scale is the largest magnitude / 127 (int8); of int4 a share of the largest magnitude / 7 (`SHARES`), that with
    the least squared error, since cutting the few largest numbers spares all others. In float32. Two int4 share a byte.
    """
    if precision == "float32":
        return {name: matrix.float().contiguous()}
    if precision == "float16":
        return {name: matrix.half().contiguous()}
    most = LARGEST[precision]
    rows = by_rank(name, matrix).flatten(1)
    widest = (rows.abs().amax(1) / most).clamp_min(torch.finfo(torch.float32).tiny)
    scale = widest if precision == "int8" else _nearest_scale(rows, widest, most)
    whole = (rows / scale[:, None]).round().clamp(-most, most)
    kept = whole.to(torch.int8) if precision == "int8" else packed(whole)
    return {name: kept.contiguous(), f"{name}.scale": scale}


def _nearest_scale(rows: Tensor, widest: Tensor, most: int) -> Tensor:
    """Of the shares of each row's widest scale that which brings its integers nearest to it."""
    scales = torch.stack([share * widest for share in SHARES])
    integers = (rows / scales[..., None]).round().clamp(-most, most)
    errors = (integers * scales[..., None] - rows).square().sum(2)
    return scales.gather(0, errors.argmin(0, keepdim=True))[0]


def from_stored(name: str, kept: dict[str, Tensor], shape: tuple[int, ...], precision: Precision) -> Tensor:
    """The matrix of that shape, in float32. Raises KeyError or RuntimeError where `kept` does not hold it."""
    if not precision.startswith("int"):
        return kept[name].float().view(shape)
    turned = (shape[1], shape[0], *shape[2:]) if "lora_B" in name else shape
    width = math.prod(turned[1:])
    whole = kept[name].float() if precision == "int8" else unpacked(kept[name], width)
    rows = whole.view(turned[0], width) * kept[f"{name}.scale"][:, None]
    return by_rank(name, rows.view(turned)).contiguous()


def by_rank(name: str, matrix: Tensor) -> Tensor:
    """The matrix with its rank first (or the other way round: it is its own inverse)."""
    return matrix.transpose(0, 1) if "lora_B" in name else matrix


def packed(whole: Tensor) -> Tensor:
    """Integers from -7 to 7, (n k) to bytes (n ceil(k / 2)): the first of two in the low half."""
    if whole.shape[1] % 2:
        whole = torch.cat([whole, torch.zeros(len(whole), 1)], 1)
    halves = (whole + 8).to(torch.uint8).unflatten(1, (-1, 2))
    return halves[..., 0] | (halves[..., 1] << 4)


def unpacked(kept: Tensor, width: int) -> Tensor:
    """Bytes (n ceil(k / 2)) to integers (n k) as floats."""
    halves = torch.stack([kept & 15, kept >> 4], -1).flatten(1)
    return halves[:, :width].float() - 8


def layout(shapes: dict[str, tuple[int, ...]], precision: Precision) -> sizes.Layout:
    """Types and shapes of what `to_stored` gives for matrices of those shapes, for the byte count."""
    kinds: dict[str, tuple[str, tuple[int, ...]]] = {}
    for name, shape in shapes.items():
        if precision in ("float32", "float16"):
            kinds[name] = ("F32" if precision == "float32" else "F16", tuple(shape))
            continue
        rank = shape[1] if "lora_B" in name else shape[0]
        width = math.prod(shape) // rank
        kinds[name] = ("I8", (rank, width)) if precision == "int8" else ("U8", (rank, -(-width // 2)))
        kinds[f"{name}.scale"] = ("F32", (rank,))
    return kinds
