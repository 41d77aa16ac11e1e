"""What a report is made of, and its page: tables, pictures and notes in sections. Everything is escaped here.

Nothing on the page is fetched from anywhere, and nothing runs: pictures are data URIs, and there is no script.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, NamedTuple

from hello_distill.format.results.entries import Summary
from hello_distill.system.errors import MachineError


class Figure(NamedTuple):
    """A number as the file has it, and as people read it."""

    value: float | int
    text: str


Part = str | Figure
Cell = tuple[Part, ...]
"""What stands in a place of a table: words and figures, one after the other."""


@dataclass(frozen=True)
class Table:
    """A table; `commands` made it, `notes` stand below it."""

    form: ClassVar[str] = "table"
    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    notes: Sequence[str] = ()
    commands: Sequence[str] = ()
    wide: Collection[str] = ()
    """Columns that are left out where there is little room."""
    series: range = range(0)
    """Columns that are one where there is little room, without standard deviations."""

    def lines(self, apart: bool = False) -> list[list[str]]:
        """Head and rows as text where there is little room; columns of a series may stand apart nevertheless."""
        rows = [[plain(cell[:1] if at in self.series else cell) for at, cell in enumerate(row)] for row in self.rows]
        lines = [list(self.head), *rows]
        if self.series and not apart:
            part = slice(self.series.start, self.series.stop)
            lines = [[*line[: part.start], " ".join(line[part]), *line[part.stop :]] for line in lines]
        kept = [at for at, name in enumerate(lines[0]) if name not in self.wide]
        return [[line[at] for at in kept] for line in lines]

    @property
    def columns(self) -> list[tuple[str, bool]]:
        """Names of the columns, and whether figures stand in them."""
        columns = enumerate(self.head)
        return [(name, any(isinstance(row[at][0], Figure) for row in self.rows)) for at, name in columns]


@dataclass(frozen=True)
class Picture:
    """An image file of the media type `media`, `width` CSS pixels wide where there is room."""

    media: str
    draw: Callable[[], bytes]
    alt: str
    width: int
    sharp: bool = False
    """Its pixels are to be seen when it is enlarged."""

    @cached_property
    def source(self) -> str:
        """The data URI. Nothing is drawn before it is asked for."""
        return f"data:{self.media};base64,{base64.b64encode(self.draw()).decode()}"


@dataclass(frozen=True)
class Gallery:
    """Pictures side by side where there is room; `notes` stand above them."""

    form: ClassVar[str] = "gallery"
    title: str
    pictures: Sequence[tuple[str, Sequence[Picture]]]
    """A caption, and the pictures below it."""
    notes: Sequence[str] = ()
    commands: Sequence[str] = ()


@dataclass(frozen=True)
class Text:
    """Sentences, a paragraph each."""

    form: ClassVar[str] = "text"
    title: str
    notes: Sequence[str]


Block = Table | Gallery | Text


@dataclass(frozen=True)
class Section:
    """What one file or folder has to say."""

    title: str
    origin: str
    """The file or folder."""
    blocks: Sequence[Block]
    tables: Sequence[Table | Text] = ()
    """Those of the blocks that a terminal shows."""

    def draw(self) -> None:
        """Draw the pictures, before they are asked for."""
        galleries = [block for block in self.blocks if isinstance(block, Gallery)]
        _ = [picture.source for gallery in galleries for _, pictures in gallery.pictures for picture in pictures]


def size(count: int) -> str:
    """Bytes as people read them, in binary units."""
    value = float(count)
    for unit in ("B", "KiB", "MiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} GiB"


def plain(cell: Cell) -> str:
    """A place of a table as text that every terminal can write."""
    return "".join(part if isinstance(part, str) else part.text for part in cell).replace(" ± ", " +- ")


def row(*values: Cell | Summary | str | float | int | None) -> tuple[Cell, ...]:
    """Places of a table: of texts, whole numbers, percent, accuracies with their spread, and of what is not known."""
    return tuple(value if isinstance(value, tuple) else _cell(value) for value in values)


def _cell(value: Summary | str | float | int | None) -> Cell:
    if isinstance(value, Summary):
        return score(value.mean, value.sd)
    if value is None or isinstance(value, str):
        return words(value or "")
    return number(value, "," if isinstance(value, int) else ".1f")


def words(text: object) -> Cell:
    """A place of a table that holds no figure."""
    return (str(text),)


def number(value: float | int, form: str = "") -> Cell:
    """A figure, formatted as `form` says."""
    return (Figure(value, format(value, form)),)


def weight(value: int) -> Cell:
    """Bytes."""
    return (Figure(value, size(value) if value else "none"),)


def signed(gain: float) -> Cell:
    """Points of percent, with their sign."""
    return number(gain, "+.1f")


def score(mean: float, sd: float | None) -> Cell:
    """Percent: mean and standard deviation, where there is one."""
    return (*number(mean, ".1f"), *(() if sd is None else (" ± ", *number(sd, ".1f"))))


def render(title: str, sections: Sequence[Section], unknown: Sequence[tuple[str, str]], command: str) -> bytes:
    """The page. `unknown` are files that say nothing here, with the reason. Raises MachineError without Jinja."""
    try:
        from jinja2 import Environment, PackageLoader, StrictUndefined
    except ImportError:
        raise MachineError("report needs Jinja; install it with `pip install 'hello-distill[report]'`") from None
    environment = Environment(
        loader=PackageLoader("hello_distill.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    content: dict[str, Any] = {"title": title, "sections": sections, "unknown": unknown, "command": command}
    return environment.get_template("page.html.j2").render(content).encode()
