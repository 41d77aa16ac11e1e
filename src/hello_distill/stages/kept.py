"""Results of costly stages in a folder, each named by all that it depends on."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

import safetensors.torch
from torch import Tensor

from hello_distill.data.images import ImageSet
from hello_distill.format import storage, tensors
from hello_distill.system import cache, context, distributed, publishing, room
from hello_distill.training import checkpoint, machines
from hello_distill.training.scores import GPU_BATCH

WEIGHTS, FACTS = "weights.safetensors", "facts.json"
"""Files of a stage."""
MACHINE = "machine"
"""What files say beside their tensors: with what they were made."""
PROCESSES = "processes"
"""What of a machine changes no byte of a block, and so is not said of one."""
NUMBERED = re.compile(r"\d+\.safetensors")
"""The name of a block's file."""
PROGRESS = ".progress"
"""How a folder of checkpoints ends, while what they are for is made."""
Computed: TypeAlias = tuple[dict[str, Tensor], dict[str, Any]]
"""Tensors of a stage, and what else there is to know of them."""


Blocks: TypeAlias = Callable[[str, Sequence[Any], int, Callable[[int], Tensor]], list[Tensor]]
"""What a piece of work is called, what it depends on beside images and seed, how many blocks it has, and what makes a
block of each number, to the blocks: see `Kept.blocks`."""


def one_by_one(what: str, specs: Sequence[Any], total: int, make: Callable[[int], Tensor]) -> list[Tensor]:
    """All blocks, made here and now and kept nowhere."""
    return [make(number) for number in context.track(range(total), total, what)]


class Kept:
    """The folder of one set of training images and one seed; without a folder everything is computed."""

    def __init__(self, folder: Path | None, data: ImageSet, seed: int) -> None:
        self.folder = folder
        self.data = data
        self.seed = seed
        self._here: machines.Record = {} if folder is None else machines.machine()
        self._taken: list[machines.Record] = []

    @cached_property
    def _images(self) -> str:
        """The training images' fingerprint; of those in a file it takes minutes. Of several processes the first reads
        them."""
        return distributed.told(lambda: fingerprint(self.data))

    def computed(self, kind: str, specs: Sequence[Any], needed: int, compute: Callable[[], Computed]) -> Computed:
        """Tensors and facts of a stage: from the folder, where they are there, else computed now.

        Raises MachineError where the folder has no room for `needed` bytes.
        """
        if self.folder is None:
            return compute()

        def make(folder: Path) -> None:
            room.check_room(folder, needed)
            weights, facts = compute()
            self.write(folder, weights, storage.as_json(facts))

        folder = self.made(kind, specs, make)
        return read(folder), json.loads((folder / FACTS).read_text())

    @property
    def _record(self) -> machines.Record:
        """Of what is made now: this machine, and those on which was made what it may rest on."""
        return machines.merged(self._here, *self._taken, *checkpoint.others())

    def _take(self, kind: str, files: Collection[Path], *alike: str) -> None:
        """Look at the machines with which stages or blocks were made, but for what changes none of their bytes."""
        if not files:
            return
        made = machines.merged(*(record(file) for file in files))
        made |= {name: self._here[name] for name in alike if made}
        assert self.folder is not None
        if machines.differing(made, self._here) and made != self._record:
            machines.take(kind, made, self._here, self.folder)
            self._taken.append(made)

    def blocks(self, kind: str, specs: Sequence[Any], total: int, make: Callable[[int], Tensor]) -> list[Tensor]:
        """Work in blocks that do not depend on each other, such as the patches of a class, each a file once it is made.

        Whoever does the same work takes blocks that nobody has begun: processes of one training, and other runs that
        share the folder. A run that was stopped goes on with those that are missing. Tensors are on the CPU.
        """
        if self.folder is None:
            return one_by_one(kind, specs, total, make)
        folder = self._named(kind, specs)
        files = [folder / f"{number}.safetensors" for number in range(total)]
        found = {file for file in files if file.exists()}
        self._take(kind, found, PROCESSES)
        for wait in (False, True):  # first what nobody makes, then what others have not finished
            missing = [number for number, file in enumerate(files) if not file.exists()]
            for number in context.track(missing, len(missing), kind):
                lock = files[number].with_suffix(".lock")
                with cache.locked(lock, wait) as mine:
                    if mine and not files[number].exists():
                        made = {kind: make(number).cpu().contiguous()}
                        by = {name: value for name, value in self._record.items() if name != PROCESSES}
                        publishing.write(files[number], safetensors.torch.save(made, _metadata(by)))
                    if mine:
                        lock.unlink(missing_ok=True)
        self._take(kind, {*files} - found, PROCESSES)
        return [tensors.read(file)[kind] for file in files]

    def write(self, folder: Path, weights: dict[str, Tensor], facts: bytes = b"") -> None:
        """Write a stage's folder, which appears only when complete, unless it is there."""
        if folder.is_dir() or not distributed.first():
            return
        with publishing.published(folder, tensors.size(weights) + len(facts)) as partial:
            dense = {key: value.contiguous() for key, value in weights.items()}
            tensors.write(partial / WEIGHTS, dense, _metadata(self._record))
            if facts:
                (partial / FACTS).write_bytes(facts)

    def _named(self, kind: str, specs: Sequence[Any]) -> Path:
        """The folder of a stage, named by all that its result depends on."""
        assert self.folder is not None
        named = [[repr(spec) for spec in specs], self.seed, self._images]
        return self.folder / kind / hashlib.sha256(json.dumps(named).encode()).hexdigest()[:16]

    def made(self, kind: str, specs: Sequence[Any], make: Callable[[Path], None], parts: Collection[str] = ()) -> Path:
        """The folder of a stage; `make` writes it, or its missing parts, and its trainings go on after a kill.

        Raises what `machines.take` does.
        """
        folder = self._named(kind, specs)

        def resumable() -> None:
            with checkpoint.within(folder.with_name(f".{folder.name}{PROGRESS}")):
                make(folder)

        cache.once(folder, resumable, parts, together=True)
        self._take(kind, [folder / part / WEIGHTS for part in parts or ("",)])
        return folder


