"""The scripts in `examples/`: each trains a student on a tiny artefact, which then knows its labels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import hello_distill as hd
from conftest import script
from hello_distill.views import whole

EXAMPLES = Path(__file__).parents[1] / "examples"
SMALL: dict[str, dict[str, Any]] = {
    "plain": {},
    "with_timm": {"name": "test_resnet"},
    "with_trainer": {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "layer_type": "basic"},
    "with_lightning": {},
}


def error(network: nn.Module, artefact: Path) -> float:
    """Mean squared difference to the artefact's labels on its images, in evaluation mode."""
    opened = hd.load(artefact)
    with torch.no_grad():
        said = network.eval().cpu()(whole(opened.data.images))
    return F.mse_loss(getattr(said, "logits", said), opened.label(opened.data.images)).item()


@pytest.mark.parametrize("name", SMALL)
def test_an_example_trains(name: str, artefact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its error is less than half of that of an answer of zeros, about which untrained networks begin."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    train: Callable[..., nn.Module] = script(EXAMPLES / f"{name}.py").train
    batches = {} if name == "with_timm" else {"batch_size": 8}
    network = train(str(artefact), epochs=25, **batches, **SMALL[name])
    labels = hd.load(artefact).label(hd.load(artefact).data.images)
    assert error(network, artefact) < labels.pow(2).mean().item() / 2


def test_every_example_is_tried() -> None:
    assert {file.stem for file in EXAMPLES.glob("*.py")} == set(SMALL)
