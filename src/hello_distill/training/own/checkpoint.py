"""Weights from other people's files, read without running anything that they hold, and fitted to a network of ours."""

from __future__ import annotations

import json
import pickle
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import safetensors
import torch
from torch import Tensor

from hello_distill.format import tensors
from hello_distill.system.errors import InputError, one_line
from hello_distill.training.networks import Normalised, build, without_memory
from hello_distill.training.own.found import Names

STATES = ("state_dict", "model_state_dict", "model", "net", "network", "weights", "module")
"""Where trainers keep the weights beside an optimiser and other things."""
LISTS, NUMBERS = ("classes", "class_names", "categories"), ("class_to_idx", "label2id")
"""Where they keep the names of classes: in order, or each with its number."""
OWN = "backbone."
"""What stands before the names of a backbone's weights in `Normalised`."""
UNUSED = re.compile(r"(AuxLogits|aux\d?|aux_classifier)\.")
"""Heads that some networks have while they train, and ours have not."""
DENSENET = re.compile(r"(denselayer\d+\.(?:norm|relu|conv))\.([12]\.)")
"""How torchvision's oldest files name layers."""


class Checkpoint(NamedTuple):
    """What a file of weights holds."""

    weights: dict[str, Tensor]
    names: Names | None
    """Of the classes, where it says them."""


def read(file: Path) -> Checkpoint:
    """The weights of a file: safetensors, or what `torch.load(weights_only=True)` reads.

    Raises InputError, with the way out, for a file that holds Python objects, is broken, or holds no weights.
    """
    content = _safetensors(file) if file.suffix == ".safetensors" else _pickled(file)
    inner = next((content[name] for name in STATES if isinstance(content.get(name), Mapping)), content)
    weights = {str(name): value for name, value in inner.items() if isinstance(value, Tensor)}
    if not weights:
        raise InputError(f"{file} holds no weights by name; save a network's `state_dict()` into it")
    return Checkpoint(weights, _names(content))


def _safetensors(file: Path) -> dict[str, Any]:
    try:
        with safetensors.safe_open(file, "pt") as opened:
            said = {name: _parsed(text) for name, text in (opened.metadata() or {}).items()}
            return {**said, "state_dict": {name: opened.get_tensor(name) for name in opened.keys()}}  # noqa: SIM118
    except tensors.UNREADABLE as error:
        raise InputError(f"{file} cannot be read as safetensors: {one_line(error)}") from None


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _pickled(file: Path) -> dict[str, Any]:
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        held = re.search(r"GLOBAL (\S+)", str(error))
        raise InputError(
            f"{file} holds more than weights{f' ({held[1]})' if held else ''}, which would run code when it is opened; "
            "where it was made, save the weights alone: `torch.save(model.state_dict(), FILE)`"
        ) from None
    except (OSError, EOFError, ValueError, RuntimeError, KeyError, AttributeError) as error:
        raise InputError(f"{file} cannot be read as weights ({type(error).__name__}: {one_line(error)})") from None
    return dict(content) if isinstance(content, Mapping) else {}


def _names(content: Mapping[str, Any]) -> Names | None:
    for key in LISTS:
        listed = content.get(key)
        if isinstance(listed, Sequence) and listed and all(isinstance(name, str) for name in listed):
            return [[name] for name in listed] if not isinstance(listed, str) else None
    for key in NUMBERS:
        numbered = content.get(key)
        if isinstance(numbered, Mapping) and sorted(numbered.values()) == list(range(len(numbered))):
            return [[str(name)] for name, _ in sorted(numbered.items(), key=lambda pair: pair[1])]
    return None


def fitted(weights: Mapping[str, Tensor], network: str, size: int, what: str) -> tuple[Normalised, int]:
    """The network with these weights, for images of `size` pixels, and how many outputs it has.

    Names may carry what trainers put before them (`module.`, `model.`). Raises InputError, naming the weights, where
    they are those of another network, and for numbers that are not finite.
    """
    few, more = (_shapes(network, outputs, size) for outputs in (7, 11))
    ours = _renamed(weights, list(few), network)
    head = {name: shape for name, shape in few.items() if shape != more[name]}
    if missing := [name for name in few if name not in ours]:
        raise InputError(_unfitting(what, network, f"it lacks {missing[0]}", len(missing)))
    outputs = {
        ours[name].shape[axis]
        for name, shape in head.items()
        for axis in range(min(len(shape), ours[name].ndim))
        if shape[axis] != more[name][axis]
    }
    if len(outputs) != 1:
        raise InputError(_unfitting(what, network, f"{next(iter(head), 'its head')} has another shape", 1))
    count = outputs.pop()
    expected = _shapes(network, count, size)
    if others := [name for name, shape in expected.items() if tuple(ours[name].shape) != shape]:
        first = others[0]
        shapes = f"{first} is {tuple(ours[first].shape)}, and {expected[first]} for images of {size} pixels"
        raise InputError(_unfitting(what, network, f"{shapes} (`:size=` says which it takes)", len(others)))
    if more_names := [name for name in ours if name not in expected]:
        raise InputError(_unfitting(what, network, f"it holds {more_names[0]}, too", len(more_names)))
    if broken := next((name for name in expected if not tensors.finite(ours[name])), None):
        raise InputError(f"--teacher {what}: {broken} holds a number that is not finite; its training diverged")
    model = build(network, count, size, seed=0)
    model.load_state_dict({OWN + name: ours[name] for name in expected}, strict=False)
    return model, count


def _unfitting(what: str, network: str, fault: str, count: int) -> str:
    others = f" (and {count - 1} more such faults)" if count > 1 else ""
    return (
        f"--teacher {what} does not fit {network!r}: {fault}{others}; name the network whose `state_dict()` it is, as "
        "NETWORK:FILE"
    )


def _shapes(network: str, outputs: int, size: int) -> dict[str, tuple[int, ...]]:
    """Shapes of a backbone's weights by its own names."""
    state = without_memory(lambda: build(network, outputs, size, seed=0)).state_dict()
    names = (name for name in state if not name.endswith("num_batches_tracked"))
    return {name.removeprefix(OWN): tuple(state[name].shape) for name in names}


def _renamed(weights: Mapping[str, Tensor], expected: Sequence[str], network: str) -> dict[str, Tensor]:
    """The weights without what stands before all names, and without what a network of ours has not."""
    given = dict(weights)
    if network.startswith("densenet"):
        given = {DENSENET.sub(r"\1\2", name): value for name, value in given.items()}
    known = max(expected, key=len)
    before = {name.removesuffix(known) for name in given if name.endswith(known)} | {""}
    prefix = max(sorted(before), key=lambda start: sum(start + name in given for name in expected))
    kept = {name.removeprefix(prefix): value for name, value in given.items() if name.startswith(prefix)}
    return {
        name: value
        for name, value in kept.items()
        if not name.endswith("num_batches_tracked") and not UNUSED.match(name)
    }
