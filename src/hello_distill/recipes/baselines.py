"""Methods to compare with, at the settings of their own code for ImageNet, quirks included.

Each differs from our defaults where its authors' code does: see the docstrings of the fields. Their images are kept
as JPEG of quality 75, Pillow's default.
"""

from __future__ import annotations

from hello_distill.artifact import Codec, StudentSpec
from hello_distill.distillers.gvbsm import GVBSM
from hello_distill.distillers.random import RandomImages
from hello_distill.distillers.rded import RDED, Patches
from hello_distill.distillers.recover import Jitter
from hello_distill.distillers.sre2l import SRe2L
from hello_distill.fit import Optim
from hello_distill.pipeline import Recipe
from hello_distill.teachers import TeacherSpec
from hello_distill.views import Augment


def random() -> Recipe:
    """Random real images with their classes."""
    student = StudentSpec(augment=Augment(scale=(0.5, 1.0)), optim=Optim(epochs=300, batch_size=100))
    return Recipe(distiller=RandomImages(), student=student, codec=Codec("jpeg", 90))


def rded() -> Recipe:
    """RDED: half a cosine, one change an epoch, KL at T = 20 without T^2, two forward passes a step."""
    return Recipe(
        distiller=RDED(),
        student=StudentSpec(
            loss="kl",
            beta=0.0,
            double_forward=True,
            augment=Augment(scale=(0.5, 1.0)),
            optim=Optim(epochs=300, batch_size=100, schedule="half-cosine", changes="epoch"),
        ),
        codec=Codec("jpeg", 75),
    )


def sre2l() -> Recipe:
    """SRe2L: one crop for a whole batch while recovering, students in batches of 1,024 with KL at T = 20, no T^2."""
    return Recipe(
        distiller=SRe2L(),
        student=StudentSpec(loss="kl", beta=0.0, optim=Optim(epochs=300, batch_size=1024, changes="epoch")),
        codec=Codec("jpeg", 75),
    )


def gvbsm() -> Recipe:
    """G_VBSM: running statistics from zero, norm-matched labels, MSE + 0.1 CE with the unmixed class."""
    return Recipe(
        distiller=GVBSM(from_zero=True),
        student=StudentSpec(
            loss="mse", beta=0.1, ce_target="base", optim=Optim(epochs=300, batch_size=1024, changes="epoch")
        ),
        codec=Codec("jpeg", 75),
    )


def small_teachers() -> TeacherSpec:
    """A 3-layer ConvNet of width 128 on 32 pixels: ten epochs where the papers have hundreds, three weak teachers."""
    return TeacherSpec(
        network="convnet3",
        weak_epochs=(4, 7, 10),
        augment=Augment(scale=(0.5, 1.0), mix="none"),
        optim=Optim(epochs=10, batch_size=64, lr=4e-3, weight_decay=0.05, warmup=0.1),
    )


def rded_small() -> Recipe:
    """RDED for CIFAR-10 with a 3-layer ConvNet: whole crops, no crop augmentation, batches of 50 at IPC 10."""
    return Recipe(
        max_side=32,
        teachers=small_teachers(),
        distiller=RDED(Patches(factor=1)),
        student=StudentSpec(
            network="convnet3",
            loss="kl",
            beta=0.0,
            double_forward=True,
            augment=Augment(scale=(1.0, 1.0)),
            optim=Optim(epochs=300, batch_size=50, schedule="half-cosine", changes="epoch"),
        ),
        codec=Codec("jpeg", 75),
    )


def sre2l_small() -> Recipe:
    """SRe2L for CIFAR: 1,000 steps, shifts up to 4 pixels, Mixup, KL at T = 30, decay on everything."""
    return Recipe(
        max_side=32,
        teachers=small_teachers(),
        distiller=SRe2L(steps=1000, jitter=Jitter(scale=None, shift=4)),
        student=StudentSpec(
            network="convnet3",
            loss="kl",
            temperature=30.0,
            beta=0.0,
            augment=Augment(scale=(1.0, 1.0), mix="mixup", alpha=0.8),
            optim=Optim(epochs=400, batch_size=128, decayed="all"),
        ),
        codec=Codec("jpeg", 75),
    )
