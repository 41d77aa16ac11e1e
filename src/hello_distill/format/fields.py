"""Types of the manifest's fields, each with a limit: what an artefact of a stranger may say. Without torch."""

from __future__ import annotations

import unicodedata
from typing import Annotated, Literal, TypeAlias, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)
LARGEST_SIDE = 4096
"""Pixels of an image's side."""
LONGEST_TEXT = 1000
"""Letters of a class name or another text."""
LARGEST_COUNT = 2**40
LARGEST_FEW = 2**24
"""Also of seeds."""


def clean(text: str) -> str:
    """The text. Raises ValueError for control characters, of Unicode's second set, too, but tabs and line ends."""
    if any(unicodedata.category(letter) == "Cc" and letter not in "\t\n" for letter in text):
        raise ValueError("must not hold control characters")
    return text


def line(text: str) -> str:
    """The text, of one line. Raises ValueError for line ends and tabs, too."""
    if any(letter in "\t\n\u2028\u2029" for letter in clean(text)):
        raise ValueError("must be one line, without tabs")
    return text


def _prompt(text: str) -> str:
    if text.count("{}") != 1 or text.replace("{}", "").count("{") or text.replace("{}", "").count("}"):
        raise ValueError("must hold {} once, for the name of the class, and no other braces")
    return text


Square: TypeAlias = Literal["crop", "pad", "squash"]
"""How an image is brought to a square: its centre, the whole of it between bars, or all of it out of proportion."""
SQUARES: tuple[Square, ...] = get_args(Square)
Precision: TypeAlias = Literal["float32", "float16", "int8", "int4"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
Count: TypeAlias = Annotated[int, Field(ge=0, le=LARGEST_COUNT)]
Few: TypeAlias = Annotated[int, Field(ge=1, le=LARGEST_FEW)]
Pixels: TypeAlias = Annotated[int, Field(ge=1, le=LARGEST_SIDE)]
Rank: TypeAlias = Annotated[int, Field(ge=1, le=1024)]
Rounds: TypeAlias = Annotated[int, Field(ge=1, le=100)]
Share: TypeAlias = Annotated[float, Field(ge=0, le=1)]
LARGEST = 1e6
"""Of factors and rates: what an artefact may name, and so what may be fitted with."""
Positive: TypeAlias = Annotated[float, Field(gt=0, le=LARGEST)]
NotNegative: TypeAlias = Annotated[float, Field(ge=0, le=LARGEST)]
Real: TypeAlias = Annotated[float, Field(ge=-1e9, le=1e9)]
Text: TypeAlias = Annotated[str, Field(max_length=LONGEST_TEXT), AfterValidator(clean)]
Line: TypeAlias = Annotated[str, Field(max_length=LONGEST_TEXT), AfterValidator(line)]
Name: TypeAlias = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_./@-]{0,199}$")]
"""Of an encoder, a network, a layer: never a path that leads elsewhere, nor an address."""
Prompt: TypeAlias = Annotated[Text, AfterValidator(_prompt)]
Templates: TypeAlias = Annotated[tuple[Prompt, ...], Field(min_length=1, max_length=1000)]
Sha256: TypeAlias = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Classes: TypeAlias = Annotated[list[Annotated[Text, Field(min_length=1)]], Field(min_length=2, max_length=2**15 - 1)]


class Part(BaseModel):
    """A JSON object with exactly these fields."""

    model_config = STRICT


class File(Part):
    """Size and hash of a file."""

    bytes: Count
    """Its size."""
    sha256: Sha256
    """Of its bytes, in lower-case hexadecimal digits."""


class Weights(File):
    """A public weight file that labels rely on."""

    name: Line
    """For people; it is found by its hash."""
