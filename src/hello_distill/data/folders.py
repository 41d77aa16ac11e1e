"""Class-per-folder trees, and class names wherever they come from. What cannot be meant is refused by name."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from hello_distill.format.fields import LONGEST_TEXT, clean
from hello_distill.system.errors import InputError, closest, listed

TEST_NAMES = ("test", "validation", "valid", "val")
"""Splits to test on, best first."""
LISTS = Path(__file__).parent / "class_lists"
"""Lists of classes that can be asked for by name. `imagenet100`: the first hundred WordNet ids of ILSVRC 2012, in the
order of the ids, from timm's `imagenet_synsets.txt`. The field has at least four sets of that name, and neither HeLlO
nor RDED says which is theirs: this is the one that needs no list to be made again."""
LAYOUT = "lay the images out as train/CLASS/IMAGE, or CLASS/IMAGE where there is no test split"
HELD_OUT = "held-out"
"""What `--test` names the training images by that a distillation holds out."""
NAME_ONE = f"name a folder of class folders with --test, or `--test {HELD_OUT}`"


def training_folder(source: str) -> tuple[Path, tuple[str, ...]]:
    """The folder of class folders to train on, `train` or else the source itself, and the classes, sorted.

    Raises InputError for fewer than two classes, names that cannot be meant, and a test split without a `train`.
    """
    train = Path(source, "train")
    if not train.is_dir():
        if tests := [name for name in TEST_NAMES if Path(source, name).is_dir()]:
            raise InputError(f"{source} has {tests[0]}/ but no train/ folder; {LAYOUT}")
        train = Path(source)
    _check_inside(source, train)
    classes = folders_in(source, train)
    if len(classes) < 2:
        files = len(files_in(train)) if not classes else 0
        loose = f" but {files} files" if files else ""
        raise InputError(
            f"{train} holds {len(classes)} class folders{loose}; a classifier needs at least two; {LAYOUT}"
        )
    check_names(source, classes)
    return train, tuple(classes)


def test_folder(source: str, name: str | None, classes: Sequence[str]) -> Path:
    """The folder of class folders to test on: of that name in the source, or at that path; None looks for the usual.

    Raises InputError where there is none, or it holds classes that are not among the training classes.
    """
    usual = [Path(source, test) for test in TEST_NAMES]
    test = next(filter(Path.is_dir, usual if name is None else [Path(source, name), Path(name)]), None)
    if test is None and name is None:
        raise InputError(
            f"{source} has no test split; put held-out images into {source}/test/CLASS/, or {NAME_ONE} "
            "(train, evaluate and verify)"
        )
    if test is None:
        raise InputError(f"--test {name} is neither a folder in {source} nor a folder of its own; {NAME_ONE}")
    if test.resolve() == training_folder(source)[0].resolve():
        raise InputError(f"--test {name} names the training images themselves; {NAME_ONE}")
    if test.is_relative_to(source):
        _check_inside(source, test)
    if unknown := sorted(set(folders_in(str(test), test)) - set(classes)):
        raise InputError(
            f"{test} holds classes that the training images do not: {listed(unknown)}; rename or remove them"
        )
    return test


def images_of(source: str, split: Path, classes: Sequence[str]) -> tuple[list[str], list[int]]:
    """Paths of a split's files, class by class and sorted, with their classes. Hidden files are left out.

    Raises InputError naming the class folders that hold folders.
    """
    folders = {target: split / name for target, name in enumerate(classes) if (split / name).is_dir()}
    inner = {folder.name: folders_in(source, folder) for folder in folders.values()}
    if nested := [f"{name} ({names[0]}/)" for name, names in inner.items() if names]:
        raise InputError(
            f"{split}: class folders hold folders: {listed(nested)}; images in them would be lost: "
            "move them up into the class folder, or the folders elsewhere"
        )
    files = [(str(folder / file), target) for target, folder in folders.items() for file in files_in(folder)]
    return [path for path, _ in files], [target for _, target in files]


def folders_in(source: str, folder: Path) -> list[str]:
    """Names of the folders in a folder, sorted, hidden ones left out.

    Raises InputError where one is a link that leads out of the source.
    """
    names = sorted(entry.name for entry in _visible(folder) if _is_folder(entry))
    for name in names:
        _check_inside(source, folder / name)
    return names


def _check_inside(source: str, folder: Path) -> None:
    if not folder.resolve().is_relative_to(Path(source).resolve()):
        raise InputError(f"{folder} is a link that leads out of {source}; put the folder itself there, or a copy")


def files_in(folder: Path) -> list[str]:
    """Names of everything else in a folder, sorted, hidden ones left out: files, and what is taken for bad ones."""
    return sorted(entry.name for entry in _visible(folder) if not _is_folder(entry))


def _visible(folder: Path) -> list[os.DirEntry[str]]:
    try:
        return [entry for entry in os.scandir(folder) if not entry.name.startswith(".")]
    except OSError as error:
        raise InputError(f"{folder} cannot be listed: {error.strerror}; mend its permissions") from None


def _is_folder(entry: os.DirEntry[str]) -> bool:
    with suppress(OSError):  # a link in a circle
        return entry.is_dir()
    return False


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
