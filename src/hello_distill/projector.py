"""The projector f: a public image encoder and a linear head named by text, adapted by LoRA (Eq. 2-5)."""

from __future__ import annotations

import copy
import hashlib
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import torch
import torch.nn.functional as F
from jaxtyping import Float
from peft import LoraConfig, PeftModel, get_peft_model
from peft.utils.save_and_load import get_peft_model_state_dict, set_peft_model_state_dict
from torch import Tensor, nn

from hello_distill.data.images import ImageSet
from hello_distill.encoders.encoder import Encoder
from hello_distill.format.fields import LARGEST, Few, Precision, Rank, Rounds, Share, Templates
from hello_distill.format.precision import from_stored, layout, to_stored
from hello_distill.format.specs import Augment, Optim, Queries, half
from hello_distill.labels.projector import HEAD
from hello_distill.system import distributed
from hello_distill.system.errors import InputError
from hello_distill.system.machine import seeded
from hello_distill.training.epoch import EpochBatches
from hello_distill.training.fit import fit
from hello_distill.training.folding import fold_norms
from hello_distill.training.losses import Loss, Match, hard_loss, matching_loss, probability_loss
from hello_distill.training.lowrank import add_low_rank, low_rank
from hello_distill.types import Classifier, Features, Images, Logits
from hello_distill.views import whole

LEAST = 150
"""Steps that `ProjectorSpec.halved` leaves: ours. In one run, which no result file holds, 38 steps ended worse than the
zero-shot head that they began with."""
PEFT_PREFIX = "base_model.model"
"""Of the names of what peft adapts."""


@dataclass(frozen=True)
class ProjectorSpec:
    """Which projector, and how it is fitted. What the paper leaves open is marked as ours."""

    encoder: str = "RN50-quickgelu/openai"
    """Name of the encoder (see `hello_distill.encoders`)."""
    size: int | None = None
    """Input size of the encoder in pixels; None is the size it was made for."""
    templates: Templates = ("a photo of a {}.",)
    """Prompts; a class's text feature is the normalised mean over them (CLIP's code base)."""
    encoder_rank: Rank = 8
    """Rank of LoRA on convolutions (paper: 8)."""
    head_rank: Rank | None = None
    """Rank of LoRA on the head. None: 64 up to 100 classes and 128 beyond (paper), but never so much that the
    two factors outweigh the head itself (ours)."""
    precision: Precision = "float16"
    """How the matrices are stored. Stock peft reads float32 and float16."""
    skip: str = "downsample"
    """Convolutions whose name contains this regular expression are left alone. Ours: without the `downsample`
    layers the counts are the paper's, 0.64 Mi numbers for 100 classes and 0.81 Mi for 1,000."""
    normalize: bool = True
    """Ours: features are L2-normalised as in Eq. 3 also while fitting (Eq. 5 writes them bare)."""
    scale: float | None = None
    """Factor from cosine to logit; None: at which zero-shot logits spread as widely as the teachers' (ours)."""
    weight: float = 0.1
    """lambda of Eq. 5. Ours, after G_VBSM's weight for the same form of loss."""
    match: Match = "logits"
    """Ours: what the MSE of Eq. 5 compares, and of what the weak teachers' mean is taken."""
    augment: Augment = field(default_factory=Augment)
    """Ours: the views that students will see, so that their labels are no extrapolation."""
    optim: Optim = field(default_factory=lambda: Optim(epochs=10, batch_size=128))
    steps: Few | None = None
    """Length of the fit in optimiser steps, whatever the number of images. None: `optim.epochs` is its length."""
    rounds: Rounds = 1
    """Ours: at most so many fits of this length, each going on from the best so far (`training.rounds`)."""
    gain: Share = 0.1
    """A round that lowers the error on views of held-out images by less than this share is the last."""
    queries: Queries | None = field(default_factory=Queries)
    """Ours: how it goes on being fitted, on views of the distilled images; None: it is that of Eq. 5."""

    def __post_init__(self) -> None:
        if self.scale is not None and not 0 < self.scale < math.inf:
            raise InputError(f"distiller.projector.scale must be above 0, not {self.scale}; null matches the teachers")
        try:
            re.compile(self.skip)
        except re.error as error:
            raise InputError(f"distiller.projector.skip {self.skip!r} is no regular expression: {error}") from None

    def halved(self) -> ProjectorSpec:
        """Fitted by one round of each kind, of half the length; short fits keep up to `LEAST` of all their steps."""

        def shorter(steps: int, rounds: int) -> int:
            return max(half(steps), min(steps * rounds, LEAST))

        queries = self.queries
        if queries is not None:
            queries = replace(queries, rounds=1, steps=shorter(queries.steps, queries.rounds))
        if self.steps is not None:
            return replace(self, steps=shorter(self.steps, self.rounds), rounds=1, queries=queries)
        return replace(self, optim=replace(self.optim, epochs=half(self.optim.epochs)), rounds=1, queries=queries)


