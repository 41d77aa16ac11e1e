"""Ctrl-C and SIGTERM: a run unwinds and leaves nothing half-written, and ends in time whatever it is doing."""

from __future__ import annotations

import os
import select
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from hello_distill.system import claims, distributed

SENTENCE = "stopped; nothing is left half-written, and the same command goes on with what it kept"
SIGNALS = (signal.SIGINT, signal.SIGTERM)
GRACE = 7.0
"""Seconds that a run has to unwind. One that is deep in a library, which does not look at signals, has no other end."""


class Stopped(KeyboardInterrupt):
    """A run was asked to end. It is a KeyboardInterrupt, which libraries let pass."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.sentence = _said[-1]
        self.exit_code = 128 + number
        """130 for Ctrl-C, 143 for SIGTERM."""


@contextmanager
def stoppable() -> Iterator[None]:
    """Raise Stopped at the first signal; end the process at the second, or when `GRACE` is over, without unwinding.

    While modules are imported the first signal ends it at once. Does nothing outside the main thread, where signals
    cannot be handled.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    read, write = os.pipe()
    os.set_blocking(write, False)
    before = {number: signal.signal(number, _stop) for number in SIGNALS}
    wakeup = signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    threading.Thread(target=_watch, args=(read,), daemon=True).start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(wakeup)
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(write)


_said = [SENTENCE]
"""What is said of a stop: the last of these."""


@contextmanager
def keeping_nothing() -> Iterator[None]:
    """Inside, nothing is written, and a stop says no more than that it is one."""
    _said.append("stopped")
    try:
        yield
    finally:
        _said.pop()


def _stop(number: int, frame: FrameType | None) -> None:
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            _end(number)  # an exception in the midst of torch's own start would abort the process
        frame = frame.f_back
    raise Stopped(number)


def _end(number: int) -> None:
    """End without unwinding."""
    claims.abandon()
    if distributed.launched().rank == 0:
        os.write(2, f"hello-distill: {_said[-1]}\n".encode())
    os._exit(128 + number)


def _watch(read: int) -> None:
    """See signals also while the main thread does not come to handle them."""
    first = os.read(read, 1)
    if first:
        more, _, _ = select.select([read], [], [], GRACE)
        if not more or os.read(read, 1):
            _end(first[0])
    os.close(read)
