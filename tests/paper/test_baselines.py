"""The methods to compare with: their formulas against slow references, and their codes' quirks beside our defaults."""

from __future__ import annotations

import io
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn

from hello_distill import recipes
from hello_distill import student as evaluate
from hello_distill.data.images import Material
from hello_distill.distillers.gvbsm import GVBSM, Running, densification, patch_statistics
from hello_distill.distillers.random import RandomImages
from hello_distill.distillers.rded import Patches, to_8_bit
from hello_distill.distillers.recipe import Recipe
from hello_distill.distillers.recover import Jitter, batch_norms, inputs_of, recover
from hello_distill.distillers.sre2l import SRe2L
from hello_distill.format.specs import Augment, Codec, Optim, StudentSpec
from hello_distill.labels.sources.hard import HardLabels
from hello_distill.stages import Stages
from hello_distill.student import move_statistics
from hello_distill.system.errors import InputError
from hello_distill.training.fit import _optimiser, learning_rate
from hello_distill.training.losses import (
    divergence_loss,
    matching_loss,
    relation_loss,
    standardised,
    standardised_loss,
)
from hello_distill.training.networks import IMAGENET_MEAN, IMAGENET_STD, build
from hello_distill.training.training_set import TrainingSet
from hello_distill.views import mixed_targets, render


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# Losses and schedules.


def test_divergence_from_its_definition_and_the_factor_of_the_squared_temperature() -> None:
    prediction, soft, hard = noise(4, 6), noise(4, 6, seed=1), torch.eye(6)[:4]
    value = 0.0
    for p, s in zip(prediction, soft, strict=True):
        for told, taught in zip(F.softmax(p / 20, 0), F.softmax(s / 20, 0), strict=True):
            value += (taught * (taught.log() - told.log())).item() / 4
    assert divergence_loss(20.0, False, 0.0)(prediction, soft, hard).item() == pytest.approx(value, rel=1e-3)
    gradients = []
    for squared in (False, True):
        x = prediction.clone().requires_grad_(True)
        divergence_loss(20.0, squared, 0.0)(x, soft, hard).backward()
        gradients.append(x.grad.norm().item())
    assert gradients[1] / gradients[0] == pytest.approx(400)


def test_top_k_labels_under_both_losses() -> None:
    prediction, hard = noise(3, 5), torch.eye(5)[:3]
    soft = torch.tensor([[1.0, -math.inf, 2.0, -math.inf, -math.inf]] * 3)
    expected = sum((prediction[r, c] - soft[r, c]) ** 2 for r in range(3) for c in (0, 2)) / 6
    assert matching_loss(0.0)(prediction, soft, hard).item() == pytest.approx(expected.item())
    taught = torch.tensor([1.0, 2.0]).div(4).softmax(0)
    told = F.log_softmax(prediction / 4, 1)[:, [0, 2]]
    exact = (taught * (taught.log() - told)).sum(1).mean()
    assert divergence_loss(4.0, False, 0.0)(prediction, soft, hard).item() == pytest.approx(exact.item(), rel=1e-5)


def logits_of_a_batch() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    prediction, soft = (3 * torch.randn(5, 4, generator=generator) + 1 for _ in range(2))
    return prediction, soft, F.one_hot(torch.tensor([0, 1, 2, 3, 0]), 4).float()


def test_standardised_divergence_from_its_definition() -> None:
    prediction, soft, hard = logits_of_a_batch()
    total = 0.0
    for ours, theirs in zip(prediction.tolist(), soft.tolist(), strict=True):
        scored = []
        for row in (ours, theirs):
            mean = sum(row) / 4
            deviation = (sum((value - mean) ** 2 for value in row) / 4) ** 0.5
            weights = [math.exp((value - mean) / deviation / 2.0) for value in row]
            scored.append([weight / sum(weights) for weight in weights])
        q, p = scored
        total += sum(b * math.log(b / a) for a, b in zip(q, p, strict=True))
    loss = standardised_loss(2.0, True, 0.0)
    assert loss(prediction, soft, hard).item() == pytest.approx(4 * total / 5, rel=1e-5)
    assert loss(7 * prediction - 3, soft, hard).item() == pytest.approx(4 * total / 5, rel=1e-5), "scale is free"
    whole = standardised_loss(2.0, True, 0.5)(prediction, soft, hard).item()
    assert whole == pytest.approx(4 * total / 5 + 0.5 * F.cross_entropy(prediction, hard).item(), rel=1e-5)


