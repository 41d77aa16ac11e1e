"""Where a data set comes from and under which licence: inherited from its own card, never assumed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import huggingface_hub
import yaml
from huggingface_hub import constants

from hello_distill.data.decoding import contents
from hello_distill.data.descriptions import front
from hello_distill.data.references import on_hub, parted
from hello_distill.format.fields import LONGEST_TEXT
from hello_distill.format.manifest import CARD
from hello_distill.system import context
from hello_distill.system.errors import printable
from hello_distill.system.hub import MARK


class Origin(NamedTuple):
    """What an artefact says of the data set it was made from."""

    name: str | None = None
    license: str | None = None
    """The Hub's name of the licence, or `other`."""
    license_name: str | None = None
    license_link: str | None = None
    reading: Mapping[str, Any] | None = None
    """How it was read; see `hello_distill.data.manner`."""


UNKNOWN = Origin()
FASHION_MNIST = Origin("zalandoresearch/fashion-mnist", "mit")
FIELD = re.compile(r"^license(?:_name|_link)?:.*(?:\n[ \t-].*|\n(?=\n))*", re.MULTILINE)
"""A field of a card's front matter that concerns the licence, with its further lines."""
LARGEST = 2**15
"""Letters of these fields that are read."""


def source_of(data: str) -> Origin:
    """Name and licence of a source, as `hello_distill.data.images` names it; of a folder never its path."""
    data = parted(data)[0]
    data = data if Path(data).exists() or data.startswith(MARK) else data.partition(":")[0]  # without a configuration
    if data == "fashion-mnist":
        return FASHION_MNIST
    if Path(data).exists() and not Path(data).is_dir():  # never asked for on the Hub, though it may look like an id
        return UNKNOWN
    if Path(data).is_dir():
        return _licence(None, Path(data, CARD), Path(data))
    if (found := on_hub(data)) is not None:
        revision = found.revision or context.current().revision
        try:
            card = huggingface_hub.hf_hub_download(found.name, CARD, repo_type="dataset", revision=revision)
        except (OSError, ValueError):
            return Origin(found.name)
        return _licence(found.name, Path(card), Path(constants.HF_HUB_CACHE))
    return UNKNOWN


def _licence(name: str | None, card: Path, root: Path) -> Origin:
    """`license`, `license_name` and `license_link` of a data set's card, which lies below a folder.

    A card that says nothing of them, leads elsewhere or cannot be read gives none. It may be a stranger's: only these
    fields are looked at, and of YAML only texts and lists of texts.
    """
    try:
        head = front(contents(str(card), [root.resolve()]).decode())
        node = yaml.compose("\n".join(FIELD.findall(head))[:LARGEST], yaml.SafeLoader)
    except (ValueError, RecursionError, yaml.YAMLError):
        node = None
    fields = {key.value: _text(value) for key, value in node.value} if isinstance(node, yaml.MappingNode) else {}
    return Origin(name, fields.get("license"), fields.get("license_name"), fields.get("license_link"))


def _text(node: yaml.Node) -> str | None:
    """A text, or a list of texts, on one line that an artefact may hold."""
    nodes = node.value if isinstance(node, yaml.SequenceNode) else [node]
    parts = [part.value for part in nodes if isinstance(part, yaml.ScalarNode) and not part.tag.endswith(":null")]
    return printable(" ".join(", ".join(parts).split()))[:LONGEST_TEXT] or None
