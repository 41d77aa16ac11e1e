"""Named settings: each is a function that returns a Recipe, or a Comparison."""

from __future__ import annotations

from collections.abc import Callable

from hello_distill.bench import Comparison
from hello_distill.errors import InputError, nearest
from hello_distill.pipeline import Recipe
from hello_distill.recipes.baselines import gvbsm, gvbsm_small, random, rded, rded_small, sre2l, sre2l_small
from hello_distill.recipes.comparisons import many, small
from hello_distill.recipes.hello import cpu, demo, hello_many, hello_small, paper

RECIPES: dict[str, Callable[[], Recipe]] = {
    "paper": paper,
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
COMPARISONS: dict[str, Callable[[], Comparison]] = {"small": small, "many": many}


def find(name: str) -> Recipe:
    """The recipe of that name. Raises InputError, with the nearest name, if there is none."""
    if name not in RECIPES:
        raise InputError(f"unknown recipe {name!r}: {nearest(name, RECIPES)}")
    return RECIPES[name]()


def find_comparison(name: str) -> Comparison:
    """The comparison of that name. Raises InputError, with the nearest name, if there is none."""
    if name not in COMPARISONS:
        raise InputError(f"unknown comparison {name!r}: {nearest(name, COMPARISONS)}")
    return COMPARISONS[name]()


__all__ = ["COMPARISONS", "RECIPES", "find", "find_comparison"]
