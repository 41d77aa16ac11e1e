"""Classifiers by name: images in [0, 1] to logits, with the normalisation inside.

Names: `convnet3` (the field's ConvNet; the digit is the depth, `convnet3_w64` sets the width, 128 if unsaid),
torchvision's (`resnet18`, `swin_v2_t`, ...), `timm/NAME`, and for small images `resnet18_modified` (a torchvision
ResNet with a 3x3 stem and no max-pooling) and `vgg11_modified` (a torchvision VGG with one linear layer on its pooled
features in the place of three dense ones).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib import metadata
from typing import TypeVar

import torch
import torchvision
from torch import nn
from torch.func import functional_call
from torch.nn import functional as F

from hello_distill.encoders.encoder import Preprocess
from hello_distill.format.specs import Interface
from hello_distill.system.errors import InputError, nearest
from hello_distill.system.machine import seeded
from hello_distill.types import Images, Logits

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
WITHOUT_AUXILIARIES = {name: {"aux_logits": False, "init_weights": True} for name in ("googlenet", "inception_v3")}
"""Networks that would answer with more than logits while they train."""
Made = TypeVar("Made")
CONVNET = re.compile(r"convnet(?P<depth>\d)(_w(?P<width>\d{1,4}))?")


class Normalised(nn.Module):
    """A backbone that sees images with ImageNet's mean and standard deviation taken out.

    All data sets are normalised so, as in RDED; what matters is that one network always sees the same. One that was
    trained elsewhere, and has an `interface`, sees what it was trained on.
    """

    interface: Interface | None = None
    enlarged: int | None = None
    """Side to which smaller images are enlarged, for a network that cannot take them as they are."""

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone.to(memory_format=torch.channels_last)
        self.mean: torch.Tensor
        self.std: torch.Tensor
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(1, 3, 1, 1), persistent=False)

    def forward(self, images: Images) -> Logits:
        """Images (b 3 h w) in [0, 1] to logits (b c)."""
        if self.interface is not None:
            seen = Preprocess(self.interface.size, self.interface.mean, self.interface.std)(images)
            return self.backbone(seen)[:, list(self.interface.rows)]
        if self.enlarged is not None:
            images = F.interpolate(images, [self.enlarged] * 2, mode="bilinear", align_corners=False)
        x = (images - self.mean) / self.std
        return self.backbone(x.contiguous(memory_format=torch.channels_last))


def build(name: str, num_classes: int, side: int, seed: int) -> Normalised:
    """A classifier with random weights drawn from `seed`, for square images of `side` pixels.

    One that cannot take images so small sees them enlarged to the size that it was made for. Raises InputError for a
    name that no source knows, or a network that has no such size.
    """
    check_name(name)
    try:
        model = _made(name, num_classes, side, seed)
    except NotImplementedError:  # of memory that has been given none (`without_memory`), not of these images
        raise
    except (RuntimeError, AssertionError, ValueError, ArithmeticError) as error:
        size = usual_size(name)
        if size is None or size <= side:
            raise InputError(f"network {name!r} cannot take images of {side} pixels: {error}") from None
        model = _made(name, num_classes, size, seed)
        model.enlarged = size
    _check_start(name, model, side)
    return model


def without_memory(make: Callable[[], Made]) -> Made:
    """What is made, its tensors as shapes alone, where it lets itself; torchvision's regnets compute with tensors."""
    try:
        with torch.device("meta"):
            return make()
    except NotImplementedError:
        return make()


def _made(name: str, num_classes: int, side: int, seed: int) -> Normalised:
    with seeded(seed):
        model = Normalised(_backbone(name, num_classes, side))
    if (name, num_classes, side) not in _probed:
        _probe(model.eval(), side)
        _probed.add((name, num_classes, side))
    return model.eval()


_probed: set[tuple[str, int, int]] = set()
"""Networks that were found to take images of a size (name, classes, side): each is tried once in a process."""


def usual_size(name: str) -> int | None:
    """Side of the images that a network's public weights were made for; None where it has none."""
    if name.startswith("timm/"):
        import timm

        known = timm.get_pretrained_cfg(name.removeprefix("timm/"))
        return known.input_size[-1] if known is not None else None
    if name not in torchvision.models.list_models(module=torchvision.models):
        return None
    sizes = [weights.transforms().crop_size[0] for weights in torchvision.models.get_model_weights(name)]
    return min(sizes, default=None)


