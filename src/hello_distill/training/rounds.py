"""Fits in rounds, each with a learning rate that rises and falls, for as long as a round pays. Ours.

A fit whose length is fixed is too short for few images or too long for many. Here the longest is stated, and what is
measured says when it is enough.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from hello_distill.system import context
from hello_distill.training.scores import Faithfulness

Fit = TypeVar("Fit")


def in_rounds(
    start: Fit,
    fitted: Callable[[int, Fit], Fit],
    measured: Callable[[Fit], Faithfulness],
    most: int,
    gain: float,
    what: str,
) -> tuple[Fit, list[float]]:
    """The best of `start` and of each round, and their errors: that of `start` first.

    `fitted(number, best)` goes on from the best so far, with numbers from 1 to `most`. A round that lowers the least
    error by less than the share `gain` is the last. `what` names the fit among the run's curves.
    """
    curves = context.current().log.begin(f"{what}, rounds")

    def error(fit: Fit, number: int) -> float:
        agreement, error = measured(fit)
        curves.add_scalar("error on unseen views", error, number)
        curves.add_scalar("agreement on unseen views", agreement, number)
        return error

    best, errors = start, [error(start, 0)]
    for number in range(1, most + 1):
        candidate = fitted(number, best)
        errors.append(error(candidate, number))
        if errors[-1] < min(errors[:-1]):
            best = candidate
        if not paid(errors, gain):
            break
    return best, errors


def paid(errors: Sequence[float], gain: float) -> bool:
    """Whether the last round lowered the error by the share that is asked for."""
    return errors[-1] <= (1 - gain) * min(errors[:-1])


def why_ended(errors: Sequence[float], gain: float) -> str:
    """Why there were no more rounds, in words."""
    if paid(errors, gain):
        most = "one round is" if len(errors) == 2 else f"{len(errors) - 1} rounds are"
        return f"{most} the most, though the last one paid"
    return f"the last round lowered it by less than {100 * gain:g} %"


def described(errors: Sequence[float], gain: float) -> str:
    """What was measured after each round, and why there were no more, in words."""
    lowered = ", ".join(f"{error:.3g}" for error in errors)
    return f"relative error on unseen views after each round: {lowered}; {why_ended(errors, gain)}"
