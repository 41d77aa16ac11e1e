"""A run that is killed and started again ends with the bytes of one that nobody disturbed.

The default run stops a distillation at four of its moments, by an exception in the same process. Slow: 25 real runs,
each killed at a moment of its own and started again, and tasks that share their stages.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

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


def killed() -> None:
    raise Killed


@pytest.fixture
def moments(monkeypatch: pytest.MonkeyPatch) -> Moments:
    made = Moments(killed)
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
        f"in {tmp_path / '.a.stages'}: teachers begun (1); what has other settings is made anew",
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


KILLING = """
import os, signal, sys
sys.path[:0] = [{tests!r}, {tests!r} + "/promises", {tests!r} + "/../scripts"]
from test_resuming import Moments
from hello_distill import cli, queries
from hello_distill.system import publishing
from hello_distill.system.progress import ConsoleProgress
from hello_distill.training import checkpoint, fit

moments = Moments(lambda: os.kill(os.getpid(), signal.SIGKILL))
checkpoint.INTERVAL, queries.VIEWS, moments.last = 0.0, 32, int(sys.argv[1])
for place, name in ((fit, "learning_rate"), (publishing, "write"), (publishing, "_settle"), (ConsoleProgress, "line")):
    setattr(place, name, moments(getattr(place, name)))
code = cli.main(sys.argv[2:])
print(moments.count)
sys.exit(code)
"""


@pytest.mark.slow
def test_25_kills_and_25_equal_artefacts(tree: Path, recipe: Recipe, tmp_path: Path) -> None:
    """By SIGKILL, at each end of a stage among others: one of the moments is the line of a stage."""
    config = tmp_path / "recipe.json"
    config.write_text(json.dumps(recipe.settings()))
    text = KILLING.format(tests=str(Path(__file__).parents[1]))

    def run(last: int, out: Path) -> subprocess.CompletedProcess[str]:
        given = ["distill", str(tree), "--config", str(config), "--out", str(out)]
        return subprocess.run([sys.executable, "-c", text, str(last), *given], capture_output=True, text=True)

    total = int(run(-1, tmp_path / "undisturbed").stdout.split()[-1])
    wanted = content(tmp_path / "undisturbed")
    for number, share in enumerate(np.random.default_rng(0).uniform(0.01, 0.99, 25)):
        out = tmp_path / f"a{number}"
        assert run(round(share * total), out).returncode == -9
        assert (again := run(-1, out)).returncode == 0, again.stderr
        assert content(out) == wanted, f"killed at {round(share * total)} of {total}"
