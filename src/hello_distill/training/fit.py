"""The only loop that trains weights, and what stops this and other loops at numbers that are not finite."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing

import torch
from torch import Tensor, nn

from hello_distill.format.specs import Optim
from hello_distill.format.tensors import finite
from hello_distill.system import context, distributed
from hello_distill.system.errors import DivergedError
from hello_distill.system.machine import autocast, compiled, keep_freed_memory, seeded
from hello_distill.training.checkpoint import Checkpoint
from hello_distill.training.losses import Loss
from hello_distill.training.muon import Muon
from hello_distill.types import Batch, Logits, Rows


def fit(
    model: nn.Module,
    batches: Callable[[int, int], Iterable[tuple[Rows, Batch]]],
    num_batches: int,
    loss: Loss,
    optim: Optim,
    seed: int,
    after_epoch: Callable[[int], None] = lambda epoch: None,
    what: str = "training",
    kept: dict[str, Tensor] | None = None,
    identity: str = "",
) -> None:
    """Train the parameters of `model` that require a gradient, in place.

    `batches(epoch, first)` gives that epoch's batches from its batch `first` on, with the places of their images,
    `num_batches` says how many an epoch has; `after_epoch(epoch)` is called with epochs counted from 1, and what it
    puts into `kept` comes back where a training goes on from a checkpoint, which `identity` tells from those of
    others. Of several processes each gives its part (`distributed.part`) of each batch, with the places of the whole
    batch's images: a step is then that of the whole batch, but batch normalisation sees the part alone; its running
    statistics become those of the first process after each epoch. Raises DivergedError at the first step whose loss or
    gradient is not finite, before the weights follow it, and what `Checkpoint.restore` raises. Freed memory stays with
    the process (`keep_freed_memory`).
    """
    trained = [p for p in model.parameters() if p.requires_grad]
    optimiser = _optimiser(trained, optim)
    keep_freed_memory()
    checkpoint = Checkpoint(what, [optim, num_batches, seed, identity], model, optimiser, {} if kept is None else kept)
    begun, behind = checkpoint.restore()
    called = compiled(distributed.shared(model))
    done, last = begun * num_batches + behind, optim.epochs * num_batches
    curves, steps = context.current().log.begin(what, done), context.track(range(done, last), last - done, what)
    with seeded(seed), closing(steps):
        for epoch in range(begun, optim.epochs):
            first = behind if epoch == begun else 0
            model.train()
            for number, (rows, batch) in enumerate(_cast(batches(epoch, first), optim.precision), first):
                step = next(steps)
                set_rate(optimiser, optim, step, num_batches)
                torch.manual_seed(distributed.seed_of(seed, step))
                optimiser.zero_grad()
                with autocast(optim.precision):
                    logits = called(batch.images)
                value = loss(_wide(logits), batch.soft, batch.hard)
                if fault := _backward(value, trained, distributed.weight(len(rows))):
                    own = rows[distributed.part(len(rows))]
                    raise _diverged(what, fault, f"epoch {epoch + 1}, step {step}", own, batch, optim)
                optimiser.step()
                curves.add_scalar("loss", value, step)
                curves.add_scalar("rate", optimiser.param_groups[0]["lr"], step)
                checkpoint.save_if_due(epoch, number + 1)
            distributed.follow(list(model.buffers()))
            after_epoch(epoch + 1)
    if not all(finite(parameter.detach()) for parameter in trained):
        raise DivergedError(f"{what}: a weight is not finite after the last step; {_remedy(optim)}")
    checkpoint.save(optim.epochs, 0, going_on=False)


def _cast(batches: Iterable[tuple[Rows, Batch]], precision: str) -> Iterator[tuple[Rows, Batch]]:
    """Batches whose labels are made in a precision, and are float32 then."""
    left = iter(batches)
    while True:
        with autocast(precision):
            made = next(left, None)
        if made is None:
            return
        rows, batch = made
        yield rows, batch._replace(soft=_wide(batch.soft))


def _wide(logits: Logits) -> Logits:
    """Logits that losses are made of: float32, where they have fewer bits."""
    return logits.float() if logits.dtype == torch.bfloat16 else logits


def _backward(value: Tensor, trained: Sequence[Tensor], weight: float) -> str:
    """Gradients of a loss, which counts for so much among the processes'; what is not finite of it, or nothing."""
    if not torch.isfinite(value):
        return f"the loss is {value.item()}"
    with distributed.answered():
        (value if weight == 1 else weight * value).backward()
    return "" if finite_gradients(trained) else "a gradient is not finite"


