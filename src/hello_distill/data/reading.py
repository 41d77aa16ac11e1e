"""All images of a table decoded, by several worker processes, into memory or into a memory-mapped file of the cache.

The file is for sets that memory would not hold with ease. It is made once, used again by later runs, and shared by
those that run at the same time. Which of the two it is changes no pixel and no order.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import mmap
import os
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple, TypeAlias

import datasets
import numpy as np
import PIL
import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from hello_distill.data import archives, decoding
from hello_distill.data.decoding import Unreadable, decode, square
from hello_distill.data.mapped import KeptImages, Mapped
from hello_distill.format.fields import Square
from hello_distill.system import cache, context, distributed, publishing
from hello_distill.system.errors import InputError, MachineError
from hello_distill.system.machine import cache_folder, device, memory

STORAGE = "HELLO_DISTILL_IMAGES"
"""The variable that says where decoded images are stored: `memory` or `file`. Where it is not set, `fits` decides."""
BLOCK = 64
"""Images that a worker decodes before it is given more."""
AHEAD = 8
"""Blocks for each worker that are handed over at a time."""
FEW = 1000
"""So many images and fewer are decoded by this process alone."""
IMAGES, FACTS = "images.u8", "images.json"
"""Pixels (n 3 side side), one byte each; and what could not be decoded."""

Block: TypeAlias = UInt8[np.ndarray, "b 3 h w"]
Put: TypeAlias = Callable[[int, Block], None]
"""Store a block of images, the first of which has this row."""


class Fault(NamedTuple):
    """A row that could not be decoded."""

    row: int
    reason: str
    detail: str


class Decoded(NamedTuple):
    """What a source holds."""

    images: KeptImages
    rows: Int64[Tensor, "n"]
    """Where they stand in the table, ascending."""
    faults: list[Fault]
    """The other rows."""


class Undecoded(NamedTuple):
    """What is to be decoded."""

    table: datasets.Dataset
    """`image` {bytes, path}."""
    roots: tuple[Path, ...]
    """Folders in which a path may lie."""
    part: tuple[int, ...] | None
    """Rows of a whole of which the table is a part; None where it is the whole."""
    side: int
    square: Square = "crop"

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(n 3 side side) of all that may come out."""
        return len(self.table), 3, self.side, self.side


def read(source: Undecoded, name: str) -> Decoded:
    """The images of a source that can be decoded, in their order, and what is wrong with the others.

    Raises MachineError where there is no room for them, InputError where STORAGE is neither of the two.
    """
    size = int(np.prod(source.shape))
    storage = os.environ.get(STORAGE) or ("memory" if fits(size) else "file")
    if storage not in ("memory", "file"):
        raise InputError(f"{STORAGE} is {storage!r}; set it to memory or to file, or not at all")
    if storage == "file":
        return _from_file(source, name)
    check_memory(source.shape, name)
    images = np.frombuffer(mmap.mmap(-1, size), np.uint8).reshape(source.shape)  # which other processes can write to

    def put(start: int, block: Block) -> None:
        images[start : start + len(block)] = block

    faults = _decode(source, put, name, workers(distributed.launched().on_this_machine))
    whole, rows = torch.from_numpy(images), _good(source, faults)
    return Decoded(whole[rows] if faults else whole, rows, faults)


def fits(size: int) -> bool:
    """Whether memory holds so many bytes of images with ease, which is twice: training and held-out images are copied.

    The same goes for the memory of the device, if it has its own. Of several processes each has its own copies.
    """
    free = [memory().get("free", 2 * size)]
    if device().startswith("cuda"):
        free.append(torch.cuda.mem_get_info()[0])
    return 2 * size * distributed.launched().on_this_machine <= min(free)


def check_memory(shape: tuple[int, ...], source: str) -> None:
    """Raise MachineError where memory cannot hold images of this shape (uint8)."""
    needed = int(np.prod(shape))
    free = memory().get("free", needed)
    if needed > free:
        raise MachineError(
            f"{source}: {shape[0]} images of {shape[-1]} pixels take {needed / 2**30:.1f} GiB, "
            f"{free / 2**30:.1f} GiB of memory are free; set a smaller `max_side` in a --config file"
        )


def _good(source: Undecoded, faults: Sequence[Fault]) -> Int64[Tensor, "n"]:
    """The rows that could be decoded."""
    good = torch.ones(len(source.table), dtype=torch.bool)
    good[[fault.row for fault in faults]] = False
    return torch.nonzero(good).flatten()


def _from_file(source: Undecoded, name: str) -> Decoded:
    folder = cache_folder() / "decoded" / key(source)
    if not folder.is_dir():
        publishing.check_writable(folder.parent)
        cache.once(folder, lambda: _write(source, folder, name))
    try:
        faults = [Fault(*fault) for fault in json.loads((folder / FACTS).read_text(encoding="utf-8"))]
        rows = _good(source, faults)
        return Decoded(Mapped.open(folder / IMAGES, source.side, rows), rows, faults)
    except (OSError, ValueError, TypeError):
        raise MachineError(
            f"{folder} is no longer as it was written; remove it and run the same command again"
        ) from None


