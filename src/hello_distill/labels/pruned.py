"""A share of the views of a training stored with their labels, drawn again in every epoch: LPLD.

Xiao and He, "Are large-scale soft labels necessary for large-scale dataset distillation?" (NeurIPS 2024).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hello_distill.data.images import ImageSet
from hello_distill.labels.recording import Draw, Plan, RecordedLabels, open_recorded


def pruned(plan: Plan, replacement: bool = True) -> RecordedLabels:
    """The planned batches as a pool: an epoch draws as many as it had, with replacement or without."""
    return RecordedLabels("pruned", plan, Draw(replacement, plan.seed))


def load(folder: Path, description: dict[str, Any], data: ImageSet) -> RecordedLabels:
    """The pruned labels of an artefact."""
    return open_recorded(folder, description, data.side)
