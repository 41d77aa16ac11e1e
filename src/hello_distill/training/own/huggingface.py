"""Image classifiers of transformers: a folder with `config.json`, weights, and how images are prepared."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from torch import nn

from hello_distill.system.errors import InputError, MachineError, one_line
from hello_distill.training.networks import IMAGENET_MEAN, IMAGENET_STD
from hello_distill.training.own.found import Found, colour
from hello_distill.training.own.source import Colour, Source
from hello_distill.types import Images, Logits

CONFIG, PREPROCESSOR = "config.json", "preprocessor_config.json"
INSTALL = "pip install 'hello-distill[transformers]'"


class Answers(nn.Module):
    """A classifier of transformers that answers with its logits alone."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Images) -> Logits:
        """Normalised images (b 3 h w) to logits (b c)."""
        return self.model(pixel_values=images).logits


def find(source: Source) -> Found:
    """The files of a classifier, and what its folder says of it.

    Raises InputError where something is missing or no image classifier, MachineError where transformers is.
    """
    folder = Path(source.place)
    config = _json(folder, CONFIG)
    weights = sorted(folder.glob("model*.safetensors")) or sorted(folder.glob("pytorch_model*.bin"))
    if not weights:
        raise InputError(f"--teacher {folder} holds no weights beside its {CONFIG} (model.safetensors)")
    if "auto_map" in config:
        raise InputError(
            f"--teacher {folder} asks for code of its own (`auto_map`), which is not run; take a network of "
            "transformers itself, of timm, or torchvision"
        )
    try:
        import transformers  # noqa: F401
    except ImportError:
        raise MachineError(f"--teacher {folder} needs transformers, which is not installed: {INSTALL}") from None
    size, mean, std = _prepared(folder, source)
    return Found((folder / CONFIG, *weights), mean, std, size or _side(config.get("image_size")), _names(config))


def _prepared(folder: Path, source: Source) -> tuple[int | None, Colour, Colour]:
    """Side, mean and standard deviation of the images that it was trained on."""
    if not (folder / PREPROCESSOR).is_file():
        if source.mean is None or source.std is None:
            raise InputError(
                f"--teacher {source.name}: the folder has no {PREPROCESSOR}, which says how its images are normalised; "
                "copy that into it, or add :mean=R,G,B:std=R,G,B"
            )
        return None, source.mean, source.std
    said = _json(folder, PREPROCESSOR)
    size = _side(said.get("crop_size") if said.get("do_center_crop") else said.get("size"))
    if not said.get("do_normalize", True):
        return size, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    return size, colour(said.get("image_mean", IMAGENET_MEAN)), colour(said.get("image_std", IMAGENET_STD))


def opened(folder: Path) -> tuple[nn.Module, int]:
    """The classifier, and how many outputs it has. Nothing of the folder is run, and nothing fetched.

    Raises InputError where transformers cannot make an image classifier of it.
    """
    import transformers

    try:
        model = transformers.AutoModelForImageClassification.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False, weights_only=True
        )
    except (OSError, ValueError, RuntimeError, KeyError, AttributeError) as error:
        raise InputError(
            f"--teacher {folder} is no image classifier that transformers {transformers.__version__} opens: "
            f"{one_line(error)[:300]}"
        ) from None
    return Answers(model.float()), int(model.config.num_labels)


def _json(folder: Path, name: str) -> dict[str, Any]:
    try:
        content = json.loads((folder / name).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(
            f"--teacher {folder}: {name} cannot be read ({type(error).__name__}); a folder is that of an image "
            f"classifier of transformers, with {CONFIG} and model.safetensors"
        ) from None
    return content if isinstance(content, dict) else {}


def _side(said: Any) -> int | None:
    """A side in pixels from what transformers' files may say: a number, or height, shortest edge."""
    if isinstance(said, dict):
        said = said.get("height", said.get("shortest_edge"))
    return said if isinstance(said, int) else None


def _names(config: dict[str, Any]) -> list[list[str]] | None:
    """Its class names, unless they are numbers that transformers wrote itself."""
    named = config.get("id2label")
    if not isinstance(named, dict):
        return None
    names = [str(named[key]) for key in sorted(named, key=lambda key: int(key) if str(key).isdigit() else 0)]
    return None if all(name == f"LABEL_{row}" for row, name in enumerate(names)) else [[name] for name in names]