def test_standardised_labels_leave_out_what_they_do_not_name() -> None:
    kept = standardised(torch.tensor([[1.0, 3.0, -torch.inf, -torch.inf]]))
    assert kept.tolist() == [[-1.0, 1.0, -torch.inf, -torch.inf]]
    prediction, soft, hard = logits_of_a_batch()
    soft[:, 2] = -torch.inf
    assert standardised_loss(4.0, False, 0.0)(prediction, soft, hard).isfinite()


def test_relations_from_their_definition() -> None:
    prediction, soft, hard = logits_of_a_batch()
    ours, theirs = (F.softmax(logits / 4.0, 1).double().numpy() for logits in (prediction, soft))
    between = sum(1 - np.corrcoef(ours[row], theirs[row])[0, 1] for row in range(5)) / 5
    within = sum(1 - np.corrcoef(ours[:, name], theirs[:, name])[0, 1] for name in range(4)) / 4
    loss = relation_loss(4.0, False, 0.0)
    assert loss(prediction, soft, hard).item() == pytest.approx(between + within, rel=1e-4)
    assert loss(soft, soft, hard).item() == pytest.approx(0.0, abs=1e-6)
    squared = relation_loss(4.0, True, 1.0)(prediction, soft, hard).item()
    assert squared == pytest.approx(16 * (between + within) + F.cross_entropy(prediction, hard).item(), rel=1e-4)


def test_half_a_cosine_ends_at_half_the_rate_and_a_whole_one_at_zero() -> None:
    half, whole = Optim(300, 1, lr=2.0, schedule="half-cosine"), Optim(300, 1, lr=2.0)
    assert learning_rate(half, 299 / 300) == pytest.approx(2 * 0.5026, rel=1e-3)  # RDED: 0.503 of the first
    assert learning_rate(whole, 299 / 300) < 1e-4
    for epoch in range(300):
        assert learning_rate(half, epoch / 300) == pytest.approx(1 + math.cos(math.pi * epoch / 600))


def test_what_is_decayed() -> None:
    model = build("convnet2_w8", 4, 32, 0)
    for decayed, with_decay, without in (("matrices", {2, 4}, {1}), ("all", {1, 2, 4}, set())):
        groups = _optimiser([*model.parameters()], Optim(1, 1, decayed=decayed)).param_groups
        assert [{p.ndim for p in group["params"]} for group in groups] == [with_decay, without]


# Students.


def student_artifact(material: Material, spec: StudentSpec) -> TrainingSet:
    return TrainingSet(material.held, HardLabels(material.held.targets, 4), spec)


def test_a_second_forward_pass_moves_statistics_twice(material: Material) -> None:
    """Momentum 0.1 twice is 0.19, on mixed images under CutMix and on unmixed ones under Mixup."""
    for mix in ("cutmix", "mixup"):
        artifact = student_artifact(material, StudentSpec("convnet2_w8", augment=Augment(mix=mix)))
        view = next(iter(artifact.views(8)))
        student = build("convnet2_w8", 4, 32, 0).train()
        norm = student.backbone[1]
        seen = render(material.held.images, view if mix == "cutmix" else view._replace(share=1.0))
        mean = student.backbone[0]((seen - student.mean) / student.std).mean((0, 2, 3)).detach()
        move_statistics(student, artifact.data, view)
        torch.testing.assert_close(norm.running_mean, 0.1 * mean, atol=1e-5, rtol=1e-4)
        move_statistics(student, artifact.data, view)
        torch.testing.assert_close(norm.running_mean, 0.19 * mean, atol=1e-5, rtol=1e-4)