def _write(source: Undecoded, folder: Path, name: str) -> None:
    """Decode a source into its folder, which appears when all is in it. Whoever else wants it waits meanwhile."""
    with publishing.published(folder, int(np.prod(source.shape))) as partial_folder:
        file = partial_folder / IMAGES
        file.touch()
        faults = _decode(source, partial(_put, file), name, workers(1))
        (partial_folder / FACTS).write_text(json.dumps(faults), encoding="utf-8")


def _put(file: Path, start: int, block: Block) -> None:
    with file.open("r+b") as handle:
        handle.seek(start * block[0].nbytes)
        handle.write(block.tobytes())


def key(source: Undecoded) -> str:
    """A name for what decoding a source gives: another one where its files, the size or the way of decoding differ.

    Files count by path, size and time of change; nothing of their content is read. A table that lies in no file counts
    by what it holds.
    """
    table = source.table
    paths = table.select_columns("image").flatten().select_columns("image.path")["image.path"][:]
    held = [file["filename"] for file in table.cache_files]
    facts = {
        "files": _digest(map(_described, [path for path in paths if path is not None])),
        "table": _digest(map(_described, held)) if held else table._fingerprint,
        "rows": _digest(map(str, source.part or ())),
        "shape": source.shape,
        "square": source.square,
        "roots": [os.fsencode(root).hex() for root in source.roots],
        "decoding": hashlib.sha256(Path(decoding.__file__).read_bytes()).hexdigest(),
        "pillow": PIL.__version__,
    }
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]


def _described(path: str | bytes) -> str:
    """A file by its name, size and time of change (an archive's for its members); by its name where it is not there."""
    identity = os.fsencode(path).hex()
    with suppress(OSError, ValueError):
        file = Path(os.fsdecode(path))
        status = (archives.holding(file) or file).stat()
        identity += f" {status.st_size} {status.st_mtime_ns}"
    return identity


def _digest(lines: Iterator[str]) -> str:
    digest = hashlib.sha256()
    for line in lines:
        digest.update(f"{line}\n".encode())
    return digest.hexdigest()


def _decode(source: Undecoded, put: Put, name: str, processes: int) -> list[Fault]:
    """Decode every row, in so many processes, and store it; gives the rows that could not be, ascending. Their pixels
    are zero."""
    count = len(source.table)
    blocks = [range(start, min(start + BLOCK, count)) for start in range(0, count, BLOCK)]
    faults: list[Fault] = []

    def rows() -> Iterator[int]:
        for block, bad in zip(blocks, _decoded(source, put, blocks, processes), strict=True):
            faults.extend(bad)
            yield from block

    for _ in context.track(rows(), count, f"decoding {name}"):
        pass
    return faults


def _decoded(source: Undecoded, put: Put, blocks: Sequence[range], processes: int) -> Iterator[list[Fault]]:
    """The faults of each block, in the order of the blocks, once its images are stored."""
    processes = min(processes, len(blocks))
    if processes == 1 or len(source.table) <= FEW:
        yield from (_decode_block(source, put, block) for block in blocks)
        return
    pool = ProcessPoolExecutor(processes, get_context("fork"), _begin, (source, put))
    try:
        yield from _in_order(pool, blocks, AHEAD * processes)
    except BrokenProcessPool:
        raise MachineError(
            "a process that decodes images was killed; see whether memory is full, and run the same command again"
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


def _in_order(pool: ProcessPoolExecutor, blocks: Iterable[range], most: int) -> Iterator[list[Fault]]:
    """`pool.map` with so many blocks handed over at a time and no more: each that waits takes memory."""
    waiting: deque[Future[list[Fault]]] = deque()
    for block in blocks:
        if len(waiting) == most:
            yield waiting.popleft().result()
        waiting.append(pool.submit(_work, block))
    while waiting:
        yield waiting.popleft().result()


def workers(sharing: int) -> int:
    """Workers that may decode for this process: the processors that it may use, shared by so many that decode."""
    return max(1, len(os.sched_getaffinity(0)) // sharing)


def _decode_block(source: Undecoded, put: Put, block: range) -> list[Fault]:
    images = np.zeros((len(block), *source.shape[1:]), np.uint8)
    faults = []
    for row, record in zip(block, source.table.select(block), strict=True):
        try:
            picture = decode(record["image"], source.roots, source.side, source.square)
        except Unreadable as error:
            faults.append(Fault(row, error.reason, error.detail))
            continue
        images[row - block.start] = np.asarray(square(picture, source.side, source.square)).transpose(2, 0, 1)
    put(block.start, images)
    return faults


_task: list[tuple[Undecoded, Put]] = []
"""Of a worker: its source, and what stores the images. It is born with both, and they are never sent."""


def _begin(source: Undecoded, put: Put) -> None:
    """Start a worker: signals are its parent's affair, and it ends when that ends."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)
    _task[:] = [(source, put)]


def _work(block: range) -> list[Fault]:
    return _decode_block(*_task[0], block)
