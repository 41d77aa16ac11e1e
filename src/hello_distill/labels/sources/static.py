"""One soft label per image, whatever the view: the cheapest soft labels there are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from hello_distill.data.images import ImageSet
from hello_distill.format import sizes, tensors
from hello_distill.format.kinds import check_stated
from hello_distill.format.specs import Augment
from hello_distill.labels.static import FILE
from hello_distill.types import Images, LabelSource, Logits, Rows, View
from hello_distill.views import check_images, render, sample_views


class StaticLabels(LabelSource):
    """Logits of the un-augmented images, mixed as the images are; crops and flips leave them alone.

    That logits are mixed, not probabilities (as FKD does), is ours: one label then serves MSE and KL.
    """

    kind = "static"

    def __init__(self, logits: Float[Tensor, "n c"]) -> None:
        self.logits = logits.half()

    def of_rows(self, rows: Rows) -> StaticLabels:
        return StaticLabels(self.logits[rows.cpu()])

    def __call__(self, images: Images, view: View) -> Logits:
        check_images(images)
        logits = self.logits[view.rows].float()
        return (view.share * logits + (1 - view.share) * logits[view.partner]).to(images.device)

    def size(self) -> int:
        return sizes.safetensors_bytes({"logits": ("F16", tuple(self.logits.shape))})

    def save(self, folder: Path) -> dict[str, Any]:
        (folder / FILE).parent.mkdir()
        tensors.write(folder / FILE, {"logits": self.logits.contiguous()})
        return {"kind": self.kind, "parameters": self.logits.numel()}


def static(images: ImageSet, source: LabelSource) -> StaticLabels:
    """Label each image once, whole and unmixed, with an online source."""
    augment = Augment(scale=(1.0, 1.0), ratio=(1.0, 1.0), flip=0.0, mix="none")
    rows, logits = [], []
    for view in sample_views(len(images), images.side, 100, augment, 0, 0):
        rows.append(view.rows)
        logits.append(source(render(images.images, view), view).cpu())
    return StaticLabels(torch.cat(logits)[torch.cat(rows).argsort()])


def load(folder: Path, description: dict[str, Any], data: ImageSet) -> StaticLabels:
    """The static labels of an artefact. Raises ArtifactError where they do not fit its images."""
    layout = {"logits": ("F16", (len(data), len(data.classes)))}
    logits = tensors.read_as(folder / FILE, layout)["logits"]
    check_stated(folder, description, {"parameters": logits.numel()})
    return StaticLabels(logits)
