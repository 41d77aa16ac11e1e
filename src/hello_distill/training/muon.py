"""Muon: momentum, every singular value of which is brought near to 1, of matrices and kernels; AdamW of all else.

Of K. Jordan and others (2024, https://kellerjordan.github.io/posts/muon), with steps as large as AdamW's, so that one
rate serves both (J. Liu and others, arXiv 2502.16982, section 2.2). Ours and not PyTorch's, which takes matrices alone,
no kernels, and computes in bfloat16; and all go through the iteration at once, wide ones in blocks of rows, each of
which has its own singular values.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

MOMENTUM, STEPS = 0.95, 5
"""Of Nesterov's kind, and of the iteration: as its authors have them."""
LINEAR, CUBIC, QUINTIC = 3.4445, -4.7750, 2.0315
"""Coefficients of the iteration, as its authors have them: singular values from 0.01 up end between 0.7 and 1.2."""
ROWS = 128
"""Wider matrices are taken in blocks of so many rows, each by itself: time grows with the square of rows. Ours."""
SIZE = 0.2
"""Root mean square of a step of AdamW at rate 1, as it was measured (arXiv 2502.16982)."""


class Muon(torch.optim.AdamW):
    """Moves matrices, and kernels (out, in, height, width) as matrices of `out` rows.

    Vectors, and tables of one kind (1, n, d) as a transformer has them for positions, are AdamW's. Weight decay is
    decoupled for both. A step uses the gradients of matrices up: they are None after it.
    """

    def __init__(self, params: Iterable[Any], lr: float, weight_decay: float = 0.0) -> None:
        super().__init__(params, lr=lr, weight_decay=weight_decay, fused=True)

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Move each parameter that has a gradient."""
        for group in self.param_groups:
            moved = [p for p in group["params"] if p.grad is not None and _is_matrix(p)]
            for parameter, step in zip(moved, orthogonalised([*map(self._pushed, moved)]), strict=True):
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
                size = group["lr"] * SIZE * math.sqrt(max(step.shape))
                parameter.sub_(step.reshape(parameter.shape), alpha=size)
                parameter.grad = None
        super().step()

    def _pushed(self, parameter: Tensor) -> Float[Tensor, "m n"]:
        """The gradient with momentum, as a matrix."""
        gradient, state = parameter.grad, self.state[parameter]
        assert gradient is not None
        if not state:
            state |= {"step": torch.zeros(()), "momentum": torch.zeros_like(parameter)}  # AdamW asks all for their step
        momentum = state["momentum"].mul_(MOMENTUM).add_(gradient)
        return gradient.add(momentum, alpha=MOMENTUM).flatten(1)


def _is_matrix(parameter: Tensor) -> bool:
    return parameter.ndim > 1 and not (parameter.ndim == 3 and len(parameter) == 1)


def orthogonalised(matrices: Sequence[Float[Tensor, "_ _"]]) -> list[Float[Tensor, "_ _"]]:
    """Matrices whose blocks of `ROWS` rows have the same singular vectors, and singular values near to 1.

    The iteration X <- (a + b XX' + c XX'XX') X multiplies X by polynomials in XX', so that it is made on that alone.
    """
    wide = [matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T for matrix in matrices]
    moved = iter(_moved([block for matrix in wide for block in matrix.split(ROWS)]))
    made = [torch.cat([next(moved) for _ in matrix.split(ROWS)]) for matrix in wide]
    return [step if step.shape == matrix.shape else step.T for step, matrix in zip(made, matrices, strict=True)]


def _moved(blocks: Sequence[Float[Tensor, "_ _"]]) -> list[Float[Tensor, "_ _"]]:
    """Each block after the iteration, all of one number of rows at once."""
    scaled = [block / (block.norm() + 1e-7) for block in blocks]
    alike: dict[int, list[int]] = defaultdict(list)
    for number, block in enumerate(scaled):
        alike[len(block)].append(number)
    made = list(scaled)
    for numbers in alike.values():
        factors = _iterated(torch.stack([scaled[number] @ scaled[number].T for number in numbers]))
        for number, factor in zip(numbers, factors, strict=True):
            made[number] = factor @ scaled[number]
    return made


def _iterated(squares: Float[Tensor, "b r r"]) -> Float[Tensor, "b r r"]:
    """What each X is multiplied by in all, from XX'."""
    factor = step = _polynomial(squares)
    for _ in range(STEPS - 1):
        squares = torch.bmm(torch.bmm(step, squares), step)
        step = _polynomial(squares)
        factor = torch.bmm(step, factor)
    return factor


def _polynomial(squares: Float[Tensor, "b r r"]) -> Float[Tensor, "b r r"]:
    """a + b XX' + c XX'XX', in two calls: there are many of them, of little work each."""
    made = torch.baddbmm(squares, squares, squares, beta=CUBIC, alpha=QUINTIC)
    made.diagonal(dim1=-2, dim2=-1).add_(LINEAR)
    return made