def _check_start(name: str, model: nn.Module, side: int) -> None:
    """Raise InputError for a network that is made with values that are no numbers.

    A Swin-V2 of timm before 1.0.31 divides zero by zero where a stage has one token left.
    """
    for key, tensor in (*model.named_parameters(), *model.named_buffers()):
        if not tensor.is_meta and tensor.isnan().any():
            made_by = "timm" if name.startswith("timm/") else "torchvision"
            raise InputError(
                f"network {name!r} of {made_by} {metadata.version(made_by)} starts with values that are no numbers for "
                f"images of {side} pixels ({key.removeprefix('backbone.')}); try a newer {made_by}, or larger images"
            )


@torch.no_grad()
def _probe(model: Normalised, side: int) -> None:
    """Raise what the network raises for images of that size.

    Shapes alone are computed: large images, which a stranger may ask for, would take gigabytes. A network that looks at
    values on its way cannot do so, and is run.
    """
    shapes = {name: tensor.to("meta") for name, tensor in (*model.named_parameters(), *model.named_buffers())}
    try:
        functional_call(model, shapes, torch.zeros(2, 3, side, side, device="meta"))
    except RuntimeError as error:
        if "meta" not in str(error).lower():
            raise
        model(torch.zeros(2, 3, side, side))


def check_name(name: str) -> None:
    """Raise InputError, with the nearest name there is, for a network that cannot be built."""
    if CONVNET.fullmatch(name):
        return
    if name.startswith("timm/"):
        import timm

        if not timm.is_model(name.removeprefix("timm/")):
            known = [f"timm/{known}" for known in timm.list_models()]
            raise InputError(f"unknown network {name!r}: {nearest(name, known)}")
        return
    known = torchvision.models.list_models(module=torchvision.models)
    modified = [f"{known}_modified" for known in known if known.startswith(("resnet", "vgg"))]
    if name not in [*known, *modified]:
        raise InputError(f"unknown network {name!r}: {nearest(name, [*known, *modified, 'convnet3', 'convnet4'])}")


def _backbone(name: str, num_classes: int, side: int) -> nn.Module:
    if match := CONVNET.fullmatch(name):
        return convnet(int(match["depth"]), int(match["width"] or 128), num_classes, side)
    if name.startswith("timm/"):
        return _timm(name.removeprefix("timm/"), num_classes, side)
    if name.endswith("_modified"):
        return _modified(name.removesuffix("_modified"), num_classes)
    return torchvision.models.get_model(
        name, weights=None, num_classes=num_classes, **WITHOUT_AUXILIARIES.get(name, {})
    )


def _timm(name: str, num_classes: int, side: int) -> nn.Module:
    """A network of timm's; one that is made for a single size of images, such as a transformer, is made for theirs."""
    import timm

    known = timm.get_pretrained_cfg(name)
    size = {"img_size": side} if known is not None and known.fixed_input_size else {}
    return timm.create_model(name, pretrained=False, num_classes=num_classes, **size)


def _modified(name: str, num_classes: int) -> nn.Module:
    """A network of torchvision's without what shrinks small images, or outweighs them; new layers start as its own."""
    model = torchvision.models.get_model(name, weights=None, num_classes=num_classes)
    if name.startswith("vgg"):
        model.avgpool = nn.AdaptiveAvgPool2d(1)
        model.classifier = nn.Linear(512, num_classes)
        nn.init.normal_(model.classifier.weight, 0, 0.01)
        nn.init.zeros_(model.classifier.bias)
        return model
    model.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
    nn.init.kaiming_normal_(model.conv1.weight, mode="fan_out", nonlinearity="relu")
    model.maxpool = nn.Identity()
    return model


def convnet(depth: int, width: int, num_classes: int, side: int) -> nn.Sequential:
    """The field's ConvNet (Gidaris and Komodakis 2018): `depth` blocks of convolution, batch norm, ReLU, pooling."""
    layers: list[nn.Module] = []
    channels = 3
    for _ in range(depth):
        layers += [
            nn.Conv2d(channels, width, 3, padding=1),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.AvgPool2d(2),
        ]
        channels = width
    left = side // 2**depth
    if not left:
        raise InputError(f"network convnet{depth} needs images of at least {2**depth} pixels, these have {side}")
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(width * left * left, num_classes))
