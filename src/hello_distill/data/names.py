"""Class names wherever they come from: which may be, which of them are wanted."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from pathlib import Path

from hello_distill.format.fields import LONGEST_TEXT, clean
from hello_distill.system.errors import InputError, closest, listed

LISTS = Path(__file__).parent / "class_lists"
"""Lists of classes that can be asked for by name. `imagenet100`: the first hundred WordNet ids of ILSVRC 2012, in the
order of the ids, from timm's `imagenet_synsets.txt`. The field has at least four sets of that name, and neither HeLlO
nor RDED says which is theirs: this is the one that needs no list to be made again."""


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
