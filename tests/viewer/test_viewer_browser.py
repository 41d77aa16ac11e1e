"""The page of `hello-distill view` in a real browser: labels follow the crop, by pointer and by keys, and all fits."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import chromium
import pages
from hello_distill import artifact as artifacts
from hello_distill.artifact import Distilled
from hello_distill.data.images import ImageSet
from hello_distill.format.specs import Codec
from hello_distill.labels.sources.hard import HardLabels
from hello_distill.types import View
from hello_distill.viewer import server, shown
from hello_distill.views import NO_HOLE, render

VIEWS = list(itertools.product((400, 1400), ("light", "dark")))
TEXTS = (
    "h1", "#lead", ".kicker", ".ends span", "#weights-said", "#weights-public", "legend", ".note", ".about",
    ".said span", "button", "#strength-said", ".choice span", ".classes h3 span", ".search input",
)  # fmt: skip
SHOWN = (
    "return [...document.querySelectorAll('#labels section')].map(s => [...s.querySelectorAll('li')]"
    ".filter(l => l.dataset.class).map(l => [+l.dataset.class, +l.dataset.probability]))"
)


@pytest.fixture(scope="module")
def page(browser: Any, artefact: Path, kinds: dict[str, Path], before: Path) -> Iterator[str]:
    with server.running(shown.opened(artefact, [kinds["teacher"]], before)) as address:
        yield address


def until(browser: Any, condition: str, *arguments: Any) -> None:
    """Wait until JavaScript says so, ten seconds at most."""
    end = time.monotonic() + 10
    while not browser.execute_script(f"return {condition}", *arguments):
        assert time.monotonic() < end, condition
        time.sleep(0.02)


def settled(browser: Any, act: Callable[[], Any]) -> list[list[list[float]]]:
    """Do something, and wait until the page has the labels of what came of it: class and probability, by labeller."""
    before = browser.execute_script("return +(document.body.dataset.answered ?? 0)")
    act()
    until(browser, "+(document.body.dataset.answered ?? 0) > arguments[0]", before)
    until(browser, "document.getElementById('labels').ariaBusy == 'false'")
    return browser.execute_script(SHOWN)


def opened(browser: Any, address: str, width: int = 1400, theme: str = "light") -> None:
    chromium.show(browser, address, width, theme)
    until(browser, "document.body.dataset.answered > 0")


def whole_image(browser: Any) -> list[list[list[float]]]:
    return settled(browser, lambda: browser.find_element("id", "whole").click())


def box(browser: Any, name: str = "crop") -> list[int]:
    """Top, left, height and width of a frame, as it says them to those who cannot see it."""
    said = browser.execute_script("return document.getElementById(arguments[0]).ariaLabel", name)
    width, height, left, top = (int(word) for word in said.replace(",", "").split() if word.isdigit())
    return [top, left, height, width]


def crop_of(row: int, place: list[int]) -> View:
    return View(0, torch.tensor([row]), torch.tensor([place]), torch.tensor([False]), torch.tensor([0]), 1.0, NO_HOLE)


def check(found: list[list[list[float]]], view: View, artefact: Path, *others: Path) -> None:
    """The page's probabilities are the softmax of the library's labels, by each artefact, of a view of the first's."""
    rendered = render(artifacts.load(artefact, "hard").data.images, view)
    for label, folder in zip(found, (artefact, *others), strict=False):
        probabilities = artifacts.load(folder).labels(rendered, view)[0].softmax(0)
        assert dict(label) == pytest.approx(dict(enumerate(probabilities.tolist())), abs=1e-5)


