"""Labels made online by the projector: HeLlO's way, stored as a peft adapter."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import torch

from hello_distill import encoders, sizes, tensors
from hello_distill.errors import ArtifactError
from hello_distill.precision import PRECISIONS, Precision, layout
from hello_distill.projector import HEAD, Adapter, Projector, ProjectorSpec, lora_shapes, restore, zero_shot
from hello_distill.types import Images, Logits, Targets, View

FOLDER = "projector"
METADATA = {"format": "pt"}
CONFIG = "adapter_config.json"


class ProjectorLabels:
    """Logits of the fitted projector on the very images that the student sees (Algorithm 1, line 13)."""

    kind = "projector"
    unit: Literal["logits", "probabilities"] = "logits"

    def __init__(self, start: Projector, adapter: Adapter, encoder: dict[str, Any], templates: tuple[str, ...]) -> None:
        self.start = start
        """The projector before fitting: public weights and the text head."""
        self.projector = restore(start, adapter)
        self.adapter = adapter
        self.encoder = encoder
        """Public facts of the encoder: name, size, width, mean, std, weights."""
        self.templates = templates

    def rounded(self, precision: Precision) -> ProjectorLabels:
        """The same labels from a projector stored in another precision."""
        if precision == self.adapter.precision:
            return self
        return ProjectorLabels(self.start, self.adapter.rounded(precision), self.encoder, self.templates)

    def views(self, epoch: int, sampled: Iterable[View]) -> Iterable[View]:
        return sampled

    @torch.no_grad()
    def __call__(self, images: Images, view: View) -> Logits:
        """Logits (b c), rounded to float16 so that storing them loses nothing."""
        return self.projector(images).half().float()

    def size(self) -> int:
        return adapter_bytes(self.adapter, self.adapter.precision)

    def save(self, folder: Path) -> dict[str, Any]:
        """Write the adapter, in float16 and float32 as stock peft reads it, and nothing of the encoder."""
        target = folder / FOLDER
        target.mkdir()
        (target / CONFIG).write_text(config_text(self.adapter), encoding="utf-8")
        tensors.write(target / weights_file(self.adapter.precision), self.adapter.kept, METADATA)
        return {
            "kind": self.kind,
            "parameters": self.adapter.parameters,
            "precision": self.adapter.precision,
            "bytes_by_precision": {p: adapter_bytes(self.adapter, p) for p in PRECISIONS},
            "encoder": self.encoder,
            "templates": list(self.templates),
            "convolutions": list(self.adapter.convolutions),
            "encoder_rank": self.adapter.encoder_rank,
            "head_rank": self.adapter.head_rank,
            "scale": self.adapter.scale,
            "normalize": self.adapter.normalize,
        }


def weights_file(precision: Precision) -> str:
    """Name of the file of matrices. Integers have another name than peft's, so that peft does not misread them."""
    return f"adapter_{'model' if precision.startswith('float') else precision}.safetensors"


def config_text(adapter: Adapter) -> str:
    """adapter_config.json: the least that stock peft needs, in a stable order."""
    config = {
        "peft_type": "LORA",
        "r": adapter.encoder_rank,
        "lora_alpha": adapter.encoder_rank,
        "target_modules": sorted([HEAD, *(f"visual.{name}" for name in adapter.convolutions)]),
        "rank_pattern": {HEAD: adapter.head_rank},
        "alpha_pattern": {HEAD: adapter.head_rank},
        "inference_mode": True,
    }
    return json.dumps(config, indent=2, sort_keys=True) + "\n"


def adapter_bytes(adapter: Adapter, precision: Precision) -> int:
    """Bytes on disk of an adapter in a precision: matrices, scales, header, and peft's configuration."""
    shapes = {name: tuple(matrix.shape) for name, matrix in adapter.matrices.items()}
    file = sizes.safetensors_bytes(layout(shapes, precision), METADATA)
    return file + len(config_text(adapter).encode())


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
    templates = tuple(description["templates"])
    spec = ProjectorSpec(templates=templates, normalize=description["normalize"])
    start = zero_shot(encoder, classes, spec)
    facts = {
        "convolutions": tuple(description["convolutions"]),
        "encoder_rank": description["encoder_rank"],
        "head_rank": description["head_rank"],
    }
    precision: Precision = description["precision"]
    kept = tensors.read(folder / FOLDER / weights_file(precision))
    empty = Adapter({}, {}, precision, **facts, scale=description["scale"], normalize=spec.normalize)
    try:
        adapter = empty.reading(kept, lora_shapes(start, **facts), precision)
        return ProjectorLabels(start.to(targets.device), adapter, public, templates)
    except (KeyError, RuntimeError, ValueError) as error:
        raise ArtifactError(f"the adapter in {folder / FOLDER} does not fit {public['name']!r}: {error}") from None
