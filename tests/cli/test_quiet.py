"""What the command does not do: open connections, ask, colour or animate where nobody watches."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import datasets
import huggingface_hub
import pytest

from hello_distill import cli
from hello_distill.system import progress
from hello_distill.system.progress import ConsoleProgress

SEALED = """
import builtins, getpass, json, socket, sys
tried = []
def refuse(*arguments, **named):
    tried.append(str(arguments[:2]))
    raise OSError("no network here")
for name in ("connect", "connect_ex", "sendto"):
    setattr(socket.socket, name, refuse)
socket.getaddrinfo = socket.create_connection = builtins.input = getpass.getpass = refuse
from hello_distill.cli import main
for arguments in json.loads(sys.argv[1]):
    tried.clear()
    print("result", json.dumps([main(arguments), tried]))
"""


def sealed(commands: list[list[str]]) -> tuple[list[tuple[int, list[str]]], list[str]]:
    """Exit code and attempts to connect or to ask of each command, in a process without a network; standard error."""
    done = subprocess.run(
        [sys.executable, "-c", SEALED, json.dumps(commands)],
        env={name: value for name, value in os.environ.items() if name != "HF_HUB_OFFLINE"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    results = [line.removeprefix("result ") for line in done.stdout.splitlines() if line.startswith("result ")]
    return [tuple(json.loads(result)) for result in results], done.stderr.splitlines()


def test_what_is_local_needs_no_network_and_nobody_to_answer(
    artefact: Path, tree: Path, recipe, tmp_path: Path
) -> None:
    """Without HF_HUB_OFFLINE: not a single attempt to connect, so no telemetry either. The last command does try."""
    (tmp_path / "c.json").write_text(json.dumps(recipe.settings()))
    results, said = sealed(
        [
            ["doctor"],
            ["info", str(artefact)],
            ["distill", str(tree), "--config", str(tmp_path / "c.json"), "--out", str(tmp_path / "a")],
            ["train", str(tmp_path / "a"), "--data", str(tree), "--seeds", "0"],
            ["distill", "someone/something", "--recipe", "random", "--out", str(tmp_path / "b")],
        ]
    )
    assert results[:-1] == [(0, [])] * 4, said
    code, tried = results[-1]
    assert code == 3 and tried
    assert not any("\x1b" in line or "\r" in line for line in said)


def test_offline_means_offline(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("somebody tried to connect")

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)  # what HF_HUB_OFFLINE=1 sets
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    for name in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, name, refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    for more in (["someone/something", "--recipe", "random"], ["fashion-mnist", "--encoder", "ViT-B-32/openai"]):
        assert cli.main(["distill", *more, "--out", str(tmp_path / "a")]) == 3
        assert "go online once" in capsys.readouterr().err


# Progress where nobody watches.


class Clock:
    """Time that passes only when told."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now


def lines_of(
    items: int, seconds: float, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> list[str]:
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    for _ in ConsoleProgress().track(range(items), items, "teachers"):
        clock.now += seconds
    return capsys.readouterr().err.splitlines()


def test_a_long_stage_says_now_and_then_how_far_it_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    minutes = lines_of(10, 12.0, monkeypatch, capsys)
    assert minutes == [
        "teachers                    36.0 s   3 of 10 (30 %), about 84 s left",
        "teachers                    72.0 s   6 of 10 (60 %), about 48 s left",
        "teachers                   108.0 s   9 of 10 (90 %), about 12 s left",
    ]
    assert not lines_of(1000, 0.029, monkeypatch, capsys)
    hours = lines_of(100_000, 0.36, monkeypatch, capsys)
    assert len(hours) == 99  # one a percent
    quarter = lines_of(10_000, 0.09, monkeypatch, capsys)
    assert 25 <= len(quarter) <= 30  # one in half a minute


def test_colours_only_where_they_are_wanted(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    colour = re.compile(r"\x1b\[[0-9;]*(?:3[0-7]|38;|9[0-7])")

    def shown() -> str:
        list(ConsoleProgress().track(range(3), 3, "teachers"))
        return capsys.readouterr().err

    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    assert shown() == ""
    monkeypatch.setenv("FORCE_COLOR", "1")  # as on a terminal
    assert colour.search(shown())
    monkeypatch.setenv("NO_COLOR", "1")
    assert "teachers" in (bars := shown()) and not colour.search(bars)
    monkeypatch.setenv("TERM", "dumb")
    assert shown() == ""
