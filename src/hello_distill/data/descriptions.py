"""What a data set folder says of itself, read as a stranger's: the front matter of its card, the files it names."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import yaml

from hello_distill.system import context
from hello_distill.system.errors import InputError

FRONT = re.compile(r"\s*---[ \t]*\n(.*?\n)---[ \t]*(?:\n|\Z)", re.DOTALL)
CARDS = ("README.md", ".huggingface.yaml")
"""Where `datasets` looks for the files of a data set."""
SAVED = "dataset_dict.json"
"""What `DatasetDict.save_to_disk` writes beside its splits."""


def front(text: str) -> str:
    """The YAML at the head of a card; empty where there is none."""
    match = FRONT.match(text.replace("\r\n", "\n"))
    return match[1] if match else ""


def check_contained(source: str, caches: Sequence[Path]) -> None:
    """Raise InputError where a Hugging Face data set folder leads out of itself and of these folders (resolved).

    By links, by pipes and devices, or by the files that its descriptions name: `datasets` would follow all of them.
    """
    roots = (Path(source).resolve(), *caches)
    for folder, inner, files in os.walk(source):
        for path in (Path(folder, name) for name in (*inner, *files)):
            real = Path(os.path.realpath(path))
            if not any(real.is_relative_to(root) for root in roots) and not context.current().follow_links:
                raise InputError(
                    f"{path} is a link that leads out of {source}; put the file itself there, or a copy, or let links "
                    "be followed with --follow-links"
                )
            if not real.is_dir() and not real.is_file():
                raise InputError(f"{path} is no ordinary file; remove it")
    saved = Path(source, SAVED)
    states = [saved, *sorted(Path(source).glob("*/state.json"))] if saved.exists() else []
    for file in [*(Path(source, name) for name in CARDS), *states]:
        for name in _named_by(file):
            if "://" in name or name.startswith(("/", "~")) or ".." in Path(name).parts:
                raise InputError(f"{file} names {name[:200]!r}, which is not in that folder; name files in it")


def _named_by(file: Path) -> list[str]:
    """Files and folders that a description names. Raises InputError where it cannot be read."""
    try:
        if file.name in CARDS:
            text = file.read_text(encoding="utf-8") if file.exists() else ""
            return list(_data_files(yaml.compose(front(text) if file.name == CARDS[0] else text, yaml.SafeLoader)))
        content = json.loads(file.read_bytes())
        named = content["splits"] if file.name == SAVED else [entry["filename"] for entry in content["_data_files"]]
        return [str(name) for name in named]
    except (OSError, ValueError, KeyError, TypeError, RecursionError, yaml.YAMLError) as error:
        raise InputError(f"{file} cannot be read ({type(error).__name__}); mend or remove it") from None


def _data_files(root: yaml.Node | None) -> Iterator[str]:
    """Texts below any `data_files` or `data_dir`. Every node is looked at once, however often it is repeated."""
    waiting, seen = [(root, False)], set()
    while waiting:
        node, wanted = waiting.pop()
        if (id(node), wanted) in seen:
            continue
        seen.add((id(node), wanted))
        if isinstance(node, yaml.ScalarNode) and wanted:
            yield node.value
        elif isinstance(node, yaml.SequenceNode):
            waiting += [(inner, wanted) for inner in node.value]
        elif isinstance(node, yaml.MappingNode):
            waiting += [(value, wanted or key.value in ("data_files", "data_dir")) for key, value in node.value]
