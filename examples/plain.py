"""A student in plain PyTorch: `python examples/plain.py out/a`."""

from __future__ import annotations

import sys

import torch
import torch.nn.functional as F
import torchvision
from torch import nn
from torch.utils.data import DataLoader

import hello_distill as hd


def train(folder: str, epochs: int = 300, batch_size: int = 64) -> nn.Module:
    """A network that matches the labels of an artefact, which a GPU makes as it trains there."""
    artifact = hd.load(folder)
    device = artifact.data.images.device
    student = torchvision.models.resnet18(num_classes=len(artifact.classes)).to(device)
    optimizer = torch.optim.AdamW(student.parameters(), lr=1e-3)
    samples = DataLoader(artifact.dataset(), batch_size, shuffle=True, drop_last=len(artifact.data) > batch_size)
    for _ in range(epochs):
        for images, soft, _hard in map(artifact.collate(), samples):
            loss = F.mse_loss(student(images), soft)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return student


if __name__ == "__main__":
    torch.save(train(sys.argv[1]).state_dict(), "student.pt")
