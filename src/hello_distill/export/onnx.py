"""The projector as ONNX: images to logits, for whatever runs such files."""

from __future__ import annotations

import copy
import json
import logging
import warnings
from pathlib import Path

import numpy as np
import torch
from torch import nn

from hello_distill import artifact as artifacts
from hello_distill.artifact import Artifact
from hello_distill.data.names import CLASSES
from hello_distill.system.errors import InputError, MachineError
from hello_distill.types import Images
from hello_distill.views import whole

FILE = "projector.onnx"
GRAPH = 2**20
"""Bytes of what is not weights, roughly."""
TOLERANCE = 1e-4
"""Of the largest logit: how far onnxruntime's may lie from ours."""


def write(folder: Path, out: str | Path, ipc: int | None = None) -> Path:
    """Write `projector.onnx` and `classes.json`, the class names in the order of the logits.

    `images` (batch 3 side side), float in [0, 1] and of the side of the artefact's own, give `logits` (batch c). All is
    in the file: the resize to the encoder's input, its normalisation, the encoder with LoRA merged, the head and the
    scale. It is asked for logits of the artefact's images by onnxruntime before it appears.

    Raises InputError for other labels and for `ipc`, which means nothing here; MachineError where onnx, onnxruntime or
    onnxscript is missing, or where onnxruntime gives other logits.
    """
    if ipc is not None:
        raise InputError("--ipc chooses images, and --to onnx writes the projector; leave it out")
    _check_installed()
    artifact = artifacts.load(folder)
    projector = copy.deepcopy(artifact.projector).cpu()
    size = sum(weight.numel() * weight.element_size() for weight in projector.state_dict().values())
    with artifacts.published(out, size + GRAPH) as partial:
        _convert(projector, artifact.data.side, partial / FILE)
        _check(projector, whole(artifact.data.images[:4].cpu()), partial / FILE)
        (partial / CLASSES).write_text(_names(artifact), encoding="utf-8")
    return Path(out)


def _names(artifact: Artifact) -> str:
    return json.dumps(artifact.classes, indent=2, ensure_ascii=False) + "\n"


def _check_installed() -> None:
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise MachineError(
            f"--to onnx needs the package {error.name}; install it with `pip install 'hello-distill[onnx]'`"
        ) from None


def _convert(projector: nn.Module, side: int, file: Path) -> None:
    """Write a network of images (b 3 side side), for any b. What torch has to say of the way there is not shown."""
    example = torch.zeros(2, 3, side, side)
    logger = logging.getLogger("torch.onnx")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.onnx.export(
                projector,
                (example,),
                str(file),
                input_names=["images"],
                output_names=["logits"],
                dynamic_shapes=({0: torch.export.Dim("batch")},),
                dynamo=True,
                external_data=False,
                verbose=False,
            )
    finally:
        logger.setLevel(before)


def _check(projector: nn.Module, images: Images, file: Path) -> None:
    """Raise MachineError where onnxruntime does not give the projector's logits."""
    import onnxruntime

    with torch.inference_mode():
        ours = projector(images).numpy()
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    (theirs,) = session.run(["logits"], {"images": images.numpy()})
    difference = float(np.abs(theirs - ours).max() / np.abs(ours).max())
    if not difference <= TOLERANCE:
        raise MachineError(
            f"onnxruntime {onnxruntime.__version__} gives logits that differ by {difference:.1g} of the largest from "
            f"PyTorch's; install other versions of torch and onnxruntime"
        )
