"""Continual experiments that two cores can carry. Figure 2."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hello_distill.distillers.random import RandomImages
from hello_distill.distillers.rded import RDED
from hello_distill.distillers.recipe import Recipe
from hello_distill.experiments.continual import Continual
from hello_distill.experiments.grid import Comparison, Contender
from hello_distill.format.specs import Queries
from hello_distill.recipes.baselines import SINGLE
from hello_distill.recipes.hello import hello_small
from hello_distill.recipes.studies import base

STUDENTS: dict[str, dict[str, Any]] = {
    "random": {"lr": 1e-3},
    "rded": {"lr": 1e-3, "loss": "mse", "beta": 1.0},
    "hello": base.STUDENT,
}
"""What did best on held-out training images at IPC 10 in results/cifar10.json, of six trials for each: random images
with hard labels, RDED's with its teacher's, HeLlO's with its projector's."""


def arriving_small() -> Continual:
    """Ten classes of 32 pixels (CIFAR-10) in five or ten steps, from 5,000 of the training images.

        hello-distill continual DATA --recipe small --steps 5 10 --ipc 10 --out results/continual_cifar10.json

    An image costs 1.3 ms of a core in an epoch of teachers, 6 ms in a step of the projector, 1.3 to 3.3 ms in an epoch
    of a student. Teachers and projectors are fitted to every set of classes seen, and each seed has other sets. At ten
    steps a class comes alone, so that the first step says nothing.
    """
    return _arriving(replace(base.small(), train_limit=5_000), epochs=100)


def arriving_many() -> Continual:
    """Twenty classes of 32 pixels (Tiny-ImageNet's) in five or ten steps, from 3,000 of the training images.

    The offline encoder knows their labels.

    hello-distill continual DATA:classes=tiny20 --recipe many --steps 5 10 --out results/continual_tiny20.json
    """
    return _arriving(replace(base.many(), train_limit=3_000), epochs=25)


def _arriving(recipe: Recipe, epochs: int) -> Continual:
    """Three methods, untuned, at IPC 10. Teachers have ten epochs, the projector 200 to 600 steps at each step.

    So one of few classes (`-seen`) learns as long as one of many; that of `-extended` goes on from the step before.
    """
    teachers = replace(recipe.teachers, weak_epochs=(4, 7, 10), optim=replace(recipe.teachers.optim, epochs=10))
    method = base.projecting(base.hello_of(hello_small()), steps=200, rounds=3, queries=Queries(steps=300))
    contenders = {
        "random": Contender(RandomImages()),
        "rded": Contender(RDED(SINGLE)),
        "hello": Contender(method),
    }
    recipe = replace(recipe, teachers=teachers, distiller=method)
    return Continual(Comparison(recipe, contenders, method.projector, {10: (epochs, 20)}, labels={}), STUDENTS)
