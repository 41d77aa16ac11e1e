"""Memory and open files while many images are read and scored: they do not grow with the images.

    pytest -m slow tests/promises/test_memory.py

What is kept of each is counted by a test that is not slow. For the others each size is a process of its own, and what
counts is memory that is not a file's: of a memory-mapped file the system takes back what others need. Images have 16
pixels and a thousand classes, and are few that are written many times, in Parquet shards.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

IMAGENET = 1_281_167
SHARD = 5_000

WRITE = """
import io, sys
import numpy as np, pyarrow as pa, pyarrow.parquet as pq
from PIL import Image
number, shard, folder = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
rng = np.random.default_rng(0)
pictures = []
for _ in range(50):
    file = io.BytesIO()
    Image.fromarray(rng.integers(0, 256, (16, 16, 3), np.uint8)).save(file, "BMP")
    pictures.append({"bytes": file.getvalue(), "path": None})
features = '{"info": {"features": {"image": {"_type": "Image"}, "label": {"_type": "ClassLabel", "names": %s}}}}'
names = [f"class {n}" for n in range(1000)]
for start in range(0, number, shard):
    rows = range(start, min(start + shard, number))
    images = pa.array([pictures[n % 50] for n in rows], pa.struct({"bytes": pa.binary(), "path": pa.string()}))
    table = pa.table({"image": images, "label": [n % 1000 for n in rows]})
    table = table.replace_schema_metadata({"huggingface": features % str(names).replace("'", '"')})
    pq.write_table(table, f"{folder}/train-{start // shard:05d}-of-{-(-number // shard):05d}.parquet")
"""

SCORE = """
import json, os, re, sys, threading
from pathlib import Path
import torch
torch.set_num_threads(1)
from hello_distill.data.mapped import Mapped
from hello_distill.data.sources import open_training
from hello_distill.distillers.rded import Patches

def anonymous():
    return 1024 * int(re.search(r"RssAnon:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])

def watch():
    while not ended.wait(0.02):
        most["bytes"] = max(most["bytes"], anonymous())
        most["files"] = max(most["files"], len(os.listdir("/proc/self/fd")))

def observer(images):
    return torch.cat([images[:, :1].mean((2, 3)), images[:, 1:2].mean((2, 3)).expand(-1, 999)], 1)

most, ended = {"bytes": 0, "files": 0}, threading.Event()
thread = threading.Thread(target=watch, daemon=True)
thread.start()
data, left_out = open_training(sys.argv[1]).read(16)
assert isinstance(data.images, Mapped) and not left_out.bad
made = Patches(factor=1, crops=1, pool=len(data))(data, observer, 2, 0)
ended.set()
thread.join()
print(json.dumps({**most, "images": len(data), "made": len(made)}))
"""

KEEP = """
import gc, json, sys, tracemalloc
import torch
from hello_distill.data import reading
from hello_distill.data.mapped import Mapped
from hello_distill.data.sources import open_training

reading.workers = lambda _: 1  # threads and forks are not what is counted here
known, found = {}, []
tracemalloc.start(1)
for folder in sys.argv[1:]:
    data, _ = open_training(folder).read(16)
    assert isinstance(data.images, Mapped)
    gc.collect()
    tensors = [each.untyped_storage() for each in gc.get_objects() if type(each) is torch.Tensor]
    memory = {storage.data_ptr(): storage.nbytes() for storage in tensors}
    found.append((len(data), tracemalloc.get_traced_memory()[0], sum(memory.values())))
    del data
print(json.dumps(found[1:]))
"""


def written(number: int, place: Path) -> Path:
    """So many records in shards."""
    folder = place / str(number)
    folder.mkdir()
    subprocess.run([sys.executable, "-c", WRITE, str(number), str(SHARD), str(folder)], check=True)
    return folder


def ran(code: str, place: Path, *folders: Path) -> str:
    """What the code prints, with decoded images in a file."""
    env = {
        **os.environ,
        "HELLO_DISTILL_IMAGES": "file",
        "HELLO_DISTILL_CACHE": str(place / "cache"),
        "HF_HOME": str(place),
    }
    run = subprocess.run([sys.executable, "-c", code, *map(str, folders)], env=env, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-2000:]
    return run.stdout


def measured(number: int, place: Path) -> dict[str, int]:
    """Most bytes and open files while so many images are read and all of them scored."""
    found: dict[str, int] = json.loads(ran(SCORE, place, written(number, place)))
    assert found["images"] == number and found["made"] == 2000
    return found


def test_a_record_that_was_read_is_two_numbers(tmp_path: Path) -> None:
    """Its class and its row in the file of pixels, in 8 bytes each; nothing else grows with the records."""
    folders = [written(number, tmp_path) for number in (1_000, 2_000, 10_000)]
    (few, traced, tensors), (many, more_traced, more_tensors) = json.loads(ran(KEEP, tmp_path, *folders))
    assert (more_tensors - tensors) / (many - few) == 16
    assert (more_traced - traced) / (many - few) <= 20, "NumPy holds what these tensors do"


@pytest.mark.slow
def test_ten_times_the_images_take_the_same_memory(tmp_path: Path) -> None:
    """10,000 and 100,000 images: within 10 % of the smaller, and as many open files. A minute."""
    few, many = (measured(number, tmp_path) for number in (10_000, 100_000))
    assert many["bytes"] <= 1.1 * few["bytes"], (few, many)
    assert many["files"] <= few["files"] + 4, (few, many)


@pytest.mark.slow
def test_as_many_records_as_imagenet_take_few_bytes_each(tmp_path: Path) -> None:
    """1.28 million: most memory beside the pixels, and open files, against 128,000. Four minutes.

    66 bytes a record were seen. 16 of them are kept (above); the others are what the allocator does not give back.
    """
    few, many = (measured(number, tmp_path) for number in (IMAGENET // 10, IMAGENET))
    assert (many["bytes"] - few["bytes"]) / (many["images"] - few["images"]) <= 80, (few, many)
    assert many["files"] <= few["files"] + 4, (few, many)
