"""The plain ways that `bench` compares with do what they say, and what it makes of times."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

from hello_distill import cli
from hello_distill.data.sources import open_training
from hello_distill.distillers.rded import Patches
from hello_distill.experiments import benchmarks
from hello_distill.experiments.benchmarks import plain
from hello_distill.experiments.benchmarks.stages import CLASSES, Pair, stages, write_photographs
from hello_distill.format.results import read
from hello_distill.training.networks import build


def test_the_plain_choice_of_patches_is_ours_where_nothing_is_random(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whole squares, one crop each: the same images, within rounding."""
    files = write_photographs(tmp_path, 6, 24)
    for file in (each for some in files for each in some):
        square(file)
    network = build("convnet2_w8", CLASSES, 24, seed=0).eval()
    data = open_training(str(tmp_path)).read(24, "crop")[0]
    monkeypatch.setattr(plain, "crops", lambda images, number, side, scale: (image[None] for image in images))
    found = torch.cat(plain.patches(files, network, ipc=2, factor=1, number=1, side=24))
    ours = Patches(factor=1, crops=1, pool=6, scale=(1.0, 1.0))(data, network, 2, seed=0).images
    assert (found.int() - ours.int()).abs().max() <= 1, "rounded by us, cut by their code"


def square(file: Path) -> None:
    from PIL import Image

    with Image.open(file) as picture:
        side = picture.size[1]
        picture.crop((0, 0, side, side)).save(file.with_suffix(".png"))
    file.unlink()
    file.with_suffix(".png").rename(file)


def test_the_plain_recovery_moves_noise_towards_its_classes() -> None:
    network = build("convnet2_w8", CLASSES, 16, seed=0).eval().requires_grad_(False)
    backbone = network.backbone
    assert isinstance(backbone, nn.Module)
    targets = torch.arange(CLASSES)
    torch.manual_seed(0)
    before, after = (plain.recovery(backbone, targets, 16, steps) for steps in (1, 30))
    losses = [nn.functional.cross_entropy(backbone(x), targets).item() for x in (before, after)]
    assert losses[1] < losses[0]


@pytest.fixture
def timed(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Two stages of no work; ours take 2 s, the plain ways 3, 4 and 5 s in turn."""
    called: list[str] = []
    times = iter([2.0, 3.0, 2.0, 4.0, 2.0, 5.0] * 2)
    pairs = [
        Pair("choose", lambda: called.append("ours"), lambda: called.append("plain"), 10, "images", 2.0),
        Pair("label", lambda: torch.rand(8, 4) @ torch.rand(4, 2), lambda: None, 8, "images", 2.5),
    ]
    monkeypatch.setattr(benchmarks, "stages", lambda folder: iter(pairs))
    monkeypatch.setattr(benchmarks, "product_flops", lambda: 64.0)

    def seconds(work: object) -> float:
        work()  # type: ignore[operator]
        return next(times)

    monkeypatch.setattr(benchmarks, "seconds", seconds)
    yield called


def test_ratios_are_those_within_a_turn(timed: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["bench", "--out", str(tmp_path / "bench.json"), "--turns", "3"]) == 0
    assert timed == ["plain", "ours"] + ["ours", "plain"] * 3, "once before it counts, then in turns"
    content = json.loads((tmp_path / "bench.json").read_text())
    choose, label = content["stages"]
    assert (choose["ratio"], choose["least"], choose["most"]) == (2.0, 1.5, 2.5)
    assert (choose["ours_seconds"], choose["plain_seconds"], choose["flops"]) == (2.0, 4.0, 0)
    assert label["flops"] == 2 * 8 * 4 * 2
    result = read(content)
    assert result is not None and [speed.verdict for speed in result.stages] == ["met", "below target"]
    said = capsys.readouterr().out
    assert "below" in said and "100" in said, "128 operations at 64 a second are the 2 s that they took"


def test_a_stage_that_is_not_there_is_told(
    timed: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["bench", "--out", str(tmp_path / "bench.json"), "--only", "labels"]) == 2
    assert capsys.readouterr().err.endswith("no stage has one of labels in its name; leave --only out\n")
    assert not (tmp_path / "bench.json").exists()


@pytest.mark.slow
def test_every_stage_runs(tmp_path: Path) -> None:
    names = []
    for pair in stages(tmp_path):
        names.append(pair.name)
        pair.ours()
        pair.plain()
    recorded = json.loads((Path(__file__).parents[2] / "results" / "bench.json").read_text())
    assert names == [stage["name"] for stage in recorded["stages"]], "otherwise `make bench` is due"
