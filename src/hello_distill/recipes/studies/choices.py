"""What the paper leaves open."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

from hello_distill.distillers.hello import HeLlO
from hello_distill.distillers.rded import RDED
from hello_distill.distillers.recipe import Recipe
from hello_distill.experiments.grid import Contender
from hello_distill.experiments.study import Study
from hello_distill.format.results.grids import THE_RECIPE
from hello_distill.recipes.hello import hello_small
from hello_distill.recipes.studies.base import (
    AT_TEN,
    WHOLE,
    hello_of,
    projecting,
    small,
    study_of,
)

STUDENTS: dict[str, dict[str, Any]] = {
    "beta 0.1": {"beta": 0.1},
    "beta 1": {"beta": 1.0},
    "MSE, beta 0": {"loss": "mse", "beta": 0.0},
    "MSE, beta 0.1": {"loss": "mse", "beta": 0.1},
    "MSE, beta 1": {"loss": "mse", "beta": 1.0},
    "crops from half the area up": {"augment": {"scale": (0.5, 1.0)}},
    "crops from 8 % of the area up": {"augment": {"scale": (0.08, 1.0)}},
    "Mixup": {"augment": {"mix": "mixup"}},
    "nothing mixed": {"augment": {"mix": "none"}},
}
"""Trainings of the student that `choices` tries."""

MATCHING: dict[str, Any] = {"lr": 1e-3, "loss": "mse", "beta": 0.0}
"""Students that follow their labels alone, as closely as they can: what the labels are worth shows most."""


def choices(recipe: Recipe, training: Mapping[int, tuple[int, int]]) -> Study:
    """What the paper leaves open, one thing changed at a time against the recipe.

    With so many variants the best is partly lucky: a default of ours changes only where a variant's gain on held-out
    images passes Dunnett's test against the recipe at 5 % (`report.grids.against_first`). The MSE of
    probabilities is small beside CE, so it is tried with less of that, too; 100 is CLIP's own logit scale.

    And what Eq. 6 is worth: its two halves, which are cutting and choosing, left out one by one and together. A pool
    of one image per class grows to as many as are needed, of which none is then chosen.
    """
    method = hello_of(recipe)
    spec, update = method.projector, method.update
    assert update is not None
    mosaics = replace(method, patches=replace(method.patches, factor=2))
    changed: dict[str, HeLlO] = {
        THE_RECIPE: method,
        "features not normalised": projecting(method, normalize=False),
        "probabilities in Eq. 5": projecting(method, match="probabilities"),
        "probabilities in Eq. 5, lambda 0.01": projecting(method, match="probabilities", weight=0.01),
        "logit scale 100": projecting(method, scale=100.0),
        "all convolutions": projecting(method, skip="downsample"),
        "late convolutions alone": projecting(method, skip=r"conv_stem|blocks\.[0-3]\."),
        "lambda 0": projecting(method, weight=0.0),
        "lambda 0.1": projecting(method, weight=0.1),
        "lambda 10": projecting(method, weight=10.0),
        "projector on unmixed images": projecting(method, augment=replace(spec.augment, mix="none")),
        "projector on evenly mixed images": projecting(method, augment=replace(spec.augment, alpha=1.0)),
        "easy whole images": replace(method, patches=replace(method.patches, crops=1, scale=(1.0, 1.0))),
        "any crops": replace(method, patches=replace(method.patches, crops=1, pool=1)),
        "no query fitting": projecting(method, queries=None),
        "any whole images": replace(method, patches=WHOLE),
        "no update": replace(method, update=None),
        "update of factor 4": replace(method, update=replace(update, factor=4)),
        "update of 40 steps": replace(method, update=replace(update, steps=40)),
        "update at rate 0.01": replace(method, update=replace(update, lr=0.01)),
        "mosaics, update of images": mosaics,
        "mosaics, update of patches": replace(mosaics, update=replace(update, on="patches")),
    }
    contenders = {name: Contender(variant) for name, variant in (changed | dict.fromkeys(STUDENTS, method)).items()}
    return study_of("What the paper leaves open, one by one", None, recipe, contenders, training, STUDENTS)


def choices_small() -> Study:
    """What the paper leaves open, on CIFAR-10, IPC 10.

    hello-distill study DATA --recipe choices --out results/choices_cifar10.json
    """
    return choices(small(), AT_TEN)


def lengths(recipe: Recipe, training: Mapping[int, tuple[int, int]]) -> Study:
    """How long must the projector learn for its labels to be worth the teacher's? Its images are the teacher's, too.

    Two epochs, and rounds as in `hello-small`, each without query fitting and with it; RDED's labels are the
    observer's. Students have MSE alone, which did better than KL for observer and projector alike in trials on held-out
    images (in no file).
    """
    method = replace(hello_of(recipe), update=None)
    rounds = hello_of(hello_small()).projector
    longer = projecting(method, steps=rounds.steps, rounds=rounds.rounds, gain=rounds.gain)
    question = "How long must the projector learn for its labels to be worth the teacher's?"
    contenders = {"the teacher's labels": Contender(RDED(method.patches))}
    for name, variant in {"two epochs": method, "rounds": longer}.items():
        contenders[name] = Contender(projecting(variant, queries=None))
        contenders[f"{name}, query fitting"] = Contender(variant)
    return replace(study_of(question, None, recipe, contenders, training), student=MATCHING)


def lengths_small() -> Study:
    """How long the projector must learn, on 10,000 images of CIFAR-10, IPC 10.

    hello-distill study DATA --recipe lengths --out results/lengths_cifar10.json
    """
    return lengths(small(), AT_TEN)


def optimisers() -> Study:
    """AdamW or Muon for the projector's LoRA, each at two rates, on 10,000 images of CIFAR-10, IPC 10.

        hello-distill study DATA --recipe optimisers --out results/optimisers_cifar10.json

    As many steps for all. A rate is that of query fitting, too. The teacher's labels for the same images stand beside.
    """
    recipe = small()
    method = replace(hello_of(recipe), update=None)
    contenders = {"the teacher's labels": Contender(RDED(method.patches))}
    for rate in (2e-3, 5e-3):
        contenders[f"AdamW, {rate:g}"] = Contender(_optimised(method, "adamw", rate))
        contenders[f"Muon, {rate:g}"] = Contender(_optimised(method, "muon", rate))
    question = "AdamW or Muon for the projector's LoRA?"
    return replace(study_of(question, None, recipe, contenders, AT_TEN), student=MATCHING)


def students() -> Study:
    """AdamW or Muon for students, and for how long, under the teacher's labels: 10,000 images of CIFAR-10, IPC 10.

    hello-distill study DATA --recipe students --out results/students_cifar10.json
    """
    recipe = small()
    variants = {
        f"{name}, {lr:g}, {epochs} epochs": {"name": name.lower(), "lr": lr, "epochs": epochs}
        for name in ("AdamW", "Muon")
        for epochs in (150, 75, 300)
        for lr in (1e-3, 2e-3, 4e-3)
    }
    contenders = dict.fromkeys(variants, Contender(RDED(hello_of(recipe).patches)))
    return study_of("AdamW or Muon for students?", None, recipe, contenders, AT_TEN, variants)


def students_hard() -> Study:
    """The same with hard labels."""
    return replace(students(), labels="hard")


def _optimised(method: HeLlO, name: Literal["adamw", "muon"], lr: float) -> HeLlO:
    spec = method.projector
    assert spec.queries is not None
    queries = replace(spec.queries, name=name, lr=lr)
    return projecting(method, optim=replace(spec.optim, name=name, lr=lr), queries=queries)
