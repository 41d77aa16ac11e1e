"""A method and a kind of labels from one file each, registered or offered by another package: commands have them."""

from __future__ import annotations

import importlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from conftest import seal
from hello_distill import cli, recipes
from hello_distill.artifact import load
from hello_distill.distillers.base import METHODS, Distiller
from hello_distill.distillers.recipe import Recipe
from hello_distill.experiments.grid import Comparison
from hello_distill.format.kinds import KINDS
from hello_distill.system.errors import ArtifactError, InputError, MachineError

METHOD = '''
"""Means of real images."""
from dataclasses import dataclass

import torch

from hello_distill.artifact import Distilled
from hello_distill.data.images import ImageSet
from hello_distill.distillers.base import Distiller
from hello_distill.distillers import register
from hello_distill.labels.sources.hard import HardLabels


@register("averages")
@dataclass(frozen=True)
class Averages(Distiller):
    """Each image is the mean of some images of its class."""

    labels = "hard"
    count: int = 3

    def __call__(self, material, stages, ipc, seed):
        data, generator = material.train, torch.Generator().manual_seed(seed)
        made = []
        for target in range(len(data.classes)):
            rows = data.of_class(target)
            rows = rows[torch.randperm(len(rows), generator=generator)][: ipc * self.count].split(self.count)
            made += [data.images[row].float().mean(0).to(torch.uint8) for row in rows]
        targets = torch.arange(len(data.classes)).repeat_interleave(ipc)
        return Distilled(ImageSet(torch.stack(made), targets, data.classes), HardLabels(targets, len(data.classes)), {})

    def images_needed(self, ipc):
        return ipc * self.count

    def shipped_bytes(self, data, teachers, encoder):
        return 0
'''
KIND = '''
"""Label smoothing, with the confusions of a source where there is one."""
from __future__ import annotations

from dataclasses import dataclass

import torch

from hello_distill.format import sizes, tensors
from hello_distill.format.fields import Share
from hello_distill.format.kinds import LabelKind, LabelPart, option
from hello_distill.labels import register
from hello_distill.types import LabelSource
from hello_distill.views import mixed_targets

FILE = "labels/rows.safetensors"


class SmoothedPart(LabelPart):
    share: Share

    def files(self):
        return {FILE}


@register("smoothed")
@dataclass(frozen=True)
class Smoothed(LabelKind):
    part = SmoothedPart
    trials = "hard"
    share: float = option(0.1, "share that goes to the other classes")

    @classmethod
    def load(cls, folder, part, data):
        shape = (len(data.classes), len(data.classes))
        return SmoothedLabels(tensors.read_as(folder / FILE, {"rows": ("F32", shape)})["rows"], data, part["share"])

    def make(self, data, student, online):
        classes = len(data.classes)
        rows = torch.full((classes, classes), self.share / (classes - 1))
        return SmoothedLabels(rows.fill_diagonal_(1 - self.share), data, self.share)


class SmoothedLabels(LabelSource):
    kind = "smoothed"
    unit = "probabilities"

    def __init__(self, rows, data, share):
        self.rows, self.targets, self.share = rows, data.targets, share

    def __call__(self, images, view):
        return mixed_targets(self.targets, view, len(self.rows)) @ self.rows

    def size(self):
        return sizes.safetensors_bytes({"rows": ("F32", tuple(self.rows.shape))})

    def save(self, folder):
        (folder / FILE).parent.mkdir()
        tensors.write(folder / FILE, {"rows": self.rows})
        return {"kind": self.kind, "parameters": self.rows.numel(), "share": self.share}
'''
CHAIN = """
import json, sys
from hello_distill import cli, recipes
from hello_distill.experiments.grid import Comparison

tree, config, out = sys.argv[1:]
demo = recipes.find("demo")
small = Comparison(demo.with_changes(json.load(open(config))), {}, demo.distiller.projector, {1: (1, 4)}, labels={})
recipes.find_comparison = lambda name: small
for words in (
    ["distill", tree, "--recipe", "demo", "--config", config, "--out", f"{out}/a"],
    ["labels", f"{out}/a", "--kind", "smoothed", "--share", "0.3", "--out", f"{out}/b"],
    ["info", f"{out}/b", "--json"],
    ["verify", f"{out}/b"],
    ["compare", tree, "--methods", "averages", "--labels", "smoothed", "--students", "convnet2_w8", "--seeds", "0",
     "--out", f"{out}/r.json"],
):
    assert cli.main(words) == 0, words
"""


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The two files in a folder that Python imports from, and registries that forget what a test registers."""
    folder = tmp_path / "site"
    folder.mkdir()
    (folder / "averages_of_mine.py").write_text(METHOD)
    (folder / "smoothed_of_mine.py").write_text(KIND)
    monkeypatch.syspath_prepend(str(folder))
    for registry in (METHODS, KINDS):
        registry.names()
        monkeypatch.setattr(registry, "_classes", dict(registry._classes))
        monkeypatch.setitem(vars(registry), "_offered", metadata.EntryPoints())
    yield folder
    for name in ("averages_of_mine", "smoothed_of_mine"):
        sys.modules.pop(name, None)


def offer(folder: Path, package: str, group: str, name: str, value: str) -> None:
    """What installing a package leaves behind: an entry point."""
    info = folder / f"{package}-1.0.dist-info"
    info.mkdir(exist_ok=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    with (info / "entry_points.txt").open("a") as points:
        points.write(f"[hello_distill.{group}]\n{name} = {value}\n")


def settings(recipe: Recipe) -> dict[str, Any]:
    """A --config file with the method and its own field."""
    others = {key: value for key, value in recipe.settings().items() if key not in ("method", "distiller")}
    return {**others, "method": "averages", "distiller": {"count": 4}}


def main(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    assert cli.main([*map(str, words)]) == 0
    return capsys.readouterr().out


def test_a_method_and_a_kind_of_one_file_each(
    files: Path,
    tree: Path,
    recipe: Recipe,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name in ("averages_of_mine", "smoothed_of_mine"):
        importlib.import_module(name)
    config, first, second = tmp_path / "c.json", tmp_path / "a", tmp_path / "b"
    config.write_text(json.dumps(settings(replace(recipe, held_share=0.0))))
    main(capsys, "distill", tree, "--config", config, "--out", first)
    made = load(first)
    assert json.loads((first / "config.json").read_text())["method"] == "averages"
    assert json.loads((first / "config.json").read_text())["distiller"] == {"count": 4}
    assert torch.bincount(made.data.targets).tolist() == [2] * 4 and made.labels.kind == "hard"

    main(capsys, "labels", first, "--kind", "smoothed", "--share", "0.3", "--out", second)
    part = json.loads((second / "hello.json").read_text())["labels"]
    assert part == {"kind": "smoothed", "parameters": 16, "share": 0.3}
    batch = next(iter(load(second).loader(batch_size=4)))
    np.testing.assert_allclose(batch.soft, batch.hard @ torch.full((4, 4), 0.1).fill_diagonal_(0.7), rtol=1e-5)

    found = json.loads(main(capsys, "info", second, "--json"))
    size = (second / "labels" / "rows.safetensors").stat().st_size
    assert found["labels"] == {"kind": "smoothed", "parameters": 16, "bytes": size, "index_bytes": 0}
    assert "smoothed labels of the shapes" in main(capsys, "verify", second)

    small = Comparison(recipe, {}, recipe.distiller.projector, {1: (1, 4)}, labels={})
    monkeypatch.setattr(recipes, "find_comparison", lambda name: small)
    grid = ["--methods", "averages", "--labels", "smoothed", "--students", "convnet2_w8", "--seeds", "0"]
    main(capsys, "compare", tree, *grid, "--out", tmp_path / "r.json")
    [cell] = json.loads((tmp_path / "r.json").read_text())["cells"]
    assert (cell["method"], cell["labels"], cell["bytes"]["labels"]) == ("averages", "smoothed", size)


def test_another_package_offers_them_by_entry_points(files: Path, tree: Path, recipe: Recipe, tmp_path: Path) -> None:
    """In a process of its own, where nobody imports the two files but the registries."""
    offer(files, "of-mine", "distillers", "averages", "averages_of_mine:Averages")
    offer(files, "of-mine", "labels", "smoothed", "smoothed_of_mine:Smoothed")
    config = tmp_path / "c.json"
    config.write_text(json.dumps(settings(replace(recipe, held_share=0.0))))
    environment = {**os.environ, "PYTHONPATH": f"{files}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    words = [sys.executable, "-c", CHAIN, str(tree), str(config), str(tmp_path)]
    done = subprocess.run(words, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "b" / "hello.json").read_text())["labels"]["share"] == 0.3
    assert len(json.loads((tmp_path / "r.json").read_text())["cells"]) == 1


def test_what_another_package_breaks_is_a_sentence(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    offer(files, "broken", "distillers", "broken", "not_there:Method")
    offer(files, "odd", "distillers", "odd", "json:dumps")
    offer(files, "one", "distillers", "twice", "averages_of_mine:Averages")
    offer(files, "two", "distillers", "twice", "averages_of_mine:Averages")
    offer(files, "three", "distillers", "hello", "averages_of_mine:Averages")
    vars(METHODS).pop("_offered")
    importlib.invalidate_caches()
    for name, told in (
        ("broken", r"'broken' of the package broken cannot be used (ModuleNotFoundError: No module named 'not_there')"),
        ("odd", "'odd' of the package odd cannot be used (InputError: the method 'odd' must be a class derived from"),
        ("twice", "'twice' is offered by one and two; uninstall all but one"),
        ("hello", "'hello' is offered by hello_distill.distillers and three; uninstall all but one"),
    ):
        with pytest.raises(MachineError) as raised:
            METHODS.find(name)
        assert told in str(raised.value)
    config = tmp_path / "c.json"
    config.write_text(json.dumps({"method": "broken"}))
    assert cli.main(["distill", "fashion-mnist", "--config", str(config), "--out", str(tmp_path / "a")]) == 3
    printed = capsys.readouterr().err.splitlines()
    assert printed[-1].startswith("hello-distill: the method 'broken' of the package broken cannot be used")


def test_a_broken_kind_breaks_no_other(
    files: Path, artefact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    offer(files, "broken", "labels", "broken", "not_there:Kind")
    vars(KINDS).pop("_offered")
    importlib.invalidate_caches()
    assert json.loads(main(capsys, "info", artefact, "--json"))["labels"]["kind"] == "projector"
    assert cli.main(["labels", str(artefact), "--kind", "hard", "--out", str(tmp_path / "a")]) == 3
    said = capsys.readouterr().err
    assert said.startswith("hello-distill: the kind of labels 'broken' of the package broken cannot be used (Module")
    seal(shutil.copytree(artefact, tmp_path / "b"), labels={"kind": "os", "parameters": 0})
    with pytest.raises(ArtifactError, match=r"`labels\.kind`: 'os' is none of broken, hard, projector, pruned, "):
        load(tmp_path / "b")


@pytest.mark.parametrize(
    ("name", "registered", "told"),
    [
        (
            "hello",
            type("Mine", (Distiller,), {}),
            "a method 'hello' already, in hello_distill.distillers.hello",
        ),
        ("Mine-1", type("Mine", (Distiller,), {}), "names no method: use lower-case letters"),
        ("mine", object, "must be a class derived from Distiller"),
    ],
)
def test_what_cannot_be_registered(files: Path, name: str, registered: type, told: str) -> None:
    with pytest.raises(InputError, match=told):
        METHODS.register(name)(registered)
