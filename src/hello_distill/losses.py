"""Losses of Eq. 5 and of Algorithm 1, line 14."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeAlias

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from hello_distill.types import Logits, Scalar

Loss: TypeAlias = Callable[[Logits, Logits, Float[Tensor, "b c"]], Scalar]


def matching_loss(weight: float) -> Loss:
    """MSE(prediction, soft) + weight * CE(prediction, hard): Eq. 5 (weight lambda), Alg. 1 l. 14 (beta).

    MSE is the mean over batch and classes of squared differences of logits, CE the mean over the batch.
    That both act on logits is our reading; G_VBSM's loss has the same form.
    """

    def loss(prediction: Logits, soft: Logits, hard: Float[Tensor, "b c"]) -> Scalar:
        return F.mse_loss(prediction, soft) + weight * F.cross_entropy(prediction, hard)

    return loss


def hard_loss(prediction: Logits, soft: Logits, hard: Float[Tensor, "b c"]) -> Scalar:
    """CE(prediction, hard), what a student trains with where there is nothing but classes."""
    return F.cross_entropy(prediction, hard)


def student_loss(unit: Literal["logits", "probabilities"], beta: float) -> Loss:
    """The loss that fits labels of a unit: logits are matched, probabilities are a CE target."""
    return matching_loss(beta) if unit == "logits" else hard_loss
