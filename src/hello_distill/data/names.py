"""Class names wherever they come from: which may be, which are wanted, and what an encoder should call them."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

from hello_distill.format.fields import LONGEST_TEXT, clean
from hello_distill.system.errors import InputError, closest, listed, one_line

LISTS = Path(__file__).parent / "class_lists"
"""Lists of classes that can be asked for by name. `imagenet100`: the first hundred WordNet ids of ILSVRC 2012, in the
order of the ids, from timm's `imagenet_synsets.txt`. The field has at least four sets of that name, and neither HeLlO
nor RDED says which is theirs: this is the one that needs no list to be made again."""

CIFAR = {10: "cifar10", 100: "cifar100"}
"""Sets whose numbers are known by what a source is called, by their number of classes: files of `class_names`."""
CLASSES = "classes.json"
"""The file beside images that says what their classes are called, as `export` writes it: a list, whose places are the
numbers in shards, or an object, whose keys are the names of class folders."""
WORDNET_ID = re.compile(r"n\d{8}")
OPAQUE = re.compile(r"n\d{8}|\d+|[a-z]|(class|label|cat|category|id|c)[-_ ]?\d+|[0-9a-f]{8,}|true|false", re.IGNORECASE)
"""Names that say nothing of what is to be seen."""


class Named(NamedTuple):
    """What classes are called, in their order, and what a run's first line says of it."""

    names: tuple[str, ...]
    note: str = ""


def named(source: str, classes: Sequence[str], given: str | Mapping[str, str] | None) -> Named:
    """What the classes of a source are called: by a file (without spaces around names), by names that are given for
    some of the source's own, by a set that is known, or as the source says.

    Raises InputError where the file cannot be read, lacks a class, or gives two classes one name.
    """
    if isinstance(given, str):
        names = _by_file(given, classes)
        check_names(f"--class-names {given}", names)
        return Named(names, f"classes are named by {Path(given).name}")
    if given and any(name in given for name in classes):
        names = tuple(given.get(name, name) for name in classes)
        check_names(source, names)
        return Named(names, "classes are named as in the artefact")
    if beside := _beside(source, classes):
        check_names(f"{source}, {CLASSES}", beside)
        return Named(beside, f"classes are named by {CLASSES}")
    if all(WORDNET_ID.fullmatch(name) for name in classes) and (known := _by_wordnet(classes)):
        return Named(known, "WordNet ids are named as ImageNet's classes")
    if known := _by_number(source, classes):
        return Named(known, f"numbers are named as the classes of {source.rpartition('/')[2]}")
    return Named(tuple(classes))


def opaque(classes: Sequence[str]) -> str:
    """What is to be said of class names that no encoder can understand; empty where there are none."""
    dark = [name for name in classes if OPAQUE.fullmatch(name)]
    if not dark:
        return ""
    return (
        f"note: class names such as {listed(dark, 2)} say nothing to an encoder, and its labels start from them; name "
        "the classes in words with --class-names FILE"
    )


def _by_wordnet(classes: Sequence[str]) -> tuple[str, ...] | None:
    """Names of WordNet ids: of ImageNet's thousand classes open_clip's, which are unlike each other; else WordNet's."""
    import open_clip

    info = resources.files("timm.data") / "_info"
    synsets = (info / "imagenet_synsets.txt").read_text().split()
    words = dict(line.split("\t", 1) for line in (info / "imagenet_synset_to_lemma.txt").read_text().splitlines())
    known = words | dict(zip(synsets, open_clip.IMAGENET_CLASSNAMES, strict=True))
    names = tuple(known.get(name, name) for name in classes)
    return names if len({folded(name) for name in names}) == len(names) else None


def _by_number(source: str, classes: Sequence[str]) -> tuple[str, ...] | None:
    """Names of the numbers from 0 of a set that its source is called after."""
    count, called = len(classes), re.sub(r"[^a-z0-9]", "", source.lower())
    if sorted(classes) != sorted(map(str, range(count))):
        return None
    if count in CIFAR and CIFAR[count] in called:
        names = (Path(__file__).parent / "class_names" / f"{CIFAR[count]}.txt").read_text().splitlines()
    elif count == 1000 and "imagenet" in called:
        import open_clip

        names = open_clip.IMAGENET_CLASSNAMES
    else:
        return None
    return tuple(names[int(name)] for name in classes)


def _beside(source: str, classes: Sequence[str]) -> tuple[str, ...] | None:
    """Names of class folders, where an object in a file beside them has one for each."""
    try:
        content = json.loads((Path(source) / CLASSES).read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError):  # it may be anything that is called so
        return None
    if not isinstance(content, dict) or not all(isinstance(content.get(name), str) for name in classes):
        return None
    return tuple(content[name] for name in classes)


