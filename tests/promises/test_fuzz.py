"""The fuzzing harness: it finds what is planted, keeps quiet otherwise, and repeats what it saved. Without atheris."""

from __future__ import annotations

import hashlib
import json
import mmap
import random
import re
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from conftest import script
from hello_distill.format import costs, storage
from hello_distill.system.errors import ArtifactError


@pytest.fixture(scope="module")
def fuzzer() -> ModuleType:
    return script("fuzz.py")


@pytest.fixture
def artefacts(fuzzer: ModuleType, artefact: Path, tmp_path: Path):
    shutil.copytree(artefact, tmp_path / "kept" / "projector")
    return fuzzer.Artefacts(tmp_path / "kept", tmp_path / "mutated")


def content(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_what_a_reader_may_and_may_not_do(fuzzer: ModuleType, tmp_path: Path) -> None:
    def refuse(folder: Path) -> None:
        raise ArtifactError("no")

    def crash(folder: Path) -> None:
        raise KeyError("encoder")

    def dawdle(folder: Path) -> None:
        end = time.process_time() + 0.15
        while time.process_time() < end:
            pass

    def swell(megabytes: int) -> Callable[[Path], None]:
        def read(folder: Path) -> None:
            with mmap.mmap(-1, megabytes * 2**20) as pages:  # new ones, whatever the allocator has kept
                for _ in range(megabytes):
                    pages.write(bytes(2**20))

        return read

    assert fuzzer.attempt(refuse, tmp_path) is None and fuzzer.attempt(costs.info, tmp_path) is None
    name, told = fuzzer.attempt(crash, tmp_path)
    assert name == "KeyError-outside" and told.endswith("KeyError: 'encoder'\n")
    assert fuzzer.attempt(dawdle, tmp_path, limit=0.1)[0] == "slow"
    assert fuzzer.attempt(dawdle, tmp_path) is None
    for megabytes in (300, 80, 80):  # what took more before hides nothing
        assert fuzzer.attempt(swell(megabytes), tmp_path)[0] == "memory"
    assert fuzzer.attempt(swell(32), tmp_path) is None


def test_a_crash_is_named_by_its_place_in_the_package(fuzzer: ModuleType, artefact: Path, tmp_path: Path) -> None:
    name, _ = fuzzer.attempt(lambda folder: storage.write_json(folder, {"a": object()}), tmp_path)
    assert name.startswith("TypeError-storage.py-")


def test_inputs_are_files_and_readers(fuzzer: ModuleType, artefacts, artefact: Path) -> None:
    original = content(artefact)
    inputs = list(artefacts.inputs())
    assert len(inputs) == len(original) * len(fuzzer.READERS)
    assert {artefacts.file(data) for data in inputs} == set(original)
    assert {artefacts.reader(data) for data in inputs} == set(fuzzer.READERS)
    for data in inputs:
        assert content(artefacts.lay(data)) == original
    number = [file for _, file in artefacts.files].index("README.md")
    assert content(artefacts.lay(bytes([number, 0]) + b"other")) == original | {"README.md": b"other"}


def test_a_sealed_input_has_the_sums_of_its_files(fuzzer: ModuleType, artefacts, artefact: Path) -> None:
    weights = "projector/adapter_model.safetensors"
    number = [file for _, file in artefacts.files].index(weights)
    for second in (0, 1):
        found = content(artefacts.lay(bytes([number, second]) + b"short"))
        recorded = json.loads(found["hello.json"])["files"][weights]
        sums = dict(reversed(line.split("  ")) for line in found["SHA256SUMS"].decode().splitlines())
        fits = recorded == {"bytes": 5, "sha256": hashlib.sha256(b"short").hexdigest()}
        assert fits == (sums[weights] == hashlib.sha256(b"short").hexdigest()) == bool(second)
    unchanged = artefacts.lay(artefacts.whole(number, 1))
    assert content(unchanged) == content(artefact)


def test_mutations_are_those_of_their_seed_and_keep_json_json(fuzzer: ModuleType, artefacts) -> None:
    start = artefacts.whole([file for _, file in artefacts.files].index("hello.json"), 0)

    def mutated(seed: int) -> bytes:
        return fuzzer.mutate(start, artefacts, random.Random(seed), lambda part: part[:-2])

    made = [mutated(seed) for seed in range(200)]
    assert made == [mutated(seed) for seed in range(200)]
    assert len(set(made)) > 100
    changed = [data for data in made if artefacts.file(data).endswith(".json")]
    parsed = 0
    for data in changed:
        try:
            json.loads(data[2:])
        except ValueError:
            continue
        parsed += 1
    assert 0.5 * len(changed) < parsed < len(changed)


def test_a_finding_is_repeated_from_its_file(
    fuzzer: ModuleType, artefacts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def planted(folder: Path) -> None:
        if (folder / "README.md").read_bytes() == b"boom":
            raise ZeroDivisionError("planted")

    number = [file for _, file in artefacts.files].index("README.md")
    monkeypatch.setattr(fuzzer, "opened", lambda reader: planted)
    monkeypatch.setattr(fuzzer, "make_artefacts", lambda work: tmp_path / "kept")
    (tmp_path / "input").write_bytes(bytes([number, 0]) + b"boom")
    assert fuzzer.replay(tmp_path / "input", tmp_path) == 1
    assert "ZeroDivisionError: planted" in capsys.readouterr().out
    (tmp_path / "input").write_bytes(bytes([number, 0]) + b"calm")
    assert fuzzer.replay(tmp_path / "input", tmp_path) == 0


@pytest.mark.slow
def test_the_fuzzer_finds_a_planted_crash_and_ends_with_1(
    fuzzer: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A reader that fails on every manifest without a format; the whole run, in a process of its own."""
    pytest.importorskip("atheris")
    (tmp_path / "planted.py").write_text(
        "import json\n"
        "from hello_distill.system.errors import ArtifactError\n"
        "def read(folder):\n"
        "    try: content = json.loads((folder / 'hello.json').read_bytes())\n"
        "    except (ValueError, RecursionError): raise ArtifactError('no')\n"
        "    content['format']\n"
    )
    planted = tmp_path / "fuzz.py"
    text = Path(fuzzer.__file__).read_text(encoding="utf-8")
    text, replaced = re.subn(r"READERS = \{.*?\n\}", 'READERS = {"planted": "planted:read"}', text, flags=re.DOTALL)
    assert replaced == 1
    planted.write_text(text, encoding="utf-8")
    monkeypatch.setattr(sys, "argv", [str(planted), "--seconds", "8", "--findings", str(tmp_path / "found")])
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{Path(storage.__file__).parents[2]}")
    assert script(planted).main() == 1
    found = sorted(path.name for path in (tmp_path / "found").iterdir())
    assert any(name.startswith(("planted-KeyError", "planted-TypeError")) for name in found), found
    assert "FOUND planted-" in capfd.readouterr().out
