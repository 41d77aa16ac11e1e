"""Machines that numbers were made with: what a record says of one, how two differ, what a run has taken of another's.

Where several machines had a hand in something, each value of its record names all of theirs: `threads` is `2 and 4`.
What a record does not say is unknown, and unknown is another machine.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import torch

from hello_distill.format.fields import LONGEST_TEXT
from hello_distill.system import context, distributed
from hello_distill.system.errors import InputError
from hello_distill.system.machine import compile_asked, device, gpu

Record: TypeAlias = Mapping[str, str]
"""A machine, or several, by what numbers depend on beside their settings."""
UNKNOWN, AND = "unknown", " and "


def machine() -> dict[str, str]:
    """The record of this machine; of several processes, which all must ask, that of the first."""
    made_with = {name: str(value) for name, value in distributed.made_with().items()}
    used = {"device": device().partition(":")[0], "gpu": gpu() or "none", "compile": compile_asked()}
    here = {**made_with, **used, "capability": torch.backends.cpu.get_cpu_capability()}
    told: dict[str, str] = json.loads(distributed.told(lambda: json.dumps(here)))
    return told


def _values(record: Record, name: str) -> set[str]:
    return {*str(record.get(name, UNKNOWN)).split(AND)}


def merged(*records: Record) -> dict[str, str]:
    """The record of what several had a hand in."""
    names = sorted(set().union(*records))
    return {name: AND.join(sorted(set[str]().union(*(_values(each, name) for each in records)))) for name in names}


def differing(made: Record, here: Record) -> dict[str, str]:
    """What of the record `made` is not of `here`, by name."""
    names = (name for name in sorted({*made, *here}) if not _values(made, name) <= _values(here, name))
    return {name: str(made.get(name, UNKNOWN)) for name in names}


def described(other: Record) -> str:
    """What differs, in words."""
    if "threads" in other and {*other.values()} == {UNKNOWN}:
        return "unknown versions and threads"
    return ", ".join(f"{name} {value}" for name, value in other.items())


def check(what: str, made: Record, here: Record, folder: Path) -> None:
    """Raise InputError where `what`, in words, comes of another machine and `Context.resume_changed` is not set."""
    if not (other := differing(made, here)) or context.current().resume_changed:
        return
    changed = described(other)
    if {*other.values()} != {UNKNOWN}:
        changed = ", ".join(f"{name} {value}, now {here.get(name, UNKNOWN)}" for name, value in other.items())
    raise InputError(
        f"{what} elsewhere ({changed}) and would give a run other numbers than either machine alone; run it as it was "
        f"begun, go on all the same with --resume-changed, or remove {folder} to begin anew"
    )


@dataclass
class Run:
    """A run that makes one output, and what it has taken of other machines."""

    own: bool
    """Whether its folder of stages is its own: what lies there is of the same run, which was stopped."""
    here: dict[str, str] = field(default_factory=lambda: machine())
    taken: dict[str, Record] = field(default_factory=dict)
    """Records of stages by their kinds."""


_run: ContextVar[Run | None] = ContextVar("run", default=None)


@contextmanager
def running(own: bool) -> Iterator[None]:
    """A run whose folder of stages is its own, or one that it shares with others."""
    token = _run.set(Run(own))
    try:
        yield
    finally:
        _run.reset(token)


def take(kind: str, made: Record, here: Record, folder: Path) -> None:
    """Take stages of this kind that another machine has made, from `folder`: say it, and keep it for the manifest.

    Raises InputError where they are of the same run, which was stopped, and `Context.resume_changed` is not set.
    """
    run = _run.get()
    if run is not None and run.own:
        check(f"what there is of {kind} was made", made, here, folder)
    with context.stage("found") as stage:
        stage.figure = f"{kind}, made with {described(differing(made, here))}"
    if run is not None:
        run.taken[kind] = merged(made, run.taken.get(kind, made))


def taken() -> dict[str, str]:
    """What a manifest says, beside the versions, of stages that were taken of other machines; nothing of none."""
    run = _run.get()
    if run is None or not run.taken:
        return {}
    said = f"{', '.join(sorted(run.taken))}: {described(differing(merged(*run.taken.values()), run.here))}"
    return {"stages": said[:LONGEST_TEXT]}
