"""Where the weights of a source lie on this machine, and what is known of how they were trained."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch
import torchvision

from hello_distill.format.storage import sha256
from hello_distill.system.errors import InputError, MachineError, nearest
from hello_distill.system.machine import rest_offline_if_unreachable
from hello_distill.training.networks import IMAGENET_MEAN, IMAGENET_STD, check_name
from hello_distill.training.own.source import TIMM, TRANSFORMERS, Colour, Source

HALVES: Colour = (0.5, 0.5, 0.5)
CENTRED = ("googlenet", "inception_v3")
"""Public weights of torchvision's that take ImageNet's normalisation back inside, and see images in [-1, 1]."""
Names = Sequence[Sequence[str]]
"""For each output the names of its class."""
Given = TypeVar("Given")


@dataclass(frozen=True)
class Found:
    """A source's files, and its defaults for what a `Source` may say."""

    files: tuple[Path, ...]
    """The weights; of a folder its configuration, too."""
    mean: Colour = IMAGENET_MEAN
    std: Colour = IMAGENET_STD
    size: int | None = None
    """Height and width in pixels of its input; None: those of the data."""
    names: Names | None = None

    @property
    def bytes(self) -> int:
        return sum(file.stat().st_size for file in self.files)

    @property
    def sha256(self) -> str:
        """Of the file; of several that of their hashes in hexadecimal, joined."""
        hashes = [sha256(file) for file in self.files]
        return hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()


def find(source: Source) -> Found:
    """The weights, fetched where they are public and not here yet.

    Raises InputError for an unknown network, other weights than there are, or a missing file; MachineError where public
    weights cannot be fetched, or a package is missing.
    """
    if source.kind == TRANSFORMERS:
        from hello_distill.training.own import huggingface

        return huggingface.find(source)
    check_name(source.network)
    if source.kind == "torchvision":
        return _torchvision(source)
    if source.kind == "timm":
        return _timm(source)
    file = Path(source.place)
    if not file.is_file():
        raise InputError(f"--teacher {source.name}: there is no file {file}")
    if not source.network.startswith(TIMM):
        return Found((file,))
    config = _timm_config(source.network)
    if config is None:
        return Found((file,))
    size = int(config.input_size[-1]) if config.fixed_input_size else None
    return Found((file,), colour(config.mean), colour(config.std), size)


def _torchvision(source: Source) -> Found:
    try:
        known = torchvision.models.get_model_weights(source.network)
    except ValueError:
        raise InputError(f"torchvision has no public weights of {source.network!r}") from None
    name = source.place or "DEFAULT"
    if name not in known.__members__:
        raise InputError(f"torchvision/{source.network} has no weights {name!r}: {nearest(name, known.__members__)}")
    weights = known[name]
    file = Path(torch.hub.get_dir()) / "checkpoints" / weights.url.rpartition("/")[2]
    if not file.is_file():
        _fetched(source, partial(weights.get_state_dict, progress=False, check_hash=True, weights_only=True))
    views = weights.transforms()
    mean, std = (HALVES, HALVES) if source.network in CENTRED else (colour(views.mean), colour(views.std))
    names = [[name, *more] for name, more in zip(weights.meta["categories"], imagenet(), strict=True)]
    return Found((file,), mean, std, views.crop_size[0], names)


def _timm(source: Source) -> Found:
    config = _timm_config(source.network)
    if config is None or not config.hf_hub_id:
        raise InputError(f"there are no public weights of {source.network!r} on the Hub; give a file, as NETWORK:FILE")

    def fetch() -> Path:
        import huggingface_hub

        rest_offline_if_unreachable()
        return Path(huggingface_hub.hf_hub_download(config.hf_hub_id, "model.safetensors"))

    file = _fetched(source, fetch)
    names = imagenet() if config.num_classes == 1000 else None
    return Found((file,), colour(config.mean), colour(config.std), int(config.input_size[-1]), names)


def colour(numbers: Sequence[float]) -> Colour:
    """A number for each of red, green and blue. Raises InputError for a network of other channels."""
    if len(numbers) != 3:
        raise InputError(f"a teacher sees red, green and blue, and this one {len(numbers)} channels")
    red, green, blue = map(float, numbers)
    return red, green, blue


def _timm_config(name: str) -> Any:
    """What timm knows of a network's weights, None where nothing. Raises InputError for a tag that there is not."""
    import timm

    bare, _, tag = name.removeprefix(TIMM).partition(".")
    tags = [known.partition(".")[2] for known in timm.list_pretrained(f"{bare}.*")]
    if tag and tag not in tags:
        raise InputError(f"timm/{bare} has no weights {tag!r}: {nearest(tag, tags)}")
    return timm.get_pretrained_cfg(name.removeprefix(TIMM))


def _fetched(source: Source, fetch: Callable[[], Given]) -> Given:
    try:
        return fetch()
    except (OSError, ValueError, RuntimeError) as error:
        raise MachineError(
            f"the weights of --teacher {source.name} are not on this machine and cannot be fetched "
            f"({type(error).__name__}); go online once and run the same command, or give a file, as NETWORK:FILE"
        ) from None


def imagenet() -> Names:
    """For each of the thousand classes of ImageNet-1K its WordNet id and its names."""
    from timm.data import ImageNetInfo

    known = ImageNetInfo("imagenet-1k")
    return [[known.index_to_label_name(row), known.index_to_description(row)] for row in range(known.num_classes())]


def listed_names(source: Source) -> Names | None:
    """The names in the file of `classes=`. Raises InputError where it cannot be read."""
    if source.classes is None:
        return None
    file = Path(source.classes)
    try:
        text = file.read_text(encoding="utf-8")
        names = json.loads(text) if file.suffix == ".json" else text.splitlines()
        return [[str(name)] for name in names if name]
    except (OSError, ValueError, TypeError) as error:
        raise InputError(
            f"--teacher {source.name}: {file} cannot be read ({type(error).__name__}); it names a class on each line"
        ) from None
