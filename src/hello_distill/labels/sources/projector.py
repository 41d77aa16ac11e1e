"""Labels made online by the projector: HeLlO's way, stored as a peft adapter."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from hello_distill import encoders
from hello_distill.data.images import ImageSet
from hello_distill.format import sizes, tensors
from hello_distill.format.fields import PRECISIONS, Precision
from hello_distill.format.kinds import check_stated
from hello_distill.format.precision import layout
from hello_distill.labels.projector import ADAPTER_CONFIG, FOLDER, HEAD, adapter_config, adapter_file
from hello_distill.projector import Adapter, Projector, ProjectorSpec, lora_shapes, restore, zero_shot
from hello_distill.system.errors import ArtifactError, InputError
from hello_distill.types import Images, LabelSource, Logits, View
from hello_distill.views import check_images

METADATA = {"format": "pt"}


class ProjectorLabels(LabelSource):
    """Logits of the fitted projector on the very images that the student sees (Algorithm 1, line 13)."""

    kind = "projector"
    online = by_image = True

    def __init__(self, start: Projector, adapter: Adapter, encoder: dict[str, Any], templates: tuple[str, ...]) -> None:
        self.start = start
        """The projector before fitting: public weights and the text head."""
        self.projector = restore(start, adapter)
        """After fitting."""
        self.adapter = adapter
        self.encoder = encoder
        """Public facts of the encoder: name, size, width, mean, std, weights."""
        self.templates = templates

    def rounded(self, precision: Precision) -> ProjectorLabels:
        """The same labels from a projector stored in another precision."""
        if precision == self.adapter.precision:
            return self
        return ProjectorLabels(self.start, self.adapter.rounded(precision), self.encoder, self.templates)

    def __call__(self, images: Images, view: View) -> Logits:
        """Logits (b c), rounded to float16 so that storing them loses nothing."""
        check_images(images)
        with torch.inference_mode():
            logits = self.projector(images)
        return logits.half().float()  # ordinary tensors again, which a student's loss may keep for its gradient

    def size(self) -> int:
        return adapter_bytes(self.adapter, self.adapter.precision)

    def save(self, folder: Path) -> dict[str, Any]:
        """Write the adapter, in float16 and float32 as stock peft reads it, and nothing of the encoder."""
        target = folder / FOLDER
        target.mkdir()
        (target / ADAPTER_CONFIG).write_text(config_text(self.adapter), encoding="utf-8")
        tensors.write(target / adapter_file(self.adapter.precision), self.adapter.kept, METADATA)
        return {
            "kind": self.kind,
            **counted(self.adapter),
            "precision": self.adapter.precision,
            "encoder": self.encoder,
            "templates": list(self.templates),
            "convolutions": list(self.adapter.convolutions),
            "encoder_rank": self.adapter.encoder_rank,
            "head_rank": self.adapter.head_rank,
            "scale": self.adapter.scale,
            "normalize": self.adapter.normalize,
            "formula": formula(self.adapter.normalize),
        }


def counted(adapter: Adapter) -> dict[str, Any]:
    """What a manifest states of an adapter's size."""
    sizes_of = {precision: adapter_bytes(adapter, precision) for precision in PRECISIONS}
    return {"parameters": adapter.parameters, "bytes_by_precision": sizes_of}


def config_text(adapter: Adapter) -> str:
    """adapter_config.json of an adapter."""
    return adapter_config(adapter.convolutions, adapter.encoder_rank, adapter.head_rank)


def formula(normalize: bool) -> str:
    """How logits follow from an image, in words that hold without this package."""
    features = "v / ||v||_2" if normalize else "v"
    return (
        "x: RGB in [0, 1], resized to `encoder.size` (bicubic, antialiased, clamped to [0, 1]), minus `encoder.mean`, "
        "divided by `encoder.std`; v = visual(x), convolutions with LoRA; "
        f"logits = `scale` * W ({features}), with W the rows of normalised mean text features of `templates`, plus LoRA"
    )


def adapter_bytes(adapter: Adapter, precision: Precision) -> int:
    """Bytes on disk of an adapter in a precision: matrices, scales, header, and peft's configuration."""
    shapes = {name: tuple(matrix.shape) for name, matrix in adapter.matrices.items()}
    return file_bytes(shapes, precision, config_text(adapter))


