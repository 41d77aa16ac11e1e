"""What a manifest and `hello-distill labels` say of projector labels; `sources/projector.py` makes them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from hello_distill.format.fields import (
    PRECISIONS,
    Count,
    Line,
    Name,
    Part,
    Pixels,
    Positive,
    Precision,
    Rank,
    Real,
    Templates,
    Weights,
)
from hello_distill.format.kinds import KINDS, LabelKind, LabelPart, option
from hello_distill.system.errors import InputError, nearest

FOLDER = "projector"
ADAPTER_CONFIG = "adapter_config.json"
HEAD = "label_head"
"""Name of the projector's linear head. peft matches target names by their end, so it must be one that no encoder
uses."""


class EncoderPart(Part):
    """Public facts of an encoder, its preprocessing among them."""

    name: Name
    """`model/pretrained` of open_clip, `lite`, or `local-dir` for one from a folder."""
    size: Pixels
    """Height and width in pixels of its input."""
    width: Annotated[int, Field(ge=1, le=2**16)]
    """Number of its features."""
    mean: Annotated[list[Real], Field(min_length=3, max_length=3)]
    """Of red, green and blue in [0, 1]."""
    std: Annotated[list[Positive], Field(min_length=3, max_length=3)]
    """Of red, green and blue in [0, 1]."""
    interpolation: Literal["bicubic"]
    """How images are resized to its input."""
    knows: Line
    """What it was trained on."""
    weights: Annotated[list[Weights], Field(min_length=1, max_length=8)]
    """Its public files, which are not shipped."""


class BytesByPrecision(Part):
    """Bytes of a projector in each precision."""

    float32: Count
    """In float32."""
    float16: Count
    """In float16."""
    int8: Count
    """In int8."""
    int4: Count
    """In int4."""


class ProjectorPart(LabelPart):
    """The projector: what its matrices are low-rank updates of, and how logits follow from it."""

    precision: Precision
    """Of the stored matrices."""
    bytes_by_precision: BytesByPrecision
    """Of both files in `projector/`, as this projector would take them."""
    encoder: EncoderPart
    """The public encoder that they adapt."""
    templates: Templates
    """Prompts, of which the head is made."""
    convolutions: Annotated[list[Name], Field(max_length=4096)]
    """Names, inside the image tower, of the convolutions that LoRA adapts, sorted."""
    encoder_rank: Rank
    """LoRA's rank on convolutions."""
    head_rank: Rank
    """LoRA's rank on the head."""
    scale: Positive
    """Factor from the head's output to logits."""
    normalize: bool
    """Whether features are made unit vectors."""
    formula: Line
    """How logits follow from an image, for people."""

    def files(self) -> set[str]:
        return {f"{FOLDER}/{name}" for name in (ADAPTER_CONFIG, adapter_file(self.precision))}

    def public_weights(self) -> list[Weights]:
        return self.encoder.weights

    def encoder_knows(self) -> str | None:
        return self.encoder.knows

    def form(self) -> str:
        return f"projector {self.precision}"

    def forms(self) -> Mapping[str, int]:
        return {f"projector {name}": size for name, size in self.bytes_by_precision.model_dump().items()}

    def title(self) -> str:
        return f"{self.precision} projector of the encoder `{self.encoder.name}`"

    def stock_code(self) -> str | None:
        """Code of open_clip and peft, for precisions that peft reads and encoders that open_clip has."""
        if self.precision.startswith("int") or self.encoder.name == "lite":
            return None
        model, _, pretrained = self.encoder.name.partition("/")
        named = f'"{model}", pretrained="{pretrained}"' if pretrained else '"local-dir:ENCODER"'
        tokens = f'"{model}"' if pretrained else '"local-dir:ENCODER"'
        note = "" if pretrained else "`ENCODER` is the folder with the encoder whose SHA-256 `hello.json` names. "
        return f"{note}Without hello-distill:\n\n{STOCK.replace('NAMED', named).replace('TOKENS', tokens)}"


@KINDS.register("projector")
@dataclass(frozen=True)
class ProjectorKind(LabelKind):
    """Logits of the fitted projector on the very images that the student sees (Algorithm 1, line 13)."""

    part = ProjectorPart
    online = True
    made_by = "projector"
    precision: str = option("float16", "float32, float16 (default), int8 or int4")

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise InputError(f"unknown precision {self.precision!r}: {nearest(self.precision, PRECISIONS)}")

    @classmethod
    def load(cls, folder: Path, part: dict[str, Any], data: Any) -> Any:
        from hello_distill.labels.sources import projector

        return projector.load(folder, part, data)

    def make(self, data: Any, student: Any, online: Any) -> Any:
        """The online source itself, in another precision where that is asked for."""
        self.check_maker(online)
        return online.rounded(self.precision)

    @classmethod
    def trained(cls, made: Any, teachers: Any, shared: Any, projector: Any) -> Any:
        """The comparison's projector, fitted on the views of these images, whatever method they are of."""
        from hello_distill.labels.sources.projector import ProjectorLabels, describe

        fitted = shared.projector(projector)
        adapter = shared.queried(projector, fitted, fitted.adapter, made.data)
        return ProjectorLabels(fitted.start, adapter, describe(fitted.encoder), projector.templates)


def adapter_file(precision: str) -> str:
    """Name of the file of matrices. Integers have another name than peft's, so that peft does not misread them."""
    return f"adapter_{'model' if precision.startswith('float') else precision}.safetensors"


def adapter_config(convolutions: Sequence[str], encoder_rank: int, head_rank: int) -> str:
    """adapter_config.json: the least that stock peft needs, in a stable order."""
    config = {
        "peft_type": "LORA",
        "r": encoder_rank,
        "lora_alpha": encoder_rank,
        "target_modules": sorted([HEAD, *(f"visual.{name}" for name in convolutions)]),
        "rank_pattern": {HEAD: head_rank},
        "alpha_pattern": {HEAD: head_rank},
        "inference_mode": True,
    }
    return json.dumps(config, indent=2, sort_keys=True) + "\n"


STOCK = """```python
import json

import datasets, numpy, open_clip, peft, torch
from torch.nn import functional as F

data = datasets.load_dataset("PATH")["train"]
labels = json.load(open("PATH/hello.json"))["labels"]
clip, tokens = open_clip.create_model(NAMED).eval(), open_clip.get_tokenizer(TOKENS)
prompts = [lambda name, t=t: t.format(name) for t in labels["templates"]]

class Projector(torch.nn.Module):
    def __init__(self):
        super().__init__()
        text = open_clip.build_zero_shot_classifier(clip, tokens, data.features["label"].names, prompts)
        self.visual, self.label_head = clip.visual, torch.nn.Linear(*text.shape, bias=False)
        self.label_head.weight.data = text.T.contiguous()

    def forward(self, x):  # images (b 3 h w) in [0, 1]
        size, mean, std = (labels["encoder"][key] for key in ("size", "mean", "std"))
        if x.shape[-1] != size:
            x = F.interpolate(x, (size, size), mode="bicubic", antialias=True).clamp(0, 1)
        x = (x - torch.tensor(mean).view(1, 3, 1, 1)) / torch.tensor(std).view(1, 3, 1, 1)
        features = self.visual(x)
        features = F.normalize(features, dim=1) if labels["normalize"] else features
        return labels["scale"] * self.label_head(features)

projector = peft.PeftModel.from_pretrained(Projector(), "PATH/projector").eval()
images = torch.stack([torch.from_numpy(numpy.array(row["image"])) for row in data]).permute(0, 3, 1, 2) / 255
with torch.no_grad():
    logits = projector(images)
```
"""
