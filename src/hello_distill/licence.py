"""Where a data set comes from and under which licence: inherited from its own card, never assumed."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import huggingface_hub
import yaml

from hello_distill.data import HUB_ID, parted

KNOWN = {"fashion-mnist": ("zalandoresearch/fashion-mnist", "mit")}
"""Sources that this package fetches by itself."""


class Source(NamedTuple):
    """What an artefact says of the data set it was made from."""

    name: str | None = None
    license: str | None = None
    """The Hub's name of the licence, or `other`."""
    license_name: str | None = None
    license_link: str | None = None


UNKNOWN = Source()


def source_of(data: str) -> Source:
    """Name and licence of a source, as `hello_distill.data` names it; of a folder never its path."""
    data, _ = parted(data)
    if data in KNOWN:
        return Source(*KNOWN[data])
    if Path(data).is_dir():
        return _from_card(Path(data) / "README.md", None)
    if HUB_ID.fullmatch(data):
        try:
            return _from_card(Path(huggingface_hub.hf_hub_download(data, "README.md", repo_type="dataset")), data)
        except (OSError, ValueError):
            return Source(data)
    return UNKNOWN


def _from_card(card: Path, name: str | None) -> Source:
    """What a data set card says. A card that says nothing of a licence, or cannot be read, gives none."""
    try:
        found: dict[str, Any] = huggingface_hub.metadata_load(card) or {}
    except (OSError, ValueError, yaml.YAMLError):
        return Source(name)
    licences = found.get("license")
    licence = licences[0] if isinstance(licences, list) and len(licences) == 1 else licences
    if isinstance(licence, list):
        licence = ", ".join(map(str, licence))
    told = [licence, found.get("license_name"), found.get("license_link")]
    return Source(name, *(str(text) if text else None for text in told))
