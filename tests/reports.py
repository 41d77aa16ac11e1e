"""A folder of small results made by the code, and artefacts of one run with and without the image update."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from hello_distill.api import distill, train
from hello_distill.distillers.random import RandomImages
from hello_distill.distillers.rded import RDED
from hello_distill.distillers.recipe import Recipe
from hello_distill.experiments.comparison import compare
from hello_distill.experiments.continual import Continual, continual
from hello_distill.experiments.grid import Comparison, Contender
from hello_distill.experiments.study import Study, study
from hello_distill.format import storage
from hello_distill.report import report

RESULTS = Path(__file__).parents[1] / "results"
HOSTILE = "<script>alert(1)</script><img src=http://evil.example/x.png onerror=alert(2)> \" ' & {{ 7*7 }} $\\frac{"


class Made(NamedTuple):
    """What a report is made of."""

    results: Path
    artefact: Path
    before: Path
    data: Path


def make(folder: Path, tree: Path, recipe: Recipe, artefact: Path) -> Made:
    """Results of every kind: the repository's, a comparison and a training of seconds, and files of no kind."""
    results = folder / "results"
    results.mkdir()
    for file in RESULTS.glob("*.json"):
        if not file.name.startswith("cifar10-"):  # grids of the same data stand under the same heading, twice
            shutil.copy(file, results)
    grid = Comparison(
        base=recipe,
        contenders={"rded": Contender(RDED(recipe.distiller.patches)), "hello": Contender(recipe.distiller)},
        projector=recipe.distiller.projector,
        training={2: (2, 4)},
        labels={},
    )
    what = ["rded", "hello"], ["hard", "teacher", "stored", "projector"], [2], ["convnet2_w8"], [0, 1]
    compare(str(tree), folder / "shapes.json", grid, *what)
    shutil.copy(folder / "shapes.json", results)
    (results / "steps.json").write_bytes(storage.as_json(steps(tree, folder, grid)))
    (results / "variants.json").write_bytes(storage.as_json(variants(tree, folder, grid)))
    (results / "students.json").write_bytes(storage.as_json(train(artefact, str(tree), seeds=[0, 1])))
    (results / "budgets.json").write_bytes(storage.as_json(budgets()))
    (results / "novel.json").write_text('{"kind": "of tomorrow"}')
    (results / "broken.json").write_text('{"cells": [')
    (results / "curveless.json").write_bytes(storage.as_json(curveless(results / "shapes.json")))
    (results / "hostile.json").write_bytes(storage.as_json(hostile(results / "shapes.json")))
    (results / "notes.txt").write_text("not read")
    still = replace(recipe, distiller=replace(recipe.distiller, update=None))
    return Made(results, artefact, distill(str(tree), folder / "before", still), tree)


def write(made: Made, out: Path) -> Path:
    """Write the page of all that there is; returns its path."""
    return report(made.results, out, [made.artefact], [made.before], str(made.data))


def steps(tree: Path, folder: Path, grid: Comparison) -> dict[str, object]:
    """What `continual` writes: random images in two steps."""
    wanted = Continual(replace(grid, contenders={"random": Contender(RandomImages())}), {"random": {}})
    return continual(str(tree), folder / "steps.json", wanted, ["random"], [2], [2], [0, 1])


def variants(tree: Path, folder: Path, grid: Comparison) -> dict[str, object]:
    """What `study` writes: two variants."""
    wanted = Study("Which?", "Table 3", grid, {}, {"rded": {"loss": "kl"}}, {"convnet2_w8": {}})
    return study(str(tree), folder / "variants.json", wanted, seeds=[0, 1])


def budgets() -> dict[str, object]:
    """What `scripts/budgets.py` writes."""
    form = {"encoder_rank": 8, "head_rank": 9, "precision": "float16", "bytes": 386035}
    small = {"encoder_rank": 4, "head_rank": 9, "precision": "int8", "bytes": 99000}
    curve = [{**form, "agreement": 100.0, "error": 7.6e-9}, {**small, "agreement": 97.25, "error": 0.0125}]
    return {
        "data": {"name": "shapes"},
        "command": "python scripts/budgets.py DATA OUT results/budgets.json",
        "artefacts": {
            "400KB": {**form, "budget": 400000, "projector_test_top1": 78.5},
            "100KB": {**small, "budget": 100000, "projector_test_top1": 77.25},
        },
        "curve": curve,
        "knee": form,
        "recipe": {},
        "environment": {"commit": None, "threads": 2, "python": "3.11.7"},
    }


def curveless(file: Path) -> dict[str, object]:
    """A comparison of the days when only the last and the best tested epoch were kept."""
    found = json.loads(file.read_text())
    for cell in found["cells"]:
        cell.pop("tested", None)
    return {**found, "data": {"name": "curveless"}}


def hostile(file: Path) -> dict[str, object]:
    """A comparison whose every text is hostile, and whose letters cannot all be written."""
    found = json.loads(file.read_text())
    found["data"]["name"] = HOSTILE
    found["environment"] = {HOSTILE: HOSTILE, "commit": "\x1b[31m"}
    found["commands"] = [f"hello-distill compare {HOSTILE}"]
    found["stages"] = {HOSTILE: {"teacher_top1": 12.5}}
    for cell in found["cells"]:
        cell |= {"method": HOSTILE + cell["method"], "student": HOSTILE, "commits": [HOSTILE]}
        cell["same_students_as"] = HOSTILE
    return dict(found)