@contextmanager
def kept_for(out: str | Path, stages: str | Path | None) -> Iterator[Path]:
    """The folder for the stages of an output, after saying what a run before has left in it.

    Where none is given, a hidden one beside the output, which goes when all went well, or when there is nothing in it
    to go on from. The first process removes it: by then the others must have read what they need. In it, what another
    machine has made is taken only with `Context.resume_changed`; in a folder that was given it is said
    (`machines.take`).
    """
    folder = Path(out).with_name(f".{Path(out).name}.stages") if stages is None else Path(stages)
    if said := found(folder):
        with context.stage("found") as stage:
            stage.figure = f"in {folder}: {said}; what has this run's settings is not made again"
    done = False
    try:
        with machines.running(own=stages is None):
            yield folder
        done = True
    finally:
        if stages is None and distributed.first() and (done or not found(folder)):
            shutil.rmtree(folder, ignore_errors=True)


def found(folder: Path) -> str:
    """What a folder holds that runs of these or other settings may go on from, in words; nothing where it is empty.

    Blocks and a training's checkpoints are counted, not how many of them a run needs.
    """
    counted = Counter[str]()
    for path in folder.glob("*/*"):
        kind, parts = path.parent.name, [part.name for part in path.glob("[!.]*")]
        if path.name.startswith("."):
            counted[f"{kind} begun"] += path.name.endswith(PROGRESS) and bool(parts)
        elif blocks := [part for part in parts if NUMBERED.fullmatch(part)]:
            counted[f"blocks of {kind}"] += len(blocks)
        elif epochs := [part for part in parts if part.startswith("epoch-")]:
            counted[f"epochs of {kind}"] += len(epochs)
        else:
            counted[kind] += any(not part.endswith(".lock") for part in parts)
    return ", ".join(f"{name} ({number})" for name, number in sorted(counted.items()) if number)


def fingerprint(data: ImageSet) -> str:
    """Hash of images, targets and class names; the same for images in memory and in a file."""
    digest = hashlib.sha256(json.dumps([list(data.images.shape), *data.classes]).encode())
    for start in range(0, len(data), GPU_BATCH):
        digest.update(data.images[start : start + GPU_BATCH].cpu().numpy().data)
    digest.update(data.targets.cpu().numpy().data)
    return digest.hexdigest()


def record(file: Path) -> machines.Record:
    """With what a stage's or a block's file was made; empty where it does not say."""
    made: dict[str, str] = json.loads(tensors.metadata(file).get(MACHINE, "{}"))
    return made


def _metadata(made: machines.Record) -> dict[str, str]:
    return {MACHINE: json.dumps(dict(made))}


def read(folder: Path) -> dict[str, Tensor]:
    """The tensors of a stage's folder."""
    return tensors.read(folder / WEIGHTS)
