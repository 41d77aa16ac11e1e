"""The file of distilled images, `data/train-00000-of-00001.parquet`: as `datasets` writes it, read with distrust."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from jaxtyping import UInt8
from PIL import Image

from hello_distill.data.images import ImageSet
from hello_distill.data.mapped import in_memory
from hello_distill.data.reading import check_memory
from hello_distill.format.card import features
from hello_distill.format.manifest import IMAGES, LARGEST_FILE
from hello_distill.system.errors import ArtifactError

UNREADABLE = (OSError, SyntaxError, ValueError, TypeError, Image.DecompressionBombError, pa.ArrowException)
"""What the libraries raise for files that hold no images, or broken ones."""


def encoded(data: ImageSet, encode: Callable[[Image.Image], bytes], extension: str) -> bytes:
    """The file's bytes, with each image encoded."""
    records = [{"bytes": file, "path": f"{row:06d}.{extension}"} for row, file in enumerate(_files(data, encode))]
    return packed(records, data.targets.tolist(), data.classes)


def once_encoded(data: ImageSet, encode: Callable[[Image.Image], bytes], form: str) -> ImageSet:
    """The images as students will see them: encoded, and decoded again."""
    pixels = np.stack([_pixels(file, form, data.side) for file in _files(data, encode)])
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous()
    return replace(data, images=images.to(data.images.device))


def _files(data: ImageSet, encode: Callable[[Image.Image], bytes]) -> list[bytes]:
    pixels = in_memory(data.images).permute(0, 2, 3, 1).cpu().numpy()
    return [encode(Image.fromarray(image)) for image in pixels]


def packed(images: list[dict[str, Any]], labels: list[int], classes: Sequence[str]) -> bytes:
    """Image files and labels as Parquet. Made in memory: on a full disk `to_parquet` ends the process."""
    datasets.disable_progress_bars()
    buffer = io.BytesIO()
    datasets.Dataset.from_dict({"image": images, "label": labels}, features=features(classes)).to_parquet(buffer)
    return buffer.getvalue()


def stored_images(folder: str | Path) -> Iterator[tuple[int, bytes]]:
    """Class and file of each image of an artefact that was loaded, in their order."""
    with _table(Path(folder) / IMAGES) as table:
        for content, target in _records(table):
            yield target, content


def read(file: Path, manifest: dict[str, Any]) -> ImageSet:
    """The images of an artefact: exactly those that its manifest counts, each a file of its codec, of its size.

    Raises ArtifactError where they are others.
    """
    count, side, classes = manifest["images"]["count"], manifest["images"]["side"], tuple(manifest["classes"])
    form = manifest["images"]["codec"]["format"]
    done, left = 0, file.stat().st_size
    try:
        with _table(file) as table:
            _check_table(table, count, classes)
            check_memory((count, 3, side, side), str(file.parents[1]))
            images = torch.empty((count, 3, side, side), dtype=torch.uint8)
            targets = torch.empty(count, dtype=torch.int64)
            for content, target in _records(table):
                left -= len(content)
                if done == count or left < 0:
                    raise ValueError("it holds more than its head says")
                images[done] = torch.from_numpy(_pixels(content, form, side)).permute(2, 0, 1)
                targets[done] = target
                done += 1
            if done < count:
                raise ValueError(f"it holds {done} images, its head says {count}")
    except UNREADABLE as error:
        raise ArtifactError(f"{file} cannot be read: {error}; get the artefact again") from None
    if not (targets.min() >= 0 and targets.max() < len(classes)):
        raise ArtifactError(f"{file} has labels from {targets.min()} to {targets.max()} for {len(classes)} classes")
    return ImageSet(images, targets, classes)


def _table(file: Path) -> pq.ParquetFile:
    """A file of images. What its head may claim before it is read to its end is limited."""
    return pq.ParquetFile(file, thrift_string_size_limit=4 * LARGEST_FILE, thrift_container_size_limit=2**14)


def _check_table(table: pq.ParquetFile, count: int, classes: Sequence[str]) -> None:
    """Raise ValueError where a table is not one that `save` writes: rows, columns, class names, no compressed images.

    Stored as they are, images take no more memory than the file. `datasets` compresses the labels by Snappy, which can
    make of a byte no more than 22.
    """
    if table.metadata.num_rows != count:
        raise ValueError(f"it has {table.metadata.num_rows} rows, the manifest says {count}")
    expected = features(classes).arrow_schema
    if not table.schema_arrow.equals(expected):
        raise ValueError("its columns are not an image and a label")
    if table.schema_arrow.metadata != expected.metadata:
        raise ValueError("its class names are not those of the manifest")
    for number in range(table.metadata.num_row_groups):
        group = table.metadata.row_group(number)
        if group.num_columns != len(table.schema):
            raise ValueError("a part of it lacks columns")
        picture, label = group.column(0), group.column(group.num_columns - 1)
        if picture.compression != "UNCOMPRESSED" or picture.has_dictionary_page:
            raise ValueError("its images are compressed once more")
        if label.compression not in ("UNCOMPRESSED", "SNAPPY") or label.total_compressed_size > 16 * count + 2**16:
            raise ValueError("its labels take more than labels do")


def _records(table: pq.ParquetFile) -> Iterator[tuple[bytes, int]]:
    """Image files and classes, one at a time: a hostile encoding repeats a large one at no cost."""
    for batch in table.iter_batches(batch_size=1, columns=["image.bytes", "label"]):
        for image, target in zip(batch["image"], batch["label"], strict=True):
            yield image["bytes"].as_py(), target.as_py()


def _pixels(content: bytes, form: str, side: int) -> UInt8[np.ndarray, "side side 3"]:
    """An image file's pixels. Raises one of `UNREADABLE` for one of another codec, size or mode."""
    with Image.open(io.BytesIO(content), formats=[form]) as picture:
        if picture.size != (side, side) or picture.mode != "RGB":
            raise ValueError(f"an image is {picture.mode} of {picture.size}, and should be RGB of {(side, side)}")
        return np.array(picture)
