"""What studies of small images share: data, networks, students, and how long these train."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from hello_distill.distillers.hello import HeLlO
from hello_distill.distillers.rded import Patches
from hello_distill.distillers.recipe import Recipe
from hello_distill.experiments.grid import Comparison, Contender
from hello_distill.experiments.study import Study
from hello_distill.format.specs import Optim, Queries
from hello_distill.recipes.baselines import SINGLE
from hello_distill.recipes.hello import hello_small

NETWORK = "convnet3_w64"
"""Teachers and students: a third of the time of the ConvNet of width 128 that `compare` has."""
STUDENT: dict[str, Any] = {"lr": 1e-3, "loss": "kl", "temperature": 4.0, "beta": 0.0}
"""What did best for HeLlO's projector on held-out training images in results/cifar10.json, there for a ConvNet twice
as wide."""
WHOLE = Patches(factor=1, crops=1, pool=1, scale=(1.0, 1.0))
"""Any real images, whole: nothing is cut, and a pool of as many as are needed leaves nothing to choose."""


TEN = {1: (750, 10), 10: (150, 20), 50: (30, 20)}
"""Epochs and batch size of students by images per class, on ten classes: 750 steps in every case."""
TWENTY = {10: (75, 20)}
"""The same on twenty."""
AT_TEN = {10: TEN[10]}


def small() -> Recipe:
    """What studies of ten classes of 32 pixels (CIFAR-10) share: `hello-small` on 10,000 of the training images.

    Fewer images and narrower networks than `compare` has, so that a projector costs two minutes of a core and not
    fifteen: teachers and projectors, and all that learns from them, are weaker than there. AdamW trains teachers, for
    twenty epochs, and students; the projector is fitted for two epochs: too short, as was found later (see
    `hello-small`); query fitting makes up for some of it. Images are RDED's single crops, the paper's choice.
    """
    recipe = hello_small()
    method = projecting(in_epochs(hello_of(recipe), 2), queries=Queries(steps=300))
    method = replace(method, patches=SINGLE)
    optim = replace(recipe.teachers.optim, epochs=20, name="adamw")
    teachers = replace(recipe.teachers, network=NETWORK, weak_epochs=(8, 14, 20), optim=optim)
    student = replace(recipe.student, network=NETWORK, optim=Optim(epochs=300, batch_size=20))
    return replace(recipe, train_limit=10_000, teachers=teachers, distiller=method, student=student)


def many() -> Recipe:
    """The same on twenty of Tiny-ImageNet's classes at 32 pixels, of each 400 images and 100 held out."""
    recipe = small()
    return replace(recipe, train_limit=None, held_share=0.2, distiller=in_epochs(hello_of(recipe), 4))


def hello_of(recipe: Recipe) -> HeLlO:
    """A recipe's method, which is HeLlO."""
    assert isinstance(recipe.distiller, HeLlO)
    return recipe.distiller


def in_epochs(method: HeLlO, epochs: int) -> HeLlO:
    """The method with a projector that is fitted for so many epochs, whatever comes of it."""
    optim = replace(method.projector.optim, epochs=epochs)
    return projecting(method, optim=optim, steps=None, rounds=1)


def projecting(method: HeLlO, **changes: Any) -> HeLlO:
    """The method with other settings of its projector."""
    return replace(method, projector=replace(method.projector, **changes))


def study_of(
    question: str,
    table: str | None,
    recipe: Recipe,
    contenders: Mapping[str, Contender],
    training: Mapping[int, tuple[int, int]],
    variants: Mapping[str, Mapping[str, Any]] | None = None,
    networks: Mapping[str, Mapping[str, Any]] | None = None,
) -> Study:
    """A study of these contenders; `variants` and `networks` are settings of students."""
    comparison = Comparison(recipe, contenders, hello_of(recipe).projector, training, labels={})
    return Study(question, table, comparison, STUDENT, variants or {}, networks or {recipe.student.network: {}})
