"""Progress bars by stage, and one line per finished stage with its time and the figure that matters."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")


class Stage:
    """A named piece of work; set `figure` to what its line should say."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.figure = ""


class Progress:
    """Silent progress: what library calls use unless told otherwise."""

    @contextmanager
    def stage(self, name: str) -> Iterator[Stage]:
        """Run a stage; its line is printed when it ends without an error."""
        stage = Stage(name)
        start = time.monotonic()
        yield stage
        self.line(stage.name, time.monotonic() - start, stage.figure)

    def line(self, name: str, seconds: float, figure: str) -> None:
        """Report a finished stage."""

    def track(self, items: Iterable[T], total: int, what: str) -> Iterator[T]:
        """Pass items on, showing how many of `total` are done."""
        yield from items


SILENT = Progress()


class ConsoleProgress(Progress):
    """Bars while a stage runs (on a terminal), one plain line when it is done, on standard error."""

    def __init__(self) -> None:
        from rich.console import Console

        self.console = Console(stderr=True, highlight=False, soft_wrap=True)

    def line(self, name: str, seconds: float, figure: str) -> None:
        self.console.print(f"{name:<24} {seconds:7.1f} s   {figure}", markup=False)

    def track(self, items: Iterable[T], total: int, what: str) -> Iterator[T]:
        if not self.console.is_terminal:
            yield from items
            return
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bars

        columns = (
            TextColumn("{task.description:<24}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
        )
        with Bars(*columns, console=self.console, transient=True) as bars:
            yield from bars.track(items, total=total, description=what)
