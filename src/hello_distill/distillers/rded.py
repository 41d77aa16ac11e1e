"""Image initialisation by realistic patches: Eq. 6, after RDED (Sun et al. 2024)."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from hello_distill.artifact import Distilled
from hello_distill.data.images import ImageSet, Material, short_classes, shown_counts
from hello_distill.distillers.base import Distiller, register
from hello_distill.format.fields import Few
from hello_distill.format.specs import Shares
from hello_distill.labels.sources.teacher import taught
from hello_distill.stages import Stages
from hello_distill.stages.kept import Blocks, one_by_one
from hello_distill.system import context
from hello_distill.system.errors import InputError
from hello_distill.training.networks import IMAGENET_MEAN
from hello_distill.training.scores import batch_size
from hello_distill.types import Classifier, Images, Pixels, Rows
from hello_distill.views import crops, sample_boxes

CUT = 512
"""So many crops are cut at once."""


@dataclass(frozen=True)
class Patches:
    """Random crops, the easiest by the observer's CE, stitched to one image. Defaults are RDED's.

    Crops are cut from images as they are kept: the centre square, at the recipe's size. RDED's code cuts them from the
    original files.
    """

    factor: Few = 2
    """Patches per side of an image: 2 makes a 2x2 mosaic; 1 keeps single crops (small images)."""
    crops: Few = 5
    """Random crops per real image, of which the easiest counts."""
    pool: Few = 300
    """Real images per class, drawn at random, that are looked at; more where fewer would not do for the patches
    (RDED's code fails there), and then every image of the pool gives one."""
    truncated: bool = False
    """Colours are cut to 8 bit, as RDED's code does, and not rounded."""
    scale: Shares = (0.08, 1.0)
    """Area of a square crop as a share of the image."""
    padded: bool = True
    """The observer sees a patch in the middle of a mean-coloured image, as RDED's code shows it. False: as it is, which
    is a quarter of the work for a mosaic of four, to an observer that takes images so small."""

    def needed(self, ipc: int) -> int:
        """Real images that a class needs: every patch comes from another one."""
        return ipc * self.factor**2

    def _patched(self) -> str:
        """What is said of an image that is stitched."""
        return f" of {self.factor**2} patches each" if self.factor > 1 else ""

    def check(self, data: ImageSet, ipc: int) -> None:
        """Raise InputError naming the classes that are too small."""
        if short := short_classes(data, self.needed(ipc)):
            fitting = min(short.values()) // self.factor**2
            smaller = "set `distiller.patches.factor` to 1, " if self.factor > 1 else ""
            raise InputError(
                f"{ipc} images per class{self._patched()} need {self.needed(ipc)} training images of each class "
                f"(after holding some out), and there are fewer in {shown_counts(short)}; "
                f"{f'lower --ipc to {fitting}, ' if fitting else ''}{smaller}add images, "
                "or `distill` with --short-class repeat or fewer"
            )

    def __call__(
        self, data: ImageSet, observer: Classifier, ipc: int, seed: int, blocks: Blocks = one_by_one
    ) -> ImageSet:
        """`ipc` stitched images (uint8) per class, class by class: a class is one of the `blocks` of work."""
        self.check(data, ipc)
        if not self.padded:
            _check_taken(observer, data.side // self.factor, data.images.device)

        def of_class(target: int) -> Pixels:
            return to_8_bit(self._one_class(data, target, observer, ipc, seed), self.truncated)

        with context.stage("patches") as stage:
            made = blocks("patches", (self, ipc, seed), len(data.classes), of_class)
            images = torch.cat(made).to(data.images.device)
            stage.figure = f"{len(images)} images{self._patched()}"
        targets = torch.arange(len(data.classes), device=images.device).repeat_interleave(ipc)
        return ImageSet(images, targets, data.classes)

    @torch.no_grad()
    def _one_class(self, data: ImageSet, target: int, observer: Classifier, ipc: int, seed: int) -> Images:
        """Best crop of each image of the pool, easiest of them all, stitched: (ipc 3 side side)."""
        rng = np.random.default_rng([seed, 2, target])
        pool = max(self.pool, ipc * self.factor**2)
        rows = torch.from_numpy(rng.permutation(data.of_class(target).cpu().numpy())[:pool])
        boxes = torch.from_numpy(sample_boxes(rng, len(rows) * self.crops, data.side, self.scale, (1.0, 1.0)))
        rows = rows.repeat_interleave(self.crops)
        parts = zip(rows.split(CUT), boxes.split(CUT), strict=True)
        side = data.side if self.padded else data.side // self.factor
        scores = [difficulty(observer, self._cut(data, *part), target, side) for part in parts]
        score = torch.cat(scores).view(-1, self.crops)
        best = score.argmin(1)
        every = torch.arange(len(best), device=best.device)
        order = score[every, best].argsort(stable=True)[: ipc * self.factor**2]
        chosen = (order * self.crops + best[order]).cpu()
        patches = self._cut(data, rows[chosen], boxes[chosen])  # once more: kept, all would be many times as large
        # The patch of rank r becomes cell r // ipc of image r % ipc: every image gets an equally easy share.
        cells = patches.unflatten(0, (self.factor**2, ipc)).transpose(0, 1)
        return stitch(cells, self.factor, data.side)

    def _cut(self, data: ImageSet, rows: Rows, boxes: Int64[Tensor, "b 4"]) -> Images:
        """A box of each of the images at `rows`, as large as a patch."""
        needed, places = rows.unique(return_inverse=True)
        return crops(data.images[needed], places, boxes, data.side // self.factor)


@torch.no_grad()
def _check_taken(observer: Classifier, side: int, device: torch.device) -> None:
    """Raise InputError for an observer, on that device, that takes no images of so few pixels."""
    try:
        observer(torch.zeros(1, 3, side, side, device=device))
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        raise InputError(
            f"the observer takes no images of {side} pixels, which unpadded patches have ({error}); set "
            "`distiller.patches.padded` to true"
        ) from None


def to_8_bit(images: Images, truncated: bool) -> Pixels:
    """Images in [0, 1] as they are kept: rounded, or cut as torch's conversion does."""
    return (images * 255 if truncated else (images * 255).round()).to(torch.uint8)


@register("rded")
@dataclass(frozen=True)
class RDED(Distiller):
    """Patches as they are, labelled online by the observer (Sun et al., CVPR 2024)."""

    patches: Patches = field(default_factory=Patches)

    def __call__(self, material: Material, stages: Stages, ipc: int, seed: int) -> Distilled:
        self.patches.check(material.train, ipc)
        images = self.patches(material.train, stages.judge(), ipc, seed, stages.blocks)
        return Distilled(images, taught(stages, images.side), dict(stages.figures))

    def images_needed(self, ipc: int) -> int:
        return self.patches.needed(ipc)


def difficulty(observer: Classifier, patches: Images, target: int, side: int) -> Float[Tensor, "b"]:
    """CE(f(p), y_p) of Eq. 6 for each crop of a class, lower is easier.

    As in RDED's code a patch is not resized but set into the middle of a mean-coloured image of `side` pixels, where
    that is more than it has.
    """
    shown = pad_to(patches, side).split(batch_size(patches.device))
    logits = torch.cat([observer(images) for images in shown])
    return F.cross_entropy(logits, torch.full((len(logits),), target, device=logits.device), reduction="none")


def pad_to(patches: Images, side: int) -> Float[Tensor, "b 3 {side} {side}"]:
    """Patches (b 3 h h) in the middle of images (b 3 side side) of the classifiers' mean colour.

    An odd pixel goes to the bottom and to the right.
    """
    size = patches.shape[-1]
    if size == side:
        return patches
    padded = torch.tensor(IMAGENET_MEAN, device=patches.device).view(1, 3, 1, 1).repeat(len(patches), 1, side, side)
    start = (side - size) // 2
    padded[:, :, start : start + size, start : start + size] = patches
    return padded


def stitch(patches: Float[Tensor, "n k 3 h w"], factor: int, side: int) -> Float[Tensor, "n 3 {side} {side}"]:
    """Mosaics (n 3 side side) of factor x factor patches, row by row.

    Where `side` is not divisible, the first rows and columns are a pixel larger (nearest neighbour).
    """
    sizes = [len(part) for part in np.array_split(np.arange(side), factor)]
    grid = [patches[:, r * factor : (r + 1) * factor] for r in range(factor)]
    rows = [
        torch.cat(
            [F.interpolate(row[:, c], (height, width), mode="nearest") for c, width in enumerate(sizes)],
            dim=3,
        )
        for row, height in zip(grid, sizes, strict=True)
    ]
    return torch.cat(rows, dim=2)
