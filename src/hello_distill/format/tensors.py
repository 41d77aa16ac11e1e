"""Tensors in files: safetensors, nothing else."""

from __future__ import annotations

import json
import os
import re
from operator import index
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from hello_distill.format.sizes import Layout
from hello_distill.system import publishing
from hello_distill.system.errors import ArtifactError, DivergedError

UNREADABLE = (OSError, safetensors.SafetensorError)
"""What the library raises for a file that is missing or broken."""
LARGEST_HEAD = 2**20
"""Bytes of a file's head that are read at all; the format itself allows a hundred times as much."""


def write(file: Path, tensors: dict[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    """Write a file that others may read, too.

    Raises DivergedError for non-finite numbers, OSError where the disk is full.
    """
    for name, tensor in tensors.items():
        if not finite(tensor):
            raise DivergedError(f"{file.name}: {name} holds numbers that are not finite, and is not written")
    try:
        safetensors.torch.save_file(tensors, file, metadata)
    except safetensors.SafetensorError as error:
        if not (number := re.search(r"os error (\d+)", str(error))):
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1])), str(file)) from None
    publishing.permit(file)


def size(tensors: dict[str, Tensor]) -> int:
    """Bytes of the numbers alone."""
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())


def finite(tensor: Tensor) -> bool:
    """Whether all numbers are: no NaN, no infinity."""
    if not tensor.is_floating_point():
        return True
    return bool(torch.isfinite(tensor.float() if tensor.element_size() == 1 else tensor).all())


def read(file: Path) -> dict[str, Tensor]:
    """All tensors of a file of our own. Raises ArtifactError where it cannot be read."""
    try:
        return safetensors.torch.load_file(file)
    except UNREADABLE as error:
        raise ArtifactError(f"{file} cannot be read: {error}; get the artefact again") from None


def metadata(file: Path) -> dict[str, str]:
    """What a file of our own says beside its tensors. Raises ArtifactError where it cannot be read."""
    try:
        with safetensors.safe_open(file, "pt") as opened:
            return opened.metadata() or {}
    except UNREADABLE as error:
        raise ArtifactError(f"{file} cannot be read: {error}; get the artefact again") from None


def read_as(file: Path, layout: Layout) -> dict[str, Tensor]:
    """All tensors of a stranger's file: those of the layout and no others, of these types and shapes, and finite.

    Raises ArtifactError for anything else, before memory is given to it.
    """
    check_layout(file, layout)
    tensors = read(file)
    for name, tensor in tensors.items():
        check_finite(file, name, tensor)
    return tensors


def check_layout(file: Path, layout: Layout) -> None:
    """Raise ArtifactError where a file holds other tensors than those of the layout."""
    actual = layout_of(file)
    for name in sorted({*actual, *layout}):
        kind, expected = actual.get(name, "missing"), layout.get(name, "absent")
        if name not in layout or kind != expected:
            raise ArtifactError(f"{file} does not fit: {name} is {kind} and should be {expected}")


def check_finite(file: Path, name: str, tensor: Tensor) -> None:
    """Raise ArtifactError for infinite numbers and for what is no number."""
    if not finite(tensor):
        raise ArtifactError(f"{file}: {name} holds a number that is not finite; get the artefact again")


def layout_of(file: Path) -> Layout:
    """Types and shapes of a file's tensors, from its head alone. Raises ArtifactError where it is malformed."""
    try:
        with file.open("rb") as content:
            length = int.from_bytes(content.read(8), "little")
            if length > LARGEST_HEAD:
                raise ValueError(f"its head takes {length} bytes, and {LARGEST_HEAD} are allowed")
            head = json.loads(content.read(length), object_pairs_hook=_once)
        parts = {name: tensor for name, tensor in head.items() if name != "__metadata__"}
        return {name: (str(part["dtype"]), tuple(map(index, part["shape"]))) for name, part in parts.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ArtifactError(f"{file} cannot be read: {error}; get the artefact again") from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object without repeated keys, which the library would let pass."""
    if len(dict(pairs)) != len(pairs):
        raise ValueError("its head names a tensor twice")
    return dict(pairs)
