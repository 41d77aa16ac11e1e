"""An artefact as a Lightning DataModule, and a student: `python examples/with_lightning.py out/a`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import lightning
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor
from torch.utils.data import DataLoader

import hello_distill as hd


class Distilled(lightning.LightningDataModule):
    """The images of an artefact, whose views and labels are made behind the transfer to the device."""

    def __init__(self, folder: str, batch_size: int = 64) -> None:
        super().__init__()
        self.artifact = hd.load(folder)
        self.collate = self.artifact.collate()
        self.batch_size = batch_size

    def train_dataloader(self) -> DataLoader[tuple[Tensor, int]]:
        """Samples: images (b 3 h w, uint8) and classes (b)."""
        return DataLoader(self.artifact.dataset(), self.batch_size, shuffle=True)

    def on_after_batch_transfer(self, batch: Sequence[Tensor], dataloader_idx: int) -> tuple[Tensor, ...]:
        """Views in [0, 1] with soft and mixed hard labels."""
        return tuple(self.collate(batch))


class Student(lightning.LightningModule):
    """A network that matches the labels."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.network = torchvision.models.resnet18(num_classes=classes)

    def training_step(self, batch: tuple[Tensor, ...], number: int) -> Tensor:
        """The loss on a batch."""
        images, soft, _hard = batch
        return F.mse_loss(self.network(images), soft)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """AdamW at one rate."""
        return torch.optim.AdamW(self.parameters(), lr=1e-3)


def train(folder: str, epochs: int = 300, batch_size: int = 64) -> torch.nn.Module:
    """A network that matches the labels of an artefact."""
    data = Distilled(folder, batch_size)
    student = Student(len(data.artifact.classes))
    trainer = lightning.Trainer(
        max_epochs=epochs,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(student, datamodule=data)
    return student.network


if __name__ == "__main__":
    torch.save(train(sys.argv[1]).state_dict(), "student.pt")
