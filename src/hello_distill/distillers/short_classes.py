"""Classes with fewer training images than a method needs. Done around the method: images repeated before it runs,
distilled images cut after it. Teachers and projectors are trained on the images as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch

from hello_distill.artifact import Distilled
from hello_distill.data.images import ImageSet, Material, left_to_fit, short_classes, shown_counts
from hello_distill.distillers.base import Distiller
from hello_distill.distillers.recipe import Recipe
from hello_distill.system.errors import InputError, listed

Rule = Literal["error", "repeat", "fewer"]
"""What becomes of a short class: the run stops; its images are used again; it gets as many distilled images as it has
training images (those held out not counted), made from images that are used again where a method needs several."""


@dataclass(frozen=True)
class ShortClasses:
    """The short classes of a run, and what becomes of them."""

    rule: Rule
    counts: dict[str, int]
    """Training images of each short class."""
    ipc: int
    needed: int
    """Training images that the method needs of a class."""

    @classmethod
    def of(cls, data: ImageSet, distiller: Distiller, ipc: int, rule: Rule) -> ShortClasses:
        """The short classes of training images; with the rule `error` none, since the method refuses them itself."""
        needed = distiller.images_needed(ipc)
        wanted = {"error": 0, "repeat": needed, "fewer": max(needed, ipc)}[rule]
        return cls(rule, short_classes(data, wanted), ipc, needed)

    def repeated(self, material: Material) -> Material:
        """The material in which each class has the images that are needed; repeated ones stand at the end."""
        data = material.train
        rows = [torch.arange(len(data), device=data.targets.device)]
        for name, count in self.counts.items():
            rows_of_class = data.of_class(data.classes.index(name))
            rows.append(rows_of_class.repeat(-(-self.needed // count))[count : self.needed])
        return material._replace(train=data.rows(torch.cat(rows))) if self.counts else material

    def cut(self, distilled: Distilled) -> Distilled:
        """What the method made, without the images that the rule `fewer` leaves out, and with a record of it."""
        if not self.counts:
            return distilled
        data, labels = distilled.data, distilled.labels
        if self.rule == "fewer":
            limits = [self.counts.get(name, self.ipc) for name in data.classes]
            rows = torch.cat([_different(data, target)[:limit] for target, limit in enumerate(limits)])
            data, labels = data.rows(rows), labels.of_rows(rows)
        record = {"rule": self.rule, "training_images": self.counts}
        return distilled._replace(data=data, labels=labels, figures={**distilled.figures, "short_classes": record})


def _different(data: ImageSet, target: int) -> torch.Tensor:
    """Rows of a class: ascending, but images that are there already come last."""
    rows, seen = data.of_class(target).tolist(), set()
    order = []
    for row in rows:
        content = data.images[row].cpu().numpy().tobytes()
        order.append((content in seen, row))
        seen.add(content)
    return torch.tensor([row for _, row in sorted(order)], device=data.targets.device)


def largest_ipc(distiller: Distiller, counts: Mapping[str, int], left: Mapping[str, int]) -> int:
    """The most images per class for which no class is short, of classes with so many images and so many left to fit on;
    0 where there are too few for one."""
    fewest = min(left.values())
    return next((ipc for ipc in range(min(counts.values()), 0, -1) if distiller.images_needed(ipc) <= fewest), 0)


def check_classes(source: str, counts: Mapping[str, int], recipe: Recipe, short_class: Rule = "error") -> None:
    """Raise InputError naming the classes without images, and those with fewer than are asked for, and where only
    the recipe's `train_limit` leaves too few."""
    if empty := [name for name, count in counts.items() if not count]:
        raise InputError(f"{source}: no training image of {listed(empty)} can be read; mend them or remove the class")
    if short_class != "error":
        return
    short = {name: count for name, count in counts.items() if count < recipe.ipc}
    left, all_left = (
        left_to_fit(counts, limit, recipe.held_share, recipe.held_limit) for limit in (recipe.train_limit, None)
    )
    needed, fitting = recipe.distiller.images_needed(recipe.ipc), largest_ipc(recipe.distiller, counts, left)
    if short:
        lower = f"lower --ipc to {fitting}, for which they suffice after holding some out, " if fitting else ""
        raise InputError(
            f"{source}: fewer than {recipe.ipc} training images in {shown_counts(short)}; "
            f"{lower}add images, or choose --short-class repeat or fewer"
        )
    if min(left.values()) < needed <= min(all_left.values()):
        raise InputError(
            f"{source}: the recipe's `train_limit` of {recipe.train_limit:,} leaves {min(left.values())} training "
            f"images of a class, and {recipe.ipc} images per class need {needed}; raise it in a --config file"
            + (f", or lower --ipc to {fitting}" if fitting else "")
        )
