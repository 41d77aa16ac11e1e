"""The augmentation A of Algorithm 1 as a value: sample it, then render it.

`sample_views` draws everything random, `render` is a pure function of images and view. A stored label
source can therefore replay a training view by view, and resuming needs no hidden state.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from hello_distill.data.mapped import KeptImages
from hello_distill.format.sizes import num_batches
from hello_distill.format.specs import Augment
from hello_distill.system.distributed import EVERY
from hello_distill.system.errors import InputError
from hello_distill.types import Images, Pixels, Rows, Targets, View

NO_HOLE = (0, 0, 0, 0)


def sample_views(
    num_images: int, side: int, batch_size: int, augment: Augment, seed: int, epoch: int
) -> Iterator[View]:
    """The views of one epoch over `num_images` square images of `side` pixels.

    A pure function of its arguments. Every image appears once; batches differ in size by one at most, so
    that no batch is too small for batch normalisation.
    """
    rng = np.random.default_rng([seed, epoch])
    batches = np.array_split(rng.permutation(num_images), num_batches(num_images, batch_size))
    for number, rows in enumerate(batches):
        partner, share, hole = _sample_mix(rng, len(rows), side, augment)
        yield View(
            key=epoch * len(batches) + number,
            rows=torch.from_numpy(rows),
            box=torch.from_numpy(sample_boxes(rng, len(rows), side, augment.scale, augment.ratio)),
            flip=torch.from_numpy(rng.random(len(rows)) < augment.flip),
            partner=torch.from_numpy(partner),
            share=share,
            hole=hole,
        )


def still_view(count: int, side: int) -> View:
    """The view of `count` images of `side` pixels that leaves each as it is, in their order."""
    rows = torch.arange(count)
    box = torch.tensor([[0, 0, side, side]]).repeat(count, 1)
    return View(0, rows, box, torch.zeros(count, dtype=torch.bool), partner=rows, share=1.0, hole=NO_HOLE)


def sample_boxes(
    rng: np.random.Generator, count: int, side: int, scale: tuple[float, float], ratio: tuple[float, float]
) -> np.ndarray[tuple[int, int], np.dtype[np.int64]]:
    """Crop boxes (count, 4) by the rule of torchvision's RandomResizedCrop on a square image.

    Ten draws of area and aspect; the first that fits inside the image counts, and the whole image if none
    does.
    """
    area = side * side * rng.uniform(*scale, size=(count, 10))
    aspect = np.exp(rng.uniform(math.log(ratio[0]), math.log(ratio[1]), size=(count, 10)))
    height = np.rint(np.sqrt(area / aspect)).astype(np.int64)
    width = np.rint(np.sqrt(area * aspect)).astype(np.int64)
    fits = (height > 0) & (height <= side) & (width > 0) & (width <= side)
    first = fits.argmax(axis=1)
    rows = np.arange(count)
    height = np.where(fits.any(axis=1), height[rows, first], side)
    width = np.where(fits.any(axis=1), width[rows, first], side)
    top = np.floor(rng.random(count) * (side - height + 1)).astype(np.int64)
    left = np.floor(rng.random(count) * (side - width + 1)).astype(np.int64)
    return np.stack([top, left, height, width], axis=1)


def _sample_mix(
    rng: np.random.Generator, count: int, side: int, augment: Augment
) -> tuple[np.ndarray[tuple[int], np.dtype[np.int64]], float, tuple[int, int, int, int]]:
    """Partner of each image, share of the own image, and CutMix box."""
    if augment.mix == "none":
        return np.arange(count), 1.0, NO_HOLE
    partner = rng.permutation(count)
    share = float(rng.beta(augment.alpha, augment.alpha))
    if augment.mix == "mixup":
        return partner, share, NO_HOLE
    half = side * math.sqrt(1 - share) / 2
    row, column = rng.integers(side, size=2)
    top, bottom = (int(np.clip(round(row + s * half), 0, side)) for s in (-1, 1))
    left, right = (int(np.clip(round(column + s * half), 0, side)) for s in (-1, 1))
    hole = (top, left, bottom - top, right - left)
    return partner, 1 - hole[2] * hole[3] / side**2, hole


def render(images: KeptImages, view: View, part: slice = EVERY) -> Images:
    """The pixels of a view, at the size the images are kept in: crop, resize, flip, mix. Pure.

    `part` asks for some rows of the batch; only these, and what is mixed into them, are looked at.
    """
    if part != EVERY:
        return render(images, _with_partners(view, part))[: part.stop - part.start]
    x = crops(images[view.rows], torch.arange(len(view.rows)), view.box, images.shape[-1])
    flip = view.flip.to(x.device)[:, None, None, None]
    return mix(torch.where(flip, x.flip(-1), x), view)


def _with_partners(view: View, part: slice) -> View:
    """The view of some rows of a batch, and behind them of their partners, which nothing is mixed into."""
    partners = view.partner[part]
    index = torch.cat([torch.arange(part.start, part.stop), partners])
    behind = torch.arange(len(partners), len(index))
    return view._replace(
        rows=view.rows[index],
        box=view.box[index],
        flip=view.flip[index],
        partner=torch.cat([behind, behind]),
    )


def crops(images: Pixels, rows: Rows, boxes: Int64[Tensor, "b 4"], size: int) -> Float[Tensor, "b 3 {size} {size}"]:
    """Boxes (top, left, height, width) of the images at `rows`, resized (bilinear, antialiased), in [0, 1].

    On a CPU, where boxes of one shape are resized in one go, they are those of F.interpolate bit for bit. Elsewhere all
    are resized in one go, and the same but for rounding.
    """
    x = whole(images)
    if x.device.type != "cpu":
        return resized(x[rows.to(x.device)], boxes.to(x.device), size)
    found = x.new_empty((len(rows), 3, size, size))
    for (height, width), members in _by_shape(rows, boxes).items():
        if len(members) == 1:  # as most of a batch of views: a slice costs less than an index
            place, row, top, left = members[0]
            part = x[row : row + 1, :, top : top + height, left : left + width]
            places: slice | list[int] = slice(place, place + 1)
        else:
            places, where, tops, lefts = map(list, zip(*members, strict=True))
            part = x.unfold(2, height, 1).unfold(3, width, 1)[where, :, tops, lefts]
        if (height, width) != (size, size):
            part = F.interpolate(part, (size, size), mode="bilinear", antialias=True, align_corners=False)
        found[places] = part
    return found


def _by_shape(rows: Rows, boxes: Int64[Tensor, "b 4"]) -> dict[tuple[int, int], list[tuple[int, int, int, int]]]:
    """For each height and width the boxes that have it: place among the boxes, row, top, left."""
    members: dict[tuple[int, int], list[tuple[int, int, int, int]]] = {}
    for place, (row, (top, left, height, width)) in enumerate(zip(rows.tolist(), boxes.tolist(), strict=True)):
        members.setdefault((height, width), []).append((place, row, top, left))
    return members


def resized(images: Images, boxes: Int64[Tensor, "b 4"], size: int) -> Float[Tensor, "b 3 {size} {size}"]:
    """A box of each image as `crops` gives it, but all in one go: products with the weights of rows and of columns.

    They are made in the images' precision, also where networks around them run in a lower one.
    """
    rows = _weights(boxes[:, 0], boxes[:, 2], images.shape[2], size)
    columns = _weights(boxes[:, 1], boxes[:, 3], images.shape[3], size)
    with torch.autocast(images.device.type, enabled=False):
        return rows[:, None] @ images @ columns[:, None].mT


def _weights(
    start: Int64[Tensor, "b"], length: Int64[Tensor, "b"], side: int, size: int
) -> Float[Tensor, "b {size} {side}"]:
    """What each of `side` pixels gives to each of `size`: a triangle around its centre, a pixel wide or as wide as the
    shrinking asks for, cut at the box's ends and of sum 1."""
    pixels = torch.arange(side, device=start.device)
    first, count = start[:, None, None], length[:, None, None]
    step = count / size
    centre = first + step * (torch.arange(size, device=start.device)[:, None] + 0.5)
    height = (1 - (pixels + 0.5 - centre).abs() / step.clamp(min=1)).clamp(min=0)
    height = height * ((first <= pixels) & (pixels < first + count))
    return height / height.sum(2, keepdim=True)


