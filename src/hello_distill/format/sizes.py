"""Bytes on disk, by formula: what labels of any kind take or would take. Does not import torch.

A stored view takes its labels and the 15 bytes that let it be rendered again: row of the image (4), crop box (8),
flip (1), partner (2). A batch takes 20 more: share of the own image (8), CutMix box (8), number of views (4).
A file takes the header of the safetensors format. The tests compare each of these with files.
"""

from __future__ import annotations

import json
import math
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping
from typing import Any

Layout = Mapping[str, tuple[str, tuple[int, ...]]]
"""Name of a tensor to its type (safetensors' name for it) and shape."""

ORDER = ("BOOL", "U8", "I8", "F8_E4M3", "I16", "F16", "I32", "F32", "F64", "I64")
"""The order in which the library ranks types; it writes the last ones first."""
ITEM = {"BOOL": 1, "U8": 1, "I8": 1, "F8_E4M3": 1, "I16": 2, "F16": 2, "I32": 4, "F32": 4, "I64": 8, "F64": 8}
"""Bytes of one number."""
SHARD = 64 * 2**20
"""Stored labels are cut into files of about so many bytes, at the end of an epoch."""
VIEW_COLUMNS = {"rows": ("I32", ()), "box": ("I16", (4,)), "flip": ("BOOL", ()), "partner": ("I16", ())}
BATCH_COLUMNS = {"share": ("F64", ()), "hole": ("I16", (4,)), "length": ("I32", ())}

Columns = Mapping[str, tuple[str, tuple[int, ...]]]
"""Name of a column to its type and the shape of one entry."""


def tensor_bytes(kind: str, shape: Iterable[int]) -> int:
    """Bytes of a tensor without any header."""
    return ITEM[kind] * math.prod(shape)


def safetensors_bytes(layout: Layout, metadata: Mapping[str, str] | None = None) -> int:
    """Size of a safetensors file: eight bytes, a JSON header padded to a multiple of eight, the numbers.

    The library writes tensors by type (`ORDER`, from the back), then by name.
    """
    header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    start = 0
    for name in sorted(layout, key=lambda name: (-ORDER.index(layout[name][0]), name)):
        kind, shape = layout[name]
        end = start + tensor_bytes(kind, shape)
        header[name] = {"dtype": kind, "shape": list(shape), "data_offsets": [start, end]}
        start = end
    text = len(json.dumps(header, separators=(",", ":")).encode())
    return 8 + math.ceil(text / 8) * 8 + start


def label_columns(codec: str, num_classes: int, k: int = 0) -> Columns:
    """What a codec keeps of one view's logits: of `topk` the k largest, or all where there are fewer."""
    k = min(k, num_classes)
    forms: dict[str, Columns] = {
        "float32": {"logits": ("F32", (num_classes,))},
        "float16": {"logits": ("F16", (num_classes,))},
        "float8": {"logits": ("F8_E4M3", (num_classes,))},
        "int8": {"logits": ("I8", (num_classes,)), "scale": ("F16", ())},
        "topk": {"logits": ("F16", (k,)), "classes": ("I16", (k,))},
    }
    return forms[codec]


def view_bytes(columns: Columns) -> int:
    """Bytes of one stored view: its labels, and what renders it again."""
    return sum(tensor_bytes(*column) for column in (*columns.values(), *VIEW_COLUMNS.values()))


def shard_epochs(images: int, columns: Columns) -> int:
    """Epochs that one file of stored labels holds."""
    return max(1, SHARD // (images * view_bytes(columns)))


def num_files(batches: int, per_file: int) -> int:
    """Files of stored labels."""
    return -(-batches // per_file)


def shards(batches: int, per_epoch: int, epochs: int) -> list[range]:
    """The batches of each file, where a file holds so many epochs."""
    step = per_epoch * epochs
    return [range(start, min(start + step, batches)) for start in range(0, batches, step)]


def num_views(images: int, per_epoch: int, batches: int) -> int:
    """Views in the first batches of a training, whose epochs have so many batches, the larger ones first."""
    epochs, rest = divmod(batches, per_epoch)
    share, larger = divmod(images, per_epoch)
    return epochs * images + rest * share + min(rest, larger)


def recording_layout(views: int, batches: int, columns: Columns) -> Layout:
    """Tensors of one file of stored labels, from the number of its views and batches."""
    by_view = {name: (kind, (views, *shape)) for name, (kind, shape) in {**VIEW_COLUMNS, **columns}.items()}
    return {**by_view, **{name: (kind, (batches, *shape)) for name, (kind, shape) in BATCH_COLUMNS.items()}}


def recording_bytes(images: int, per_epoch: int, batches: int, columns: Columns) -> dict[str, int]:
    """Bytes of stored labels: `labels` alone, `index` (views, batches, file headers), and both as `total`."""
    epochs = shard_epochs(images, columns)
    whole_files, rest = divmod(batches, per_epoch * epochs)
    whole = safetensors_bytes(recording_layout(epochs * images, epochs * per_epoch, columns)) if whole_files else 0
    views = num_views(images, per_epoch, rest)
    total = whole_files * whole + (safetensors_bytes(recording_layout(views, rest, columns)) if rest else 0)
    labels = num_views(images, per_epoch, batches) * sum(tensor_bytes(*column) for column in columns.values())
    return {"labels": labels, "index": total - labels, "total": total}


def num_batches(images: int, batch_size: int) -> int:
    """Batches in an epoch."""
    return max(1, math.ceil(images / batch_size))


def stored_bytes(
    classes: int, images: int, epochs: int, batch_size: int, codec: str = "float16", keep: float = 1.0, k: int = 0
) -> int:
    """Bytes of stored labels for the training of a student, of which the share `keep` of all batches is kept."""
    per_epoch = num_batches(images, batch_size)
    kept = kept_batches(epochs * per_epoch, keep)
    return recording_bytes(images, per_epoch, kept, label_columns(codec, classes, k))["total"]


def kept_batches(batches: int, keep: float) -> int:
    """How many batches a share of them is: rounded down, one at least."""
    return max(1, math.floor(keep * batches + 1e-9))


def first_ipc_above(size: Callable[[int], int], limit: int, most: int = 2**20) -> int | None:
    """The fewest images per class for which a growing size exceeds a limit; None if `most` do not."""
    high = 1
    while size(high) <= limit:
        if high >= most:
            return None
        high *= 2
    return bisect_right(range(high), limit, lo=high // 2 + 1, key=size)