@dataclass(frozen=True)
class Adapter:
    """What is stored of a fitted projector, beside the names of public weights."""

    kept: dict[str, Tensor]
    """LoRA matrices by peft's names, as they lie on disk (`hello_distill.format.precision`)."""
    matrices: dict[str, Tensor]
    """The same in float32, as they are used."""
    precision: Precision
    convolutions: tuple[str, ...]
    """Names of the adapted convolutions inside the image tower."""
    encoder_rank: int
    head_rank: int
    scale: float
    """Factor from cosine to logit."""
    normalize: bool

    @property
    def parameters(self) -> int:
        """Stored numbers; scales of integers are not counted."""
        return sum(matrix.numel() for matrix in self.matrices.values())

    def fingerprint(self) -> str:
        """Hash of the matrices as they are used, and of the scale."""
        digest = hashlib.sha256(repr((self.scale, self.normalize)).encode())
        for name, matrix in sorted(self.matrices.items()):
            digest.update(name.encode())
            digest.update(matrix.numpy().data)
        return digest.hexdigest()

    def rounded(self, precision: Precision) -> Adapter:
        """The adapter in another precision. What is lost stays lost: round the one that was fitted."""
        kept = {
            key: part
            for name, matrix in self.matrices.items()
            for key, part in to_stored(name, matrix, precision).items()
        }
        return self.reading(kept, {name: tuple(matrix.shape) for name, matrix in self.matrices.items()}, precision)

    def reading(self, kept: dict[str, Tensor], shapes: dict[str, tuple[int, ...]], precision: Precision) -> Adapter:
        """The adapter that was kept so. Raises KeyError or RuntimeError where `kept` does not have these shapes."""
        matrices = {name: from_stored(name, kept, shape, precision) for name, shape in shapes.items()}
        if set(kept) != set(layout(shapes, precision)):
            raise KeyError(sorted(set(kept) ^ set(layout(shapes, precision)))[:3])
        return replace(self, kept=kept, matrices=matrices, precision=precision)


class Projector(nn.Module):
    """f(x) = scale * v_I(x) W, with v_I the image feature (Eq. 2) and W the text features (Eq. 3, bias 0)."""

    def __init__(self, encoder: Encoder, text_features: Float[Tensor, "c d"], scale: float, normalize: bool) -> None:
        super().__init__()
        self.visual = copy.deepcopy(encoder.visual)
        self.label_head = nn.Linear(text_features.shape[1], text_features.shape[0], bias=False)
        self.label_head.weight = nn.Parameter(text_features.clone(), requires_grad=False)
        self.preprocess = encoder.preprocess
        self.scale = scale
        self.normalize = normalize
        self.eval()

    def train(self, mode: bool = True) -> Projector:
        """Always evaluation mode: moving batch statistics would not be part of the stored adapter."""
        return super().train(False)

    def encode(self, images: Images) -> Features:
        """E_I: images (b 3 h w) in [0, 1] to features (b d), normalised where the projector does so."""
        features = self.visual(self.preprocess(images))
        return F.normalize(features, dim=1) if self.normalize else features

    def forward(self, images: Images) -> Logits:
        """Images (b 3 h w) in [0, 1] to logits (b c)."""
        return self.scale * self.label_head(self.encode(images))


