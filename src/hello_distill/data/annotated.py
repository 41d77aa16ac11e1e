"""Test splits whose classes stand in a text file beside one folder of images: Tiny-ImageNet's `val`.

A line of `val_annotations.txt` has an image's name, its class, and the corners of a box, between tabs. The folder
`test` of that data set has no classes, so a split with such a file is the one to test on.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath

from hello_distill.data import folders
from hello_distill.data.folders import Place
from hello_distill.data.trees import Tree, join
from hello_distill.system.errors import InputError, listed

ANNOTATIONS = "val_annotations.txt"


def annotated(tree: Tree, name: str | None) -> Place | None:
    """The folder to test on, of this name or a usual one, that has such a file; None where there is none."""
    top = folders.base(tree)
    among = tree.folders(top)
    chosen = folders.split_names(among, folders.TEST_WORDS) if name is None else [name] if name in among else []
    places = [Place(tree, join(top, each)) for each in chosen]
    return next((place for place in places if tree.is_file(join(place.at, ANNOTATIONS))), None)


def images_of(place: Place, classes: Sequence[str]) -> tuple[list[str], list[int]]:
    """What the images are named by, in the order of the file, and their classes.

    Raises InputError for a class that the training images do not have, and for a line without one.
    """
    tree, file = place.tree, join(place.at, ANNOTATIONS)
    lines = tree.content(file).decode("utf-8", "replace").splitlines()
    rows = [line.split("\t")[:2] for line in lines if line.strip()]
    if bad := next((number for number, row in enumerate(rows, 1) if len(row) < 2), None):
        raise InputError(f"{tree.shown(file)}, line {bad}, has no class behind a tab; write IMAGE, a tab, and CLASS")
    targets = {label: target for target, label in enumerate(classes)}
    if unknown := sorted({label for _, label in rows} - set(targets)):
        raise InputError(
            f"{tree.shown(file)} names classes that the training images do not have: {listed(unknown)}; call them "
            "there as their folders are called"
        )
    inner = join(place.at, "images") if "images" in tree.folders(place.at) else place.at
    paths = [tree.path(join(inner, PurePosixPath(image).name)) for image, _ in rows]
    return paths, [targets[label] for _, label in rows]
