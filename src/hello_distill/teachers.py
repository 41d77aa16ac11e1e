"""Teachers: checkpoints along one training run. The last is the observer, a list of them the weak ensemble."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from hello_distill import encoders
from hello_distill.data.images import ImageSet
from hello_distill.format import sizes
from hello_distill.format.fields import Few
from hello_distill.format.sizes import Layout
from hello_distill.format.specs import Augment, Interface, Optim, half
from hello_distill.projector import Projector, ProjectorSpec, zero_shot
from hello_distill.system.errors import InputError
from hello_distill.training.epoch import EpochBatches
from hello_distill.training.fit import fit
from hello_distill.training.losses import Match, hard_loss
from hello_distill.training.networks import Normalised, build, check_name, without_memory
from hello_distill.training.own import FORMS, check_sources, meant
from hello_distill.training.scores import percent
from hello_distill.types import Images, Logits

ENCODER = "encoder/"
"""Networks of this name are an encoder with a head of text features, all of it trained: `encoder/lite@64`."""
ENCODER_SCALE = 20.0
"""Ours: the factor from cosine to logit of an encoder that is trained as a whole."""


@dataclass(frozen=True)
class TeacherSpec:
    """One training run of one network, and the epochs whose checkpoints are the weak teachers."""

    network: str = "resnet18"
    weak_epochs: tuple[int, ...] = (10, 20, 30, 40, 50, 60, 70, 80, 90)
    """Epochs (from 1) whose checkpoints form the ensemble. The paper has nine and says that earlier ones suit
    fewer images per class; which ones is ours: see `suited_epochs`, by which recipes choose them."""
    augment: Augment = field(default_factory=lambda: Augment(mix="none"))
    optim: Optim = field(
        default_factory=lambda: Optim(
            epochs=90,
            batch_size=256,
            lr=0.1,
            name="sgd",
            weight_decay=1e-4,
            decayed="all",
            schedule="thirds",
            changes="epoch",
        )
    )
    """PyTorch's recipe for ImageNet, as in the paper."""
    steps: Few | None = None
    """Length in optimiser steps, whatever the number of images; then `weak_epochs` of `optim.epochs` are shares of the
    run. None: `optim.epochs`, whole, are its length."""
    sources: tuple[str, ...] = field(default=(), repr=False)
    """Teachers that were trained elsewhere, each as `--teacher SOURCE`; then none is trained. The first is the
    observer, all of them are the ensemble. What they make is named by their files' hashes, not by these words."""

    def __post_init__(self) -> None:
        if not self.weak_epochs or not set(self.weak_epochs) <= set(range(1, self.optim.epochs + 1)):
            raise InputError(
                f"teachers.weak_epochs {self.weak_epochs} must be epochs between 1 and {self.optim.epochs}"
            )

    @property
    def precision(self) -> str:
        """Of forward passes in tests and where patches are scored: that of the training; own teachers' is float32."""
        return "float32" if self.sources else self.optim.precision

    def for_images(self, count: int) -> TeacherSpec:
        """The run on so many images: how many epochs it has, and which of them are kept."""
        optim, batches = self._for_steps(count)
        return self if self.steps is None else replace(self._scaled(optim.epochs), steps=optim.epochs * batches)

    def batches(self, count: int) -> int:
        """How many an epoch of the run on so many images has."""
        return self._for_steps(count)[1]

    def halved(self) -> TeacherSpec:
        """A run of half the length. Teachers that were brought along stay as they are."""
        if self.sources:
            return self
        if self.steps is None:
            return self._scaled(half(self.optim.epochs))
        return replace(self, steps=half(self.steps))

    def _for_steps(self, count: int) -> tuple[Optim, int]:
        return self.optim.for_steps(self.steps, count)

    def _scaled(self, epochs: int) -> TeacherSpec:
        shares = (epoch * epochs / self.optim.epochs for epoch in self.weak_epochs)
        weak = sorted({max(1, math.floor(share + 0.5)) for share in shares})
        return replace(self, optim=replace(self.optim, epochs=epochs), weak_epochs=tuple(weak))


def suited_epochs(ipc: int, epochs: int, count: int = 9) -> tuple[int, ...]:
    """Epochs of so many weak teachers, of a run of `epochs`, that suit students of `ipc` images per class: ours.

    They lie evenly around the share 0.2 ipc^0.45 of the run, 0.9 at most, and as far to both sides as half of it. In
    results/stages_cifar10.json students of 1, 10 and 50 images per class do best, on held-out images, with teachers
    around 0.2, from 0.55 on, and around 0.9, by less than their spread. The power is that by which the best epoch of
    single experts grows in "A Label is Worth a Thousand Images": 20, 44, 128 and 164 on CIFAR-10, 11, 50, 90 and 102
    on Tiny-ImageNet, at IPC 1, 10, 50 and 100. A run shorter than `count` gives all of its epochs.
    """
    middle = min(0.2 * max(ipc, 1) ** 0.45, 0.9) * epochs
    reach = min(middle / 2, epochs - middle)
    count = min(count, epochs)
    first = min(max(middle - reach, 1), epochs - count + 1)
    last = max(middle + reach, first + count - 1)
    step = (last - first) / max(count - 1, 1)
    first = round(first) if step == 1 else first  # halves would be rounded to the same even number twice
    return tuple(round(first + step * number) for number in range(count))


