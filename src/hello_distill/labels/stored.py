"""Views of a training stored with their labels, in float16: what FKD, SRe2L and G_VBSM do, or fewer labels an image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hello_distill.format import sizes
from hello_distill.format.kinds import KINDS, option
from hello_distill.labels.recorded import RecordedKind
from hello_distill.system.errors import InputError


@KINDS.register("stored")
@dataclass(frozen=True)
class Stored(RecordedKind):
    """All views of a training, in their order; or so many of each image, of which an epoch takes one on average.

    These are drawn in rounds, as HALD draws (arXiv 2512.15647): its 100 labels a class are 10 of each image at IPC 10.
    """

    tuned_as = same_students_as = "teacher"
    views: int | None = option(
        None, "labels of each image, drawn from at random (default: one for each epoch, in order)"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.views is not None and self.views < 1:
            raise InputError(f"--views {self.views} keeps no label; give 1 or more")

    def make(self, data: Any, student: Any, online: Any) -> Any:
        from hello_distill.labels.sources.recording import Draw, RecordedLabels

        plan = self.recorded(data, student, online, epochs=self.views)
        return RecordedLabels(self.name, plan, None if self.views is None else Draw(False, plan.seed, rounds=True))

    def stored_bytes(self, classes: int, ipc: int, epochs: int, batch_size: int) -> int:
        return sizes.stored_bytes(classes, classes * ipc, self.views or epochs, batch_size)
