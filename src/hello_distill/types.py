"""Shapes and contracts that two or more modules share. Next to no logic.

Dimension letters: b batch, n images, m crops, k patches, c classes, d features, h and w pixels.
An image is float RGB in [0, 1] wherever it is computed with, and uint8 where it is kept.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol, TypeAlias, runtime_checkable

from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor

from hello_distill.system.errors import InputError

Images: TypeAlias = Float[Tensor, "b 3 h w"]
Pixels: TypeAlias = UInt8[Tensor, "n 3 h w"]
Logits: TypeAlias = Float[Tensor, "b c"]
Features: TypeAlias = Float[Tensor, "b d"]
Targets: TypeAlias = Int64[Tensor, "n"]
Rows: TypeAlias = Int64[Tensor, "b"]
Scalar: TypeAlias = Float[Tensor, ""]
Classifier: TypeAlias = Callable[[Images], Logits]
"""Images in [0, 1] to logits. Normalisation is inside."""


class View(NamedTuple):
    """One augmented batch as a value: everything random about it, and nothing else.

    Boxes are whole pixels, so a stored view crops exactly what the view that wrote it cropped.
    """

    key: int
    """Place of the view in a training: epoch * batches per epoch + batch."""
    rows: Rows
    """Places of the images in their set."""
    box: Int64[Tensor, "b 4"]
    """Crop in pixels of the kept image: top, left, height, width."""
    flip: Bool[Tensor, "b"]
    """Whether the crop is mirrored left to right."""
    partner: Int64[Tensor, "b"]
    """Place in this batch of the image that is mixed in."""
    share: float
    """Part of the own image that is left: 1 - area of the hole (CutMix), lambda (Mixup), 1 (no mixing)."""
    hole: tuple[int, int, int, int]
    """CutMix box in pixels of the rendered image (as large as the kept one); all zero where nothing is cut."""


class Batch(NamedTuple):
    """What a student sees in one step."""

    images: Images
    soft: Logits
    """Labels of these very views, in the unit of the label source."""
    hard: Float[Tensor, "b c"]
    """One-hot class of each image, mixed as the images were."""


@runtime_checkable
class LabelSource(Protocol):
    """Where soft labels come from: the narrow waist of the project. Sources derive from it.

    A soft label belongs to an augmented view, not to an image; so a source is asked with both.
    """

    kind: str
    """Name of the kind in `labels/` that loads this source again."""
    unit: Literal["logits", "probabilities"] = "logits"
    """Students match logits by the recipe's loss; probabilities, such as mixed classes, are a target of CE."""
    online: bool = False
    """Whether it labels by looking, so that it can label new images and views that were never stored."""
    side: int | None = None
    """Height and width in pixels of the images that it was trained on, where it labels no others."""
    by_image: bool = False
    """Whether a label depends on its image alone: a part of a batch may be labelled, and several batches at once."""

    def views(self, epoch: int, sampled: Iterable[View]) -> Iterable[View]:
        """The views of an epoch: the sampled ones, unless views are stored with the labels."""
        return sampled

    def of_rows(self, rows: Rows) -> LabelSource:
        """The source for some of the images alone. Raises InputError where labels are kept by image or by view."""
        if not self.online:
            raise InputError(
                f"{self.kind} labels cannot be cut to fewer images; leave --ipc out, or choose --short-class repeat"
            )
        return self

    def __call__(self, images: Images, view: View) -> Logits:
        """Labels (b c) of the rendered images (b 3 h w) of a view.

        With `by_image` they may be images of several views, or some of one's.
        """
        ...

    def __getstate__(self) -> Any:
        """Networks go to other processes by value: tensor by tensor they are more files than a forkserver passes on."""
        return pickle.dumps(self.__dict__) if self.online else self.__dict__

    def __setstate__(self, state: Any) -> None:
        """What `__getstate__` gave."""
        self.__dict__.update(pickle.loads(state) if isinstance(state, bytes) else state)

    def size(self) -> int:
        """Bytes of the files that `save` writes."""
        ...

    def save(self, folder: Path) -> dict[str, Any]:
        """Write what the source needs into the artefact's folder; return its part of the manifest."""
        ...
