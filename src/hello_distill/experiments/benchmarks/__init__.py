"""How fast each stage is, beside the plain way of the published codes, in one run: `hello-distill bench`.

Both ways take turns, so that whatever else the machine does meets both alike; what counts is the ratio within a turn.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from hello_distill.experiments.benchmarks.stages import Pair, stages
from hello_distill.format import storage
from hello_distill.format.results import Bench, Speed
from hello_distill.system import context
from hello_distill.system.errors import InputError
from hello_distill.system.machine import environment, keep_freed_memory
from hello_distill.system.publishing import write


def bench(out: str | Path, turns: int = 5, only: Sequence[str] = ()) -> dict[str, Any]:
    """Measure each stage in so many turns and write the result file; `only` takes stages whose name has such a word.

    Raises InputError where there is no such stage.
    """
    keep_freed_memory()
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        speeds = [
            _measured(pair, turns)
            for pair in stages(Path(folder))
            if not only or any(word in pair.name for word in only)
        ]
    if not speeds:
        raise InputError(f"no stage has one of {', '.join(only)} in its name; leave --only out")
    result = Bench(
        stages=speeds,
        turns=turns,
        seconds=round(time.monotonic() - start),
        environment=environment(),
    ).content()
    write(Path(out), storage.as_json(result))
    return result


def _measured(pair: Pair, turns: int) -> Speed:
    with context.stage(pair.name) as stage:
        pair.plain()  # once before it counts, both
        flops = _flops(pair.ours)
        times = [(seconds(pair.ours), seconds(pair.plain), product_flops()) for _ in range(turns)]
        ours, plain, peak = (statistics.median(each) for each in zip(*times, strict=True))
        ratios = sorted(theirs / mine for mine, theirs, _ in times)
        speed = Speed(
            name=pair.name,
            items=pair.items,
            unit=pair.unit,
            ours_seconds=ours,
            plain_seconds=plain,
            ratio=statistics.median(ratios),
            least=ratios[0],
            most=ratios[-1],
            target=pair.target,
            flops=flops,
            product_flops=peak,
        )
        stage.figure = f"{speed.ratio:.2f} times as fast as the plain way ({speed.verdict})"
    return speed


def seconds(work: Callable[[], object]) -> float:
    """How long it takes once."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _flops(work: Callable[[], object]) -> int:
    """Of products and convolutions, the ones of backward passes among them."""
    with FlopCounterMode(display=False) as counter:
        work()
    return int(counter.get_total_flops())


def product_flops(size: int = 1024, times: int = 3) -> float:
    """FLOPs a second that a product of two square float32 matrices reaches here, the best of several."""
    matrix = torch.rand(size, size)
    matrix @ matrix
    return 2 * size**3 / min(seconds(lambda: matrix @ matrix) for _ in range(times))
