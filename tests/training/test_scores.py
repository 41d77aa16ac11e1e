"""Scores in the precision that a training states."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from torch import nn

from conftest import drawn
from hello_distill.data.images import Material
from hello_distill.distillers.rded import RDED, Patches
from hello_distill.distillers.recipe import Recipe
from hello_distill.labels.sources.hard import HardLabels
from hello_distill.stages import Stages
from hello_distill.student import train_student
from hello_distill.training.scores import in_precision
from hello_distill.training.training_set import TrainingSet


def test_logits_in_bfloat16_by_hand() -> None:
    images = drawn(2, seed=0).images / 255
    layer = nn.Linear(images[0].numel(), 4)
    flat = nn.Sequential(nn.Flatten(), layer)
    weight, bias = layer.weight.bfloat16(), layer.bias.bfloat16()
    expected = (images.flatten(1).bfloat16() @ weight.T + bias).float()
    found = in_precision(flat, "bfloat16")(images)
    assert found.dtype == torch.float32 and not torch.equal(found, flat(images))
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-2)
    assert torch.equal(found, found.bfloat16().float()), "no more bits than bfloat16 has"
    assert in_precision(flat, "float32") is flat


@pytest.fixture
def tested() -> Iterator[list[torch.dtype]]:
    """What each convolution of a network in evaluation mode gave for more than the two images of `build`, in turn."""
    seen: list[torch.dtype] = []

    def look(module: nn.Module, given: object, made: object) -> None:
        if isinstance(module, nn.Conv2d) and not module.training and isinstance(made, torch.Tensor) and len(made) > 2:
            seen.append(made.dtype)

    handle = nn.modules.module.register_module_forward_hook(look)
    yield seen
    handle.remove()


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_teachers_are_tested_and_score_patches_in_their_precision(
    precision: str, tested: list[torch.dtype], material: Material, recipe: Recipe
) -> None:
    spec = replace(recipe.teachers, optim=replace(recipe.teachers.optim, precision=precision))
    stages = Stages(material, spec, seed=0)
    stages.teachers()
    measured = len(tested)
    RDED(Patches(factor=1, crops=2, pool=6))(material, stages, 2, 0)
    assert 0 < measured < len(tested) and {*tested} == {getattr(torch, precision)}


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_students_are_tested_in_their_precision(
    precision: str, tested: list[torch.dtype], material: Material, recipe: Recipe
) -> None:
    spec = replace(recipe.student, optim=replace(recipe.student.optim, precision=precision, epochs=1))
    labels = HardLabels(material.train.targets, len(material.train.classes))
    train_student(TrainingSet(material.train, labels, spec), material.held, 0, held=material.held)
    assert len(tested) >= 4 and {*tested} == {getattr(torch, precision)}
