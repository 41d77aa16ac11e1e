"""Stages that another machine made: said where a folder is shared, refused where a stopped run goes on.

Another machine is one with 63 threads, by its record alone: what is trained here is trained by as many as ever.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch

from conftest import drawn
from hello_distill import api
from hello_distill.artifact import Artifact, load
from hello_distill.distillers.recipe import Recipe
from hello_distill.relabel import relabel, wanted
from hello_distill.stages.kept import Kept, found, kept_for, record
from hello_distill.system.context import Context
from hello_distill.system.errors import InputError
from hello_distill.system.progress import Progress
from hello_distill.training import machines

HERE = machines.machine()
THREADS = HERE["threads"]
On = Callable[..., None]


class Lines(Progress):
    """What was found of other machines."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def line(self, name: str, seconds: float, figure: str) -> None:
        if name == "found" and not figure.startswith("in "):
            self.said.append(figure)


@pytest.fixture
def on(monkeypatch: pytest.MonkeyPatch) -> On:
    """From here on this is a machine that differs in some fields."""
    return lambda **fields: monkeypatch.setattr(machines, "machine", lambda: {**HERE, **fields})


def strip(folder: Path) -> None:
    """Stages as versions before this one left them."""
    for file in folder.rglob("*.safetensors"):
        file.write_bytes(safetensors.torch.save(safetensors.torch.load_file(file)))


def squares(folder: Path, seed: int = 0, total: int = 4) -> list[torch.Tensor]:
    return Kept(folder, drawn(2, seed=1), seed).blocks("squares", (), total, lambda number: torch.tensor([number**2]))


def summed(folder: Path) -> torch.Tensor:
    """A stage that rests on the squares."""
    kept = Kept(folder, drawn(2, seed=1), 0)

    def compute() -> tuple[dict[str, torch.Tensor], dict[str, int]]:
        parts = kept.blocks("squares", (), 4, lambda number: torch.tensor([number**2]))
        return {"sum": torch.cat(parts).sum()[None]}, {}

    return kept.computed("sums", (), 8, compute)[0]["sum"]


def test_a_record_names_what_changes_a_training() -> None:
    assert {"torch", "threads", "processes", "device", "gpu", "compile", "capability"} <= HERE.keys()
    assert HERE["capability"] == torch.backends.cpu.get_cpu_capability() and HERE["compile"] == "0"


@pytest.mark.parametrize(("switch", "recorded"), [("1", "1"), ("0", "0"), ("", "0")])
def test_a_record_names_the_compile_switch(monkeypatch: pytest.MonkeyPatch, switch: str, recorded: str) -> None:
    monkeypatch.setenv("HELLO_DISTILL_COMPILE", switch)
    assert machines.machine()["compile"] == recorded


def test_records_of_several_name_each() -> None:
    two = machines.merged({"threads": "2", "torch": "1"}, {"threads": "4", "torch": "1"})
    assert two == {"threads": "2 and 4", "torch": "1"} == machines.merged(two, {"threads": "2", "torch": "1"})
    assert machines.differing(two, {"threads": "2", "torch": "1"}) == {"threads": "2 and 4"}
    assert machines.differing({"threads": "2", "torch": "1"}, two) == {}
    assert machines.differing({}, {"threads": "2"}) == {"threads": "unknown"}


def test_what_rests_on_others_stages_names_them(on: On, tmp_path: Path) -> None:
    on(threads="63")
    squares(tmp_path, total=2)
    folder = next((tmp_path / "squares").iterdir())
    on(threads="4")
    with Context(progress=(lines := Lines())):
        assert summed(tmp_path) == 14
    assert lines.said == ["squares, made with threads 63"]
    made = [record(folder / f"{number}.safetensors")["threads"] for number in range(4)]
    assert made == ["63", "63", "4 and 63", "4 and 63"]
    (stage,) = (tmp_path / "sums").iterdir()
    assert record(stage / "weights.safetensors")["threads"] == "4 and 63"
    with Context(progress=(lines := Lines())):
        summed(tmp_path)
    assert lines.said == ["sums, made with threads 4 and 63"]


