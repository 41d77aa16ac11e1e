"""Random real images: the baseline that every method must beat."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from hello_distill.artifact import Distilled
from hello_distill.data.images import Material, check_counts
from hello_distill.labels.hard import HardLabels
from hello_distill.stages import Stages


@dataclass(frozen=True)
class RandomImages:
    """`ipc` images of each class, drawn without replacement, with hard labels."""

    def __call__(self, material: Material, stages: Stages, ipc: int, seed: int) -> Distilled:
        rng = np.random.default_rng([seed, 3])
        data = material.train
        check_counts(data, ipc)
        rows = [rng.permutation(data.of_class(target).cpu().numpy())[:ipc] for target in range(len(data.classes))]
        chosen = data.rows(torch.from_numpy(np.concatenate(rows)))
        return Distilled(chosen, HardLabels(chosen.targets, len(data.classes)), {})
