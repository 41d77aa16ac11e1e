"""Own teachers: classifiers that were trained elsewhere and are brought along, as `--teacher SOURCE`."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hello_distill.data.images import Material
from hello_distill.format.specs import Interface
from hello_distill.system.errors import InputError
from hello_distill.training.networks import IMAGENET_MEAN, IMAGENET_STD, Normalised
from hello_distill.training.own import checkpoint, classes
from hello_distill.training.own.found import Found, Names, find, imagenet, listed_names
from hello_distill.training.own.source import FORMS, TRANSFORMERS, Source, meant, parse


@dataclass(frozen=True)
class OwnTeacher:
    """A teacher that was brought along, fitted to the classes of the data."""

    source: Source
    model: Normalised
    """Frozen. Its `interface` is None where it sees images as a network does that is trained here."""
    interface: Interface
    """How it sees images, said also where that is as such a network does."""
    bytes: int
    sha256: str
    """Of the source's file."""

    @property
    def key(self) -> str:
        """All that its answers depend on."""
        return repr((self.sha256, self.source.network, self.model.interface))

    def only(self, chosen: Sequence[int]) -> OwnTeacher:
        """The same with logits of some of the data's classes alone, in this order; its weights are shared."""
        size, rows = self.model.enlarged or self.interface.size, tuple(self.interface.rows[each] for each in chosen)
        model = copy.copy(self.model)
        model.interface = replace(self.interface, size=size, rows=rows)
        return replace(self, model=model, interface=model.interface)

    def described(self) -> dict[str, Any]:
        """What a manifest says of it."""
        return _described(self.source, self.bytes, self.sha256)


def _described(source: Source, size: int, sha256: str) -> dict[str, Any]:
    return {"name": source.name, "bytes": size, "sha256": sha256, "network": source.network}


def described(sources: Sequence[str]) -> list[dict[str, Any]]:
    """What a result says of own teachers, which need not be open. Raises InputError and MachineError as `find` does."""
    parsed = [parse(text) for text in sources]
    return [_described(source, found.bytes, found.sha256) for source, found in ((each, find(each)) for each in parsed)]


def check_sources(sources: Sequence[str], labels: str) -> list[Found]:
    """What can be found out without the data: the files of the sources, for a method that makes labels of a kind.

    Raises InputError and MachineError as `find` does, and InputError for a source that the method could not use.
    """
    parsed = [parse(text) for text in sources]
    if parsed and labels == "hard":
        raise InputError("this method needs no teacher; leave --teacher out, or choose another --recipe")
    if twice := next((source for source in parsed if parsed.count(source) > 1), None):
        raise InputError(f"--teacher {twice.name} is named twice; give each teacher once")
    if labels == "teacher":
        for source in parsed:
            check_shipped(source)
    for source in parsed:
        listed_names(source)
    return [find(source) for source in parsed]


def shippable(sources: Sequence[str]) -> bool:
    """Whether an artefact can hold these teachers."""
    return all(parse(text).network != TRANSFORMERS for text in sources)


def check_shipped(source: Source) -> None:
    """Raise InputError for a teacher that no artefact can hold."""
    if source.network == TRANSFORMERS:
        raise InputError(
            f"--teacher {source.name}: labels of this kind ship their teacher or are made by one that could be, and an "
            "artefact holds networks of torchvision and timm only; choose labels, or a recipe whose labels are a "
            "projector's, or take the network from timm"
        )


def open_teachers(sources: Sequence[str], material: Material) -> list[OwnTeacher]:
    """The teachers of the sources for these images, on their device, each checked to know the classes.

    Raises InputError and MachineError as `find`, `checkpoint.fitted`, `classes.rows_of` and `classes.check` do.
    """
    return [_opened(parse(text), material) for text in sources]


def _opened(source: Source, material: Material) -> OwnTeacher:
    data, found = material.train, find(source)
    size = source.size or found.size or data.side
    model, outputs, names = _model(source, found, size)
    names = listed_names(source) or names
    if names is None and outputs == 1000 != len(data.classes):
        names = imagenet()
    rows = classes.rows_of(data.classes, names, outputs, source.name)
    interface = Interface(size, source.mean or found.mean, source.std or found.std, outputs, rows)
    plain = Interface(data.side, IMAGENET_MEAN, IMAGENET_STD, len(data.classes), tuple(range(len(data.classes))))
    model.interface = None if interface == plain else interface
    model = model.to(data.images.device).eval().requires_grad_(False)
    classes.check(model, material, source.name, by_number=rows == tuple(range(outputs)))
    return OwnTeacher(source, model, interface, found.bytes, found.sha256)


def _model(source: Source, found: Found, size: int) -> tuple[Normalised, int, Names | None]:
    """The network with its weights, how many outputs it has, and their names where those are known."""
    if source.network == TRANSFORMERS:
        from hello_distill.training.own import huggingface

        inner, outputs = huggingface.opened(Path(source.place))
        return Normalised(inner), outputs, found.names
    read = checkpoint.read(found.files[0])
    model, outputs = checkpoint.fitted(read.weights, source.network, size, source.name)
    return model, outputs, found.names or read.names


__all__ = [
    "FORMS",
    "OwnTeacher",
    "check_shipped",
    "check_sources",
    "described",
    "meant",
    "open_teachers",
    "parse",
    "shippable",
]
