"""What `distill --dry-run` says beside what a distillation then takes. Seconds are not looked at."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from conftest import SIDE
from hello_distill import api, cli
from hello_distill.artifact import load
from hello_distill.data.sources import open_training
from hello_distill.distillers.hello import HeLlO
from hello_distill.distillers.recipe import Recipe
from hello_distill.experiments.forecast import Timed, _faithfulness, beside_truth, forecast, slope
from hello_distill.format import costs
from hello_distill.format.sizes import num_batches
from hello_distill.system import context
from hello_distill.system.machine import peak_memory
from hello_distill.training import fit


def test_steps_and_bytes_are_those_of_the_run(
    tree: Path, recipe: Recipe, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """One round of query fitting: then the length is known."""
    method = recipe.distiller
    assert isinstance(method, HeLlO) and method.projector.queries is not None
    queries = replace(method.projector.queries, rounds=1)
    recipe = replace(recipe, distiller=replace(method, projector=replace(method.projector, queries=queries)))
    said, taken = forecast(str(tree), recipe, []), [0]

    def counted(*given: Any) -> None:
        taken[0] += 1
        set_rate(*given)

    set_rate = fit.set_rate
    monkeypatch.setattr(fit, "set_rate", counted)
    out = api.distill(str(tree), tmp_path / "a", recipe, tmp_path / "stages")
    lengths = {stage["stage"]: (stage["least"], stage["most"]) for stage in said["stages"]}
    assert all(least == most for least, most in lengths.values())
    assert taken[0] == sum(lengths[name][0] for name in ("teachers", "projector", "query fitting"))
    assert lengths["patches"][0] == 4 * 6 * 2 and lengths["image update"][0] == 2
    kept = {name: size for name, size in said["disk"].items() if name != "artefact"}
    assert set(kept) == set(lengths) - {"data", "faithfulness"} and all(kept.values())
    for expected, folder in ((said["disk"]["artefact"], out), (sum(kept.values()), tmp_path / "stages")):
        size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        assert expected / size == pytest.approx(1, abs=0.5), folder  # heads of files are half of so little
    memory = [stage["memory"] for stage in said["stages"]]
    assert memory == sorted(memory) and 2**26 < memory[-1] <= said["memory"]["process"] < 2**36
    made = load(out)
    batches = num_batches(len(made.data), made.student.optim.batch_size)
    assert said["student"]["least"] == said["student"]["most"] == made.student.optim.epochs * batches
    ladder = {rung["labels"]: rung["bytes"] for rung in costs.info(out)["ladder"]}
    assert said["labels"]["stored float16"] == ladder["stored float16"]
    assert said["labels"]["projector in float16"] == costs.info(out)["labels"]["bytes"]


def test_other_numbers_are_multiplied(tree: Path, recipe: Recipe) -> None:
    lengths = []
    for assume in ([], ["images=8600", "ipc=20"]):
        said = forecast(str(tree), recipe, assume)
        lengths.append({stage["stage"]: stage["least"] for stage in said["stages"]})
    images = lengths[0]["data"]
    assert lengths[1]["data"] == 8600
    assert lengths[1]["teachers"] == 2 * -(-8600 // 16) and lengths[0]["teachers"] == 2 * -(-images // 16)
    assert lengths[1]["patches"] == 4 * 20 * 2, "a larger pool, where so many patches are wanted"
    assert lengths[1]["image update"] == 2 * -(-80 // 50)


def test_what_it_takes_to_begin_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 5.0 + 2 * 3.0, 100.0, 105.0 + 6 * 3.0, 200.0, 209.0, 300.0, 309.0])
    monkeypatch.setattr("time.perf_counter", lambda: next(clock))
    assert slope(lambda count: None, 2, 6) == 3.0
    assert slope(lambda count: None, 2, 6) == 1.5, "it began slowly, and nothing is known but an upper bound"


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (["--dry-run", "--assume", "pictures=3"], "--assume 'pictures=3' is none of images=NUMBER, classes=NUMBER"),
        (["--dry-run", "--labels", "auto"], "--dry-run is for the method's own labels; leave --labels out"),
        (
            ["--dry-run", "--teacher", "resnet18:t.pt"],
            "a forecast times teachers that are trained here",
        ),
        (["--dry-run", "--ipc", "600"], "fewer than 600 training images in "),
        (["--forecast", "--teacher", "resnet18:t.pt"], "a forecast times teachers that are trained here"),
        (["--forecast", "--labels", "auto"], "--forecast is for the method's own labels; leave --labels out"),
        (["--forecast", "--dry-run"], "--dry-run says what --forecast says and ends there; leave one of them out"),
        (["--assume", "images=3"], "--assume is for --dry-run; give both, or leave it out"),
        (["--dry-run", "--recipe", "sre2l-small"], "a forecast knows the stages of hello and rded, not of sre2l"),
    ],
)
def test_mistakes_are_told(
    given: list[str], told: str, tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = [] if "--recipe" in given else ["--recipe", "hello-small"]
    assert cli.main(["distill", str(tree), "--out", str(tmp_path / "a"), *recipe, *given]) == 2
    assert told in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_nothing_is_written(tree: Path, recipe: Recipe, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "recipe.json").write_text(json.dumps(recipe.settings()))
    call = ["distill", str(tree), "--out", str(tmp_path / "a"), "--config", str(tmp_path / "recipe.json"), "--dry-run"]
    assert cli.main(call) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["recipe.json"]
    said = capsys.readouterr().out
    assert "query fitting" in said and "projector in float16" in said


def test_after_a_run_the_forecast_stands_beside_the_truth(
    tree: Path, recipe: Recipe, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "recipe.json").write_text(json.dumps(recipe.settings()))
    call = ["distill", str(tree), "--out", str(tmp_path / "a"), "--config", str(tmp_path / "recipe.json"), "--forecast"]
    assert cli.main(call) == 0
    said = capsys.readouterr()
    rows = [line.split() for line in said.out.splitlines()]
    for stage in ("data", "teachers", "patches", "projector", "other"):
        assert any(stage in row for row in rows), stage
        assert f"{stage} " in said.err or stage == "other", "stages are shown as in every run"
    assert "is ready" in said.out and (tmp_path / "a" / "config.json").exists()


def test_what_was_taken_is_counted_by_stage(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A run of three stages on a clock that a stage moves by a second for each letter of its name."""
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    (tmp_path / "file").write_bytes(bytes(123))

    def run() -> Path:
        for name in ("data", "patches", "patches", "closing"):
            with context.stage(name):
                clock[0] += len(name)
        return tmp_path

    stages = [dict(stage="data", seconds=0.5, least=4, most=8), dict(stage="patches", seconds=2.0, least=6, most=6)]
    memory = {"process": 70, "decoded_in_memory": True, "decoded_images": 8}
    said = {"stages": stages, "seconds": [14.0, 16.0], "memory": memory, "disk": {"artefact": 100}}
    _, result = beside_truth(said, run)
    assert result["stages"] == [
        {"stage": "data", "said": [2.0, 4.0], "took": 4.0},
        {"stage": "patches", "said": [12.0, 12.0], "took": 14.0},
        {"stage": "other", "said": [0.0, 0.0], "took": 7.0},
    ]
    assert result["took"] == 25.0 and result["artefact"] == {"said": 100, "took": 123}
    assert result["memory"] == {"said": 78, "took": peak_memory()} and peak_memory() > 2**26


def test_views_are_labelled_once_and_answered_in_each_form(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock that moves 3 s for each image of the teacher's and 1 s for each of the projector's."""
    clock = [0.0]

    def classifier(seconds: float) -> Any:
        def answer(images: Any) -> None:
            clock[0] += 7 + seconds * len(images)  # 7 s, however many

        return answer

    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])
    sample = open_training(str(tree)).read(SIDE)[0]
    timed = _faithfulness(sample, classifier(1), classifier(3), forms=4)
    assert timed == Timed("faithfulness", 500, 500, "views", 3 + 4 * 1, timed.memory)
