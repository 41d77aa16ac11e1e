"""Settings that recipes, trainings and artefacts share, each declared once with its ranges. Without torch.

They are dataclasses: building one in Python checks nothing. `read` and `check` hold them to their ranges, as the
manifest does, so that a stranger's artefact and a --config file are held to the same.
"""

from __future__ import annotations

import dataclasses
import io
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, TypeAlias, TypeVar

from pydantic import AfterValidator, ConfigDict, Field, TypeAdapter, ValidationError

from hello_distill.format.fields import STRICT, Count, Few, Name, NotNegative, Positive, Real, Rounds, Share
from hello_distill.format.sizes import num_batches
from hello_distill.system.errors import InputError

if TYPE_CHECKING:
    from PIL import Image

Spec = TypeVar("Spec")


def ascending(pair: tuple[float, float]) -> tuple[float, float]:
    """The pair. Raises ValueError where the larger number stands first."""
    if pair[0] > pair[1]:
        raise ValueError("must name the smaller number first")
    return pair


Shares: TypeAlias = Annotated[tuple[Share, Share], AfterValidator(ascending)]
"""The smaller first."""


@dataclass(frozen=True)
class Codec:
    """How images are kept. Students see the decoded pixels."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT
    format: Literal["png", "jpeg", "webp"] = "png"
    """Of the image files."""
    quality: Annotated[int, Field(ge=0, le=100)] = 90
    """Of JPEG and WebP; PNG is lossless."""
    subsampled: bool = False
    """JPEG keeps a quarter of the colour pixels, as Pillow does unless told otherwise."""

    def encode(self, picture: Image.Image) -> bytes:
        """The file's bytes."""
        options: dict[str, dict[str, Any]] = {
            "png": {"optimize": True},
            "jpeg": {"quality": self.quality, "subsampling": 2 if self.subsampled else 0, "optimize": True},
            "webp": {"quality": self.quality, "method": 6},
        }
        buffer = io.BytesIO()
        picture.save(buffer, self.format, **options[self.format])
        return buffer.getvalue()