def _by_file(file: str, classes: Sequence[str]) -> tuple[str, ...]:
    """A name for each class: a JSON list or lines in the order of the classes, an object or lines by their names."""
    try:
        text = Path(file).read_text(encoding="utf-8-sig").strip()
        content = json.loads(text) if text[:1] in ("[", "{") else [*filter(str.strip, text.splitlines())]
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(
            f"--class-names {file} cannot be read ({one_line(error)[:200]}); give a JSON list or object, or a line for "
            "each class"
        ) from None
    by_name = _by_key(content, classes)
    if missing := [name for name in classes if name not in by_name]:
        if isinstance(content, list) and len(missing) == len(classes) == len(content):
            return tuple(str(name).strip() for name in content)
        raise InputError(
            f"--class-names {file} names {len(content)} classes and lacks {listed(missing)} of {len(classes)}; give a "
            f"line `{missing[0]} NAME` for each, or as many lines as classes, in their order"
        )
    return tuple(by_name[name] for name in classes)


def _by_key(content: Any, classes: Sequence[str]) -> Mapping[str, str]:
    """Names by class: of an object, of its lists (as `{"0": ["n01440764", "tench"]}`), of lines `n01440764 tench`."""
    pairs = _entries(content) if isinstance(content, dict) else [_parts(str(line), classes) for line in content]
    return {
        key: name.partition(",")[0].strip() if WORDNET_ID.fullmatch(key) else name.strip()
        for key, name in pairs
        if key in classes
    }


def _entries(content: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Keys and names of an object; of a list the last is the name, and the first a key, too."""
    listed = [(key, value if isinstance(value, list) else [key, value]) for key, value in content.items()]
    return [(str(key), str(value[-1])) for name, value in listed if value for key in (name, value[0])]


def _parts(line: str, classes: Sequence[str]) -> tuple[str, str]:
    """A line in a class and its name: apart by a tab, a comma or the like, or by the first space."""
    for mark in ("\t", ",", ";", ":", "=", " "):
        key, _, name = line.partition(mark)
        if key.strip() in classes and name.strip():
            return key.strip(), name
    return "", ""


def chosen_classes(source: str, chosen: str, known: Sequence[str]) -> frozenset[str]:
    """The names that a file lists, one per line; a list of `LISTS` where there is no such file.

    Raises InputError where it cannot be read, names fewer than two classes, or one that the source does not have.
    """
    names = list(dict.fromkeys(name for name in _lines(source, chosen) if name.strip()))
    if missing := [name for name in names if name not in known]:
        first = missing[:5]
        shown = [f"{name} (did you mean {near!r}?)" if (near := closest(name, known)) else name for name in first]
        more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
        raise InputError(
            f"{source}: the list names classes that the data does not have: {listed(shown)}{more}; "
            f"it has {listed(known)}"
        )
    if len(names) < 2:
        raise InputError(
            f"{source}: the list names {listed(names) or 'nothing'}; a classifier needs at least two classes"
        )
    return frozenset(names)


def _lines(source: str, chosen: str) -> list[str]:
    shipped = {file.stem: file for file in LISTS.glob("*.txt")}
    file = Path(chosen) if Path(chosen).is_file() else shipped.get(chosen, Path(chosen))
    try:
        return file.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no UTF-8"
        raise InputError(
            f"{source}: the list of classes {chosen!r} cannot be read ({reason}); give a text file with a class name "
            f"on each line, or one of {', '.join(sorted(shipped))}"
        ) from None


def check_names(source: str, classes: Sequence[str]) -> None:
    """Raise InputError for names that no text should hold, and for two that people and file systems take for one."""
    if wrong := [name for name in classes if not _is_text(name)]:
        raise InputError(
            f"{source}: names of classes must be UTF-8 of at most {LONGEST_TEXT} letters without control characters, "
            f"unlike {listed(wrong)}; rename them"
        )
    alike: dict[str, list[str]] = {}
    for name in classes:
        alike.setdefault(folded(name), []).append(name)
    if twins := [names for names in alike.values() if len(names) > 1]:
        same = listed(
            [" and ".join(ascii(name) if not name.isascii() else repr(name) for name in names) for names in twins]
        )
        raise InputError(f"{source}: classes differ only by case, spaces or Unicode form: {same}; merge or rename them")


def folded(name: str) -> str:
    """A class name without what people do not see or mean: case, outer and repeated spaces, Unicode form."""
    return " ".join(unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold()).split())


def _is_text(name: str) -> bool:
    try:
        name.encode("utf-8")
        return 0 < len(clean(name)) <= LONGEST_TEXT
    except ValueError:
        return False
