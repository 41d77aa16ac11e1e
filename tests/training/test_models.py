"""Networks by name."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from conftest import cheap
from hello_distill import student
from hello_distill.data.images import Material
from hello_distill.distillers.recipe import Recipe
from hello_distill.encoders.encoder import Encoder
from hello_distill.format.specs import Augment, Optim, StudentSpec
from hello_distill.labels.sources.hard import HardLabels
from hello_distill.student import fresh
from hello_distill.system.errors import InputError
from hello_distill.training import networks as models
from hello_distill.training.networks import IMAGENET_MEAN, IMAGENET_STD, build, check_name
from hello_distill.training.training_set import TrainingSet


def test_convnet_has_the_fields_320010_parameters() -> None:
    """3 blocks of width 128, 32 pixels, 10 classes: the count of DC, DM and MTT (their norms are affine too)."""
    model = build("convnet3", 10, 32, seed=0)
    assert sum(p.numel() for p in model.parameters()) == 320_010
    kernels = 3 * 64 * 9 + 2 * 64 * 64 * 9
    affine = 3 * 64 + 3 * 2 * 64
    assert sum(p.numel() for p in build("convnet3_w64", 10, 28, 0).parameters()) == kernels + affine + 64 * 9 * 10 + 10


def test_normalisation_is_inside_and_shared_by_all_networks() -> None:
    model = build("convnet2_w8", 3, 16, seed=0).eval()
    x = torch.rand(4, 3, 16, 16)
    by_hand = torch.stack([(x[:, c] - IMAGENET_MEAN[c]) / IMAGENET_STD[c] for c in range(3)], dim=1)
    torch.testing.assert_close(model(x), model.backbone(by_hand))


def test_weights_depend_on_the_seed_alone() -> None:
    def weight(seed: int) -> torch.Tensor:
        return build("convnet2_w8", 3, 16, seed).backbone[0].weight

    first = weight(0)
    torch.rand(5)
    assert torch.equal(first, weight(0))
    assert not torch.equal(first, weight(1))


@pytest.mark.parametrize("name", ["resnet18", "resnet18_modified", "shufflenet_v2_x0_5", "timm/test_resnet"])
def test_torchvision_and_timm_networks_give_logits(name: str) -> None:
    assert build(name, 7, 64, seed=0)(torch.rand(2, 3, 64, 64)).shape == (2, 7)


def test_the_modified_resnet_keeps_small_images_whole_before_its_first_block() -> None:
    backbone = build("resnet18_modified", 10, 32, seed=0).backbone
    x = torch.rand(1, 3, 32, 32)
    assert backbone.maxpool(backbone.conv1(x)).shape == (1, 64, 32, 32)


def test_the_modified_vgg_has_one_linear_layer_on_pooled_features() -> None:
    """8 convolutions of VGG-11 (Simonyan and Zisserman 2015, configuration A) have 9,220,480 weights and biases."""
    model = build("vgg11_modified", 10, 32, seed=0).eval()
    assert sum(p.numel() for p in model.parameters()) == 9_220_480 + 512 * 10 + 10
    x, backbone = torch.rand(2, 3, 32, 32), model.backbone
    pooled = backbone.features((x - model.mean) / model.std).mean((2, 3))
    torch.testing.assert_close(model(x), pooled @ backbone.classifier.weight.T)
    assert build("vgg11_modified", 10, 96, seed=0)(torch.rand(2, 3, 96, 96)).shape == (2, 10)


def test_a_student_on_a_public_encoder_trains_its_head_alone(tiny: Encoder, material: Material, recipe: Recipe) -> None:
    """One step of gradient descent from zero, by the formula: W = lr 20 / n * sum over images of (y - 1/c) f(x)."""
    name, data = f"encoder/{tiny.name}", material.train
    views = Augment(scale=(1.0, 1.0), ratio=(1.0, 1.0), flip=0.0, mix="none")
    optim = Optim(1, len(data), lr=0.3, name="sgd", weight_decay=0.0, schedule="constant")
    spec = StudentSpec(name, augment=views, optim=optim)
    made = []

    def kept(*given: object) -> nn.Module:
        made.append(fresh(*given))
        return made[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(student, "fresh", kept)
        score = student.train_student(TrainingSet(data, HardLabels(data.targets, 4), spec), material.held, 0)
    with torch.no_grad():
        features = F.normalize(tiny.visual(tiny.preprocess(data.images / 255)), dim=1)
        held = F.normalize(tiny.visual(tiny.preprocess(material.held.images / 255)), dim=1)
    expected = 0.3 * 20 / len(data) * (F.one_hot(data.targets, 4) - 0.25).T @ features
    torch.testing.assert_close(made[0].label_head.weight.data, expected, rtol=1e-4, atol=1e-6)
    for key, value in tiny.visual.state_dict().items():
        assert torch.equal(made[0].visual.state_dict()[key], value), key
    right = (held @ expected.T).argmax(1) == material.held.targets
    assert score.last == pytest.approx(100 * right.double().mean().item())


@pytest.mark.parametrize(("name", "tokens"), [("vit_tiny_patch16_224", 4), ("swinv2_tiny_window8_256", 64)])
def test_networks_made_for_one_size_are_made_for_that_of_the_images(name: str, tokens: int) -> None:
    backbone = build(f"timm/{name}", 7, 32, seed=0).backbone
    assert backbone.patch_embed.num_patches == tokens, "patches of 16 and of 4 pixels in 32"
    assert backbone(torch.rand(2, 3, 32, 32)).shape == (2, 7)


@pytest.mark.parametrize(
    ("name", "side", "size"),
    [("timm/nest_tiny", 28, 224), ("timm/gcvit_xxtiny", 28, 224), ("vit_b_32", 32, 224), ("inception_v3", 32, 299)],
)
def test_networks_that_cannot_take_small_images_see_them_enlarged(name: str, side: int, size: int) -> None:
    model, images = build(name, 4, side, seed=0), torch.rand(1, 3, side, side)
    assert model.enlarged == size and not model.training
    larger = torch.nn.functional.interpolate(images, (size, size), mode="bilinear")
    torch.testing.assert_close(model(images), model.backbone((larger - model.mean) / model.std))
    assert build(name, 4, size, seed=0).enlarged is None


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("resnet81", "did you mean 'resnet18'"),
        ("timm/resnet18x", "did you mean 'timm/resnet18'"),
        ("convnet", "did you mean 'convnet"),
        ("alexnet_modified", "unknown network"),
    ],
)
def test_unknown_networks_are_answered_with_the_nearest(name: str, told: str) -> None:
    with pytest.raises(InputError, match=told):
        check_name(name)


def test_networks_that_cannot_take_such_small_images_say_so() -> None:
    with pytest.raises(InputError, match="images"):
        build("convnet6", 10, 8, seed=0)


def test_large_images_are_tried_without_their_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two images of 4096 pixels the first layer alone would take 800 MB."""
    monkeypatch.setattr(models, "_probed", set())
    build("shufflenet_v2_x0_5", 4, 64, seed=0)
    with cheap(3.0):
        build("shufflenet_v2_x0_5", 4, 4096, seed=0)


