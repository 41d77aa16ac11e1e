"""Train students on a saved artefact and test them: Algorithm 1, lines 12-15."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from hello_distill.artifact import Artifact
from hello_distill.data.images import ImageSet
from hello_distill.format.sizes import num_batches
from hello_distill.projector import Projector
from hello_distill.stages.kept import fingerprint
from hello_distill.system import context, distributed
from hello_distill.system.cache import locked
from hello_distill.system.errors import MachineError
from hello_distill.system.machine import cache_folder
from hello_distill.system.publishing import check_writable
from hello_distill.teachers import ENCODER, network
from hello_distill.training.checkpoint import within
from hello_distill.training.fit import fit
from hello_distill.training.folding import without_norms
from hello_distill.training.networks import build
from hello_distill.training.scores import in_precision, percent, top1
from hello_distill.training.training_set import TrainingSet
from hello_distill.types import Batch, Classifier, Rows, View
from hello_distill.views import render


@dataclass(frozen=True)
class Score:
    """Test accuracy of one student, in percent, by the epoch after which it was tested."""

    seed: int
    top1: dict[int, float]
    held: float | None = None
    """After the last epoch, on held-out training images, where these were asked for: what may be chosen by."""

    @property
    def last(self) -> float:
        """After the last epoch."""
        return self.top1[max(self.top1)]

    @property
    def best(self) -> float:
        """Best of the tested epochs: chosen on the test set, so beside `last` and never instead of it."""
        return max(self.top1.values())


def tested(score: Score) -> dict[str, float]:
    """Accuracy by the epoch after which it was measured, fit for JSON."""
    return {str(epoch): top1 for epoch, top1 in score.top1.items()}


def fresh(name: str, data: ImageSet, seed: int) -> nn.Module:
    """An untrained student: with random weights, or a linear head on a public encoder that stays as it is.

    `encoder/lite@64` is such an encoder, at 64 pixels. Its head starts at zero, has no bias, and is all that is
    trained; as a teacher the same name is an encoder that is trained as a whole. Raises InputError for an unknown
    name, MachineError where the encoder is not within reach.
    """
    if not name.startswith(ENCODER):
        return build(name, len(data.classes), data.side, seed)
    student = network(name, len(data.classes), data.side).requires_grad_(False)
    assert isinstance(student, Projector)
    student.label_head.requires_grad_(True)
    return student


def train_student(training: TrainingSet, test: ImageSet, seed: int, held: ImageSet | None = None) -> Score:
    """A fresh student by the set's own protocol, tested as it goes, and on held-out images at its end."""
    spec, data = training.student, training.data
    student = fresh(spec.network, data, seed).to(data.images.device)
    accuracies: dict[str, Tensor] = {}
    what, steps = f"student, seed {seed}", num_batches(len(data), spec.optim.batch_size)

    def seen() -> Classifier:
        return in_precision(without_norms(student), spec.optim.precision)

    def test_student(epoch: int) -> None:
        if epoch in spec.tested_epochs() and (accuracy := top1(seen(), test)) is not None:
            accuracies[str(epoch)] = torch.tensor(accuracy, dtype=torch.float64)
            context.curves(what).add_scalar("top1", accuracy, epoch * steps)

    def epoch_of(epoch: int, first: int) -> Iterator[tuple[Rows, Batch]]:
        for view, batch in training.batches(epoch=epoch, seed=seed, first=first):
            if spec.double_forward:
                move_statistics(student, data, view, distributed.part(len(view.rows)))
            yield view.rows, batch

    fit(student, epoch_of, steps, training.student_loss(), spec.optim, seed, test_student, what, accuracies)
    by_epoch = {int(epoch): accuracy.item() for epoch, accuracy in accuracies.items()}
    return Score(seed, by_epoch, top1(seen(), held) if held is not None else None)


@torch.no_grad()
def move_statistics(student: nn.Module, data: ImageSet, view: View, part: slice = distributed.EVERY) -> None:
    """The forward pass that RDED's code makes before each step: on mixed images under CutMix (its mixing is in
    place), on unmixed ones under Mixup."""
    seen = view if any(view.hole) else view._replace(share=1.0)
    student(render(data.images, seen, part))


def students_of(artifact: Artifact, test: ImageSet, seeds: Sequence[int]) -> list[Score]:
    """Students of a saved artefact. A run that was stopped goes on: until all are trained, checkpoints are in the
    user's cache, unless another process trains the same or the cache cannot be written."""
    spec, kind = artifact.student, artifact.labels.kind
    known = repr((artifact.manifest["files"], spec, kind, len(artifact.data), [*seeds], fingerprint(test)))
    folder = cache_folder() / "students" / hashlib.sha256(known.encode()).hexdigest()[:16]
    with resumable(folder):
        return train_students(artifact, test, seeds)


@contextmanager
def resumable(folder: Path) -> Iterator[None]:
    """Checkpoints in a folder that this process has for itself, or none; of several processes the first decides."""
    own = reserved(folder) if distributed.first() else nullcontext(False)
    with own as mine, within(folder if distributed.followed(float(mine)) else None):
        yield


@contextmanager
def reserved(folder: Path) -> Iterator[bool]:
    """Whether this process has a folder for itself; why not, is said."""
    reason = "another process trains the same students"
    try:
        check_writable(folder.parent)
    except MachineError as error:
        reason, lock = str(error), None
    else:
        lock = folder.with_suffix(".lock")
    with locked(lock, wait=False) if lock else nullcontext(False) as mine:
        if not mine:
            with context.stage("checkpoints") as stage:
                stage.figure = f"none: {reason}"
        yield mine
        if mine and lock:
            lock.unlink(missing_ok=True)


def train_students(training: TrainingSet, test: ImageSet, seeds: Sequence[int], what: str = "student") -> list[Score]:
    """One student per seed; `what` names them in the progress lines."""
    scores = []
    for seed in seeds:
        with context.stage(f"{what}, seed {seed}") as stage:
            scores.append(train_student(training, test, seed))
            stage.figure = f"top-1 {percent(scores[-1].last)} last, {percent(scores[-1].best)} best"
    return scores
