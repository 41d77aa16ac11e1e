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
    """
    return Continual(_untuned(small(), {10: (300, 20)}), STUDENTS)


def arriving_many() -> Continual:
    """Two hundred classes of 32 pixels (Tiny-ImageNet reduced to them) in five or ten steps.

    hello-distill continual DATA --recipe many --steps 5 10 --ipc 10 --out results/continual_tiny.json
    """
    return Continual(_untuned(many(), {10: (100, 50)}), STUDENTS)


def _untuned(comparison: Comparison, training: dict[int, tuple[int, int]]) -> Comparison:
    """The methods of the experiment, without what a comparison tries out."""
    contenders = {name: comparison.contenders[name] for name in STUDENTS}
    return replace(comparison, contenders=contenders, training=training, labels={}, trials={}, fits={})
