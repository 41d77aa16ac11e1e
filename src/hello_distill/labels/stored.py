"""Every view of a training stored with its labels, in float16: what FKD, SRe2L and G_VBSM do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hello_distill.format import sizes
from hello_distill.format.kinds import KINDS
from hello_distill.labels.recorded import RecordedKind, RecordedPart


class StoredPart(RecordedPart):
    """Labels stored view by view, read in their order."""

    draw: None


@KINDS.register("stored")
@dataclass(frozen=True)
class Stored(RecordedKind):
    """All views of a training, in their order."""

    part = StoredPart
    tuned_as = same_students_as = "teacher"

    def make(self, data: Any, student: Any, online: Any) -> Any:
        from hello_distill.labels.sources.recording import RecordedLabels

        return RecordedLabels(self.name, self.recorded(data, student, online), None)

    def stored_bytes(self, classes: int, ipc: int, epochs: int, batch_size: int) -> int:
        return sizes.stored_bytes(classes, classes * ipc, epochs, batch_size)
