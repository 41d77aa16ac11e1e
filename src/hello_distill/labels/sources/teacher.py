"""Labels made online by classifiers whose weights are shipped: what RDED's code does, and what it must be charged."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from hello_distill import encoders
from hello_distill.data.images import ImageSet
from hello_distill.format import precision as precisions
from hello_distill.format import sizes, tensors
from hello_distill.format.kinds import check_stated
from hello_distill.format.precision import from_stored, to_stored
from hello_distill.format.specs import Interface, read
from hello_distill.labels.teacher import FOLDER, TeacherPrecision
from hello_distill.stages import Stages
from hello_distill.system.errors import ArtifactError, InputError
from hello_distill.teachers import kept_layout, network, public_weights, trusted_network, weights
from hello_distill.training.own import check_shipped
from hello_distill.types import Images, LabelSource, Logits, View
from hello_distill.views import check_images

Combine = Literal["mean", "norm"]


class TeacherLabels(LabelSource):
    """Mean logits of classifiers on the very images that the student sees, as their stored weights give them.

    `norm` brings each member's logits to the members' mean Frobenius norm before the mean is taken: labels then
    depend on the batch (G_VBSM's code for ImageNet-1K). `batch_statistics` leaves the members' batch
    normalisation in training mode, so that labels depend on the batch (SRe2L's code for CIFAR).
    """

    kind = "teacher"
    online = True
    side: int

    def __init__(
        self,
        networks: Sequence[str],
        members: Sequence[nn.Module],
        side: int,
        combine: Combine = "mean",
        batch_statistics: bool = False,
        precision: TeacherPrecision = "float16",
        kept: Sequence[dict[str, Tensor]] | None = None,
    ) -> None:
        """`kept` are the members' files, where there are some; else their weights are rounded to the precision."""
        self.networks = tuple(networks)
        self.side = side
        self.combine = combine
        self.batch_statistics = batch_statistics
        self.precision = precision
        self.kept = kept or [stored(weights(member), precision) for member in members]
        self.members = [
            with_weights(member, kept, precision).eval() for member, kept in zip(members, self.kept, strict=True)
        ]
        self.by_image = not batch_statistics and (combine == "mean" or len(self.members) == 1)
        for norm in (part for member in self.members for part in member.modules() if isinstance(part, _BatchNorm)):
            norm.train(batch_statistics)  # and nothing else: dropout would make labels random

    def rounded(self, precision: TeacherPrecision) -> TeacherLabels:
        """The same labels from classifiers stored in another precision."""
        if precision == self.precision:
            return self
        return TeacherLabels(self.networks, self.members, self.side, self.combine, self.batch_statistics, precision)

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
        layouts = (layout(shapes_of(member), self.precision) for member in self.members)
        return sum(map(sizes.safetensors_bytes, layouts))

    def save(self, folder: Path) -> dict[str, Any]:
        (folder / FOLDER).mkdir()
        for number, kept in enumerate(self.kept):
            tensors.write(folder / FOLDER / f"{number}.safetensors", kept)
        interfaces = [getattr(member, "interface", None) for member in self.members]
        return {
            **({} if self.precision == "float16" else {"precision": self.precision}),
            **({"interfaces": [each and asdict(each) for each in interfaces]} if any(interfaces) else {}),
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


def taught(stages: Stages, side: int, batch_statistics: bool = False) -> TeacherLabels:
    """Labels of a run's observer; of teachers that were brought along, those of all together.

    Raises InputError for one that no artefact can hold.
    """
    names, members = [stages.spec.network], [stages.teachers().observer]
    if stages.spec.sources:
        for own in stages.own:
            check_shipped(own.source)
        names, members = [own.source.network for own in stages.own], [own.model for own in stages.own]
    return TeacherLabels(names, members, side, batch_statistics=batch_statistics)


def stored_numbers(members: Sequence[nn.Module]) -> int:
    """How many numbers are stored of classifiers; scales of integers are not counted."""
    return sum(tensor.numel() for member in members for tensor in weights(member).values())


def stored(state: dict[str, Tensor], precision: TeacherPrecision) -> dict[str, Tensor]:
    """Weights as they are stored: those of two and more dimensions in the precision, by output channel."""
    if precision == "float16":
        return state
    parts = [to_stored(name, w.float(), precision) if w.ndim > 1 else {name: w} for name, w in state.items()]
    return {name: part for some in parts for name, part in some.items()}


def layout(shapes: Mapping[str, tuple[int, ...]], precision: TeacherPrecision) -> sizes.Layout:
    """Types and shapes of what `stored` gives for weights of these shapes."""
    integers = {name: shape for name, shape in shapes.items() if precision != "float16" and len(shape) > 1}
    halves = {name: ("F16", shape) for name, shape in shapes.items() if name not in integers}
    return {**halves, **precisions.layout(integers, precision)}


def opened(kept: dict[str, Tensor], shapes: Mapping[str, tuple[int, ...]], precision: TeacherPrecision) -> Any:
    """The weights, in float32, of what was stored."""
    return {
        name: from_stored(name, kept, shape, precision if len(shape) > 1 else "float16")
        for name, shape in shapes.items()
    }


def shapes_of(model: nn.Module) -> dict[str, tuple[int, ...]]:
    """Shapes of what is stored of a classifier."""
    return {name: tuple(weight.shape) for name, weight in weights(model).items()}


def with_weights(model: nn.Module, kept: dict[str, Tensor], precision: TeacherPrecision) -> nn.Module:
    """A copy with the weights of a file, so that saving and loading change nothing."""
    copied = copy.deepcopy(model).requires_grad_(False)
    copied.load_state_dict(opened(kept, shapes_of(model), precision), strict=False)
    return copied


def load(folder: Path, description: dict[str, Any], data: ImageSet) -> TeacherLabels:
    """The classifiers of an artefact. Raises ArtifactError where weights and networks do not fit."""
    side, members, files = description["side"], [], []
    precision: TeacherPrecision = description.get("precision", "float16")
    try:
        names = [trusted_network(name, description["weights"]) for name in description["networks"]]
        said = description.get("interfaces") or [None] * len(names)
        for number, (name, each) in enumerate(zip(names, said, strict=True)):
            made = name, len(data.classes), side, each and read(Interface, each)
            shapes = {key: shape for key, (_, shape) in kept_layout(*made).items()}
            path = folder / FOLDER / f"{number}.safetensors"
            files.append(tensors.read_as(path, layout(shapes, precision)))
            members.append(network(*made).to(data.images.device))
    except InputError as error:
        raise ArtifactError(f"{folder / FOLDER} names a network that cannot be had: {error}") from None
    check_stated(folder, description, {"parameters": stored_numbers(members)})
    combined = description["combine"], description["batch_statistics"]
    return TeacherLabels(names, members, side, *combined, precision, files)
