"""What an artefact states of its labels, against what its files hold."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import hello_distill as hd
from conftest import seal
from hello_distill import artifact as artifacts
from hello_distill import cli
from hello_distill.api import distill, verify
from hello_distill.artifact import load
from hello_distill.distillers.rded import RDED
from hello_distill.distillers.recipe import Recipe
from hello_distill.format import verification
from hello_distill.relabel import relabel, wanted
from hello_distill.report.page import size
from hello_distill.system.errors import ArtifactError


@pytest.fixture(scope="module")
def bases(artefact: Path, tree: Path, recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A true artefact of each form of labels that states numbers of its own."""
    folder = tmp_path_factory.mktemp("bases")
    taught = distill(str(tree), folder / "teacher", replace(recipe, distiller=RDED(recipe.distiller.patches)))
    made = {kind: relabel(taught, folder / kind, wanted(kind)) for kind in ("stored", "static")}
    made["int8"] = relabel(artefact, folder / "int8", wanted("projector", precision="int8"))
    return {"projector": artefact, "teacher": taught, **made}


def told(folder: Path, **changes: Any) -> None:
    """Another statement in the labels' part of the manifest, all hashes right."""
    labels = json.loads((folder / "hello.json").read_text())["labels"]
    seal(folder, labels={**labels, **changes})


@pytest.mark.parametrize("kind", ["projector", "int8", "teacher", "stored", "static"])
def test_numbers_that_are_stated_are_counted(kind: str, bases: dict[str, Path], tmp_path: Path) -> None:
    folder = shutil.copytree(bases[kind], tmp_path / "a")
    true = hd.info(folder)["labels"]["parameters"]
    verify(folder)
    told(folder, parameters=true - 1)
    for way in (load, verify):
        with pytest.raises(ArtifactError, match=f"states {true - 1} as `labels.parameters`, and its files hold {true}"):
            way(folder)


@pytest.mark.parametrize("kind", ["projector", "int8"])
def test_bytes_by_precision_are_counted(kind: str, bases: dict[str, Path], tmp_path: Path) -> None:
    folder = shutil.copytree(bases[kind], tmp_path / "a")
    true = json.loads((folder / "hello.json").read_text())["labels"]["bytes_by_precision"]
    told(folder, bytes_by_precision={**true, "int4": 1})
    with pytest.raises(ArtifactError, match=r"as `labels\.bytes_by_precision`, and its files hold"):
        load(folder)


def test_info_counts_files_and_says_what_is_only_stated(
    artefact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A forger's figures: of the files that are there the true bytes are shown, of the others that they are stated."""
    folder = shutil.copytree(artefact, tmp_path / "a")
    ours = sum(file.stat().st_size for file in (folder / "projector").iterdir())
    told(folder, parameters=7, bytes_by_precision=dict.fromkeys(("float32", "float16", "int8", "int4"), 11))
    rungs = {rung["labels"]: rung for rung in hd.info(folder)["ladder"]}
    assert (rungs["projector float16"]["bytes"], rungs["projector float16"]["stated"]) == (ours, False)
    assert (rungs["projector int8"]["bytes"], rungs["projector int8"]["stated"]) == (11, True)
    assert rungs["teacher float16"]["stated"] and not rungs["stored float16"]["stated"]
    assert cli.main(["info", str(folder)]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert f"projector, states 7 numbers, {size(ours)}" in shown
    assert "as projector int8 │ 11 B as the manifest states" in shown
    assert f"as projector float16 │ {size(ours)} │" in shown


def test_a_file_that_changes_after_it_was_checked_is_not_copied(
    artefact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The manifest of the copy would otherwise state the hash of what nobody has looked at."""
    folder, out = shutil.copytree(artefact, tmp_path / "a"), tmp_path / "b"
    opened, check = load(folder), verification.check_files

    def then_changed(root: Path) -> dict[str, Any]:
        manifest = check(root)
        (folder / "config.json").write_text("{}")
        return manifest

    monkeypatch.setattr(verification, "check_files", then_changed)
    for save in (
        lambda: artifacts.save_relabelled(folder, opened.labels, opened.student, out),
        lambda: artifacts.save_measured(folder, {}, out),
    ):
        shutil.copyfile(artefact / "config.json", folder / "config.json")
        with pytest.raises(ArtifactError, match=r"a/config\.json has changed while it was copied"):
            save()
        assert not out.exists()
