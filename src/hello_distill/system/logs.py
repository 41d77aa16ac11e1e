"""Curves of a run's trainings as TensorBoard event files: `--log DIR`, then `tensorboard --logdir DIR`.

Each training has a folder of its own in DIR, named by what is trained; of several of one name the later ones have a
number behind it. Imports tensorboard only where a log is asked for.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from hello_distill.system import distributed
from hello_distill.system.errors import InputError, MachineError


@runtime_checkable
class Curves(Protocol):
    """Where the numbers of one training go."""

    def add_scalar(self, tag: str, scalar_value: Any, global_step: int) -> None:
        """A number (or tensor of one) at a step, counted from 0."""


class Nowhere:
    """Curves that nobody asked for."""

    def add_scalar(self, tag: str, scalar_value: Any, global_step: int) -> None:
        """Do nothing."""


class Log:
    """The event files of one run. Raises InputError for what is no folder, MachineError without tensorboard."""

    def __init__(self, folder: str | Path | None = None) -> None:
        self.folder = None if folder is None else Path(folder)
        self._latest: dict[str, Curves] = {}
        if self.folder is not None:
            there = next(path for path in (self.folder, *self.folder.absolute().parents) if path.exists())
            if str(folder) == "" or not there.is_dir():
                raise InputError(f"--log {str(folder)!r} is no folder; name one, or leave it out")
            self._writer = _writer_class()

    def begin(self, what: str, first: int = 0) -> Curves:
        """Curves of a training that begins, or goes on at step `first`: what was logged from there on goes.

        Raises MachineError where they cannot be written.
        """
        if self.folder is None or not distributed.first():
            return Nowhere()
        name = re.sub(r"\W+", "-", what).strip("-")
        taken = [path.name for path in self.folder.glob(f"{name}*")]
        free = next(n for n in range(1, len(taken) + 2) if _numbered(name, n) not in taken)
        number = max(1, free - 1) if first else free  # what goes on is the last that began
        try:
            self._latest[what] = self._writer(
                self.folder / _numbered(name, number), purge_step=first or None, flush_secs=10
            )
        except OSError as error:
            raise MachineError(
                f"--log {self.folder} cannot be written: {error.strerror}; name another folder"
            ) from None
        return self._latest[what]

    def latest(self, what: str) -> Curves:
        """Curves of the training of this name that began last."""
        return self._latest.get(what, Nowhere())

    def close(self) -> None:
        """Bring all to disk."""
        for curves in self._latest.values():
            curves.close()  # type: ignore[attr-defined]
        self._latest.clear()


def _numbered(name: str, number: int) -> str:
    return name if number == 1 else f"{name}-{number}"


def _writer_class() -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise MachineError("--log needs tensorboard; pip install 'hello-distill[log]'") from None
    return SummaryWriter
