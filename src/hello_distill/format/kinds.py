"""What a kind of labels says of itself, and the kinds by name. Without torch, so that `info` need not wait for it.

The kinds of this package are the modules of `hello_distill.labels`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, ClassVar

from hello_distill.format.fields import Count, Part, Weights
from hello_distill.system.errors import ArtifactError, InputError
from hello_distill.system.registry import Registry

HARD, FIXED, UNLIMITED = REGIMES = ("hard", "fixed", "unlimited")
"""Regimes: classes alone; a fixed number of soft labels an image; and soft labels of whatever views a student draws."""


class LabelPart(Part):
    """What a manifest says of labels. A kind derives its own part, with the fields that `LabelSource.save` returns."""

    kind: str
    """Which labels; the other fields depend on it."""
    parameters: Count
    """Numbers that are stored."""

    def files(self) -> set[str]:
        """Names of the labels' files, each in a folder of the artefact such as `labels/`. It holds no others."""
        return set()

    def check_images(self, classes: int, images: int, side: int) -> None:
        """Raise ValueError where these labels cannot be those of so many classes and images, of `side` pixels."""

    def index_bytes(self) -> int:
        """Bytes of its files that are no labels, such as stored views."""
        return 0

    def classifiers(self) -> list[str]:
        """Names of networks whose whole weights are the labels' files: `info` counts them as a teacher."""
        return []

    def public_weights(self) -> list[Weights]:
        """Public weight files that the labels rely on and that are not shipped."""
        return []

    def encoder_knows(self) -> str | None:
        """What the public encoder was trained on, where there is one."""
        return None

    def title(self) -> str:
        """What people read of it."""
        return self.kind

    def form(self) -> str:
        """Which of `forms` the files are."""
        return self.kind

    def forms(self) -> Mapping[str, int]:
        """Bytes of each form that the same labels may be stored in, for the ladder of `info`."""
        return {}

    def stock_code(self) -> str | None:
        """Markdown with code that makes the labels without this package, for the card; None where there is none."""
        return None


def option(default: Any, text: str) -> Any:
    """A field that is also an option of `hello-distill labels`, with its help."""
    return field(default=default, metadata={"help": text})


@dataclass(frozen=True)
class LabelKind:
    """A kind of labels. Its fields are what `hello-distill labels --kind` takes; derive a frozen dataclass.

    The `Any` below are an ImageSet, a StudentSpec and a LabelSource, whose modules need torch.
    """

    name: ClassVar[str]
    """Set by `register`; `kind` of its label sources and of its part of the manifest."""
    part: ClassVar[type[LabelPart]] = LabelPart
    """Its part of the manifest."""
    online: ClassVar[bool] = False
    """Whether its sources can label new images."""
    made_by: ClassVar[str | None] = None
    """Online kind that makes it in comparisons; None: it is made from the classes."""
    tuned_as: ClassVar[str | None] = None
    """Kind whose settings of students suit its students; None: its own are tried."""
    same_students_as: ClassVar[str | None] = None
    """Kind whose students are the same bit for bit, where a test shows it: comparisons then count bytes alone."""
    trials: ClassVar[str] = "soft"
    """Which settings comparisons try for its students: `soft` or `hard`."""

    @classmethod
    def regime(cls) -> str:
        """What students may ask for, one of `REGIMES`: accuracies across them compare what labels cost, not methods."""
        return HARD if cls.trials == "hard" else UNLIMITED if cls.online else FIXED

    @classmethod
    def load(cls, folder: Path, part: dict[str, Any], data: Any) -> Any:
        """The label source of an artefact from its part of the manifest, which is checked, and its images.

        Raises ArtifactError where the files are not what the part says.
        """
        raise NotImplementedError

    def make(self, data: Any, student: Any, online: Any) -> Any:
        """A label source for images and the training that students get on them, made by an online source.

        Raises InputError where these options cannot be had of that source.
        """
        raise NotImplementedError

    def check_maker(self, online: Any) -> None:
        """Raise InputError where an online source is of another kind: then there is nothing to ship."""
        if online.kind != self.name:
            raise InputError(f"no {self.name} here, but a {online.kind}; give --source an artefact that has one")

    @classmethod
    def trained(cls, made: Any, teachers: Any, shared: Any, projector: Any) -> Any:
        """An online source of this kind for a comparison.

        `made` is the artefact of a method, `teachers` are the Stages of its own teachers, `shared` those of the
        comparison, whose projector is of the spec `projector`.
        """
        raise InputError(f"a comparison cannot train what makes {cls.name} labels")

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> LabelKind:
        """The kind with these options. Raises InputError for options that it has not, or whose values are wrong."""
        for name in given:
            if name not in cls.options():
                others = [kind for kind in KINDS.names() if name in KINDS.find(kind).options()]
                raise InputError(f"--{name} is for {' or '.join(others)} labels, not {cls.name}")
        return cls(**given)

    @classmethod
    def options(cls) -> dict[str, str]:
        """Names of its options with their help."""
        return {each.name: each.metadata["help"] for each in fields(cls)}

    def with_seed(self, seed: int) -> LabelKind:
        """The same with another seed, where it has one."""
        return replace(self, seed=seed) if "seed" in self.options() else self  # type: ignore[call-arg]

    def check(self, classes: int) -> None:
        """Raise InputError where labels of so many classes gain nothing by these options."""

    def stored_bytes(self, classes: int, ipc: int, epochs: int, batch_size: int) -> int:
        """Bytes by formula, of a kind with `same_students_as`."""
        raise NotImplementedError


KINDS = Registry(LabelKind, "hello_distill.labels", "kind of labels")


def part_of(labels: Mapping[str, Any]) -> LabelPart:
    """The labels' part of a checked manifest as its kind's own model."""
    return KINDS.find(labels["kind"]).part.model_validate_json(json.dumps(labels))


def check_stated(folder: Path, stated: Mapping[str, Any], counted: Mapping[str, Any]) -> None:
    """Raise ArtifactError where labels state another number than was counted in their files."""
    for name, number in counted.items():
        if stated[name] != number:
            raise ArtifactError(
                f"{folder} states {stated[name]} as `labels.{name}`, and its files hold {number}; "
                "get the artefact again"
            )


def shipped(files: Mapping[str, Mapping[str, Any]], names: Iterable[str]) -> int:
    """Bytes of some of the files that a manifest lists."""
    return sum(files[name]["bytes"] for name in names)
