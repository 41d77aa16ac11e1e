"""Images with the source of their labels, and how students are trained on them: Algorithm 1, lines 12-15."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from hello_distill.data.images import ImageSet
from hello_distill.format.specs import StudentSpec
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

    def batch(self, view: View, part: slice = EVERY) -> Batch:
        """The rendered images of a view, or of these rows of it, with their labels."""
        images = render(self.data.images, view, part)
        aim = view if self.student.ce_target == "mixed" else view._replace(share=1.0)
        hard = mixed_targets(self.data.targets, aim, len(self.classes))[part]
        if part == EVERY or self.labels.by_image:
            return Batch(images, self.labels(images, view), hard)
        return Batch(images, self.labels(render(self.data.images, view), view)[part], hard)

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
        self.batches = sum(1 for _ in self._views())
        """Of each epoch."""

    def __iter__(self) -> Iterator[Batch]:
        views = self._views()
        self.epoch += 1
        return map(self.training.batch, views)

    def __len__(self) -> int:
        return self.batches

    def _views(self) -> Iterable[View]:
        return self.training.views(self.batch_size, self.epoch, self.seed)
