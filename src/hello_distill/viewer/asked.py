"""A view that the page asks for, checked, and the labels that a student would see with it."""

from __future__ import annotations

import base64
import io
from typing import Annotated, Any, Literal, TypeAlias

import torch
from jaxtyping import Float
from PIL import Image
from pydantic import Field, ValidationError
from torch import Tensor

from hello_distill.format.fields import Count, Part, Share
from hello_distill.format.specs import first_fault
from hello_distill.system.errors import InputError
from hello_distill.types import LabelSource, View
from hello_distill.viewer.shown import Shown
from hello_distill.views import NO_HOLE, render

TOP = 5
"""Classes that are shown of a label."""
Box: TypeAlias = tuple[Count, Count, Count, Count]
"""Top, left, height and width in whole pixels."""


class Mixup(Part):
    """Both images in every pixel: `share` of the own, the rest of the partner."""

    kind: Literal["mixup"]
    partner: Count
    share: Share


class CutMix(Part):
    """The partner in a box of the rendered image."""

    kind: Literal["cutmix"]
    partner: Count
    hole: Box


class Asked(Part):
    """One image with its crop, in pixels of the kept image, and what is mixed into it: the whole of its partner."""

    row: Count
    box: Box
    flip: bool = False
    before: bool = False
    """Of the images before the image update."""
    mix: Annotated[Mixup | CutMix, Field(discriminator="kind")] | None = None

    def view(self, side: int) -> View:
        """The view as a batch: the image, and behind it its partner where it has one."""
        mix = self.mix
        hole = mix.hole if isinstance(mix, CutMix) else NO_HOLE
        share = mix.share if isinstance(mix, Mixup) else 1 - hole[2] * hole[3] / side**2
        last = 0 if mix is None else 1
        return View(
            key=0,
            rows=torch.tensor([self.row, *([mix.partner] if mix else [])]),
            box=torch.tensor([self.box, *([(0, 0, side, side)] if mix else [])]),
            flip=torch.tensor([self.flip, False][: last + 1]),
            partner=torch.tensor([last] * (last + 1)),
            share=share,
            hole=hole,
        )


def read(content: bytes, shown: Shown) -> Asked:
    """What a page asks for. Raises InputError, in a sentence, where there is no such view of what is shown."""
    try:
        asked = Asked.model_validate_json(content)
    except ValidationError as error:
        raise InputError(f"a view is asked for otherwise: {first_fault(error)}") from None
    count, side = len(shown.artefact.data), shown.artefact.data.side
    for row in (asked.row, *([asked.mix.partner] if asked.mix else [])):
        if row >= count:
            raise InputError(f"there is no image {row}; the last is {count - 1}")
    _check_inside("box", asked.box, side)
    if isinstance(asked.mix, CutMix):
        _check_inside("hole", asked.mix.hole, side)
    if asked.before and shown.before is None:
        raise InputError("there are no images from before the image update; start `view` with --before")
    return asked


def _check_inside(name: str, box: Box, side: int) -> None:
    """Raise InputError for a box that is empty or not inside of an image of `side` pixels."""
    top, left, height, width = box
    if not (height and width and top + height <= side and left + width <= side):
        raise InputError(
            f"`{name}` {list(box)} (top, left, height, width) is no part of an image of {side} by {side} pixels"
        )


def answer(shown: Shown, asked: Asked) -> dict[str, Any]:
    """The rendered view as a picture, and the first `TOP` classes of each labeller's label of it, as JSON.

    Labels are those of `source(render(images, view), view)`: exactly what a student is given with this view.
    """
    images = (shown.before if asked.before and shown.before else shown.artefact).data.images
    view = asked.view(shown.artefact.data.side)
    rendered = render(images, view)
    return {
        "picture": picture(rendered[0]),
        "share": view.share,
        "labels": [{"name": each.name, "top": top(each.source, rendered, view)} for each in shown.labellers],
    }


def top(source: LabelSource, rendered: Float[Tensor, "b 3 h w"], view: View) -> list[dict[str, Any]]:
    """The most probable classes of the label of a view's first image, falling; classes of probability 0 are left out.

    Logits become probabilities by a softmax; labels that are probabilities have no logits.
    """
    label = source(rendered, view)[0].float().cpu()
    is_logits = source.unit == "logits"
    probabilities = label.softmax(0) if is_logits else label
    values, classes = probabilities.topk(min(TOP, len(label)))
    return [
        {"class": at, "probability": value, "logit": label[at].item() if is_logits else None}
        for value, at in zip(values.tolist(), classes.tolist(), strict=True)
        if value > 0
    ]


def picture(image: Float[Tensor, "3 h w"]) -> str:
    """An image in [0, 1] as a data URL (PNG)."""
    content = io.BytesIO()
    Image.fromarray(image.mul(255).round().to(torch.uint8).permute(1, 2, 0).cpu().numpy()).save(content, "png")
    return f"data:image/png;base64,{base64.b64encode(content.getvalue()).decode()}"