def finite_gradients(trained: Sequence[Tensor]) -> bool:
    """Whether all gradients are finite, by their sum, in which NaN and infinity stay."""
    slopes = [parameter.grad.sum() for parameter in trained if parameter.grad is not None]
    return not slopes or bool(torch.isfinite(torch.stack(slopes).sum()))


def _diverged(what: str, fault: str, where: str, rows: Rows, batch: Batch, optim: Optim) -> DivergedError:
    """The error of a step, which blames images or labels where they are at fault."""
    soft = batch.soft.masked_fill(batch.soft == -torch.inf, 0)  # a class that a label leaves out
    for name, values in (("image", batch.images), ("soft label", soft), ("class", batch.hard)):
        bad = ~torch.isfinite(values.flatten(1)).all(1)
        if bad.any():
            blamed = named(rows[bad.cpu()].tolist())
            return DivergedError(f"{what}: the {name} of {blamed} is not finite at {where}; look at what made it")
    return DivergedError(f"{what}: {fault} at {where}, {named(rows.tolist())}; {_remedy(optim)}")


def _remedy(optim: Optim) -> str:
    return f"lower the learning rate (now {optim.lr}) in a --config file"


def check_moved(what: str, pixels: Tensor, loss: Tensor, step: int, ids: Rows, kind: str = "images") -> None:
    """Raise DivergedError where a step that moved pixels (b 3 h w) came to numbers that are not finite."""
    if torch.isfinite(loss) and finite(pixels.detach()):
        return
    bad = ~torch.isfinite(pixels.detach()).flatten(1).all(1).cpu()
    blamed = named((ids.cpu()[bad] if bad.any() else ids).tolist(), kind)
    fault = f"a pixel is not finite at step {step}" if bad.any() else f"the loss is {loss.item()} at step {step}"
    raise DivergedError(f"{what}: {fault}, {blamed}; lower the distiller's `lr` in a --config file")


def named(rows: Sequence[int], kind: str = "images") -> str:
    """Images by their places, the first few."""
    return f"{kind} {', '.join(map(str, rows[:5]))}{', ...' if len(rows) > 5 else ''}"


def _optimiser(parameters: Sequence[Tensor], optim: Optim) -> torch.optim.Optimizer:
    least = 2 if optim.decayed == "matrices" else 0
    groups = [
        {"params": [p for p in parameters if p.ndim >= least], "weight_decay": optim.weight_decay},
        {"params": [p for p in parameters if p.ndim < least], "weight_decay": 0.0},
    ]
    if optim.name == "muon":
        return Muon(groups, lr=optim.lr)
    if optim.name == "sgd":
        sgd = torch.optim.SGD(groups, lr=optim.lr, momentum=optim.momentum, fused=True)
        for parameter in parameters:  # one whose first gradient comes later than others' has none, which is refused
            sgd.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
        return sgd
    return torch.optim.AdamW(groups, lr=optim.lr, fused=True)


def set_rate(optimiser: torch.optim.Optimizer, optim: Optim, step: int, num_batches: int) -> None:
    """Give an optimiser the learning rate of a step, from 0, where an epoch has so many."""
    by_step = optim.changes == "step"
    done = step / (optim.epochs * num_batches) if by_step else step // num_batches / optim.epochs
    for group in optimiser.param_groups:
        group["lr"] = learning_rate(optim, done)


def learning_rate(optim: Optim, done: float) -> float:
    """Learning rate when the share `done` of all steps (0 to 1) lies behind."""
    if done < optim.warmup:
        return optim.lr * done / optim.warmup
    if optim.schedule == "constant":
        return optim.lr
    if optim.schedule == "thirds":
        return optim.lr * 0.1 ** math.floor(3 * done + 1e-9)
    turn = math.pi if optim.schedule == "cosine" else math.pi / 2
    return optim.lr * 0.5 * (1 + math.cos(turn * (done - optim.warmup) / (1 - optim.warmup)))
