"""Memory-mapped images: indexed as a tensor of pixels is, and read when they are asked for."""

from __future__ import annotations

from pathlib import Path
from typing import SupportsIndex, TypeAlias

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from hello_distill.types import Pixels


class Mapped:
    """Rows of a file of square images (n 3 side side, uint8), in an order of their own.

    An index reads its images into a new tensor on `device`. `part` and `to` read nothing: a part is a list of rows.
    """

    def __init__(self, file: UInt8[np.ndarray, "m 3 h w"], rows: Int64[Tensor, "n"], device: torch.device) -> None:
        self.file = file
        self.rows = rows
        self.device = device

    @classmethod
    def open(cls, file: Path, side: int, rows: Int64[Tensor, "n"]) -> Mapped:
        """The images of a file, shared with all processes that open it. Raises ValueError for one of another size."""
        pixels = np.asarray(np.memmap(file, np.uint8, mode="r"))
        return cls(pixels.reshape(-1, 3, side, side), rows, torch.device("cpu"))

    @property
    def shape(self) -> torch.Size:
        """(n 3 side side)."""
        return torch.Size((len(self.rows), *self.file.shape[1:]))

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: SupportsIndex | slice | Tensor) -> UInt8[Tensor, "*n 3 h w"]:
        rows = self.rows[index.cpu() if isinstance(index, Tensor) else index]
        return torch.from_numpy(self.file.take(rows.numpy(), axis=0)).to(self.device)

    def to(self, device: str) -> Mapped:
        """The same images; what is read of them goes to another device."""
        return Mapped(self.file, self.rows, torch.device(device))


KeptImages: TypeAlias = Pixels | Mapped
"""Images (n 3 h w, uint8) in memory or memory-mapped; an index gives pixels in memory either way."""


def part(images: KeptImages, index: Tensor) -> UInt8[Tensor, "m 3 h w"] | Mapped:
    """The images at these rows; memory-mapped ones stay in their file."""
    if isinstance(images, Mapped):
        return Mapped(images.file, images.rows[index.cpu()], images.device)
    return images[index]


def in_memory(images: KeptImages) -> Pixels:
    """All of the images as one tensor."""
    return images[:] if isinstance(images, Mapped) else images