def file_bytes(shapes: dict[str, tuple[int, ...]], precision: Precision, config: str) -> int:
    """Bytes on disk of matrices of these shapes in a precision, and of peft's configuration."""
    return sizes.safetensors_bytes(layout(shapes, precision), METADATA) + len(config.encode())


def describe(encoder: encoders.Encoder) -> dict[str, Any]:
    """Facts of an encoder that an artefact must name to be readable."""
    return {
        "name": encoders.public_name(encoder.name),
        "size": encoder.size,
        "width": encoder.width,
        "mean": list(encoder.mean),
        "std": list(encoder.std),
        "interpolation": "bicubic",
        "knows": encoder.knows,
        "weights": [{"name": w.name, "bytes": w.bytes, "sha256": w.sha256} for w in encoder.weights],
    }


def load(folder: Path, description: dict[str, Any], data: ImageSet) -> ProjectorLabels:
    """Rebuild the projector from the encoder's public weights, the class names and the stored adapter.

    Raises ArtifactError where the adapter or the encoder is not what the manifest says, MachineError where the
    encoder is not on this machine.
    """
    public = description["encoder"]
    ranks = {name: description[name] for name in ("encoder_rank", "head_rank")}
    convolutions = tuple(description["convolutions"])
    precision: Precision = description["precision"]
    file = folder / FOLDER / adapter_file(precision)
    check_adapter(folder / FOLDER, description)
    encoder = _known(folder, public)
    if unknown := sorted(set(convolutions) - set(encoder.convolutions())):
        raise ArtifactError(f"{folder} adapts {unknown[0]!r}, which is no convolution of {public['name']!r}")
    templates = tuple(description["templates"])
    spec = ProjectorSpec(templates=templates, normalize=description["normalize"])
    start = zero_shot(encoder, data.classes, spec)
    try:
        shapes = lora_shapes(start, convolutions, **ranks)
    except ValueError as error:
        raise ArtifactError(f"{file} does not fit {public['name']!r}: {error}") from None
    kept = tensors.read_as(file, layout(shapes, precision))
    facts = {"scale": description["scale"], "normalize": spec.normalize}
    adapter = Adapter({}, {}, precision, convolutions, **ranks, **facts).reading(kept, shapes, precision)
    check_stated(folder, description, counted(adapter))
    return ProjectorLabels(start.to(data.images.device), adapter, public, templates)


def check_adapter(folder: Path, description: dict[str, Any]) -> None:
    """Raise ArtifactError where the adapter's files are not those of the ranks that the manifest names.

    Needs no encoder, and nothing is read but a file's head: what it asks of memory is then what its size says.
    """
    ranks = description["encoder_rank"], description["head_rank"]
    config, expected = folder / ADAPTER_CONFIG, adapter_config(description["convolutions"], *ranks).encode()
    if config.stat().st_size != len(expected) or config.read_bytes() != expected:
        raise ArtifactError(f"{config} is not the one that the manifest describes")
    file = folder / adapter_file(description["precision"])
    matrices = {name: kind for name, kind in tensors.layout_of(file).items() if not name.endswith(".scale")}
    if len(matrices) != 2 * (len(description["convolutions"]) + 1):
        raise ArtifactError(
            f"{file} holds {len(matrices)} matrices, its manifest names {len(description['convolutions'])}"
            " convolutions and a head"
        )
    for name, (_, shape) in matrices.items():
        rank = ranks[1] if f".{HEAD}." in name else ranks[0]
        whole = description["precision"] in ("float32", "float16")
        if len(shape) < 2 or shape[1 if "lora_B" in name and whole else 0] != rank:
            raise ArtifactError(f"{file}: {name} has the shape {shape}, which is not of rank {rank}")


def _known(folder: Path, public: dict[str, Any]) -> encoders.Encoder:
    """The encoder that an artefact names, if what is here is the same."""
    try:
        name = encoders.trusted_name(public["name"], [w["sha256"] for w in public["weights"]])
        encoder = encoders.load(name, public["size"])
    except InputError as error:
        raise ArtifactError(f"{folder} names an encoder that cannot be had: {error}") from None
    for name, here in describe(encoder).items():
        if public[name] != here:
            raise ArtifactError(
                f"{folder} says that the {name} of {public['name']!r} is {public[name]}, and it is {here}"
            )
    return encoder
