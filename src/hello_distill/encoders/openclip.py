"""Encoders of open_clip: the paper's RN50, any other model with public weights, or a checkpoint in a folder."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import huggingface_hub
import open_clip
import torch
from safetensors import SafetensorError

from hello_distill.encoders.encoder import Encoder, Weights, frozen
from hello_distill.system.errors import InputError, MachineError, nearest, one_line
from hello_distill.system.machine import rest_offline_if_unreachable
from hello_distill.types import Features

LOCAL = "local-dir:"
FILE = "open_clip_model.safetensors"
PROMPTS = 256
"""Sentences that the text tower sees at once: a thousand classes in eighty prompts would take its memory 80,000 times.
"""


def load(name: str, size: int | None) -> Encoder:
    """An open_clip encoder by `model/pretrained` or `local-dir:PATH`; `size` may only repeat the model's own."""
    logging.getLogger().setLevel(logging.ERROR)  # open_clip reports through the root logger
    if name.startswith(LOCAL):
        return _assemble(name, *_from_folder(Path(name.removeprefix(LOCAL))), size)
    return _assemble(name, *_from_hub(name), size)


def _from_folder(folder: Path) -> tuple[Any, Any, Path, dict[str, Any]]:
    config, file = folder / "open_clip_config.json", folder / FILE
    if not config.is_file() or not file.is_file():
        raise InputError(
            f"{folder} needs {config.name} and {file.name} to be an open_clip encoder; the page Getting started has "
            "the lines that make them of a CLIP which open_clip has trained"
        )
    try:
        model = open_clip.create_model(f"{LOCAL}{folder}")
        tokenizer = open_clip.get_tokenizer(f"{LOCAL}{folder}")
        return model, tokenizer, file, json.loads(config.read_text(encoding="utf-8")).get("preprocess_cfg", {})
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError, SafetensorError) as error:
        raise InputError(
            f"{folder} cannot be opened as an open_clip encoder: {file.name} must hold the weights of the model that "
            f"{config.name} describes ({type(error).__name__}: {one_line(error)[:200]})"
        ) from None


def _from_hub(name: str) -> tuple[Any, Any, Path, dict[str, Any]]:
    model_name, _, tag = name.partition("/")
    if model_name not in open_clip.list_models():
        raise InputError(f"unknown encoder {name!r}: {nearest(model_name, open_clip.list_models())}")
    config = open_clip.get_pretrained_cfg(model_name, tag)
    tags = [known for model, known in open_clip.list_pretrained() if model == model_name]
    if not config:
        raise InputError(f"encoder {model_name!r} has no weights {tag!r}: {nearest(tag, tags)}")
    file = _download(name, config.get("hf_hub", ""))
    quick = bool(config.get("quick_gelu", False))
    model = open_clip.create_model(model_name, pretrained=str(file), force_quick_gelu=quick)
    return model, open_clip.get_tokenizer(model_name), file, config


def _download(name: str, hub_entry: str) -> Path:
    """The safetensors file of public weights: from the Hub's cache, else from the Hub."""
    owner, _, rest = hub_entry.partition("/")
    repository, _, file = rest.partition("/")
    if not repository:
        raise InputError(f"the weights of encoder {name!r} are not on the Hub; use `local-dir:PATH` for them")
    rest_offline_if_unreachable()
    try:
        safe = Path(file).with_suffix(".safetensors").name if file else FILE
        return Path(huggingface_hub.hf_hub_download(f"{owner}/{repository}", safe))
    except (OSError, ValueError, RuntimeError) as error:
        raise MachineError(
            f"the weights of encoder {name!r} are not on this machine and cannot be fetched "
            f"({type(error).__name__}). Three ways out: go online once and run the same command; give a folder "
            "that holds them, `--encoder local-dir:PATH`; or use the offline encoder, `--encoder lite`"
        ) from None


def _assemble(
    name: str, model: Any, tokenizer: Any, file: Path, preprocessing: dict[str, Any], size: int | None
) -> Encoder:
    side = model.visual.image_size
    side = side[0] if isinstance(side, tuple | list) else side
    if size not in (None, side):
        raise InputError(f"encoder {name!r} takes images of {side} pixels only; leave `size` out or set it to {side}")
    visual = frozen(model.visual)
    features = visual(torch.zeros(1, 3, side, side))
    if not isinstance(features, torch.Tensor) or features.ndim != 2:
        raise InputError(f"encoder {name!r} gives no single feature vector per image; choose another model")
    return Encoder(
        name=name,
        visual=visual,
        encode_text=_TextTower(model.eval().requires_grad_(False), tokenizer),
        size=side,
        width=features.shape[1],
        mean=tuple(preprocessing.get("mean", open_clip.OPENAI_DATASET_MEAN)),
        std=tuple(preprocessing.get("std", open_clip.OPENAI_DATASET_STD)),
        weights=(Weights.of(file, file.name if name.startswith(LOCAL) else name),),
        knows="image-text pairs",
    )


class _TextTower:
    """Sentences (n) to L2-normalised features (n width)."""

    def __init__(self, model: Any, tokenizer: Any) -> None:
        self.model = model
        self.tokenizer = tokenizer

    @torch.no_grad()
    def __call__(self, sentences: Sequence[str]) -> Features:
        parts = [sentences[start : start + PROMPTS] for start in range(0, len(sentences), PROMPTS)]
        return torch.cat([self.model.encode_text(self.tokenizer(list(part)), normalize=True) for part in parts])
