"""Sources that `datasets` opens, for the table of `test_sources`."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
from cases import (
    NAMED,
    SIDE,
    SPLITS,
    both,
    case,
    emptied,
    hot,
    parquet,
    picture,
    pixels,
    png,
    put,
    rows,
    table,
    words,
)
from of_arrays import DIGITS, SEVERAL

case("Parquet of named classes")(lambda folder: both(folder, lambda target: target, NAMED))
case("Parquet of strings", notes="^classes are the sorted values of label: cat, dog$")(both)
case("Parquet of whole numbers", classes=("0", "1"))(lambda folder: both(folder, lambda target: target))
case("Parquet of whole numbers from one, with gaps", classes=("1", "5"), notes="values of label: 1, 5$")(
    lambda folder: both(folder, lambda target: 1 + 4 * target)
)
case("Parquet of booleans", classes=("False", "True"))(lambda folder: both(folder, lambda target: target == 1))
case("Parquet with the label column `target`")(lambda folder: both(folder, name="target"))
case("Parquet with a column of no usual name")(lambda folder: both(folder, name="breed"))
case("one Parquet file", tested=False)(
    lambda folder: parquet(folder, train=table("train", words)) / "data" / "train-00000-of-00001.parquet"
)


def raw(folder: Path, image: Callable[[str, int, int], Any]) -> Path:
    """Parquet that `datasets` did not write: it knows nothing of images."""
    import pandas

    (folder / "data").mkdir(parents=True)
    for split in SPLITS:
        content = {
            "image": [image(split, *row) for row in rows(split)],
            "label": [words(row[0]) for row in rows(split)],
        }
        pandas.DataFrame(content).to_parquet(folder / "data" / f"{split}.parquet")
    return folder


case("Parquet whose test split numbers the classes")(
    lambda folder: parquet(
        folder, train=table("train", lambda target: target, NAMED), test=table("test", lambda target: target)
    )
)
case(
    "Parquet of other classes to test on",
    told="split test holds classes that the training images do not: emu, fox; remove or rename them",
    change=lambda folder: both(emptied(folder)),
)(
    lambda folder: parquet(
        folder, train=table("train", words), test=table("test", lambda target: ("fox", "emu")[target])
    )
)
case("Parquet of bytes")(lambda folder: raw(folder, png))
case("Parquet of bytes and paths")(lambda folder: raw(folder, lambda *row: {"bytes": png(*row), "path": "a.png"}))
case("Parquet of paths")(lambda folder: raw(folder, lambda *row: put(folder, *row)))
case("Parquet of absolute paths")(lambda folder: raw(folder, lambda *row: str(folder / put(folder, *row))))


def gaps(split: str, kind: Any) -> datasets.Dataset:
    more = table(split, lambda target: None if kind is None else -1, kind)
    return datasets.concatenate_datasets([table(split, words if kind is None else lambda target: target, kind), more])


case("Parquet with rows of no class", notes="6 rows without a label left out")(
    lambda folder: parquet(folder, train=gaps("train", NAMED), test=gaps("test", NAMED))
)
case("Parquet with nulls", notes="6 rows without a label left out")(
    lambda folder: parquet(folder, train=gaps("train", None), test=gaps("test", None))
)
case("Parquet with two columns of classes", told="several columns that may be the label column \\(breed, place\\)")(
    lambda folder: both(folder, name="breed", place=lambda target: ("here", "there")[target])
)
case("Parquet with fine and coarse labels")(
    lambda folder: both(folder, name="fine_label", coarse_label=lambda target: "animal")
)


def two_images(folder: Path) -> Path:
    def made(split: str) -> datasets.Dataset:
        left = table(split, words, image="left")
        return left.add_column("right", [{"bytes": png(split, 0, 0), "path": None}] * len(left)).cast_column(
            "right", datasets.Image()
        )

    return parquet(folder, train=made("train"), test=made("test"))


case("Parquet with two columns of images", told="several columns that may be the image column \\(left, right\\)")(
    two_images
)
case(
    "Parquet without classes",
    told="needs an image column and a class label column; it has image.*add one",
    change=lambda folder: both(emptied(folder)),
)(
    lambda folder: parquet(
        folder, train=table("train", words).remove_columns("label"), test=table("test", words).remove_columns("label")
    )
)
case("a split called validation alone", told="has the splits validation, but none called train", tested=False)(
    lambda folder: parquet(folder, validation=table("train", words))
)


case("Parquet of one-hot lists", **DIGITS)(lambda folder: both(folder, hot))
case("Parquet of one-hot shares", **DIGITS)(lambda folder: both(folder, lambda target: list(map(float, hot(target)))))
case("Parquet of one-hot lists in a column of no usual name", **DIGITS)(lambda folder: both(folder, hot, name="marks"))
case("Parquet of lists of a name")(lambda folder: both(folder, lambda target: [words(target)], name="labels"))
case("Parquet of lists of a named class")(
    lambda folder: both(folder, lambda target: [target], datasets.List(NAMED), name="labels")
)


case("Parquet beside lists that say nothing")(
    lambda folder: both(
        folder, name="breed", a=lambda target: [1, None], b=lambda target: [[1], None], c=lambda target: [None, [2] * 9]
    )
)


def many_hot(folder: Path) -> Path:
    """Two rows of both classes in each split, beside those of one."""
    more = {split: table(split, lambda target: [1, 1]).select([0, 1]) for split in SPLITS}
    return parquet(
        folder, **{split: datasets.concatenate_datasets([table(split, hot), more[split]]) for split in SPLITS}
    )


def of_one_class(folder: Path) -> None:
    for file in list(folder.rglob("*.parquet")):
        whole = datasets.Dataset.from_parquet(str(file), cache_dir=str(folder / "cache"))
        whole.filter(lambda row: sum(row["label"]) == 1).to_parquet(file)
    shutil.rmtree(folder / "cache")


case("Parquet of many-hot lists", told=SEVERAL, change=of_one_class, **DIGITS)(many_hot)
case("Parquet of many-hot lists beside a column of names", options={"label_column": "species"})(
    lambda folder: both(folder, lambda target: [1, target], species=words)
)


def of_numbers(
    folder: Path, change: Callable[[np.ndarray[Any, Any]], Any] = lambda image: image, name: str = "image", **more: Any
) -> Path:
    """Parquet whose images are lists of numbers."""
    splits = {}
    for split in SPLITS:
        images = [change(np.asarray(picture(split, *row))) for row in rows(split)]
        columns = {name: images, "label": [words(target) for target, _ in rows(split)]}
        columns |= {key: [value] * len(images) for key, value in more.items()}
        splits[split] = datasets.Dataset.from_dict(columns)
    return parquet(folder, **splits)


def of_arrays(folder: Path) -> Path:
    kinds = datasets.Features({"image": datasets.Array3D((SIDE, SIDE, 3), "uint8"), "label": NAMED})
    made = {}
    for split in SPLITS:
        images, labels = pixels(split)
        made[split] = datasets.Dataset.from_dict({"image": list(images), "label": labels}, kinds)
    return parquet(folder, **made)


def as_npz(folder: Path) -> Path:
    """What the sentence asks for, of the very numbers that a Parquet file or a CSV holds in a row."""
    arrays: dict[str, Any] = {}
    for split in SPLITS:
        given = datasets.Dataset.from_parquet(str(next(folder.rglob(f"{split}*.parquet"))), cache_dir=str(folder / "c"))
        shape = (len(given), SIDE, SIDE, 3)
        arrays |= {f"x_{split}": np.array(given["image"][:], np.uint8).reshape(shape), f"y_{split}": given["label"][:]}
    np.savez(folder / "data.npz", **arrays)
    return folder / "data.npz"


case("Parquet of nested lists")(of_numbers)
case("Parquet of nested lists, channels first")(
    lambda folder: of_numbers(folder, lambda image: image.transpose(2, 0, 1))
)
case("Parquet of nested shares of one")(lambda folder: of_numbers(folder, lambda image: image / 255.0))
case("Parquet of nested lists of grey", grey=True)(lambda folder: of_numbers(folder, lambda image: image[..., 1]))
case("Parquet of nested lists of several sizes")(
    lambda folder: of_numbers(folder, lambda image: np.repeat(image, 1 + int(image[0, 0, 2] > 10), axis=1))
)
case("Parquet of rows of grey", grey=True)(
    lambda folder: of_numbers(folder, lambda image: image[..., 1].ravel(), name="pixels")
)
case("Parquet of arrays")(of_arrays)
case("Parquet of files beside boxes")(
    lambda folder: parquet(
        folder,
        **{split: table(split, words).add_column("boxes", [[[1, 2, 3, 4]] * 9] * len(rows(split))) for split in SPLITS},
    )
)
case(
    "Parquet of rows of colours",
    told=r"an image has the shape \(192,\), and should have .*such as by numpy.savez\(FILE, images=IMAGES, labels=",
    change=as_npz,
)(lambda folder: of_numbers(folder, lambda image: image.ravel()))
case(
    "Parquet of nested lists whose rows differ",
    told="the rows of an image differ in length; write as many numbers into each",
    change=lambda folder: of_numbers(emptied(folder)),
)(lambda folder: of_numbers(folder, lambda image: [row[: 8 - number] for number, row in enumerate(image.tolist())]))


def saved(folder: Path, **splits: datasets.Dataset) -> Path:
    datasets.DatasetDict(splits).save_to_disk(folder / "saved")
    return folder / "saved"


def linked_parquet(folder: Path) -> Path:
    both(folder / "whole")
    (folder / "part").mkdir()
    for file in list((folder / "whole").rglob("*.parquet")):
        (folder / "part" / file.name).symlink_to(file)
    return folder / "part"


case("Parquet linked from elsewhere", told="is a link that leads out of")(linked_parquet)


@case("one Parquet file of paths", tested=False)
def parquet_of_paths(folder: Path) -> Path:
    made = raw(folder, lambda *row: put(folder, *row))
    return (made / "data" / "train.parquet").rename(folder / "images.parquet")


case("saved data set")(lambda folder: saved(folder, train=table("train", words), test=table("test", words)))
case("saved splits of other names", told="has the splits one, two, but none called train", tested=False)(
    lambda folder: saved(folder, one=table("train", words), two=table("test", words))
)
case("saved splits chosen by name", options={"train_split": "one", "test_split": "two"})(
    lambda folder: saved(folder, one=table("train", words), two=table("test", words))
)


@case("one saved split", tested=False)
def one_saved(folder: Path) -> Path:
    table("train", words).save_to_disk(folder / "saved")
    return folder / "saved"


def configured(folder: Path) -> Path:
    """A folder whose card has two configurations."""
    lines = []
    for name in ("big", "small"):
        (folder / name).mkdir()
        for split in SPLITS:
            table(split, words).to_parquet(folder / name / f"{split}-0.parquet")
        files = "".join(f"\n  - split: {split}\n    path: {name}/{split}-*.parquet" for split in SPLITS)
        lines.append(f"- config_name: {name}\n  data_files:{files}")
    (folder / "README.md").write_text("---\nconfigs:\n" + "\n".join(lines) + "\n---\n")
    return folder


case(
    "two configurations", told="has the configurations big, small; choose one as", change=lambda folder: f"{folder}:big"
)(configured)
case("a configuration that is chosen")(lambda folder: f"{configured(folder)}:small")
