"""A share of the views of a training stored with their labels, drawn again in every epoch: LPLD.

Xiao and He, "Are large-scale soft labels necessary for large-scale dataset distillation?" (NeurIPS 2024).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hello_distill.format.kinds import KINDS, option
from hello_distill.labels.recorded import DrawPart, RecordedKind, RecordedPart
from hello_distill.system.errors import InputError

KEEP = "share of a training's batches that is kept"
REPLACEMENT = "draw batches with replacement"


class PrunedPart(RecordedPart):
    """Labels stored view by view, drawn from."""

    draw: DrawPart


@KINDS.register("pruned")
@dataclass(frozen=True)
class Pruned(RecordedKind):
    """The stored batches are a pool: an epoch draws as many as it had, with replacement or without."""

    part = PrunedPart
    tuned_as = "teacher"
    keep: float | None = option(None, KEEP)
    """None: 1/40, LPLD's strongest."""
    replacement: bool | None = option(None, REPLACEMENT)
    """None: with replacement, as LPLD draws."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_share(self.keep)

    def make(self, data: Any, student: Any, online: Any) -> Any:
        from hello_distill.labels.sources.recording import Draw, RecordedLabels

        plan = self.recorded(data, student, online, keep=1 / 40 if self.keep is None else self.keep)
        return RecordedLabels(self.name, plan, Draw(self.replacement is not False, plan.seed))


def check_share(keep: float | None) -> None:
    """Raise InputError for what is no share above 0."""
    if keep is not None and not 0 < keep <= 1:
        raise InputError(f"--keep {keep} is no share; give a number above 0 and up to 1")
