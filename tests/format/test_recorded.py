"""Artefacts of 0.1.0 open, and say what they said: `tests/recorded`, written by its `record.py`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import hello_distill as hd
from hello_distill.format.manifest import parse
from hello_distill.system.errors import ArtifactError

RECORDED = Path(__file__).parents[1] / "recorded"
SAID = json.loads((RECORDED / "recorded.json").read_text())


@pytest.mark.parametrize("kind", sorted(SAID))
def test_an_artefact_of_0_1_0_opens(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HELLO_DISTILL_ENCODERS", str(RECORDED / "clip"))
    said, folder = SAID[kind], RECORDED / kind
    artifact = hd.load(folder)
    view = next(iter(artifact.views()))
    batch = artifact.batch(view)
    assert view.rows.tolist() == said["rows"]
    torch.testing.assert_close(batch.soft.cpu(), torch.tensor(said["soft"]), atol=1e-5, rtol=1e-5)
    assert batch.images.double().sum().item() == pytest.approx(said["image_sum"], abs=1e-2)
    assert hd.verify(folder)["not_checked"] == []
    assert {**hd.info(folder), "artefact": ""} == {**said["info"], "artefact": ""}


@pytest.mark.parametrize("lacks", ["optim", "augment", None])
def test_a_student_is_stated_whole_but_for_its_precision(lacks: str | None) -> None:
    file = RECORDED / "projector" / "hello.json"
    content = json.loads(file.read_text())
    content["student"].pop(lacks, None)
    text = json.dumps(content).encode()
    if lacks is None:
        assert parse(text, file)["student"]["optim"]["precision"] == "float32"
        return
    with pytest.raises(ArtifactError, match="`student` or `images` lacks a field"):
        parse(text, file)
