"""Fetch Fashion-MNIST (Xiao et al. 2017) and keep it in the cache as a local Hugging Face data set folder."""

from __future__ import annotations

import gzip
import io
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from hello_distill.data.parquet import packed
from hello_distill.system.cache import once
from hello_distill.system.errors import MachineError
from hello_distill.system.machine import cache_folder
from hello_distill.system.publishing import check_writable, published
from hello_distill.system.room import FULL, check_room, full

PACKAGE = "dataset-fashion-mnist"
DEBIAN = Path("usr/share/datasets/fashion-mnist")
CLASSES = (
    "t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot",
)  # fmt: skip
PARTS = {"train": "train", "test": "t10k"}
FETCHED = 70_000_000
"""Bytes that fetching takes for a while, roughly: the files as they come, and unpacked."""


def fashion_mnist() -> Path:
    """The data set's folder in the cache, made on the first call.

    Taken from the Debian package if it is installed, else unpacked from it without root, else from the mirrors
    that torchvision knows. Raises MachineError, with what each way said, if none works.
    """
    target = cache_folder() / "fashion-mnist"
    if not target.exists():
        check_writable(target.parent)
        once(target, lambda: _write(target))
    return target


def _write(target: Path) -> None:
    parts = _fetched(target)
    with published(target, sum(map(len, parts.values()))) as partial:
        (partial / "data").mkdir()
        for split, content in parts.items():
            (partial / "data" / f"{split}-00000-of-00001.parquet").write_bytes(content)


def _fetched(target: Path) -> dict[str, bytes]:
    """The Parquet file of each split, by the first way that works."""
    failures = []
    for find in (_installed, _unpacked, _mirrored):
        with tempfile.TemporaryDirectory(dir=target.parent, prefix="fashion-mnist.partial-") as scratch:
            try:
                return _converted(find(Path(scratch)))
            except (OSError, RuntimeError, subprocess.SubprocessError) as error:
                if isinstance(error, OSError) and error.errno in FULL:
                    raise full(target, FETCHED) from None
                reason = str(error).strip().splitlines() or [type(error).__name__]
                failures.append(f"{find.__doc__}: {reason[-1]}")
    raise MachineError(
        f"fashion-mnist could not be had ({'; '.join(failures)}). Any of these helps: "
        f"`apt-get install {PACKAGE}`; a Debian or Ubuntu package index that this user can download from; "
        f"going online once; or the four .gz files in /{DEBIAN}"
    )


def _installed(scratch: Path) -> Path:
    """installed package"""
    return Path("/") / DEBIAN


def _unpacked(scratch: Path) -> Path:
    """package without root"""
    if not shutil.which("apt-get"):
        raise OSError("no apt-get here")
    check_room(scratch, FETCHED, rough=True)
    lists = scratch / "lists"
    (lists / "partial").mkdir(parents=True)
    try:
        _run(["apt-get", "download", PACKAGE], scratch)
    except subprocess.SubprocessError:  # no index of packages, or an old one
        apt = ["apt-get", "-o", f"Dir::State::Lists={lists}", "-o", f"Dir::Cache={scratch}"]
        _run([*apt, "update"], scratch)
        _run([*apt, "download", PACKAGE], scratch)
    _run(["dpkg-deb", "-x", *map(str, scratch.glob(f"{PACKAGE}_*.deb")), str(scratch / "package")], scratch)
    return scratch / "package" / DEBIAN


def _mirrored(scratch: Path) -> Path:
    """torchvision's mirrors"""
    from torchvision.datasets import FashionMNIST

    check_room(scratch, FETCHED, rough=True)
    FashionMNIST(str(scratch), download=True)
    return scratch / "FashionMNIST" / "raw"


def _run(command: list[str], folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=180)
    if done.returncode:
        raise subprocess.SubprocessError(done.stderr or f"{command[0]} ended with {done.returncode}")


def _converted(raw: Path) -> dict[str, bytes]:
    """Four IDX files to two Parquet files with PNG images and class names, in memory."""
    parts = {}
    for split, prefix in PARTS.items():
        pictures = _idx(raw / f"{prefix}-images-idx3-ubyte.gz", 16).reshape(-1, 28, 28)
        labels = _idx(raw / f"{prefix}-labels-idx1-ubyte.gz", 8)
        images = [{"bytes": _png(picture), "path": None} for picture in pictures]
        parts[split] = packed(images, labels.tolist(), CLASSES)
    return parts


def _idx(file: Path, header: int) -> np.ndarray[tuple[int], np.dtype[np.uint8]]:
    return np.frombuffer(gzip.decompress(file.read_bytes()), np.uint8, offset=header)


def _png(picture: np.ndarray[tuple[int, int], np.dtype[np.uint8]]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "png")
    return buffer.getvalue()
