"""Folding batch normalisation into convolutions changes outputs by rounding alone, and leaves alone what it must."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from conftest import fill
from hello_distill.data.images import Material
from hello_distill.encoders.encoder import Encoder
from hello_distill.format.specs import Optim
from hello_distill.labels.sources.projector import ProjectorLabels, describe
from hello_distill.projector import ProjectorSpec, fit_projector, with_adapter, zero_shot
from hello_distill.teachers import Ensemble
from hello_distill.training.folding import fold_norms, has_norms, without_norms
from hello_distill.training.networks import build
from hello_distill.views import render, sample_views


def images(count: int, side: int) -> Tensor:
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("name", "side", "norms"),
    [("convnet3_w8", 32, 3), ("resnet18", 64, 20), ("timm/tf_efficientnet_lite0", 64, 49)],
)
@torch.no_grad()
def test_a_folded_network_answers_the_same(name: str, side: int, norms: int) -> None:
    network = fill(build(name, 10, side, seed=0)).eval()
    x = images(4, side)
    before = network(x)
    assert len(fold_norms(network.backbone)) == norms and not has_norms(network)
    assert before.std() > 0.01
    torch.testing.assert_close(network(x), before, rtol=1e-4, atol=1e-4 * before.abs().max().item())


@torch.no_grad()
def test_a_copy_without_norms_leaves_the_network_alone() -> None:
    members = [fill(build("convnet2_w8", 4, 32, seed)) for seed in (0, 1)]
    ensemble, x = Ensemble(members), images(4, 32)
    before = ensemble(x)
    quick = without_norms(ensemble)
    assert has_norms(ensemble) and not has_norms(quick) and not torch.equal(quick(x), quick(x.flip(0)))
    torch.testing.assert_close(quick(x), before, rtol=1e-4, atol=1e-4 * before.abs().max().item())
    learning = members[0].train()
    quick = without_norms(learning)
    assert learning.training and not quick.training
    torch.testing.assert_close(quick(x), learning.eval()(x), rtol=1e-4, atol=1e-4 * before.abs().max().item())
    plain = nn.Sequential(nn.Flatten(), nn.Dropout())
    assert without_norms(plain) is plain and not plain.training


@pytest.mark.parametrize("affine", [True, False])
@torch.no_grad()
def test_what_norms_multiplied_by_is_told(affine: bool) -> None:
    network = fill(nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4, affine=affine))).eval()
    kernel = network[0].weight.clone()
    (scale,) = fold_norms(network).values()
    assert scale.std() > 0
    torch.testing.assert_close(network[0].weight, scale[:, None, None, None] * kernel)


def test_labels_of_a_projector_are_those_of_plain_peft(tiny: Encoder, material: Material) -> None:
    """LoRA merged and norms folded: within 1e-4 of the matrices beside the weights, before labels are rounded."""
    spec = ProjectorSpec(encoder_rank=2, optim=Optim(epochs=2, batch_size=16, lr=5e-3))
    start = zero_shot(tiny, material.train.classes, spec)
    teacher = build("convnet2_w8", 4, 32, 0).eval().requires_grad_(False)
    adapter = fit_projector(start, tiny, material.train, teacher, spec, seed=0)
    labels = ProjectorLabels(start, adapter, describe(tiny), spec.templates)
    assert not has_norms(labels.projector)
    view = next(iter(sample_views(len(material.train), 32, 20, spec.augment, 0, 0)))
    x = render(material.train.images, view)
    with torch.no_grad():
        unmerged = with_adapter(start, adapter)(x)
        assert (unmerged - start(x) * adapter.scale / start.scale).abs().max() > 0.01
        torch.testing.assert_close(labels.projector(x), unmerged, rtol=0, atol=1e-4 * unmerged.abs().max().item())
    torch.testing.assert_close(labels(x, view), unmerged, rtol=1e-3, atol=1e-3)
    student = nn.Linear(4, 4)
    (student(unmerged) - labels(x, view)).square().mean().backward()  # labels can be kept for a gradient
    assert has_norms(start)


class Twice(nn.Module):
    """A convolution whose output is also seen without the norm, or that is called twice."""

    def __init__(self, shared: bool) -> None:
        super().__init__()
        self.convolution, self.norm = nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3)
        self.shared = shared

    def forward(self, x: Tensor) -> Tensor:
        if self.shared:
            return self.norm(self.convolution(self.norm(self.convolution(x))))
        found = self.convolution(x)
        return self.norm(found) + found


class ByValue(Twice):
    """Cannot be traced: its course depends on its values."""

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.convolution(x)) if x.mean() > 0 else x


class Tied(nn.Module):
    """One convolution of two names, and a part that is also a part of another; not to be traced if so asked."""

    def __init__(self, by_value: bool) -> None:
        super().__init__()
        self.part = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3))
        self.within = nn.Sequential(nn.Identity(), self.part)
        self.first = self.second = nn.Conv2d(3, 3, 1)
        self.norm = nn.BatchNorm2d(3)
        self.by_value = by_value

    def forward(self, x: Tensor) -> Tensor:
        if self.by_value and x.mean() > 9:
            return x
        return self.within(self.norm(self.second(x)))


class Scaled(nn.Conv2d):
    """Not a plain convolution, whatever it derives from."""

    def forward(self, x: Tensor) -> Tensor:
        return self._conv_forward(x, self.weight / self.weight.norm(), self.bias)


@torch.no_grad()
def test_parts_of_what_cannot_be_traced_are_folded() -> None:
    network = fill(nn.Sequential(ByValue(True), nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)))).eval()
    x = images(4, 8)
    before = network(x)
    assert list(fold_norms(network)) == ["1.0"] and has_norms(network[0])
    torch.testing.assert_close(network(x), before, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_what_cannot_be_folded_stays_as_it_is() -> None:
    learning = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)).train()
    scaled = nn.Sequential(Scaled(3, 3, 1), nn.BatchNorm2d(3)).eval()
    first = nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 3, 1)).eval()
    tied = Tied(False).eval(), Tied(True).eval()
    for network in (Twice(True).eval(), Twice(False).eval(), ByValue(True).eval(), *tied, learning, scaled, first):
        fill(network)
        before = copy.deepcopy(network.state_dict())
        assert fold_norms(network) == {}
        assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
