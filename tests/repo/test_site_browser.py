"""The documentation site in a real browser: every page fits a telephone and a desk, and nothing is missing."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

import chromium
import pages

ROOT = Path(__file__).parents[2]
SCROLLING = ".md-typeset__scrollwrap, pre"
MISSING = (
    "return [...document.images].filter(i => i.getAttribute('loading') != 'lazy' && !(i.complete && i.naturalWidth))"
    ".map(i => i.src)"
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of the site, built from a copy of what it is made of; its search asks for a server."""
    folder = tmp_path_factory.mktemp("site")
    shutil.copytree(ROOT / "docs", folder / "docs")
    shutil.copy(ROOT / "zensical.toml", folder)
    (folder / "src").symlink_to(ROOT / "src")
    build = [Path(sys.executable).with_name("zensical"), "build", "--strict"]
    done = subprocess.run(build, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    handler = partial(Quiet, directory=folder / "out" / "site")
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


class Quiet(SimpleHTTPRequestHandler):
    """Answers without a word."""

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.mark.parametrize("width", [400, 1400])
def test_every_page_fits_and_lacks_nothing(browser: Any, site: str, width: int) -> None:
    wrong: dict[str, Any] = {}
    for page in sorted(page.stem for page in (ROOT / "docs").glob("*.md")):
        chromium.show(browser, f"{site}/{'' if page == 'index' else page + '/'}", width, "light")
        assert browser.find_element("tag name", "h1").text, page
        faults = pages.beyond(browser, width, SCROLLING) + browser.execute_script(MISSING) + browser.get_log("browser")
        if faults:
            wrong[page] = faults
    assert wrong == {}
