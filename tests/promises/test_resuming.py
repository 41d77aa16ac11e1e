"""A run that is killed and started again ends with the bytes of one that nobody disturbed.

The default run stops a distillation at four of its moments, by an exception in the same process, and one in a process
of its own by three kills. Slow: 25 of these, each killed at a moment of its own and started again, and tasks that
share their stages.
"""

from __future__ import annotations

import json
import multiprocessing
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import killed
from conftest import drawn
from hello_distill import api
from hello_distill.artifact import load
from hello_distill.distillers.recipe import Recipe
from hello_distill.stages.kept import Kept
from hello_distill.student import reserved, students_of
from hello_distill.system import publishing
from hello_distill.system.context import Context
from hello_distill.system.progress import Progress
from hello_distill.training import checkpoint, fit


class Killed(BaseException):
    """In the place of a signal, which nothing catches either."""


class Moments:
    """Counts steps of training, files that are written and stages that end, and kills at one of them."""

    def __init__(self, end: Callable[[], object]) -> None:
        self.count, self.last, self.end = 0, -1, end

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*given: Any, **named: Any) -> Any:
            if self.count == self.last:
                self.end()
            self.count += 1
            return function(*given, **named)

        return counted


def stop() -> None:
    raise Killed


@pytest.fixture
def moments(monkeypatch: pytest.MonkeyPatch) -> Moments:
    made = Moments(stop)
    monkeypatch.setattr(checkpoint, "INTERVAL", 0.0)
    for place, name in ((fit, "learning_rate"), (publishing, "write"), (publishing, "_settle"), (Progress, "line")):
        monkeypatch.setattr(place, name, made(getattr(place, name)))
    return made


def content(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_a_distillation_goes_on_where_it_was_stopped(
    tree: Path, recipe: Recipe, moments: Moments, tmp_path: Path
) -> None:
    """Stopped four times, each time later; no run repeats what another has done."""
    api.distill(str(tree), tmp_path / "undisturbed", recipe)
    total, out = moments.count, tmp_path / "a"
    assert total > 40
    for _ in range(4):
        moments.count, moments.last = 0, total // 5
        with pytest.raises(Killed):
            api.distill(str(tree), out, recipe)
        assert not out.exists()
    moments.count, moments.last = 0, -1
    api.distill(str(tree), out, recipe)
    assert moments.count < total, "what was done is not done again"
    assert content(out) == content(tmp_path / "undisturbed")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "undisturbed"]


