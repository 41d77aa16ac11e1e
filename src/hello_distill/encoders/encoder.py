"""What the rest of the project knows of an encoder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from hello_distill.format.storage import sha256
from hello_distill.types import Features, Images

TextTower = Callable[[Sequence[str]], Features]


@dataclass(frozen=True)
class Weights:
    """A public weight file that an encoder relies on."""

    name: str
    bytes: int
    sha256: str

    @classmethod
    def of(cls, file: Path, name: str) -> Weights:
        """Name, size and hash of a file."""
        return cls(name, file.stat().st_size, sha256(file))


@dataclass(frozen=True)
class Preprocess:
    """Images in [0, 1] of any size to a tower's input: bicubic resize (antialiased), clamp, normalise.

    It holds nothing of the towers: whatever keeps it is copied and pickled without them.
    """

    size: int
    """Height and width in pixels of the input."""
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __call__(self, images: Images) -> Float[Tensor, "b 3 size size"]:
        if images.shape[-1] != self.size:
            images = F.interpolate(images, (self.size, self.size), mode="bicubic", antialias=True).clamp(0, 1)
        mean, std = (torch.tensor(v, device=images.device).view(1, -1, 1, 1) for v in (self.mean, self.std))
        return ((images - mean) / std).contiguous(memory_format=torch.channels_last)


@dataclass(frozen=True)
class Encoder:
    """An image tower and a text tower that share a feature space."""

    name: str
    visual: nn.Module
    """Normalised images (b 3 size size) to features (b width)."""
    encode_text: TextTower
    """Sentences (n) to L2-normalised features (n width): v_T of Eq. 2."""
    size: int
    """Height and width in pixels of the input."""
    width: int
    """Number of features."""
    mean: tuple[float, ...]
    std: tuple[float, ...]
    weights: tuple[Weights, ...]
    knows: str
    """What the image tower was trained on; a comparison on the same classes flatters it."""

    @property
    def preprocess(self) -> Preprocess:
        """Images in [0, 1] of any size to the tower's input."""
        return Preprocess(self.size, self.mean, self.std)

    def convolutions(self) -> list[str]:
        """Names, inside the image tower, of the convolutions that LoRA can adapt: those without groups."""
        modules = self.visual.named_modules()
        return [name for name, module in modules if isinstance(module, nn.Conv2d) and module.groups == 1]


def frozen(visual: nn.Module) -> nn.Module:
    """The tower in evaluation mode, without gradients for its own weights."""
    return visual.eval().requires_grad_(False).to(memory_format=torch.channels_last)
