"""A distillation and its students, in a process that is killed: what `promises/test_resuming.py` starts.

Steps last for at least `STEP`, and checkpoints are `INTERVAL` apart: `REPEATED` steps at most lie between two of them.
Processes are forks of one that has imported this.
"""

from __future__ import annotations

import hashlib
import os
import signal
import sys
import time
from collections import Counter
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import hello_distill.api
import hello_distill.encoders.openclip  # noqa: F401
from hello_distill import cli, queries
from hello_distill.system.progress import ConsoleProgress
from hello_distill.training import checkpoint, fit

STEP, REPEATED = 0.02, 5
INTERVAL = STEP * REPEATED


class Diary:
    """What the process has done, on disk at once."""

    def __init__(self, file: Path, when: str) -> None:
        self.file = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self.counted: Counter[str] = Counter()
        self.when = when

    def note(self, kind: str, text: str = "") -> None:
        os.write(self.file, f"{kind} {text}\n".encode())
        self.counted[kind] += 1
        if f"{kind} {self.counted[kind]}" == self.when:
            os.kill(os.getpid(), signal.SIGKILL)


def watch(diary: Diary) -> None:
    """Note steps, ends of stages and weights, and make steps and checkpoints as short as they are here."""
    rate, line, save = fit.set_rate, ConsoleProgress.line, checkpoint.Checkpoint.save
    checkpoint.INTERVAL, queries.VIEWS = INTERVAL, 32

    def stepped(*given: Any) -> None:
        diary.note("step")
        time.sleep(STEP)
        rate(*given)

    def ended(progress: ConsoleProgress, name: str, seconds: float, figure: str) -> None:
        diary.note("stage", name)
        line(progress, name, seconds, figure)

    def saved(self: checkpoint.Checkpoint, epoch: int, batch: int, going_on: bool = True) -> None:
        save(self, epoch, batch, going_on)
        if not going_on:
            digest = hashlib.sha256()
            for value in checkpoint.trained_state(self.model).values():
                digest.update(value.detach().contiguous().numpy().data)
            diary.note("weights", f"{self.what}: {digest.hexdigest()}")

    fit.set_rate, ConsoleProgress.line, checkpoint.Checkpoint.save = stepped, ended, saved  # type: ignore[method-assign]


def run(when: str, tree: Path, config: Path, out: Path) -> None:
    """Distil to `out`, unless that is done, and train students, of whom `out.json` tells.

    `out.log` gets a line before each step of a training, at the end of each stage, and for the weights that a training
    ends with. `when` is `step NUMBER` or `stage NUMBER`, at which the process kills itself, or `never`.
    """
    os.environ["HELLO_DISTILL_CACHE"] = f"{out}.cache"
    watch(diary := Diary(Path(f"{out}.log"), when))
    diary.note("begun")
    if not out.exists() and (code := cli.main(["distill", str(tree), "--config", str(config), "--out", str(out)])):
        sys.exit(code)
    with redirect_stdout(StringIO()) as said:
        code = cli.main(["train", str(out), "--data", str(tree), "--seeds", "0", "1", "--json"])
    Path(f"{out}.json").write_text(said.getvalue())
    sys.exit(code)
