"""Eq. 1-7 of the paper, each against a slow version written from the formula."""

from __future__ import annotations

import copy
import math

import numpy as np
import open_clip
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from hello_distill.data.images import ImageSet, Material
from hello_distill.distillers.lic import LIC, degrade, information_loss
from hello_distill.distillers.rded import Patches, difficulty, stitch
from hello_distill.encoders.encoder import Encoder
from hello_distill.format.specs import Optim
from hello_distill.labels.projector import HEAD
from hello_distill.projector import (
    Adapter,
    ProjectorSpec,
    adapted,
    add_lora,
    drawn_matrices,
    fit_projector,
    head_rank,
    matching_scale,
    restore,
    text_features,
    to_fit,
    zero_shot,
)
from hello_distill.system.errors import InputError
from hello_distill.teachers import Ensemble
from hello_distill.training.folding import fold_norms
from hello_distill.training.losses import hard_loss, matching_loss
from hello_distill.training.networks import IMAGENET_MEAN, build
from hello_distill.views import sample_boxes, whole

TEMPLATES = ("a photo of a {}.", "a drawing of a {}.", "one {}")
FIT = ProjectorSpec(encoder_rank=2, optim=Optim(epochs=2, batch_size=16, lr=5e-3))


def images(count: int, side: int = 32, seed: int = 0) -> Tensor:
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(seed))


# Eq. 1, second row: labels are the teachers' mean.


def test_ensemble_is_the_mean_of_its_members_logits() -> None:
    members = [build("convnet2_w8", 4, 32, seed) for seed in range(3)]
    ensemble = Ensemble(members).train()
    x = images(5)
    expected = sum(member.eval()(x) for member in members) / 3
    torch.testing.assert_close(ensemble(x), expected)
    assert not any(member.training for member in members)


# Eq. 2 and 3, Proposition 1.


def test_text_features_are_open_clips_zero_shot_weights(tiny: Encoder, clip_folder) -> None:
    model = open_clip.create_model(f"local-dir:{clip_folder}").eval()
    tokenizer = open_clip.get_tokenizer(f"local-dir:{clip_folder}")
    names = ["tench", "chain saw", "golf ball"]
    expected = open_clip.build_zero_shot_classifier(model, tokenizer, names, TEMPLATES)
    torch.testing.assert_close(text_features(tiny, names, TEMPLATES), expected.T)


def test_text_features_from_the_formula(tiny: Encoder) -> None:
    names = ["tench", "chain saw"]
    for name, row in zip(names, text_features(tiny, names, TEMPLATES), strict=True):
        vectors = [tiny.encode_text([template.format(name)])[0] for template in TEMPLATES]
        mean = sum(v / v.norm() for v in vectors) / len(vectors)
        torch.testing.assert_close(row, mean / mean.norm())


@pytest.mark.parametrize("normalize", [True, False])
def test_proposition_1_before_training_the_projector_is_zero_shot_clip(
    tiny: Encoder, clip_folder, material: Material, normalize: bool
) -> None:
    model = open_clip.create_model(f"local-dir:{clip_folder}").eval()
    tokenizer = open_clip.get_tokenizer(f"local-dir:{clip_folder}")
    names = open_clip.IMAGENET_CLASSNAMES[:100]
    w = open_clip.build_zero_shot_classifier(model, tokenizer, names, TEMPLATES)
    x = whole(material.train.images)
    with torch.no_grad():
        theirs = (model.encode_image(tiny.preprocess(x), normalize=True) @ w).argmax(1)
        spec = ProjectorSpec(templates=TEMPLATES, normalize=normalize)
        ours = zero_shot(tiny, names, spec, scale=7.0)(x).argmax(1)
    assert theirs.tolist() == ours.tolist()
    assert len(set(ours.tolist())) > 1


# Eq. 4: theta_0 + A B.


def test_lora_changes_nothing_at_the_start_bit_for_bit(tiny: Encoder) -> None:
    start = zero_shot(tiny, ["a", "b", "c"], FIT)
    x = images(8)
    with torch.no_grad():
        before = start(x)
        after = add_lora(copy.deepcopy(start), adapted(tiny, FIT), 2, 2)(x)
    assert torch.equal(before, after)


