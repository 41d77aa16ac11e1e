"""Named settings: each is a function that returns a Recipe."""

from __future__ import annotations

from collections.abc import Callable

from hello_distill.errors import InputError, nearest
from hello_distill.pipeline import Recipe
from hello_distill.recipes.hello import cpu, demo, paper

RECIPES: dict[str, Callable[[], Recipe]] = {"paper": paper, "cpu": cpu, "demo": demo}


def find(name: str) -> Recipe:
    """The recipe of that name. Raises InputError, with the nearest name, if there is none."""
    if name not in RECIPES:
        raise InputError(f"unknown recipe {name!r}: {nearest(name, RECIPES)}")
    return RECIPES[name]()


__all__ = ["RECIPES", "find"]
