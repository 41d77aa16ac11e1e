"""One epoch of batches, of teachers, projectors and students: this process's part of each view, rendered, labelled."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

from hello_distill.data.images import ImageSet
from hello_distill.format.sizes import num_batches
from hello_distill.format.specs import Augment
from hello_distill.system import distributed
from hello_distill.types import Batch, Classifier, Rows, View
from hello_distill.views import mixed_targets, render, sample_views


def own_batches(
    views: Iterable[View], batch: Callable[[View, slice], Batch], first: int = 0
) -> Iterator[tuple[Rows, Batch]]:
    """This process's part of each view's batch, from view `first` on, with the rows of the whole batch's images in
    their set."""
    for view in islice(views, first, None):
        yield view.rows, batch(view, distributed.part(len(view.rows)))


@dataclass(frozen=True)
class EpochBatches:
    """Augmented batches of labelled images: called with an epoch's number, of which they are a pure function."""

    data: ImageSet
    augment: Augment
    batch_size: int
    seed: int
    teacher: Classifier | None = None
    """Labels the augmented images; None takes their classes, mixed as the images are."""
    most: int | None = None
    """Of each epoch at most so many batches, the first; None: all."""

    @property
    def per_epoch(self) -> int:
        """Batches of an epoch."""
        batches = num_batches(len(self.data), self.batch_size)
        return batches if self.most is None else min(batches, self.most)

    def __call__(self, epoch: int, first: int = 0) -> Iterator[tuple[Rows, Batch]]:
        """This process's part of each batch of an epoch (from 0), from batch `first` on, and the whole batch's rows."""
        views = sample_views(len(self.data), self.data.side, self.batch_size, self.augment, self.seed, epoch)
        return own_batches(islice(views, self.per_epoch), self._batch, first)

    def _batch(self, view: View, part: slice) -> Batch:
        images = render(self.data.images, view, part)
        hard = mixed_targets(self.data.targets, view, len(self.data.classes))[part]
        return Batch(images, hard if self.teacher is None else self.teacher(images), hard)
