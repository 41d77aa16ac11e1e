"""What commands print: results on standard output, progress and errors on standard error."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hello_distill.system import distributed

if TYPE_CHECKING:
    from hello_distill.system.progress import Progress


SECONDS_FOR_THE_FIRST = 5.0


def show(result: dict[str, Any], table: Callable[[dict[str, Any]], Any], as_json: bool = False) -> None:
    """Print a result for machines or for people. Texts of a stranger's artefact are shown as they are.

    Of several processes the first prints.
    """
    if distributed.launched().rank > 0:
        return
    if as_json:
        print(json.dumps(result, indent=2, ensure_ascii=False))
        return
    from rich.console import Console

    Console(soft_wrap=True, highlight=False, markup=False, emoji=False).print(table(result))


def say_ready(folder: Path) -> None:
    """Name an artefact that was made. Of several processes the first prints."""
    if distributed.launched().rank == 0:
        print(f"{folder} is ready; `hello-distill info {folder}` says what it holds")


def console() -> Progress:
    """Progress on standard error, and an allocator set for training."""
    from hello_distill.system.machine import keep_freed_memory
    from hello_distill.system.progress import SILENT, ConsoleProgress

    keep_freed_memory()
    return ConsoleProgress() if distributed.launched().rank == 0 else SILENT


def failed(sentence: str, exit_code: int) -> int:
    """Print what went wrong; gives the exit code.

    Of several processes the first prints. Another leaves it time to say the same, for then all are ended, and speaks
    where it does not.
    """
    rank, processes = distributed.launched()[:2]
    if rank > 0:
        time.sleep(SECONDS_FOR_THE_FIRST)
        sentence = f"process {rank} of {processes}: {sentence}"
    print(f"hello-distill: {sentence}", file=sys.stderr, flush=True)
    return exit_code
