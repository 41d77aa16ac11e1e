"""Made once: by one of several threads or processes, whole or not at all, also where locks do nothing."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from hello_distill.system.cache import locked, once
from hello_distill.system.publishing import published

MAKER = """
import os, signal, sys, time
from pathlib import Path
{patch}
from hello_distill.system.cache import once
from hello_distill.system.publishing import published

target, log = Path(sys.argv[1]), Path(sys.argv[2])

def make():
    with published(target, 10) as partial, log.open("a") as lines:
        print(os.getpid(), file=lines, flush=True)
        (partial / "one").write_text("1")
        time.sleep(0.3)
        if "{end}" == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        (partial / "two").write_text("2")

once(target, make)
assert sorted(path.name for path in target.iterdir()) == ["one", "two"]
"""


def maker(target: Path, log: Path, patch: str = "", end: str = "") -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", MAKER.format(patch=patch, end=end), str(target), str(log)])


@pytest.mark.parametrize("patch", ["", "import fcntl; fcntl.flock = lambda *_: None"])
def test_of_several_processes_one_makes_and_the_others_wait(patch: str, tmp_path: Path) -> None:
    target, log = tmp_path / "cache" / "abc", tmp_path / "log"
    runs = [maker(target, log, patch) for _ in range(3)]
    assert [run.wait(60) for run in runs] == [0, 0, 0]
    assert len(log.read_text().split()) == 1
    assert [path.name for path in target.parent.iterdir()] == ["abc"]


def test_what_a_killed_maker_left_counts_for_nothing(tmp_path: Path) -> None:
    target, log = tmp_path / "abc", tmp_path / "log"
    assert maker(target, log, end="killed").wait(60) == -9
    assert not target.exists()
    assert maker(target, log).wait(60) == 0
    assert len(log.read_text().split()) == 2


def test_of_several_threads_one_makes(tmp_path: Path) -> None:
    target, makers = tmp_path / "abc", list[int]()

    def make() -> None:
        makers.append(threading.get_ident())
        time.sleep(0.1)
        with published(target, 10) as partial:
            (partial / "one").touch()

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda _: once(target, make), range(4))) == [target] * 4
    assert len(makers) == 1


def test_parts_are_made_until_all_are_there(tmp_path: Path) -> None:
    target, calls = tmp_path / "abc", list[str]()

    def make(part: str) -> None:
        calls.append(part)
        with published(target / part, 10):
            pass

    for part in ("a", "b", "a"):
        once(target, lambda part=part: make(part), parts=[part])  # type: ignore[misc]
    assert calls == ["a", "b"]
    once(target, lambda: calls.append("none"), parts=["a", "b"])
    assert calls == ["a", "b"]


def test_a_maker_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def make() -> None:
        with published(tmp_path / "abc", 10):
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        once(tmp_path / "abc", make)
    assert not list(tmp_path.iterdir())


def test_a_lock_that_another_holds_is_waited_for_or_not(tmp_path: Path) -> None:
    with locked(tmp_path / "x.lock") as mine, ThreadPoolExecutor(1) as pool:
        assert mine
        assert pool.submit(lambda: locked(tmp_path / "x.lock", wait=False).__enter__()).result() is False
    with locked(tmp_path / "x.lock", wait=False) as mine:
        assert mine
