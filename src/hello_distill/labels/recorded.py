"""What kinds share that store labels view by view: `stored`, `pruned`, `quantized`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from hello_distill.format import sizes
from hello_distill.format.fields import Count, Few, Part
from hello_distill.format.kinds import LabelKind, LabelPart, option
from hello_distill.format.manifest import MOST_VALUES, check_seeds


class CodecPart(Part):
    """How a stored row of logits is kept."""

    name: Literal["float32", "float16", "float8", "int8", "topk"]
    """Form of a row of logits."""
    k: Annotated[int, Field(ge=1, le=2**15 - 1)] = 0
    """Logits that `topk` keeps; not written for others."""

    @model_validator(mode="after")
    def _k_of_topk(self) -> CodecPart:
        if bool(self.k) != (self.name == "topk"):
            raise ValueError("k belongs to topk, and to topk alone")
        return self


class DrawPart(Part):
    """Which stored batches an epoch takes."""

    replacement: bool
    """Whether a batch may come twice in an epoch."""
    seed: Count
    """Of the draw."""
    rounds: bool = False
    """Whether every batch comes once before any comes again; not written where not."""


class RecordedPart(LabelPart):
    """Labels stored view by view."""

    draw: DrawPart | None
    """Null where an epoch takes its own batches, in order."""
    batches: Few
    """Batches that are stored."""
    batches_per_epoch: Few
    """Batches of an epoch of the training."""
    batches_per_file: Few
    """Batches of every file but the last."""
    classes: Few
    """As many as the artefact has."""
    codec: CodecPart
    """How labels are kept."""
    seed: Count
    """The student whose views these are."""
    images: Few
    """As many as the artefact has."""

    @model_validator(mode="after")
    def _sound(self) -> RecordedPart:
        if sizes.num_files(self.batches, self.batches_per_file) > MOST_VALUES:
            raise ValueError("labels lie in more files than an artefact can list")
        if self.batches_per_epoch > self.images:
            raise ValueError("an epoch has more batches than images")
        if self.draw is not None and self.draw.rounds and self.batches % self.batches_per_epoch:
            raise ValueError("labels that are drawn in rounds are not those of whole epochs")
        return self

    def files(self) -> set[str]:
        return {f"labels/{shard_file(n)}" for n in range(sizes.num_files(self.batches, self.batches_per_file))}

    def check_images(self, classes: int, images: int, side: int) -> None:
        if (self.classes, self.images) != (classes, images):
            raise ValueError("labels are stored for other classes or images")

    def index_bytes(self) -> int:
        columns = sizes.label_columns(self.codec.name, self.classes, self.codec.k)
        return sizes.recording_bytes(self.images, self.batches_per_epoch, self.batches, columns)["index"]


def shard_file(number: int) -> str:
    """Name of a file of stored labels."""
    return f"{number:05d}.safetensors"


@dataclass(frozen=True)
class RecordedKind(LabelKind):
    """Labels of the views of a student's training."""

    part: ClassVar[type[LabelPart]] = RecordedPart
    made_by = "teacher"
    seed: int = option(0, "the student whose views are stored (default: 0)")

    def __post_init__(self) -> None:
        check_seeds([self.seed], "--seed")

    @classmethod
    def load(cls, folder: Path, part: dict[str, Any], data: Any) -> Any:
        from hello_distill.labels.sources.recording import open_recorded

        return open_recorded(folder, part, data.side)

    def recorded(
        self, data: Any, student: Any, online: Any, codec: Any = None, keep: float = 1.0, epochs: int | None = None
    ) -> Any:
        """The batches of a student's training that are stored (a Plan), in float16 unless another codec is given.

        `epochs` is how long that training would be, where not as long as the student's own.
        """
        from hello_distill.format.codecs import Plain
        from hello_distill.labels.sources.recording import Plan

        batches = (epochs or student.optim.epochs) * sizes.num_batches(len(data), student.optim.batch_size)
        return Plan(
            images=data,
            source=online,
            codec=codec or Plain("float16"),
            augment=student.augment,
            batch_size=student.optim.batch_size,
            seed=self.seed,
            batches=batches if keep == 1 else sizes.kept_batches(batches, keep),
        )
