"""Make a virtual environment that has pip, also where Python came without `ensurepip` (Debian without python3-venv).

    python3 scripts/environment.py .venv

Uses the standard library alone. pip then comes from the package index that PIP_INDEX_URL names, or PyPI.
"""

from __future__ import annotations

import hashlib
import html.parser
import os
import shutil
import subprocess
import sys
import tempfile
import urllib.parse
import urllib.request
import venv
from pathlib import Path

INDEX = os.environ.get("PIP_INDEX_URL", "https://pypi.org/simple").rstrip("/")


class Wheels(html.parser.HTMLParser):
    """Addresses of the pip wheels on the index's page, oldest first as the index lists them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        address = dict(attrs).get("href") or ""
        if "-py3-none-any.whl" in address and "data-yanked" not in dict(attrs):
            self.found.append(address)


def version(address: str) -> tuple[int, ...]:
    """Version of a wheel by its name; pre-releases count as oldest."""
    number = address.split("/")[-1].split("-")[1]
    return tuple(map(int, number.split("."))) if number.replace(".", "").isdigit() else ()


def fetch_pip(folder: Path) -> Path:
    """The newest pip wheel of the index, checked against the hash that the index gives."""
    page = urllib.request.urlopen(f"{INDEX}/pip/", timeout=60).read().decode()
    address = max(Wheels(page).found, key=version)
    file, _, digest = address.partition("#sha256=")
    content = urllib.request.urlopen(urllib.parse.urljoin(f"{INDEX}/pip/", file), timeout=180).read()
    if digest and hashlib.sha256(content).hexdigest() != digest:
        sys.exit(f"{file} is not what the index says it is; try again")
    wheel = folder / file.split("/")[-1]
    wheel.write_bytes(content)
    return wheel


def working(target: Path) -> bool:
    """Whether there is an environment of this Python with pip in it."""
    python = target / "bin" / "python"
    asked = [python, "-c", "import pip, sys; print(sys.version_info[:2])"]
    if not python.exists():
        return False
    answer = subprocess.run(asked, capture_output=True, text=True)
    return answer.stdout.strip() == str(sys.version_info[:2])


def make(target: Path) -> None:
    """An environment with pip at `target`; one that works already stays, and only what is missing is installed."""
    if working(target):
        return
    shutil.rmtree(target, ignore_errors=True)
    if subprocess.run([sys.executable, "-m", "ensurepip", "--version"], capture_output=True).returncode == 0:
        venv.create(target, with_pip=True)
        return
    venv.create(target, with_pip=False)
    python = target / "bin" / "python"
    with tempfile.TemporaryDirectory() as scratch:
        wheel = fetch_pip(Path(scratch))
        subprocess.run([python, f"{wheel}/pip", "install", "--quiet", wheel], check=True)


if __name__ == "__main__":
    if sys.version_info < (3, 10):  # noqa: UP036 (an older python3 may well run this very file)
        sys.exit(f"Python 3.10 or newer is needed, this is {sys.version.split()[0]}; give another with PYTHON=...")
    make(Path(sys.argv[1]))
