"""Labels made online by classifiers whose weights are shipped: what RDED's code does, and what it must be charged."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from hello_distill import encoders
from hello_distill.data.images import ImageSet
from hello_distill.format import tensors
from hello_distill.format.kinds import check_stated
from hello_distill.labels.teacher import FOLDER
from hello_distill.system.errors import ArtifactError, InputError
from hello_distill.teachers import kept_layout, network, public_weights, trusted_network, weights, weights_bytes
from hello_distill.types import Images, LabelSource, Logits, View
from hello_distill.views import check_images

Combine = Literal["mean", "norm"]


class TeacherLabels(LabelSource):
    """Mean logits of classifiers on the very images that the student sees, as weights in float16 give them.

    `norm` brings each member's logits to the members' mean Frobenius norm before the mean is taken: labels then
    depend on the batch (G_VBSM's code for ImageNet-1K). `batch_statistics` leaves the members' batch
    normalisation in training mode, so that labels depend on the batch (SRe2L's code for CIFAR).
    """

    kind = "teacher"
    online = True

    def __init__(
        self,
        networks: Sequence[str],
        members: Sequence[nn.Module],
        side: int,
        combine: Combine = "mean",
        batch_statistics: bool = False,
    ) -> None:
        self.networks = tuple(networks)
        self.side = side
        self.combine = combine
        self.batch_statistics = batch_statistics
        self.members = [in_half(member).eval() for member in members]
        self.by_image = not batch_statistics and (combine == "mean" or len(self.members) == 1)
        for norm in (part for member in self.members for part in member.modules() if isinstance(part, _BatchNorm)):
            norm.train(batch_statistics)  # and nothing else: dropout would make labels random

    @torch.no_grad()
    def __call__(self, images: Images, view: View) -> Logits:
        """Logits (b c), rounded to float16 so that storing them loses nothing."""
        check_images(images)
        logits = [member(images) for member in self.members]
        if self.combine == "norm" and len(logits) > 1:
            norms = [each.norm() for each in logits]
            logits = [each * (torch.stack(norms).mean() / norm) for each, norm in zip(logits, norms, strict=True)]
        return torch.stack(logits).mean(0).half().float()

    def size(self) -> int:
        return sum(weights_bytes(member) for member in self.members)

    def save(self, folder: Path) -> dict[str, Any]:
        (folder / FOLDER).mkdir()
        for place, member in enumerate(self.members):
            tensors.write(folder / FOLDER / f"{place}.safetensors", weights(member))
        return {
            "kind": self.kind,
            "parameters": stored_numbers(self.members),
            "networks": [encoders.public_name(name) for name in self.networks],
            "side": self.side,
            "weights": [
                {"name": w.name, "bytes": w.bytes, "sha256": w.sha256}
                for name in dict.fromkeys(self.networks)
                for w in public_weights(name)
            ],
            "combine": self.combine,
            "batch_statistics": self.batch_statistics,
        }


def stored_numbers(members: Sequence[nn.Module]) -> int:
    """How many numbers are stored of classifiers."""
    return sum(tensor.numel() for member in members for tensor in weights(member).values())


def in_half(model: nn.Module) -> nn.Module:
    """A copy whose numbers are those that float16 can hold, so that saving and loading change nothing."""
    rounded = copy.deepcopy(model).requires_grad_(False)
    rounded.load_state_dict({name: value.float() for name, value in weights(model).items()}, strict=False)
    return rounded


def load(folder: Path, description: dict[str, Any], data: ImageSet) -> TeacherLabels:
    """The classifiers of an artefact. Raises ArtifactError where weights and networks do not fit."""
    side, members = description["side"], []
    try:
        names = [trusted_network(name, description["weights"]) for name in description["networks"]]
        for place, name in enumerate(names):
            path = folder / FOLDER / f"{place}.safetensors"
            state = tensors.read_as(path, kept_layout(name, len(data.classes), side))
            member = network(name, len(data.classes), side)
            member.load_state_dict({key: value.float() for key, value in state.items()}, strict=False)
            members.append(member.to(data.images.device))
    except InputError as error:
        raise ArtifactError(f"{folder / FOLDER} names a network that cannot be had: {error}") from None
    check_stated(folder, description, {"parameters": stored_numbers(members)})
    return TeacherLabels(names, members, side, description["combine"], description["batch_statistics"])
