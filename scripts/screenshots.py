"""Take the pictures of `hello-distill view` for the docs, by headless Chromium: `make screenshots`.

    python scripts/screenshots.py     # needs chromium and its driver; minutes where out/screenshots is not there yet

The artefacts are Fashion-MNIST's: by the demo's recipe with 50 images per class of fewer training images, the same
without the image update, and the images of RDED with the labels of its teacher.
"""

from __future__ import annotations

import base64
import io
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from PIL import Image

import chromium
from hello_distill.api import distill
from hello_distill.cli.output import console
from hello_distill.distillers.rded import RDED
from hello_distill.distillers.recipe import Recipe
from hello_distill.recipes import find
from hello_distill.system.context import Context
from hello_distill.viewer import server, shown

ROOT = Path(__file__).parents[1]
MADE = ROOT / "out" / "screenshots"
ASSETS = ROOT / "docs" / "assets"
CHANGES: dict[str, Any] = {
    "ipc": 50,
    "train_limit": 6000,
    "held_limit": 500,
    "distiller": {"projector": {"queries": {"steps": 150, "rounds": 1}}},
}
OPEN = "document.querySelector('#images [data-row=\"353\"]').click();"
MIX = "document.querySelector('[value=cutmix]').click();"
SCENES = {
    (1400, "light"): OPEN + MIX,
    (1400, "dark"): OPEN,
    (400, "light"): OPEN + MIX,
    (400, "dark"): OPEN,
}
"""What is done on the page before its picture is taken, by width and theme."""
HEIGHTS = {1400: 1040, 400: 1240}
COLOURS = 128
LARGEST = 100_000
"""Bytes of a picture."""
READY = "return document.getElementById('labels').ariaBusy == 'false'"
"""Whether the page shows the labels of what it was last told."""
GLIDE = 0.5
"""Seconds that bars need to come to rest, and more."""


def made() -> tuple[Path, Path, Path]:
    """The three artefacts, made where they are not there: HeLlO's, that without the update, and the teacher's."""
    recipe = find("demo").with_changes(CHANGES)
    recipes: dict[str, Recipe] = {
        "fashion": recipe,
        "before": replace(recipe, distiller=replace(recipe.distiller, update=None)),
        "teacher": replace(recipe, distiller=RDED(recipe.distiller.patches)),
    }
    with Context(console()):
        for name, each in recipes.items():
            if not (MADE / name).exists():
                distill("fashion-mnist", MADE / name, each, MADE / "stages")
    return MADE / "fashion", MADE / "before", MADE / "teacher"


def pictures(address: str) -> Iterator[tuple[str, bytes]]:
    """Name and PNG of each scene."""
    with chromium.opened() as browser:
        for (width, theme), scene in SCENES.items():
            chromium.show(browser, address, width, theme)
            wait(browser)
            browser.execute_script(f"{scene} document.activeElement.blur(); scrollTo(0, 0)")
            wait(browser)
            clip = {"x": 0, "y": 0, "width": width, "height": HEIGHTS[width], "scale": 1}
            taken = browser.execute_cdp_cmd("Page.captureScreenshot", {"clip": clip, "captureBeyondViewport": True})
            yield f"view-{width}-{theme}.png", reduced(base64.b64decode(taken["data"]))


def wait(browser: Any) -> None:
    """Until labels are there and bars rest."""
    while not browser.execute_script(READY):
        time.sleep(0.1)
    time.sleep(GLIDE)


def reduced(content: bytes) -> bytes:
    """A PNG in its `COLOURS` most frequent colours: those of the page are kept as they are."""
    picture, palette, buffer = Image.open(io.BytesIO(content)).convert("RGB"), Image.new("P", (1, 1)), io.BytesIO()
    frequent = sorted(picture.getcolors(picture.width * picture.height), reverse=True)[:COLOURS]
    palette.putpalette([value for _, colour in frequent for value in colour])
    picture.quantize(palette=palette, dither=Image.Dither.NONE).save(buffer, "png", optimize=True)
    return buffer.getvalue()


def main() -> None:
    """Write the pictures, and say how large they are."""
    fashion, before, teacher = made()
    with server.running(shown.opened(fashion, [teacher], before)) as address:
        for name, content in pictures(address):
            if len(content) > LARGEST:
                sys.exit(f"{name} has {len(content):,} bytes, and at most {LARGEST:,} are to be kept")
            (ASSETS / name).write_bytes(content)
            print(f"docs/assets/{name}: {len(content):,} bytes")


if __name__ == "__main__":
    main()