@dataclass(frozen=True)
class Augment:
    """Random resized crop, flip, and one kind of mixing per batch."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT
    scale: Shares = (0.08, 1.0)
    """Area of the crop as a share of the image, uniform between the two."""
    ratio: Annotated[tuple[Positive, Positive], AfterValidator(ascending)] = (3 / 4, 4 / 3)
    """Aspect ratio (width / height) of the crop, log-uniform between the two."""
    flip: Share = 0.5
    """Probability of a left-right flip."""
    mix: Literal["cutmix", "mixup", "none"] = "cutmix"
    """Applied to every batch, with one share per batch (Yun et al. 2019, Zhang et al. 2018)."""
    alpha: Positive = 1.0
    """Share ~ Beta(alpha, alpha)."""


@dataclass(frozen=True)
class Optim:
    """Optimiser and schedule of one training."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT
    epochs: Few
    """Passes over the images."""
    batch_size: Few
    """At most; batches of an epoch differ by one image at most."""
    lr: NotNegative = 1e-3
    """Learning rate at the start (after the warm-up)."""
    name: Literal["adamw", "sgd", "muon"] = "adamw"
    """Optimiser. Muon (as `training/muon.py` has it) needs fewer steps. Each costs more, most so for wide networks in
    small batches."""
    weight_decay: NotNegative = 0.01
    """Decoupled for AdamW and Muon, added to gradients for SGD."""
    decayed: Literal["matrices", "all"] = "matrices"
    """Matrices and kernels only, as SRe2L, RDED and G_VBSM do, or everything (SRe2L's code for CIFAR). What has two
    dimensions counts; their codes also ask for `weight` in the name, which spares the position tables of transformers.
    """
    momentum: Share = 0.9
    """Of SGD."""
    schedule: Literal["cosine", "half-cosine", "constant", "thirds"] = "cosine"
    """Cosine falls to zero over all steps. Half a cosine falls to half the rate (RDED's code). `thirds` falls to a
    tenth after each third, as PyTorch's recipe for ImageNet does after 30 and 60 of its 90 epochs."""
    changes: Literal["step", "epoch"] = "step"
    """When the learning rate changes. The codes of SRe2L, G_VBSM, RDED and LPLD change it once an epoch."""
    warmup: Share = 0.0
    """Share of all steps in which the learning rate rises linearly from zero: with `changes` by epoch, whole epochs."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Of products and convolutions in forward passes by PyTorch's autocast: those of the training, of its labels and
    tests, and, of teachers, those that score patches. Weights, their gradients and losses are float32 in any case."""

    def lasting(self, steps: int | None, batches_per_epoch: int) -> Optim:
        """The same for about so many steps, in whole epochs; None: for its own epochs."""
        return self if steps is None else dataclasses.replace(self, epochs=-(-steps // batches_per_epoch))

    def for_steps(self, steps: int | None, images: int) -> tuple[Optim, int]:
        """The same for so many steps on so many images, and how many batches each of its epochs then has.

        Epochs are as many as it states, or more: on a set that is too large to be gone through in so many steps each
        ends early. There may be more steps than asked for, by less than one an epoch. None: its own epochs, whole.
        """
        batches = num_batches(images, self.batch_size)
        if steps is None:
            return self, batches
        epochs = min(max(self.epochs, -(-steps // batches)), steps)
        return dataclasses.replace(self, epochs=epochs), -(-steps // epochs)


@dataclass(frozen=True)
class StudentSpec:
    """How students are trained on an artefact: Algorithm 1, lines 12-15."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT
    network: Name = "resnet18"
    """Which network; never one from a public encoder."""
    loss: Literal["mse", "kl", "standardised", "dist"] = "mse"
    """What compares logits with soft labels: MSE (HeLlO, G_VBSM), KL at a temperature (SRe2L, RDED, LPLD), KL of
    standardised logits (Sun et al. 2024), or the correlations of DIST (Huang et al. 2022)."""
    temperature: Positive = 20.0
    """Of all but MSE."""
    squared: bool = False
    """The divergence times the squared temperature (SRe2L's code for Tiny-ImageNet; not for ImageNet)."""
    beta: NotNegative = 0.1
    """Weight of CE beside it. Ours, after G_VBSM's weight for the same form of loss."""
    ce_target: Literal["mixed", "base"] = "mixed"
    """Class that CE aims at: mixed as the images are, or that of the own image alone (G_VBSM's code)."""
    double_forward: bool = False
    """A second forward pass in training mode before each step, as RDED's code makes for a logged figure: batch
    statistics move twice a step, with Mixup once on unmixed images."""
    augment: Augment = field(default_factory=Augment)
    """A of Algorithm 1."""
    optim: Optim = field(default_factory=lambda: Optim(epochs=300, batch_size=50))
    """Optimiser and schedule."""
    evaluations: Few = 5
    """How often a training is tested, at even distances up to the last epoch."""

    def tested_epochs(self) -> list[int]:
        """The epochs (from 1) after which a student is tested."""
        times = min(self.evaluations, self.optim.epochs)
        return sorted({round(self.optim.epochs * (i + 1) / times) for i in range(times)})


@dataclass(frozen=True)
class Interface:
    """How a network that was trained elsewhere sees images, and which of its outputs are the classes."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT
    size: Annotated[int, Field(ge=1, le=1024)]
    """Height and width in pixels of its input; images are resized to it (bicubic, antialiased, clamped to [0, 1])."""
    mean: tuple[Real, Real, Real]
    """Of red, green and blue in [0, 1]."""
    std: tuple[Positive, Positive, Positive]
    """Of red, green and blue in [0, 1]."""
    outputs: Annotated[int, Field(ge=1, le=2**17)]
    """How many outputs it has."""
    rows: Annotated[tuple[Count, ...], Field(max_length=2**15)]
    """For each class the number of the output, from 0."""


@dataclass(frozen=True)
class Queries:
    """Query fitting of a projector, on the views that students will draw: see `hello_distill.queries`. Ours."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT
    target: Literal["observer", "ensemble"] = "observer"
    """The teacher whose labels it imitates: the last epoch's, or the weak teachers' mean, as in Eq. 5.

    In runs of one seed on held-out images, which no result file holds, students of the mean were ahead where the last
    epoch's top-1 is a point above it (CIFAR-10), and far behind where it is six points above (photographs): so that
    which can cost little is the default. It is also the teacher of RDED's labels."""
    steps: Few = 600
    """Of a round, each with a warm-up and a cosine of its own."""
    rounds: Rounds = 4
    """At most so many."""
    gain: Share = 0.2
    """A round that lowers the error on unseen views by less than this share is the last."""
    batch_size: Few = 50
    lr: NotNegative = 5e-3
    name: Literal["adamw", "sgd", "muon"] = "muon"
    """Optimiser, as of `Optim`."""
    weight: NotNegative = 0.0
    """Of CE beside the MSE, lambda of Eq. 5."""

    def optim(self, count: int) -> tuple[Optim, int]:
        """A round's training on so many images, and how many batches each of its epochs has."""
        return Optim(1, self.batch_size, self.lr, self.name, warmup=0.1).for_steps(self.steps, count)


def half(length: int) -> int:
    """Of a number of steps or epochs, rounded up."""
    return -(-length // 2)


def read(kind: type[Spec], recorded: dict[str, Any]) -> Spec:
    """The spec that lies in an artefact as JSON. Raises ValidationError where it does not keep its ranges."""
    return TypeAdapter(kind).validate_json(json.dumps(recorded))


def check(name: str, spec: Any) -> None:
    """Raise InputError, naming the field, for a setting of a recipe that no artefact could state."""
    try:
        read(type(spec), dataclasses.asdict(spec))
    except ValidationError as error:
        raise InputError(f"config: {first_fault(error, name)}") from None


def first_fault(error: ValidationError, name: str = "") -> str:
    """The first complaint, in a few words. Where there are very many they are not even listed."""
    if error.error_count() > 1000:
        return f"{error.error_count()} fields are not as they must be"
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    field_name = ".".join(str(part) for part in (*[name] * bool(name), *first["loc"]))[:120]
    return f"`{field_name}`: {first['msg']}" if field_name else first["msg"]
