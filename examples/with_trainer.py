"""A student trained by the `Trainer` of transformers: `python examples/with_trainer.py out/a`."""

from __future__ import annotations

import sys
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from transformers import ResNetConfig, ResNetForImageClassification, Trainer, TrainingArguments

import hello_distill as hd


class Student(nn.Module):
    """An image classifier that says its own loss, as the `Trainer` expects it."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixel_values: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        """Loss and logits (b c) of images (b 3 h w) in [0, 1] with soft labels (b c)."""
        logits = self.network(pixel_values).logits
        return {"loss": F.mse_loss(logits, labels), "logits": logits}


def train(folder: str, epochs: int = 300, batch_size: int = 64, out: str = "out/trainer", **settings: Any) -> nn.Module:
    """A network that matches the labels of an artefact. Labels are made where batches are collated."""
    artifact = hd.load(folder)
    collate = artifact.collate()

    def columns(samples: list[Any]) -> dict[str, torch.Tensor]:
        images, soft, _hard = collate(samples)
        return {"pixel_values": images, "labels": soft}

    network = ResNetForImageClassification(ResNetConfig(num_labels=len(artifact.classes), **settings))
    arguments = TrainingArguments(
        out,
        num_train_epochs=epochs,
        per_device_train_batch_size=batch_size,
        learning_rate=1e-3,
        remove_unused_columns=False,  # samples are pairs, and have no columns yet
        dataloader_pin_memory=False,  # they are on the device already
        report_to=[],
        save_strategy="no",
    )
    trainer = Trainer(Student(network), arguments, data_collator=columns, train_dataset=artifact.dataset())
    trainer.train()
    return network


if __name__ == "__main__":
    train(sys.argv[1]).save_pretrained("student")
