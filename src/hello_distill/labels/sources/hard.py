"""No soft labels: the classes themselves, mixed as the images are."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from jaxtyping import Float
from torch import Tensor

from hello_distill.types import Images, LabelSource, Rows, Targets, View
from hello_distill.views import check_images, mixed_targets


class HardLabels(LabelSource):
    """One-hot classes; needs no storage beyond the class of each image."""

    kind = "hard"
    unit: Literal["logits", "probabilities"] = "probabilities"

    def __init__(self, targets: Targets, num_classes: int) -> None:
        self.targets = targets
        self.num_classes = num_classes

    def of_rows(self, rows: Rows) -> HardLabels:
        return HardLabels(self.targets[rows], self.num_classes)

    def __call__(self, images: Images, view: View) -> Float[Tensor, "b c"]:
        check_images(images)
        return mixed_targets(self.targets, view, self.num_classes)

    def size(self) -> int:
        return 0

    def save(self, folder: Path) -> dict[str, Any]:
        return {"kind": self.kind, "parameters": 0}
