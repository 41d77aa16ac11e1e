"""What is made once and cached under a hash: whoever wants the same waits, and what is cached is whole."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import filelock

from hello_distill.system import distributed
from hello_distill.system.claims import reserved


@contextmanager
def locked(file: Path, wait: bool = True) -> Iterator[bool]:
    """Hold a lock that other processes see, and that goes when the process does.

    Gives True when it is held; without `wait` False where another process holds it.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(file)
    try:
        held = lock.acquire(blocking=wait)
    except filelock.Timeout:
        yield False
    else:
        with held:
            yield True


def once(target: Path, make: Callable[[], object], parts: Collection[str] = (), together: bool = False) -> Path:
    """Call `make`, which publishes `target` or these parts of it, unless they are there; returns `target`.

    Another thread or process that wants the same waits meanwhile, and finds it. `together` says that all processes of
    a training call this: the first asks and waits, all call `make`, and when they leave, all find what the first wrote.
    """
    wanted = [target / part for part in parts] or [target]

    def missing() -> bool:
        return not all(path.exists() for path in wanted)

    if together:
        with _held(target) if distributed.first() else nullcontext():
            if distributed.followed(float(missing())):
                make()
            distributed.followed(0.0)
    elif missing():
        with _held(target):
            if missing():
                make()
    return target


@contextmanager
def _held(target: Path) -> Iterator[None]:
    """Have a target to oneself. Where a file system keeps no locks, its claim holds on one machine all the same."""
    lock = target.with_name(f".{target.name}.lock")
    with locked(lock):
        try:
            with reserved(target, wait=True):
                yield
        finally:
            lock.unlink(missing_ok=True)  # who waits for it sees that it is gone, and makes another
