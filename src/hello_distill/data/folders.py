"""Class-per-folder trees: which folders are splits, which are classes. What cannot be meant is refused by name."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from hello_distill.data import archives, names, trees
from hello_distill.data.trees import Inside, Tree, join
from hello_distill.system import context
from hello_distill.system.errors import InputError, listed

TRAIN_WORDS = ("train", "training")
TEST_WORDS = ("test", "testing", "eval", "evaluation", "validation", "valid", "val", "dev")
"""What splits to train and to test on are called, best first, in any case: the words that `datasets` knows."""
BEHIND = r"([-_. ]?(set|split|data|images|imgs|\d+))?"
"""What may stand behind such a word, as in `training_set` and `val_256`."""
LAYOUT = "lay the images out as train/CLASS/IMAGE, or CLASS/IMAGE where there is no test split"
HELD_OUT = "held-out"
"""What `--test` names the training images by that a distillation holds out."""
NAME_ONE = f"name a folder of class folders with --test, or `--test {HELD_OUT}`"


class Place(NamedTuple):
    """A folder of class folders in a tree."""

    tree: Tree
    at: str

    @property
    def shown(self) -> str:
        """As people find it."""
        return self.tree.shown(self.at)


def split_names(among: Iterable[str], words: Sequence[str]) -> list[str]:
    """The names that say one of these words, best first."""
    ranks = {name: _rank(name, words) for name in among}
    return sorted((name for name, rank in ranks.items() if rank < len(words)), key=lambda name: (ranks[name], name))


def _rank(name: str, words: Sequence[str]) -> int:
    """The index of the word that a name says, in any case; behind all words for another name."""
    return next((n for n, word in enumerate(words) if re.fullmatch(word + BEHIND, name, re.IGNORECASE)), len(words))


def training_split(source: str, splits: Sequence[str]) -> str:
    """The split that --train-split names, or else the one that is called so, or the only one (``).

    Raises InputError where there is none.
    """
    chosen = context.current().train_split
    usual = [*split_names(splits, TRAIN_WORDS), *([""] if "" in splits else [])]
    name = chosen or next(iter(usual), None)
    if name is None or name not in splits:
        raise InputError(
            f"{source} has the splits {listed(splits)}, but none called {chosen or 'train'}; choose one with "
            f"--train-split {splits[0]}"
        )
    return name


def test_split(source: str, name: str | None, splits: Iterable[str], train: str, change: str) -> str:
    """The split of that name, or else one that is called so; not the one to train on.

    Raises InputError where there is none, with the change that makes one.
    """
    others = [split for split in splits if split and split != train]
    found = [name] if name in others else split_names(others, TEST_WORDS) if name is None else []
    if not found:
        wanted, held = f" {name}" if name else "", listed([*filter(None, splits)]) or "one split alone"
        raise InputError(f"{source} has no test split{wanted}: it has {held}; {change}, or test with --test {HELD_OUT}")
    return str(found[0])


def by_split(files: Iterable[Path], source: Path) -> dict[str, list[Path]]:
    """Files by what their folder in the source says of their split, or else what their names begin with."""
    found: dict[str, list[Path]] = {}
    for file in files:
        above = file.parent.name if file.parent != source else ""
        begin = re.split(r"[-_.]", file.stem)[0].rstrip("0123456789") or file.stem
        name = above if split_names([above], (*TRAIN_WORDS, *TEST_WORDS)) else begin
        found.setdefault(name, []).append(file)
    return found


def base(tree: Tree) -> str:
    """Where splits and class folders lie: the tree itself, or the folder in it that an archive was wrapped in."""
    return "" if _splits(tree, "") else _unwrapped(tree, "")


def _unwrapped(tree: Tree, at: str) -> str:
    """The folder itself; or, for as long as it holds a single folder with folders in it and no file, that one."""
    inner = tree.folders(at)
    if len(inner) == 1 and not tree.files(at) and tree.folders(join(at, inner[0])):
        within = join(at, inner[0])
        return within if _splits(tree, within) else _unwrapped(tree, within)
    return at


def _splits(tree: Tree, at: str) -> dict[str, list[str]]:
    """Folders that are splits, to `train` and to `test` on. A class may have such a name: it holds images, not folders,
    and so do its neighbours."""
    inside = tree.folders(at)
    found = {"train": split_names(inside, TRAIN_WORDS), "test": split_names(inside, TEST_WORDS)}
    named = [*found["train"], *found["test"]]
    if len(named) < len(inside) and not any(tree.folders(join(at, name)) for name in named):
        return {}
    return {use: chosen for use, chosen in found.items() if chosen}


def training_folder(tree: Tree) -> tuple[Place, tuple[str, ...]]:
    """The folder of class folders to train on, `train` or else all there is, and the classes, sorted.

    Raises InputError for fewer than two classes, names that cannot be meant, several folders to train on, and a test
    split without one.
    """
    place = Place(tree, _training(tree))
    check_inside(place)
    classes = tree.folders(place.at)
    if len(classes) < 2:
        files = len(tree.files(place.at)) if not classes else 0
        loose = f" but {files} files" if files else ""
        raise InputError(
            f"{place.shown} holds {len(classes)} class folders{loose}; a classifier needs at least two; {LAYOUT}"
        )
    names.check_names(tree.source, classes)
    return place, tuple(classes)


def _training(tree: Tree) -> str:
    top = base(tree)
    splits = _splits(tree, top)
    if chosen := context.current().train_split:
        if chosen not in tree.folders(top):
            raise InputError(
                f"--train-split {chosen} is no folder of {tree.shown(top)}, which has {listed(tree.folders(top))}"
            )
        return _unwrapped(tree, join(top, chosen))
    if not splits.get("train"):
        if tests := splits.get("test"):
            raise InputError(
                f"{tree.shown(top)} has {tests[0]}/ but no train/ folder; {LAYOUT}, or train on that one with "
                f"--train-split {tests[0]}"
            )
        return top
    if len(splits["train"]) > 1:
        raise InputError(
            f"{tree.shown(top)} has several folders to train on: {listed(splits['train'])}; choose one with "
            f"--train-split {splits['train'][0]}"
        )
    return _unwrapped(tree, join(top, splits["train"][0]))


def test_folder(tree: Tree, name: str | None, classes: Sequence[str]) -> Place:
    """The folder of class folders to test on: of that name in the source, or at that path; None looks for the usual.

    Raises InputError where there is none, or it holds classes that are not among the training classes.
    """
    place = _named_test(tree, name) if name is not None else _usual_test(tree)
    if (place.tree.root, place.at) == (tree.root, _training(tree)):
        raise InputError(f"--test {name} names the training images themselves; {NAME_ONE}")
    check_inside(place)
    if unknown := sorted(set(place.tree.folders(place.at)) - set(classes)):
        raise InputError(
            f"{place.shown} holds classes that the training images do not: {listed(unknown)}; rename or remove them, "
            f"or test on other images with --test {HELD_OUT}"
        )
    return place


def _usual_test(tree: Tree) -> Place:
    top = base(tree)
    trained = _training(tree)
    for name in split_names(tree.folders(top) if trained != top else (), TEST_WORDS):
        if (at := _unwrapped(tree, join(top, name))) != trained:
            return Place(tree, at)
    raise InputError(
        f"{tree.source} has no test split; put held-out images into test/CLASS/ within it, or {NAME_ONE} "
        "(train, evaluate and verify)"
    )


def _named_test(tree: Tree, name: str) -> Place:
    at = join(base(tree), "" if name == "." else name.strip("/"))
    if tree.has(at):
        return Place(tree, _unwrapped(tree, at))
    if Path(name).is_dir() or archives.is_archive(Path(name)):
        other = trees.opened(name)
        inside = isinstance(other, trees.Folder) and other.root.is_relative_to(tree.root)
        if inside and tree.has(at := other.root.relative_to(tree.root).as_posix()):
            return Place(tree, at)
        return Place(other, base(other))
    raise InputError(f"--test {name} is neither a folder in {tree.source} nor a folder of its own; {NAME_ONE}")


def check_inside(place: Place) -> None:
    """Raise InputError where a folder, or one in it, is a link that leads out of its source."""
    for at in (place.at, *(join(place.at, name) for name in place.tree.folders(place.at))):
        place.tree.check_inside(at)


def images_of(place: Place, classes: Sequence[str]) -> tuple[list[str], list[int], int]:
    """What a split's files are named by, class by class and sorted; their classes; and how much litter was left aside.

    Raises InputError naming the class folders that hold folders.
    """
    tree = place.tree
    there = set(tree.folders(place.at))
    folders = {target: join(place.at, name) for target, name in enumerate(classes) if name in there}
    folders, held = _in_one_more(tree, folders, {target: tree.inside(folder) for target, folder in folders.items()})
    if nested := [f"{classes[target]} ({inside.folders[0]}/)" for target, inside in held.items() if inside.folders]:
        first = next(classes[target] for target, inside in held.items() if inside.folders)
        raise InputError(
            f"{place.shown}: class folders hold folders: {listed(nested)}; images in them would be lost: move them up "
            f"into the class folder, or the folders elsewhere, or if {first} is no class, but a folder of class "
            f"folders, name it with --train-split {first}"
        )
    files = [(tree.path(join(folders[target], file)), target) for target in held for file in held[target].files]
    litter = len(tree.inside(place.at).litter) + sum(len(inside.litter) for inside in held.values())
    return [path for path, _ in files], [target for _, target in files], litter


def _in_one_more(
    tree: Tree, folders: dict[int, str], held: dict[int, Inside]
) -> tuple[dict[int, str], dict[int, Inside]]:
    """Class folders, or where each holds a single folder of the same name and no file, as `images` of Tiny-ImageNet,
    that one."""
    inner = {tuple(inside.folders) for inside in held.values()}
    if len(inner) > 1 or any(len(inside.folders) != 1 or inside.files for inside in held.values()):
        return folders, held
    deeper = {target: join(folder, held[target].folders[0]) for target, folder in folders.items()}
    return deeper, {target: tree.inside(folder) for target, folder in deeper.items()}
