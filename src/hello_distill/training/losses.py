"""Losses of Eq. 5 and of Algorithm 1, line 14, the KL divergence of other methods, and two cures for its ills."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeAlias

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from hello_distill.types import Logits, Scalar

Loss: TypeAlias = Callable[[Logits, Logits, Float[Tensor, "b c"]], Scalar]
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


def standardised_loss(temperature: float, squared: bool, weight: float) -> Loss:
    """`divergence_loss` of logits that are z-scored on both sides: minus their mean over the classes, divided by their
    standard deviation (Sun et al., "Logit Standardization in Knowledge Distillation", CVPR 2024, algorithm 1).

    Students follow the order and the relations of a labeller's logits, at a scale of their own. Of a label that leaves
    classes out (-inf) the kept ones are standardised, and the others have no probability.
    """
    divergence = divergence_loss(temperature, squared, 0.0)

    def loss(prediction: Logits, soft: Logits, hard: Float[Tensor, "b c"]) -> Scalar:
        value = divergence(standardised(prediction), standardised(soft), hard)
        return value + weight * F.cross_entropy(prediction, hard) if weight else value

    return loss


def standardised(logits: Logits) -> Logits:
    """Logits (b c) of mean 0 and variance 1 over the classes that are named; -inf stays."""
    named = logits != -torch.inf
    count = named.sum(1, keepdim=True)
    centred = logits - logits.masked_fill(~named, 0).sum(1, keepdim=True) / count
    variance = centred.masked_fill(~named, 0).square().sum(1, keepdim=True) / count
    return centred / variance.sqrt().clamp_min(1e-7)


def relation_loss(temperature: float, squared: bool, weight: float) -> Loss:
    """DIST (Huang et al., "Knowledge Distillation from a Stronger Teacher", NeurIPS 2022, Eq. 5-10): one minus
    Pearson's correlation of probabilities, of each image over the classes and of each class over the images, + weight
    * CE.

    Both relations weigh the same, as in its code for ImageNet. `squared` multiplies them by T^2.
    """
    factor = temperature**2 if squared else 1.0

    def loss(prediction: Logits, soft: Logits, hard: Float[Tensor, "b c"]) -> Scalar:
        ours, theirs = (F.softmax(logits / temperature, dim=1) for logits in (prediction, soft))
        between, within = correlation(ours, theirs), correlation(ours.T, theirs.T)
        value = factor * ((1 - between).mean() + (1 - within).mean())
        return value + weight * F.cross_entropy(prediction, hard) if weight else value

    return loss


def correlation(a: Float[Tensor, "n m"], b: Float[Tensor, "n m"]) -> Float[Tensor, "n"]:
    """Pearson's correlation of each row; 0 where a row is constant."""
    a, b = (rows - rows.mean(1, keepdim=True) for rows in (a, b))
    return F.cosine_similarity(a, b, dim=1, eps=1e-8)


def hard_loss(prediction: Logits, soft: Logits, hard: Float[Tensor, "b c"]) -> Scalar:
    """CE(prediction, hard), what teachers train with."""
    return F.cross_entropy(prediction, hard)


def soft_loss(prediction: Logits, soft: Logits, hard: Float[Tensor, "b c"]) -> Scalar:
    """CE(prediction, soft), what a student trains with where labels are probabilities, such as mixed classes."""
    return F.cross_entropy(prediction, soft)
