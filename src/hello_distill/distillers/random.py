"""Random real images: the baseline that every method must beat."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from hello_distill.artifact import Distilled
from hello_distill.data.images import ImageSet, Material, check_counts
from hello_distill.distillers.base import Distiller, register
from hello_distill.encoders.encoder import Encoder
from hello_distill.labels.sources.hard import HardLabels
from hello_distill.stages import Stages
from hello_distill.teachers import TeacherSpec


@register("random")
@dataclass(frozen=True)
class RandomImages(Distiller):
    """`ipc` images of each class, drawn without replacement, with hard labels."""

    labels = "hard"

    def __call__(self, material: Material, stages: Stages, ipc: int, seed: int) -> Distilled:
        rng = np.random.default_rng([seed, 3])
        data = material.train
        check_counts(data, ipc)
        rows = [rng.permutation(data.of_class(target).cpu().numpy())[:ipc] for target in range(len(data.classes))]
        chosen = data.rows(torch.from_numpy(np.concatenate(rows)))
        return Distilled(chosen, HardLabels(chosen.targets, len(data.classes)), {})

    def images_needed(self, ipc: int) -> int:
        return ipc

    def shipped_bytes(self, data: ImageSet, teachers: TeacherSpec, encoder: Encoder | None) -> int:
        return 0
