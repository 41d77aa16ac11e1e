"""The paper's experiments at a scale that two cores can carry: Tables 2, 3, 4, and the choices that it leaves open."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from hello_distill.distillers.base import Distiller
from hello_distill.distillers.hello import HeLlO
from hello_distill.distillers.probe import Probe
from hello_distill.distillers.rded import RDED
from hello_distill.distillers.recipe import Recipe
from hello_distill.experiments.grid import Comparison, Contender
from hello_distill.experiments.study import Study
from hello_distill.format.results.grids import THE_RECIPE
from hello_distill.recipes import comparisons, photographs
from hello_distill.recipes.baselines import gvbsm_small
from hello_distill.recipes.hello import hello_small

NETWORK = "convnet3_w64"
"""Teachers and students: a third of the time of the ConvNet of width 128 that `compare` has."""
STUDENT: dict[str, Any] = {"lr": 1e-3, "loss": "kl", "temperature": 4.0, "beta": 0.0}
"""What did best for HeLlO's projector on held-out training images in results/cifar10.json, there for a ConvNet twice
as wide."""
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


def small() -> Recipe:
    """What studies of ten classes of 32 pixels (CIFAR-10) share: `hello-small` on 10,000 of the training images.

    Fewer images and narrower networks than `compare` has, so that a projector costs two minutes of a core and not
    fifteen: teachers and projectors, and all that learns from them, are weaker than there. Teachers see each image
    twice as often.
    """
    recipe = hello_small()
    optim = replace(recipe.teachers.optim, epochs=20)
    teachers = replace(recipe.teachers, network=NETWORK, weak_epochs=(8, 14, 20), optim=optim)
    return replace(recipe, train_limit=10_000, teachers=teachers, student=replace(recipe.student, network=NETWORK))


def many() -> Recipe:
    """The same on twenty of Tiny-ImageNet's classes at 32 pixels, of each 400 images and 100 held out."""
    recipe = small()
    method = hello_of(recipe)
    projector = replace(method.projector, optim=replace(method.projector.optim, epochs=4))
    return replace(recipe, train_limit=None, held_share=0.2, distiller=replace(method, projector=projector))


def hello_of(recipe: Recipe) -> HeLlO:
    """A recipe's method, which is HeLlO."""
    assert isinstance(recipe.distiller, HeLlO)
    return recipe.distiller


def projecting(method: HeLlO, **changes: Any) -> HeLlO:
    """The method with other settings of its projector."""
    return replace(method, projector=replace(method.projector, **changes))


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
    return _study(question, "Table 2", recipe, contenders, training, {"rded": rded}, RATES)


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
    return _study(question, "Table 3", recipe, contenders, training)


def ranks(recipe: Recipe, training: Mapping[int, tuple[int, int]], heads: tuple[int, ...]) -> Study:
    """Table 4, left: ranks of the encoder at the recipe's head rank, and of the head at the recipe's encoder rank."""
    method = hello_of(recipe)
    contenders = {"encoder 8, head by rule": Contender(method)}
    for rank in (1, 2, 4, 16):
        contenders[f"encoder {rank}, head by rule"] = Contender(projecting(method, encoder_rank=rank))
    for rank in heads:
        contenders[f"encoder 8, head {rank}"] = Contender(projecting(method, head_rank=rank))
    return _study("Ranks of LoRA on encoder and head", "Table 4, left", recipe, contenders, training)


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
    return _study(question, "Table 4, right", recipe, contenders, training)


STUDENTS: dict[str, dict[str, Any]] = {
    "beta 0.1": {"beta": 0.1},
    "beta 1": {"beta": 1.0},
    "MSE, beta 0": {"loss": "mse", "beta": 0.0},
    "MSE, beta 0.1": {"loss": "mse", "beta": 0.1},
    "MSE, beta 1": {"loss": "mse", "beta": 1.0},
    "crops from half the area up": {"augment": {"scale": (0.5, 1.0)}},
    "crops from 8 % of the area up": {"augment": {"scale": (0.08, 1.0)}},
    "Mixup": {"augment": {"mix": "mixup"}},
    "nothing mixed": {"augment": {"mix": "none"}},
}
"""Trainings of the student that `choices` tries."""