def test_the_second_forward_pass_changes_statistics_and_no_weight(
    material: Material, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[nn.Module] = []

    def kept(*arguments: object) -> nn.Module:
        made.append(build(*arguments))
        return made[-1]

    monkeypatch.setattr(evaluate, "build", kept)
    for twice in (False, True):
        spec = StudentSpec("convnet2_w8", double_forward=twice, optim=Optim(2, 8), evaluations=1)
        evaluate.train_student(student_artifact(material, spec), material.held, seed=0)
    once, peer = (model.state_dict() for model in made)
    for name, value in once.items():
        assert torch.equal(value, peer[name]) != ("running" in name or "num_batches" in name), name


def test_ce_aims_at_the_mixed_class_or_at_the_base_class(material: Material) -> None:
    for aim, spec in (("mixed", StudentSpec()), ("base", StudentSpec(ce_target="base"))):
        artifact = student_artifact(material, spec)
        view = next(iter(artifact.views(16)))
        hard = artifact.batch(view).hard
        if aim == "base":
            assert torch.equal(hard, torch.eye(4)[material.held.targets[view.rows]])
        else:
            assert torch.equal(hard, mixed_targets(material.held.targets, view, 4)) and 0 < view.share < 1


# Recovery.


def test_the_distance_of_statistics_from_its_definition() -> None:
    inner = build("convnet2_w8", 4, 32, 0).backbone.eval()
    norms = batch_norms(inner)
    for place, norm in enumerate(norms):
        norm.running_mean.copy_(noise(8, seed=place))
        norm.running_var.copy_(noise(8, seed=place + 5).abs())
    x = noise(6, 3, 32, 32)
    with inputs_of([*norms]) as seen, torch.no_grad():
        inner(x)
    found = SRe2L().distance(norms, seen).item()
    expected, features = 0.0, x
    with torch.no_grad():
        for layer in inner:
            if isinstance(layer, nn.BatchNorm2d):
                mean = torch.stack([features[:, c].flatten().mean() for c in range(8)])
                var = torch.stack([((features[:, c] - mean[c]) ** 2).mean() for c in range(8)])
                each = ((layer.running_mean - mean) ** 2).sum().sqrt() + ((layer.running_var - var) ** 2).sum().sqrt()
                expected += each.item() * (10 if layer is norms[0] else 1)
            features = layer(features)
    assert found == pytest.approx(expected, rel=1e-4)
    assert not any(module._forward_pre_hooks for module in inner.modules())


def test_one_draw_for_the_whole_batch_or_one_for_each_image() -> None:
    same = noise(1, 3, 16, 16).repeat(5, 1, 1, 1)
    generator = torch.Generator().manual_seed(0)
    for scale in ((0.08, 1.0), None):
        peer = Jitter(scale, shift=4)(same, generator)
        assert all(torch.equal(image, peer[0]) for image in peer)
    mended = Jitter(shift=4, per_image=True)(same, generator)
    assert not all(torch.equal(image, mended[0]) for image in mended)
    shifted = Jitter(scale=None, shift=4)(same, generator)
    found = [(d, r) for d in range(5) for r in range(5) if torch.equal(shifted[0], same[0].roll((d, r), dims=(1, 2)))]
    assert len(found) == 1, "only shifts to the bottom and to the right, up to 4"


def test_recovery_lowers_its_objective_and_stays_in_range() -> None:
    goal = torch.tensor([0.2, 0.5, 0.9]).view(1, 3, 1, 1)
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_STD))

    def objective(images: torch.Tensor, targets: torch.Tensor, step: int) -> torch.Tensor:
        return F.mse_loss(images, ((goal - mean) / std).expand_as(images))

    found = recover(torch.arange(3), 8, objective, 200, 0.25, Jitter(None, 0), seed=0)
    assert found.dtype == torch.uint8 and (found / 255 - goal).abs().max() < 0.02


def test_pixels_are_kept_in_range_at_every_step() -> None:
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_STD))
    reached: list[float] = []

    def objective(images: torch.Tensor, targets: torch.Tensor, step: int) -> torch.Tensor:
        if step:
            reached.extend([(images * std + mean).min().item(), (images * std + mean).max().item()])
        return -images.sum()

    recover(torch.arange(2), 8, objective, 12, 1.0, Jitter(None, 0), seed=0)
    assert min(reached) >= -1e-6 and 1 - 1e-6 <= max(reached) <= 1 + 1e-6


def test_recovered_images_are_recognised_by_their_teacher(material: Material, recipe: Recipe) -> None:
    spec = replace(recipe.teachers, optim=replace(recipe.teachers.optim, epochs=8, lr=1e-2), weak_epochs=(8,))
    stages = Stages(material, spec, 0)
    method = SRe2L(steps=60, batch_size=3, jitter=Jitter(None, 2))
    made = method(material, stages, ipc=2, seed=0)
    with torch.no_grad():
        found = stages.teachers().observer(made.data.images / 255).argmax(1)
    assert torch.equal(made.data.targets, torch.arange(4).repeat_interleave(2))
    assert (found == made.data.targets).float().mean() >= 0.75


