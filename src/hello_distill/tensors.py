"""Tensors in files: safetensors, nothing else."""

from __future__ import annotations

import os
import re
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from hello_distill import publishing
from hello_distill.errors import ArtifactError, DivergedError

UNREADABLE = (OSError, safetensors.SafetensorError)
"""What the library raises for a file that is missing or broken."""


def write(file: Path, tensors: dict[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    """Write a file that others may read, too.

    Raises DivergedError for numbers that are not finite, OSError where the disk is full.
    """
    for name, tensor in tensors.items():
        if not finite(tensor):
            raise DivergedError(f"{file.name}: {name} holds numbers that are not finite, and is not written")
    try:
        safetensors.torch.save_file(tensors, file, metadata)
    except safetensors.SafetensorError as error:
        raise _of_the_system(error, file) from None
    publishing.permit(file)


def size(tensors: dict[str, Tensor]) -> int:
    """Bytes of the numbers alone."""
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())


def finite(tensor: Tensor) -> bool:
    """Whether all numbers are: no NaN, no infinity."""
    if not tensor.is_floating_point():
        return True
    return bool(torch.isfinite(tensor.float() if tensor.element_size() == 1 else tensor).all())


def _of_the_system(error: safetensors.SafetensorError, file: Path) -> Exception:
    """The library's error as the system's own, where it tells its number."""
    number = re.search(r"os error (\d+)", str(error))
    return OSError(int(number[1]), os.strerror(int(number[1])), str(file)) if number else error


def read(file: Path) -> dict[str, Tensor]:
    """All tensors of a file. Raises ArtifactError where it cannot be read."""
    try:
        return safetensors.torch.load_file(file)
    except UNREADABLE as error:
        raise ArtifactError(f"{file} cannot be read: {error}; get the artefact again") from None
