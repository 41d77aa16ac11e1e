"""Losses of Eq. 5 and of Algorithm 1, line 14, and the KL divergence of the other methods."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeAlias

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from hello_distill.types import Logits, Scalar

Loss: TypeAlias = Callable[[Logits, Logits, Float[Tensor, "b c"]], Scalar]
Form: TypeAlias = Literal["mse", "kl"]
Match: TypeAlias = Literal["logits", "probabilities"]


def matching_loss(weight: float) -> Loss:
    """MSE(prediction, soft) + weight * CE(prediction, hard): Eq. 5 (weight lambda), Alg. 1 l. 14 (beta).

    MSE is the mean over batch and classes of squared differences of logits, CE the mean over the batch.
    That both act on logits is our reading; G_VBSM's loss has the same form. Classes that a label leaves out
    (-inf, top-k labels) are left out of the MSE.
    """

    def loss(prediction: Logits, soft: Logits, hard: Float[Tensor, "b c"]) -> Scalar:
        named = soft != -torch.inf
        match = F.mse_loss(prediction, soft) if named.all() else F.mse_loss(prediction[named], soft[named])
        return match + weight * F.cross_entropy(prediction, hard)

    return loss


def probability_loss(weight: float) -> Loss:
    """MSE(softmax(prediction), softmax(soft)) + weight * CE(prediction, hard): Eq. 5 read as one of probabilities.

    MSE is the mean over the batch of the sum over classes: a mean over classes, too, would be too small to count.
    """

    def loss(prediction: Logits, soft: Logits, hard: Float[Tensor, "b c"]) -> Scalar:
        match = (F.softmax(prediction, dim=1) - F.softmax(soft, dim=1)).square().sum(1).mean()
        return match + weight * F.cross_entropy(prediction, hard)

    return loss


def divergence_loss(temperature: float, squared: bool, weight: float) -> Loss:
    """KL(softmax(soft / T) || softmax(prediction / T)), summed over classes, mean over the batch, + weight * CE.

    `squared` multiplies the KL by T^2. SRe2L, RDED and LPLD do not on ImageNet (T = 20): harmless under Adam,
    which does not see the scale of a gradient, and no learning at all under SGD.
    """
    factor = temperature**2 if squared else 1.0

    def loss(prediction: Logits, soft: Logits, hard: Float[Tensor, "b c"]) -> Scalar:
        log_probabilities = F.log_softmax(prediction / temperature, dim=1)
        value = factor * F.kl_div(log_probabilities, F.softmax(soft / temperature, dim=1), reduction="batchmean")
        return value + weight * F.cross_entropy(prediction, hard) if weight else value

    return loss


def hard_loss(prediction: Logits, soft: Logits, hard: Float[Tensor, "b c"]) -> Scalar:
    """CE(prediction, hard), what a student trains with where there is nothing but classes."""
    return F.cross_entropy(prediction, hard)
