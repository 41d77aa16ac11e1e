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
    "plain": {"epochs": 10, "batch_size": 8},
    "with_timm": {"epochs": 10, "name": "test_resnet"},
    "with_trainer": {
        "epochs": 40,
        "batch_size": 8,
        "embedding_size": 8,
        "hidden_sizes": [8, 16],
        "depths": [1, 1],
        "layer_type": "basic",
    },
    "with_lightning": {"epochs": 10, "batch_size": 8},
}


def error(network: nn.Module, artefact: Path) -> float:
    """Mean squared difference to the artefact's labels on its images, in evaluation mode."""
    opened = hd.load(artefact)
    with torch.no_grad():
        said = network.eval().cpu()(whole(opened.data.images))
    return F.mse_loss(getattr(said, "logits", said), opened.label(opened.data.images)).item()


@pytest.mark.parametrize("name", SMALL)
def test_an_example_trains(name: str, artefact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its error is less than half of that of an answer of zeros; untrained networks have 0.9 to 1.0 of it."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    train: Callable[..., nn.Module] = script(EXAMPLES / f"{name}.py").train
    network = train(str(artefact), **SMALL[name])
    labels = hd.load(artefact).label(hd.load(artefact).data.images)
    assert error(network, artefact) < labels.pow(2).mean().item() / 2


def test_every_example_is_tried() -> None:
    assert {file.stem for file in EXAMPLES.glob("*.py")} == set(SMALL)