def test_patch_statistics_from_loops() -> None:
    features = noise(3, 2, 8, 12)
    mean, var = patch_statistics(features, 4)
    blocks = features.unfold(2, 4, 4).unfold(3, 4, 4)  # b c rows columns inside inside
    for number, (r, c) in enumerate((r, c) for r in range(2) for c in range(3)):
        block = blocks[:, :, r, c]
        assert block.mean().item() == pytest.approx(mean[number].item(), abs=1e-5)
        assert block.var(unbiased=False).item() == pytest.approx(var[number].item(), abs=1e-5)
    assert len(patch_statistics(noise(1, 1, 5, 5), 4)[0]) == 4, "5 pixels are brought to 8"


def test_the_running_mean_starts_at_zero_in_the_code_and_at_the_first_statistic_here() -> None:
    one = (torch.ones(2), torch.ones(2))
    peer, ours = Running(0.4, from_zero=True), Running(0.4, from_zero=False)
    found = [peer((0, 0, "x"), one)[0][0].item() for _ in range(3)]
    assert found == pytest.approx([0.6, 0.84, 0.936])
    assert [ours((0, 0, "x"), one)[0][0].item() for _ in range(3)] == [1, 1, 1]
    peer.restart()
    assert peer((0, 0, "x"), one)[0][0].item() == pytest.approx(0.9744), "carried from one batch to the next"
    moved = torch.zeros(2, requires_grad=True)
    ours((0, 0, "x"), (moved, torch.zeros(2)))[0].sum().backward()
    assert torch.equal(moved.grad, torch.ones(2)), "the gradient is the new statistic's"


def test_densification_from_its_definition() -> None:
    images, targets = 0.05 * noise(5, 3, 32, 32), torch.tensor([0, 0, 0, 1, 1])
    expected = 0.0
    for target in (0, 1):
        flat = images[targets == target].flatten(1)
        values = torch.linalg.svdvals(flat) ** 2
        soft, own = F.softmax(values / 4, 0), F.softmax(values, 0)
        expected += (soft * (soft.log() - own.log())).sum().item()
    assert densification(images, targets).item() == pytest.approx(expected, rel=1e-3)


def gvbsm(**changes: object) -> GVBSM:
    tiny = GVBSM(("convnet2_w8", "convnet2_w4"), steps=5, patch=4, batch_size=4, combine="mean", jitter=Jitter(None, 2))
    return replace(tiny, **changes)


def test_gvbsm_takes_its_networks_in_turn(material: Material, recipe: Recipe) -> None:
    stages = Stages(material, recipe.teachers, 0)
    called: list[str] = []
    for name in gvbsm().networks:
        inner = stages.teachers(name).observer.backbone
        inner.register_forward_hook(lambda *_, name=name: called.append(name))
    made = gvbsm()(material, stages, ipc=2, seed=0)
    first, second = gvbsm().networks
    assert called == [first, second, *[first, second, first, second, first] * 2], "statistics once, then turn by turn"
    assert made.labels.networks == (first, second)
    assert torch.bincount(made.data.targets).tolist() == [2] * 4


@pytest.mark.parametrize("skipped", [0.0, 1.0])
def test_gvbsm_matches_convolutions_and_batch_normalisations(
    skipped: float, material: Material, recipe: Recipe
) -> None:
    """Sum over layers of distances of means and of variances, the first convolution's times ten."""
    teacher = Stages(material, recipe.teachers, 0).teachers().observer
    method = gvbsm(skipped=skipped)
    watched = method._watch(teacher, "convnet2_w8", material.train)
    x = noise(6, 3, 32, 32)
    with inputs_of([*watched.convolutions, *watched.norms]) as seen, torch.no_grad():
        watched.inner(x)
        found = method._distance(watched, seen, Running(0.4, False), 0, torch.Generator().manual_seed(0)).item()
    expected = 0.0
    real = (material.train.images / 255 - torch.tensor(IMAGENET_MEAN).view(3, 1, 1)) / torch.tensor(IMAGENET_STD).view(
        3, 1, 1
    )
    pairs = [(x, real)]
    with torch.no_grad():
        for layer in watched.inner:
            mine, theirs = pairs[-1]
            if isinstance(layer, nn.Conv2d) and not skipped:
                factor = 10 if len(pairs) == 1 else 1
                for cut in (lambda f: f.transpose(0, 1).flatten(1), positions):
                    ours, goal = cut(mine), cut(theirs)
                    gaps = (ours.mean(1) - goal.mean(1)).norm() + (ours.var(1, False) - goal.var(1, False)).norm()
                    expected += factor * gaps.item()
            if isinstance(layer, nn.BatchNorm2d):
                ours = mine.transpose(0, 1).flatten(1)
                gaps = (ours.mean(1) - layer.running_mean).norm() + (ours.var(1, False) - layer.running_var).norm()
                expected += gaps.item()
            pairs.append((layer(mine), layer(theirs)))
    assert found == pytest.approx(expected, rel=1e-3)


