"""Result files: what is read is written again, whatever else stands in it, and runs are joined by their seeds."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from hello_distill.experiments.ledger import Cell, Ledger, Run
from hello_distill.format import results, storage
from hello_distill.format.results.entries import Summary
from hello_distill.format.results.grids import Bytes, GridCell, Study, StudyRow
from hello_distill.system.errors import InputError

RESULTS = sorted((Path(__file__).parents[2] / "results").glob("*.json"))
SIZE = Bytes(images=1, labels=2, teacher=3, public=4)


def cell(seed: int, last: float, **more: Any) -> GridCell:
    top1 = {"top1_last": Summary.of([last]), "top1_best": Summary.of([last + 1])}
    fields = {"seeds": [seed], "commits": ["x"], "seconds": 2, "bytes": SIZE, **top1, **more}
    return GridCell(method="a", ipc=1, labels="hard", student="s", **fields)


@pytest.mark.parametrize("file", RESULTS, ids=lambda file: file.name)
def test_a_file_on_record_is_written_as_it_was_read(file: Path) -> None:
    result = results.read(json.loads(file.read_text()))
    assert result is not None and storage.as_json(result.content()) == file.read_bytes()


def test_every_kind_but_training_is_on_record() -> None:
    known = {type(results.read(json.loads(file.read_text()))) for file in RESULTS}
    assert set(results.KINDS) - known == {results.Training} and len(known) == 8


def test_models_are_read_without_torch() -> None:
    script = "import sys, hello_distill.format.results; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_runs_are_joined_in_the_order_of_their_seeds() -> None:
    first = cell(0, 40.0, tested={"0": {"3": 40.0}}, bytes=SIZE.model_copy(update={"images": 7}))
    both = cell(2, 50.0, tested={"2": {"3": 50.0}}).joined(first)
    assert (both.seeds, both.seconds, both.bytes.images) == ([0, 2], 4, 7)
    assert both.top1_last.runs == [40.0, 50.0] and both.top1_last.mean == 45.0
    assert both.top1_last.sd == pytest.approx(50**0.5) and both.top1_best.runs == [41.0, 51.0]
    assert both.tested == {"0": {"3": 40.0}, "2": {"3": 50.0}}
    assert "numbers" not in both.content() and "same_students_as" not in both.content()


def test_a_file_that_is_continued_keeps_what_it_says_besides(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "r.json", {"name": "x"}, {"a": 1})
    ledger.add_run(Cell("a", "hard", 1, "s"), {"lr": 0.5}, 0, Run(40.0, 41.0, SIZE, 1.4))
    content = json.loads(ledger.file.read_text())
    assert content["cells"][0]["seconds"] == 1 and content["cells"][0]["settings"] == {"lr": 0.5}
    assert content["recipe"] == {"a": 1} and content["more_environments"] == [] and "diverged" not in content
    content |= {"of tomorrow": [1]}
    content["cells"][0]["weather"] = {"rain": None}
    ledger.file.write_text(json.dumps(content))
    ledger.add_run(Cell("a", "hard", 1, "s"), {"lr": 0.5}, 1, Run(50.0, 51.0, SIZE, 1.4))
    again = json.loads(ledger.file.read_text())
    assert again["of tomorrow"] == [1] and again["cells"][0]["weather"] == {"rain": None}
    assert again["cells"][0]["top1_last"]["runs"] == [40.0, 50.0]


def test_a_file_that_does_not_count_its_classes_is_continued(tmp_path: Path) -> None:
    old = Ledger(tmp_path / "r.json", {"name": "x"}, {})
    old.add_run(Cell("a", "hard", 1, "s"), {}, 0, Run(40.0, 41.0, SIZE, 1.0))
    ledger = Ledger(tmp_path / "r.json", {"name": "x", "classes": 4}, {})
    ledger.add_run(Cell("a", "hard", 1, "s"), {}, 1, Run(40.0, 41.0, SIZE, 1.0))
    data = ledger.read().data
    assert data.content() == {"name": "x"} and data.bits_per_class(100) is None
    new = Ledger(tmp_path / "s.json", {"name": "x", "classes": 4}, {})
    new.add_run(Cell("a", "hard", 1, "s"), {}, 0, Run(40.0, 41.0, SIZE, 1.0))
    assert new.read().data.bits_per_class(100) == 200 and SIZE.total == 6
    for other in ({"name": "x", "classes": 5}, {"name": "x"}):
        with pytest.raises(InputError, match="other data"):
            Ledger(tmp_path / "s.json", other, {})


def test_a_study_keeps_rows_of_its_kind(tmp_path: Path) -> None:
    recipe = {"experiment": "study", "question": "?", "table": None, "order": ["a"], "networks": {}}
    ledger = Ledger(tmp_path / "r.json", {"name": "x"}, recipe)
    ledger.add_run(Cell("a", "hard", 1, "s"), {}, 0, Run(40.0, 41.0, SIZE, 1.0, held=39.0, numbers=5))
    result = ledger.read()
    assert isinstance(result, Study) and type(result.cells[0]) is StudyRow
    assert (result.cells[0].numbers, result.cells[0].held_top1.runs) == (5, [39.0])
    with pytest.raises(ValidationError, match="numbers"):
        ledger.add_run(Cell("b", "hard", 1, "s"), {}, 0, Run(40.0, 41.0, SIZE, 1.0))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 100.5, -1.0, "50"])
def test_an_accuracy_is_a_number_of_percent(value: Any) -> None:
    with pytest.raises(ValidationError):
        Summary(mean=value, sd=None, runs=[50.0])
    assert results.reason(OSError("gone")) == "cannot be read: gone"