def drag(browser: Any, element: Any, right: int, down: int) -> None:
    from selenium.webdriver.common.action_chains import ActionChains

    chain = ActionChains(browser, duration=20).move_to_element(element).click_and_hold()
    chain.move_by_offset(right // 2, down // 2).move_by_offset(right - right // 2, down - down // 2).release().perform()


def test_dragging_a_crop_moves_all_labels_to_those_of_the_library(
    browser: Any, page: str, artefact: Path, kinds: dict[str, Path]
) -> None:
    opened(browser, page)
    found = settled(browser, lambda: browser.find_element("css selector", "#images [data-row='3']").click())
    check(found, crop_of(3, [4, 4, 24, 24]), artefact, kinds["teacher"])
    whole = whole_image(browser)
    check(whole, crop_of(3, [0, 0, 32, 32]), artefact, kinds["teacher"])
    side = browser.find_element("id", "kept-frame").size["width"]
    corner = browser.find_element("css selector", "#crop i:nth-child(4)")
    settled(browser, lambda: drag(browser, corner, -side // 2, -side // 4))
    place = box(browser)
    assert place == [0, 0, pytest.approx(24, abs=1), pytest.approx(16, abs=1)]
    smaller = settled(browser, lambda: drag(browser, browser.find_element("id", "crop"), side // 4, side // 8))
    moved = box(browser)
    assert moved[2:] == place[2:] and moved[:2] == [pytest.approx(4, abs=1), pytest.approx(8, abs=1)]
    check(smaller, crop_of(3, moved), artefact, kinds["teacher"])
    assert dict(smaller[0]) != pytest.approx(dict(whole[0]), abs=1e-3)
    assert smaller[2] == [[1, 1.0]]


def test_all_of_it_works_by_keys(browser: Any, page: str, artefact: Path) -> None:
    from selenium.webdriver.common.keys import Keys

    opened(browser, page)
    active = "return document.activeElement.id || document.activeElement.dataset.row"

    def press(*keys: str) -> None:
        browser.switch_to.active_element.send_keys(*keys)

    whole_image(browser)
    browser.find_element("css selector", "#images [data-row='2']").send_keys(Keys.ENTER)
    assert browser.execute_script(active) == "crop"
    settled(browser, lambda: press("-", "-", "-", "-"))
    assert box(browser) == [4, 4, 24, 24]
    found = settled(browser, lambda: press(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT, Keys.ARROW_UP, "+"))
    until(browser, "document.getElementById('crop').ariaLabel.startsWith('26 by 26')")
    settled(browser, lambda: press(Keys.SHIFT + Keys.ARROW_LEFT))
    found = settled(browser, lambda: press(Keys.NULL, *[Keys.ARROW_DOWN] * 20))
    assert box(browser) == [6, 5, 26, 25]
    check(found, crop_of(2, [6, 5, 26, 25]), artefact)
    outline = browser.execute_script(
        "const s = getComputedStyle(document.activeElement); return [s.outlineStyle, s.outlineWidth]"
    )
    assert outline == ["solid", "3px"]
    until(browser, "document.getElementById('spoken').textContent.startsWith('projector: ')")
    order = []
    for _ in range(4):
        press(Keys.TAB)
        order.append(
            browser.execute_script(
                "return document.activeElement.id || document.activeElement.value || document.activeElement.type"
            )
        )
    assert order == ["whole", "flip", "none", "search"]
    browser.find_element("id", "crop").send_keys(Keys.ESCAPE)
    assert browser.execute_script(active) == "2"


def test_an_image_is_mixed_in_as_the_library_mixes_it(browser: Any, page: str, artefact: Path) -> None:
    from selenium.webdriver.common.keys import Keys

    opened(browser, page)
    whole_image(browser)
    click = "document.querySelector(arguments[0]).click()"
    settled(browser, lambda: browser.execute_script(click, "[value=cutmix]"))
    browser.find_element("id", "partner").click()
    browser.switch_to.active_element.send_keys(Keys.ESCAPE)
    until(browser, "!document.getElementById('picker').open")
    browser.find_element("id", "partner").click()
    browser.find_element("css selector", "#picker input").send_keys("STRI")
    seen = "return [...document.querySelectorAll('#picker .classes section')].filter(s => s.checkVisibility()).length"
    assert browser.execute_script(seen) == 1
    settled(browser, lambda: browser.find_element("css selector", "#picker [data-row='7']").click())
    assert not browser.execute_script("return document.getElementById('picker').open")
    hole = box(browser, "hole")
    view = crop_of(0, [0, 0, 32, 32])
    view = view._replace(
        rows=torch.tensor([0, 7]), box=view.box.repeat(2, 1), flip=view.flip.repeat(2), partner=torch.tensor([1, 0])
    )
    share = 1 - hole[2] * hole[3] / 32**2
    check(browser.execute_script(SHOWN), view._replace(share=share, hole=tuple(hole)), artefact)
    assert browser.execute_script(SHOWN)[2] == [[0, pytest.approx(share)], [3, pytest.approx(1 - share)]]
    settled(browser, lambda: browser.execute_script(click, "[value=mixup]"))
    set_strength = "const s = document.getElementById('strength'); s.value = 40; s.dispatchEvent(new Event('input'))"
    found = settled(browser, lambda: browser.execute_script(set_strength))
    check(found, view._replace(share=0.6), artefact)
    assert found[2] == [[0, pytest.approx(0.6)], [3, pytest.approx(0.4)]]


def test_one_request_is_under_way_and_the_latest_view_wins(browser: Any, page: str, artefact: Path) -> None:
    opened(browser, page)
    whole_image(browser)
    browser.execute_script("performance.clearResourceTimings()")
    moves = (
        "const crop = document.getElementById('crop');"
        "const key = k => crop.dispatchEvent(new KeyboardEvent('keydown', {key: k}));"
        "for (let i = 0; i < 8; i++) key('-');"
        "for (let i = 0; i < 100; i++) key(i % 2 ? 'ArrowLeft' : 'ArrowRight');"
        "key('ArrowUp')"
    )
    found = settled(browser, lambda: browser.execute_script(moves))
    check(found, crop_of(0, [7, 8, 16, 16]), artefact)
    spans = browser.execute_script(
        "return performance.getEntriesByName(location.origin + '/labels').map(e => [e.startTime, e.responseEnd])"
    )
    assert 2 <= len(spans) <= 5 and all(end <= start for (_, end), (start, _) in itertools.pairwise(spans))


def test_before_and_after_the_image_update(browser: Any, page: str, artefact: Path, before: Path) -> None:
    opened(browser, page)
    after = whole_image(browser)
    found = settled(browser, lambda: browser.execute_script("document.querySelector('[value=before]').click()"))
    view = crop_of(0, [0, 0, 32, 32])
    earlier = render(artifacts.load(before, "hard").data.images, view)
    expected = artifacts.load(artefact).labels(earlier, view)[0].softmax(0).tolist()
    assert dict(found[0]) == pytest.approx(dict(enumerate(expected)), abs=1e-5)
    sources = "return [...document.querySelectorAll('#kept, #images img, #partner img')].map(i => i.src)"
    assert {address.split("/")[-2] for address in browser.execute_script(sources)} == {"before"}
    assert settled(browser, lambda: browser.execute_script("document.querySelector('[value=after]').click()")) == after


@pytest.mark.parametrize(("width", "theme"), VIEWS)
def test_the_page_fits_stands_out_and_asks_for_nothing_from_elsewhere(
    browser: Any, page: str, width: int, theme: str
) -> None:
    opened(browser, page, width, theme)
    settled(browser, lambda: browser.execute_script("document.querySelector('[value=cutmix]').click()"))
    assert pages.beyond(browser, width) == []
    assert browser.get_log("browser") == []
    messages = (json.loads(entry["message"])["message"] for entry in browser.get_log("performance"))
    asked = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    assert asked and [url for url in asked if not url.startswith(("data:", page))] == []
    ground = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert (pages.luminance(ground) > 0.9) == (theme == "light")
    for part in TEXTS:
        assert pages.contrast(browser, part) >= 4.5, part
    nameless = (
        "return [...document.querySelectorAll('button, input, [tabindex]')].filter(e => !(e.ariaLabel || "
        "e.textContent.trim() || e.labels?.length)).map(e => e.outerHTML)"
    )
    assert browser.execute_script(nameless) == []


def test_motion_stops_where_it_is_not_wanted(browser: Any, page: str) -> None:
    opened(browser, page)
    duration = "return getComputedStyle(document.querySelector('.track div')).transitionDuration"
    assert browser.execute_script(duration) == "0.15s"
    reduced = [{"name": "prefers-reduced-motion", "value": "reduce"}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": reduced})
    assert browser.execute_script(duration) == "0s"


def of_noise(artefact: Path, names: list[str], ipc: int, out: Path) -> Path:
    """An artefact of classes of these names, with hard labels, for students as another's."""
    shape, generator = (len(names) * ipc, 3, 8, 8), torch.Generator().manual_seed(0)
    images = torch.randint(256, shape, dtype=torch.uint8, generator=generator)
    data = ImageSet(images, torch.arange(len(names)).repeat_interleave(ipc), tuple(names))
    labels, student = HardLabels(data.targets, len(names)), artifacts.load(artefact, "hard").student
    return artifacts.save(Distilled(data, labels, {}), ipc, student, Codec("png"), {}, out)


@pytest.mark.parametrize(("ipc", "beside"), [(1, {400: 3, 1400: 5}), (3, {400: 1, 1400: 3}), (10, {400: 1, 1400: 1})])
def test_classes_of_few_images_stand_beside_each_other(
    browser: Any, artefact: Path, tmp_path: Path, ipc: int, beside: dict[int, int]
) -> None:
    """As many as have room; images are as large, and in one line, whatever the names above them."""
    names = [f"{number:03d}" + " a name of several words" * (number % 3) for number in range(60)]
    columns = (
        "return getComputedStyle(document.querySelector('#images .classes')).gridTemplateColumns.split(' ').length"
    )
    places = (
        "return [...document.querySelectorAll('#images .pictures')].slice(0, arguments[0]).map(p => "
        "[p, p.firstChild].map(e => e.getBoundingClientRect())).map(([p, b]) => [Math.round(p.top), b.width / 16])"
    )
    with server.running(shown.opened(of_noise(artefact, names, ipc, tmp_path / "few"))) as address:
        for width, number in beside.items():
            opened(browser, address, width)
            assert browser.execute_script(columns) == number
            assert pages.beyond(browser, width) == []
            first = browser.execute_script(places, number)
            assert len({top for top, _ in first}) == 1 and all(3.6 <= size <= 4.4 for _, size in first)


def test_two_thousand_images_of_two_hundred_classes_are_there_at_once(
    browser: Any, artefact: Path, tmp_path: Path
) -> None:
    """Few images are asked for before they are scrolled to; long and hostile names stay text, and fit."""
    names = [f"{number:03d} " + "<img src=x onerror=alert(1)> very long name " * 3 for number in range(200)]
    folder = of_noise(artefact, names, 10, tmp_path / "many")
    with server.running(shown.opened(folder)) as address:
        start = time.monotonic()
        opened(browser, address, 400)
        assert time.monotonic() - start < 5
        assert browser.execute_script("return document.querySelectorAll('#images button[data-row]').length") == 2000
        loaded = "return performance.getEntriesByType('resource').filter(e => e.name.includes('/images/')).length"
        assert 10 < browser.execute_script(loaded) < 600
        browser.find_element("css selector", "#images input").send_keys("197 VERY")
        until(browser, "document.querySelector('#images [role=status]').textContent == '1 of 200 classes'")
        assert pages.beyond(browser, 400) == []
        assert browser.get_log("browser") == []