def positions(features: torch.Tensor) -> torch.Tensor:
    """Features by their place among patches of 4 x 4."""
    blocks = features.unfold(2, 4, 4).unfold(3, 4, 4)
    return blocks.permute(2, 3, 0, 1, 4, 5).flatten(0, 1).flatten(1)


def test_presets_are_named_after_the_methods_and_keep_their_quirks() -> None:
    rded = recipes.find("rded")
    assert rded.distiller.name == "rded" and rded.student.double_forward and rded.student.loss == "kl"
    assert (rded.student.optim.schedule, rded.student.optim.changes) == ("half-cosine", "epoch")
    assert (rded.distiller.patches.pool, rded.distiller.patches.crops, rded.codec.quality) == (300, 5, 75)
    sre2l, gvbsm = recipes.find("sre2l"), recipes.find("gvbsm")
    assert (sre2l.distiller.steps, sre2l.distiller.lr, sre2l.distiller.weight) == (4000, 0.25, 0.01)
    assert not sre2l.student.squared and not sre2l.distiller.jitter.per_image
    assert gvbsm.distiller.from_zero and gvbsm.student.ce_target == "base" and gvbsm.distiller.combine == "norm"
    small = {name: recipes.find(f"{name}-small") for name in ("rded", "sre2l", "gvbsm")}
    assert small["rded"].distiller.patches.factor == 1 and small["rded"].distiller.patches.truncated
    assert small["rded"].student.double_forward and small["rded"].student.augment.scale == (1.0, 1.0)
    assert small["sre2l"].distiller.batch_statistics and small["sre2l"].student.optim.decayed == "all"
    assert (small["sre2l"].student.temperature, small["sre2l"].student.augment.mix) == (30.0, "mixup")
    assert (small["gvbsm"].student.beta, small["gvbsm"].distiller.skipped) == (0.15, 0.4)
    ours = recipes.find("paper").student
    assert not ours.double_forward and ours.ce_target == "mixed" and ours.optim.schedule == "cosine"


def test_colours_are_cut_as_in_rdeds_code_or_rounded() -> None:
    shades = torch.tensor([0.0, 0.4, 0.6, 254.7, 255.0]).div(255).view(1, 1, 1, 5).expand(1, 3, 1, 5)
    assert to_8_bit(shades, truncated=True)[0, 0, 0].tolist() == [0, 0, 0, 254, 255]
    assert to_8_bit(shades, truncated=False)[0, 0, 0].tolist() == [0, 0, 1, 255, 255]


def test_patches_are_cut_to_8_bit_where_the_preset_asks_for_it(material: Material) -> None:
    kept = [
        Patches(factor=1, crops=1, pool=4, scale=(0.3, 0.5), truncated=truncated)(
            material.train, lambda images: images.mean((2, 3)) @ torch.ones(3, 4), 2, 0
        ).images.int()
        for truncated in (True, False)
    ]
    gaps = kept[1] - kept[0]
    assert gaps.min() == 0 and gaps.max() == 1


def test_jpegs_keep_their_colours_unless_told_otherwise(material: Material) -> None:
    picture = Image.fromarray(material.train.images[0].permute(1, 2, 0).numpy())
    found = [
        Image.open(io.BytesIO(Codec("jpeg", 75, subsampled=subsampled).encode(picture))).layer[0][1:3]
        for subsampled in (False, True)
    ]
    assert found == [(1, 1), (2, 2)]


def test_random_images_of_a_class_that_is_too_small_are_refused(material: Material, recipe: Recipe) -> None:
    with pytest.raises(InputError, match="lower --ipc to 24"):
        RandomImages()(material, Stages(material, recipe.teachers, 0), ipc=25, seed=0)


def test_a_network_without_statistics_is_refused_before_anything_is_trained(
    material: Material, recipe: Recipe, clip_folder: Path
) -> None:
    stages = Stages(material, replace(recipe.teachers, network=f"encoder/local-dir:{clip_folder}"), 0)
    stages.teachers = None
    with pytest.raises(InputError, match="sre2l matches statistics"):
        SRe2L(steps=1)(material, stages, ipc=1, seed=0)
    with pytest.raises(InputError, match="gvbsm matches statistics"):
        GVBSM((stages.spec.network,), steps=1)(material, stages, ipc=1, seed=0)
