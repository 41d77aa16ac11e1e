"""Images with the source of their labels, and how students are trained on them: Algorithm 1, lines 12-15."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from jaxtyping import Float
from torch import Tensor

from hello_distill.data.images import ImageSet
from hello_distill.format.specs import StudentSpec
from hello_distill.system import distributed
from hello_distill.system.distributed import EVERY
from hello_distill.system.errors import InputError
from hello_distill.training.losses import (
    Loss,
    divergence_loss,
    matching_loss,
    relation_loss,
    soft_loss,
    standardised_loss,
)
from hello_distill.training.together import batches_at_once, in_one_go
from hello_distill.types import Batch, LabelSource, View
from hello_distill.views import mixed_targets, render, sample_views


@dataclass(frozen=True)
class TrainingSet:
    """Images with the source of their labels, and how students are trained on them."""

    data: ImageSet
    labels: LabelSource
    student: StudentSpec
    """How students are trained, not a network."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the targets."""
        return self.data.classes

    def loader(self, batch_size: int | None = None, epoch: int = 0, seed: int = 0) -> Loader:
        """Augmented images with their labels: `for images, soft, hard in artifact.loader(...)`.

        images (b 3 h w) in [0, 1]; soft (b c) in `labels.unit`; hard (b c) one-hot, mixed as the images are.
        Which augmentation, and the batch size unless given, is what `student` says; batches are of equal sizes, give
        or take an image, none above it (200 images at 64 are four of 50). Iterated again, it gives the next
        epoch. Raises InputError for a batch size below 1, and where stored labels have other batches.
        """
        return Loader(self, batch_size, epoch, seed)

    def views(self, batch_size: int | None = None, epoch: int = 0, seed: int = 0) -> Iterable[View]:
        """The views of an epoch: sampled, or the stored ones where labels were stored with their views."""
        batch_size = self.student.optim.batch_size if batch_size is None else batch_size
        if batch_size < 1:
            raise InputError(f"batch_size is {batch_size}; a batch holds at least one image")
        sampled = sample_views(len(self.data), self.data.side, batch_size, self.student.augment, seed, epoch)
        return self.labels.views(epoch, sampled)

    def batches(
        self, batch_size: int | None = None, epoch: int = 0, seed: int = 0, first: int = 0
    ) -> Iterator[tuple[View, Batch]]:
        """This process's part of each batch of an epoch, from batch `first` on, with the whole batch's view.

        Raises InputError as `loader`.
        """
        views = self.views(batch_size, epoch, seed)
        at_once = batches_at_once(self.labels, self.student.optim.batch_size if batch_size is None else batch_size)
        return self._in_groups(islice(views, first - first % at_once, None), at_once, first % at_once)

    def _in_groups(self, views: Iterator[View], at_once: int, skipped: int) -> Iterator[tuple[View, Batch]]:
        """The batches of views that are labelled so many at once, without the first few."""
        while group := list(islice(views, at_once)):
            yield from zip(group[skipped:], self._labelled(group)[skipped:], strict=True)
            skipped = 0

    def batch(self, view: View, part: slice = EVERY) -> Batch:
        """The rendered images of a view, or of these rows of it, with their labels."""
        images, hard = render(self.data.images, view, part), self._one_hot(view)[part]
        if part == EVERY or self.labels.by_image:
            return Batch(images, self.labels(images, view), hard)
        return Batch(images, self.labels(render(self.data.images, view), view)[part], hard)

    def _labelled(self, views: Sequence[View]) -> list[Batch]:
        """This process's part of each of some views, labelled in one go where there are several."""
        parts = [distributed.part(len(view.rows)) for view in views]
        if len(views) == 1:
            return [self.batch(views[0], parts[0])]
        images = [render(self.data.images, view, part) for view, part in zip(views, parts, strict=True)]
        hard = [self._one_hot(view)[part] for view, part in zip(views, parts, strict=True)]
        return list(map(Batch, images, in_one_go(self.labels, images, views), hard))

    def _one_hot(self, view: View) -> Float[Tensor, "b c"]:
        """Classes of a view's images, mixed as students are asked for them."""
        aim = view if self.student.ce_target == "mixed" else view._replace(share=1.0)
        return mixed_targets(self.data.targets, aim, len(self.classes))

    def student_loss(self) -> Loss:
        """The loss that fits the artefact's labels: logits are matched, probabilities are a CE target."""
        spec = self.student
        if self.labels.unit == "probabilities":
            return soft_loss
        if spec.loss == "mse":
            return matching_loss(spec.beta)
        losses = {"kl": divergence_loss, "standardised": standardised_loss, "dist": relation_loss}
        return losses[spec.loss](spec.temperature, spec.squared, spec.beta)


class Loader:
    """A whole epoch of a training set's batches each time that it is iterated, of new views each time."""

    def __init__(self, training: TrainingSet, batch_size: int | None, epoch: int, seed: int) -> None:
        self.training = training
        self.batch_size = batch_size
        self.epoch = epoch
        """The epoch that comes next."""
        self.seed = seed
        self.batches = sum(1 for _ in training.views(batch_size, epoch, seed))
        """Of each epoch."""

    def __iter__(self) -> Iterator[Batch]:
        batches = self.training.batches(self.batch_size, self.epoch, self.seed)
        self.epoch += 1
        return (batch for _, batch in batches)

    def __len__(self) -> int:
        return self.batches
