"""Continual experiments that two cores can carry."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hello_distill.bench import Comparison
from hello_distill.continual import Continual
from hello_distill.recipes.comparisons import many, small

STUDENTS: dict[str, dict[str, Any]] = {
    "random": {"lr": 1e-3},
    "rded": {"lr": 1e-3, "loss": "mse", "beta": 1.0},
    "hello": {"lr": 1e-3, "loss": "kl", "temperature": 4.0, "beta": 0.0},
}
"""What did best on held-back training images at IPC 10 in results/cifar10.json, of six trials for each: random images
with hard labels, RDED's with its teacher's, HeLlO's with its projector's."""


def arriving_small() -> Continual:
    """Ten classes of 32 pixels (CIFAR-10) in five or ten steps: what `compare --recipe small` has, untuned.

        hello-distill continual DATA --recipe small --steps 5 10 --ipc 10 --out results/continual_cifar10.json

    Estimated for three seeds: 15 hours of one core, so half of that where two processes share the file. An image costs
    3 ms in an epoch of teachers, 9 ms in one of the projector, 4 to 5 ms in one of a student (measured on a few
    hundred images). Two thirds are teachers and projectors, which every set of classes seen needs of its own, and each
    seed has other sets. At ten steps a class comes alone, so that the first step says nothing.
    """
    return Continual(_untuned(small(), {10: (300, 20)}), STUDENTS)


def arriving_many() -> Continual:
    """Two hundred classes of 32 pixels (Tiny-ImageNet reduced to them) in five or ten steps.

        hello-distill continual DATA --recipe many --steps 5 10 --ipc 10 --out results/continual_tiny.json

    Estimated for three seeds, from the same costs: 42 hours of one core, four fifths of them students (100 epochs of up
    to 2,000 images at each of 15 steps, for five labellers). Five steps alone, `--steps 5`, take 16.
    """
    return Continual(_untuned(many(), {10: (100, 50)}), STUDENTS)


def _untuned(comparison: Comparison, training: dict[int, tuple[int, int]]) -> Comparison:
    """The methods of the experiment, without what a comparison tries out."""
    contenders = {name: comparison.contenders[name] for name in STUDENTS}
    return replace(comparison, contenders=contenders, training=training, labels={}, trials={}, fits={})