class Teachers(NamedTuple):
    """Two roles of one run: mixing them up would be easy and silent, hence two names."""

    observer: nn.Module
    """Fully trained; judges patches (Eq. 6)."""
    ensemble: Ensemble
    """Weak teachers; their mean logits are what the projector learns (Eq. 5)."""


class Ensemble(nn.Module):
    """Mean of the members' logits, or probabilities, without gradients and in evaluation mode: Eq. 1, second row."""

    def __init__(self, members: Sequence[nn.Module], mean_of: Match = "logits") -> None:
        super().__init__()
        self.members = nn.ModuleList(members).eval().requires_grad_(False)
        self.mean_of = mean_of

    def train(self, mode: bool = True) -> Ensemble:
        """Always evaluation mode."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, images: Images) -> Logits:
        """Images (b 3 h w) in [0, 1] to logits (b c); the logarithm of the mean where probabilities are averaged."""
        logits = torch.stack([member(images) for member in self.members])
        if self.mean_of == "logits":
            return logits.mean(0)
        return logits.log_softmax(2).logsumexp(0) - math.log(len(self.members))


def train_teachers(data: ImageSet, spec: TeacherSpec, seed: int) -> Teachers:
    """Train the network with CE on augmented images, keeping the checkpoints that the spec names."""
    model = _untrained(spec.network, data, seed).to(data.images.device)
    kept: dict[str, Tensor] = {}

    def keep(epoch: int) -> None:
        if epoch in spec.weak_epochs:
            kept.update({f"{epoch}/{name}": value.clone() for name, value in model.state_dict().items()})

    def member(epoch: int) -> nn.Module:
        weak = copy.deepcopy(model)
        weak.load_state_dict({name: kept[f"{epoch}/{name}"] for name in model.state_dict()})
        return weak

    views = EpochBatches(data, spec.augment, spec.optim.batch_size, seed, most=spec.batches(len(data)))
    fit(model, views, views.per_epoch, hard_loss, spec.optim, seed, keep, "teachers", kept, repr(spec.weak_epochs))
    observer = model.eval().requires_grad_(False)
    return Teachers(observer, Ensemble([member(epoch) for epoch in spec.weak_epochs]))


def _untrained(name: str, data: ImageSet, seed: int) -> nn.Module:
    """The network as its training starts: random, or an encoder with its text head."""
    if not name.startswith(ENCODER):
        return build(name, len(data.classes), data.side, seed)
    spec = encoder_spec(name)
    encoder = encoders.load(spec.encoder, spec.size)
    return zero_shot(encoder, data.classes, spec, ENCODER_SCALE).requires_grad_(True)


def encoder_spec(name: str) -> ProjectorSpec:
    """Encoder and input size that a network's name asks for: `encoder/NAME` or `encoder/NAME@SIZE`."""
    encoder, _, size = name.removeprefix(ENCODER).partition("@")
    if size and not size.isdigit():
        raise InputError(f"network {name!r}: the part behind @ is the input size in pixels, such as encoder/lite@64")
    return ProjectorSpec(encoder, size=int(size) if size else None)


def encoder_name(spec: ProjectorSpec) -> str:
    """The network that is a projector's encoder, at its size, with a whole head. Raises InputError where it is none."""
    if not spec.normalize:
        raise InputError("an encoder with a whole head has normalised features; set `normalize` to true")
    return f"{ENCODER}{spec.encoder}" + (f"@{spec.size}" if spec.size is not None else "")


def check_teachers(spec: TeacherSpec, labels: str) -> None:
    """Raise InputError or MachineError for teachers that cannot be built, opened, or used by a method of such labels.

    Own teachers are looked at as far as that needs no images.
    """
    if spec.sources:
        check_sources(spec.sources, labels)
    elif meant(spec.network) and not spec.network.startswith(ENCODER):
        raise InputError(
            f"config: teachers.network {spec.network!r} is no network to be trained here; a teacher that is trained "
            f"already is given by `teachers.sources` or --teacher SOURCE, which is {FORMS}"
        )
    else:
        check_network(spec.network)


def check_network(name: str) -> None:
    """Raise InputError or MachineError for a teacher that cannot be built."""
    if name.startswith(ENCODER):
        spec = encoder_spec(name)
        encoders.load(spec.encoder, spec.size)
    else:
        check_name(name)


