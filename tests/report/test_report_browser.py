"""The page in a real browser: tables and images are there, nothing complains, and it fits a telephone and a desk."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest

import chromium
import pages
import reports
from hello_distill.format import results
from hello_distill.report import claims
from reports import Made

WIDTHS = (400, 1400)
VIEWS = list(itertools.product(WIDTHS, ("light", "dark")))


def show(browser: Any, page_file: Path, width: int, theme: str) -> None:
    chromium.show(browser, page_file.as_uri(), width, theme)


@pytest.mark.parametrize(("width", "theme"), VIEWS)
def test_the_page_fits_and_nothing_complains(browser: Any, page_file: Path, width: int, theme: str) -> None:
    show(browser, page_file, width, theme)
    assert browser.get_log("browser") == []
    messages = (json.loads(entry["message"])["message"] for entry in browser.get_log("performance"))
    asked = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    assert [url for url in asked if not url.startswith(("data:", "file:"))] == []
    assert pages.beyond(browser, width) == []
    clipped = browser.execute_script(
        "return [...document.querySelectorAll('.scroll, pre')].filter(e => e.scrollWidth > e.clientWidth && "
        "getComputedStyle(e).overflowX != 'auto').length"
    )
    assert clipped == 0


@pytest.mark.parametrize(("width", "theme"), VIEWS)
def test_all_images_are_seen(browser: Any, page_file: Path, width: int, theme: str) -> None:
    show(browser, page_file, width, theme)
    images = browser.execute_script(
        "return [...document.images].map(i => [i.complete, i.naturalWidth, i.getBoundingClientRect().width, "
        "i.getBoundingClientRect().height, i.checkVisibility(), i.alt])"
    )
    strips = 4 + 3 * 4
    assert len(images) == page_file.read_text(encoding="utf-8").count("<img") > strips
    assert sum(alt.startswith("Top-1") for *_, alt in images) == len(images) - strips
    for complete, natural, wide, high, visible, alt in images:
        assert complete and natural > 0 and wide >= min(100, natural) and high >= 20 and visible and alt


def test_the_tables_have_the_rows_of_the_files(browser: Any, page_file: Path, made: Made) -> None:
    show(browser, page_file, 1400, "light")
    found = browser.execute_script(
        "return [...document.querySelectorAll('section')].filter(s => s.querySelector('table')).map(s => "
        "[s.querySelector('.origin').innerText, [...s.querySelectorAll('table')].map(t => t.tBodies[0].rows.length)])"
    )
    rows = dict(found)
    cells = {name: json.loads((made.results / name).read_text())["cells"] for name in ("cifar10.json", "shapes.json")}
    by_ipc = [sum(cell["ipc"] == ipc for cell in cells["cifar10.json"]) for ipc in (1, 10, 50)]
    assert rows["From results/cifar10.json"][1:4] == by_ipc
    assert rows["From results/shapes.json"][1] == len(cells["shapes.json"]) == 8
    presets = json.loads((made.results / "presets.json").read_text())["presets"]
    assert rows["From results/demo.json"][1:] == [4, 3] and rows["From results/presets.json"][-1] == len(presets)
    assert rows["From results/budgets.json"][1:] == [2, 2] and rows["From results/students.json"][1:] == [1]
    known = {file.name for file in made.results.glob("*.json")} - {"novel.json", "broken.json"}
    assert len(found) == len(known) + 2, "one of each file, one of the claims, one of an artefact"
    contents = (results.read(json.loads((made.results / name).read_text())) for name in sorted(known))
    lines = claims.lines([content for content in contents if content is not None])
    assert rows["From all result files"] == [len(lines)]
    assert len({line.claim for line in lines}) == 9
    first = browser.execute_script(
        "const part = [...document.querySelectorAll('section')].find(s => s.innerText.includes(arguments[0]));"
        "return part.querySelectorAll('table')[1].tBodies[0].rows[0].innerText",
        "From results/cifar10.json",
    )
    cell = min((c for c in cells["cifar10.json"] if c["ipc"] == 1), key=lambda c: (c["method"], c["labels"] != "hard"))
    top1 = cell["top1_last"]
    assert first.split("\t")[:3] == [cell["method"], "hard", f"{top1['mean']:.1f} ± {top1['sd']:.1f}"]
    headings = browser.execute_script("return [...document.querySelectorAll('h2')].map(h => h.innerText)")
    assert f"Comparison on {' '.join(reports.HOSTILE.split())}" in headings
    assert browser.execute_script("return document.querySelectorAll('script').length") == 0


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_stands_out_from_its_ground(browser: Any, page_file: Path, theme: str) -> None:
    """Contrast of at least 4.5 to 1, as WCAG asks for text, and the ground is the theme's."""
    show(browser, page_file, 1400, theme)
    ground = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert (pages.luminance(ground) > 0.9) == (theme == "light")
    for part in ("body", ".note", ".origin", "summary", "a", "td", "thead th", "tbody th", "pre"):
        assert pages.contrast(browser, part) >= 4.5, part
