"""Tables 2, 3 and 4 of the paper at a scale that two cores can carry."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from hello_distill.distillers.probe import Probe
from hello_distill.distillers.rded import RDED
from hello_distill.distillers.recipe import Recipe
from hello_distill.experiments.grid import Contender
from hello_distill.experiments.study import Study
from hello_distill.format.results.grids import THE_RECIPE
from hello_distill.recipes.studies.base import (
    AT_TEN,
    TEN,
    TWENTY,
    hello_of,
    many,
    projecting,
    small,
    study_of,
)

RATES: dict[str, dict[str, Any]] = {
    "resnet18": {"lr": 1e-3},
    "shufflenet_v2_x1_0": {"lr": 1e-3},
    "mobilenet_v2": {"lr": 2.5e-3},
    "efficientnet_b0": {"lr": 2e-3},
    "timm/swinv2_tiny_window8_256": {"lr": 1e-4},
    "vgg11_modified": {"lr": 5e-4},
}
"""The paper's students, with the learning rates of RDED's code. It has none for ShuffleNet-V2: ours is ResNet-18's.

Two are changed for small images. Swin-V2-Tiny is timm's, whose windows shrink with the image: torchvision's fills each
of them up to 8 x 8 tokens, which at 32 pixels takes ten times as long. VGG-11 has one linear layer in the place of
three dense ones, which are 120 of its 129 million numbers.
"""


def architectures(recipe: Recipe, training: Mapping[int, tuple[int, int]]) -> Study:
    """Table 2: does what is distilled for one network teach others?

    HeLlO beside RDED, the paper's six students at 32 pixels, each at the rate of RDED's code; loss, temperature and
    beta are those that did best for each method with a ConvNet in results/cifar10.json. Tested once, since testing a
    transformer takes as long as training it here.
    """
    method = hello_of(recipe)
    recipe = replace(recipe, student=replace(recipe.student, evaluations=1))
    contenders = {"hello": Contender(method), "rded": Contender(RDED(method.patches))}
    rded = {"loss": "mse", "beta": 1.0}
    question = "Students of other architectures, on HeLlO's images and labels and on RDED's"
    return study_of(question, "Table 2", recipe, contenders, training, {"rded": rded}, RATES)


def ablation(recipe: Recipe, training: Mapping[int, tuple[int, int]]) -> Study:
    """Table 3: what each step adds, and what it keeps. Rows are cumulative, the last is ours: HeLlO with query fitting.

    All rows have RDED's patches; the last two move them. The first three have a whole linear head from zero (`probe`),
    so that text initialisation changes three things at once, as it must: where the head starts, its rank, and the
    factor from cosine to logit, which is 20 for a head that can grow and matched to the teachers' for one that starts
    as text. All rows are fitted at one learning rate and their students trained by one setting, those that suit the
    row of all of the paper's steps. With few classes a head of low rank saves next to nothing.
    """
    method = hello_of(recipe)
    papers = projecting(method, queries=None)
    probe = Probe(papers.patches, papers.projector)
    contenders = {
        "linear probe": Contender(replace(probe, taught=False, lora=False)),
        "+ weak teachers": Contender(replace(probe, lora=False)),
        "+ LoRA": Contender(probe),
        "+ text initialisation": Contender(replace(papers, update=None)),
        "+ image update": Contender(papers),
        "+ query fitting": Contender(method),
    }
    question = "What each step of HeLlO adds, and the numbers that it keeps"
    return study_of(question, "Table 3", recipe, contenders, training)


def ranks(recipe: Recipe, training: Mapping[int, tuple[int, int]], heads: tuple[int, ...]) -> Study:
    """Table 4, left: ranks of the encoder at the recipe's head rank, and of the head at the recipe's encoder rank."""
    method = hello_of(recipe)
    contenders = {"encoder 8, head by rule": Contender(method)}
    for rank in (1, 2, 4, 16):
        contenders[f"encoder {rank}, head by rule"] = Contender(projecting(method, encoder_rank=rank))
    for rank in heads:
        contenders[f"encoder 8, head {rank}"] = Contender(projecting(method, head_rank=rank))
    return study_of("Ranks of LoRA on encoder and head", "Table 4, left", recipe, contenders, training)


def teacher_stages(
    recipe: Recipe, training: Mapping[int, tuple[int, int]], chosen: Mapping[str, tuple[int, ...]]
) -> Study:
    """Table 4, right: weak teachers from early, middle and late epochs of one run, by images per class.

    The images are those that the fully trained observer finds easy, in every row.
    """
    method = hello_of(recipe)
    contenders = {
        name: Contender(method, replace(recipe.teachers, weak_epochs=epochs)) for name, epochs in chosen.items()
    }
    question = "Do weak teachers from earlier epochs suit fewer images per class?"
    return study_of(question, "Table 4, right", recipe, contenders, training)


def architectures_small() -> Study:
    """Table 2 on CIFAR-10, IPC 10, in 500 steps.

    hello-distill study DATA --recipe architectures --out results/architectures_cifar10.json
    """
    return architectures(small(), {10: (100, 20)})


def ablation_small() -> Study:
    """Table 3 on CIFAR-10, IPC 10.

    hello-distill study DATA --recipe ablation --out results/queries_cifar10.json
    """
    return ablation(small(), AT_TEN)


def ranks_small() -> Study:
    """Table 4, left, on CIFAR-10, IPC 10. With ten classes the rule gives the head 9, and 10 is a whole one.

    hello-distill study DATA --recipe ranks --out results/ranks_cifar10.json
    """
    return ranks(small(), AT_TEN, heads=(1, 3, 6))


def stages_small() -> Study:
    """Table 4, right, on CIFAR-10, IPC 1, 10, 50, of teachers trained for twenty epochs.

    hello-distill study DATA --recipe stages --out results/stages_cifar10.json
    """
    chosen = {THE_RECIPE: (8, 14, 20), "early": (2, 4, 6), "middle": (9, 11, 13), "late": (16, 18, 20)}
    return teacher_stages(small(), TEN, chosen)


def architectures_many() -> Study:
    """Table 2 on twenty classes of Tiny-ImageNet, IPC 10, in 500 steps. The offline encoder knows their labels.

        hello-distill study DATA:classes=tiny20 --recipe architectures-many --out results/architectures_tiny20.json

    `tiny20` is every tenth of the 200 classes: ours.
    """
    return architectures(many(), {10: (50, 20)})


def ablation_many() -> Study:
    """Table 3 on twenty classes of Tiny-ImageNet, IPC 10. The offline encoder knows their labels.

    hello-distill study DATA:classes=tiny20 --recipe ablation-many --out results/ablation_tiny20.json
    """
    return ablation(many(), TWENTY)
