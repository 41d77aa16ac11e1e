"""Nothing is lost: claims, kills, full and read-only disks, numbers that are none, signals.

The default run covers every write site, 50 kills while publishing, claims of up to eight starts, one pair of real runs
into one folder, and one real run that is told to stop. Slow: eight real runs at once, real runs stopped at ten random
times, and what the check of gradients costs.
"""

from __future__ import annotations

import errno
import gzip
import hashlib
import json
import math
import os
import re
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch
from torch import nn

from conftest import drawn, write_tree
from hello_distill import api as pipeline
from hello_distill import artifact as artifacts
from hello_distill import cli, teachers
from hello_distill import student as evaluate
from hello_distill.artifact import Distilled
from hello_distill.data import fashion_mnist
from hello_distill.data.images import ImageSet, Material
from hello_distill.distillers.lic import LIC
from hello_distill.distillers.recipe import Recipe
from hello_distill.distillers.recover import Jitter, recover
from hello_distill.encoders import lite
from hello_distill.experiments.ledger import Cell, Ledger, Run
from hello_distill.format import tensors
from hello_distill.format.manifest import SUMS
from hello_distill.format.results.grids import Bytes, Trial
from hello_distill.format.specs import Codec, Optim, StudentSpec
from hello_distill.labels.sources.hard import HardLabels
from hello_distill.labels.sources.static import StaticLabels
from hello_distill.relabel import relabel, wanted
from hello_distill.report.plot import plot
from hello_distill.stages import Stages
from hello_distill.system import claims, owners, publishing, room
from hello_distill.system.errors import DivergedError, InputError, MachineError
from hello_distill.training.fit import finite_gradients, fit
from hello_distill.training.losses import matching_loss
from hello_distill.training.networks import build
from hello_distill.types import Batch

SOURCE = str(Path(publishing.__file__).parents[2])
COMMAND = (sys.executable, "-m", "hello_distill")
NO_LOCKS = (
    sys.executable,
    "-c",
    "import fcntl, sys; fcntl.flock = lambda *_: None; from hello_distill.cli import main; sys.exit(main())",
)
"""The command where locks do nothing, as on some shared file systems."""


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": SOURCE, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", **more}


def started(*arguments: object, command: tuple[str, ...] = COMMAND, **more: Any) -> subprocess.Popen[str]:
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([*command, *map(str, arguments)], env=environment(), **pipes, **more)


def script(text: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a few lines that import nothing heavy."""
    command = [sys.executable, "-c", text, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=environment(), timeout=120)


def content(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def sums_hold(folder: Path) -> bool:
    lines = [line.split("  ", 1) for line in (folder / SUMS).read_text().splitlines()]
    files = content(folder)
    return {name for _, name in lines} == set(files) - {SUMS} and all(
        hashlib.sha256(files[name]).hexdigest() == digest for digest, name in lines
    )


Mount = Callable[..., Path]


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Mount]:
    """Mount a small file system in memory: `mount(size="8m")`, also `mount(again=folder, options="remount,ro")`."""
    made: list[Path] = []

    def mounted(size: str = "8m", options: str = "rw", again: Path | None = None) -> Path:
        folder = again or tmp_path / f"mount{len(made)}"
        folder.mkdir(exist_ok=True)
        command = ["mount", "-t", "tmpfs", "-o", f"{options},size={size}", "tmpfs", str(folder)]
        try:
            subprocess.run(command, check=True, capture_output=True, text=True)
        except (OSError, subprocess.CalledProcessError) as error:
            pytest.skip(f"a file system in memory cannot be mounted here: {getattr(error, 'stderr', '') or error}")
        if again is None:
            made.append(folder)
        return folder

    yield mounted
    for folder in made:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder: Path, leave: int) -> Path:
    """Take all room but so many bytes."""
    file = folder / "filler"
    with file.open("wb") as handle:
        os.posix_fallocate(handle.fileno(), 0, room.free(folder) - leave)
    return file


def told(error: pytest.ExceptionInfo[MachineError], target: Path) -> tuple[int, int]:
    """Bytes needed and free, as the sentence says them."""
    numbers = r"cannot be written: it needs (?:about )?([\d,]+) bytes, and ([\d,]+) are free; make room and run"
    found = re.fullmatch(rf"{re.escape(str(target))} {numbers} the same command again", str(error.value))
    assert found, error.value
    return int(found[1].replace(",", "")), int(found[2].replace(",", ""))


# Claims.


def test_a_claim_is_the_owners_alone(tmp_path: Path) -> None:
    with claims.claimed(tmp_path / "a"):
        with ThreadPoolExecutor(1) as other:
            refused = other.submit(claims.claimed(tmp_path / "a").__enter__).exception()
        assert str(refused).startswith(f"{tmp_path}/a is being written by process {os.getpid()}; wait for it, or")
        with claims.claimed(tmp_path / "a"):  # the thread has it already
            pass
        with claims.claimed(tmp_path / "b"):
            assert sorted(p.name for p in tmp_path.iterdir()) == [".a.claim", ".b.claim"]
    assert not list(tmp_path.iterdir())


KILLED = """
import os, signal, sys
from pathlib import Path
from hello_distill.system import claims, publishing
with publishing.published(Path(sys.argv[1]), 10) as partial:
    (partial / "half").write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_the_claim_of_a_killed_run_is_taken_over_and_its_leftovers_go(tmp_path: Path) -> None:
    assert script(KILLED, tmp_path / "a").returncode == -signal.SIGKILL
    assert [p.name for p in (tmp_path / ".a.claim" / "partial").iterdir()] == ["half"]
    assert script(KILLED, tmp_path / "a").returncode == -signal.SIGKILL  # an heir may be killed, too
    with publishing.published(tmp_path / "a", 10) as partial:
        (partial / "whole").write_text("whole")
    assert [p.name for p in tmp_path.iterdir()] == ["a"]
    assert [p.name for p in (tmp_path / "a").iterdir()] == ["whole"]


def owned(folder: Path, **changes: object) -> owners.Owner:
    """A claim of another process, as that process would have left it."""
    owner = owners.Owner.me()._replace(token="0000", **changes)
    folder.mkdir(parents=True)
    (folder / "owner.json").write_text(json.dumps(owner._asdict()))
    return owner


def test_a_claim_of_another_machine_stays_and_says_how_to_remove_it(tmp_path: Path) -> None:
    owned(tmp_path / ".a.claim", host="elsewhere", seat="other", pid=7)
    said = r"process 7 of elsewhere, which cannot be seen from here; .* or remove .*/\.a\.claim if that process no"
    with pytest.raises(InputError, match=said), claims.claimed(tmp_path / "a"):
        raise AssertionError("taken over")


def test_a_claim_from_before_a_reboot_is_taken_over(tmp_path: Path) -> None:
    """The same machine, started anew: what claimed there has ended, whatever has its number now."""
    owned(tmp_path / ".a.claim", seat="other", boot="other", pid=os.getppid())
    assert claims.writer(tmp_path / "a") is None
    with claims.claimed(tmp_path / "a"):
        pass
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "changes",
    [
        {"machine": "other", "boot": "other"},  # of the same name, but another one
        {"boot": ""},  # that does not say when it was started
        {},  # another container of this start of the machine
    ],
)
def test_a_claim_that_may_be_alive_is_not_taken_over(changes: dict[str, str], tmp_path: Path) -> None:
    owner = owned(tmp_path / ".a.claim", seat="other", **changes)
    with pytest.raises(InputError, match="which cannot be seen from here"), claims.claimed(tmp_path / "a"):
        raise AssertionError("taken over")
    assert claims.writer(tmp_path / "a") == owner


