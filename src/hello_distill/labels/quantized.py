"""Stored or pruned labels in fewer bytes: top-k logits (LPQLD), int8 with a scale per row, float8."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hello_distill.data.images import ImageSet
from hello_distill.labels.recording import Draw, Plan, RecordedLabels, open_recorded


def quantized(plan: Plan, keep: float, replacement: bool = False) -> RecordedLabels:
    """The planned batches in the plan's codec: all of them in order, or a pool where only a share is kept.

    LPQLD draws from its pool without replacement.
    """
    return RecordedLabels("quantized", plan, None if keep == 1 else Draw(replacement, plan.seed))


def load(folder: Path, description: dict[str, Any], data: ImageSet) -> RecordedLabels:
    """The quantised labels of an artefact."""
    return open_recorded(folder, description, data.side)
