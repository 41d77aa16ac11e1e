"""The tutorial's notebook runs, on drawn images and in seconds."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import nn
from torchvision.datasets import ImageFolder
from torchvision.transforms import functional

from conftest import CLASSES, script
from hello_distill.distillers.recipe import Recipe
from hello_distill.recipes import find

NOTEBOOK = Path(__file__).parents[2] / "docs" / "tutorial.ipynb"


@pytest.fixture(scope="module")
def cells() -> list[dict[str, Any]]:
    return [cell for cell in json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]


def test_the_notebook_runs(
    cells: list[dict[str, Any]], tree: Path, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every cell in its order, in a folder with `photos`. What it changes of a recipe is checked against that recipe;
    the tests' tiny one is distilled by, and the loop written out goes twice through the images."""
    shutil.copytree(tree, tmp_path / "photos")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "Agg")
    change = Recipe.with_changes

    def changed(named: Recipe, changes: dict[str, Any]) -> Recipe:
        assert change(named, changes).teachers.steps == changes["teachers"]["steps"]
        assert named == find("demo", 10)
        return recipe

    monkeypatch.setattr(Recipe, "with_changes", changed)
    codes = ["".join(cell["source"]) for cell in cells]
    assert sum("epochs, side, device = 60," in code for code in codes) == 1
    outputs = script("tutorial.py").ran([code.replace("device = 60,", "device = 2,") for code in codes])
    assert [bool(output) for output in outputs] == [bool(cell["outputs"]) for cell in cells]
    assert outputs[0] == f"train {dict.fromkeys(sorted(CLASSES), 12)}\ntest {dict.fromkeys(sorted(CLASSES), 6)}\n"
    sizes = {file: file.stat().st_size for file in (tmp_path / "out" / "photos").rglob("*")}
    labels = sum(size for file, size in sizes.items() if file.parent.name == "projector")
    assert f"what makes their labels: {labels:,} bytes" in outputs[1]
    assert f"the student is right on {right(tmp_path):.1f} %" in outputs[5]
    assert f"data set owner/photos: {sum(size for file, size in sizes.items() if file.is_file()):,} bytes" in outputs[6]
    for name in ("images.png", "views.png"):
        assert Image.open(tmp_path / name).size[0] == 800


def right(folder: Path) -> float:
    """Percent of the test photographs that the student is right on whose weights the notebook kept."""

    def block(channels: int) -> nn.Module:
        return nn.Sequential(nn.LazyConv2d(channels, 3, padding=1), nn.LazyBatchNorm2d(), nn.ReLU(), nn.AvgPool2d(2))

    student = nn.Sequential(*map(block, (64, 64, 64)), nn.Flatten(), nn.LazyLinear(len(CLASSES)))
    student.load_state_dict(torch.load(folder / "student.pt", weights_only=True))
    counts: Counter[bool] = Counter()
    for image, target in ImageFolder(folder / "photos" / "test"):
        with torch.no_grad():
            counts[student.eval()(functional.to_tensor(image)[None]).argmax().item() == target] += 1
    return 100 * counts[True] / counts.total()


def test_the_notebook_is_the_page(cells: list[dict[str, Any]]) -> None:
    """Cell by cell, without anything that only notebooks understand."""
    tutorial = script("tutorial.py")
    page = tutorial.PAGE.read_text(encoding="utf-8")
    assert ["".join(cell["source"]) + "\n" for cell in cells] == tutorial.cells(page)
    assert not [line for cell in cells for line in cell["source"] if line.startswith(("%", "!"))]
    for cell in cells:
        for output in cell["outputs"]:
            assert "".join(output["text"]) in page


def test_a_page_becomes_a_notebook() -> None:
    page = (
        "# Title\n\n```python\nprint(1)\n```\n\n<!-- results/tutorial.txt 1 -->\n```text\n1\n```\n<!-- end -->\n\n"
        "```sh\nls\n```\n\n```python\na = 2\n```\n"
    )
    made = json.loads(script("tutorial.py").notebook(page))
    assert [(cell["id"], cell["cell_type"], "".join(cell["source"])) for cell in made["cells"]] == [
        ("part-1", "markdown", "# Title"),
        ("part-2", "code", "print(1)"),
        ("part-3", "markdown", "```sh\nls\n```"),
        ("part-4", "code", "a = 2"),
    ]
    assert made["cells"][1]["outputs"] == [{"output_type": "stream", "name": "stdout", "text": ["1\n"]}]
    assert made["cells"][3]["outputs"] == []


def test_the_tutorial_s_commands_are_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each line of its shell blocks that starts the command is one that the command line takes."""
    from hello_distill.cli import parsed

    page = script("tutorial.py").PAGE.read_text(encoding="utf-8")
    lines = [line.split("#")[0].split() for line in page.splitlines() if line.startswith("hello-distill ")]
    assert {line[1] for line in lines} == {"doctor", "distill", "view", "train", "verify", "push"}
    for line in lines:
        assert parsed(line[1:]).subcommand == line[1]
