"""Tensors in files: safetensors, nothing else."""

from __future__ import annotations

import os
from pathlib import Path

import safetensors
import safetensors.torch
from torch import Tensor

from hello_distill.errors import ArtifactError

UNREADABLE = (OSError, safetensors.SafetensorError)
"""What the library raises for a file that is missing or broken."""


def write(file: Path, tensors: dict[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    """Write a file that others may read, too."""
    safetensors.torch.save_file(tensors, file, metadata)
    umask = os.umask(0)
    os.umask(umask)
    file.chmod(0o666 & ~umask)  # safetensors leaves it to the owner alone


def read(file: Path) -> dict[str, Tensor]:
    """All tensors of a file. Raises ArtifactError where it cannot be read."""
    try:
        return safetensors.torch.load_file(file)
    except UNREADABLE as error:
        raise ArtifactError(f"{file} cannot be read: {error}; get the artefact again") from None
