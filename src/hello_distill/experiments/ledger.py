"""The result file of a grid: trials and runs, added one by one, by several processes if need be."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from hello_distill.format import storage
from hello_distill.student import summary
from hello_distill.system import context, publishing
from hello_distill.system.cache import locked
from hello_distill.system.errors import DivergedError, InputError
from hello_distill.system.machine import commit, environment

FORMAT = 2


class Cell(NamedTuple):
    """A place in the grid."""

    method: str
    labels: str
    ipc: int
    student: str

    @property
    def name(self) -> str:
        """As people read it."""
        return f"{self.method}, {self.labels}, IPC {self.ipc}, {self.student}"


class Step(NamedTuple):
    """A place in a continual run: a cell, after so many of its steps."""

    method: str
    labels: str
    ipc: int
    student: str
    steps: int
    step: int
    """From 1."""

    @property
    def name(self) -> str:
        """As people read it."""
        return f"{self.method}, {self.labels}, IPC {self.ipc}, step {self.step} of {self.steps}"


Place = TypeVar("Place", Cell, Step)
SORTED_BY = ("student", "ipc", "method", "labels", "steps", "step")


class Run(NamedTuple):
    """What one seed of a cell gave: top-1 in percent on the test split, bytes, seconds."""

    last: float
    best: float
    bytes: dict[str, int]
    seconds: float
    same_students_as: str | None = None
    """Labels whose students these are, bit for bit, where none was trained."""
    tested: dict[str, float] | None = None
    """Top-1 by the epoch after which it was measured, where that is known."""
    held: float | None = None
    """Top-1 on held-out training images, where it was measured."""
    numbers: int | None = None
    """How many numbers labels are kept in, where that was asked for."""


class Ledger:
    """Keeps the file whole at any moment. Every addition reads it anew under a lock, so that none is lost."""

    def __init__(self, file: Path, data: dict[str, str], recipe: dict[str, Any]) -> None:
        """Raises InputError where the file holds the result of other data or other settings."""
        self.file = file
        self.claims = file.with_name(f".{file.stem}.claims")
        """Folder of the locks by which processes keep out of each other's way."""
        recipe = json.loads(json.dumps(recipe))
        self.head = {"format": FORMAT, "data": data, "recipe": recipe}
        if not file.exists():
            return
        try:
            found = self.read()
            same = all(found[key] == value for key, value in self.head.items())
            _ = found["cells"], found["trials"], found["stages"]
        except (OSError, ValueError, KeyError, TypeError):
            raise InputError(f"{file} is no result of this command; choose another --out") from None
        if not same:
            raise InputError(f"{file} is the result of other data or other settings; choose another --out")

    def read(self) -> dict[str, Any]:
        """The result so far."""
        if not self.file.exists():
            return {**self.head, "environment": environment(), "stages": {}, "trials": [], "cells": []}
        found: dict[str, Any] = json.loads(self.file.read_text(encoding="utf-8"))
        return found

    def trials(self, key: dict[str, Any]) -> list[dict[str, Any]]:
        """The trials of a method, a family of labels and a student."""
        return [trial for trial in self.read()["trials"] if key.items() <= trial.items()]

    def add_trial(self, key: dict[str, Any], settings: dict[str, Any], held_top1: float) -> None:
        """Keep a trial, unless it is there."""

        def add(result: dict[str, Any]) -> None:
            if not any(key.items() <= trial.items() and trial["settings"] == settings for trial in result["trials"]):
                result["trials"].append({**key, "settings": settings, "held_top1": held_top1})

        self.change(add)

    def fill(
        self,
        cells: Sequence[Place],
        seeds: Sequence[int],
        run: Callable[[Place, int], None],
    ) -> None:
        """Call `run(cell, seed)` for what is not there: first what nobody works on, then what others did not finish.

        Where a projector, an image or a student diverges, that is kept and reported, and the next run goes on.
        """
        for wait in (False, True):
            for cell in cells:
                for seed in seeds:
                    claim = self.claims / f"{'-'.join(map(str, cell)).replace('/', '_')}-{seed}"
                    with locked(claim, wait) as mine:
                        if mine and not self.has(cell, seed):
                            self._run(cell, seed, run)

    def _run(self, cell: Place, seed: int, run: Callable[[Place, int], None]) -> None:
        start = time.monotonic()
        try:
            run(cell, seed)
        except DivergedError as error:
            self.add_diverged(cell, seed, error)
            sentence = f"{cell.name}, seed {seed}: no result; {error}"
            context.current().progress.line("diverged", time.monotonic() - start, sentence)

    def cell(self, cell: Cell | Step) -> dict[str, Any] | None:
        """What is known of a cell."""
        return _find(self.read(), cell)

    def has(self, cell: Cell | Step, seed: int) -> bool:
        """Whether a run is there, or diverged."""
        result = self.read()
        found = _find(result, cell)
        return (found is not None and seed in found["seeds"]) or _diverged(result, cell, seed)

    def add_diverged(self, cell: Cell | Step, seed: int, error: DivergedError) -> None:
        """Keep that a seed gave no result and why; it is not tried again, since it would end the same way."""

        def add(result: dict[str, Any]) -> None:
            if not _diverged(result, cell, seed):
                entry = {**cell._asdict(), "seed": seed, "reason": str(error)}
                result.setdefault("diverged", []).append(entry)

        self.change(add)

    def add_run(self, cell: Cell | Step, settings: dict[str, Any], seed: int, run: Run) -> None:
        """Keep a run, unless it is there; mean and sd (n - 1) follow."""

        def add(result: dict[str, Any]) -> None:
            entry = _find(result, cell)
            if entry is None:
                entry = {**cell._asdict(), "settings": settings, "seeds": [], "commits": [], "seconds": 0}
                result["cells"].append(entry)
            if seed in entry["seeds"]:
                return
            measured = {"top1_last": run.last, "top1_best": run.best, "held_top1": run.held}
            for name, value in ((name, value) for name, value in measured.items() if value is not None):
                runs = dict(zip(entry["seeds"], entry.get(name, {}).get("runs", []), strict=True)) | {seed: value}
                entry[name] = summary([runs[key] for key in sorted(runs)])
            entry["seeds"] = sorted([*entry["seeds"], seed])
            entry["commits"] = sorted({*entry["commits"], commit() or "unknown"})
            entry["seconds"] = round(entry["seconds"] + run.seconds)
            if seed == entry["seeds"][0]:  # images differ a little from seed to seed: those of the first are kept
                entry["bytes"] = run.bytes
                if run.numbers is not None:
                    entry["numbers"] = run.numbers
            if run.tested is not None:
                entry.setdefault("tested", {})[str(seed)] = run.tested
            if run.same_students_as:
                entry["same_students_as"] = run.same_students_as

        self.change(add)

    def add_stages(self, figures: dict[str, dict[str, Any]]) -> None:
        """Keep what was measured of teachers and projector; one that was trained again, elsewhere, stands beside."""

        def add(result: dict[str, Any]) -> None:
            for name, values in figures.items():
                while any(result["stages"].get(name, {}).get(key, value) != value for key, value in values.items()):
                    name += ", again"
                result["stages"].setdefault(name, {}).update(values)

        if figures:
            self.change(add)

    def change(self, change: Callable[[dict[str, Any]], None]) -> None:
        """Read the result, change it, and write it, while no other process does."""
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with locked(self.file.with_name(f".{self.file.name}.lock")):
            result = self.read()
            change(result)
            _note_machine(result)
            result["cells"].sort(key=lambda entry: [entry[name] for name in SORTED_BY if name in entry])
            publishing.write(self.file, storage.as_json(result))


def sign(file: Path, command: str) -> None:
    """Name a command in the result that it has filled, or found whole."""
    with locked(file.with_name(f".{file.name}.lock")):
        result = json.loads(file.read_text(encoding="utf-8"))
        signed = result.setdefault("commands", [])
        if command not in signed:
            signed.append(command)
            publishing.write(file, storage.as_json(result))


def _note_machine(result: dict[str, Any]) -> None:
    """Keep what this process runs on, where it is another machine or other versions than those before it.

    Commits stand with the cells.
    """
    here = {**environment(), "commit": None}
    others = result.setdefault("more_environments", [])
    if here not in others and here != {**result["environment"], "commit": None}:
        others.append(here)


def _find(result: dict[str, Any], cell: Cell | Step) -> dict[str, Any] | None:
    return next((entry for entry in result["cells"] if _is_of(entry, cell)), None)


def _diverged(result: dict[str, Any], cell: Cell | Step, seed: int) -> bool:
    return any(_is_of(entry, cell) and entry["seed"] == seed for entry in result.get("diverged", []))


def _is_of(entry: dict[str, Any], cell: Cell | Step) -> bool:
    return tuple(entry[name] for name in cell._fields) == cell
