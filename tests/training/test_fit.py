"""The training loop: schedule, groups, seeds, and stopping on numbers that are none."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import Literal

import pytest
import torch
from torch import nn

from hello_distill.format.specs import Optim
from hello_distill.system.errors import InputError
from hello_distill.teachers import TeacherSpec
from hello_distill.training.fit import fit, learning_rate
from hello_distill.training.losses import hard_loss, matching_loss
from hello_distill.training.networks import build
from hello_distill.types import Batch


def batches(epoch: int, first: int = 0) -> list[tuple[torch.Tensor, Batch]]:
    generator = torch.Generator().manual_seed(epoch)
    x = torch.rand(6, 3, 4, 4, generator=generator)
    labels = torch.eye(2)[torch.tensor([0, 1, 0, 1, 1, 0])]
    return [(torch.arange(6), Batch(x, labels, labels))] * 3


def network(seed: int = 0) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(), nn.Flatten(), nn.Linear(16, 2))


def test_cosine_with_warmup_from_the_formula() -> None:
    optim = Optim(epochs=1, batch_size=1, lr=0.4, warmup=0.2)
    assert [learning_rate(optim, done) for done in (0.0, 0.05, 0.1)] == pytest.approx([0.0, 0.1, 0.2])
    for done in (0.2, 0.5, 0.9, 1.0):
        expected = 0.4 * (1 + math.cos(math.pi * (done - 0.2) / 0.8)) / 2
        assert learning_rate(optim, done) == pytest.approx(expected)
    assert learning_rate(Optim(1, 1, lr=0.3, schedule="constant"), 0.9) == 0.3


def test_the_teachers_rate_is_that_of_pytorch_s_recipe() -> None:
    optim = TeacherSpec().optim
    model = torch.nn.Linear(1, 1)
    reference = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
    steps = torch.optim.lr_scheduler.StepLR(reference, step_size=30, gamma=0.1)
    assert (optim.epochs, optim.batch_size, optim.name, optim.momentum) == (90, 256, "sgd", 0.9)
    assert (optim.weight_decay, optim.decayed, optim.changes) == (1e-4, "all", "epoch")
    for epoch in range(90):
        assert learning_rate(optim, epoch / 90) == pytest.approx(steps.get_last_lr()[0])
        reference.step()
        steps.step()


def test_one_step_of_sgd_by_hand_and_no_decay_on_biases() -> None:
    optim = Optim(epochs=1, batch_size=6, lr=0.1, name="sgd", weight_decay=0.5, schedule="constant")
    model = nn.Sequential(nn.Flatten(), nn.Linear(48, 2))
    weight, bias = (p.detach().clone() for p in model.parameters())
    rows, batch = batches(0)[0]
    loss = hard_loss(model(batch.images), batch.soft, batch.hard)
    slope = torch.autograd.grad(loss, list(model.parameters()))
    fit(model, lambda epoch, first: [(rows, batch)], 1, hard_loss, optim, seed=0)
    torch.testing.assert_close(model[1].weight, weight - 0.1 * (slope[0] + 0.5 * weight))
    torch.testing.assert_close(model[1].bias, bias - 0.1 * slope[1])


@pytest.mark.parametrize(("name", "momentum", "kind"), [("sgd", 0.9, "SGD"), ("adamw", 0.0, "AdamW")])
def test_fused_steps_are_those_of_the_plain_optimiser(
    name: Literal["sgd", "adamw"], momentum: float, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where weights lie channels-last: a fused step goes through memory as it is."""
    optim = Optim(epochs=3, batch_size=6, lr=0.01, name=name, momentum=momentum)
    plain, ends = getattr(torch.optim, kind), []
    for fused in (True, False):
        monkeypatch.setattr(
            torch.optim, kind, lambda *given, fused=fused, **named: plain(*given, **named | {"fused": fused})
        )
        model = build("convnet2_w8", 2, 4, seed=0)
        assert any(not weight.is_contiguous() for weight in model.parameters())
        fit(model, batches, 3, hard_loss, optim, seed=0)
        ends.append(torch.cat([weight.detach().flatten() for weight in model.parameters()]))
    torch.testing.assert_close(ends[0], ends[1], rtol=0, atol=1e-6)


