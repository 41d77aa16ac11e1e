"""Artefacts of 0.1.0 open, and say what they said: `tests/recorded`, written by its `record.py`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import hello_distill as hd

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
