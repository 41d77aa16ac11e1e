"""Progress bars by stage, and one line per finished stage with its time and the figure that matters."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


@dataclass
class Stage:
    """A named piece of work; set `figure` to what its line should say."""

    name: str
    figure: str = ""


class Progress:
    """Silent progress: what library calls use unless another is given."""

    @contextmanager
    def stage(self, name: str) -> Iterator[Stage]:
        """Run a stage; its line is printed when it ends without an error."""
        stage = Stage(name)
        start = time.monotonic()
        yield stage
        self.line(stage.name, time.monotonic() - start, stage.figure)

    def line(self, name: str, seconds: float, figure: str) -> None:
        """Report a finished stage."""

    def track(self, items: Iterable[T], total: int, what: str) -> Generator[T]:
        """Pass items on, showing how many of `total` are done."""
        yield from items


SILENT = Progress()


class Stopwatch(Progress):
    """Another progress, which it passes all on to, and the seconds that stages took by their names."""

    def __init__(self, shown: Progress) -> None:
        self.shown = shown
        self.seconds: defaultdict[str, float] = defaultdict(float)

    def line(self, name: str, seconds: float, figure: str) -> None:
        self.seconds[name] += seconds
        self.shown.line(name, seconds, figure)

    def track(self, items: Iterable[T], total: int, what: str) -> Generator[T]:
        yield from self.shown.track(items, total, what)


SECONDS_BETWEEN_LINES = 30


class ConsoleProgress(Progress):
    """On standard error: one plain line for each finished stage, and while it runs bars on a terminal.

    Where nobody watches, a line now and then takes the bars' place: at most one in half a minute and one a percent.
    """

    def __init__(self) -> None:
        from rich.console import Console

        self.console = Console(stderr=True, highlight=False, soft_wrap=True)

    def line(self, name: str, seconds: float, figure: str) -> None:
        self.console.print(f"{name:<24} {seconds:7.1f} s   {figure}", markup=False)

    def track(self, items: Iterable[T], total: int, what: str) -> Generator[T]:
        if not self.console.is_terminal or self.console.is_dumb_terminal:
            yield from self._lines(items, total, what)
            return
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bars

        columns = (TextColumn("{task.description:<24}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Bars(*columns, console=self.console, transient=True) as bars:
            yield from bars.track(items, total=total, description=what)

    def _lines(self, items: Iterable[T], total: int, what: str) -> Generator[T]:
        start = printed = time.monotonic()
        percent = 0
        for done, item in enumerate(items):
            now = time.monotonic()
            if now - printed >= SECONDS_BETWEEN_LINES and 100 * done // total > percent:
                printed, percent = now, 100 * done // total
                left = (now - start) * (total - done) / done
                self.line(what, now - start, f"{done} of {total} ({percent} %), about {left:.0f} s left")
            yield item
