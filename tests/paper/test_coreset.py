"""Coresets against slow references."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from hello_distill.api import distill
from hello_distill.artifact import load
from hello_distill.data.images import Material
from hello_distill.distillers.coreset import Coreset, herding, k_centre
from hello_distill.distillers.recipe import Recipe
from hello_distill.stages import Stages


def points(count: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(count, 3)).astype(np.float32)


def test_herding_keeps_the_running_mean_near_the_mean_of_all() -> None:
    x, chosen = points(12), []
    for size in range(1, 6):
        others = [row for row in range(12) if row not in chosen]
        gap = {row: np.linalg.norm((x[chosen].sum(0) + x[row]) / size - x.mean(0)) for row in others}
        chosen.append(min(gap, key=gap.get))
    assert herding(torch.from_numpy(x), 5).tolist() == chosen
    assert sorted(herding(torch.from_numpy(x), 12).tolist()) == list(range(12))


def test_k_centres_are_each_the_farthest_from_those_before() -> None:
    x = points(12)
    chosen = [int(np.linalg.norm(x - x.mean(0), axis=1).argmin())]
    while len(chosen) < 5:
        nearest = [min(np.linalg.norm(x[row] - x[other]) for other in chosen) for row in range(12)]
        chosen.append(int(np.argmax(nearest)))
    assert k_centre(torch.from_numpy(x), 5).tolist() == chosen


@pytest.mark.parametrize("rule", ["herding", "k-centre"])
def test_a_coreset_holds_training_images_and_nests(
    rule: str, material: Material, tree: Path, recipe: Recipe, clip_folder: Path, tmp_path: Path
) -> None:
    method = Coreset(rule, f"local-dir:{clip_folder}")
    stages = Stages(material, recipe.teachers, 0)
    large, small = (method(material, stages, ipc, 0).data for ipc in (4, 2))
    for target in range(4):
        assert torch.equal(large.images[large.of_class(target)][:2], small.images[small.of_class(target)])
    known = {image.numpy().tobytes() for image in material.train.images}
    assert all(image.numpy().tobytes() in known for image in large.images)
    made = load(distill(str(tree), tmp_path / "a", replace(recipe, distiller=method)))
    assert made.labels.kind == "hard" and made.data.counts() == dict.fromkeys(made.classes, 2)
