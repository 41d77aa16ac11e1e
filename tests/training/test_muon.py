"""Muon against its formula, taken step by step."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import Tensor, nn

from hello_distill.training import muon
from hello_distill.training.muon import Muon, orthogonalised

SHAPES = [(4, 9), (9, 4), (4, 4), (4, 30), (7, 2)]


def plain(matrix: Tensor) -> Tensor:
    """Five steps of X <- a X + (b XX' + c (XX')^2) X on the whole matrix, from X / |X|."""
    x = matrix / matrix.norm()
    for _ in range(5):
        square = x @ x.T
        x = 3.4445 * x + (-4.7750 * square + 2.0315 * square @ square) @ x
    return x


def drawn(*shapes: tuple[int, ...]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(shape, generator=generator) for shape in shapes]


def test_many_at_once_are_each_by_itself() -> None:
    matrices = drawn(*SHAPES)
    for made, matrix in zip(orthogonalised(matrices), matrices, strict=True):
        torch.testing.assert_close(made, plain(matrix.double()).float(), rtol=0, atol=1e-4)


def test_wider_matrices_are_taken_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of three rows here, and as many columns where these are fewer."""
    monkeypatch.setattr(muon, "ROWS", 3)
    wide, tall = drawn((7, 9), (9, 7))
    expected = torch.cat([plain(block) for block in wide.split(3)])
    for made in (orthogonalised([wide])[0], orthogonalised([tall, wide.T])[1].T):
        torch.testing.assert_close(made, expected, rtol=0, atol=1e-4)
    columns = torch.cat([plain(block) for block in tall.T.split(3)]).T
    torch.testing.assert_close(orthogonalised([tall])[0], columns, rtol=0, atol=1e-4)


def test_singular_values_come_near_to_one_and_vectors_stay() -> None:
    matrices = [matrix * torch.arange(1, len(matrix) + 1)[:, None] for matrix in drawn(*SHAPES)]
    for made, matrix in zip(orthogonalised(matrices), matrices, strict=True):
        assert made.shape == matrix.shape
        left, values, right = torch.linalg.svd(matrix, full_matrices=False)
        inner = left.T @ made @ right.T
        assert values.max() > 1.5 * values.min() and 0.6 < inner.diagonal().min() <= inner.diagonal().max() < 1.25
        torch.testing.assert_close(inner, inner.diagonal().diag(), rtol=0, atol=1e-4)


def test_a_gradient_of_zero_moves_nothing() -> None:
    assert orthogonalised([torch.zeros(3, 5)])[0].count_nonzero() == 0


@pytest.mark.parametrize("shape", [(3, 2, 2, 2), (3, 8), (3, 4, 2)])
def test_steps_by_hand(shape: tuple[int, ...]) -> None:
    """Nesterov's momentum 0.95, decoupled decay, 0.2 sqrt(max(m, n)) of the rate; a kernel is a matrix of its rows.

    A parameter that has no gradient stays, and goes on when it has one.
    """
    start, *slopes = drawn(*[shape] * 3)
    layout = torch.channels_last if len(shape) == 4 else torch.contiguous_format
    kernel, late = nn.Parameter(start.clone(memory_format=layout)), nn.Parameter(start.clone())
    optimiser = Muon([kernel, late], lr=0.1, weight_decay=0.5)
    expected, momentum = start.flatten(1), torch.zeros(3, start[0].numel())
    for number, slope in enumerate(slopes):
        kernel.grad = slope.to(memory_format=layout)
        late.grad = slope.clone() if number else None
        optimiser.step()
        assert torch.equal(late, start) == (number == 0)
        momentum = 0.95 * momentum + slope.flatten(1)
        step = plain(slope.flatten(1) + 0.95 * momentum)
        expected = (1 - 0.1 * 0.5) * expected - 0.1 * 0.2 * math.sqrt(8) * step
    torch.testing.assert_close(kernel.detach().flatten(1), expected, rtol=0, atol=1e-5)


def test_what_an_optimiser_kept_goes_on() -> None:
    first, second = (nn.Parameter(matrix) for matrix in drawn((3, 5), (3, 5)))
    second.data = first.data.clone()
    one, other = Muon([first], lr=0.1), Muon([second], lr=0.1)
    slopes = drawn(*[(3, 5)] * 4)
    for number, slope in enumerate(slopes):
        first.grad = second.grad = slope
        one.step()
        if number == 1:
            other.load_state_dict(copy.deepcopy(one.state_dict()))
            second.data = first.data.clone()
        if number > 1:
            other.step()
    assert torch.equal(first, second)


@pytest.mark.parametrize("shape", [(15,), (1, 3, 5)])
def test_vectors_and_tables_are_left_to_adamw(shape: tuple[int, ...]) -> None:
    """They move as AdamW moves them, and kernels in the same optimiser as Muon moves them alone."""
    vectors, alone = (nn.Parameter(matrix) for matrix in drawn(shape, shape))
    alone.data = vectors.data.clone()
    kernel, other = (nn.Parameter(matrix) for matrix in drawn((3, 2, 2, 2), (3, 2, 2, 2)))
    other.data = kernel.data.clone()
    groups = [{"params": [kernel], "weight_decay": 0.5}, {"params": [vectors], "weight_decay": 0.0}]
    both, single = Muon(groups, lr=0.1), Muon([other], lr=0.1, weight_decay=0.5)
    adam = torch.optim.AdamW([alone], lr=0.1, weight_decay=0.0)
    for slope, matrix in zip(drawn(*[shape] * 3), drawn(*[(3, 2, 2, 2)] * 3), strict=True):
        vectors.grad, alone.grad, kernel.grad, other.grad = slope, slope.clone(), matrix, matrix.clone()
        for optimiser in (both, single, adam):
            optimiser.step()
    torch.testing.assert_close(vectors, alone, rtol=0, atol=1e-6)
    assert torch.equal(kernel, other)
    assert (vectors - drawn(shape)[0]).abs().max() > 0.1
