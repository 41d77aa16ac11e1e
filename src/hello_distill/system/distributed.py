"""Processes that train together, as torchrun starts them. In a process of its own nothing here does anything.

All of them do the same with the same numbers, but in the loop that trains weights, where each takes its part of every
batch and gradients are averaged, and in tests (`training.scores`) and work that is done in blocks (`stages.kept`),
which they divide. The first alone claims, writes and prints. Imports torch only where it is needed.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from hello_distill.system.errors import InputError, MachineError, memory_full
from hello_distill.system.machine import device, versions

if TYPE_CHECKING:
    from torch import Tensor, nn

T = TypeVar("T")
EVERY = slice(None)
"""The part of a batch that a process alone has."""
PATIENCE = timedelta(hours=1)
"""How long a process waits for the others: one may write an artefact, or wait for a stage that another run makes."""


class Team(NamedTuple):
    """The processes of a run, and which of them this is."""

    rank: int
    processes: int
    local: int
    """Which of those of this machine it is, and so the number of its GPU."""
    on_this_machine: int
    """How many there are on this machine."""


ALONE = Team(0, 1, 0, 1)
_joined = [ALONE]


def launched() -> Team:
    """What torchrun says of this process."""
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return ALONE
    return Team(*(int(os.environ[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")))


@contextmanager
def joined() -> Iterator[None]:
    """Train together with the other processes that torchrun has started.

    Raises MachineError where this machine has fewer GPUs than processes.
    """
    team = launched()
    if team.processes == 1:
        yield
        return
    import torch
    import torch.distributed as dist

    on_gpu = device().startswith("cuda")
    if on_gpu:
        if team.local >= (gpus := torch.cuda.device_count()):
            raise MachineError(
                f"{team.on_this_machine} processes need a GPU each, and there are {gpus}; start fewer with "
                "--nproc-per-node, or set HELLO_DISTILL_DEVICE=cpu"
            )
        torch.cuda.set_device(team.local)
    _joined[0] = team
    try:
        with answered():
            dist.init_process_group("nccl" if on_gpu else "gloo", timeout=PATIENCE)
        yield
    finally:
        _joined[0] = ALONE
        if dist.is_initialized():
            dist.destroy_process_group()


def first() -> bool:
    """Whether this process writes: the first of those that train together, or one of its own."""
    return _joined[0].rank == 0


def processes() -> int:
    """How many train together."""
    return _joined[0].processes


def made_with() -> dict[str, Any]:
    """What the numbers of a training depend on beside its settings: versions, threads, processes."""
    return {**versions(), "processes": processes()}


def seed_of(seed: int, step: int) -> int:
    """A seed for what a process draws at a step for its own images, such as dropout; 32 bits, which is what counts."""
    named = f"{seed} {step} {_joined[0].rank}".encode()
    return int.from_bytes(hashlib.sha256(named).digest()[:4], "little")


def part(count: int) -> slice:
    """The rows of a batch of `count` images that this process has. Raises InputError where not each gets one."""
    rank, processes = _joined[0][:2]
    if processes == 1:
        return EVERY
    if count < processes:
        raise InputError(
            f"a batch of {count} images cannot be shared by {processes} processes; start fewer with --nproc-per-node"
        )
    return slice(count * rank // processes, count * (rank + 1) // processes)


def dealt(blocks: Sequence[T]) -> Sequence[T]:
    """Those of some blocks that this process makes: each as many, the last block in the place of missing ones."""
    rank, processes = _joined[0][:2]
    last = len(blocks) - 1
    return [blocks[min(number, last)] for number in range(rank, rank + len(blocks), processes)]


def gathered(made: Sequence[Tensor], count: int, rows: int) -> Tensor:
    """The `count` rows (n ...) of all blocks, from what each process has made of those that it was `dealt`.

    Blocks have so many `rows`, the last one what is left. The result is that of one process to the bit.
    """
    import torch

    own = torch.cat([*made])
    processes = _joined[0].processes
    if processes == 1:
        return own
    import torch.distributed as dist

    padded = own.new_zeros((rows * len(made), *own.shape[1:]))
    padded[: len(own)] = own
    parts = [torch.empty_like(padded) for _ in range(processes)]
    with answered():
        dist.all_gather(parts, padded)
    return torch.stack([part.unflatten(0, (len(made), rows)) for part in parts], 1).flatten(0, 2)[:count]


def shared(model: nn.Module) -> nn.Module:
    """The model as it is called in training: PyTorch's DistributedDataParallel, which gives all processes the first's
    weights and then, in each backward pass, the mean of all gradients.

    Used directly: what Accelerate would add, devices and precision, the machine's settings and the recipe have already.
    """
    if _joined[0].processes == 1:
        return model
    from torch.nn.parallel import DistributedDataParallel

    with answered():
        return DistributedDataParallel(model, broadcast_buffers=False)


def weight(count: int) -> float:
    """What the mean loss over this process's part of `count` images is multiplied by, so that the mean of the
    processes' losses is that of all of them. Raises what `part` does."""
    own = part(count)
    return 1.0 if own is EVERY else (own.stop - own.start) * _joined[0].processes / count


def follow(tensors: Sequence[Tensor]) -> None:
    """Give tensors the values that they have in the first process."""
    if _joined[0].processes == 1:
        return
    import torch.distributed as dist

    with answered():
        for tensor in tensors:
            dist.broadcast(tensor.detach(), 0)


def followed(value: float) -> float:
    """A number as the first process has it."""
    if _joined[0].processes == 1:
        return value
    import torch

    number = torch.tensor(value, dtype=torch.float64, device=device())
    follow([number])
    return number.item()


def told(make: Callable[[], str]) -> str:
    """A text that the first process makes, while the others wait for it."""
    if _joined[0].processes == 1:
        return make()
    import torch.distributed as dist

    texts = [make() if first() else ""]
    with answered():
        dist.broadcast_object_list(texts, 0)
    return texts[0]


def barrier() -> None:
    """Wait until all processes have come this far."""
    if _joined[0].processes == 1:
        return
    import torch
    import torch.distributed as dist

    here = torch.ones(1, device=device())
    with answered():
        dist.all_reduce(here)
        here.item()  # on a GPU this is what waits


@contextmanager
def answered() -> Iterator[None]:
    """Say in one sentence that the other processes do not answer. A process alone waits for none: its errors stay."""
    try:
        yield
    except RuntimeError as error:
        rank, processes = _joined[0][:2]
        if processes == 1 or memory_full(error):
            raise
        raise MachineError(
            f"process {rank} of {processes} has no answer from the others: one has ended, "
            "and said why if it could; run the same command again"
        ) from None
