"""The result file of a grid: trials and runs, added one by one, by several processes if need be."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from hello_distill.format import storage
from hello_distill.format.results import read_grid
from hello_distill.format.results.entries import Summary
from hello_distill.format.results.grids import FORMAT, Bytes, Diverged, GridResult, Trial
from hello_distill.system import context, publishing
from hello_distill.system.cache import locked
from hello_distill.system.errors import DivergedError, InputError
from hello_distill.system.machine import commit, environment


class Cell(NamedTuple):
    """A place in the grid; in a continual run, after so many of its steps."""

    method: str
    labels: str
    ipc: int
    student: str
    steps: int = 0
    """All of a continual run; elsewhere 0."""
    step: int = 0
    """From 1."""

    @property
    def name(self) -> str:
        """As people read it."""
        last = f"step {self.step} of {self.steps}" if self.step else self.student
        return f"{self.method}, {self.labels}, IPC {self.ipc}, {last}"

    @property
    def fields(self) -> dict[str, Any]:
        """As a result file has them."""
        return {name: value for name, value in self._asdict().items() if value != 0}


class Run(NamedTuple):
    """What one seed of a cell gave: top-1 in percent on the test split, bytes, seconds."""

    last: float
    best: float
    bytes: Bytes
    seconds: float
    same_students_as: str | None = None
    """Labels whose students these are, bit for bit, where none was trained."""
    tested: dict[str, float] | None = None
    """Top-1 by the epoch after which it was measured, where that is known."""
    held: float | None = None
    """Top-1 on held-out training images, where it was measured."""
    numbers: int | None = None
    """How many numbers labels are kept in, where that was asked for."""

    def measured(self, seed: int) -> dict[str, Any]:
        """As fields of a cell with this run alone."""
        top1 = {"top1_last": self.last, "top1_best": self.best, "held_top1": self.held}
        fields: dict[str, Any] = {
            "bytes": self.bytes,
            "seconds": round(self.seconds),
            "numbers": self.numbers,
            "tested": self.tested and {str(seed): self.tested},
            "same_students_as": self.same_students_as,
            **{name: Summary.of([value]) for name, value in top1.items() if value is not None},
        }
        return {name: value for name, value in fields.items() if value is not None}


GROWING = ("methods", "labels", "fits", "training")
"""Parts of a recipe to which a later version may add names: what was measured of those that are there stands."""


def _grown(recipe: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    """A recipe with the names that another has beyond it in the growing parts, where they change no earlier cell."""
    grown = dict(recipe)
    for part in (part for part in GROWING if part in recipe and part in more):
        added = {name: value for name, value in more[part].items() if name not in recipe[part]}
        if part == "fits":  # of new methods alone: another's would be others' settings
            added = {name: value for name, value in added.items() if name in more["methods"].keys() - recipe["methods"]}
        if part == "labels":  # a kind by its bare name had its defaults before
            added = {name: value for name, value in added.items() if "-" in name}
        grown[part] = recipe[part] | added
    return grown


class Ledger:
    """Keeps the file whole at any moment. Every addition reads it anew under a lock, so that none is lost."""

    def __init__(self, file: Path, data: dict[str, Any], recipe: dict[str, Any]) -> None:
        """Raises InputError where the file holds the result of other data or other settings. Methods, labels and
        images per class may have been added since."""
        self.file = file
        self.claims = file.with_name(f".{file.stem}.claims")
        """Folder of the locks by which processes keep out of each other's way."""
        self.head = {"format": FORMAT, "data": data, "recipe": json.loads(json.dumps(recipe))}
        if not file.exists():
            return
        try:
            known = self.read().content()
        except (OSError, ValueError):
            raise InputError(f"{file} is no result of this command; choose another --out") from None
        stated = {name: value for name, value in data.items() if name != "classes" or name in known["data"]}
        asked = {**self.head, "data": stated}
        same = all(known.get(name) == asked[name] for name in ("format", "data"))
        if not same or _grown(known["recipe"], asked["recipe"]) != _grown(asked["recipe"], known["recipe"]):
            raise InputError(f"{file} is the result of other data or other settings; choose another --out")

    def read(self) -> GridResult:
        """The result so far."""
        if self.file.exists():
            return read_grid(json.loads(self.file.read_text(encoding="utf-8")))
        return read_grid({**self.head, "environment": environment(), "stages": {}, "trials": [], "cells": []})

    def add_trial(self, trial: Trial) -> None:
        """Keep a trial, unless it is there."""
        self.change(lambda result: result.add_trial(trial))

    def fill(self, cells: Sequence[Cell], seeds: Sequence[int], run: Callable[[Cell, int], None]) -> None:
        """Call `run(cell, seed)` for what is not there: first what nobody works on, then what others did not finish.

        Where a projector, an image or a student diverges, that is kept and reported, and the next run goes on.
        """
        for wait in (False, True):
            for cell in cells:
                for seed in seeds:
                    claim = self.claims / f"{'-'.join(map(str, cell.fields.values())).replace('/', '_')}-{seed}"
                    with locked(claim, wait) as mine:
                        if mine and not self.read().has(cell.fields, seed):
                            self._run(cell, seed, run)

    def _run(self, cell: Cell, seed: int, run: Callable[[Cell, int], None]) -> None:
        start = time.monotonic()
        try:
            run(cell, seed)
        except DivergedError as error:
            lost = Diverged(**cell.fields, seed=seed, reason=str(error))
            self.change(lambda result: result.add_diverged(lost))
            sentence = f"{cell.name}, seed {seed}: no result; {lost.reason}"
            context.current().progress.line("diverged", time.monotonic() - start, sentence)

    def add_run(self, cell: Cell, settings: dict[str, Any], seed: int, run: Run) -> None:
        """Keep a run, unless it is there; mean and sd (n - 1) follow."""
        measured = {**run.measured(seed), "settings": settings, "commits": [commit() or "unknown"]}
        self.change(lambda result: result.add_run(cell.fields, seed, measured))

    def add_stages(self, figures: dict[str, dict[str, Any]]) -> None:
        """Keep what was measured of teachers and projector; one that was trained again, elsewhere, stands beside."""
        if figures:
            self.change(lambda result: result.add_stages(figures))

    def change(self, change: Callable[[GridResult], None]) -> None:
        """Read the result, change it, and write it with this machine, while no other process does."""
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with locked(self.file.with_name(f".{self.file.name}.lock")):
            result = self.read()
            change(result)
            result.recipe = type(result.recipe)(**_grown(result.recipe.content(), self.head["recipe"]))
            result.add_machine(environment())
            publishing.write(self.file, storage.as_json(result.content()))


def sign(file: Path, command: str) -> None:
    """Name a command in the result that it has filled, or found whole."""
    with locked(file.with_name(f".{file.name}.lock")):
        result = read_grid(json.loads(file.read_text(encoding="utf-8")))
        if command not in result.commands:
            result.commands = [*result.commands, command]
            publishing.write(file, storage.as_json(result.content()))
