"""WebDataset: tar files in which members of one name, but for their endings, are a sample.

Images stay in their shards and are read where they lie; `datasets` would copy all of them into its cache.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from hello_distill.data import archives, values
from hello_distill.data.folders import TEST_WORDS, TRAIN_WORDS, by_split, split_names
from hello_distill.data.images import Split
from hello_distill.data.listings import PICTURES
from hello_distill.data.names import CLASSES, check_names
from hello_distill.system import context
from hello_distill.system.errors import InputError, listed, one_line

TEXTS = ("cls", "label", "txt", "text", "class")
"""Fields of a sample that hold its class as text; of a `json` one it is the field that `--label-column` names."""


class Sample(NamedTuple):
    """An image in a shard, and the other fields of its sample by their endings."""

    path: str
    fields: dict[str, Any]


def shards_of(source: str) -> list[Path]:
    """The tar files of WebDataset that a source is, or holds: those whose first members share a name."""
    path = Path(source)
    files = [path] if path.is_file() else sorted([*path.glob("*.tar"), *path.glob("*/*.tar")])
    tars = [file for file in files if file.suffix.lower() == ".tar"]
    try:
        first = archives.members(tars[0].resolve())[:2] if tars else []
    except archives.BROKEN:
        return []
    endings = [_parted(name) for name in first]
    return tars if len(endings) == 2 and endings[0][0] == endings[1][0] and endings[0][1] != endings[1][1] else []


def _parted(member: str) -> tuple[str, str]:
    """A member's sample and its field: everything behind the first dot of its name."""
    above, slash, name = member.rpartition("/")
    stem, _, field = name.partition(".")
    return f"{above}{slash}{stem}", field.lower()


class Shards(NamedTuple):
    """WebDataset shards, whose splits their names say."""

    source: str
    files: list[Path]

    def training(self) -> Split:
        return self._split("train", self._chosen(None, TRAIN_WORDS, context.current().train_split), None)

    def test(self, name: str | None) -> Split:
        files = self._chosen(name, TEST_WORDS, None)
        return self._split(name or "test", files, self.training().classes)

    def _chosen(self, name: str | None, words: Sequence[str], asked: str | None) -> list[Path]:
        """The shards of a split: by the word with which their names, or their folders', begin."""
        wanted = name or asked
        found = by_split(self.files, Path(self.source))
        usual = split_names(found, words)
        if wanted is None and words == TRAIN_WORDS and not usual and not split_names(found, TEST_WORDS):
            return self.files
        if chosen := wanted if wanted in found else next(iter(usual), None) if wanted is None else None:
            return found[chosen]
        option = "--train-split" if words == TRAIN_WORDS else "--test"
        raise InputError(
            f"{self.source} has no shards of {wanted or words[0]}; it has {listed(sorted(found))}: choose one with "
            f"{option} {sorted(found)[0]}" + ("" if words == TRAIN_WORDS else ", or test with --test held-out")
        )

    def _split(self, name: str, files: Iterable[Path], names: tuple[str, ...] | None) -> Split:
        samples = [sample for file in files for sample in _samples(file.resolve())]
        if not samples:
            raise InputError(f"{self.source}, split {name}: no images in it; fill it or choose another data set")
        column = _label_field(self.source, samples)
        found = values.single(self.source, column, [_value(sample.fields, column) for sample in samples])
        if listed_names := self._listed(found):
            found = [None if value is None else listed_names[int(value)] for value in values.as_names(found)]
        known = names or listed_names or values.classes_of(self.source, column, found)
        targets = values.targets_of(f"{self.source}, split {name}", found, known)
        paths = (sample.path for sample in samples)
        split = values.split_at(self.source, name, paths, targets, known, *(file.resolve() for file in self.files))
        note = f"classes are those of {CLASSES}: {listed(known)}" if listed_names else values.said(column, known)
        return values.without_unlabelled(split.noting(note))

    def _listed(self, found: Sequence[Any]) -> tuple[str, ...] | None:
        """The names of classes that are numbers, where a file beside the shards, or above their folders, lists them.

        Raises InputError where it cannot be read, or lists too few names or such as no class has.
        """
        numbers = {name for name in values.as_names(found) if name is not None}
        folders = dict.fromkeys([Path(self.source), *(file.parent for file in self.files)])
        file = next((folder / CLASSES for folder in folders if (folder / CLASSES).is_file()), None)
        if file is None or not all(map(str.isdecimal, numbers)):
            return None
        try:
            content = json.loads(file.read_text(encoding="utf-8-sig"))
        except (OSError, ValueError, RecursionError) as error:
            raise InputError(f"{file} cannot be read ({one_line(error)[:200]}); write it again, or remove it") from None
        if not isinstance(content, list) or not all(isinstance(name, str) for name in content):
            return None
        if (last := max(map(int, numbers), default=0)) >= len(content):
            raise InputError(
                f"{file} lists {len(content)} names, and the shards have a class {last}; list one for each number from "
                "0, or remove it"
            )
        check_names(str(file), content)
        return tuple(content)


def _samples(shard: Path) -> Iterator[Sample]:
    """The samples of a shard that have an image. Raises InputError where it cannot be read."""
    kept: dict[str, dict[str, str]] = {}
    try:
        for member in archives.members(shard):
            stem, field = _parted(member)
            kept.setdefault(stem, {})[field] = member
        for members in kept.values():
            image = next((field for field in members if f".{field.rpartition('.')[2]}" in PICTURES), None)
            if image is not None:
                texts = {field: members[field] for field in members if field in (*TEXTS, "json")}
                yield Sample(str(shard / members[image]), {field: _read(shard, at) for field, at in texts.items()})
    except archives.BROKEN as error:
        raise InputError(f"{shard} cannot be read ({error}); get or write it again") from None


def _read(shard: Path, member: str) -> Any:
    text = archives.read(shard, member).decode(errors="replace").strip()
    if not member.endswith(".json"):
        return text
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _label_field(source: str, samples: Sequence[Sample]) -> str:
    """The field of the classes: `cls` or another text, or a field of `json`."""
    fields = samples[0].fields
    inner = fields.get("json")
    candidates = [field for field in TEXTS if field in fields]
    if not candidates or context.current().label_column:
        candidates += [f"json.{name}" for name in inner] if isinstance(inner, dict) else []
    if known := [name for label in values.LABELS for name in candidates if name in (label, f"json.{label}")]:
        candidates = known[:1] if not context.current().label_column else candidates
    return values.column(source, "label", candidates, [])


def _value(fields: dict[str, Any], column: str) -> Any:
    if not column.startswith("json."):
        return fields.get(column)
    inner = fields.get("json")
    return inner.get(column.removeprefix("json.")) if isinstance(inner, dict) else None