def text_features(encoder: Encoder, classes: Sequence[str], templates: Sequence[str]) -> Float[Tensor, "c d"]:
    """v_T of Eq. 2 for each class, the rows of W^T in Eq. 3: mean over prompts of unit vectors, made unit again."""
    prompts = [template.format(name) for name in classes for template in templates]
    vectors = encoder.encode_text(prompts).view(len(classes), len(templates), -1)
    return F.normalize(vectors.mean(1), dim=1)


def zero_shot(encoder: Encoder, classes: Sequence[str], spec: ProjectorSpec, scale: float = 1.0) -> Projector:
    """The projector before any fitting: zero-shot classification by prompts (Proposition 1).

    A `scale` of 1 gives cosines; fitting replaces it.
    """
    return Projector(encoder, text_features(encoder, classes, spec.templates), scale, spec.normalize)


def head_rank(spec: ProjectorSpec, num_classes: int, width: int) -> int:
    """Rank of the head's LoRA by the rule of `ProjectorSpec.head_rank`."""
    if spec.head_rank is not None:
        return spec.head_rank
    paper = 64 if num_classes <= 100 else 128
    return max(1, min(paper, num_classes * width // (num_classes + width)))


def adapted(encoder: Encoder, spec: ProjectorSpec) -> tuple[str, ...]:
    """Names of the encoder's convolutions that carry LoRA."""
    return tuple(sorted(name for name in encoder.convolutions() if not re.search(spec.skip or "$^", name)))


def lora_numbers(encoder: Encoder, spec: ProjectorSpec, num_classes: int) -> int:
    """How many numbers `add_lora` adds, from the shapes of what it adapts."""
    layers = dict(encoder.visual.named_modules())
    shapes = [layers[name].weight.shape for name in adapted(encoder, spec)]
    convolutions = sum(out + inner * height * width for out, inner, height, width in shapes)
    head = num_classes + encoder.width
    return spec.encoder_rank * convolutions + head_rank(spec, num_classes, encoder.width) * head


def add_lora(projector: Projector, convolutions: Iterable[str], encoder_rank: int, head_rank: int | None) -> PeftModel:
    """theta_0 + A B of Eq. 4, in place: low-rank updates on convolutions and head, zero at the start.

    alpha equals the rank, so that peft's factor alpha / rank is 1. None: the head has no update.
    """
    head = {} if head_rank is None else {HEAD: head_rank}
    config = LoraConfig(
        r=encoder_rank,
        lora_alpha=encoder_rank,
        target_modules=[*head, *(f"visual.{name}" for name in convolutions)],
        rank_pattern=head,
        alpha_pattern=head,
    )
    return get_peft_model(projector, config)


def fit_projector(
    start: Projector,
    encoder: Encoder,
    data: ImageSet,
    teacher: Classifier,
    spec: ProjectorSpec,
    seed: int,
    earlier: Adapter | None = None,
    what: str = "projector",
) -> Adapter:
    """Eq. 5: fit LoRA by MSE(f(x), teacher(x)) + lambda CE(f(x), y) on augmented original images.

    `earlier` is the adapter from which LoRA goes on, at its scale and ranks; None: LoRA starts at zero. `what` names
    the fit as it goes. Returns the adapter in float32, whatever the spec's precision; `restore` makes the projector of
    it. Sets `start.scale` to the scale that it fits with.
    """
    earlier = earlier or untrained(start, encoder, data, teacher, spec, seed)
    start.scale = earlier.scale
    model = to_fit(start, earlier)
    match = matching_loss if spec.match == "logits" else probability_loss
    _fit(model, data, teacher, match(spec.weight), spec, seed, what)
    return fitted_adapter(model, earlier)


def untrained(
    start: Projector, encoder: Encoder, data: ImageSet, teacher: Classifier, spec: ProjectorSpec, seed: int
) -> Adapter:
    """LoRA as it starts: one factor drawn, the other zero, at the scale of the spec or the teacher's."""
    scale = distributed.followed(matching_scale(start, teacher, data)) if spec.scale is None else spec.scale
    ranks, names = (spec.encoder_rank, head_rank(spec, len(data.classes), encoder.width)), adapted(encoder, spec)
    matrices = drawn_matrices(start, names, *ranks, seed)
    return Adapter(matrices, matrices, "float32", names, *ranks, scale, spec.normalize)


def drawn_matrices(
    start: Projector, convolutions: Iterable[str], encoder_rank: int, head_rank: int, seed: int
) -> dict[str, Tensor]:
    """LoRA's matrices before any fitting, by peft's names: A drawn from the seed, B zero."""
    with seeded(seed):
        return lora_matrices(add_lora(copy.deepcopy(start), convolutions, encoder_rank, head_rank))


def _fit(
    model: nn.Module,
    data: ImageSet,
    teacher: Classifier | None,
    loss: Loss,
    spec: ProjectorSpec,
    seed: int,
    what: str = "projector",
) -> None:
    """Train what wants a gradient, on augmented images with the teacher's labels (None: their classes alone)."""
    optim, batches = spec.optim.for_steps(spec.steps, len(data))
    views = EpochBatches(data, spec.augment, optim.batch_size, seed, teacher, batches)
    fit(model, views, batches, loss, optim, seed, what=what)


def fit_probe(
    encoder: Encoder,
    data: ImageSet,
    teacher: Classifier | None,
    spec: ProjectorSpec,
    lora: bool,
    scale: float,
    seed: int,
) -> tuple[Projector, int]:
    """An encoder with a whole linear head that knows no text, and how many numbers were fitted: Table 3, rows 1 to 3.

    The head starts at zero and has no bias. Fitted by Eq. 5, or by CE alone without a teacher; the encoder is moved by
    LoRA or not at all.
    """
    zero = torch.zeros(len(data.classes), encoder.width)
    model = Projector(encoder, zero, scale, spec.normalize).to(data.images.device).requires_grad_(False)
    moved: nn.Module = model
    if lora:
        with seeded(seed):
            moved = add_lora(model, adapted(encoder, spec), spec.encoder_rank, None)
    model.label_head.weight.requires_grad_(True)
    fitted = sum(weight.numel() for weight in moved.parameters() if weight.requires_grad)
    _fit(moved, data, teacher, hard_loss if teacher is None else matching_loss(spec.weight), spec, seed)
    merged = moved.merge_and_unload() if isinstance(moved, PeftModel) else model
    assert isinstance(merged, Projector)
    return merged.requires_grad_(False), fitted


@torch.no_grad()
def matching_scale(start: Projector, teacher: Classifier, data: ImageSet, sample: int = 512) -> float:
    """Ours: the scale at which the zero-shot logits spread as widely as the teacher's.

    Eq. 3 gives cosines; a teacher's logits have a spread of several units, and LoRA need not bridge it. Raises
    InputError where the encoder tells images and classes hardly apart, as one with random weights does, or the teacher.
    """
    images = whole(data.images[torch.linspace(0, len(data) - 1, min(sample, len(data))).long()])
    target, spread = teacher(images).std().item(), start(images).std().item()
    if not 0 < target < math.inf:
        raise InputError("the weak teachers answer every image in the same way, or with no numbers; are they trained?")
    scale = float(f"{target / spread * start.scale:.4g}") if spread else math.inf
    if not scale <= LARGEST:
        raise InputError(
            f"the encoder's logits would have to be multiplied by {scale:g} to spread as widely as the teachers': it "
            "tells these images and classes hardly apart; is it trained? `distiller.projector.scale` in a --config "
            "file sets a factor by hand"
        )
    return scale


def lora_matrices(lora: PeftModel) -> dict[str, Tensor]:
    """LoRA matrices by peft's names, sorted, in float32 on the CPU."""
    tensors = get_peft_model_state_dict(lora)
    return {name: tensors[name].detach().to("cpu", torch.float32, copy=True).contiguous() for name in sorted(tensors)}


def lora_shapes(
    start: Projector, convolutions: Iterable[str], encoder_rank: int, head_rank: int
) -> dict[str, tuple[int, ...]]:
    """Shapes of the matrices that an adapter of these ranks has, by peft's names."""
    drawn = drawn_matrices(start, convolutions, encoder_rank, head_rank, seed=0)
    return {name: tuple(matrix.shape) for name, matrix in drawn.items()}


def restore(start: Projector, adapter: Adapter) -> Projector:
    """The fitted projector: `start` (zero-shot) with the adapter's matrices merged, and batch norms folded, into its
    weights: all that only shapes its answers, in fewer steps.

    Raises KeyError if a matrix is missing or unknown.
    """
    merged: Projector = with_adapter(start, adapter).merge_and_unload()
    fold_norms(merged.visual)
    return merged.requires_grad_(False)


def to_fit(start: Projector, adapter: Adapter) -> Projector:
    """A copy of `start` whose adapted weights are sums with LoRA's products, which alone want gradients.

    Its answers and gradients are `with_adapter`'s but for rounding, in fewer steps (`training.lowrank`). Raises
    KeyError if a matrix is missing or unknown.
    """
    if unknown := set(adapter.matrices) ^ {key for keys in _places(adapter).values() for key in keys}:
        raise KeyError(f"{sorted(unknown)[:3]}")
    model = copy.deepcopy(start).requires_grad_(False)
    model.scale = adapter.scale
    scales = fold_norms(model.visual)
    for name, keys in _places(adapter).items():
        a, b = (adapter.matrices[key] for key in keys)
        add_low_rank(model.get_submodule(name), a, b, scales.get(name.removeprefix("visual.")))
    return model


def fitted_adapter(model: Projector, adapter: Adapter) -> Adapter:
    """The adapter with the matrices that a fit has given the model of `to_fit`, in float32 on the CPU."""
    matrices = {}
    for name, keys in _places(adapter).items():
        found = low_rank(model.get_submodule(name))
        for key, matrix in zip(keys, (found.a, found.b), strict=True):
            matrices[key] = matrix.detach().to("cpu", torch.float32, copy=True).contiguous()
    matrices = dict(sorted(matrices.items()))
    return replace(adapter, kept=matrices, matrices=matrices, precision="float32")


def _places(adapter: Adapter) -> dict[str, tuple[str, str]]:
    """Names of the adapted layers, with those that peft gives their factors A and B."""
    layers = [*(f"visual.{name}" for name in adapter.convolutions), HEAD]
    return {name: (f"{PEFT_PREFIX}.{name}.lora_A.weight", f"{PEFT_PREFIX}.{name}.lora_B.weight") for name in layers}


def with_adapter(start: Projector, adapter: Adapter) -> PeftModel:
    """A copy of `start` with the adapter beside its weights, at the adapter's scale, as peft has it: to be merged.

    Raises KeyError if a matrix is missing or unknown.
    """
    model = copy.deepcopy(start)
    model.scale = adapter.scale
    lora = add_lora(model, adapter.convolutions, adapter.encoder_rank, adapter.head_rank)
    expected = set(get_peft_model_state_dict(lora))
    if expected != set(adapter.matrices):
        raise KeyError(f"{sorted(expected ^ set(adapter.matrices))[:3]}")
    set_peft_model_state_dict(lora, adapter.matrices)
    return lora
