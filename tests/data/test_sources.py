"""Data as people have them: a table of small sources, each read as it is meant, or refused with what makes it work.

Every image has one colour, by which its class, its number and its split are known again. A sentence that refuses a
source holds an option, which the test takes from it and gives, or a change, which the test makes: both must work.
"""

from __future__ import annotations

import os
import re
import zipfile
from pathlib import Path

import datasets
import numpy as np
import of_arrays
import of_folders
import of_lists
import of_tables
import pytest
import torch
from cases import (
    CASES,
    SIDE,
    png,
    read_all,
    tarred,
    tree,
    tried,
    zipped,
)
from PIL import Image

from hello_distill.data import reading
from hello_distill.data.decoding import MAX_BYTES
from hello_distill.data.sources import open_training
from hello_distill.system.errors import InputError

TABLE = (of_folders, of_lists, of_arrays, of_tables)
"""Each puts its sources into CASES."""


@pytest.fixture(autouse=True)
def caches(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HELLO_DISTILL_CACHE", str(tmp_path_factory.getbasetemp() / "unpacked"))
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))


@pytest.mark.parametrize("name", CASES)
def test_data_as_people_have_them(name: str, tmp_path: Path) -> None:
    tried(CASES[name], tmp_path)


def test_the_table_is_long_enough() -> None:
    assert len(TABLE) == 4 and len(CASES) >= 150 and sum(bool(each.told) for each in CASES.values()) >= 15


# What archives are up to.


def test_several_processes_read_one_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each opens it for itself: a shared file would have one place in it for all."""
    for data in (zipped(tree(tmp_path / "x"), tmp_path / "a.zip"), tarred(tmp_path / "x", tmp_path / "a.tar", "w")):
        alone = open_training(data).read(SIDE)[0]
        with monkeypatch.context() as changed:
            changed.setattr(reading, "FEW", 0)
            changed.setattr(reading, "BLOCK", 1)
            changed.setattr(reading, "workers", lambda _: 3)
            assert torch.equal(open_training(data).read(SIDE)[0].images, alone.images)


def test_a_changed_archive_is_decoded_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(reading.STORAGE, "file")
    monkeypatch.setenv("HELLO_DISTILL_CACHE", str(tmp_path / "cache"))
    data = zipped(tree(tmp_path / "x"), tmp_path / "a.zip")
    for shade in (10, 77):
        for path in (tmp_path / "x" / "train").rglob("*.png"):
            Image.new("RGB", (SIDE, SIDE), (shade, 0, 0)).save(path)
        zipped(tmp_path / "x", tmp_path / "a.zip")
        os.utime(data, ns=(shade, shade))
        images = open_training(data).read(SIDE)[0].images
        assert set(images[:][:, 0].flatten().tolist()) == {shade}
    assert len(list((tmp_path / "cache" / "decoded").iterdir())) == 2


def test_numbers_in_memory_are_decoded_by_what_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two tables that lie in no file, of one size, have two files in the cache; the same one is found again."""
    monkeypatch.setenv(reading.STORAGE, "file")
    monkeypatch.setenv("HELLO_DISTILL_CACHE", str(tmp_path / "cache"))
    for shade in (10, 77, 10):
        np.savez(tmp_path / f"{shade}.npz", images=np.full((4, SIDE, SIDE, 3), shade, np.uint8), labels=[0, 1, 0, 1])
        images = open_training(str(tmp_path / f"{shade}.npz")).read(SIDE)[0].images
        assert set(images[:].flatten().tolist()) == {shade}
    assert len(list((tmp_path / "cache" / "decoded").iterdir())) == 2


def test_members_of_strangers_archives_stay_in_them(tmp_path: Path) -> None:
    """Names that lead upwards are names in the archive; a member of many bytes is not unpacked; links are files."""
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as packed:
        for target, name in enumerate(("cat", "dog")):
            packed.writestr(f"../../train/{name}/0.png", png("train", target, 0))
        packed.writestr("/train/dog/huge.png", bytes(MAX_BYTES + 1))
        link = zipfile.ZipInfo("train/dog/link.png")
        link.external_attr = 0o120777 << 16
        packed.writestr(link, "/etc/passwd")
    images, skipped = open_training(str(tmp_path / "a.zip")).read(SIDE)
    assert images.counts() == {"cat": 1, "dog": 1}
    assert [(Path(bad.name).name, bad.reason) for bad in skipped.bad] == [
        ("huge.png", "too many bytes"),
        ("link.png", "text"),
    ]


def test_a_locked_archive_says_so(tmp_path: Path) -> None:
    data = Path(zipped(tree(tmp_path / "x"), tmp_path / "a.zip"))
    content = bytearray(data.read_bytes())
    for start in (found.start() for found in re.finditer(rb"PK\x01\x02", bytes(content))):
        content[start + 8] |= 1  # the flag of an encrypted member
    for start in (found.start() for found in re.finditer(rb"PK\x03\x04", bytes(content))):
        content[start + 6] |= 1
    data.write_bytes(content)
    with pytest.raises(InputError, match="no image can be read"):
        read_all(data, {})
    bad = open_training(str(data)).read(SIDE)[1].bad
    assert {entry.reason for entry in bad} == {"not readable"} and "encrypted" in bad[0].detail
