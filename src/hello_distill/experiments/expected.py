"""What a distillation leaves on the disk, by stage, and what each kind of labels takes, by formula.

`forecast` says it before anything is made.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import torch

from hello_distill import api, encoders
from hello_distill.data.images import ImageSet
from hello_distill.distillers.hello import HeLlO
from hello_distill.distillers.recipe import Recipe
from hello_distill.format import costs, sizes
from hello_distill.labels.sources.projector import adapter_bytes
from hello_distill.projector import lora_numbers, untrained, zero_shot
from hello_distill.teachers import network, weights_bytes


class Size(NamedTuple):
    """What is distilled: the data's own, or others (`--assume`)."""

    images: int
    """Training images."""
    classes: int
    ipc: int


def disk(sample: ImageSet, recipe: Recipe, size: Size) -> dict[str, int]:
    """Bytes of what each stage keeps until the artefact is there, or in its folder, and of the artefact.

    The sample's images have the side that is distilled.
    """
    spec = recipe.distiller.projector_spec
    encoder = encoders.load(spec.encoder, spec.size) if spec else None
    epochs = {*recipe.teachers.weak_epochs, recipe.teachers.optim.epochs}
    weights = network(recipe.teachers.network, size.classes, sample.side).state_dict().values()
    images = size.classes * size.ipc * 3 * sample.side**2
    kept = {"teachers": len(epochs) * sum(each.numel() * each.element_size() for each in weights), "patches": images}
    if isinstance(recipe.distiller, HeLlO):
        assert encoder is not None and spec is not None
        matrices = 4 * lora_numbers(encoder, spec, size.classes)
        kept["projector"] = (1 + spec.rounds) * matrices
        kept["image update"] = (recipe.distiller.update is not None) * images
        kept["query fitting"] = (spec.queries is not None) * matrices
    made = api.expected_bytes(_sized(sample, size), replace(recipe, ipc=size.ipc), encoder)
    return {**kept, "artefact": made}


def _sized(sample: ImageSet, size: Size) -> ImageSet:
    """The sample as if it had so many classes."""
    names = tuple((list(sample.classes) + [f"class {n}" for n in range(size.classes)])[: size.classes])
    return ImageSet(sample.images, sample.targets.clamp(max=size.classes - 1), names)


def label_bytes(sample: ImageSet, recipe: Recipe, size: Size) -> dict[str, int]:
    """Bytes of each way of keeping labels for the student's training, by formula."""
    count = size.classes * size.ipc
    optim = recipe.student_for(count).optim
    found = {
        name: sizes.stored_bytes(size.classes, count, optim.epochs, optim.batch_size, **settings)
        for name, settings in costs.LADDER.items()
        if settings.get("k", 0) < size.classes
    }
    found["static"] = sizes.safetensors_bytes({"logits": ("F16", (count, size.classes))})
    found["teacher"] = weights_bytes(network(recipe.teachers.network, size.classes, sample.side))
    if spec := recipe.distiller.projector_spec:
        encoder = encoders.load(spec.encoder, spec.size)
        start = zero_shot(encoder, _sized(sample, size).classes, spec)
        adapter = untrained(start, encoder, _sized(sample, size), torch.nn.Identity(), replace(spec, scale=1.0), 0)
        for precision in ("float16", "int8", "int4"):
            found[f"projector in {precision}"] = adapter_bytes(adapter, precision)
    return found