def choices(recipe: Recipe, training: Mapping[int, tuple[int, int]]) -> Study:
    """What the paper leaves open, one thing changed at a time against the recipe.

    With so many variants the best is partly lucky: a default of ours changes only where a variant's gain on held-out
    images passes Dunnett's test against the recipe at 5 % (`report.grids.against_first`). The MSE of
    probabilities is small beside CE, so it is tried with less of that, too; 100 is CLIP's own logit scale.

    And what Eq. 6 is worth: its two halves, which are cutting and choosing, left out one by one and together. A pool
    of one image per class grows to as many as are needed, of which none is then chosen.
    """
    method = hello_of(recipe)
    spec, update = method.projector, method.update
    assert update is not None
    mosaics = replace(method, patches=replace(method.patches, factor=2))
    changed: dict[str, HeLlO] = {
        THE_RECIPE: method,
        "features not normalised": projecting(method, normalize=False),
        "probabilities in Eq. 5": projecting(method, match="probabilities"),
        "probabilities in Eq. 5, lambda 0.01": projecting(method, match="probabilities", weight=0.01),
        "logit scale 100": projecting(method, scale=100.0),
        "all convolutions": projecting(method, skip="downsample"),
        "late convolutions alone": projecting(method, skip=r"conv_stem|blocks\.[0-3]\."),
        "lambda 0": projecting(method, weight=0.0),
        "lambda 0.1": projecting(method, weight=0.1),
        "lambda 10": projecting(method, weight=10.0),
        "projector on unmixed images": projecting(method, augment=replace(spec.augment, mix="none")),
        "projector on evenly mixed images": projecting(method, augment=replace(spec.augment, alpha=1.0)),
        "easy whole images": replace(method, patches=replace(method.patches, crops=1, scale=(1.0, 1.0))),
        "any crops": replace(method, patches=replace(method.patches, crops=1, pool=1)),
        "no query fitting": projecting(method, queries=None),
        "any whole images": replace(method, patches=replace(method.patches, crops=1, pool=1, scale=(1.0, 1.0))),
        "no update": replace(method, update=None),
        "update of factor 4": replace(method, update=replace(update, factor=4)),
        "update of 40 steps": replace(method, update=replace(update, steps=40)),
        "update at rate 0.01": replace(method, update=replace(update, lr=0.01)),
        "mosaics, update of images": mosaics,
        "mosaics, update of patches": replace(mosaics, update=replace(update, on="patches")),
    }
    contenders = {name: Contender(variant) for name, variant in (changed | dict.fromkeys(STUDENTS, method)).items()}
    return _study("What the paper leaves open, one by one", None, recipe, contenders, training, STUDENTS)


def crops(recipe: Recipe, training: Mapping[int, tuple[int, int]]) -> Study:
    """Do students need crops? `compare` gives them none, as RDED's code for CIFAR, and SRe2L's and G_VBSM's do else.

    Each method's images as students of `compare` see them, and in crops from 8 % of their area up, with the labels and
    the student settings that are the method's own there; G_VBSM's images also with the running means of its code.
    """
    method = hello_of(recipe)
    methods: dict[str, tuple[Distiller, dict[str, Any]]] = {
        "hello": (method, {}),
        "rded": (RDED(method.patches), {"loss": "mse", "beta": 1.0}),
        "sre2l": (comparisons.sre2l(), {"loss": "mse", "beta": 1.0}),
        "gvbsm": (comparisons.gvbsm(), {"loss": "mse", "beta": 0.1}),
        "gvbsm from zero": (gvbsm_small().distiller, {"loss": "mse", "beta": 0.1}),
    }
    contenders, settings = {}, {}
    for name, (distiller, student) in methods.items():
        for seen, augment in (("whole", {}), ("crops", {"augment": {"scale": (0.08, 1.0)}})):
            contenders[f"{name}, {seen}"] = Contender(distiller)
            settings[f"{name}, {seen}"] = {**student, **augment}
    question = "Do students need crops, and on which images?"
    return _study(question, None, recipe, contenders, training, settings)


def _study(
    question: str,
    table: str | None,
    recipe: Recipe,
    contenders: Mapping[str, Contender],
    training: Mapping[int, tuple[int, int]],
    variants: Mapping[str, Mapping[str, Any]] | None = None,
    networks: Mapping[str, Mapping[str, Any]] | None = None,
) -> Study:
    comparison = Comparison(recipe, contenders, hello_of(recipe).projector, training, labels={})
    return Study(question, table, comparison, STUDENT, variants or {}, networks or {recipe.student.network: {}})


TEN = {1: (750, 10), 10: (150, 20), 50: (30, 20)}
"""Epochs and batch size of students by images per class, on ten classes: 750 steps in every case."""
TWENTY = {10: (75, 20)}
"""The same on twenty."""
AT_TEN = {10: TEN[10]}


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


def choices_small() -> Study:
    """What the paper leaves open, on CIFAR-10, IPC 10.

    hello-distill study DATA --recipe choices --out results/choices_cifar10.json
    """
    return choices(small(), AT_TEN)


def crops_small() -> Study:
    """Whole images or crops, for four methods, on CIFAR-10, IPC 10.

    hello-distill study DATA --recipe crops --out results/crops_cifar10.json
    """
    return crops(small(), AT_TEN)


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


STUDIES: dict[str, Callable[[], Study]] = {
    "architectures": architectures_small,
    "ablation": ablation_small,
    "ranks": ranks_small,
    "stages": stages_small,
    "choices": choices_small,
    "crops": crops_small,
    "mosaics": photographs.mosaics_cpu,
    "steps-500": photographs.steps_500,
    "steps-3000": photographs.steps_3000,
    "steps-10000": photographs.steps_10000,
    "architectures-many": architectures_many,
    "ablation-many": ablation_many,
}
