"""A training that was stopped goes on where it stood, and ends with the bytes of an undisturbed one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from conftest import drawn
from hello_distill.format.specs import Augment, Optim
from hello_distill.system.context import Context
from hello_distill.system.errors import InputError, MachineError
from hello_distill.training import checkpoint, machines
from hello_distill.training.checkpoint import within
from hello_distill.training.epoch import EpochBatches
from hello_distill.training.fit import fit
from hello_distill.training.losses import hard_loss
from hello_distill.training.networks import build
from hello_distill.types import Batch, Rows

SGD = Optim(epochs=3, batch_size=8, lr=0.05, name="sgd", weight_decay=1e-3)
ADAMW = Optim(epochs=3, batch_size=8, lr=1e-2, warmup=0.1)


class Killed(Exception):
    """In the place of a signal."""


def training(optim: Optim, seed: int = 0, stop: int | None = None) -> tuple[dict[str, Tensor], dict[str, Tensor], int]:
    """Weights, what was kept after each epoch, and how many steps it took; killed before step `stop`.

    Batch normalisation and dropout: running statistics and random numbers count.
    """
    data, kept, steps = drawn(6, seed=1), dict[str, Tensor](), [0]
    model = nn.Sequential(build("convnet2_w8", len(data.classes), data.side, seed), nn.Dropout(0.3))
    nn.init.eye_((last := nn.Linear(len(data.classes), len(data.classes), bias=False)).weight)
    model.append(last)
    batches = EpochBatches(data, Augment(), optim.batch_size, seed)

    def counted(epoch: int, first: int) -> Iterator[tuple[Rows, Batch]]:
        for batch in batches(epoch, first):
            if steps[0] == stop:
                raise Killed
            steps[0] += 1
            yield batch

    def keep(epoch: int) -> None:
        kept[str(epoch)] = next(model.parameters()).detach().clone()

    fit(model, counted, batches.per_epoch, hard_loss, optim, seed, keep, kept=kept)
    return dict(model.state_dict()), kept, steps[0]


@pytest.fixture(autouse=True)
def every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "INTERVAL", 0.0)


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(value, second[name]) for name, value in first.items())


@pytest.mark.parametrize(
    "optim", [SGD, ADAMW, replace(ADAMW, name="muon"), replace(SGD, changes="epoch", schedule="thirds")]
)
@pytest.mark.parametrize("stop", [1, 3, 4, 7, 8])
def test_a_killed_training_ends_with_the_same_bytes(optim: Optim, stop: int, tmp_path: Path) -> None:
    """3 batches an epoch: killed in an epoch's midst, and at its end."""
    weights, kept, steps = training(optim)
    assert steps == 9 and kept.keys() == {"1", "2", "3"}
    with pytest.raises(Killed), within(tmp_path / "progress"):
        training(optim, stop=stop)
    with within(tmp_path / "progress"):
        resumed, kept_again, more = training(optim)
    assert more == steps - stop, "no step is taken twice"
    assert same(weights, resumed) and same(kept, kept_again)
    assert not list(tmp_path.iterdir()), "checkpoints go when all went well"


def test_trainings_of_one_scope_are_told_apart_by_their_order(tmp_path: Path) -> None:
    """The first had ended when the second was killed: it is not repeated."""
    with pytest.raises(Killed), within(tmp_path / "progress"):
        first = training(SGD)
        training(SGD, seed=1, stop=2)
    with within(tmp_path / "progress"):
        weights, kept, steps = training(SGD)
        assert steps == 0 and same(weights, first[0]) and same(kept, first[1])
        assert training(SGD, seed=1)[2] == 7


def test_the_checkpoint_of_another_training_is_not_taken(tmp_path: Path) -> None:
    for other in (training(ADAMW), training(SGD, seed=1)):
        assert not same(training(SGD)[0], other[0])
    with pytest.raises(Killed), within(tmp_path / "progress"):
        training(SGD, stop=2)
    with within(tmp_path / "progress"):
        assert training(SGD, seed=1)[2] == 9


def test_a_checkpoint_of_other_threads_needs_the_flag(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = machines.machine()
    with pytest.raises(Killed), within(tmp_path / "progress"):
        monkeypatch.setattr(machines, "machine", lambda: {**here, "threads": "63"})
        training(SGD, stop=2)
    monkeypatch.setattr(machines, "machine", lambda: here)
    told = rf"training was begun elsewhere \(threads 63, now {here['threads']}\) .* --resume-changed, or remove "
    with pytest.raises(InputError, match=told), within(tmp_path / "progress"):
        training(SGD)
    with Context(resume_changed=True), within(tmp_path / "progress"):
        assert training(SGD)[2] == 7


def test_a_broken_checkpoint_is_told(tmp_path: Path) -> None:
    with pytest.raises(Killed), within(tmp_path / "progress"):
        training(SGD, stop=2)
    (file,) = (tmp_path / "progress").iterdir()
    file.write_bytes(file.read_bytes()[:100])
    with (
        pytest.raises(MachineError, match=r"1\.safetensors cannot be read: .* remove it"),
        within(tmp_path / "progress"),
    ):
        training(SGD)
