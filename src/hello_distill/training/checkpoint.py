"""Where a training stands, kept on disk: a run that was killed goes on there, and ends with the same bytes.

Trainings inside of `within(folder)` keep their checkpoints in that folder, numbered in the order in which they begin; a
rerun begins them in the same order. What a training draws depends on its seed and the step alone, so weights, running
statistics and the optimiser's state are all that there is to keep.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from itertools import count
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from hello_distill.format.tensors import UNREADABLE
from hello_distill.system import context, distributed, publishing
from hello_distill.system.errors import MachineError
from hello_distill.training import machines
from hello_distill.training.machines import Record

INTERVAL = 60.0
"""Seconds between checkpoints, and so what a kill costs at most."""


class Scope:
    """A folder of checkpoints."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.numbers = count(1)
        self.others: list[Record] = []
        """Records of other machines, on which trainings were begun that went on here."""

    def file(self) -> Path:
        """Of the training that begins next."""
        return self.folder / f"{next(self.numbers)}.safetensors"


_scope: ContextVar[Scope | None] = ContextVar("checkpoints", default=None)


@contextmanager
def within(folder: Path | None) -> Iterator[None]:
    """Keep checkpoints of the trainings inside in this folder, which goes when they all went well; None keeps none."""
    token = _scope.set(None if folder is None else Scope(folder))
    try:
        yield
    except BaseException:
        if folder is not None:
            with suppress(OSError):  # it holds something, or is not there
                folder.rmdir()
        raise
    finally:
        _scope.reset(token)
    if folder is not None:
        distributed.barrier()  # all have read theirs
        if distributed.first():
            shutil.rmtree(folder, ignore_errors=True)


def others() -> list[Record]:
    """Of the trainings inside of `within`, records of other machines on which they were begun."""
    scope = _scope.get()
    return scope.others if scope else []


class Checkpoint:
    """Of one training: its model, its optimiser, and what was measured or kept as it went."""

    def __init__(
        self,
        what: str,
        identity: Sequence[Any],
        model: nn.Module,
        optimiser: torch.optim.Optimizer,
        kept: dict[str, Tensor],
    ) -> None:
        scope = _scope.get()
        self.file = scope.file() if scope else None
        self.what = what
        self.identity = hashlib.sha256(repr([what, *identity, *trained_state(model)]).encode()).hexdigest()
        self.model = model
        self.optimiser = optimiser
        self.kept = kept
        self.machine = machines.machine() if self.file else {}
        """The record of all on which it was trained so far."""
        self.written = time.monotonic()

    def restore(self) -> tuple[int, int]:
        """Go back to where the training stood: the epoch, and how many of its batches lie behind; (0, 0) without one.

        Raises InputError where another machine (`machines.machine`) made it and `Context.resume_changed` is not set,
        MachineError where it cannot be read.
        """
        if self.file is None or not distributed.followed(float(self.file.exists())):
            return 0, 0
        try:
            with safetensors.safe_open(self.file, "pt") as opened:
                facts = json.loads(opened.metadata()["facts"])
            tensors = safetensors.torch.load_file(self.file)
        except (*UNREADABLE, KeyError, TypeError, ValueError) as error:
            raise MachineError(
                f"{self.file} cannot be read: {error}; remove it, and the training begins anew"
            ) from None
        if facts["identity"] != self.identity:
            return 0, 0  # of another training that the same run would have come to
        self._follow(facts["machine"])
        self._load(tensors)
        with context.stage("resumed") as stage:
            stage.figure = f"{self.what}: goes on after {facts['epoch']} epochs and {facts['batch']} batches"
        return facts["epoch"], facts["batch"]

    def _follow(self, made: Record) -> None:
        """Go on from what was made with another machine, where that is asked for."""
        assert self.file is not None
        machines.check(f"{self.what} was begun", made, self.machine, self.file.parent)
        if machines.differing(made, self.machine):
            others().append(made)
            self.machine = machines.merged(made, self.machine)

    def _load(self, tensors: dict[str, Tensor]) -> None:
        state, kept = trained_state(self.model), {}
        parameters = [parameter for group in self.optimiser.param_groups for parameter in group["params"]]
        optimiser: dict[int, dict[str, Tensor]] = {}
        for name, value in tensors.items():
            part, _, rest = name.partition("/")
            if part == "model":
                state[rest].detach().copy_(value)
            elif part == "kept":
                kept[rest] = value
            else:
                number, _, key = rest.partition("/")
                optimiser.setdefault(int(number), {})[key] = _laid_out(value, parameters[int(number)])
        self.kept |= kept
        self.optimiser.load_state_dict({**self.optimiser.state_dict(), "state": optimiser})

    def save_if_due(self, epoch: int, batch: int) -> None:
        """Write one where the last is older than `INTERVAL`."""
        if self.file is not None and time.monotonic() - self.written >= INTERVAL:
            self.save(epoch, batch)

    def save(self, epoch: int, batch: int, going_on: bool = True) -> None:
        """Write where the training stands: `epoch` epochs and `batch` batches lie behind; if these are all, without
        what only steps to come would need."""
        if self.file is None or not distributed.first():
            return
        tensors = {f"model/{name}": value for name, value in trained_state(self.model).items()}
        tensors |= {f"kept/{name}": value for name, value in self.kept.items()}
        for number, values in (self.optimiser.state_dict()["state"] if going_on else {}).items():
            tensors |= {f"optimiser/{number}/{key}": value for key, value in values.items() if value is not None}
        apart = {
            name: value.detach().cpu().clone(memory_format=torch.contiguous_format) for name, value in tensors.items()
        }
        facts = {"identity": self.identity, "machine": self.machine, "epoch": epoch, "batch": batch}
        self.file.parent.mkdir(parents=True, exist_ok=True)
        publishing.write(self.file, safetensors.torch.save(apart, {"facts": json.dumps(facts)}))
        self.written = time.monotonic()


def _laid_out(value: Tensor, parameter: Tensor) -> Tensor:
    """What an optimiser keeps of a parameter, with that one's strides: fused steps go through memory as it lies."""
    return torch.empty_like(parameter, dtype=value.dtype).copy_(value) if value.shape == parameter.shape else value


def trained_state(model: nn.Module) -> dict[str, Tensor]:
    """What a training changes of a model: parameters that it trains, and running statistics."""
    trained = {name: value for name, value in model.named_parameters() if value.requires_grad}
    return {**trained, **dict(model.named_buffers())}
