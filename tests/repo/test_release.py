"""The release gate: what counts as audited, the lock, and the wheel."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path
from types import ModuleType

import pytest

from conftest import script

ROOT = Path(__file__).parents[2]


@pytest.fixture
def gate() -> ModuleType:
    return script("release.py")


def told(gate: ModuleType, report: dict, packages: set[str]) -> tuple[str, int]:
    with pytest.raises(gate.NotReady) as reason:
        gate.audited(report, packages)
    return str(reason.value), reason.value.code


def test_an_audit_counts_only_where_it_has_run(gate: ModuleType) -> None:
    good = {"name": "a", "version": "1", "vulns": []}
    skipped = {"name": "b", "skip_reason": "could not be audited"}
    bad = {"name": "b", "version": "2", "vulns": [{"id": "CVE-1"}, {"id": "CVE-2"}]}
    assert gate.audited({"dependencies": [good]}, {"a"}) == "1 packages audited, no known vulnerability"
    assert told(gate, {"dependencies": [good, skipped]}, {"a", "b"}) == (
        "1 of 2 packages were not audited (b); go online",
        3,
    )
    assert told(gate, {"dependencies": []}, set("abcd"))[0].startswith(
        "4 of 4 packages were not audited (a, b, c, ...)"
    )
    sentence, code = told(gate, {"dependencies": [good, bad]}, {"a", "b"})
    assert sentence.startswith("known vulnerabilities: b 2 (CVE-1), b 2 (CVE-2);") and code == 2


def test_a_bill_of_materials_lists_the_whole_lock(gate: ModuleType) -> None:
    bill = {"bomFormat": "CycloneDX", "components": [{"name": "a"}]}
    assert gate.complete(bill, {"a"}) == "bill of materials of 1 packages"
    for wrong, packages in ((bill, {"a", "b"}), ({}, {"a"}), ({"components": [{"name": "a"}]}, {"a"})):
        with pytest.raises(gate.NotReady):
            gate.complete(wrong, packages)


def test_a_gate_without_its_tool_has_not_run(gate: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(gate, "AUDIT", ["python3", "-c", "raise SystemExit('no such thing')"])
    monkeypatch.setattr(gate, "BILL", gate.AUDIT)
    monkeypatch.setattr(gate, "DIST", tmp_path)
    with pytest.raises(gate.NotReady, match="pip-audit has not run: no such thing") as reason:
        gate.no_known_vulnerability()
    assert reason.value.code == 3
    with pytest.raises(gate.NotReady) as reason:
        gate.bill_of_materials()
    assert reason.value.code == 3


def plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_the_lock_pins_everything_with_hashes(gate: ModuleType) -> None:
    """Versions are those of constraints.txt, and everything that pyproject.toml names for CI is there."""
    text = gate.LOCK.read_text()
    entries = [entry for entry in re.split(r"\n(?=\S)", re.sub(r"^#.*\n", "", text, flags=re.MULTILINE)) if entry]
    assert len(entries) == len(gate.locked())
    for entry in entries:
        assert re.fullmatch(r"[\w.-]+==[\w.]+( \\\n +--hash=sha256:[0-9a-f]{64})+\n?", entry), entry[:80]
    pinned = {plain(name): version for name, version in re.findall(r"^([\w.-]+)==([\w.]+)", text, re.MULTILINE)}
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        if found := re.match(r"([\w.-]+)==([\w.]+)", line):
            assert pinned.get(plain(found[1]), found[2]) == found[2], line
    tomllib = pytest.importorskip("tomllib")  # Python 3.11
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = [
        *project["dependencies"],
        *(need for name in ("lite", "report", "view", "dev", "docs", "fuzz") for need in extras[name]),
    ]
    assert {plain(re.match(r"[\w.-]+", need)[0]) for need in wanted} <= set(pinned)


@pytest.mark.slow
def test_the_wheel_is_the_same_to_the_byte(gate: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(gate, "DIST", tmp_path)
    sentence = gate.same_wheel_twice()
    wheel = next(tmp_path.glob("*.whl"))
    assert sentence.startswith(f"{wheel.name}, built twice, sha256 ")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        stamps = {entry.date_time for entry in archive.infolist()}
    assert "hello_distill/py.typed" in names and "hello_distill/cli/__init__.py" in names
    assert not [name for name in names if not name.startswith(("hello_distill/", "hello_distill-"))]
    assert len(stamps) == 1
    assert gate.same_wheel_from_source().endswith(".tar.gz, of which the same wheel is built")
    wheel.write_bytes(b"another")
    with pytest.raises(gate.NotReady, match=r"the wheel of \S+\.tar\.gz is not that of the commit"):
        gate.same_wheel_from_source()


def test_builds_that_differ_are_refused(gate: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    contents = iter([b"one", b"other"])

    def build(place: Path) -> Path:
        (place / "a.whl").write_bytes(next(contents))
        return place / "a.whl"

    monkeypatch.setattr(gate, "build", build)
    monkeypatch.setattr(gate, "DIST", tmp_path)
    with pytest.raises(gate.NotReady, match=r"two builds of a\.whl differ"):
        gate.same_wheel_twice()
    assert not list(tmp_path.iterdir())
