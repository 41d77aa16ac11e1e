"""Comparisons that two cores can carry."""

from __future__ import annotations

from hello_distill.artifact import Codec, StudentSpec
from hello_distill.comparison import Comparison, Contender
from hello_distill.distillers.gvbsm import GVBSM
from hello_distill.distillers.hello import HeLlO
from hello_distill.distillers.lic import LIC
from hello_distill.distillers.random import RandomImages
from hello_distill.distillers.rded import RDED, Patches
from hello_distill.distillers.recover import Jitter
from hello_distill.distillers.sre2l import SRe2L
from hello_distill.fit import Optim
from hello_distill.pipeline import Recipe
from hello_distill.projector import ProjectorSpec
from hello_distill.recipes.baselines import small_teachers
from hello_distill.relabel import Relabel
from hello_distill.teachers import TeacherSpec
from hello_distill.views import Augment

HARD_TRIALS = ({"lr": 1e-3}, {"lr": 5e-4}, {"lr": 2e-3}, {"lr": 4e-3})
SOFT_TRIALS = (
    {"lr": 1e-3, "loss": "mse", "beta": 0.1},
    {"lr": 4e-3, "loss": "mse", "beta": 0.1},
    {"lr": 1e-3, "loss": "kl", "beta": 0.0},
    {"lr": 4e-3, "loss": "kl", "beta": 0.0},
)


def small() -> Comparison:
    """Ten classes of 32 pixels (CIFAR-10), a 3-layer ConvNet of width 128 as teacher and student.

        hello-distill compare DATA --recipe small --ipc 1 10 50 --out results/cifar10.json

    Given up against the papers: the teachers (10 epochs, three weak ones of nine), the projector's training (two
    epochs), the recovery (1,000 steps of 4,000), and the students' epochs at IPC 50 (60 of 300, for every method).
    RDED's settings for CIFAR: whole crops (factor 1), 5 of each of 300 images. `rded-encoder` is HeLlO's equal in
    information: its encoder, all of it trained, as RDED's teacher.
    """
    patches = Patches(factor=1)
    projector = ProjectorSpec(
        encoder="lite",
        size=64,
        skip=r"conv_stem|blocks\.[01]\.",
        augment=Augment(scale=(1.0, 1.0), alpha=0.2),
        optim=Optim(epochs=2, batch_size=32, lr=1e-2, warmup=0.1),
    )
    views = Augment(scale=(1.0, 1.0))
    base = Recipe(
        max_side=32,
        held_limit=2_000,
        teachers=small_teachers(),
        student=StudentSpec(network="convnet3", augment=views, optim=Optim(epochs=300, batch_size=20), evaluations=2),
        codec=Codec("png"),
    )
    encoder_teacher = TeacherSpec(
        network="encoder/lite@64",
        weak_epochs=(2,),
        augment=Augment(scale=(1.0, 1.0), alpha=0.2),
        optim=Optim(epochs=2, batch_size=32, lr=1e-3, warmup=0.1),
    )
    return Comparison(
        base=base,
        contenders={
            "random": Contender(RandomImages()),
            "rded": Contender(RDED(patches)),
            "rded-encoder": Contender(RDED(patches), encoder_teacher),
            "sre2l": Contender(SRe2L(steps=1000, jitter=Jitter(scale=None, shift=4))),
            "gvbsm": Contender(
                GVBSM(
                    networks=("convnet3", "convnet4_w64", "shufflenet_v2_x0_5"),
                    steps=1000,
                    lr=0.05,
                    patch=4,
                    momentum=0.8,
                    skipped=0.4,
                    batch_size=100,
                    combine="mean",
                    jitter=Jitter(scale=None, shift=4),
                )
            ),
            "hello": Contender(HeLlO(patches, projector, LIC(steps=10, lr=0.001))),
        },
        projector=projector,
        training={1: (300, 10), 10: (300, 20), 50: (60, 50)},
        labels={
            "pruned": Relabel("pruned", keep=0.1),
            "quantized": Relabel("quantized", keep=0.1, codec="topk", k=5),
            "projector-int8": Relabel("projector", precision="int8"),
        },
        trials={"hard": HARD_TRIALS, "soft": SOFT_TRIALS},
    )
