"""What `--teacher SOURCE` may be: a network's checkpoint, public weights, or a folder of transformers."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from hello_distill.system.errors import InputError, nearest, one_line

FORMS = (
    "NETWORK:FILE (such as resnet18:teacher.safetensors), torchvision/NAME[:WEIGHTS], timm/NAME[:pretrained], or a "
    "folder with config.json of an image classifier of transformers"
)
TORCHVISION, TIMM, TRANSFORMERS = "torchvision/", "timm/", "transformers"
CHECKPOINTS = (".safetensors", ".pt", ".pth", ".bin", ".ckpt", ".tar")
"""How files of weights end. Others are known by lying there."""
OPTIONS = ("classes", "size", "mean", "std")
OPTION = re.compile(rf":(?=(?:{'|'.join(OPTIONS)})=)")
Kind = Literal["file", "torchvision", "timm", "transformers"]
Colour = tuple[float, float, float]


@dataclass(frozen=True)
class Source:
    """A teacher that was trained elsewhere, as the user names it."""

    kind: Kind
    network: str
    """As `networks.build` knows it; of a folder `transformers`."""
    place: str
    """The checkpoint or folder; of torchvision's weights their name, empty for the default; of timm's nothing."""
    classes: str | None = None
    """File of its class names in the order of its outputs, one a line."""
    size: int | None = None
    """Height and width in pixels of its input; None: what is known of it, else those of the data."""
    mean: Colour | None = None
    std: Colour | None = None
    """Of its normalisation, for images in [0, 1]; None: what is known of it, else ImageNet's."""

    @property
    def name(self) -> str:
        """As an artefact may carry it: without the folders above its files. It is a source itself."""
        place = Path(self.place).name if self.kind in ("file", "transformers") else self.place
        head = (TORCHVISION if self.kind == "torchvision" else "") + self.network
        parts = [place] if self.kind == TRANSFORMERS else [head, *[place] * bool(place)]
        given = {**vars(self), "classes": self.classes and Path(self.classes).name}
        return ":".join([*parts, *(f"{key}={_shown(given[key])}" for key in OPTIONS if given[key] is not None)])


def _shown(value: object) -> str:
    return ",".join(f"{number:g}" for number in value) if isinstance(value, tuple) else str(value)


def parse(text: str) -> Source:
    """The source of that text. Raises InputError for what is none, or a value that is none, naming the forms."""
    place, *given = OPTION.split(text)
    options = dict(part.split("=", 1) for part in given)
    if unknown := re.search(r":(\w+)=", place):
        raise InputError(f"--teacher {text}: unknown option {unknown[1]!r}: {nearest(unknown[1], OPTIONS)}")
    kind, network, where = _divided(text, place)
    return Source(
        kind,
        network,
        where,
        options.get("classes"),
        _pixels(text, options["size"]) if "size" in options else None,
        _colour(text, "mean", options["mean"]) if "mean" in options else None,
        _colour(text, "std", options["std"]) if "std" in options else None,
    )


def _divided(text: str, place: str) -> tuple[Kind, str, str]:
    head, _, tail = place.partition(":")
    is_file = tail.endswith(CHECKPOINTS) or (tail != "" and Path(tail).is_file())
    bare = head.removeprefix(TORCHVISION)
    if is_file:
        return "file", bare, tail
    if Path(place).is_dir():
        return "transformers", TRANSFORMERS, place
    if head.startswith(TORCHVISION):
        return "torchvision", bare, tail
    if head.startswith(TIMM):
        return "timm", head if tail in ("", "pretrained") else f"{head}.{tail}", ""
    if place.endswith(CHECKPOINTS) or Path(place).is_file():
        raise InputError(
            f"--teacher {text} does not say which network it is; write NETWORK:FILE, such as resnet18:{text}"
        )
    if tail:
        raise InputError(f"--teacher {text}: there is no file {tail}; a teacher is {FORMS}")
    raise InputError(f"--teacher {text} is no folder, and names no weights; a teacher is {FORMS}")


def _pixels(text: str, value: str) -> int:
    if not value.isdigit() or not 1 <= int(value) <= 1024:
        raise InputError(f"--teacher {text}: `size` is the side of its input in pixels, 1 to 1024, not {value!r}")
    return int(value)


def _colour(text: str, name: str, value: str) -> Colour:
    try:
        numbers = [float(part) for part in value.split(",")]
        numbers = numbers * 3 if len(numbers) == 1 else numbers
        red, green, blue = numbers
    except ValueError as error:
        raise InputError(
            f"--teacher {text}: `{name}` is a number for each of red, green and blue, such as {name}=0.5,0.5,0.5, not "
            f"{value!r} ({one_line(error)})"
        ) from None
    if name == "std" and not min(numbers) > 0:
        raise InputError(f"--teacher {text}: `std` divides, and must be above 0")
    return red, green, blue


def meant(name: str) -> bool:
    """Whether somebody who writes this as a network's name means a trained teacher."""
    return name.startswith(TORCHVISION) or ":" in name or name.endswith(CHECKPOINTS) or Path(name).is_dir()
