"""A student of timm, with its optimiser and its schedule: `python examples/with_timm.py out/a`."""

from __future__ import annotations

import sys

import timm
import torch
import torch.nn.functional as F
from timm.optim import create_optimizer_v2
from timm.scheduler import CosineLRScheduler
from torch import nn

import hello_distill as hd


def train(folder: str, name: str = "resnet18", epochs: int = 300) -> nn.Module:
    """A network that matches the labels of an artefact; its loader draws new views in every epoch."""
    artifact = hd.load(folder)
    student = timm.create_model(name, num_classes=len(artifact.classes)).to(artifact.data.images.device)
    optimizer = create_optimizer_v2(student, opt="adamw", lr=1e-3, weight_decay=0.01)
    schedule = CosineLRScheduler(optimizer, t_initial=epochs)
    loader = artifact.loader()
    for epoch in range(epochs):
        for images, soft, _hard in loader:
            loss = F.mse_loss(student(images), soft)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        schedule.step(epoch + 1)
    return student


if __name__ == "__main__":
    torch.save(train(sys.argv[1]).state_dict(), "student.pt")
