"""Which output of a teacher is which class: by names where it has some, and by its answers on labelled images."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import torch

from hello_distill.data.images import ImageSet, Material
from hello_distill.data.names import folded
from hello_distill.data.order import cycle
from hello_distill.system.errors import InputError, listed, nearest
from hello_distill.training.own.found import Names
from hello_distill.training.scores import predict
from hello_distill.types import Classifier

ENOUGH = 20
"""Images of each class by which two exchanged classes are found (`data.order`)."""
MOST = 2000
"""Images that a teacher is shown at most, where held-out ones are not enough."""
SIGNIFICANT = 2.0
"""Ours: standard errors by which a teacher must be better than chance."""
SHOWN = 12
"""Classes whose order an error spells out."""


def rows_of(classes: Sequence[str], names: Names | None, outputs: int, what: str) -> tuple[int, ...]:
    """For each class of the data the number of the teacher's output.

    By number where the teacher has as many outputs and no names, or none of the data's. Raises InputError for a class
    that it does not know, or knows twice.
    """
    if names is not None and len(names) != outputs:
        raise InputError(f"--teacher {what}: there are {len(names)} class names for its {outputs} outputs")
    found = [_outputs_of(name, names or ()) for name in classes]
    if outputs == len(classes) and not any(found):
        return tuple(range(outputs))
    if names is None:
        raise InputError(
            f"--teacher {what} has {outputs} outputs, the data {len(classes)} classes, and it has no names of its own; "
            "add :classes=FILE, which names its classes in the order of its outputs, one a line"
        )
    for name, rows in zip(classes, found, strict=True):
        if not rows:
            known = [each for aliases in names for each in aliases]
            raise InputError(f"--teacher {what} knows no class {name!r}: {nearest(name, known)}")
        if len(rows) > 1:
            raise InputError(
                f"--teacher {what} has {len(rows)} classes called {name!r}; tell them apart by :classes=FILE"
            )
    return tuple(rows[0] for rows in found)


def _outputs_of(name: str, names: Names) -> list[int]:
    """Outputs of that name; by one of several names that a class has only where none has it as a whole."""
    wanted = _plain(name)
    whole = [row for row, aliases in enumerate(names) if wanted in map(_plain, aliases)]
    parts = [row for row, aliases in enumerate(names) if wanted in map(_plain, ",".join(aliases).split(","))]
    return whole or parts


def _plain(name: str) -> str:
    return folded(re.sub(r"[_-]+", " ", name))


def check(teacher: Classifier, material: Material, what: str, by_number: bool) -> None:
    """Raise InputError where a teacher's classes have changed places, or it is no better than chance.

    It is shown the held-out images, and where those are fewer than `ENOUGH` of each class, images of the training part,
    too, evenly spread. Where its outputs are the data's classes `by_number`, the order that its answers show is named.
    """
    images = _shown(material)
    logits = predict(teacher, images.images, "teacher's classes").cpu()
    targets, guesses, classes = images.targets.cpu(), logits.argmax(1), images.classes
    if exchanged := cycle(targets, guesses, len(classes)):
        pairs = listed([f"{classes[a]!r} for {classes[b]!r}" for a, b in exchanged])
        order = _order(dict(exchanged), classes) if by_number and len(classes) <= SHOWN else ""
        raise InputError(
            f"--teacher {what} has its classes in another order than the data: it takes {pairs}; add :classes=FILE, "
            f"which names its classes in the order of its outputs, one a line{order}"
        )
    right = (targets == guesses).double()
    present = targets.unique()
    recall = torch.stack([right[targets == target].mean() for target in present]).mean().item()
    chance = 1 / len(classes)
    if recall <= chance + SIGNIFICANT * math.sqrt(chance * (1 - chance) / len(targets)):
        raise InputError(
            f"--teacher {what} is right for {100 * recall:.1f} % of the images of a class (mean over classes, "
            f"{len(targets)} images), and chance for {100 * chance:.1f} %; is it trained, on these classes "
            f"({listed(list(classes))}), and do :size=, :mean= and :std= say how its images were prepared?"
        )


def _order(exchanged: dict[int, int], classes: Sequence[str]) -> str:
    """The classes in the order that the answers show."""
    outputs = {exchanged.get(target, target): name for target, name in enumerate(classes)}
    return f": {', '.join(outputs[row] for row in range(len(classes)))}"


def _shown(material: Material) -> ImageSet:
    train, held = material
    if len(held) >= min(ENOUGH * len(train.classes), MOST):
        return held
    rows = torch.linspace(0, len(train) - 1, min(MOST - len(held), len(train))).long()
    part = train.rows(rows.to(train.targets.device))
    return ImageSet(torch.cat([part.images[:], held.images[:]]), torch.cat([part.targets, held.targets]), train.classes)
