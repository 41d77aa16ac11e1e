"""Named settings: each is a function that returns a Recipe, a Comparison, a Continual, or a Study."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from hello_distill.distillers.recipe import Recipe
from hello_distill.experiments.continual import Continual
from hello_distill.experiments.grid import Comparison
from hello_distill.experiments.study import Study
from hello_distill.recipes.baselines import gvbsm, gvbsm_small, random, rded, rded_small, sre2l, sre2l_small
from hello_distill.recipes.comparisons import PLANNED, many, photographs, small
from hello_distill.recipes.continual import arriving_many, arriving_small
from hello_distill.recipes.hello import cpu, demo, hello_many, hello_small, paper
from hello_distill.recipes.imagenet import imagenet1k, imagenet100
from hello_distill.recipes.studies import STUDIES
from hello_distill.system.errors import InputError, nearest

BY_IPC: dict[str, Callable[[int], Recipe]] = {
    "paper": paper,
    "cpu": cpu,
    "imagenet100": imagenet100,
    "imagenet1k": imagenet1k,
}
"""Recipes whose settings depend on the images per class."""
RECIPES: dict[str, Callable[[], Recipe]] = {
    "paper": paper,
    "imagenet100": imagenet100,
    "imagenet1k": imagenet1k,
    "cpu": cpu,
    "demo": demo,
    "hello-small": hello_small,
    "hello-many": hello_many,
    "random": random,
    "rded": rded,
    "rded-small": rded_small,
    "sre2l": sre2l,
    "sre2l-small": sre2l_small,
    "gvbsm": gvbsm,
    "gvbsm-small": gvbsm_small,
}
FOR_A_GPU = ("paper", "imagenet100", "imagenet1k")
"""Recipes that a processor alone would take days for."""
COMPARISONS: dict[str, Callable[[], Comparison]] = {"small": small, "many": many, "photographs": photographs}
CONTINUALS: dict[str, Callable[[], Continual]] = {"small": arriving_small, "many": arriving_many}

SMALL, TINY, MANY = 48, 28, 100
"""Sides in pixels up to which the recipes for small images are taken, and classes from which those for many (ours)."""


def suited(device: str, side: int, classes: int) -> str:
    """The recipe to begin with, on this device, for images of this side in pixels and so many classes (ours)."""
    if side <= TINY and device == "cpu":
        return "demo"
    if side <= SMALL:
        return "hello-many" if classes >= MANY else "hello-small"
    return "cpu" if device == "cpu" else "paper"


def fitting(device: str) -> dict[str, Callable[[], Recipe]]:
    """The recipes that a device can carry: all of them on a GPU."""
    return {name: make for name, make in RECIPES.items() if device != "cpu" or name not in FOR_A_GPU}


def find(name: str, ipc: int | None = None) -> Recipe:
    """The recipe of that name, for so many images per class (None: as many as it says).

    Raises InputError, with the nearest name, if there is none, and where it is not for so many.
    """
    if name not in RECIPES:
        raise InputError(f"unknown recipe {name!r}: {nearest(name, RECIPES)} (`hello-distill --recipe` lists them)")
    if ipc is None:
        return RECIPES[name]()
    return BY_IPC[name](ipc) if name in BY_IPC else replace(RECIPES[name](), ipc=ipc)


def find_comparison(name: str) -> Comparison:
    """The comparison of that name. Raises InputError, with the nearest name, if there is none."""
    if name not in COMPARISONS:
        raise InputError(f"unknown comparison {name!r}: {nearest(name, COMPARISONS)}")
    return COMPARISONS[name]()


def find_continual(name: str) -> Continual:
    """The continual experiment of that name. Raises InputError, with the nearest name, if there is none."""
    if name not in CONTINUALS:
        raise InputError(f"unknown continual experiment {name!r}: {nearest(name, CONTINUALS)}")
    return CONTINUALS[name]()


def find_study(name: str) -> Study:
    """The study of that name. Raises InputError, with the nearest name, if there is none."""
    if name not in STUDIES:
        raise InputError(f"unknown study {name!r}: {nearest(name, STUDIES)}")
    return STUDIES[name]()


__all__ = [
    "COMPARISONS",
    "CONTINUALS",
    "FOR_A_GPU",
    "PLANNED",
    "RECIPES",
    "STUDIES",
    "find",
    "find_comparison",
    "find_continual",
    "find_study",
    "fitting",
    "suited",
]
