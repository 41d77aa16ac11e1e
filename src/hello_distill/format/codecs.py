"""How a row of logits is stored: one class per form, each with the columns it writes.

A codec's `name` and its settings are all that an artefact records of it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from hello_distill.format import sizes
from hello_distill.system.errors import InputError, nearest
from hello_distill.types import Logits

FLOATS = {"float32": torch.float32, "float16": torch.float16, "float8": torch.float8_e4m3fn}


class LabelCodec(ABC):
    """Logits to columns of numbers and back. Its fields are its settings."""

    name: str

    def columns(self, num_classes: int) -> sizes.Columns:
        """Columns that `encode` writes, with types and shapes of one row."""
        return sizes.label_columns(self.name, num_classes)

    @abstractmethod
    def encode(self, logits: Logits) -> dict[str, Tensor]:
        """Logits (b c) as columns (b ...)."""

    @abstractmethod
    def decode(self, columns: dict[str, Tensor], num_classes: int) -> Logits:
        """Columns back as logits (b c); -inf for a class that was not kept."""

    def describe(self) -> dict[str, Any]:
        """Name and settings."""
        return dict(vars(self))


@dataclass(frozen=True)
class Plain(LabelCodec):
    """Each logit in one number of a floating type: `float16` (FKD's), `float32`, `float8` (4 bits of exponent)."""

    name: str = "float16"

    def encode(self, logits: Logits) -> dict[str, Tensor]:
        return {"logits": logits.to(FLOATS[self.name])}

    def decode(self, columns: dict[str, Tensor], num_classes: int) -> Logits:
        return columns["logits"].float()


@dataclass(frozen=True)
class Int8(LabelCodec):
    """Each logit in a byte, as a multiple of its row's scale: largest magnitude / 127, in float16."""

    name: str = "int8"

    def encode(self, logits: Logits) -> dict[str, Tensor]:
        scale = (logits.abs().amax(1) / 127).clamp_min(2**-24).half()
        return {"logits": (logits / scale.float()[:, None]).round().clamp(-127, 127).to(torch.int8), "scale": scale}

    def decode(self, columns: dict[str, Tensor], num_classes: int) -> Logits:
        return columns["logits"].float() * columns["scale"].float()[:, None]


@dataclass(frozen=True)
class TopK(LabelCodec):
    """The k largest logits in float16 with their classes (LPQLD's MR-k).

    Under a softmax the kept ones share all probability: the others are -inf. MSE looks at the kept ones alone.
    """

    k: int = 10
    name: str = "topk"

    def __post_init__(self) -> None:
        if self.k < 1:
            raise InputError(f"top-k labels keep at least one class, not {self.k}")

    def columns(self, num_classes: int) -> sizes.Columns:
        return sizes.label_columns(self.name, num_classes, self.k)

    def encode(self, logits: Logits) -> dict[str, Tensor]:
        values, classes = logits.topk(min(self.k, logits.shape[1]), dim=1)
        return {"logits": values.half(), "classes": classes.to(torch.int16)}

    def decode(self, columns: dict[str, Tensor], num_classes: int) -> Logits:
        values = columns["logits"].float()
        empty = torch.full((len(values), num_classes), -torch.inf)
        return empty.scatter(1, columns["classes"].long(), values)


CODECS = ("float32", "float16", "float8", "int8", "topk")


def codec(name: str, k: int = 10) -> LabelCodec:
    """The codec of that name. Raises InputError, with the nearest name, if there is none."""
    if name not in CODECS:
        raise InputError(f"unknown label codec {name!r}: {nearest(name, CODECS)}")
    if name == "topk":
        return TopK(k)
    return Int8() if name == "int8" else Plain(name)