def test_students_go_on_where_they_were_stopped(
    artefact: Path, moments: Moments, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HELLO_DISTILL_CACHE", str(tmp_path))
    artifact, test = load(artefact), drawn(4, seed=9)
    undisturbed, total = students_of(artifact, test, [0, 1]), moments.count
    for share in (0.3, 0.8):  # in the first student, and in the second
        moments.count, moments.last = 0, round(share * total)
        with pytest.raises(Killed):
            students_of(artifact, test, [0, 1])
        moments.count, moments.last = 0, -1
        assert students_of(artifact, test, [0, 1]) == undisturbed
        assert moments.count < total
    assert not list((tmp_path / "students").iterdir())


def test_students_are_trained_where_no_checkpoint_can_be_kept(
    artefact: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The cache is a file: this is said, and nothing else changes."""
    artifact, test = load(artefact), drawn(4, seed=9)
    monkeypatch.setenv("HELLO_DISTILL_CACHE", str(tmp_path / "usual"))
    usual = students_of(artifact, test, [0])
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("HELLO_DISTILL_CACHE", str(tmp_path / "file"))
    lines: list[tuple[str, str]] = []
    with Context(progress=Lines(lines)):
        assert students_of(artifact, test, [0]) == usual
    assert lines[0] == (
        "checkpoints",
        f"none: {tmp_path / 'file' / 'students'} cannot be written: Not a directory; choose another folder",
    )


def test_of_two_processes_that_train_the_same_one_keeps_checkpoints(tmp_path: Path) -> None:
    lines: list[tuple[str, str]] = []
    folder = tmp_path / "students" / "a"
    with Context(progress=Lines(lines)), reserved(folder) as mine, reserved(folder) as also_mine:
        assert (mine, also_mine) == (True, False)
    assert lines == [("checkpoints", "none: another process trains the same students")]


class Lines(Progress):
    """Keeps what a terminal would show."""

    def __init__(self, lines: list[tuple[str, str]]) -> None:
        self.lines = lines

    def line(self, name: str, seconds: float, figure: str) -> None:
        self.lines.append((name, figure))


def test_what_is_found_is_said_first(tree: Path, recipe: Recipe, moments: Moments, tmp_path: Path) -> None:
    moments.last = 12
    with pytest.raises(Killed):
        api.distill(str(tree), tmp_path / "a", recipe)
    moments.last, lines = -1, list[tuple[str, str]]()
    with Context(progress=Lines(lines)):
        api.distill(str(tree), tmp_path / "a", recipe)
    assert lines[1] == (
        "found",
        f"in {tmp_path / '.a.stages'}: teachers begun (1); what has this run's settings is not made again",
    )
    assert lines[2][0] == "resumed" and lines[2][1].startswith("teachers: goes on after ")


# Work in blocks.


def squares(folder: Path | None, made: list[int], total: int = 6) -> list[torch.Tensor]:
    def square(number: int) -> torch.Tensor:
        made.append(number)
        return torch.tensor([number**2])

    return Kept(folder, drawn(2, seed=1), seed=0).blocks("squares", ("spec",), total, square)


def test_blocks_are_made_once_and_only_the_missing_ones(tmp_path: Path) -> None:
    wanted, made = [torch.tensor([number**2]) for number in range(6)], list[int]()
    assert squares(None, made) == wanted and made == [*range(6)]
    assert squares(tmp_path, made) == wanted and made == [*range(6)] * 2
    for file in list(tmp_path.rglob("[13].safetensors")):
        file.unlink()
    assert squares(tmp_path, made) == wanted and made[12:] == [1, 3]
    assert not list(tmp_path.rglob("*.lock"))


def tasks(count: int, tree: Path, recipe: Recipe, folder: Path) -> list[dict[str, bytes]]:
    """The artefacts of runs that share a folder of stages, as the tasks of a job array would."""
    folder.mkdir()
    config = folder / "recipe.json"
    config.write_text(json.dumps(recipe.settings()))
    call = [sys.executable, "-m", "hello_distill", "distill", str(tree), "--config", str(config), "--stages", "stages"]
    runs = [subprocess.Popen([*call, "--out", f"task-{number}"], cwd=folder) for number in range(count)]
    assert [run.wait(timeout=300) for run in runs] == [0] * count
    return [content(folder / f"task-{number}") for number in range(count)]


@pytest.mark.slow
def test_a_job_array_gives_the_bytes_of_one_process(tree: Path, recipe: Recipe, tmp_path: Path) -> None:
    """Each class's patches are chosen once, by whichever task came first."""
    (alone,) = tasks(1, tree, recipe, tmp_path / "alone")
    for count in (2, 3):
        assert tasks(count, tree, recipe, tmp_path / str(count)) == [alone] * count


# Runs in processes of their own, killed by SIGKILL: see `killed.py`.


FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["killed"])


class Killing:
    """A distillation with its students that nobody disturbs, and the same killed and started again."""

    def __init__(self, tree: Path, recipe: Recipe, folder: Path) -> None:
        self.tree, self.folder, self.config = tree, folder, folder / "recipe.json"
        self.config.write_text(json.dumps(longer(recipe).settings()))
        out = folder / "undisturbed"
        self.students = self.ended(self.started("never", out), out)
        self.wanted, self.diary = content(out), self.noted(out)
        self.stages = self.count(out, "stage")

    def started(self, when: str, out: Path) -> BaseProcess:
        run = FORKS.Process(target=killed.run, args=(when, self.tree, self.config, out))
        run.start()
        return run

    def ended(self, run: BaseProcess, out: Path) -> Any:
        """What a run says of its students, once it has ended well."""
        run.join(600)
        assert run.exitcode == 0
        said = json.loads(Path(f"{out}.json").read_text())
        del said["environment"]  # names the commit, which may be another by now
        return said

    def noted(self, out: Path) -> list[str]:
        diary = Path(f"{out}.log")
        return diary.read_text().splitlines() if diary.exists() else []

    def count(self, out: Path, kind: str) -> int:
        return sum(line.startswith(kind) for line in self.noted(out))

    def killed(self, when: str, out: Path) -> None:
        """Kill a run at a step, at the end of a stage, or milliseconds after some line of its diary: `after 40 120`."""
        _, number, *wait = when.split()
        lines = len(self.noted(out)) + int(number)
        run = self.started("never" if wait else when, out)
        if wait:
            while run.is_alive() and len(self.noted(out)) < lines:
                time.sleep(0.002)
            time.sleep(int(*wait) / 1000)
            run.kill()
        run.join(600)
        assert run.exitcode == -signal.SIGKILL, f"{out.name} had ended before {when}"

    def goes_on(self, out: Path, kills: int) -> int:
        """Start a killed run again: it ends as if nobody had disturbed it. Gives how many steps were repeated."""
        assert self.ended(self.started("never", out), out) == self.students
        assert content(out) == self.wanted
        assert {*self.weights(self.noted(out))} == {*self.weights(self.diary)}
        repeated = self.count(out, "step") - sum(line.startswith("step") for line in self.diary)
        assert 0 <= repeated <= kills * killed.REPEATED, "no more than one interval for each kill"
        assert not list(self.folder.glob(f".{out.name}*")) and not list(Path(f"{out}.cache", "students").iterdir())
        return repeated

    def weights(self, diary: list[str]) -> list[str]:
        """What trainings ended with, each with its name."""
        return [line for line in diary if line.startswith("weights")]


def longer(recipe: Recipe) -> Recipe:
    """With trainings of twenty steps and more, so that there are several checkpoints to each."""
    made, spec = recipe.distiller, recipe.distiller.projector_spec
    assert spec is not None and spec.queries is not None
    spec = replace(spec, optim=replace(spec.optim, epochs=8), queries=replace(spec.queries, steps=20))
    return replace(
        recipe,
        teachers=replace(recipe.teachers, weak_epochs=(4, 8), optim=replace(recipe.teachers.optim, epochs=8)),
        distiller=made.with_projector(spec),
        student=replace(recipe.student, optim=replace(recipe.student.optim, epochs=10)),
    )


def test_three_kills_of_one_run(tree: Path, recipe: Recipe, tmp_path: Path) -> None:
    """At the end of the teachers, in the midst of what follows, and in the midst of a student."""
    killing, out = Killing(tree, recipe, tmp_path), tmp_path / "a"
    lines = [line for line in killing.diary if line.startswith(("stage", "step"))]
    killing.killed(f"stage {[line for line in lines if line.startswith('stage')].index('stage teachers') + 1}", out)
    killing.killed("after 20 50", out)
    steps_of_students = 2 * 20
    killing.killed(f"step {lines.count('step ') - killing.count(out, 'step') - steps_of_students + 30}", out)
    assert killing.goes_on(out, 3) > 0, "a checkpoint is older than the kill"


@pytest.mark.slow
def test_25_kills_and_25_equal_artefacts(tree: Path, recipe: Recipe, tmp_path: Path) -> None:
    """Once at the end of each stage, students among them; else at random moments, in the midst of a training or not."""
    killing = Killing(tree, recipe, tmp_path)
    kills = [f"stage {number}" for number in range(1, killing.stages + 1)]
    assert {"stage teachers", "stage query fitting", "stage student, seed 1"} <= {*killing.diary} and len(kills) <= 18
    random, last = np.random.default_rng(0), round(0.8 * len(killing.diary))  # many steps, of 20 ms each, are left then
    kills += [f"after {random.integers(1, last)} {random.integers(200)}" for _ in range(25 - len(kills))]

    def repeated(number: int) -> int:
        killing.killed(kills[number], out := tmp_path / f"a{number}")
        return killing.goes_on(out, 1)

    with ThreadPoolExecutor(2) as both:
        assert sum(both.map(repeated, range(25))) > 0, "some checkpoint is older than the kill"
