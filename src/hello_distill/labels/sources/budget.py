"""A byte budget for the projector: cut its ranks by SVD, round it, and see how faithful it stays.

The projector is fitted once, at a high rank; no student is trained to choose. How faithful each form is to the teacher
is measured on views of the distilled images, which is what labels are asked for.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from hello_distill import encoders
from hello_distill.format.fields import PRECISIONS, Precision
from hello_distill.labels.projector import HEAD, adapter_config
from hello_distill.labels.sources.projector import adapter_bytes, file_bytes
from hello_distill.projector import Adapter, Projector, ProjectorSpec, adapted, lora_shapes, restore
from hello_distill.queries import Views, on_views
from hello_distill.system import context
from hello_distill.system.errors import InputError

UNITS = {"": 1, "B": 1, "KB": 1000, "MB": 1000**2, "GB": 1000**3, "KIB": 1024, "MIB": 1024**2, "GIB": 1024**3}


@dataclass(frozen=True)
class Point:
    """One form of the projector, what it takes and how faithful it is."""

    encoder_rank: int
    head_rank: int
    precision: Precision
    bytes: int
    agreement: float
    """Share of views, in percent, of which it names the teacher's class."""
    error: float
    """Squared difference of centred logits over the teacher's own squares: `scores.Faithfulness`."""


def parse_bytes(text: str, option: str = "--label-bytes") -> int:
    """`200KB`, `1.5 MiB` or `4096` in bytes. Raises InputError for anything else."""
    match = re.fullmatch(r"\s*(\d{1,15}(?:\.\d{1,15})?)\s*([KMG]?I?B?)\s*", text.upper())
    if not match or match[2] not in UNITS:
        raise InputError(f"{option} {text!r} is no size; write it like 200KB, 1.5MiB or 4096")
    return int(float(match[1]) * UNITS[match[2]])


def cut(adapter: Adapter, encoder_rank: int, head_rank: int) -> Adapter:
    """The adapter with each product B A replaced by its best approximation of a lower rank (Eckart-Young), float32."""
    matrices: dict[str, Tensor] = {}
    for name_a in [name for name in adapter.matrices if "lora_A" in name]:
        name_b = name_a.replace("lora_A", "lora_B")
        rank = head_rank if f".{HEAD}." in name_a else encoder_rank
        matrices[name_a], matrices[name_b] = lower(adapter.matrices[name_a], adapter.matrices[name_b], rank)
    matrices = {name: matrices[name] for name in sorted(matrices)}
    return replace(
        adapter,
        kept=matrices,
        matrices=matrices,
        precision="float32",
        encoder_rank=encoder_rank,
        head_rank=head_rank,
    )


def lower(a: Tensor, b: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """Factors of the best rank-`rank` approximation of B A, singular values shared evenly.

    a (r ...), b (out r ...) as peft keeps them, for linear layers and for convolutions.
    """
    q_b, r_b = torch.linalg.qr(b.flatten(1).double())
    q_a, r_a = torch.linalg.qr(a.flatten(1).double().T)
    u, s, v = torch.linalg.svd(r_b @ r_a.T)
    kept = min(rank, len(s))
    root = s[:kept].sqrt()
    spare = rank - kept  # a layer may have no more ranks: the others are zero
    new_a = F.pad((root[:, None] * (q_a @ v.T[:, :kept]).T).float(), (0, 0, 0, spare))
    new_b = F.pad((q_b @ u[:, :kept] * root).float(), (0, spare))
    return new_a.view(rank, *a.shape[1:]).contiguous(), new_b.view(b.shape[0], rank, *b.shape[2:]).contiguous()


def curve(start: Projector, adapter: Adapter, views: Views, forms: Sequence[tuple[int, int, Precision]]) -> list[Point]:
    """Size and faithfulness of the projector in each form: encoder rank, head rank, precision."""
    points = []
    for ranks_and_precision in context.track(forms, len(forms), "faithfulness"):
        form = formed(adapter, *ranks_and_precision)
        measured = on_views(restore(start, form), views)
        points.append(Point(*ranks_and_precision, adapter_bytes(form, form.precision), *measured))
    return points


def formed(adapter: Adapter, encoder_rank: int, head_rank: int, precision: Precision) -> Adapter:
    """The adapter cut to ranks, unless it has them, and rounded."""
    if (encoder_rank, head_rank) != (adapter.encoder_rank, adapter.head_rank):
        adapter = cut(adapter, encoder_rank, head_rank)
    return adapter.rounded(precision)


def as_fitted(adapter: Adapter) -> list[tuple[int, int, Precision]]:
    """The adapter's own ranks in every precision."""
    return [(adapter.encoder_rank, adapter.head_rank, precision) for precision in PRECISIONS]


def halved(adapter: Adapter) -> list[tuple[int, int, Precision]]:
    """The forms that a budget chooses from: either rank halved again and again, in every stored precision."""
    ranks = [(e, h) for e in _halves(adapter.encoder_rank) for h in _halves(adapter.head_rank)]
    return [(*pair, precision) for pair in ranks for precision in PRECISIONS[1:]]


def _halves(rank: int) -> list[int]:
    return [rank, *_halves(rank // 2)] if rank > 1 else [1]


def check_limit(limit: int, spec: ProjectorSpec, num_classes: int) -> None:
    """Raise InputError where not even ranks of 1 in int4 fit into so many bytes."""
    encoder = encoders.load(spec.encoder, spec.size)
    start = Projector(encoder, torch.zeros(num_classes, encoder.width), 1.0, spec.normalize)
    convolutions = adapted(encoder, spec)
    least = file_bytes(lora_shapes(start, convolutions, 1, 1), "int4", adapter_config(convolutions, 1, 1))
    if limit < least:
        raise InputError(f"--label-bytes {limit} is too small: the least projector here takes {least} bytes")


def choose(points: Sequence[Point], limit: int) -> Point:
    """The point of the least error among those that fit (see `check_limit`)."""
    fitting = (point for point in points if point.bytes <= limit)
    return min(fitting, key=lambda point: (point.error, point.bytes))


def knee(points: Sequence[Point], slack: float = 0.5) -> Point:
    """The smallest point whose agreement is within `slack` percent of the best: more bytes buy nothing."""
    best = max(point.agreement for point in points)
    return min((p for p in points if p.agreement >= best - slack), key=lambda point: point.bytes)
