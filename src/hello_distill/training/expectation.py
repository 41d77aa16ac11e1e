"""The accuracy that an artefact states, and whether a training that is run again reaches it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import scipy.stats

CONFIDENCE = 0.95
"""Share of honest repetitions that come out inside."""


class Range(NamedTuple):
    """Top-1 in percent between which the mean of new students should lie."""

    low: float
    high: float

    def holds(self, value: float) -> bool:
        """Whether a mean lies inside."""
        return self.low <= value <= self.high


def expected_range(runs: Sequence[float], new: int, test_images: int) -> Range:
    """Where the mean of `new` students lies in 95 of 100 repetitions, after `runs` (top-1 in percent, two at least).

    Student's prediction interval: mean +- t s sqrt(1/n + 1/new), t with n - 1 degrees of freedom. s is at least the
    weight of one test image, since accuracies come in steps of it. Three runs tell little of their spread, and the
    range is wide accordingly.
    """
    mean = math.fsum(runs) / len(runs)
    spread = math.sqrt(math.fsum((run - mean) ** 2 for run in runs) / (len(runs) - 1))
    quantile = float(scipy.stats.t.ppf((1 + CONFIDENCE) / 2, len(runs) - 1))
    reach = quantile * max(spread, 100 / test_images) * math.sqrt(1 / len(runs) + 1 / new)
    return Range(max(0.0, mean - reach), min(100.0, mean + reach))


def verdict(expected: dict[str, Any], runs: Sequence[float]) -> dict[str, Any]:
    """Whether new students' top-1 (percent, last epoch) fits what an artefact expects (`manifest.Expected`)."""
    inside = expected_range(expected["top1_last"]["runs"], len(runs), expected["test_images"])
    mean = math.fsum(runs) / len(runs)
    return {"inside": inside.holds(mean), "low": inside.low, "high": inside.high, "mean": mean, "runs": list(runs)}
