"""Artefacts of strangers: refused with one kind of error, quickly, and without a byte read or written elsewhere."""

from __future__ import annotations

import ctypes
import json
import os
import random
import shutil
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import forge
from conftest import cheap, seal, worked
from hello_distill.api import verify
from hello_distill.artifact import load
from hello_distill.format import costs
from hello_distill.format.manifest import IMAGES
from hello_distill.relabel import relabel, wanted
from hello_distill.system.errors import ArtifactError, HelloError

HOSTILE = 300
FLIPS = 1000


@pytest.fixture(scope="module")
def bases(kinds: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A true artefact of each kind of labels, and of the projector in integers."""
    integers = tmp_path_factory.mktemp("bases") / "int8"
    return {**kinds, "int8": relabel(kinds["projector"], integers, wanted("projector", precision="int8"))}


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """A file outside of every artefact, that nobody has business with."""
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "secret").write_text("secret")
    return folder / "secret"


@contextmanager
def unopened(file: Path) -> Iterator[None]:
    """Fails if anything in this process or another opens the file meanwhile (inotify)."""
    libc = ctypes.CDLL(None, use_errno=True)
    watch = libc.inotify_init1(os.O_NONBLOCK)
    assert libc.inotify_add_watch(watch, bytes(file), 0x1 | 0x2 | 0x20) >= 0  # accessed, modified, opened
    try:
        yield
        with pytest.raises(BlockingIOError):  # no event to read
            os.read(watch, 4096)
    finally:
        os.close(watch)


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """No connection is tried and no name asked for."""

    def never(*_: object) -> None:
        raise AssertionError("a socket was used")

    monkeypatch.setattr(socket.socket, "connect", never)
    monkeypatch.setattr(socket, "getaddrinfo", never)


def test_the_watch_sees_an_open_file(secret: Path) -> None:
    with pytest.raises(pytest.fail.Exception), unopened(secret):
        secret.read_text()


def open_all(folder: Path) -> list[str]:
    """What each way of opening an artefact says: nothing, or the error's name. Any other error escapes."""
    said = []
    for way in (costs.info, load, verify):
        try:
            way(folder)
            said.append("")
        except HelloError as error:
            assert "\x1b" not in str(error) and len(str(error)) < 2000
            said.append(type(error).__name__)
    return said


def test_hostile_artefacts_are_refused_or_harmless(
    bases: dict[str, Path], secret: Path, tmp_path: Path, offline: None
) -> None:
    """300 of them: no error but our own, none over a second of work, nothing outside of the folder touched."""
    outside = sorted(secret.parent.iterdir())
    slowest, refused = 0.0, 0
    for number in range(HOSTILE):
        rng = random.Random(number)
        kind = rng.choice(sorted(bases))
        folder = shutil.copytree(bases[kind], tmp_path / "hostile")
        forger = rng.choice(forge.FORGERS)
        forger(folder, rng, secret)
        with unopened(secret):
            said, cost = worked(partial(open_all, folder), 3)
            slowest = max(slowest, cost)
        refused += "ArtifactError" in said or "InputError" in said
        assert set(said) <= {"", "ArtifactError", "InputError", "MachineError"}, (number, kind, forger.__name__, said)
        shutil.rmtree(folder)
    assert sorted(secret.parent.iterdir()) == outside  # no pickle was opened
    assert sorted(path.name for path in tmp_path.iterdir()) == ["outside"]
    assert slowest < 3 * 1.0  # three ways of opening
    assert refused > 0.9 * HOSTILE


def refused(folder: Path) -> None:
    """Opening the artefact gives the one kind of error."""
    with pytest.raises(ArtifactError):
        load(folder)


@pytest.mark.parametrize("kind", ["projector", "stored"])
def test_every_flipped_bit_is_found(kind: str, bases: dict[str, Path], tmp_path: Path) -> None:
    """1,000 flips of one bit, anywhere in any file, in two artefacts: 1,000 refused."""
    folder = shutil.copytree(bases[kind], tmp_path / "a")
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    sizes = [file.stat().st_size for file in files]
    rng = random.Random(0)
    for _ in range(FLIPS // 2):
        file = rng.choices(files, sizes if rng.random() < 0.5 else None)[0]
        whole = file.read_bytes()
        place, bit = rng.randrange(len(whole)), 1 << rng.randrange(8)
        file.write_bytes(whole[:place] + bytes([whole[place] ^ bit]) + whole[place + 1 :])
        with pytest.raises((ArtifactError, HelloError)):
            verify(folder)
        file.write_bytes(whole)
    verify(folder)


def test_added_missing_and_exchanged_files_are_found(bases: dict[str, Path], tmp_path: Path) -> None:
    folder = shutil.copytree(bases["projector"], tmp_path / "a")
    (folder / "more").touch()
    with pytest.raises(ArtifactError, match=r"a/more is no part of the artefact; remove it"):
        load(folder)
    (folder / "more").unlink()
    (folder / ".gitattributes").touch()  # what the Hub puts beside
    load(folder)
    config, card = folder / "config.json", folder / "README.md"
    config.rename(folder / "x")
    with pytest.raises(ArtifactError, match=r"config\.json is missing"):
        load(folder)
    card.rename(config)
    (folder / "x").rename(card)
    with pytest.raises(ArtifactError, match=r"README.md has .* bytes and should have"):
        load(folder)


def write_config(changes: dict[str, Any]) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        file = folder / "projector" / "adapter_config.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))

    return change


def write_labels(**changes: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        seal(folder, labels={**forge.manifest_of(folder)["labels"], **changes})

    return change


def head_of(megabytes: int) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        file = folder / "projector" / "adapter_model.safetensors"
        file.write_bytes(struct.pack("<Q", megabytes * 2**20) + b"{" + b" " * (megabytes * 2**20 - 2) + b"}")

    return change


def large_manifest(folder: Path) -> None:
    (folder / "hello.json").write_bytes(b'{"format": 2, "classes": [' + b'"x",' * (25 * 2**20) + b'"y"]}')


def deep_manifest(folder: Path) -> None:
    (folder / "hello.json").write_bytes(b'{"format": 2, "classes": ' + b"[" * 10_000 + b"]" * 10_000 + b"}")


def encoder_of(name: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        labels = forge.manifest_of(folder)["labels"]
        seal(folder, labels={**labels, "encoder": {**labels["encoder"], "name": name}})

    return change


def large_ranks(folder: Path) -> None:
    """The same lie in the manifest and in peft's file."""
    from hello_distill.labels.projector import adapter_config

    labels = forge.manifest_of(folder)["labels"]
    (folder / "projector" / "adapter_config.json").write_text(adapter_config(labels["convolutions"], 1000, 1000))
    seal(folder, labels={**labels, "encoder_rank": 1000, "head_rank": 1000})


DANGEROUS: dict[str, Callable[[Path], None]] = {
    "a rank of half a million in peft's file": write_config({"r": 500_000}),
    "a rank of half a million in the manifest": write_labels(encoder_rank=500_000),
    "a rank of a thousand in both": large_ranks,
    "a regular expression that never ends": write_config({"target_modules": "((.+)+)+!"}),
    "a base model elsewhere": write_config({"base_model_name_or_path": "http://127.0.0.1:9/model"}),
    "a method of peft that is none": write_config({"peft_type": "EXEC"}),
    "a class to import": write_config({"auto_mapping": {"base_model_class": "system", "parent_library": "os"}}),
    "a head of 101 MB": head_of(101),
    "a manifest of 100 MB": large_manifest,
    "a manifest 10,000 deep": deep_manifest,
    "a prompt that asks for a gigabyte": write_labels(templates=["{:>1000000000}"]),
    "a prompt that looks into objects": write_labels(templates=["{0.__class__.__mro__}"]),
    "an encoder in a folder of the forger's choice": encoder_of("local-dir:/etc"),
    "an encoder on the Hub": encoder_of("hf-hub:someone/something"),
    "an encoder by path": encoder_of("../../x"),
}


@pytest.mark.parametrize("what", DANGEROUS)
def test_dangerous_artefacts_are_refused_at_once(
    what: str, bases: dict[str, Path], tmp_path: Path, offline: None
) -> None:
    """One kind of error, less than a second of work and 50 MB, even where every hash is right."""
    folder = shutil.copytree(bases["projector"], tmp_path / "a")
    DANGEROUS[what](folder)
    if "manifest" not in what or "rank" in what:
        seal(folder)
    for way in (load, verify):
        with cheap(), pytest.raises(ArtifactError):
            way(folder)


@pytest.mark.parametrize("kind", ["projector", "int8", "teacher", "stored", "static"])
def test_malformed_files_of_tensors_are_refused(
    kind: str, bases: dict[str, Path], secret: Path, tmp_path: Path
) -> None:
    """25 kinds, all hashes right: one kind of error, within a second of work."""
    folder = shutil.copytree(bases[kind], tmp_path / "a")
    file = sorted(folder.rglob("*.safetensors"))[0]
    whole = file.read_bytes()
    forms = forge.malformed(whole, random.Random(0), secret)
    assert len(forms) == 25
    for number, form in enumerate(forms):
        file.write_bytes(form)
        seal(folder)
        assert worked(partial(refused, folder), 1)[1] < 1, number
    assert [path.name for path in secret.parent.iterdir()] == ["secret"]
    file.write_bytes(whole)
    seal(folder)
    load(folder)


def test_images_decode_only_as_what_they_are_said_to_be(bases: dict[str, Path], tmp_path: Path) -> None:
    """A JPEG in an artefact of PNGs is not handed to another decoder."""
    import io

    import pyarrow as pa
    import pyarrow.parquet as pq
    from PIL import Image

    folder = shutil.copytree(bases["hard"], tmp_path / "a")
    table = pq.read_table(folder / IMAGES)
    rows, buffer = table.to_pylist(), io.BytesIO()
    Image.new("RGB", (32, 32)).save(buffer, "jpeg")
    rows[3]["image"]["bytes"] = buffer.getvalue()
    pq.write_table(pa.Table.from_pylist(rows, table.schema), folder / IMAGES, compression="none", use_dictionary=False)
    seal(folder)
    with pytest.raises(ArtifactError, match="cannot be read: cannot identify image file"):
        load(folder)
