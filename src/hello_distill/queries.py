"""Query fitting: LoRA goes on being fitted on the very views that students will ask labels for, A(X_s). Ours.

A labeller is only ever asked for augmented views of the distilled images. So after Eq. 5 on the original data it is
fitted to a teacher's labels of such views, in rounds, for as long as a round pays. That compresses the labels of these
images; its labels for others may become worse. Faithfulness is measured on views that no fit and no student sees.
"""

from __future__ import annotations

import itertools
from typing import Any, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor

from hello_distill.data.images import ImageSet
from hello_distill.format.specs import Augment, Queries
from hello_distill.projector import Adapter, Projector, fitted_adapter, restore, to_fit
from hello_distill.system import distributed
from hello_distill.training.epoch import EpochBatches
from hello_distill.training.fit import fit
from hello_distill.training.losses import matching_loss
from hello_distill.training.rounds import in_rounds
from hello_distill.training.scores import Faithfulness, faithfulness
from hello_distill.types import Classifier

ROUND, UNSEEN = 2**41, 2**52
"""What is added to a seed for the views of each round, and once for those that rounds are judged on and whose spread is
measured, twice for those of the faithfulness that is stated, three times for those that a stored form is chosen by.
Students' seeds are smaller than any."""
VIEWS = 500
"""So many views, and less than a batch more, are measured on: agreement is then known to about two points."""
SPREAD_EPOCHS = 20
"""A standard deviation of so many draws is known to about a sixth."""
Views: TypeAlias = list[tuple[Float[Tensor, "_ 3 _ _"], Float[Tensor, "_ _"]]]
"""Batches of views with a teacher's labels."""


@torch.no_grad()
def labelled_views(images: ImageSet, augment: Augment, teacher: Classifier, batch_size: int, seed: int) -> Views:
    """Views of images, drawn by the seed, from as many epochs as it takes. Of several processes each has its part."""
    epochs, views = EpochBatches(images, augment, batch_size, seed, teacher), Views()
    for batch in (batch for epoch in itertools.count() for _, batch in epochs(epoch)):
        views.append((batch.images, batch.soft))
        if sum(len(soft) for _, soft in views) >= VIEWS:
            break
    return views


@torch.no_grad()
def on_views(labeller: Classifier, views: Views) -> Faithfulness:
    """Of a labeller to the teacher of the views. Of several processes the first measures."""
    wanted, given = (torch.cat(logits) for logits in zip(*((soft, labeller(x)) for x, soft in views), strict=True))
    return Faithfulness(*map(distributed.followed, faithfulness(wanted, given)))


@torch.no_grad()
def spread(labeller: Classifier, images: ImageSet, augment: Augment, batch_size: int, seed: int) -> float:
    """Standard deviation, over epochs of views, of the mean probability that a labeller gives each class: T. stddev.

    The mean over the classes. Of one teacher's augmentations those with a smaller one made better students (arXiv
    2012.02909, figure 1); whether it orders labellers, too, trials record. It asks no student.
    """
    epochs = EpochBatches(images, augment, batch_size, UNSEEN + seed, labeller)
    drawn = [torch.cat([batch.soft for _, batch in epochs(epoch)]) for epoch in range(SPREAD_EPOCHS)]
    return torch.stack([logits.softmax(1).mean(0) for logits in drawn]).std(0).mean().item()


def fit_queries(
    start: Projector,
    adapter: Adapter,
    images: ImageSet,
    teacher: Classifier,
    queries: Queries,
    augment: Augment,
    seed: int,
) -> tuple[Adapter, dict[str, Any]]:
    """The adapter (float32) after rounds of fitting on A(images), and what was measured: error by round, steps.

    MSE(f(x), teacher(x)) + lambda CE(f(x), y), as in Eq. 5. The best round counts; the adapter itself, where none is
    better. The teacher labels each view once, those that rounds are judged by before the first.
    """
    unseen = labelled_views(images, augment, teacher, queries.batch_size, UNSEEN + seed)

    def measured(candidate: Adapter) -> Faithfulness:
        return on_views(restore(start, candidate), unseen)

    steps = 0

    def fitted(number: int, best: Adapter) -> Adapter:
        nonlocal steps
        model = to_fit(start, best)
        optim, batches = queries.optim(len(images))
        views = EpochBatches(images, augment, optim.batch_size, number * ROUND + seed, teacher, batches)
        fit(model, views, batches, matching_loss(queries.weight), optim, seed, what=f"queries, round {number}")
        steps += optim.epochs * batches
        return fitted_adapter(model, best)

    best, errors = in_rounds(adapter, fitted, measured, queries.rounds, queries.gain, "queries")
    return best, {"errors": errors, "steps": steps}
