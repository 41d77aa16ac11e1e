"""Labels made online by the projector: HeLlO's way, stored as a peft adapter."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import safetensors
import safetensors.torch
import torch

from hello_distill import encoders
from hello_distill.errors import ArtifactError
from hello_distill.projector import HEAD, Adapter, Projector, ProjectorSpec, restore, zero_shot
from hello_distill.types import Images, Logits, Targets, View

FOLDER = "projector"
WEIGHTS = "adapter_model.safetensors"
CONFIG = "adapter_config.json"


class ProjectorLabels:
    """Logits of the fitted projector on the very images that the student sees (Algorithm 1, line 13)."""

    kind = "projector"
    unit: Literal["logits", "probabilities"] = "logits"

    def __init__(self, projector: Projector, adapter: Adapter, encoder: dict[str, Any], templates: tuple[str, ...]):
        self.projector = projector
        self.adapter = adapter
        self.encoder = encoder
        """Public facts of the encoder: name, size, width, mean, std, weights."""
        self.templates = templates

    def views(self, epoch: int, sampled: Iterable[View]) -> Iterable[View]:
        return sampled

    @torch.no_grad()
    def __call__(self, images: Images, view: View) -> Logits:
        return self.projector(images)

    def save(self, folder: Path) -> dict[str, Any]:
        """Write the adapter as stock peft reads it, and nothing of the encoder."""
        target = folder / FOLDER
        target.mkdir()
        (target / CONFIG).write_text(json.dumps(peft_config(self.adapter), indent=2, sort_keys=True) + "\n")
        safetensors.torch.save_file(self.adapter.tensors, target / WEIGHTS, metadata={"format": "pt"})
        umask = os.umask(0)
        os.umask(umask)
        (target / WEIGHTS).chmod(0o666 & ~umask)  # safetensors leaves it to the owner alone
        return {
            "kind": self.kind,
            "parameters": self.adapter.parameters,
            "encoder": self.encoder,
            "templates": list(self.templates),
            "convolutions": list(self.adapter.convolutions),
            "encoder_rank": self.adapter.encoder_rank,
            "head_rank": self.adapter.head_rank,
            "scale": self.adapter.scale,
            "normalize": self.adapter.normalize,
        }


def peft_config(adapter: Adapter) -> dict[str, Any]:
    """The least that stock peft needs, in a stable order."""
    return {
        "peft_type": "LORA",
        "r": adapter.encoder_rank,
        "lora_alpha": adapter.encoder_rank,
        "target_modules": sorted([HEAD, *(f"visual.{name}" for name in adapter.convolutions)]),
        "rank_pattern": {HEAD: adapter.head_rank},
        "alpha_pattern": {HEAD: adapter.head_rank},
        "inference_mode": True,
    }


def describe(encoder: encoders.Encoder) -> dict[str, Any]:
    """Facts of an encoder that an artefact must name to be readable."""
    return {
        "name": encoder.name,
        "size": encoder.size,
        "width": encoder.width,
        "mean": list(encoder.mean),
        "std": list(encoder.std),
        "interpolation": "bicubic",
        "knows": encoder.knows,
        "weights": [{"name": w.name, "bytes": w.bytes, "sha256": w.sha256} for w in encoder.weights],
    }


def load(folder: Path, description: dict[str, Any], classes: tuple[str, ...], targets: Targets) -> ProjectorLabels:
    """Rebuild the projector from the encoder's public weights, the class names and the stored adapter.

    Raises ArtifactError where the adapter or the encoder is not what the manifest says.
    """
    public = description["encoder"]
    encoder = encoders.load(public["name"], public["size"])
    if describe(encoder) != public:
        raise ArtifactError(
            f"{folder} was made with encoder weights {[w['sha256'][:12] for w in public['weights']]}, "
            f"but {public['name']!r} here has {[w.sha256[:12] for w in encoder.weights]}"
        )
    adapter = Adapter(
        tensors=_read(folder / FOLDER / WEIGHTS),
        convolutions=tuple(description["convolutions"]),
        encoder_rank=description["encoder_rank"],
        head_rank=description["head_rank"],
        scale=description["scale"],
        normalize=description["normalize"],
    )
    templates = tuple(description["templates"])
    start = zero_shot(encoder, classes, ProjectorSpec(templates=templates, normalize=adapter.normalize))
    try:
        return ProjectorLabels(restore(start, adapter), adapter, public, templates)
    except (KeyError, RuntimeError, ValueError) as error:
        raise ArtifactError(f"the adapter in {folder / FOLDER} does not fit {public['name']!r}: {error}") from None


def _read(file: Path) -> dict[str, torch.Tensor]:
    try:
        return safetensors.torch.load_file(file)
    except (OSError, safetensors.SafetensorError) as error:
        raise ArtifactError(f"{file} cannot be read: {error}") from None
