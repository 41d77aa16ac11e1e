"""Images that are numbers: arrays and nested lists of pixels, as files without compression (PPM).

As files they are decoded as all others are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

from hello_distill.system.errors import InputError

Numbers: TypeAlias = np.ndarray[Any, np.dtype[Any]]
Image: TypeAlias = dict[str, bytes | None]
"""As a table holds it: its file's bytes, and no path."""


def images(what: str, pixels: Numbers) -> list[Image]:
    """Images of an array (n ...), each of a shape that `upright` knows; `what` names it in a message.

    Raises InputError for what is no such images.
    """
    return [_image(upright(what, image)) for image in in_bytes(what, pixels)]


def images_of(what: str, rows: Sequence[Any]) -> list[Image]:
    """Images of arrays or nested lists, which may differ in size; a row of None holds none. Raises as `images`."""
    arrays = [None if row is None else np.asarray(row) for row in rows]
    there = [array for array in arrays if array is not None]
    if any(array.dtype == object for array in there):
        raise InputError(f"{what}: the rows of an image differ in length; write as many numbers into each")
    flat = in_bytes(what, np.concatenate([array.ravel() for array in there])) if there else np.zeros(0, np.uint8)
    parts = iter(np.split(flat, np.cumsum([array.size for array in there])))
    none: Image = {"bytes": None, "path": None}
    return [none if a is None else _image(upright(what, next(parts).reshape(a.shape))) for a in arrays]


def in_bytes(what: str, pixels: Numbers) -> Numbers:
    """Numbers as uint8: where none is above 1 they are taken for shares of 255. Raises InputError for others."""
    if not pixels.size:
        return pixels.astype(np.uint8)
    if pixels.dtype.kind not in "iufb" or not 0 <= pixels.min() <= pixels.max() <= 255:
        raise InputError(f"{what}: images are not numbers from 0 to 255; save them as uint8")
    if pixels.max() <= 1:
        pixels = pixels * 255.0
    return pixels if pixels.dtype == np.uint8 else np.rint(pixels).astype(np.uint8)


def upright(what: str, image: Numbers) -> Numbers:
    """An image as (h w 3), or (h w) where it is grey.

    It may be (h w 3), (h w 1), (3 h w), (1 h w) or (h w), or the grey values of a square in a row. Colours in a row
    might be by pixel or by channel. Raises InputError for another shape.
    """
    if image.ndim == 1 and (side := math.isqrt(image.size)) ** 2 == image.size > 1:
        return image.reshape(side, side)
    if image.ndim == 3 and image.shape[0] in (1, 3) and image.shape[2] not in (1, 3):
        image = image.transpose(1, 2, 0)
    if image.ndim == 3 and image.shape[2] == 1:
        image = image[..., 0]
    if image.ndim == 2 or (image.ndim == 3 and image.shape[2] == 3):
        return image
    raise InputError(
        f"{what}: an image has the shape {image.shape}, and should have (height, width, 3) or (height, width); save "
        "them so, such as by numpy.savez(FILE, images=IMAGES, labels=LABELS)"
    )


def _image(image: Numbers) -> Image:
    """An image (h w 3) or (h w) as a file without compression."""
    height, width = image.shape[:2]
    head = b"P%d\n%d %d\n255\n" % (6 if image.ndim == 3 else 5, width, height)
    return {"bytes": head + image.tobytes(), "path": None}