def test_a_network_that_looks_at_values_is_tried_with_values(monkeypatch: pytest.MonkeyPatch) -> None:
    class Picky(nn.Module):
        def __init__(self, least: float) -> None:
            super().__init__()
            self.least = least

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if x.amax().item() < self.least:
                raise RuntimeError("too dark")
            return x.mean((2, 3))

    monkeypatch.setattr(models, "_probed", set())
    monkeypatch.setattr(models, "_backbone", lambda *_: Picky(-9.0))
    assert isinstance(build("convnet1", 3, 8, seed=0).backbone, Picky)
    monkeypatch.setattr(models, "_backbone", lambda *_: Picky(9.0))
    with pytest.raises(InputError, match="network 'convnet2' cannot take images of 8 pixels: too dark"):
        build("convnet2", 3, 8, seed=0)  # what was found of one is not asked of it again


def test_a_network_that_starts_with_no_numbers_says_whose_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """As timm 1.0.29 makes Swin-V2 for 32 pixels: students of it failed at their first step, on a GPU's machine."""

    def broken(*_: object) -> nn.Module:
        network = nn.Sequential(nn.Flatten(), nn.Linear(192, 3))
        network.register_buffer("table", torch.tensor([1.0, torch.nan]), persistent=False)
        return network

    monkeypatch.setattr(models, "_backbone", broken)
    with pytest.raises(InputError, match=r"of timm [\d.]+ starts .* images of 8 pixels \(table\); try a newer timm"):
        build("timm/swinv2_tiny_window8_256", 3, 8, seed=0)


def test_networks_with_auxiliary_heads_give_logits_while_they_train() -> None:
    found = build("googlenet", 4, 64, 0).train()(torch.rand(2, 3, 64, 64))
    assert found.shape == (2, 4)
