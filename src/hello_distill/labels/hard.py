"""No soft labels: the classes themselves, mixed as the images are."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from jaxtyping import Float
from torch import Tensor

from hello_distill.data.images import ImageSet
from hello_distill.types import Images, Targets, View
from hello_distill.views import check_images, mixed_targets


class HardLabels:
    """One-hot classes; needs no storage beyond the class of each image."""

    kind = "hard"
    unit: Literal["logits", "probabilities"] = "probabilities"

    def __init__(self, targets: Targets, num_classes: int) -> None:
        self.targets = targets
        self.num_classes = num_classes

    def views(self, epoch: int, sampled: Iterable[View]) -> Iterable[View]:
        return sampled

    def __call__(self, images: Images, view: View) -> Float[Tensor, "b c"]:
        check_images(images)
        return mixed_targets(self.targets, view, self.num_classes)

    def size(self) -> int:
        return 0

    def save(self, folder: Path) -> dict[str, Any]:
        return {"kind": self.kind, "parameters": 0}


def load(folder: Path, description: dict[str, Any], data: ImageSet) -> HardLabels:
    """The classes of an artefact's images."""
    return HardLabels(data.targets, len(data.classes))
