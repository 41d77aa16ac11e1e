"""A projector that is extended as classes arrive, in the place of one fitted from nothing at each step. Ours.

At a step the head gets a row from text (Eq. 2, 3) for each new class, and LoRA what such a head needs: rows of zeros in
B, and, where the rule of the head's rank asks for more, rows of A drawn as LoRA draws them, with zeros in B. Before any
fitting the logits of earlier classes are then what they were, and those of new ones zero-shot, on the features of the
encoder as it is adapted. The factor from cosine to logit stays that of the first fit.

LoRA of encoder and head goes on from the adapter of the step before, as it was stored: by Eq. 5 on what is at hand,
towards the weak ensemble of the step, then by query fitting on all images kept so far, towards its observer. At hand
are the real images of the classes that arrive and, of earlier ones, the distilled images that were kept, repeated so
that an earlier class is seen about as often as a new one. So beside its teacher a learner needs what it has kept alone:
distilled images and the labeller that was shipped with them. The first step knows no earlier class: its projector is
the one fitted from nothing. That one is query-fitted at each step on images distilled anew of all classes seen, those
of new classes among them, which alone are kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch

from hello_distill import encoders
from hello_distill.data.images import ImageSet
from hello_distill.data.mapped import in_memory
from hello_distill.experiments.arrivals import Arrivals, kept
from hello_distill.experiments.grid import Bench
from hello_distill.labels.projector import HEAD
from hello_distill.labels.sources.projector import ProjectorLabels, describe
from hello_distill.projector import Adapter, Projector, ProjectorSpec, drawn_matrices, head_rank, zero_shot


class Extended(NamedTuple):
    """The projector of a step."""

    labels: ProjectorLabels
    """As it is stored."""
    figures: dict[str, Any]
    """What was measured of it on held-out training images and on views of the images kept."""


class Extensions:
    """The extended projectors of an experiment, each made after those of the steps before."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self._adapters: dict[tuple[str, Arrivals, tuple[Path, ...]], Adapter] = {}

    def __call__(self, method: str, arrivals: Arrivals, folders: Sequence[Path]) -> Extended | None:
        """The projector of the step that the last of `folders` belongs to; None where one class or none was seen.

        `folders` are the artefacts from which the images of each step so far are kept.
        """
        if len(arrivals.seen(len(folders))) < 2:
            return None
        made = self._extended(method, arrivals, folders, self._adapter(method, arrivals, folders[:-1]))
        self._adapters[method, arrivals, tuple(folders)] = made.labels.adapter
        return made

    def _adapter(self, method: str, arrivals: Arrivals, folders: Sequence[Path]) -> Adapter | None:
        """What the projector of a step stores."""
        key = method, arrivals, tuple(folders)
        if key not in self._adapters:
            self(method, arrivals, folders)
        return self._adapters.get(key)

    def _extended(self, method: str, arrivals: Arrivals, folders: Sequence[Path], last: Adapter | None) -> Extended:
        comparison, classes = self.bench.comparison, self.bench.material.train.classes
        contender, seen = comparison.contenders[method], arrivals.seen(len(folders))
        spec = contender.distiller.projector_spec
        assert spec is not None
        part = self.bench.only(seen)
        stages = part.stages(contender.teachers)
        images = kept(classes, arrivals, folders)[0].to(str(part.material.train.images.device))
        new = [seen.index(target) for target in arrivals.new(len(folders))]
        data = at_hand(part.material.train, images, new) if len(new) < len(seen) else None
        earlier = None
        if last is not None:
            known = [target for target in range(len(seen)) if target not in new]
            earlier = grown(last, images.classes, known, spec, comparison.base.seed)
        fitted = stages.projector(spec, data, earlier)
        adapter = stages.queried(spec, fitted, fitted.adapter, images).rounded(spec.precision)
        labels = ProjectorLabels(fitted.start, adapter, describe(fitted.encoder), spec.templates)
        return Extended(labels, fitted.figures | stages.faithful(spec, labels.projector, images))


def at_hand(originals: ImageSet, images: ImageSet, new: Sequence[int]) -> ImageSet:
    """What a step is fitted on: the originals of new classes, and the distilled images of the others, repeated.

    Each of these is repeated equally often, so that its class has about as many as the new ones on average.
    """
    arrived = originals.rows(torch.nonzero(torch.isin(originals.targets, _like(originals, new))).flatten())
    rows = torch.nonzero(~torch.isin(images.targets, _like(images, new))).flatten()
    others = len(images.classes) - len(new)
    times = max(1, round(len(arrived) / len(new) / (len(rows) / others)))
    earlier = images.rows(rows.repeat(times))
    together = torch.cat([in_memory(arrived.images), in_memory(earlier.images)])
    return ImageSet(together, torch.cat([arrived.targets, earlier.targets]), originals.classes)


def _like(data: ImageSet, targets: Sequence[int]) -> torch.Tensor:
    return torch.tensor(targets, device=data.targets.device)


def grown(adapter: Adapter, classes: Sequence[str], known: Sequence[int], spec: ProjectorSpec, seed: int) -> Adapter:
    """The adapter for a head of more classes (float32): `known` are the places among `classes` of those that it has.

    No logit of a known class changes, and those of the others are zero-shot. The head's rank follows its rule, and
    never falls.
    """
    encoder = encoders.load(spec.encoder, spec.size)
    start: Projector = zero_shot(encoder, classes, spec)
    rank = max(adapter.head_rank, head_rank(spec, len(classes), encoder.width))
    matrices = drawn_matrices(start, adapter.convolutions, adapter.encoder_rank, rank, seed)
    for name, matrix in adapter.matrices.items():
        if f".{HEAD}." not in name:
            matrices[name] = matrix
        elif "lora_A" in name:  # rank x width
            matrices[name][: len(matrix)] = matrix
        else:  # classes x rank, zero
            matrices[name][torch.tensor(known), : matrix.shape[1]] = matrix
    return replace(adapter, kept=matrices, matrices=matrices, precision="float32", head_rank=rank)
