"""Artefacts in other people's code: as a data set of torch, as a labeller, as a module; in worker processes, too."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Subset, WeightedRandomSampler

import hello_distill as hd
from conftest import SIDE
from hello_distill.data.samples import together
from hello_distill.views import still_view, whole


def test_the_data_set_is_the_images_with_their_classes(artefact: Path) -> None:
    opened = hd.load(artefact)
    samples = opened.dataset()
    assert len(samples) == len(opened.data)
    for row, (image, target) in enumerate(samples):
        assert image.dtype == torch.uint8 and torch.equal(image, opened.data.images[row])
        assert type(target) is int and target == opened.data.targets[row]


@pytest.mark.parametrize("kind", ["projector", "teacher", "hard"])
def test_a_collated_batch_is_that_of_the_loader(kind: str, kinds: dict[str, Path]) -> None:
    """Of the same views, whose rows count in the batch: samples one by one, and as torch stacks them."""
    opened = hd.load(kinds[kind])
    samples, collate = opened.dataset(), opened.collate()
    for view, expected in zip(opened.views(batch_size=4, seed=7), opened.loader(batch_size=4, seed=7), strict=True):
        chosen = [samples[row] for row in view.rows]
        stacked = torch.utils.data.default_collate(chosen)
        for given in (chosen, stacked):
            found = collate.batch(together(given, opened.classes), view._replace(rows=torch.arange(len(chosen))))
            assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))


def test_views_are_decided_by_the_seed_of_torch(artefact: Path) -> None:
    opened = hd.load(artefact)

    def batches(seed: int) -> list[torch.Tensor]:
        torch.manual_seed(seed)
        return [images for images, _, _ in DataLoader(opened.dataset(), 4, shuffle=True, collate_fn=opened.collate())]

    assert all(torch.equal(one, other) for one, other in zip(batches(0), batches(0), strict=True))
    assert not torch.equal(batches(0)[0], batches(1)[0])
    assert not torch.equal(*batches(0))


def test_samplers_and_subsets_work(artefact: Path) -> None:
    opened = hd.load(artefact)
    part = Subset(opened.dataset(), [0, 3])
    (batch,) = DataLoader(part, 2, collate_fn=opened.collate())
    assert batch.hard.sum(0).nonzero().flatten().tolist() == sorted({int(opened.data.targets[row]) for row in (0, 3)})
    only_last = WeightedRandomSampler([float(target == 3) for target in opened.data.targets], 6)
    (batch,) = map(opened.collate(), DataLoader(opened.dataset(), 6, sampler=only_last))
    assert torch.equal(batch.hard, torch.tensor([[0.0, 0.0, 0.0, 1.0]]).expand(6, 4))
    assert torch.equal(batch.soft, opened.labels(batch.images, still_view(6, SIDE)))


def test_samples_that_a_transform_changed_are_not_collated(artefact: Path) -> None:
    """Floats would be divided by 255 once more, and every view black."""
    opened = hd.load(artefact)
    image, target = opened.dataset()[0]
    floats, other = (image / 255, target), (image, 4)
    for samples in (
        [floats],
        [(image[:1], target)],
        [other],
        [(image, target), (image[:, 1:, 1:], target)],
        [image],
        [],
    ):
        with pytest.raises(hd.InputError, match=r"^samples to collate are as `dataset\(\)` gives them"):
            opened.collate()(samples)


@pytest.mark.parametrize("kind", ["static", "stored", "pruned", "quantized"])
def test_labels_of_an_order_of_their_own_are_not_collated(kind: str, kinds: dict[str, Path]) -> None:
    opened = hd.load(kinds[kind])
    with pytest.raises(hd.InputError, match=f"^{kind} labels belong to images or views"):
        opened.collate()
    with pytest.raises(hd.InputError, match=f"^{kind} labels cannot label new images"):
        opened.label(whole(opened.data.images))


def test_images_of_ones_own_are_labelled(kinds: dict[str, Path]) -> None:
    opened = hd.load(kinds["projector"])
    images = torch.randint(256, (3, 3, 40, 40), dtype=torch.uint8)
    logits = opened.label(images)
    assert torch.equal(logits, opened.projector(images / 255).half().float())
    assert torch.equal(logits, opened.label(images / 255))
    with pytest.raises(hd.InputError, match=r"not from 0 to 2"):
        opened.label(torch.tensor([0.0, 2.0]).repeat(1, 3, 4, 2))
    for shape in ((3, 8, 8), (1, 1, 8, 8), (1, 3, 8, 9)):
        with pytest.raises(hd.InputError, match=r"are squares \(b 3 h h\), not"):
            opened.label.__wrapped__(opened, torch.zeros(shape))  # past the tests' own check of shapes
    taught = hd.load(kinds["teacher"])
    assert torch.equal(taught.label(taught.data.images), taught.labels(whole(taught.data.images), still_view(8, SIDE)))
    with pytest.raises(hd.InputError, match=f"labels images of {SIDE} pixels, not 40"):
        taught.label(images)
    with pytest.raises(hd.InputError, match="has teacher labels, and no projector"):
        taught.projector  # noqa: B018


def test_the_projector_is_a_module(artefact: Path, tmp_path: Path) -> None:
    projector = hd.load(artefact).projector
    assert isinstance(projector, nn.Module) and not any(each.requires_grad for each in projector.parameters())
    torch.save(projector, tmp_path / "projector.pt")
    again = torch.load(tmp_path / "projector.pt", weights_only=False)
    images = torch.rand(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    assert torch.equal(again(images), projector(images)) and projector(images).shape == (2, 4)


WORKERS = """
import sys
import torch
import hello_distill as hd

def batches(opened, start):
    torch.manual_seed(0)
    loader = torch.utils.data.DataLoader(
        opened.dataset(), batch_size=2, shuffle=True, num_workers=2, multiprocessing_context=start,
        collate_fn=opened.collate(), generator=torch.Generator().manual_seed(0))
    return [[part.clone() for part in batch] for batch in loader]

if __name__ == "__main__":
    opened = hd.load(sys.argv[1])
    forked, spawned, served = (batches(opened, start) for start in ("fork", "spawn", "forkserver"))
    assert len(forked) == len(spawned) == len(served) == 4
    for one, *others in zip(forked, spawned, served):
        assert all(torch.equal(a, b) for other in others for a, b in zip(one, other))
        assert torch.equal(one[1], opened.label(one[0])) and one[2].sum() == 2
    assert not torch.equal(forked[0][0], forked[1][0])
"""


def test_workers_that_are_forked_or_spawned_make_the_same_batches(artefact: Path, tmp_path: Path) -> None:
    script = tmp_path / "workers.py"
    script.write_text(WORKERS)
    done = subprocess.run([sys.executable, script, artefact], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
