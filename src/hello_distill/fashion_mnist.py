"""Fetch Fashion-MNIST (Xiao et al. 2017) and keep it in the cache as a local Hugging Face data set folder."""

from __future__ import annotations

import gzip
import io
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import datasets
import numpy as np
from PIL import Image

from hello_distill.errors import MachineError
from hello_distill.machine import cache_folder

PACKAGE = "dataset-fashion-mnist"
DEBIAN = Path("usr/share/datasets/fashion-mnist")
CLASSES = (
    "t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot",
)  # fmt: skip
PARTS = {"train": "train", "test": "t10k"}


def fashion_mnist() -> Path:
    """The data set's folder in the cache, made on the first call.

    Taken from the Debian package if it is installed, else unpacked from it without root, else from the mirrors
    that torchvision knows. Raises MachineError, with what each way said, if none works.
    """
    target = cache_folder() / "fashion-mnist"
    if target.exists():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    failures = []
    for find in (_installed, _unpacked, _mirrored):
        with tempfile.TemporaryDirectory(dir=target.parent, prefix="fashion-mnist.partial-") as scratch:
            try:
                raw = find(Path(scratch))
                _convert(raw, Path(scratch) / "ready")
            except (OSError, RuntimeError, subprocess.SubprocessError) as error:
                said = str(error).strip().splitlines() or [type(error).__name__]
                failures.append(f"{find.__doc__}: {said[-1]}")
                continue
            if not target.exists():
                (Path(scratch) / "ready").rename(target)
            return target
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
    lists = scratch / "lists"
    (lists / "partial").mkdir(parents=True)
    for options in ([], ["-o", f"Dir::State::Lists={lists}", "-o", f"Dir::Cache={scratch}"]):
        if options:
            _run(["apt-get", *options, "update"], scratch)
        try:
            _run(["apt-get", *options, "download", PACKAGE], scratch)
        except subprocess.SubprocessError:
            continue
        break
    package = next(scratch.glob(f"{PACKAGE}_*.deb"), None)
    if package is None:
        raise OSError("apt-get knows no such package")
    _run(["dpkg-deb", "-x", str(package), str(scratch / "package")], scratch)
    return scratch / "package" / DEBIAN


def _mirrored(scratch: Path) -> Path:
    """torchvision's mirrors"""
    from torchvision.datasets import FashionMNIST

    FashionMNIST(str(scratch), download=True)
    return scratch / "FashionMNIST" / "raw"


def _run(command: list[str], folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=180)
    if done.returncode:
        raise subprocess.SubprocessError(done.stderr or f"{command[0]} ended with {done.returncode}")


def _convert(raw: Path, ready: Path) -> None:
    """Four IDX files to two Parquet files with PNG images and class names."""
    (ready / "data").mkdir(parents=True)
    datasets.disable_progress_bars()
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=list(CLASSES))})
    for split, prefix in PARTS.items():
        pictures = _idx(raw / f"{prefix}-images-idx3-ubyte.gz", 16).reshape(-1, 28, 28)
        labels = _idx(raw / f"{prefix}-labels-idx1-ubyte.gz", 8)
        table = datasets.Dataset.from_generator(
            _records(pictures, labels), features=features, cache_dir=str(ready.parent / "arrow"), split=split
        )
        table.to_parquet(ready / "data" / f"{split}-00000-of-00001.parquet")


def _idx(file: Path, header: int) -> np.ndarray[tuple[int], np.dtype[np.uint8]]:
    with gzip.open(file) as content:
        return np.frombuffer(content.read()[header:], np.uint8)


def _records(
    pictures: np.ndarray[tuple[int, int, int], np.dtype[np.uint8]],
    labels: np.ndarray[tuple[int], np.dtype[np.uint8]],
) -> Callable[[], Iterator[dict[str, object]]]:
    def generate() -> Iterator[dict[str, object]]:
        for picture, label in zip(pictures, labels, strict=True):
            buffer = io.BytesIO()
            Image.fromarray(picture).save(buffer, "png")
            yield {"image": {"bytes": buffer.getvalue(), "path": None}, "label": int(label)}

    return generate
