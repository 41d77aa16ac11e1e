"""Every view of a training stored with its labels, in float16: what FKD, SRe2L and G_VBSM do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hello_distill.recording import Plan, RecordedLabels, open_recorded
from hello_distill.types import Targets


def stored(plan: Plan) -> RecordedLabels:
    """All views that are planned, in their order."""
    return RecordedLabels("stored", plan, None)


def load(folder: Path, description: dict[str, Any], classes: tuple[str, ...], targets: Targets) -> RecordedLabels:
    """The stored labels of an artefact."""
    return open_recorded(folder, description)
