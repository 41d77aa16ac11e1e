"""Decoded images in a file of the cache and in memory, by one process and by several, are the same to the bit."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import datasets
import numpy as np
import pytest
import torch
from PIL import Image

from conftest import CLASSES, SIDE, drawn, write_tree
from hello_distill import artifact as artifacts
from hello_distill.api import distill, train
from hello_distill.data import decoding, reading
from hello_distill.data.images import ImageSet, hold_out
from hello_distill.data.mapped import Mapped, in_memory
from hello_distill.data.sources import open_test, open_training
from hello_distill.distillers.random import RandomImages
from hello_distill.format.specs import Augment
from hello_distill.stages import Stages
from hello_distill.stages.kept import fingerprint
from hello_distill.system import machine, room
from hello_distill.system.errors import InputError, MachineError
from hello_distill.training.scores import predict
from hello_distill.views import render, sample_views, whole


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of its own."""
    monkeypatch.setenv("HELLO_DISTILL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    """Drawn images, of which three cannot be read, the first one among them."""
    folder = write_tree(tmp_path / "broken")
    for name, content in (("circle/0.png", b""), ("cross/5.png", b"text"), ("stripes/9.png", b"<html>")):
        (folder / "train" / name).write_bytes(content)
    return folder


def both(folder: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[ImageSet, ImageSet]:
    """The training images in memory, and in a file; what is said of the others must be the same."""
    train = open_training(str(folder))
    found = []
    for place in ("memory", "file"):
        monkeypatch.setenv(reading.STORAGE, place)
        found.append(train.read(SIDE))
    assert found[0][1] == found[1][1] and [bad.reason for bad in found[0][1].bad] == ["empty file", "text", "HTML"]
    assert isinstance(found[0][0].images, torch.Tensor) and isinstance(found[1][0].images, Mapped)
    return found[0][0], found[1][0]


def test_images_in_a_file_are_those_in_memory(broken: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    memory, file = both(broken, monkeypatch)
    images = memory.images
    assert len(file) == 45 and file.images.shape == images.shape and file.side == SIDE
    assert torch.equal(in_memory(file.images), images) and torch.equal(file.targets, memory.targets)
    rows = torch.tensor([44, 3, 3, 0])
    for index in (7, -1, slice(5, 9), rows, torch.zeros(45, dtype=torch.bool), torch.tensor(4)):
        assert torch.equal(file.images[index], images[index])
    for parts in ((memory.rows(rows), file.rows(rows)), (memory.only([2, 0]), file.only([2, 0]))):
        assert isinstance(parts[1].images, Mapped), "a part of a file is not brought to memory"
        assert torch.equal(in_memory(parts[1].images), parts[0].images) and parts[0].classes == parts[1].classes
        assert torch.equal(parts[0].targets, parts[1].targets)
    for mine, other in zip(hold_out(memory, 0.2, 100, 0), hold_out(file, 0.2, 100, 0), strict=True):
        assert isinstance(other.images, Mapped) and torch.equal(in_memory(other.images), mine.images)
    assert fingerprint(file) == fingerprint(memory)


def test_views_and_logits_are_the_same(broken: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    memory, file = both(broken, monkeypatch)
    for view in sample_views(45, SIDE, 10, Augment(), 0, 0):
        assert torch.equal(render(file.images, view), render(memory.images, view))
    flat = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * SIDE**2, 4))
    monkeypatch.setattr("hello_distill.training.scores.CPU_BATCH", 10)
    expected = torch.cat([flat(whole(memory.images[at : at + 10])) for at in range(0, 45, 10)])
    assert torch.equal(predict(flat, file.images), expected) and torch.equal(predict(flat, memory.images), expected)


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_what_is_trained_from_a_file_is_the_same(
    tree: Path, recipe: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The artefact of a whole run, and the students trained from it; a folder of stages serves both."""
    accuracies = []
    for place in ("memory", "file"):
        monkeypatch.setenv(reading.STORAGE, place)
        distill(str(tree), tmp_path / place, recipe, stages=tmp_path / f"stages-{place}")
        accuracies.append(train(tmp_path / place, str(tree), seeds=[0])["top1_last"]["runs"])
    assert files(tmp_path / "memory") == files(tmp_path / "file") and accuracies[0] == accuracies[1]
    kept = [sorted(path.name for path in (tmp_path / f"stages-{place}").rglob("*")) for place in ("memory", "file")]
    assert kept[0] == kept[1], "stages are found whichever it was"


def test_an_artefact_may_hold_images_of_a_file(
    broken: Path, recipe: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a method keeps real images as they are."""
    made = []
    for data, place in zip(both(broken, monkeypatch), ("memory", "file"), strict=True):
        material = hold_out(data, 0.1, 100, 0)
        distilled = RandomImages()(material, Stages(material, recipe.teachers, 0), 2, 0)
        how = recipe.student, recipe.codec, replace(recipe, distiller=RandomImages()).settings()
        made.append(files(artifacts.save(distilled, 2, *how, tmp_path / place)))
    assert made[0] == made[1]


def test_the_file_is_made_once_and_anew_where_anything_changed(
    tree: Path, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(reading.STORAGE, "file")
    folder = write_tree(tmp_path / "shapes")
    decoded: list[object] = []
    real = decoding.decode
    monkeypatch.setattr(reading, "decode", lambda *given: decoded.append(given) or real(*given))

    def count(side: int = SIDE) -> int:
        decoded.clear()
        open_training(str(folder)).read(side)
        return len(decoded)

    assert [count(), count(), count(16), count(16)] == [48, 0, 48, 0]
    assert open_training(str(folder)).limited(8, 0).read(SIDE)[0].counts() == dict.fromkeys(sorted(CLASSES), 2)
    first = folder / "train" / "circle" / "0.png"
    os.utime(first, ns=(0, 0))
    assert [count(), count()] == [48, 0], "a file's time"
    Image.new("RGB", (SIDE, SIDE)).save(first)
    os.utime(first, ns=(0, 0))
    assert [count(), count()] == [48, 0], "a file's size"
    (folder / "train" / "circle" / "1.png").unlink()
    assert [count(), count()] == [47, 0]
    monkeypatch.setattr(reading.PIL, "__version__", "0")
    assert count() == 47
    assert {path.name for path in cache.iterdir()} == {"decoded"}
    sizes = sorted((path / reading.IMAGES).stat().st_size for path in (cache / "decoded").iterdir())
    assert sizes == sorted([48 * 3 * 16**2, *(3 * SIDE**2 * count for count in (8, 47, 47, 48, 48, 48))])


def test_another_process_finds_the_file(tree: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(reading.STORAGE, "file")
    code = f"from hello_distill.data.sources import open_training; open_training({str(tree)!r}).read({SIDE})"
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ})
    before = {path.name: path.stat().st_ino for path in (cache / "decoded").iterdir()}
    open_training(str(tree)).read(SIDE)
    assert {path.name: path.stat().st_ino for path in (cache / "decoded").iterdir()} == before and len(before) == 1


def saved(folder: Path) -> str:
    """Drawn images as `datasets` saves them: the table holds the bytes."""
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=list(CLASSES))})
    images = drawn(5, seed=4)
    pictures = [Image.fromarray(image) for image in images.images.permute(0, 2, 3, 1).numpy()]
    table = datasets.Dataset.from_dict({"image": pictures, "label": images.targets.tolist()}, features=features)
    datasets.DatasetDict({"train": table, "test": table}).save_to_disk(folder)
    return str(folder)


def test_tables_that_hold_their_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = saved(tmp_path / "saved")
    monkeypatch.setenv(reading.STORAGE, "file")
    train, test = open_training(source), open_test(source)
    assert torch.equal(in_memory(train.read(SIDE)[0].images), drawn(5, seed=4).images)

    def key(split: object) -> str:
        part = None if split.rows is None else tuple(split.rows.tolist())
        return reading.key(reading.Undecoded(split.table, split.roots, part, SIDE))

    again = open_training(source)
    assert key(train) == key(again) == key(train)
    others = [test, train.limited(8, 0), train.only(["circle", "cross"]), train.only(["circle", "square"])]
    assert len({key(split) for split in (train, *others)}) == 5
    before = key(train)
    os.utime(next(Path(source, "train").glob("*.arrow")), ns=(0, 0))
    assert key(open_training(source)) != before


@pytest.mark.parametrize("place", ["memory", "file"])
def test_several_processes_give_what_one_gives(broken: Path, place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(reading.STORAGE, place)
    monkeypatch.setattr(reading, "BLOCK", 5)
    alone, told = open_training(str(broken)).read(SIDE)
    monkeypatch.setattr(reading, "FEW", 0)
    monkeypatch.setattr(reading, "workers", lambda _: 3)
    monkeypatch.setenv("HELLO_DISTILL_CACHE", os.environ["HELLO_DISTILL_CACHE"] + "-other")
    pids = broken / "pids"
    real = reading._decode_block

    def noted(*given: object) -> list[reading.Fault]:
        with pids.open("a") as file:
            file.write(f"{os.getpid()}\n")
        return real(*given)

    monkeypatch.setattr(reading, "_decode_block", noted)
    several, told_again = open_training(str(broken)).read(SIDE)
    assert torch.equal(in_memory(several.images), in_memory(alone.images)) and told == told_again
    assert torch.equal(several.targets, alone.targets)
    assert str(os.getpid()) not in pids.read_text().split() and len(pids.read_text().split()) == 10


@pytest.mark.parametrize(("place", "expected"), [("memory", 2), ("file", 8)])
def test_who_decodes_alone_takes_all_processors(
    tree: Path, place: str, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of four processes on a machine of 8 processors each decodes into its own memory; into the file one does, while
    the others wait."""
    for name, value in {"RANK": 1, "WORLD_SIZE": 4, "LOCAL_RANK": 1, "LOCAL_WORLD_SIZE": 4}.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    monkeypatch.setenv(reading.STORAGE, place)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    asked: list[int] = []
    real = reading._decoded
    monkeypatch.setattr(reading, "_decoded", lambda *given: asked.append(given[-1]) or real(*given))
    open_training(str(tree)).read(SIDE)
    assert asked == [expected]


def killed_in_a_worker(*given: object) -> list[reading.Fault]:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


@pytest.mark.parametrize("place", ["memory", "file"])
def test_a_killed_process_is_told_and_leaves_nothing(
    tree: Path, place: str, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(reading.STORAGE, place)
    for name, value in (("FEW", 0), ("workers", lambda _: 2), ("BLOCK", 8), ("_decode_block", killed_in_a_worker)):
        monkeypatch.setattr(reading, name, value)
    with pytest.raises(MachineError, match="a process that decodes images was killed; see whether memory is full"):
        open_training(str(tree)).read(SIDE)
    assert not cache.exists() or not list((cache / "decoded").iterdir())


SLOW = """
import time
from hello_distill.data import reading
from hello_distill.data.sources import open_test, open_training

real = reading._decode_block
def slow(*given):
    time.sleep(0.05)
    return real(*given)

reading._decode_block, reading.FEW, reading.workers, reading.BLOCK = slow, 0, lambda _: 2, 2
print("begun", flush=True)
open_training(SOURCE).read(32)
print("done", flush=True)
"""


def children() -> Iterator[int]:
    """Processes that run the slow decoding, this one's child among them."""
    for place in Path("/proc").iterdir():
        if place.name.isdigit():
            try:
                line = (place / "cmdline").read_bytes()
                state = (place / "stat").read_text().rpartition(")")[2].split()[0]
            except OSError:
                continue
            if b"reading._decode_block, reading.FEW" in line and state != "Z":
                yield int(place.name)


@pytest.mark.slow
def test_kills_while_decoding_leave_nothing_that_is_taken_for_whole(
    tree: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SIGKILL at five times: no file, no process; the next run clears up and gives the right images."""
    monkeypatch.setenv(reading.STORAGE, "file")
    for delay in (0.0, 0.1, 0.2, 0.4, 0.55):
        run = subprocess.Popen(
            [sys.executable, "-c", f"SOURCE = {str(tree)!r}\n{SLOW}"], stdout=subprocess.PIPE, env={**os.environ}
        )
        assert run.stdout is not None and run.stdout.readline() == b"begun\n"
        with pytest.raises(subprocess.TimeoutExpired):
            run.wait(delay + 0.05)
        run.kill()
        run.wait()
        for _ in range(50):
            if not list(children()):
                break
            signal.sigtimedwait([], 0.1)
        assert not list(children()), "processes that decode end with the one that started them"
        assert not [path for path in cache.glob("decoded/*") if not path.name.startswith(".")]
    file = open_training(str(tree)).read(SIDE)[0]
    monkeypatch.setenv(reading.STORAGE, "memory")
    assert torch.equal(in_memory(file.images), open_training(str(tree)).read(SIDE)[0].images)
    assert len(list(cache.glob("decoded/*"))) == len(list(cache.glob("decoded/.*"))) + 1 == 1


def test_the_rule_is_half_of_the_free_memory(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(reading.STORAGE, raising=False)
    size = 48 * 3 * SIDE**2
    for free, kind in ((2 * size, torch.Tensor), (2 * size - 1, Mapped)):
        monkeypatch.setattr(reading, "memory", lambda free=free: {"all": 10 * size, "free": free})
        assert isinstance(open_training(str(tree)).read(SIDE)[0].images, kind)
    monkeypatch.setattr(reading, "memory", lambda: {"all": 10 * size, "free": size - 1})
    monkeypatch.setenv(reading.STORAGE, "memory")
    with pytest.raises(MachineError, match=r"train: 48 images of 32 pixels take 0\.0 GiB, 0\.0 GiB of memory are free"):
        open_training(str(tree)).read(SIDE)
    assert 0 < machine.memory()["free"] <= machine.memory()["all"]


def test_a_place_that_is_none_is_told(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(reading.STORAGE, "disk")
    told = "^HELLO_DISTILL_IMAGES is 'disk'; set it to memory or to file, or not at all$"
    with pytest.raises(InputError, match=told):
        open_training(str(tree)).read(SIDE)


def test_no_room_for_the_file_is_told_before_anything_is_decoded(
    tree: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(reading.STORAGE, "file")
    monkeypatch.setattr(room, "free", lambda target: 147_455)
    monkeypatch.setattr(reading, "_decode_block", killed_in_a_worker)
    with pytest.raises(MachineError, match=r"it needs 147,456 bytes, and 147,455 are free; make room"):
        open_training(str(tree)).read(SIDE)
    assert not list((cache / "decoded").iterdir())


@pytest.mark.parametrize("spoil", ["shorter", "no facts", "no list"])
def test_a_file_that_was_changed_is_told(tree: Path, cache: Path, spoil: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(reading.STORAGE, "file")
    open_training(str(tree)).read(SIDE)
    (folder,) = (cache / "decoded").iterdir()
    if spoil == "shorter":
        os.truncate(folder / reading.IMAGES, 1000)
    elif spoil == "no facts":
        (folder / reading.FACTS).unlink()
    else:
        (folder / reading.FACTS).write_text("7")
    with pytest.raises(MachineError, match="is no longer as it was written; remove it and run the same command again"):
        open_training(str(tree)).read(SIDE)


def test_a_file_takes_no_memory_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 300 MB in a file a part is taken, and a batch read: what this process holds grows by the batch alone."""
    file = tmp_path / "images"
    with file.open("wb") as handle:
        handle.truncate(2000 * 3 * 224**2)
    images = Mapped.open(file, 224, torch.arange(2000))
    data = ImageSet(images, torch.arange(2000) % 4, CLASSES)

    def anonymous() -> int:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) * 1024

    before = anonymous()
    material = hold_out(data, 0.1, 200, 0)
    batch = material.train.images[torch.arange(0, 1800, 30)]
    assert batch.shape == (60, 3, 224, 224) and int(batch.max()) == 0
    assert anonymous() - before < 3 * batch.nbytes
    assert np.shares_memory(material.held.images.file, images.file)


def test_blocks_are_handed_over_a_few_at_a_time_and_come_back_in_order() -> None:
    class Pool(ProcessPoolExecutor):
        """A task is done when it is asked for, and no earlier."""

        def __init__(self) -> None:
            self.handed = self.most = 0

        def submit(self, work: Any, block: range) -> Any:  # type: ignore[override]
            self.handed += 1
            self.most = max(self.most, self.handed)
            return SimpleNamespace(result=lambda: self.given(block))

        def given(self, block: range) -> list[Any]:
            self.handed -= 1
            return [block.start]

    for count in (0, 2, 3, 10):
        pool = Pool()
        blocks = [range(number, number + 1) for number in range(count)]
        assert list(reading._in_order(pool, blocks, 3)) == [[number] for number in range(count)]
        assert pool.most == min(count, 3)
