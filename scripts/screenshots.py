"""Take the pictures of `hello-distill view` in docs/assets, by headless Chromium: `make screenshots`.

    python scripts/screenshots.py     # needs chromium and chromedriver; minutes where out/screenshots is not there yet

The artefacts are Fashion-MNIST's: the demo's recipe at 50 images per class with fewer training images, its run without
the image update, and one with the teacher's labels. Pictures are PNG of 256 colours.
"""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[1]
MADE = ROOT / "out" / "screenshots"
ASSETS = ROOT / "docs" / "assets"
DATA = "fashion-mnist"
CHANGES = {
    "ipc": 50,
    "train_limit": 6000,
    "held_limit": 500,
    "distiller": {"projector": {"queries": {"steps": 150, "rounds": 1}}},
}
PICTURES = {(1400, "light"): 0, (1400, "dark"): 1, (400, "light"): 2, (400, "dark"): 0}
"""Width and theme of each picture, and how many Tab-free steps of `STEPS` are taken before it."""
TALL = {1400: 1000, 400: 1350}
"""Height in pixels by width."""
STEPS = (
    "const box = document.getElementById('crop'); document.querySelector('[data-row=\"360\"]').click();"
    "for (let i = 0; i < 4; i++) box.dispatchEvent(new KeyboardEvent('keydown', {key: '-'}));"
    "document.querySelector('[value=cutmix]').click();",
    "document.querySelector('[data-row=\"404\"]').click(); document.querySelector('[value=mixup]').click();",
)
