"""Which images serve students, and how students see them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from hello_distill.distillers.base import Distiller
from hello_distill.distillers.coreset import Coreset
from hello_distill.distillers.lic import LIC
from hello_distill.distillers.random import RandomImages
from hello_distill.distillers.rded import RDED
from hello_distill.distillers.recipe import Recipe
from hello_distill.experiments.grid import Contender
from hello_distill.experiments.study import Study
from hello_distill.recipes import comparisons
from hello_distill.recipes.baselines import SINGLE, gvbsm_small
from hello_distill.recipes.hello import EASY, cpu
from hello_distill.recipes.studies.base import (
    AT_TEN,
    TEN,
    WHOLE,
    hello_of,
    projecting,
    small,
    study_of,
)


def images(recipe: Recipe, training: Mapping[int, tuple[int, int]]) -> Study:
    """Which images serve students under unlimited labels? The teacher's for all, so that images alone differ.

    Easy ones (Eq. 6), easy ones of a small pool, any, and coresets on the encoder's features; and Eq. 7 as the recipe
    has it and strong enough to be seen, on easy images and on any.
    """
    method = hello_of(recipe)
    strong = LIC(steps=100, lr=0.01)
    papers = projecting(replace(method, update=None), queries=None)
    contenders = {
        "any whole images": Contender(RandomImages()),
        "easy crops": Contender(RDED(SINGLE)),
        "easy of a small pool": Contender(RDED(EASY)),
        "herding": Contender(Coreset("herding", method.projector.encoder, method.projector.size)),
        "k-centre": Contender(Coreset("k-centre", method.projector.encoder, method.projector.size)),
        "easy crops, update": Contender(replace(papers, update=method.update)),
        "easy crops, strong update": Contender(replace(papers, update=strong)),
        "any whole images, strong update": Contender(replace(papers, patches=WHOLE, update=strong)),
    }
    question = "Which images serve students under the teacher's labels"
    return replace(study_of(question, None, recipe, contenders, training), labels="teacher")


def images_photographs() -> Study:
    """The same for photographs of 64 pixels, IPC 10: any, `cpu`'s own, RDED's single crops, and mosaics of four.

    Of mosaics two more, by a network that takes patches as they are: padded, as RDED's code shows them, and unpadded,
    which is a quarter of the work.

    The recipe `cpu` scaled down: `convnet4_w64` for ResNet-18, 5,000 images for 10,000, students of 150 epochs for 360,
    tested once.

    hello-distill study DATA --recipe images-photographs --out results/images_photographs.json
    """
    recipe = cpu()
    teachers = replace(recipe.teachers, network="convnet4_w64")
    student = replace(recipe.student, network=teachers.network, evaluations=1)
    recipe = replace(recipe, train_limit=5_000, teachers=teachers, student=student, student_steps=None)
    mosaics, larger = replace(SINGLE, factor=2), replace(teachers, network="resnet18")
    contenders = {
        "any whole images": Contender(RandomImages()),
        "easy of a small pool": Contender(RDED(EASY)),
        "easy crops": Contender(RDED(SINGLE)),
        "mosaics": Contender(RDED(mosaics)),
        "mosaics, chosen by ResNet-18": Contender(RDED(mosaics), teachers=larger),
        "mosaics, chosen by ResNet-18 unpadded": Contender(RDED(replace(mosaics, padded=False)), teachers=larger),
        "herding": Contender(Coreset("herding", "lite", 96)),
        "k-centre": Contender(Coreset("k-centre", "lite", 96)),
    }
    question = "Which images serve students under the teacher's labels, of photographs of 64 pixels"
    made = study_of(question, None, recipe, contenders, {10: (150, 20)})
    return replace(made, labels="teacher")


def crops(recipe: Recipe, training: Mapping[int, tuple[int, int]]) -> Study:
    """Do students need crops? `compare` gives them none, as RDED's code for CIFAR, and SRe2L's and G_VBSM's do else.

    Each method's images as students of `compare` see them, and in crops from 8 % of their area up, with the labels and
    the student settings that are the method's own there; G_VBSM's images also with the running means of its code.
    """
    method = hello_of(recipe)
    methods: dict[str, tuple[Distiller, dict[str, Any]]] = {
        "hello": (method, {}),
        "rded": (RDED(method.patches), {"loss": "mse", "beta": 1.0}),
        "sre2l": (comparisons.sre2l(), {"loss": "mse", "beta": 1.0}),
        "gvbsm": (comparisons.gvbsm(), {"loss": "mse", "beta": 0.1}),
        "gvbsm from zero": (gvbsm_small().distiller, {"loss": "mse", "beta": 0.1}),
    }
    contenders, settings = {}, {}
    for name, (distiller, student) in methods.items():
        for seen, augment in (("whole", {}), ("crops", {"augment": {"scale": (0.08, 1.0)}})):
            contenders[f"{name}, {seen}"] = Contender(distiller)
            settings[f"{name}, {seen}"] = {**student, **augment}
    question = "Do students need crops, and on which images?"
    return study_of(question, None, recipe, contenders, training, settings)


def images_small() -> Study:
    """Which images, on CIFAR-10, IPC 1, 10 and 50.

    hello-distill study DATA --recipe images --out results/images_cifar10.json
    """
    return images(small(), TEN)


def crops_small() -> Study:
    """Whole images or crops, for four methods, on CIFAR-10, IPC 10.

    hello-distill study DATA --recipe crops --out results/crops_cifar10.json
    """
    return crops(small(), AT_TEN)