def test_a_claim_of_an_older_version_is_read(tmp_path: Path) -> None:
    owned(tmp_path / ".a.claim", seat="other")
    file = tmp_path / ".a.claim" / "owner.json"
    fields = json.loads(file.read_text())
    file.write_text(json.dumps({name: fields[name] for name in ("host", "seat", "pid", "started", "token")}))
    with pytest.raises(InputError, match=f"process {os.getpid()} of .* cannot be seen"), claims.claimed(tmp_path / "a"):
        raise AssertionError("taken over")


@pytest.mark.parametrize(
    ("former", "gone"),
    [
        ({}, True),  # its first run
        ({"SLURM_RESTART_COUNT": "1"}, True),
        ({"SLURM_RESTART_COUNT": "2"}, False),  # another process of this run
        ({"SLURM_JOB_ID": "71"}, False),
        ({"SLURM_ARRAY_TASK_ID": "4"}, False),
        ({"SLURM_CLUSTER_NAME": "south"}, False),
        ({"SLURM_JOB_ID": ""}, False),  # not of Slurm
    ],
)
def test_a_requeued_job_takes_over_the_claims_of_its_former_run_on_another_node(
    former: dict[str, str], gone: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = {"SLURM_CLUSTER_NAME": "north", "SLURM_JOB_ID": "70", "SLURM_ARRAY_TASK_ID": "3", "SLURM_RESTART_COUNT": "2"}
    for name, value in {**now, "SLURM_RESTART_COUNT": "", **former}.items():
        monkeypatch.setenv(name, value)
    owned(tmp_path / ".a.claim", host="node1", machine="other", boot="other", seat="other")
    for name, value in now.items():
        monkeypatch.setenv(name, value)
    if gone:
        with claims.claimed(tmp_path / "a"):
            pass
        assert not list(tmp_path.iterdir())
    else:
        with pytest.raises(InputError, match="of node1, which cannot be seen"), claims.claimed(tmp_path / "a"):
            raise AssertionError("taken over")


def test_processes_outside_of_slurm_are_no_job_s(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two of them, one with a count that was left over, are not one job."""
    for name in ("SLURM_JOB_ID", "SLURM_ARRAY_TASK_ID", "SLURM_CLUSTER_NAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SLURM_RESTART_COUNT", "5")
    other = owners.Owner.me()._replace(machine="other", seat="other", restarts=0)
    assert other.job == "" and not other.gone()


def test_a_number_that_came_again_is_not_the_owner(tmp_path: Path) -> None:
    owned(tmp_path / ".a.claim", pid=os.getppid(), started="1")
    with claims.claimed(tmp_path / "a"):
        pass
    assert not list(tmp_path.iterdir())


def test_an_heir_of_an_old_claim_does_not_inherit_a_new_one(tmp_path: Path) -> None:
    """Who looked at a claim, slept, and acts when another run holds a new one, must not come in."""
    late = owners.Owner.me()._replace(token="late")
    with claims.claimed(tmp_path / "a") as claim:
        claims._make_claim(claim.target, late, tmp_path / ".a.claim" / "after-0000")
        assert claims._owners(tmp_path / ".a.claim") == [claim.owner]
    assert not list(tmp_path.iterdir())


def test_a_folder_without_an_owner_is_refused(tmp_path: Path) -> None:
    (tmp_path / ".a.claim" / "mine").mkdir(parents=True)
    with pytest.raises(InputError, match=r"\.a\.claim is in the way and names no run; remove it"):
        claims.claimed(tmp_path / "a").__enter__()


RACE = """
import os, sys, time
from pathlib import Path
from hello_distill.system import claims, publishing
from hello_distill.system.errors import InputError

def child(target, at, stop):
    while time.time() < at:
        pass
    try:
        with claims.claimed(target) as claim:
            (target.parent / f"ran-{os.getpid()}").touch()
            while not os.path.exists(stop):
                time.sleep(0.001)
        return 0
    except InputError:
        return 2

folder, starts, dead = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "dead"
for turn in range(25):
    target = folder / str(turn) / "a"
    target.parent.mkdir(parents=True)
    if dead:
        pid = os.fork()
        if not pid:
            held = claims.claimed(target)
            held.__enter__()
            os._exit(0)
        os.waitpid(pid, 0)
        assert claims._owners(target.with_name(".a.claim"))[-1].gone()
    at, stop, pids = time.time() + 0.03, folder / f"stop-{turn}", []
    for _ in range(starts):
        pids.append(os.fork())
        if not pids[-1]:
            os._exit(child(target, at, stop))
    waiting, codes = set(pids), []
    while len(codes) < starts - 1:  # all but the owner come back while it runs
        pid, status = os.wait()
        codes.append(os.waitstatus_to_exitcode(status))
    stop.touch()
    codes.append(os.waitstatus_to_exitcode(os.wait()[1]))
    assert sorted(codes) == [0] + [2] * (starts - 1), codes
    assert len(list(target.parent.glob("ran-*"))) == 1
    assert [p.name for p in target.parent.iterdir() if not p.name.startswith("ran-")] == []
print("all", turn + 1)
"""


@pytest.mark.parametrize("state", ["free", "dead"])
@pytest.mark.parametrize("starts", [2, 8])
def test_of_several_starts_one_runs(starts: int, state: str, tmp_path: Path) -> None:
    """25 times each, on a free output and on one whose owner was killed."""
    done = script(RACE, tmp_path, starts, state)
    assert done.stdout == "all 25\n", done.stderr


def test_a_stage_waits_for_the_process_that_makes_it(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys, time\nfrom pathlib import Path\nfrom hello_distill.system import publishing\n"
            "with publishing.published(Path(sys.argv[1]), 9) as partial:\n"
            "    print('in', flush=True)\n    time.sleep(1)\n    (partial / 'x').touch()",
            str(tmp_path / "a"),
        ],
        env=environment(),
        stdout=subprocess.PIPE,
    )
    assert holder.stdout is not None and holder.stdout.readline() == b"in\n"
    with claims.reserved(tmp_path / "a", wait=True) as claim:
        assert [p.name for p in claim.target.iterdir()] == ["x"]
    assert holder.wait() == 0


# Publishing.

PUBLISHER = """
import hashlib, os, random, signal, sys, time
from pathlib import Path
from hello_distill.system import claims, owners, publishing, room

def publish(target):
    with publishing.published(target, 8 * 40_000) as partial:
        sums = []
        for number in range(8):
            content = random.Random(number).randbytes(40_000)
            (partial / f"{number}").write_bytes(content)
            sums.append(f"{hashlib.sha256(content).hexdigest()}  {number}")
        (partial / "SHA256SUMS").write_text("\\n".join(sums))

def whole(target):
    sums = [line.split("  ") for line in (target / "SHA256SUMS").read_text().splitlines()]
    files = {p.name for p in target.iterdir()}
    return files == {name for _, name in sums} | {"SHA256SUMS"} and all(
        hashlib.sha256((target / name).read_bytes()).hexdigest() == digest for digest, name in sums
    )

folder = Path(sys.argv[1])
start = time.time()
publish(folder / "unkilled")
length, absent = time.time() - start, 0
for turn in range(50):
    target = folder / str(turn) / "a"
    pid = os.fork()
    if not pid:
        publish(target)
        os._exit(0)
    partial = target.parent / ".a.claim" / "partial"
    while not (partial / "0").exists() and not target.exists():
        pass
    time.sleep(turn / 50 * length)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    if target.exists():
        assert whole(target), turn
    else:
        absent += 1
        publish(target)
        assert whole(target) and [p.name for p in target.parent.iterdir()] == ["a"], turn
print(absent)
"""


def test_fifty_kills_while_publishing_leave_nothing_or_all(tmp_path: Path) -> None:
    """From the first byte on, at even distances up to the time that publishing takes; the next run then publishes."""
    done = script(PUBLISHER, tmp_path)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= 10  # kills that came before the rename


@pytest.mark.parametrize("umask", [0o022, 0o027])
def test_published_files_have_the_modes_that_the_umask_leaves(umask: int, tmp_path: Path) -> None:
    before = os.umask(umask)
    try:
        with publishing.published(tmp_path / "a", 10) as partial:
            (partial / "sub").mkdir()
            tensors.write(partial / "sub" / "x.safetensors", {"x": torch.zeros(1)})
    finally:
        os.umask(before)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o777 & ~umask
    assert (tmp_path / "a" / "sub").stat().st_mode & 0o777 == 0o777 & ~umask
    assert (tmp_path / "a" / "sub" / "x.safetensors").stat().st_mode & 0o777 == 0o666 & ~umask


def test_all_is_on_disk_before_the_name_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    real = os.fsync

    def fsync(handle: int) -> None:
        synced.append(Path(f"/proc/self/fd/{handle}").readlink().name)
        assert synced[-1] == tmp_path.name or not (tmp_path / "a").exists()
        real(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    with publishing.published(tmp_path / "a", 10) as partial:
        (partial / "sub").mkdir()
        (partial / "sub" / "x").touch()
    assert sorted(synced[:-1]) == ["partial", "sub", "x"] and synced[-1] == tmp_path.name


def test_what_appears_meanwhile_is_left_alone(tmp_path: Path) -> None:
    with (
        pytest.raises(InputError, match="exists already"),
        publishing.published(tmp_path / "a", 10) as partial,
    ):
        (partial / "x").touch()
        (tmp_path / "a").mkdir()
    assert [p.name for p in tmp_path.iterdir()] == ["a"] and not list((tmp_path / "a").iterdir())


# Concurrent runs.


@pytest.fixture
def call(tree: Path, recipe: Recipe, tmp_path: Path) -> list[object]:
    """A distillation of seconds, without its --out."""
    config = tmp_path / "tiny.json"
    config.write_text(json.dumps(recipe.settings()))
    return ["distill", tree, "--config", config]


@pytest.mark.parametrize("starts", [2, pytest.param(8, marks=pytest.mark.slow)])
def test_of_several_runs_into_one_folder_one_runs(starts: int, call: list[object], tmp_path: Path) -> None:
    """Where locks do nothing. The others end within five seconds and name the one that runs."""
    out = tmp_path / "out" / "a"
    out.parent.mkdir()
    began = time.monotonic()
    runs = [started(*call, "--out", out, command=NO_LOCKS) for _ in range(starts)]
    ended: dict[int, float] = {}
    while len(ended) < starts:
        ended |= {r.pid: time.monotonic() - began for r in runs if r.pid not in ended and r.poll() is not None}
        time.sleep(0.01)
    said = {r.pid: r.communicate()[1] for r in runs}
    winners = [r.pid for r in runs if r.returncode == 0]
    assert len(winners) == 1, said
    for other in runs:
        if other.pid not in winners:
            assert other.returncode == 2 and ended[other.pid] <= 5
            assert said[other.pid].startswith(f"hello-distill: {out} is being written by process {winners[0]}; ")
            assert said[other.pid].count("\n") == 1
    assert [p.name for p in out.parent.iterdir()] == ["a"] and sums_hold(out)


# A full disk.


def noise(count: int = 40, side: int = 128) -> ImageSet:
    images = np.random.default_rng(0).integers(0, 256, (count, 3, side, side), dtype=np.uint8)
    return ImageSet(torch.from_numpy(images), torch.arange(count) % 4, ("a", "b", "c", "d"))


def distilled(images: ImageSet, logits: int = 0) -> Distilled:
    labels: Any = HardLabels(images.targets, 4)
    return Distilled(images, StaticLabels(torch.zeros(logits, 4)) if logits else labels, {})


@pytest.mark.parametrize(
    ("count", "side", "logits"), [(40, 128, 0), (4, 32, 0), (8, 64, 50_000)], ids=["images", "small", "labels"]
)
def test_a_full_disk_is_told_before_an_artefact_is_written(
    count: int, side: int, logits: int, mount: Mount, tmp_path: Path
) -> None:
    """At 8 MB: what is needed is known within a fifth, and with room the same call gives the bytes of any disk."""
    disk, made = mount("8m"), distilled(noise(count, side), logits)
    whole = artifacts.save(made, count // 4, StudentSpec(), Codec(), {}, tmp_path / "elsewhere")
    filler = fill(disk, 8192)
    with pytest.raises(MachineError) as caught:
        artifacts.save(made, count // 4, StudentSpec(), Codec(), {}, disk / "a")
    needed, free = told(caught, disk / "a")
    assert needed == pytest.approx(sum(map(len, content(whole).values())), rel=0.2)
    assert free <= 8192 and [p.name for p in disk.iterdir()] == ["filler"]
    filler.unlink()
    assert content(artifacts.save(made, count // 4, StudentSpec(), Codec(), {}, disk / "a")) == content(whole)


@pytest.mark.parametrize("leave", [100_000, 1_000_000, 2_020_000])
def test_a_disk_that_fills_up_while_writing_leaves_nothing(
    leave: int, mount: Mount, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another program takes the room after it was looked at: images, labels and texts meet the end of the disk."""
    disk, made = mount("8m"), distilled(noise(), 10_000)
    fill(disk, leave)
    monkeypatch.setattr(room, "check_room", lambda *_, **__: None)
    with pytest.raises(MachineError) as caught:
        artifacts.save(made, 10, StudentSpec(), Codec(), {}, disk / "a")
    needed, free = told(caught, disk / "a")
    assert needed > free >= leave - 16384
    assert [p.name for p in disk.iterdir()] == ["filler"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_quota_is_a_full_disk(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    (tmp_path / "f").write_text("old")
    monkeypatch.setattr(os, "fsync", refuse)
    for write in (
        lambda: publishing.write(tmp_path / "f", b"new"),
        lambda: artifacts.save(distilled(noise(4, 8)), 1, StudentSpec(), Codec(), {}, tmp_path / "a"),
    ):
        with pytest.raises(MachineError, match=r"it needs [\d,]+ bytes, and [\d,]+ are free"):
            write()
    assert content(tmp_path) == {"f": b"old"}


def test_other_labels_on_a_full_disk(mount: Mount, artefact: Path) -> None:
    disk = mount("1m")
    fill(disk, 12288)
    with pytest.raises(MachineError) as caught:
        relabel(artefact, disk / "b", wanted("stored"))
    needed, _ = told(caught, disk / "b")
    (disk / "filler").unlink()
    written = relabel(artefact, disk / "b", wanted("stored"))
    assert needed == pytest.approx(sum(map(len, content(written).values())), rel=0.2)


def trained(material: Material, recipe: Recipe, folder: Path) -> Stages:
    stages = Stages(material, recipe.teachers, 0, folder=folder)
    stages.projector(recipe.distiller.projector)
    return stages


def test_stages_on_a_full_disk(
    mount: Mount, material: Material, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The room is looked at before a training; a stage that is there stays, and the next run has the same bytes."""
    disk = mount("1m")
    trained(material, recipe, tmp_path / "stages")
    whole = {name: value for name, value in content(tmp_path / "stages").items() if not name.endswith(".lock")}
    filler = fill(disk, 8192)
    with monkeypatch.context() as patch:
        patch.setattr(teachers, "fit", lambda *_, **__: pytest.fail("training began"))
        with pytest.raises(MachineError) as caught:
            Stages(material, recipe.teachers, 0, folder=disk).teachers()
        with pytest.raises(MachineError, match=r"projectors/\w+ cannot be written: it needs"):
            trained(material, recipe, disk)
    place = next(p for p in (tmp_path / "stages" / "teachers").iterdir() if p.is_dir())
    needed, _ = told(caught, disk / "teachers" / place.name)
    assert needed == pytest.approx(sum(map(len, content(place).values())), rel=0.2)
    filler.unlink()
    Stages(material, recipe.teachers, 0, folder=disk).teachers()
    kept = content(disk / "teachers" / place.name)
    fill(disk, 8192)
    with monkeypatch.context() as patch:  # the disk fills up during the training
        patch.setattr(room, "check_room", lambda *_, **__: None)
        with pytest.raises(MachineError, match=r"rounds/\S+ cannot be written: it needs"):
            trained(material, recipe, disk)
    assert content(disk / "teachers" / place.name) == kept
    assert not [p for p in (disk / "projectors").iterdir() if p.suffix != ".lock"]
    (disk / "filler").unlink()
    trained(material, recipe, disk)
    assert {name: value for name, value in content(disk).items() if not name.endswith(".lock")} == whole


NOTHING = Bytes(images=0, labels=0, teacher=0, public=0)


def test_a_result_file_on_a_full_disk(mount: Mount, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = mount("64k")
    ledger = Ledger(disk / "r.json", {"name": "x"}, {})
    ledger.add_trial(Trial(method="a", settings={"lr": 0.1}, held_top1=50.0))
    old = (disk / "r.json").read_bytes()
    fill(disk, 0)
    for looked in (True, False):
        if not looked:
            monkeypatch.setattr(room, "check_room", lambda *_, **__: None)
        with pytest.raises(MachineError) as caught:
            ledger.add_run(Cell("a", "hard", 1, "s"), {}, 0, Run(1.0, 1.0, NOTHING, 1.0))
        needed, _ = told(caught, disk / "r.json")
        assert (disk / "r.json").read_bytes() == old
        assert not [p for p in disk.iterdir() if "lock" not in p.name and p.name not in ("r.json", "filler")]
    (disk / "filler").unlink()
    ledger.add_run(Cell("a", "hard", 1, "s"), {}, 0, Run(1.0, 1.0, NOTHING, 1.0))
    assert needed == (disk / "r.json").stat().st_size


def test_a_picture_on_a_full_disk(mount: Mount, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    disk = mount("128k")
    result = tmp_path / "r.json"
    Ledger(result, {"name": "x"}, {}).add_run(Cell("a", "hard", 1, "s"), {}, 0, Run(50.0, 50.0, NOTHING, 1.0))
    plot(result, disk / "p.svg")
    old = (disk / "p.svg").read_bytes()
    assert old.startswith(b"<?xml")
    fill(disk, 0)
    with pytest.raises(MachineError) as caught:
        plot(result, disk / "p.svg")
    assert told(caught, disk / "p.svg")[0] == len(old)
    assert (disk / "p.svg").read_bytes() == old


@pytest.mark.parametrize("options", ["rw", "ro"])
def test_the_offline_encoder_works_without_its_cache(
    options: str, mount: Mount, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = mount("64k", options)
    if options == "rw":
        fill(disk, 0)
    monkeypatch.setenv("HELLO_DISTILL_CACHE", str(disk / "cache"))
    monkeypatch.setattr(lite, "RIDGE", 7.0)
    found = lite._regression(lambda names: torch.rand(len(names), 8), torch.rand(1000, 16), ())
    assert [tuple(each.shape) for each in found] == [(8,), (8, 16)]
    assert not [p for p in disk.rglob("*") if p.is_file() and p.name != "filler"]


@pytest.fixture
def raw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Fashion-MNIST's four files, with a few pictures of noise."""
    folder = tmp_path / "raw"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for part, count in (("train", 400), ("t10k", 100)):
        pixels = rng.integers(0, 256, (count, 28, 28), dtype=np.uint8).tobytes()
        labels = (np.arange(count) % 10).astype(np.uint8).tobytes()
        (folder / f"{part}-images-idx3-ubyte.gz").write_bytes(gzip.compress(bytes(16) + pixels))
        (folder / f"{part}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(bytes(8) + labels))
    monkeypatch.setattr(fashion_mnist, "_installed", lambda scratch: folder)
    return folder


def test_fetching_onto_a_full_disk(raw: Path, mount: Mount, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = mount("2m")
    monkeypatch.setenv("HELLO_DISTILL_CACHE", str(disk))
    filler = fill(disk, 100_000)
    for looked in (True, False):
        with monkeypatch.context() as patch:
            if not looked:
                patch.setattr(room, "check_room", lambda *_, **__: None)
            with pytest.raises(MachineError) as caught:
                fashion_mnist.fashion_mnist()
        needed, _ = told(caught, disk / "fashion-mnist")
        assert [p.name for p in disk.iterdir() if p.suffix != ".lock"] == ["filler"]
    filler.unlink()
    assert needed == sum(map(len, content(fashion_mnist.fashion_mnist()).values()))
    assert [p.name for p in disk.iterdir() if p.suffix != ".lock"] == ["fashion-mnist"]


def test_a_full_disk_ends_with_3_before_any_training(
    mount: Mount, call: list[object], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The forecast is rough, and says so: images of flat colours grow when they are moved."""
    disk = mount("1m")
    arguments = [*map(str, call), "--out", str(disk / "a")]
    filler = fill(disk, 16384)
    with monkeypatch.context() as patch:
        for module in (teachers, evaluate):
            patch.setattr(module, "fit", lambda *_, **__: pytest.fail("training began"))
        assert cli.main(arguments) == 3
    said = capsys.readouterr().err.splitlines()[-1]
    assert f"{disk / 'a'} cannot be written: it needs about " in said
    assert [p.name for p in disk.iterdir()] == ["filler"]
    filler.unlink()
    assert cli.main(arguments) == 0
    forecast = int(re.search(r"about ([\d,]+)", said)[1].replace(",", ""))  # type: ignore[index]
    assert 0.5 <= forecast / sum(map(len, content(disk / "a").values())) <= 2


# Read-only file systems.


def test_a_read_only_output_is_told_at_once(mount: Mount, tmp_path: Path) -> None:
    disk = mount("64k", "ro")
    for arguments, code in (
        (["distill", "x", "--out", disk / "a"], 2),
        (["labels", "x", "--kind", "hard", "--out", disk / "a"], 2),
        (["demo", "--out", disk / "a"], 2),
        (["distill", "x", "--out", tmp_path / "a", "--stages", disk / "s"], 3),
        (["compare", "x", "--out", disk / "r.json"], 3),
    ):
        began = time.monotonic()
        run = started(*arguments)
        said = run.communicate()[1]
        assert (run.returncode, time.monotonic() - began <= 2) == (code, True), said
        assert said.startswith(f"hello-distill: {disk}")
        assert re.search("Read-only file system; (choose|name) another", said)
    assert not (tmp_path / "a").exists() and not list(tmp_path.glob(".a*"))


def test_read_only_input_and_no_cache_and_no_home(mount: Mount, recipe: Recipe, tmp_path: Path) -> None:
    disk = mount("8m")
    write_tree(disk / "shapes")
    mount("8m", "remount,ro", again=disk)
    config = tmp_path / "tiny.json"
    config.write_text(json.dumps(recipe.settings()))
    lost = environment(HF_HOME=str(disk / "hub"), HELLO_DISTILL_CACHE=str(disk / "cache"), XDG_CACHE_HOME=str(disk))
    del lost["HOME"]
    command = [*COMMAND, "distill", str(disk / "shapes"), "--config", str(config), "--out", str(tmp_path / "a")]
    done = subprocess.run(command, env=lost, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert sums_hold(tmp_path / "a")


def test_a_cache_of_datasets_that_cannot_be_written_is_told(mount: Mount, tree: Path, tmp_path: Path) -> None:
    """A Parquet source goes through the cache of `datasets`."""
    disk = mount("8m", "ro")
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b"])})
    records = {"image": [{"bytes": (tree / "train/circle/0.png").read_bytes(), "path": None}] * 4, "label": [0, 1] * 2}
    for split in ("train", "test"):
        datasets.Dataset.from_dict(records, features=features).to_parquet(tmp_path / f"{split}.parquet")
    script = "import sys; from hello_distill.data.sources import open_training; open_training(sys.argv[1])"
    lost = environment(HF_HOME=str(disk / "hub"))
    lost.pop("HF_DATASETS_CACHE", None)
    done = subprocess.run([sys.executable, "-c", script, tmp_path], env=lost, capture_output=True, text=True)
    assert "MachineError" in done.stderr and "set HF_HOME to a folder with room" in done.stderr


def test_a_user_without_a_home_is_told_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless(_: Path) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "expanduser", homeless)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("HELLO_DISTILL_CACHE", raising=False)
    with pytest.raises(MachineError, match="no home folder to cache in; set HELLO_DISTILL_CACHE to a folder"):
        fashion_mnist.fashion_mnist()
    found = lite._regression(lambda names: torch.rand(len(names), 8), torch.rand(1000, 16), ())
    assert [tuple(each.shape) for each in found] == [(8,), (8, 16)]


# Numbers that are none.

STEP = 3


class Poisoned:
    """Batches of a training in which one number goes bad at a step."""

    def __init__(self, where: str, value: float) -> None:
        self.where, self.value, self.steps = where, value, 0
        self.model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 2))

    def __call__(self, epoch: int, first: int) -> Iterator[tuple[torch.Tensor, Batch]]:
        for number in range(2):
            batch = Batch(torch.rand(6, 3, 4, 4), torch.rand(6, 2), torch.eye(2)[torch.arange(6) % 2])
            if self.steps == STEP:
                self.poison(batch)
            self.steps += 1
            yield torch.arange(6) * 10 + number, batch

    def poison(self, batch: Batch) -> None:
        with torch.no_grad():
            if self.where in ("images", "soft"):
                getattr(batch, self.where)[2].view(-1)[0] = self.value
            elif self.where == "weight":
                self.model[3].weight[0, 0] = self.value
            elif self.where == "gradient":
                self.model[0].weight.register_hook(lambda slope: slope + self.value)

    def loss(self, prediction: torch.Tensor, soft: torch.Tensor, hard: torch.Tensor) -> torch.Tensor:
        found = matching_loss(0.1)(prediction, soft, hard)
        return found + self.value if self.where == "loss" and self.steps == STEP + 1 else found


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize(
    ("where", "told"),
    [
        ("images", "teachers: the image of images 21 is not finite at epoch 2, step 3; look at what made it"),
        ("soft", "teachers: the soft label of images 21 is not finite at epoch 2, step 3; look at what made it"),
        ("loss", r"teachers: the loss is \S+ at epoch 2, step 3, images 1, 11, 21, 31, 41, ...; lower the learning"),
        ("weight", r"teachers: the loss is \S+ at epoch 2, step 3, images 1, 11, 21, 31, 41, ...; lower the learning"),
        ("gradient", r"teachers: a gradient is not finite at epoch 2, step 3, images 1, 11, 21, 31, 41, ...; lower"),
    ],
)
def test_a_training_stops_at_the_step(where: str, told: str, value: float) -> None:
    """The weights are those of the step before: what was bad has not come into them."""
    poisoned = Poisoned(where, value)
    with pytest.raises(DivergedError, match=told) as caught:
        fit(poisoned.model, poisoned, 2, poisoned.loss, Optim(epochs=4, batch_size=6), 0, what="teachers")
    assert caught.value.exit_code == 2 and poisoned.steps == STEP + 1
    bad = [name for name, p in poisoned.model.named_parameters() if not torch.isfinite(p).all()]
    assert bad == (["3.weight"] if where == "weight" else [])


def test_a_weight_that_goes_bad_at_the_last_step(monkeypatch: pytest.MonkeyPatch) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(48, 2))

    def spoil(epoch: int) -> None:
        with torch.no_grad():
            model[1].bias[0] = math.nan

    with pytest.raises(DivergedError, match="training: a weight is not finite after the last step; lower"):
        fit(model, Poisoned("", 0.0), 2, matching_loss(0.1), Optim(epochs=1, batch_size=6), 0, spoil)


def test_the_check_of_gradients_changes_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    def run() -> list[torch.Tensor]:
        torch.manual_seed(0)
        poisoned = Poisoned("", 0.0)
        fit(poisoned.model, poisoned, 2, poisoned.loss, Optim(epochs=4, batch_size=6), 0)
        return list(poisoned.model.state_dict().values())

    checked = run()
    monkeypatch.setattr("hello_distill.training.fit.finite_gradients", lambda trained: True)
    assert all(torch.equal(a, b) for a, b in zip(checked, run(), strict=True))


@pytest.mark.slow
def test_the_check_of_gradients_costs_little() -> None:
    """Less than 3 % of a step of ConvNet-3 (width 128), batches of 20, 32 pixels."""
    model, loss = build("convnet3", 10, 32, 0), nn.functional.cross_entropy
    optimiser = torch.optim.AdamW(model.parameters())
    images, targets = torch.rand(20, 3, 32, 32), torch.arange(20) % 10
    steps, checks = [], []
    for _ in range(100):
        times = [time.perf_counter()]
        optimiser.zero_grad()
        loss(model(images), targets).backward()
        times.append(time.perf_counter())
        assert finite_gradients(list(model.parameters()))
        times.append(time.perf_counter())
        optimiser.step()
        times.append(time.perf_counter())
        steps.append(times[1] - times[0] + times[3] - times[2])
        checks.append(times[2] - times[1])
    ratio = 1 + statistics.median(checks) / statistics.median(steps)
    print(f"ratio {ratio:.4f}")
    assert ratio < 1.03


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_the_image_update_stops_at_the_step(value: float) -> None:
    calls: list[int] = []
    pixels = drawn(1, 0).images

    def encode(images: torch.Tensor) -> torch.Tensor:
        calls.append(1)
        features = images.mean((2, 3)) * 10
        return features * value if len(calls) == 2 * STEP + 1 else features

    with pytest.raises(DivergedError, match=r"image update: a pixel is not finite at step 3, images 0, 1; lower the"):
        LIC(steps=10, batch_size=2)(pixels, encode)
    assert len(calls) == 2 * STEP + 2

    def late(images: torch.Tensor) -> torch.Tensor:  # the second batch, through one image of it alone
        calls.append(1)
        features = images.mean((2, 3)) * 10
        if len(calls) > 2 * 10 + 2 * STEP:
            features = features * torch.tensor([[1.0], [value]])
        return features

    calls.clear()
    with pytest.raises(DivergedError, match=r"image update: a pixel is not finite at step 3, images 3; lower the"):
        LIC(steps=10, batch_size=2)(pixels, late)


def test_a_recovery_stops_at_the_step() -> None:
    seen: list[int] = []

    def objective(images: torch.Tensor, targets: torch.Tensor, step: int) -> torch.Tensor:
        seen.append(step)
        return images.square().sum() * (math.nan if step == STEP else 1.0)

    told = "recover: a pixel is not finite at step 3, images of classes 5, 7; lower the distiller's `lr`"
    with pytest.raises(DivergedError, match=told):
        recover(torch.tensor([5, 7]), 8, objective, 10, 0.1, Jitter(scale=None, shift=0), 0)
    assert seen == [0, 1, 2, 3]


@pytest.mark.parametrize("kind", [torch.float32, torch.float16, torch.float64, torch.float8_e4m3fn])
def test_the_writer_refuses_numbers_that_are_none(kind: torch.dtype, tmp_path: Path) -> None:
    good, bad = torch.ones(3).to(kind), torch.tensor([1.0, math.nan, 1.0]).to(kind)
    with pytest.raises(DivergedError, match=r"x\.safetensors: b holds numbers that are not finite, and is not written"):
        tensors.write(tmp_path / "x.safetensors", {"a": good, "b": bad})
    assert not list(tmp_path.iterdir())
    tensors.write(tmp_path / "x.safetensors", {"a": good})


def test_a_stage_that_diverges_leaves_the_stages_before_it(
    material: Material, recipe: Recipe, tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A teacher whose logits are none: the projector's fit stops at its first step; the teachers stay on disk."""
    trained(material, recipe, tmp_path)
    before = content(tmp_path / "teachers")
    for file in (tmp_path / "projectors").rglob("*.*"):
        file.unlink()
    for folder in (tmp_path / "projectors").iterdir():
        folder.rmdir()
    monkeypatch.setattr(
        teachers.Ensemble, "forward", lambda self, images: torch.full((len(images), 4), math.nan), raising=True
    )
    monkeypatch.setattr("hello_distill.projector.matching_scale", lambda *_: 1.0)
    with pytest.raises(DivergedError, match=r"projector: the soft label of images \d+, .* at epoch 1, step 0; look"):
        trained(material, recipe, tmp_path)
    assert content(tmp_path / "teachers") == before
    assert not [p for p in (tmp_path / "projectors").iterdir() if p.is_dir()]


def test_a_run_that_diverges_ends_with_2_and_leaves_nothing(
    call: list[object], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(teachers, "hard_loss", lambda *_: torch.tensor(math.nan, requires_grad=True))
    assert cli.main([*map(str, call), "--out", str(tmp_path / "out" / "a")]) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert re.match(r"hello-distill: teachers: the loss is nan at epoch 1, step 0, images \d+, ", said)
    assert not list((tmp_path / "out").iterdir())


# Signals.


def is_claimed(out: Path) -> bool:
    return (out.parent / f".{out.name}.claim").exists()


def test_a_run_that_is_told_to_stop_stops_and_leaves_nothing(call: list[object], tmp_path: Path) -> None:
    out = tmp_path / "out" / "a"
    run = started(*call, "--out", out)
    while not is_claimed(out):
        time.sleep(0.005)
    time.sleep(1)  # in the midst of imports
    began = time.monotonic()
    run.send_signal(signal.SIGTERM)
    said = run.communicate()[1]
    assert (run.returncode, time.monotonic() - began <= 10) == (143, True), said
    assert (
        said == "hello-distill: stopped; nothing is left half-written, and the same command goes on with what it kept\n"
    )
    assert not list(out.parent.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_runs_stopped_at_ten_random_times(number: signal.Signals, call: list[object], tmp_path: Path) -> None:
    """At random times of their length, with stages; what the stages keep is whole, and the last run goes through."""
    out, stages = tmp_path / "out" / "a", tmp_path / "stages"
    began = time.monotonic()
    assert started(*call, "--out", tmp_path / "b").wait() == 0
    length = time.monotonic() - began
    slowest, codes = 0.0, []
    for share in np.random.default_rng(int(number)).uniform(0.05, 0.95, 10):
        run = started(*call, "--out", out, "--stages", stages)
        while not is_claimed(out) and run.poll() is None:
            time.sleep(0.005)
        time.sleep(share * length)
        began = time.monotonic()
        run.send_signal(number)
        run.communicate()
        slowest = max(slowest, time.monotonic() - began)
        codes.append(run.returncode)
        if out.exists():  # was published before
            assert sums_hold(out)
            for file in sorted(out.rglob("*"), reverse=True):
                file.rmdir() if file.is_dir() else file.unlink()
            out.rmdir()
        assert not list(out.parent.iterdir())
        left = [p for p in stages.glob("*/*") if p.is_dir() and p.name.startswith(".")]
        assert all(p.suffix == ".progress" for p in left), "and checkpoints, which the next run goes on from"
    print(f"slowest {slowest:.2f} s, codes {codes}")
    assert set(codes) <= {128 + number, -number, 0}  # the second is the system's, while Python shuts down
    assert codes.count(128 + number) >= 5
    assert slowest <= 10
    assert started(*call, "--out", out, "--stages", stages).wait() == 0
    assert content(out) == content(tmp_path / "b")


BUSY = """
import hashlib, sys, time
from pathlib import Path
from hello_distill import cli
from hello_distill.system import claims, publishing
from hello_distill.system import stopping
stopping.GRACE = float(sys.argv[2])

def command():
    with claims.claimed(Path(sys.argv[1])):
        print("in", flush=True)
        hashlib.pbkdf2_hmac("sha256", b"", b"", 10**9)  # minutes inside of a library

sys.exit(cli.run(command))
"""


@pytest.mark.parametrize(("grace", "signals"), [(0.5, 1), (60.0, 2)], ids=["the time is up", "a second signal"])
def test_a_run_deep_in_a_library_ends_all_the_same(grace: float, signals: int, tmp_path: Path) -> None:
    command = [sys.executable, "-c", BUSY, str(tmp_path / "a"), str(grace)]
    run = subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE)
    assert run.stdout is not None and run.stdout.readline() == b"in\n"
    for turn in range(signals):
        time.sleep(0.3 * turn)
        began = time.monotonic()
        run.send_signal(signal.SIGTERM)
    assert run.wait() == 143
    assert time.monotonic() - began <= 1 + (grace if signals == 1 else 0)
    assert not list(tmp_path.iterdir())


def test_the_grace_is_within_what_is_promised() -> None:
    from hello_distill.system import stopping

    assert stopping.GRACE < 10


def test_handlers_are_given_back() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    assert cli.run(lambda: None) == 0
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


# What the system refuses.


@pytest.mark.parametrize(
    ("error", "code", "sentence"),
    [
        (
            PermissionError(13, "Permission denied", "/x"),
            3,
            "[Errno 13] Permission denied: '/x'; put that right and run",
        ),
        (MemoryError(), 3, "memory is full; close other programs, or lower batch sizes"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), 3, "memory is full; "),
        (RuntimeError("CUDA out of memory. Tried to allocate"), 3, "memory is full; "),
        (
            KeyboardInterrupt(),
            130,
            "stopped; nothing is left half-written, and the same command goes on with what it kept",
        ),
    ],
)
def test_what_the_system_refuses_is_one_sentence(
    error: BaseException, code: int, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise error

    assert cli.run(fail) == code
    said = capsys.readouterr()
    assert said.err.startswith(f"hello-distill: {sentence}") and said.err.count("\n") == 1 and not said.out


def test_a_defect_is_not_hidden() -> None:
    def fail() -> None:
        raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes do not match"):
        cli.run(fail)


def test_a_reader_that_has_enough_is_no_error() -> None:
    text = (
        "import sys; from hello_distill import cli; sys.exit(cli.run(lambda: [print('x' * 99) for _ in range(9999)]))"
    )
    done = subprocess.run(
        ["bash", "-c", 'set -o pipefail; "$0" -c "$1" | head -n 1', sys.executable, text],
        capture_output=True,
        text=True,
        env=environment(),
    )
    assert (done.stdout, done.stderr, done.returncode) == ("x" * 99 + "\n", "", 128 + signal.SIGPIPE)


def test_the_forecast_of_other_methods_counts_their_classifiers(material: Material, recipe: Recipe) -> None:
    from dataclasses import replace

    from hello_distill.distillers.random import RandomImages
    from hello_distill.distillers.rded import RDED

    alone = pipeline.expected_bytes(material.train, replace(recipe, distiller=RandomImages()), None)
    rded = pipeline.expected_bytes(material.train, replace(recipe, distiller=RDED()), None)
    network = build("convnet2_w8", 4, 32, 0)
    assert rded - alone == teachers.weights_bytes(network)
