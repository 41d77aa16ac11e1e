"""The virtual environment's pip where Python came without one."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from types import ModuleType

import pytest

from conftest import script


@pytest.fixture
def environment() -> ModuleType:
    return script("environment.py")


CONTENT = b"a wheel"
PAGE = """<html><body>
<a href="../../files/pip-9.0.3-py3-none-any.whl#sha256=00">pip 9</a>
<a href="../../files/pip-25.10-py3-none-any.whl#sha256={digest}">pip 25.10</a>
<a href="../../files/pip-25.9-py3-none-any.whl#sha256=00">pip 25.9</a>
<a href="../../files/pip-26.0b1-py3-none-any.whl#sha256=00">a pre-release</a>
<a href="../../files/pip-27.0-py3-none-any.whl#sha256=00" data-yanked="broken">yanked</a>
<a href="../../files/pip-25.10.tar.gz#sha256=00">source</a>
</body></html>"""


def serve(environment: ModuleType, monkeypatch: pytest.MonkeyPatch, digest: str) -> list[str]:
    asked: list[str] = []

    def urlopen(address: str, timeout: float) -> io.BytesIO:
        asked.append(address)
        return io.BytesIO(PAGE.format(digest=digest).encode() if address.endswith("/pip/") else CONTENT)

    monkeypatch.setattr(environment.urllib.request, "urlopen", urlopen)
    monkeypatch.setattr(environment, "INDEX", "https://index.example/simple")
    return asked


def test_the_newest_release_is_taken(environment: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked = serve(environment, monkeypatch, hashlib.sha256(CONTENT).hexdigest())
    wheel = environment.fetch_pip(tmp_path)
    assert wheel.name == "pip-25.10-py3-none-any.whl" and wheel.read_bytes() == CONTENT
    assert asked[1] == "https://index.example/files/pip-25.10-py3-none-any.whl"


def test_another_content_is_refused(environment: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    serve(environment, monkeypatch, "0" * 64)
    with pytest.raises(SystemExit, match="is not what the index says it is"):
        environment.fetch_pip(tmp_path)
    assert not list(tmp_path.iterdir())


def test_an_environment_that_works_stays_and_a_broken_one_is_made_anew(environment: ModuleType, tmp_path: Path) -> None:
    target = tmp_path / "venv"
    environment.make(target)
    (target / "kept").touch()
    environment.make(target)
    assert (target / "kept").exists() and environment.working(target)
    (target / "bin" / "python").unlink()
    assert not environment.working(target)
    environment.make(target)
    assert not (target / "kept").exists() and environment.working(target)
