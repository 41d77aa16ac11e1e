"""Each stage as the published codes do it: image by image, with torchvision's transforms. What `bench` compares with.

Written from what those codes do (RDED's synthesis and validation, SRe2L's recovery, HeLlO by stock peft), not from
their text. The same images, networks, numbers of crops and steps as ours.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torchvision.transforms import v2

from hello_distill.types import Classifier

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def decoded(files: Sequence[Path]) -> Iterator[Tensor]:
    """Images (3 h w) in [0, 1], one after another."""
    tensor = v2.Compose([v2.ToImage(), v2.ToDtype(torch.float32, scale=True)])
    for file in files:
        with Image.open(file) as picture:
            yield tensor(picture.convert("RGB"))


def resized(images: Iterator[Tensor], side: int) -> Iterator[Tensor]:
    """The centre square of each image (3 side side)."""
    resize = v2.Compose([v2.Resize(side, antialias=True), v2.CenterCrop(side)])
    for image in images:
        yield resize(image)


def crops(images: Iterator[Tensor], number: int, side: int, scale: tuple[float, float]) -> Iterator[Tensor]:
    """`number` random square crops (number 3 side side) of each image."""
    crop = v2.RandomResizedCrop(side, scale, (1.0, 1.0), antialias=True)
    for image in images:
        yield torch.stack([crop(image) for _ in range(number)])


@torch.no_grad()
def patches(
    classes: Sequence[Sequence[Path]], network: nn.Module, ipc: int, factor: int, number: int, side: int
) -> list[Tensor]:
    """RDED's synthesis: all crops of a class, padded to whole images for the network, the easiest stitched."""
    made, patch = [], side // factor
    for target, files in enumerate(classes):
        cut = torch.stack(list(crops(decoded(files), number, patch, (0.25, 1.0))))  # n crops 3 patch patch
        scores = []
        for part in cut.transpose(0, 1):  # a crop of each image at once, as its code does
            border = side - patch
            padded = F.pad(part, (border // 2, border - border // 2, border // 2, border - border // 2))
            scores.append(-F.log_softmax(network(padded), 1)[:, target])
        best = torch.stack(scores, 1)
        least, which = best.min(1)
        order = least.argsort()[: ipc * factor**2]
        chosen = cut[order, which[order]]
        rows = [torch.cat([chosen[(r * factor + c) * ipc :][:ipc] for c in range(factor)], 3) for r in range(factor)]
        made.append((torch.cat(rows, 2) * 255).to(torch.uint8))
    return made


def batches(
    images: Tensor, batch_size: int, scale: tuple[float, float], mixed: bool
) -> Iterator[tuple[Tensor, Tensor]]:
    """An epoch of augmented batches with the rows of their images: crop and flip image by image, then CutMix."""
    augment = v2.Compose([v2.RandomResizedCrop(images.shape[-1], scale, antialias=True), v2.RandomHorizontalFlip()])
    for rows in torch.randperm(len(images)).split(batch_size):
        batch = torch.stack([augment(images[row].float() / 255) for row in rows])
        if mixed:
            side, share = images.shape[-1], torch.distributions.Beta(1.0, 1.0).sample().item()
            size = int(side * (1 - share) ** 0.5)
            top, left = (int(torch.randint(side - size + 1, ())) for _ in range(2))
            part = (slice(None), slice(None), slice(top, top + size), slice(left, left + size))
            batch[part] = batch[torch.randperm(len(batch))][part]
        yield rows, batch


def teacher_epoch(network: nn.Module, images: Tensor, targets: Tensor, batch_size: int) -> None:
    """CE on augmented images."""
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-3)
    network.train()
    for rows, batch in batches(images, batch_size, (0.25, 1.0), mixed=False):
        optimiser.zero_grad()
        F.cross_entropy(network(batch), targets[rows]).backward()
        optimiser.step()


def projector_epoch(lora: nn.Module, weak: Sequence[Classifier], images: Tensor, targets: Tensor, size: int) -> None:
    """Eq. 5 by stock peft: MSE to the mean logits of the weak teachers, and CE."""
    optimiser = torch.optim.AdamW([p for p in lora.parameters() if p.requires_grad], lr=1e-3)
    for rows, batch in batches(images, size, (0.5, 1.0), mixed=True):
        with torch.no_grad():
            wanted = torch.stack([teacher(batch) for teacher in weak]).mean(0)
        optimiser.zero_grad()
        given = lora(batch)
        (F.mse_loss(given, wanted) + F.cross_entropy(given, targets[rows])).backward()
        optimiser.step()


def student_epoch(student: nn.Module, teacher: Classifier, images: Tensor, batch_size: int) -> None:
    """RDED's validation: the teacher labels each mixed batch, and the student sees it once more than it learns."""
    optimiser = torch.optim.AdamW(student.parameters(), lr=1e-3)
    student.train()
    for _, batch in batches(images, batch_size, (0.25, 1.0), mixed=True):
        with torch.no_grad():
            wanted = F.softmax(teacher(batch) / 20, 1)
            student(batch)
        optimiser.zero_grad()
        F.kl_div(F.log_softmax(student(batch) / 20, 1), wanted, reduction="batchmean").backward()
        optimiser.step()


def recovery(network: nn.Module, targets: Tensor, side: int, steps: int) -> Tensor:
    """SRe2L's: one image a class from noise, by CE and the distance of all batch statistics."""
    seen: list[Tensor] = []

    def keep(norm: nn.Module, given: tuple[Tensor, ...], _: object) -> None:
        mean, variance = given[0].mean((0, 2, 3)), given[0].var((0, 2, 3), unbiased=False)
        seen.append((norm.running_mean - mean).norm() + (norm.running_var - variance).norm())  # type: ignore[operator]

    hooks = [m.register_forward_hook(keep) for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    x = torch.randn(len(targets), 3, side, side, requires_grad=True)
    optimiser = torch.optim.Adam([x], lr=0.25, betas=(0.5, 0.9))
    crop = v2.Compose([v2.RandomResizedCrop(side, antialias=True), v2.RandomHorizontalFlip()])
    low, high = ((bound - torch.tensor(MEAN)) / torch.tensor(STD) for bound in (0.0, 1.0))
    for _ in range(steps):
        seen.clear()
        optimiser.zero_grad()
        loss = F.cross_entropy(network(crop(x)), targets)
        (loss + 0.01 * (10 * seen[0] + sum(seen[1:]))).backward()
        optimiser.step()
        with torch.no_grad():
            x.copy_(x.clamp(low.view(3, 1, 1), high.view(3, 1, 1)))
    for hook in hooks:
        hook.remove()
    return x.detach()
