"""Images as WebDataset: one tar file in which `00000.png` and `00000.cls` are a sample."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

from hello_distill import artifact as artifacts
from hello_distill.data.names import CLASSES
from hello_distill.export import Stored, width

SHARD = "train-000000.tar"
BLOCK = 512
"""Bytes of a member's head, and what its content is filled up to."""


def write(stored: Stored, out: str | Path) -> Path:
    """Write `train-000000.tar` and `classes.json`, the class names in the order of their numbers.

    `.cls` is a class's number, as the `webdataset` package reads it. The same images give the same bytes.
    """
    names = json.dumps(stored.classes, indent=2, ensure_ascii=False) + "\n"
    size = sum(len(content) + 5 * BLOCK for _, content in stored.images) + 20 * BLOCK + len(names.encode())
    with artifacts.published(out, size) as partial:
        with tarfile.open(partial / SHARD, "w", format=tarfile.USTAR_FORMAT) as shard:
            for number, (target, content) in enumerate(stored.images):
                name = f"{number:0{width(len(stored.images))}d}"
                _add(shard, f"{name}.{stored.ending}", content)
                _add(shard, f"{name}.cls", str(target).encode())
        (partial / CLASSES).write_text(names, encoding="utf-8")
    return Path(out)


def _add(shard: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    shard.addfile(member, io.BytesIO(content))
