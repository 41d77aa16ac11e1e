"""Whether the classes of labels and of images are in one order: the mistake that costs all accuracy and raises nothing.

Labelled images are shown to a label source. Where classes have changed places, the source takes the images of one for
those of another, and those of that one for the first's: a cycle, which no confusion of similar classes makes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from hello_distill.data.images import ImageSet
from hello_distill.data.names import folded
from hello_distill.system.errors import ArtifactError, InputError, listed
from hello_distill.types import Logits, Targets

SIGNIFICANT = 3.5
"""Ours: standard errors by which the images of a cycle's classes must be taken for the next class, not for their own.
Two classes that a source cannot tell apart at all come so far by chance once in 4,000 times."""


def check_order(logits: Logits, images: ImageSet, what: str) -> None:
    """Raise ArtifactError where classes have changed places between a label source and labelled images.

    `logits` (n c) are the source's for these images, `what` names it in the message. Two exchanged classes are found
    from about 20 images of each on; with fewer, only a larger disorder is, and with one image of each none.
    """
    if exchanged := cycle(images.targets.cpu(), logits.argmax(1).cpu(), len(images.classes)):
        pairs = listed([f"{images.classes[a]!r} for {images.classes[b]!r}" for a, b in exchanged], 3)
        raise ArtifactError(f"{what} has its classes in another order than the images: it takes {pairs}")


def cycle(targets: Targets, guesses: Targets, classes: int) -> list[tuple[int, int]]:
    """Pairs (class of the images, class they are taken for) of the classes that have changed places.

    Images are counted by their class and by the class they are taken for, without a square of all classes. Every class
    points to the one it is taken for most often; of the cycles of these pointers, those count in which all images
    together are taken for the next class rather than their own by `SIGNIFICANT` standard errors. A source that only
    guesses has such cycles, too, but of its images few agree: ours is that a quarter must, and of the classes half have
    a second one.
    """
    pairs, counts = torch.unique(targets * classes + guesses, return_counts=True)
    total, right = (torch.bincount(of, minlength=classes).tolist() for of in (targets, targets[targets == guesses]))
    guess, most = [0] * classes, [0] * classes
    for pair, count in zip(pairs.tolist(), counts.tolist(), strict=True):
        target, taken = divmod(pair, classes)
        if count > most[target]:
            guess[target], most[target] = taken, count
    exchanged: dict[int, int] = {}
    for start in range(classes):
        ring = _ring(start, guess)
        images, next_class, same = (sum(counted[target] for target in ring) for counted in (total, most, right))
        agreed = 4 * next_class > images and 2 * next_class > 3 * len(ring)
        if agreed and next_class - same > SIGNIFICANT * math.sqrt(next_class + same):
            exchanged |= {target: guess[target] for target in ring}
    return sorted(exchanged.items())


def _ring(start: int, guess: Sequence[int]) -> list[int]:
    """The cycle of pointers that a class lies on; empty where it lies on none, or points to itself."""
    ring = [start]
    while (target := guess[ring[-1]]) != start:
        if target in ring:
            return []
        ring.append(target)
    return ring if len(ring) > 1 else []


def other_names(ours: Sequence[str], theirs: Sequence[str]) -> str:
    """What is different between two lists of class names, in a few words; empty where they are the same."""
    if list(ours) == list(theirs):
        return ""
    if len(ours) != len(theirs):
        return f"{len(ours)} classes and {len(theirs)}"
    if sorted(ours) == sorted(theirs):
        return "the same classes in another order"
    if sorted(map(folded, ours)) == sorted(map(folded, theirs)):
        return "names that differ only in case, spaces or Unicode form"
    return f"other names, such as {next(a for a in ours if a not in set(theirs))!r}"


def check_classes_match(data: str, given: Sequence[str], classes: Sequence[str]) -> None:
    """Raise InputError where test images have other classes than those that were distilled."""
    if other := other_names(given, classes):
        raise InputError(
            f"{data} has the classes {_shown(given)}, the artefact {_shown(classes)}: {other}; "
            "give the data that it was distilled from, read with the same options, such as --class-names"
        )


def _shown(classes: Sequence[str]) -> str:
    return f"{', '.join(classes[:4])}{', ...' if len(classes) > 4 else ''} ({len(classes)})"
