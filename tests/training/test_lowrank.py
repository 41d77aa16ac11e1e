"""A projector whose weights hold LoRA against plain peft, which keeps it beside them."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from hello_distill import encoders, projector
from hello_distill.encoders.encoder import Encoder
from hello_distill.format.specs import Optim
from hello_distill.projector import (
    PEFT_PREFIX,
    Adapter,
    ProjectorSpec,
    adapted,
    drawn_matrices,
    fitted_adapter,
    to_fit,
    with_adapter,
    zero_shot,
)
from hello_distill.training.fit import fit
from hello_distill.training.folding import has_norms
from hello_distill.training.losses import matching_loss
from hello_distill.types import Batch

RANK, HEAD_RANK, SCALE = 3, 2, 10.0


def adapter(encoder: Encoder) -> Adapter:
    """One that moves its projector a good way."""
    start = zero_shot(encoder, list("abcd"), ProjectorSpec())
    names = adapted(encoder, ProjectorSpec(skip="conv_stem|downsample"))
    generator = torch.Generator().manual_seed(0)
    matrices = {
        name: matrix + 0.1 * torch.randn(matrix.shape, generator=generator)
        for name, matrix in drawn_matrices(start, names, RANK, HEAD_RANK, seed=0).items()
    }
    return Adapter(matrices, matrices, "float32", names, RANK, HEAD_RANK, SCALE, True)


def images(count: int) -> Tensor:
    return torch.rand(count, 3, 32, 32, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.mark.parametrize("kind", ["tiny", "lite", "not folded"])
def test_answers_and_gradients_are_those_of_plain_peft(
    tiny: Encoder, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = encoders.load("lite", 32) if kind == "lite" else tiny
    if kind == "not folded":
        monkeypatch.setattr(projector, "fold_norms", lambda network: {})
    start, made = zero_shot(encoder, list("abcd"), ProjectorSpec()), adapter(encoder)
    plain, ours = with_adapter(start, made).double(), to_fit(start, made).double()
    assert has_norms(plain) and has_norms(ours) == (kind == "not folded")
    answers = [model(images(5)) for model in (plain, ours)]
    torch.testing.assert_close(*answers, rtol=1e-6, atol=1e-6 * answers[0].abs().max().item())
    for answer in answers:
        (answer * torch.arange(20).reshape(5, 4)).sum().backward()
    expected = {name.replace(".default", ""): p.grad for name, p in plain.named_parameters() if p.requires_grad}
    factors = [p for p in ours.parameters() if p.requires_grad]
    assert len(factors) == len(expected) == len(made.matrices)
    for factor in factors:
        factor.data = factor.grad.float()
    gradients = fitted_adapter(ours, made).matrices
    assert list(gradients) == sorted(expected) and all(name.startswith(PEFT_PREFIX) for name in gradients)
    for name, gradient in gradients.items():
        assert gradient.abs().max() > 0
        torch.testing.assert_close(gradient, expected[name].float(), rtol=1e-4, atol=1e-4 * gradient.abs().max().item())


@pytest.mark.parametrize("name", ["adamw", "muon", "sgd"])
def test_a_fit_ends_where_that_of_plain_peft_ends(tiny: Encoder, name: str) -> None:
    start, made = zero_shot(tiny, list("abcd"), ProjectorSpec()), adapter(tiny)
    plain, ours = with_adapter(start, made), to_fit(start, made)
    x, soft = images(6).float(), torch.randn(6, 4, generator=torch.Generator().manual_seed(2))
    optim = Optim(1, batch_size=6, lr=1e-3, name=name)
    batch = torch.arange(6), Batch(x, soft, torch.zeros(6, 4))
    for model in (plain, ours):
        fit(model, lambda epoch, first: [batch] * 3, 3, matching_loss(0.0), optim, seed=0)
    with torch.no_grad():
        before, *after = (model(x) for model in (with_adapter(start, made), plain, ours))
    assert (after[0] - before).abs().max() > 0.01
    torch.testing.assert_close(after[1], after[0], rtol=0, atol=0.05 * (after[0] - before).abs().max().item())


def test_what_was_not_fitted_comes_back_as_it_was(tiny: Encoder) -> None:
    start, made = zero_shot(tiny, list("abcd"), ProjectorSpec()), adapter(tiny)
    model = to_fit(start, made)
    fitted = fitted_adapter(model, made)
    assert fitted.fingerprint() == made.fingerprint()
    next(p for p in model.parameters() if p.requires_grad).data.add_(1)
    assert fitted.fingerprint() == made.fingerprint() == adapter(tiny).fingerprint()


def test_matrices_that_do_not_belong_are_refused(tiny: Encoder) -> None:
    start, made = zero_shot(tiny, list("abcd"), ProjectorSpec()), adapter(tiny)
    name = next(iter(made.matrices))
    for matrices in ({**made.matrices, "more": torch.zeros(1)}, {k: v for k, v in made.matrices.items() if k != name}):
        with pytest.raises(KeyError, match="more" if "more" in matrices else name.replace(".", "\\.")):
            to_fit(start, replace(made, matrices=matrices))
