"""What files of several kinds have in common: accuracies, their data, and how a file is known."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field

Percent = Annotated[float, Field(ge=0, le=100)]
Tested = dict[str, dict[str, Percent]]
"""Accuracy by epoch by seed."""
Environment = dict[str, str | int | None]


class Entry(BaseModel):
    """A part of a result file: numbers are numbers, and finite. Fields that have no name here are kept as they are."""

    model_config = ConfigDict(strict=True, validate_assignment=True, allow_inf_nan=False, extra="allow")

    def content(self) -> dict[str, Any]:
        """What the file holds: the fields that were given, and no others."""
        return self.model_dump(exclude_unset=True)


class Result(Entry):
    """A whole file."""

    keys: ClassVar[frozenset[str]] = frozenset()
    """Keys by which files of the kind are known."""
    experiment: ClassVar[str | None] = None
    """The experiment that they say they are of."""

    @classmethod
    def knows(cls, content: Mapping[str, Any]) -> bool:
        """Whether a file is of this kind."""
        return cls.keys <= content.keys() and experiment_of(content) == cls.experiment


def experiment_of(content: Mapping[str, Any]) -> str | None:
    """The experiment that a file says it is of; comparisons and single results say none."""
    recipe = content.get("recipe")
    return recipe.get("experiment") if isinstance(recipe, dict) else None


class Summary(Entry):
    """Mean, standard deviation (n - 1; None for a single run) and the runs, in percent."""

    mean: Percent
    sd: Percent | None
    runs: Annotated[list[Percent], Field(min_length=1)]

    @classmethod
    def of(cls, runs: Sequence[float]) -> Summary:
        """The summary of these runs."""
        sd = statistics.stdev(runs) if len(runs) > 1 else None
        return Summary(mean=statistics.fmean(runs), sd=sd, runs=list(runs))


class Data(Entry):
    """The data set's folder, the SHA-256 of the training images, and how many classes they have.

    Older files do not say how many.
    """

    name: str
    training_images: str | None = None
    classes: Annotated[int, Field(ge=1)] | None = None

    def bits_per_class(self, size: int) -> int | None:
        """Of so many bytes, as RUO counts them (arXiv 2507.17221); None where classes are not known."""
        return None if self.classes is None else round(8 * size / self.classes)