def test_merged_weights_are_theta_plus_a_b(tiny: Encoder, material: Material) -> None:
    start = zero_shot(tiny, material.train.classes, FIT)
    adapter = fit_projector(start, tiny, material.train, teacher(), FIT, seed=0)
    fitted, scales = restore(start, adapter), fold_norms(copy.deepcopy(start).visual)
    for layer in (*(f"visual.{name}" for name in adapter.convolutions), HEAD):
        a, b = (adapter.matrices[f"base_model.model.{layer}.lora_{s}.weight"].float() for s in "AB")
        old, new = start.get_submodule(layer).weight, fitted.get_submodule(layer).weight
        product = b.flatten(1) @ a.flatten(1)  # (out r) (r in*k*k)
        scale = scales.get(layer.removeprefix("visual."), torch.ones(len(old)))  # of the norm behind it, folded
        wanted = scale.view(-1, *[1] * (old.ndim - 1)) * (old + product.view_as(old))
        torch.testing.assert_close(new, wanted, atol=1e-6, rtol=1e-5)
        assert product.abs().max() > 0, layer


def test_every_adapted_layer_changes_the_output(tiny: Encoder, material: Material) -> None:
    start = zero_shot(tiny, material.train.classes, FIT)
    adapter = fit_projector(start, tiny, material.train, teacher(), FIT, seed=0)
    fitted = restore(start, adapter)
    x = whole(material.held.images)
    for name in [n for n in adapter.matrices if "lora_B" in n]:
        without = {**adapter.matrices, name: torch.zeros_like(adapter.matrices[name])}
        changed = restore(start, adapter_with(adapter, without))
        assert (changed(x) - fitted(x)).abs().max() > 0, name


def adapter_with(adapter, tensors):
    from dataclasses import replace

    return replace(adapter, matrices=tensors)


@pytest.mark.parametrize(
    ("skip", "num_classes", "expected"),
    [
        ("", 100, 711_640),
        ("", 1000, 898_776),
        ("downsample", 100, 666_072),
        ("downsample", 1000, 853_208),
    ],
)
def test_stored_numbers_of_the_papers_encoder(rn50: nn.Module, skip: str, num_classes: int, expected: int) -> None:
    """Counts of RN50 at rank 8 and head rank 64 or 128, by the arithmetic r (in k k + out)."""
    spec = ProjectorSpec(skip=skip)
    encoder = Encoder("RN50", rn50, lambda s: torch.zeros(len(s), 1024), 224, 1024, (0.5,) * 3, (0.5,) * 3, (), "")
    rank = head_rank(spec, num_classes, 1024)
    count = rank * (1024 + num_classes)
    for name in adapted(encoder, spec):
        layer = rn50.get_submodule(name)
        count += 8 * (layer.in_channels * layer.kernel_size[0] * layer.kernel_size[1] + layer.out_channels)
    assert count == expected
    start = zero_shot(encoder, [str(c) for c in range(num_classes)], spec)
    lora = add_lora(start, adapted(encoder, spec), 8, rank)
    assert sum(p.numel() for p in lora.parameters() if p.requires_grad) == expected
    if skip:
        assert round(expected / 2**20, 1) == {100: 0.6, 1000: 0.8}[num_classes]  # "0.6M" and "0.8M" of the paper


@pytest.fixture(scope="module")
def rn50() -> nn.Module:
    return open_clip.create_model("RN50-quickgelu", pretrained=None).visual


def test_head_rank_never_outweighs_the_head() -> None:
    assert head_rank(ProjectorSpec(), 100, 1024) == 64
    assert head_rank(ProjectorSpec(), 1000, 1024) == 128
    rank = head_rank(ProjectorSpec(), 10, 1280)
    assert rank * (10 + 1280) <= 10 * 1280 < (rank + 1) * (10 + 1280)


# Eq. 5.


def teacher() -> nn.Module:
    return Ensemble([build("convnet2_w8", 4, 32, seed) for seed in range(2)])