def mix(images: Images, view: View) -> Images:
    """Mixup, or CutMix where the view has a hole. The result is new; the input stays as it was."""
    top, left, height, width = view.hole
    if height and width:
        rows, columns = slice(top, top + height), slice(left, left + width)
        mixed = images.clone()
        mixed[:, :, rows, columns] = images[:, :, rows, columns][view.partner]
        return mixed
    if view.share == 1:
        return images
    return view.share * images + (1 - view.share) * images[view.partner]


def mixed_targets(targets: Targets, view: View, num_classes: int) -> Float[Tensor, "b c"]:
    """One-hot classes of a view, mixed by the share of each image that is left in it."""
    classes = F.one_hot(targets[view.rows], num_classes).float()
    return view.share * classes + (1 - view.share) * classes[view.partner]


def check_images(images: Tensor) -> None:
    """Raise InputError for images that are not float in [0, 1], such as uint8, or normalised ones."""
    if not images.is_floating_point():
        raise InputError(
            f"images to be labelled are float in [0, 1], not {str(images.dtype).removeprefix('torch.')}; divide 8-bit "
            "images by 255"
        )
    low, high = (bound.item() for bound in images.aminmax()) if images.numel() else (0, 0)
    if not -1e-4 <= low <= high <= 1 + 1e-4:
        raise InputError(
            f"images to be labelled are float in [0, 1], not from {low:g} to {high:g}; labels normalise them"
        )


def whole(images: Pixels) -> Images:
    """Kept images as they are computed with: float in [0, 1], no augmentation."""
    return images.float() / 255
