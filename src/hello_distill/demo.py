"""The demonstration: what the projector's labels are worth on Fashion-MNIST, in a few minutes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hello_distill import storage
from hello_distill.artifact import load
from hello_distill.distillers.random import RandomImages
from hello_distill.evaluate import evaluate, summary
from hello_distill.pipeline import check, distill_material, opened, prepare, test_images
from hello_distill.progress import SILENT, Progress
from hello_distill.recipes import find

DATA = "fashion-mnist"
SEEDS = (0, 1, 2)
ROWS = {
    "random_hard": "random real images, hard labels",
    "distilled_hard": "distilled images, hard labels",
    "distilled_projector": "distilled images, projector's labels",
}


def demo(out: str | Path, progress: Progress = SILENT) -> dict[str, Any]:
    """Distil, train nine students, compare. Leaves `artefact`, `random` and `table.json` in `out`.

    Raises InputError if `out` exists.
    """
    folder = Path(out)
    recipe = find("demo")
    check(recipe, folder)
    material = prepare(DATA, recipe, progress)
    distilled = distill_material(material, recipe, recipe.distiller, folder / "artefact", progress)
    random = distill_material(material, recipe, RandomImages(), folder / "random", progress)
    test = test_images(DATA, load(random), progress)
    trained = {
        "random_hard": opened(random, None, "hard"),
        "distilled_hard": opened(distilled, None, "hard"),
        "distilled_projector": opened(distilled, None, "projector"),
    }
    table: dict[str, Any] = {}
    for name, artifact in trained.items():
        progress.line(f"-- {ROWS[name]}", 0.0, "")
        scores = evaluate(artifact, test, SEEDS, progress)
        table[name] = summary([score.last for score in scores])
    table["bytes"] = sizes(distilled)
    storage.write_json(folder / "table.json", table)
    return table


def sizes(folder: Path) -> dict[str, int]:
    """Bytes of an artefact's images and projector, and of the stored labels that the projector replaces."""
    found = storage.info(folder)
    return {
        "images": found["images"]["bytes"],
        "projector": found["labels"]["bytes"],
        "stored_labels": found["stored_labels"]["bytes"],
    }