def test_zero_shot_logits_are_scaled_to_spread_as_the_teachers(tiny: Encoder, material: Material) -> None:
    start = zero_shot(tiny, material.train.classes, FIT)
    x = whole(material.train.images)
    expected = (teacher()(x).std() / start(x).std()).item()
    assert matching_scale(start, teacher(), material.train) == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize(("shrunk", "told"), [(1e-9, r"multiplied by [\d.]+e\+\d+ "), (0.0, "multiplied by inf ")])
def test_an_encoder_that_tells_nothing_apart_is_said_to_be_so(
    tiny: Encoder, material: Material, shrunk: float, told: str
) -> None:
    """As CLIP's RN50 with random weights, whose factor of 2e7 was found out when its artefact was written."""
    start = zero_shot(tiny, material.train.classes, FIT)
    start.label_head.weight.mul_(shrunk)
    with pytest.raises(InputError, match=told + r".*is it trained\?"):
        fit_projector(start, tiny, material.train, teacher(), FIT, seed=0)


@pytest.mark.parametrize("answer", [3.0, math.nan])
def test_teachers_that_tell_nothing_apart_are_said_to_be_so(tiny: Encoder, material: Material, answer: float) -> None:
    start = zero_shot(tiny, material.train.classes, FIT)
    with pytest.raises(InputError, match="weak teachers answer every image in the same way"):
        matching_scale(start, lambda images: torch.full((len(images), 4), answer), material.train)


def test_matching_loss_from_the_formula() -> None:
    generator = torch.Generator().manual_seed(0)
    prediction, soft = (torch.randn(3, 4, generator=generator) for _ in range(2))
    hard = torch.tensor([[1.0, 0, 0, 0], [0, 0.3, 0.7, 0], [0, 0, 0, 1]])
    mse = sum((float(prediction[b, c]) - float(soft[b, c])) ** 2 for b in range(3) for c in range(4)) / 12
    ce = 0.0
    for b in range(3):
        total = sum(math.exp(float(v)) for v in prediction[b])
        ce -= sum(float(hard[b, c]) * math.log(math.exp(float(prediction[b, c])) / total) for c in range(4)) / 3
    assert matching_loss(0.25)(prediction, soft, hard).item() == pytest.approx(mse + 0.25 * ce, rel=1e-5)
    assert hard_loss(prediction, soft, hard).item() == pytest.approx(ce, rel=1e-5)


def test_fitting_lowers_eq_5_and_leaves_statistics_and_base_weights_alone(tiny: Encoder, material: Material) -> None:
    start = zero_shot(tiny, material.train.classes, FIT)
    target = teacher()
    before = copy.deepcopy(tiny.visual.state_dict())
    adapter = fit_projector(start, tiny, material.train, target, FIT, seed=0)
    fitted = restore(start, adapter)
    x = whole(material.train.images)
    distance = [nn.functional.mse_loss(f(x), target(x)).item() for f in (start, fitted)]
    assert distance[1] < 0.9 * distance[0]
    for name, value in fitted.visual.state_dict().items():
        if "running" in name:
            assert torch.equal(value, before[name]), name
    assert all(torch.equal(value, before[name]) for name, value in tiny.visual.state_dict().items())
    assert all(t.dtype == torch.float32 for t in adapter.matrices.values())


def test_stages_before_the_first_lora_cost_no_gradient_and_change_none(tiny: Encoder) -> None:
    """What a `skip` of the first stages saves: they keep nothing for the gradient, which is that of running them so."""
    spec = ProjectorSpec(encoder_rank=2, skip=r"^conv\d|layer1|downsample")
    start = zero_shot(tiny, ["a", "b", "c"], spec)
    x, target = images(6), torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
    names = adapted(tiny, spec)
    matrices = drawn_matrices(start, names, 2, 2, seed=0)

    def gradients(guarded: bool) -> list[Tensor]:
        model = to_fit(start, Adapter(matrices, matrices, "float32", names, 2, 2, start.scale, True))
        visual = model.visual
        if guarded:
            plain = visual.layer1.forward
            visual.layer1.forward = torch.no_grad()(lambda features: plain(features))
        frozen: list[Tensor] = []
        saved: list[int] = []
        visual.layer1.register_forward_hook(lambda _, before, after: frozen.extend((*before, after)))
        with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t.data_ptr()) or t, lambda t: t):
            loss = nn.functional.mse_loss(model(x), target)
        assert len(frozen) == 2 and not any(features.requires_grad for features in frozen)
        assert frozen[0].data_ptr() not in saved and frozen[1].data_ptr() in saved
        loss.backward()
        return [weight.grad for weight in model.parameters() if weight.requires_grad]

    free, guarded = gradients(False), gradients(True)
    assert all(torch.equal(a, b) for a, b in zip(free, guarded, strict=True))
    assert sum(slope.abs().max().item() > 0 for slope in free) == len(free) // 2  # B is zero, so A has none yet


