"""Whether the classes of labels and of images are in one order: the mistake that costs all accuracy and raises nothing.

Labelled images are shown to a label source. Where classes have changed places, the source takes the images of one for
those of another, and those of that one for the first's: a cycle, which no confusion of similar classes makes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from jaxtyping import Int64
from torch import Tensor

from hello_distill.data import ImageSet
from hello_distill.errors import ArtifactError
from hello_distill.folders import folded
from hello_distill.scores import confusion
from hello_distill.types import Logits

SIGNIFICANT = 3.5
"""Ours: standard errors by which the images of a cycle's classes must be taken for the next class, not for their own.
Two classes that a source cannot tell apart at all come so far by chance once in 4,000 times."""


def check_order(logits: Logits, images: ImageSet, what: str) -> None:
    """Raise ArtifactError where classes have changed places between a label source and labelled images.

    `logits` (n c) are the source's for these images, `what` names it in the message. Two exchanged classes are found
    from about 20 images of each on; with fewer, only a larger disorder is, and with one image of each none.
    """
    exchanged = cycle(confusion(logits.cpu(), images.targets.cpu(), len(images.classes)))
    if exchanged:
        told = ", ".join(f"{images.classes[a]!r} for {images.classes[b]!r}" for a, b in exchanged[:3])
        more = f" and {len(exchanged) - 3} more" if len(exchanged) > 3 else ""
        raise ArtifactError(f"{what} has its classes in another order than the images: it takes {told}{more}")


def cycle(confusion: Int64[Tensor, "c c"]) -> list[tuple[int, int]]:
    """Pairs (class of the images, class they are taken for) of the classes that have changed places.

    `confusion` counts images by their class (rows) and by the class they are taken for. Every class points to the one
    it is taken for most often; of the cycles of these pointers, those count in which all images together are taken for
    the next class rather than their own by `SIGNIFICANT` standard errors. A source that only guesses has such cycles,
    too, but of its images few agree: ours is that a quarter must, and of the classes half have a second one.
    """
    target = confusion.argmax(1).tolist()
    found: dict[int, int] = {}
    for start in range(len(target)):
        ring = _ring(start, target)
        most = sum(int(confusion[place, target[place]]) for place in ring)
        own = sum(int(confusion[place, place]) for place in ring)
        agreed = 4 * most > int(confusion[ring].sum()) and 2 * most > 3 * len(ring)
        if agreed and most - own > SIGNIFICANT * math.sqrt(most + own):
            found |= {place: target[place] for place in ring}
    return sorted(found.items())


def _ring(start: int, target: Sequence[int]) -> list[int]:
    """The cycle of pointers that a class lies on; empty where it lies on none, or points to itself."""
    ring = [start]
    while (place := target[ring[-1]]) != start:
        if place in ring:
            return []
        ring.append(place)
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
