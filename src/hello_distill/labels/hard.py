"""No soft labels: the classes themselves, mixed as the images are."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from hello_distill.format.kinds import KINDS, LabelKind, LabelPart


class HardPart(LabelPart):
    """The classes alone."""

    parameters: Literal[0]


@KINDS.register("hard")
@dataclass(frozen=True)
class Hard(LabelKind):
    """One-hot classes; needs no storage beyond the class of each image."""

    part = HardPart
    trials = "hard"

    @classmethod
    def load(cls, folder: Path, part: dict[str, Any], data: Any) -> Any:
        from hello_distill.labels.sources.hard import HardLabels

        return HardLabels(data.targets, len(data.classes))

    def make(self, data: Any, student: Any, online: Any) -> Any:
        return self.load(Path(), {}, data)