# Eq. 6.


def test_difficulty_is_minus_log_softmax_of_the_centred_patch() -> None:
    observer = build("convnet2_w8", 4, 32, 0).eval()
    patches = images(4, side=15)
    with torch.no_grad():
        for target in (1, 3):
            found = difficulty(observer, patches, target, side=32)
            for patch, score in zip(patches, found.tolist(), strict=True):
                canvas = torch.tensor(IMAGENET_MEAN).view(3, 1, 1).repeat(1, 32, 32)
                canvas[:, 8:23, 8:23] = patch  # 17 spare pixels: 8 before, 9 after
                logits = observer(canvas[None])[0].tolist()
                expected = -math.log(math.exp(logits[target]) / sum(math.exp(v) for v in logits))
                assert score == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("padded", [True, False])
def test_chosen_patches_are_the_easiest_and_every_image_gets_its_share(padded: bool) -> None:
    """With full-size crops, the scores of all images are known; rank r goes to cell r // n of image r % n."""
    rng = np.random.default_rng(0)
    pixels = torch.from_numpy(rng.integers(0, 256, (12, 3, 32, 32), dtype=np.uint8))
    data = ImageSet(pixels, torch.zeros(12, dtype=torch.int64), ("only", "none"))
    observer = build("resnet18", 2, 32, 0).eval()
    spec = Patches(factor=2, crops=1, pool=12, scale=(1.0, 1.0), padded=padded)
    made = spec._one_class(data, 0, observer, ipc=2, seed=0)
    small = interpolate(whole(pixels), (16, 16), mode="bilinear", antialias=True)
    with torch.no_grad():
        score = difficulty(observer, small, 0, 32) if padded else -observer(small).log_softmax(1)[:, 0]
    order = score.argsort()[:8]
    for image in range(2):
        for cell in range(4):
            top, left = 16 * (cell // 2), 16 * (cell % 2)
            expected = small[order[cell * 2 + image]]
            torch.testing.assert_close(made[image, :, top : top + 16, left : left + 16], expected)


def test_an_observer_that_takes_no_small_images_is_named_before_patches_are_scored() -> None:
    data = ImageSet(torch.zeros(4, 3, 32, 32, dtype=torch.uint8), torch.zeros(4, dtype=torch.int64), ("only",))
    with pytest.raises(InputError, match=r"takes no images of 16 pixels.*`distiller.patches.padded` to true"):
        Patches(factor=2, padded=False)(data, build("convnet2_w8", 1, 32, 0).eval(), 1, 0)


def test_an_observer_is_asked_where_it_lies() -> None:
    """`meta` stands for another device than that of new tensors."""
    pixels = torch.zeros(4, 3, 32, 32, dtype=torch.uint8, device="meta")
    data = ImageSet(pixels, torch.zeros(4, dtype=torch.int64), ("only",))

    def observer(images: Tensor) -> Tensor:
        raise ZeroDivisionError(images.device)

    with pytest.raises(ZeroDivisionError, match="meta"):
        Patches(factor=2, padded=False)(data, observer, 1, 0)


def test_patches_of_more_crops_than_are_scored_at_once_are_those_of_all_at_once() -> None:
    """650 crops of 130 images, each cut, scored and kept by itself; the observer sees brightness alone."""
    rng = np.random.default_rng(0)
    pixels = torch.from_numpy(rng.integers(0, 256, (140, 3, 8, 8), dtype=np.uint8))
    data = ImageSet(pixels, torch.arange(140) % 14 // 13, ("many", "few"))
    batches: list[int] = []

    def observer(x: Tensor) -> Tensor:
        batches.append(len(x))
        bright = x.double().mean((1, 2, 3)).float()
        return torch.stack([bright, 1 - bright], 1)

    spec = Patches(factor=1, crops=5, pool=130)
    made = spec._one_class(data, 0, observer, ipc=3, seed=0)
    assert batches == [32] * 20 + [10]
    draws = np.random.default_rng([0, 2, 0])
    rows = draws.permutation(data.of_class(0).numpy()).repeat(5)
    boxes = sample_boxes(draws, 650, 8, spec.scale, (1.0, 1.0))
    cut = [
        interpolate(whole(pixels[row : row + 1])[:, :, top : top + h, left : left + w], (8, 8), mode="bilinear")[0]
        for row, (top, left, h, w) in zip(rows, boxes, strict=True)
    ]
    brightest = torch.stack(cut).mean((1, 2, 3)).view(130, 5)
    chosen = brightest.max(1).values.argsort(descending=True)[:3]
    expected = [cut[5 * image + int(brightest[image].argmax())] for image in chosen.tolist()]
    torch.testing.assert_close(made, torch.stack(expected))


def test_stitch_gives_spare_pixels_to_the_first_rows_and_columns() -> None:
    patches = torch.arange(4.0).view(1, 4, 1, 1, 1).expand(1, 4, 3, 15, 15)
    mosaic = stitch(patches, 2, 31)[0, 0]
    assert mosaic.shape == (31, 31)
    assert (mosaic[:16, :16] == 0).all() and (mosaic[:16, 16:] == 1).all()
    assert (mosaic[16:, :16] == 2).all() and (mosaic[16:, 16:] == 3).all()


# Eq. 7.


def slow_down_up(image: np.ndarray, factor: int) -> np.ndarray:
    """Bilinear with a triangle as wide as the factor down, plain bilinear up; one row at a time."""

    def weights(size_in: int, size_out: int, support: float) -> np.ndarray:
        w = np.zeros((size_out, size_in))
        for o in range(size_out):
            centre = (o + 0.5) * size_in / size_out - 0.5
            for i in range(-2 * size_in, 3 * size_in):
                value = max(0.0, 1 - abs(i - centre) / support)
                if support > 1:  # antialiased: taps outside the image are dropped and the rest renormalised
                    if 0 <= i < size_in:
                        w[o, i] += value
                else:  # plain: taps outside are clamped to the border
                    w[o, min(max(i, 0), size_in - 1)] += value
        return w / w.sum(1, keepdims=True)

    size = image.shape[-1]
    down = weights(size, size // factor, float(factor))
    up = weights(size // factor, size, 1.0)
    return np.stack([up @ (down @ channel @ down.T) @ up.T for channel in image])


def test_degrade_and_information_loss_from_the_formula() -> None:
    x = images(2, side=12)
    slow = np.stack([slow_down_up(image.numpy().astype(np.float64), 2) for image in x])
    np.testing.assert_allclose(degrade(x, 2).numpy(), slow, atol=1e-5)
    matrix = torch.randn(3 * 144, 5, generator=torch.Generator().manual_seed(1))

    def encode(batch: Tensor) -> Tensor:
        return batch.flatten(1) @ matrix

    difference = encode(torch.from_numpy(slow).float()).double() - encode(x).double()
    expected = sum(float(d) ** 2 for d in difference.flatten()) / 10
    assert information_loss(encode, x, 2).item() == pytest.approx(expected, rel=1e-4)


def test_a_constant_image_loses_nothing(tiny: Encoder) -> None:
    projector = zero_shot(tiny, ["a", "b"], FIT)
    flat = torch.full((1, 3, 32, 32), 0.25)
    assert information_loss(projector.encode, flat, 2).item() < 1e-10


def test_the_update_lowers_eq_7_within_the_pixel_range(tiny: Encoder, material: Material) -> None:
    projector = zero_shot(tiny, material.train.classes, FIT)
    update = LIC(steps=10)
    start = material.train.images[:20]
    moved = update(start, projector.encode)
    assert moved.dtype == torch.uint8 and moved.shape == start.shape
    assert update.loss(moved, projector.encode) < 0.7 * update.loss(start, projector.encode)
    assert (moved.int() - start.int()).abs().max() <= 255 * update.lr * update.steps + 1
