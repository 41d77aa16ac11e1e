"""Augmentation as values: sampling is pure; rendering equals torchvision and the formulas of the mixing papers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torchvision.transforms import RandomResizedCrop
from torchvision.transforms.functional import resized_crop

from hello_distill.format.sizes import num_batches
from hello_distill.format.specs import Augment
from hello_distill.system.machine import autocast
from hello_distill.types import View
from hello_distill.views import crops, mixed_targets, render, resized, sample_boxes, sample_views, whole

SIDE = 24


def pixels(count: int, seed: int = 0) -> torch.Tensor:
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.integers(0, 256, (count, 3, SIDE, SIDE), dtype=np.uint8))


def still(count: int, **changes: object) -> View:
    """A view that changes nothing."""
    box = torch.tensor([[0, 0, SIDE, SIDE]]).repeat(count, 1)
    view = View(0, torch.arange(count), box, torch.zeros(count, dtype=torch.bool), torch.arange(count), 1.0, (0,) * 4)
    return view._replace(**changes)


def same(a: View, b: View) -> bool:
    return all(torch.equal(x, y) if isinstance(x, torch.Tensor) else x == y for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("kind", ["cutmix", "mixup", "none"])
def test_views_are_a_pure_function_of_seed_and_epoch(kind: str) -> None:
    def sample(seed: int, epoch: int) -> list[View]:
        return list(sample_views(10, SIDE, 4, Augment(mix=kind), seed, epoch))

    assert all(same(a, b) for a, b in zip(sample(0, 3), sample(0, 3), strict=True))
    assert not any(same(a, b) for a, b in zip(sample(0, 3), sample(0, 4), strict=True))
    assert not any(same(a, b) for a, b in zip(sample(0, 3), sample(1, 3), strict=True))
    assert [view.key for epoch in range(3) for view in sample(0, epoch)] == list(range(9))


@pytest.mark.parametrize(("images", "batch_size", "sizes"), [(10, 4, [4, 3, 3]), (101, 50, [34, 34, 33]), (3, 50, [3])])
def test_an_epoch_shows_every_image_once_in_batches_of_even_size(
    images: int, batch_size: int, sizes: list[int]
) -> None:
    views = list(sample_views(images, SIDE, batch_size, Augment(), 0, 0))
    assert [len(view.rows) for view in views] == sizes
    assert len(views) == num_batches(images, batch_size)
    assert torch.cat([view.rows for view in views]).sort().values.tolist() == list(range(images))


@pytest.mark.parametrize("scale", [(0.08, 1.0), (0.5, 1.0)])
def test_crops_are_distributed_as_torchvisions(scale: tuple[float, float]) -> None:
    """20,000 draws of each; the standard error of every mean is below 0.3 % of the side."""
    side, ratio = 224, (3 / 4, 4 / 3)
    ours = sample_boxes(np.random.default_rng(0), 20_000, side, scale, ratio)
    torch.manual_seed(0)
    image = torch.empty(3, side, side)
    theirs = np.array([RandomResizedCrop.get_params(image, list(scale), list(ratio)) for _ in range(20_000)])
    np.testing.assert_allclose(ours.mean(0), theirs.mean(0), atol=0.01 * side)
    np.testing.assert_allclose(ours.std(0), theirs.std(0), atol=0.01 * side)
    assert (ours >= 0).all() and (ours[:, :2] + ours[:, 2:] <= side).all()


def test_the_whole_image_is_taken_when_the_scale_says_so() -> None:
    boxes = sample_boxes(np.random.default_rng(0), 50, SIDE, (1.0, 1.0), (1.0, 1.0))
    assert (boxes == [0, 0, SIDE, SIDE]).all()


def test_a_view_that_changes_nothing_gives_the_pixels_bit_for_bit() -> None:
    images = pixels(3)
    assert torch.equal(render(images, still(3)), images.float() / 255)
    assert torch.equal(whole(images), images.float() / 255)


def test_crop_and_flip_are_torchvisions() -> None:
    images = pixels(2)
    box = torch.tensor([[2, 3, 10, 17], [5, 0, 19, 8]])
    found = render(images, still(2, box=box, flip=torch.tensor([False, True])))
    expected = [resized_crop(whole(images)[i], *b, [SIDE, SIDE], antialias=True) for i, b in enumerate(box.tolist())]
    torch.testing.assert_close(found[0], expected[0])
    torch.testing.assert_close(found[1], expected[1].flip(-1))


def alone(images: torch.Tensor, rows: torch.Tensor, boxes: torch.Tensor, size: int) -> torch.Tensor:
    """Crops one by one."""
    made = []
    for row, (top, left, height, width) in zip(rows, boxes.tolist(), strict=True):
        part = images[row, :, top : top + height, left : left + width].float() / 255
        whole_already = height == width == size
        made.append(
            part if whole_already else F.interpolate(part[None], (size, size), mode="bilinear", antialias=True)[0]
        )
    return torch.stack(made)


@pytest.mark.parametrize("size", [SIDE, SIDE // 2, 7])
@pytest.mark.parametrize("ratio", [(1.0, 1.0), (3 / 4, 4 / 3)])
def test_crops_of_a_batch_are_those_of_each_image_alone(size: int, ratio: tuple[float, float]) -> None:
    """Bit for bit on the CPU, whether boxes share a shape or not; in one go, as on a GPU, within 1e-5."""
    rng = np.random.default_rng(0)
    images, rows = pixels(6), torch.from_numpy(rng.integers(0, 6, 60))
    boxes = torch.from_numpy(sample_boxes(rng, 60, SIDE, (0.01, 1.0), ratio))
    boxes[:3] = torch.tensor([[0, 0, SIDE, SIDE], [SIDE - 1, 0, 1, 1], [0, 0, size, size]])
    assert len(boxes[:, 2:].unique(dim=0)) < 60
    expected = alone(images, rows, boxes, size)
    assert torch.equal(crops(images, rows, boxes, size), expected)
    at_once = resized(whole(images)[rows], boxes, size)
    torch.testing.assert_close(at_once, expected, rtol=0, atol=1e-5)
    with autocast("bfloat16"):
        assert torch.equal(resized(whole(images)[rows], boxes, size), at_once), "pixels are no forward pass"


def test_cutmix_pixel_by_pixel() -> None:
    images, targets = pixels(4), torch.tensor([0, 1, 2, 2])
    top, left, height, width = hole = (3, 20, 6, 4)
    share = 1 - height * width / SIDE**2
    partner = torch.tensor([1, 2, 3, 0])
    view = still(4, partner=partner, share=share, hole=hole)
    found, x = render(images, view), whole(images)
    for b in range(4):
        for row in range(SIDE):
            for column in range(SIDE):
                inside = top <= row < top + height and left <= column < left + width
                source = partner[b] if inside else b
                assert torch.equal(found[b, :, row, column], x[source, :, row, column])
    expected = torch.zeros(4, 3)
    for b in range(4):
        expected[b, targets[b]] += share
        expected[b, targets[partner[b]]] += 1 - share
    torch.testing.assert_close(mixed_targets(targets, view, 3), expected)


def test_mixup_is_the_weighted_mean_of_images_and_classes() -> None:
    images, targets, partner = pixels(3), torch.tensor([0, 1, 1]), torch.tensor([2, 0, 1])
    view = still(3, partner=partner, share=0.3)
    x = whole(images)
    torch.testing.assert_close(render(images, view), 0.3 * x + 0.7 * x[partner])
    expected = torch.tensor([[0.3, 0.7], [0.7, 0.3], [0.0, 1.0]])
    torch.testing.assert_close(mixed_targets(targets, view, 2), expected)


def test_sampled_shares_are_the_area_that_is_left() -> None:
    for epoch in range(50):
        for view in sample_views(8, SIDE, 4, Augment(mix="cutmix"), 0, epoch):
            top, left, height, width = view.hole
            assert 0 <= top <= top + height <= SIDE and 0 <= left <= left + width <= SIDE
            assert view.share == 1 - height * width / SIDE**2
            assert sorted(view.partner.tolist()) == list(range(4))


def test_images_of_a_set_are_taken_by_the_views_rows() -> None:
    images = pixels(5)
    view = still(2, rows=torch.tensor([4, 1]))
    assert torch.equal(render(images, view), whole(images[[4, 1]]))
    targets = torch.tensor([0, 1, 0, 0, 2])
    assert mixed_targets(targets, view, 3).argmax(1).tolist() == [2, 1]


def test_cutmix_keeps_more_of_the_own_image_than_its_share_since_boxes_are_clipped() -> None:
    """0.68 on average in the codes of SRe2L, RDED and G_VBSM, where the share itself averages 0.50."""
    views = sample_views(8000, 224, 2, Augment(), 0, 0)
    assert np.mean([view.share for view in views]) == pytest.approx(0.68, abs=0.015)