def network(name: str, num_classes: int, side: int, interface: Interface | None = None) -> nn.Module:
    """The structure of a teacher, for weights that are loaded into it; with an `interface`, one trained elsewhere.

    Raises InputError for an encoder with an interface: it has its own.
    """
    if interface is not None:
        if name.startswith(ENCODER):
            raise InputError(f"{name!r} is an encoder, which sees images in its own way")
        model: Normalised = build(name, interface.outputs, interface.size, seed=0).eval()
        model.interface = interface
        return model
    if not name.startswith(ENCODER):
        return build(name, num_classes, side, seed=0).eval()
    spec = encoder_spec(name)
    encoder = encoders.load(spec.encoder, spec.size)
    return Projector(encoder, torch.zeros(num_classes, encoder.width), ENCODER_SCALE, spec.normalize)


def public_weights(name: str) -> tuple[encoders.Weights, ...]:
    """The public weights that a network starts from, and that it needs to be built again."""
    if not name.startswith(ENCODER):
        return ()
    spec = encoder_spec(name)
    return encoders.load(spec.encoder, spec.size).weights


def public_bytes(name: str) -> int:
    """Bytes of these weights."""
    return sum(weights.bytes for weights in public_weights(name))


def teacher_bytes(spec: TeacherSpec, data: ImageSet) -> int:
    """About what teachers take in an artefact whose labels ship them; of own ones the bytes of their files."""
    if spec.sources:
        return sum(found.bytes for found in check_sources(spec.sources, "teacher"))
    return sizes.safetensors_bytes(kept_layout(spec.network, len(data.classes), data.side))


def weights_bytes(model: nn.Module) -> int:
    """Bytes of the file that `weights` makes."""
    return sizes.safetensors_bytes({name: ("F16", tuple(value.shape)) for name, value in weights(model).items()})


def trusted_network(name: str, listed: Sequence[Mapping[str, Any]]) -> str:
    """The name by which a network that a stranger's artefact names may be built.

    `listed` are the public weights that the artefact says it needs: `name`, `bytes`, `sha256`. Raises InputError for
    a name that is not known, or weights that are others here, MachineError where they are missing.
    """
    if not name.startswith(ENCODER):
        check_name(name)
        return name
    hashes = [weights["sha256"] for weights in listed]
    encoder, at, size = name.removeprefix(ENCODER).partition("@")
    trusted = f"{ENCODER}{encoders.trusted_name(encoder, hashes)}{at}{size}"
    if missing := [weights.sha256[:12] for weights in public_weights(trusted) if weights.sha256 not in hashes]:
        raise InputError(f"the public weights of {name!r} here are {missing}, the artefact was made with others")
    return trusted


def kept_layout(name: str, num_classes: int, side: int, interface: Interface | None = None) -> Layout:
    """Types and shapes of what is stored of a network; found without giving memory to it, where it lets itself."""

    def made() -> nn.Module:
        return network(name, num_classes, side, interface)

    state = (made() if name.startswith(ENCODER) else without_memory(made)).state_dict()
    return {name: ("F16", tuple(state[name].shape)) for name in kept_names(state)}


def kept_names(state: Mapping[str, Any]) -> list[str]:
    """What is stored of a classifier: parameters and running statistics, sorted."""
    return [name for name in sorted(state) if not name.endswith("num_batches_tracked")]


def only_last(spec: TeacherSpec) -> TeacherSpec:
    """The run alone, whichever of its checkpoints form an ensemble."""
    return replace(spec, weak_epochs=(spec.optim.epochs,))


def with_network(spec: TeacherSpec, name: str | None) -> TeacherSpec:
    """The same training for another network. Raises InputError where teachers are brought along and none is trained."""
    if name is not None and spec.sources:
        raise InputError(f"this method trains a teacher of its own ({name}); leave --teacher out")
    return spec if name is None else replace(spec, network=name)


def summary(spec: TeacherSpec, measured: Mapping[str, Any], images: int) -> str:
    """What teachers are and how good, on one line; `images` is how many they were trained on here."""
    first, mean = (percent(measured[name]) for name in ("teacher_top1", "ensemble_top1"))
    if spec.sources:
        several = f", {mean} (mean of {len(spec.sources)})" if len(spec.sources) > 1 else ""
        return f"{len(spec.sources)} brought along, top-1 {first}{several} on held-out training images"
    steps = spec.optim.epochs * spec.batches(images)
    epochs = ", ".join(map(str, spec.weak_epochs))
    return f"{steps:,} steps, top-1 {first} (last epoch), {mean} (mean of epochs {epochs}) on held-out training images"


def recorded(spec: TeacherSpec) -> dict[str, Any]:
    """The spec as recipes and results keep it: `sources` only where there are some, since older ones have none."""
    fields = asdict(spec)
    return fields if spec.sources else {name: value for name, value in fields.items() if name != "sources"}


def weights(model: nn.Module) -> dict[str, torch.Tensor]:
    """What is stored of a classifier, in float16."""
    state = model.state_dict()
    return {name: state[name].detach().to("cpu", torch.float16).contiguous() for name in kept_names(state)}
