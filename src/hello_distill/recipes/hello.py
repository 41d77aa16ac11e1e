"""HeLlO's settings: the paper's, and two that a two-core machine can carry."""

from __future__ import annotations

from hello_distill.artifact import Codec, StudentSpec
from hello_distill.distillers.hello import HeLlO
from hello_distill.distillers.lic import LIC
from hello_distill.distillers.rded import Patches
from hello_distill.fit import Optim
from hello_distill.pipeline import Recipe
from hello_distill.projector import ProjectorSpec
from hello_distill.teachers import TeacherSpec
from hello_distill.views import Augment


def paper() -> Recipe:
    """The settings of section 4.1.2 of the paper, for a GPU: 224 pixels, ResNet-18, CLIP RN50.

        hello-distill distill DATA --ipc 10 --out OUT

    Stated by the paper: encoder, ranks, nine checkpoints of one ResNet-18 run by PyTorch's recipe, RDED patches.
    Ours, because the paper does not say: the weights lambda and beta, which epochs, Eq. 7's factor, steps and rate,
    the learning rates. RDED's: student schedule, 300 epochs, AdamW 1e-3, CutMix, crops from half the area up.
    """
    return Recipe(
        student=StudentSpec(augment=Augment(scale=(0.5, 1.0)), optim=Optim(epochs=300, batch_size=100)),
        codec=Codec("jpeg", 90),
    )


def cpu() -> Recipe:
    """Photographs on two cores without a GPU: at most 96 pixels, small networks, few epochs."""
    views = Augment(scale=(0.25, 1.0))
    return Recipe(
        max_side=96,
        train_limit=10_000,
        teachers=TeacherSpec(
            network="resnet18",
            weak_epochs=(4, 5, 6),
            augment=Augment(scale=(0.25, 1.0), mix="none"),
            optim=Optim(epochs=6, batch_size=64, lr=2e-3, weight_decay=0.05, warmup=0.1),
        ),
        distiller=HeLlO(
            patches=Patches(factor=2, pool=100),
            projector=ProjectorSpec(
                encoder="lite", augment=views, optim=Optim(epochs=2, batch_size=64, lr=2e-3, warmup=0.05)
            ),
            update=LIC(steps=20),
        ),
        student=StudentSpec(network="resnet18", augment=views, optim=Optim(epochs=300, batch_size=50)),
        codec=Codec("jpeg", 90),
    )


def demo() -> Recipe:
    """Fashion-MNIST in a few minutes on two cores."""
    views = Augment(scale=(0.5, 1.0))
    return Recipe(
        max_side=28,
        train_limit=20_000,
        held_limit=2_000,
        teachers=TeacherSpec(
            network="convnet3_w64",
            weak_epochs=(2, 3, 4),
            augment=Augment(scale=(0.5, 1.0), mix="none"),
            optim=Optim(epochs=4, batch_size=128, lr=4e-3, warmup=0.2),
        ),
        distiller=HeLlO(
            patches=Patches(factor=1, crops=5, pool=300, scale=(0.5, 1.0)),
            projector=ProjectorSpec(
                encoder="lite",
                size=32,
                augment=views,
                optim=Optim(epochs=3, batch_size=128, lr=4e-3, warmup=0.1),
            ),
            update=LIC(steps=20),
        ),
        student=StudentSpec(
            network="convnet3_w64", augment=views, optim=Optim(epochs=300, batch_size=50), evaluations=3
        ),
        codec=Codec("png"),
    )