def test_a_first_gradient_may_come_later_than_others() -> None:
    """By hand: momentum of what has had no gradient yet is zero."""
    optim = Optim(epochs=2, batch_size=6, lr=0.1, name="sgd", weight_decay=0.0, schedule="constant", momentum=0.9)
    model = Late()
    start = [weight.detach().clone() for weight in model.parameters()]
    rows, batch = batches(0)[0]
    fit(model, lambda epoch, first: [(rows, batch)], 1, lambda logits, soft, hard: logits.sum(), optim, seed=0)
    torch.testing.assert_close(model.always.detach(), start[0] - 0.1 * (1 + 1.9))
    torch.testing.assert_close(model.late.detach(), start[1] - 0.1)


class Late(nn.Module):
    """Two numbers for logits; the second joins in from the second call on."""

    def __init__(self) -> None:
        super().__init__()
        self.always, self.late, self.calls = nn.Parameter(torch.ones(1, 1)), nn.Parameter(torch.ones(1, 1)), 0

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return self.always + self.late if self.calls > 1 else self.always


def test_forward_passes_in_bfloat16_and_the_rest_in_float32() -> None:
    """A step of SGD is that of gradients through logits, and to labels, that were made in bfloat16, by hand."""
    optim = Optim(epochs=1, batch_size=6, lr=0.1, name="sgd", weight_decay=0.0, schedule="constant")
    optim, model, teacher = replace(optim, precision="bfloat16"), nn.Linear(48, 2), nn.Linear(48, 2)
    rows, batch = batches(0)[0]
    seen: list[torch.dtype] = []
    flat = batch.images.flatten(1)

    def of_epoch(epoch: int, first: int) -> Iterator[tuple[torch.Tensor, Batch]]:
        with torch.no_grad():
            soft = teacher(flat)
        seen.append(soft.dtype)
        yield rows, Batch(flat, soft, batch.hard)

    def mse(logits: torch.Tensor, soft: torch.Tensor, hard: torch.Tensor) -> torch.Tensor:
        seen.extend([logits.dtype, soft.dtype])
        return (logits - soft).square().mean()

    def rounded(layer: nn.Linear) -> torch.Tensor:
        return (flat.bfloat16() @ layer.weight.bfloat16().T + layer.bias.bfloat16()).float()

    before, error = model.weight.detach().clone(), rounded(model) - rounded(teacher)
    slope = (2 * error / error.numel()).bfloat16().float().T @ flat.bfloat16().float()
    fit(model, of_epoch, 1, mse, optim, seed=0)
    assert seen == [torch.bfloat16, torch.float32, torch.float32] and model.weight.dtype == torch.float32
    torch.testing.assert_close(model.weight, before - 0.1 * slope, rtol=0, atol=2e-3 * slope.abs().max().item())
    assert not torch.equal(model.weight, before)


def test_same_seed_same_weights_whatever_was_drawn_before() -> None:
    def trained(seed: int, noise: int) -> torch.Tensor:
        torch.manual_seed(noise)
        model = network()
        fit(model, batches, 3, matching_loss(0.1), Optim(epochs=2, batch_size=6), seed)
        return model[4].weight.detach()

    assert torch.equal(trained(0, noise=1), trained(0, noise=2))
    assert not torch.equal(trained(0, noise=1), trained(1, noise=1))


def test_the_callers_random_state_is_left_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    fit(network(), batches, 3, hard_loss, Optim(epochs=1, batch_size=6), seed=0)
    assert torch.equal(torch.rand(3), expected)


def test_epochs_are_reported_from_one() -> None:
    seen: list[int] = []
    fit(network(), batches, 3, hard_loss, Optim(epochs=3, batch_size=6), 0, seen.append)
    assert seen == [1, 2, 3]


def test_frozen_parameters_stay() -> None:
    model = network()
    model[0].requires_grad_(False)
    before = model[0].weight.clone()
    fit(model, batches, 3, hard_loss, Optim(epochs=2, batch_size=6), seed=0)
    assert torch.equal(model[0].weight, before)


