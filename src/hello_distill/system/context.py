"""What a whole run shares, and no signature carries: where progress is shown, and how a source of images is read."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar, Token
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from hello_distill.system.errors import InputError
from hello_distill.system.logs import Curves, Log
from hello_distill.system.progress import SILENT, Progress, Stage

T = TypeVar("T")


@dataclass(frozen=True)
class Context:
    """`with Context(progress=ConsoleProgress(), max_bad=0.05): distill(...)`; outside of one, its defaults hold.

    Raises InputError for a `max_bad` outside of [0, 1].
    """

    progress: Progress = SILENT
    """Shows stages and bars."""
    max_bad: float = 0.01
    """Share of a split's images that may be unreadable; they are left out."""
    follow_links: bool = False
    """Whether links that lead out of a source are followed."""
    image_column: str | None = None
    """Column of a table that holds the images, or their paths; None finds it."""
    label_column: str | None = None
    """Column of a table that holds the classes; None finds it."""
    train_split: str | None = None
    """Name of the split, or folder of a source, to train on; None takes the one called train or training."""
    test_split: str | None = None
    """Name of the split, or folder of a source, to test on; None takes the usual ones."""
    revision: str | None = None
    """Branch, tag or commit of a data set on the Hub; None takes its newest."""
    class_names: str | Mapping[str, str] | None = None
    """File that names the classes for people and encoders, or names by the source's own; see
    `hello_distill.data.names`. None keeps the source's."""
    log: Log = field(default_factory=Log)
    """Where curves of trainings go; nowhere, unless it has a folder."""
    resume_changed: bool = False
    """Whether a run goes on that was begun with other versions, threads or processes, or on other hardware."""
    _tokens: list[Token[Context]] = field(default_factory=list, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not 0 <= self.max_bad <= 1:
            raise InputError(f"--max-bad {self.max_bad:g} is no share; give a number from 0 to 1")

    def __enter__(self) -> Context:
        self._tokens.append(_current.set(self))
        return self

    def __exit__(self, *_: object) -> None:
        self.log.close()
        _current.reset(self._tokens.pop())


_current: ContextVar[Context] = ContextVar("hello_distill", default=Context())  # noqa: B039


def current() -> Context:
    """The innermost context that is entered."""
    return _current.get()


@contextmanager
def changed(**fields: Any) -> Iterator[None]:
    """The current context with some fields changed, whose log goes on."""
    token = _current.set(replace(current(), **fields))
    try:
        yield
    finally:
        _current.reset(token)


def stage(name: str) -> AbstractContextManager[Stage]:
    """A named piece of work of the current run; its line is shown when it ends without an error."""
    return current().progress.stage(name)


def curves(what: str) -> Curves:
    """Where numbers of the training of this name go that began last."""
    return current().log.latest(what)


def track(items: Iterable[T], total: int, description: str) -> Generator[T]:
    """Pass items on, showing how many of `total` are done."""
    return current().progress.track(items, total, description)
