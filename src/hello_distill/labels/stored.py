"""Every view of a training stored with its labels, in float16: what FKD, SRe2L and G_VBSM do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hello_distill.data.images import ImageSet
from hello_distill.labels.recording import Plan, RecordedLabels, open_recorded


def stored(plan: Plan) -> RecordedLabels:
    """All views that are planned, in their order."""
    return RecordedLabels("stored", plan, None)


def load(folder: Path, description: dict[str, Any], data: ImageSet) -> RecordedLabels:
    """The stored labels of an artefact."""
    return open_recorded(folder, description, data.side)