def test_a_loss_that_is_no_number_stops_with_the_step() -> None:
    told = r"loss is nan at epoch 1, step 0, images 0, 1, 2, 3, 4, ...; lower the learning rate \(now 0.001\)"
    with pytest.raises(InputError, match=told):
        fit(network(), batches, 3, lambda *_: torch.tensor(float("nan")), Optim(epochs=2, batch_size=6), seed=0)


class Failing(torch.autograd.Function):
    """Gives its input back, and has no gradient."""

    @staticmethod
    def forward(context: object, x: torch.Tensor) -> torch.Tensor:
        return x.clone()

    @staticmethod
    def backward(context: object, slope: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("planted")


def test_an_error_of_a_backward_pass_comes_through_as_it_is() -> None:
    """Nothing is said of other processes, where there are none."""
    with pytest.raises(RuntimeError, match=r"^planted$"):
        fit(network(), batches, 3, lambda x, *_: Failing.apply(x).sum(), Optim(epochs=1, batch_size=6), seed=0)


def test_the_rate_changes_every_step_or_every_epoch() -> None:
    """Under a loss whose slope is one, SGD moves a weight by the sum of the rates."""
    moved = []
    for changes in ("step", "epoch"):
        model = nn.Linear(1, 2, bias=False)
        nn.init.zeros_(model.weight)
        optim = Optim(2, 1, lr=1.0, name="sgd", weight_decay=0.0, momentum=0.0, changes=changes)
        batch = torch.zeros(1).long(), Batch(torch.ones(1, 1), torch.zeros(1, 2), torch.zeros(1, 2))
        fit(
            model,
            lambda epoch, first, batch=batch: [batch] * 2,
            2,
            lambda prediction, *_: -prediction.sum(),
            optim,
            seed=0,
        )
        moved.append(model.weight[0].item())
    cosine = [0.5 * (1 + math.cos(math.pi * done)) for done in (0, 0.25, 0.5, 0.75)]
    assert moved == pytest.approx([sum(cosine), 2 * cosine[0] + 2 * cosine[2]])


FAULTS = """
import resource, sys, torch
from hello_distill.format.specs import Optim
from hello_distill.training.fit import fit
from hello_distill.training.losses import hard_loss
from hello_distill.types import Batch

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(4):
        torch.ones(2**24)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

model, x = torch.nn.Linear(2, 2), torch.eye(2)
fit(model, lambda epoch, first: [(torch.arange(2), Batch(x, x, x))], 1, hard_loss, Optim(epochs=1, batch_size=2), 0)
faults()
print(faults())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="asks glibc")
def test_training_from_python_reuses_large_freed_blocks() -> None:
    """Also without the command: 4 tensors of 64 MB in turn are one block, not 4 times mapped and cleared anew."""
    done = subprocess.run([sys.executable, "-c", FAULTS], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 100


def test_a_switch_that_is_none_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HELLO_DISTILL_COMPILE", "true")
    with pytest.raises(InputError, match=r"^HELLO_DISTILL_COMPILE is 'true'; set it to 1 or to 0, or not at all$"):
        fit(network(), batches, 3, matching_loss(0.1), Optim(epochs=1, batch_size=6), seed=0)


@pytest.mark.slow
def test_a_compiled_training_ends_where_the_plain_one_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a minute of compiling. No dropout, which draws otherwise when compiled; SGD, since AdamW makes steps of
    rounding where a gradient is zero."""
    ends, calls, optim = [], [], Optim(epochs=2, batch_size=6, lr=0.1, name="sgd")
    compile_ = torch.compile
    monkeypatch.setattr(torch, "compile", lambda model: calls.append(model) or compile_(model))
    for asked in ("0", "1"):
        monkeypatch.setenv("HELLO_DISTILL_COMPILE", asked)
        model = nn.Sequential(*(layer for layer in network() if not isinstance(layer, nn.Dropout)))
        fit(model, batches, 3, matching_loss(0.1), optim, seed=0)
        ends.append(model.state_dict())
    assert len(calls) == 1
    for name, value in ends[0].items():
        torch.testing.assert_close(ends[1][name], value, rtol=1e-4, atol=1e-5)