def test_blocks_are_the_same_whatever_number_of_processes_made_them(on: On, tmp_path: Path) -> None:
    on(processes="3")
    squares(tmp_path)
    on(processes="1")
    with Context(progress=(lines := Lines())):
        squares(tmp_path)
        summed(tmp_path)
    assert lines.said == []
    on(processes="2")
    with Context(progress=lines):
        summed(tmp_path)
    assert lines.said == ["sums, made with processes 1"]


def test_a_stopped_run_takes_them_only_where_asked(on: On, tmp_path: Path) -> None:
    out = tmp_path / "a"
    on(threads="63")
    with pytest.raises(KeyError), kept_for(out, None) as folder:
        squares(folder)
        raise KeyError
    on()
    changed = rf"elsewhere \(threads 63, now {THREADS}\)"
    told = rf"^what there is of squares was made {changed} .* --resume-changed, or remove {folder} to begin anew"
    with pytest.raises(InputError, match=told), kept_for(out, None) as folder:
        squares(folder)
    with Context(resume_changed=True, progress=(lines := Lines())), kept_for(out, None) as folder:
        squares(folder)
        assert machines.taken() == {"stages": "squares: threads 63"}
    assert lines.said == ["squares, made with threads 63"]
    with Context(progress=(lines := Lines())), kept_for(out, None) as folder:
        squares(folder)
        assert machines.taken() == {} and lines.said == []


def test_stages_without_a_record_are_unknown(on: On, tmp_path: Path) -> None:
    squares(tmp_path / "shared")
    strip(tmp_path / "shared")
    with Context(progress=(lines := Lines())), kept_for(tmp_path / "a", tmp_path / "shared") as folder:
        squares(folder)
        assert machines.taken() == {"stages": "squares: unknown versions and threads"}
    assert lines.said == ["squares, made with unknown versions and threads"]
    (tmp_path / "shared").rename(tmp_path / ".b.stages")
    told = r"^what there is of squares was made elsewhere \(unknown versions and threads\)"
    with pytest.raises(InputError, match=told), kept_for(tmp_path / "b", None) as folder:
        squares(folder)


def test_what_is_found_is_counted_as_it_lies_there(tmp_path: Path) -> None:
    assert found(tmp_path) == ""
    squares(tmp_path, total=3)
    squares(tmp_path, seed=1, total=2)
    for name in (
        "squares/0/7.lock",
        "queries/0/weights.safetensors",
        "teachers/0/epoch-2/weights.safetensors",
        "rounds/.0.progress/1.safetensors",
        "sums/.0.lock",
    ):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).touch()
    assert found(tmp_path) == "blocks of squares (5), epochs of teachers (1), queries (1), rounds begun (1)"


def test_an_artefact_says_which_stages_were_made_elsewhere(
    on: On, tree: Path, recipe: Recipe, artefact: Path, tmp_path: Path
) -> None:
    """Its other bytes are those of any; of the same machine nothing is said."""
    stages = tmp_path / "stages"

    def made(name: str) -> tuple[Artifact, list[str]]:
        with Context(progress=(lines := Lines())):
            return load(api.distill(str(tree), tmp_path / name, recipe, stages)), lines.said

    on(threads="63")
    assert [made(name)[1] for name in ("first", "again")] == [[], []]
    on()
    second, said = made("second")
    assert said == [
        f"{kind}, made with threads 63" for kind in ("teachers", "patches", "projectors", "image update", "queries")
    ]
    kinds = ", ".join(sorted(each.partition(",")[0] for each in said))
    assert second.manifest["versions"].pop("stages") == f"{kinds}: threads 63"
    plain = load(artefact).manifest
    assert second.manifest["versions"] == plain["versions"] and second.manifest["files"] == plain["files"]
    labelled = load(relabel(tmp_path / "second", tmp_path / "stored", wanted("stored"))).manifest
    assert labelled["versions"]["stages"] == f"{kinds}: threads 63"
    assert json.loads((tmp_path / "second" / "hello.json").read_text())["versions"]["stages"].endswith("threads 63")
