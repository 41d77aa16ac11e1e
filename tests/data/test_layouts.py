"""Odd layouts of class folders: told before any training, by name. Odd names: kept as they are, or refused."""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import datasets
import numpy as np
import pytest
import torch
from PIL import Image

import hello_distill as hd
from conftest import CLASSES, draw, drawn, write_tree
from hello_distill import cli, distillers, teachers
from hello_distill.api import distill_material, training_images
from hello_distill.artifact import Distilled
from hello_distill.data.images import Material
from hello_distill.data.sources import open_test, open_training
from hello_distill.distillers.gvbsm import GVBSM
from hello_distill.distillers.random import RandomImages
from hello_distill.distillers.recipe import Recipe
from hello_distill.distillers.recover import Jitter
from hello_distill.distillers.short_classes import ShortClasses
from hello_distill.distillers.sre2l import SRe2L
from hello_distill.labels.sources.hard import HardLabels
from hello_distill.system.errors import InputError

# Eight layouts.


def empty(tree: Path) -> None:
    for name in ("circle", "cross"):
        for file in (tree / "train" / name).iterdir():
            file.unlink()


def hidden(tree: Path) -> None:
    for name in CLASSES:
        (tree / "train" / name).rename(tree / "train" / f".{name}")


def hidden_images(tree: Path) -> None:
    for file in (tree / "train" / "square").iterdir():
        file.rename(file.with_name("." + file.name))


def nested(tree: Path) -> None:
    for name in ("circle", "square"):
        folder = tree / "train" / name
        folder.rename(tree / "moved")
        folder.mkdir()
        (tree / "moved").rename(folder / "images")


def few(tree: Path) -> None:
    for name in ("cross", "stripes"):
        (tree / "train" / name / "0.png").unlink()


def only_bad(tree: Path) -> None:
    for name in ("circle", "cross"):
        for file in (tree / "train" / name).iterdir():
            file.write_bytes(b"no image")


def one(tree: Path) -> None:
    for name in CLASSES[1:]:
        shutil.rmtree(tree / "train" / name)


def none(tree: Path) -> None:
    hidden(tree)
    Image.new("RGB", (8, 8)).save(tree / "train" / "0.png")


LAYOUTS: list[tuple[Callable[[Path], None], str]] = [
    (empty, "split train: no images of circle, cross; add some or remove the class everywhere"),
    (hidden, "train holds 0 class folders; a classifier needs at least two; lay the images out as train/CLASS/IMAGE"),
    (hidden_images, "split train: no images of square; add some"),
    (nested, "train: class folders hold folders: circle (images/), square (images/); images in them would be lost"),
    (few, "fewer than 4 training images in cross (3), stripes (3); lower --ipc to 3, for which they suffice"),
    (only_bad, "no training image of circle, cross can be read; mend them or remove the class"),
    (one, "train holds 1 class folders; a classifier needs at least two"),
    (none, "train holds 0 class folders but 1 files; a classifier needs at least two"),
]


@pytest.mark.parametrize(("spoil", "told"), LAYOUTS, ids=[spoil.__name__ for spoil, _ in LAYOUTS])
def test_odd_layouts_are_told_before_any_training(
    spoil: Callable[[Path], None],
    told: str,
    recipe: Recipe,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fit(*_: object, **__: object) -> None:
        raise AssertionError("training began")

    monkeypatch.setattr(teachers, "fit", fit)
    tree = write_tree(tmp_path / "tree", train=4, test=1)
    spoil(tree)
    (tmp_path / "c.json").write_text(json.dumps({**recipe.settings(), "ipc": 4, "held_share": 0}))
    options = ["--config", str(tmp_path / "c.json"), "--out", str(tmp_path / "out"), "--max-bad", "1"]
    start = time.monotonic()
    assert cli.main(["distill", str(tree), *options]) == 2
    assert time.monotonic() - start <= 5
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("hello-distill: ") and told in said, said
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c.json", "tree"]


def test_many_offending_classes_are_counted(tmp_path: Path) -> None:
    for split in ("train", "test"):
        for number in range(9):
            (tmp_path / split / f"c{number}").mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(tmp_path / split / "c0" / "0.png")
    with pytest.raises(InputError, match="no images of c1, c2, c3, c4, c5 and 3 more; add some"):
        open_training(str(tmp_path))


@pytest.mark.parametrize("method", ["random", "rded", "hello", "sre2l"])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"held_share": 0.0},
        {"held_share": 0.5},
        {"held_share": 0.5, "held_limit": 6},
        {"train_limit": 30},
        {"train_limit": 24, "held_share": 0.3},
    ],
    ids=str,
)
def test_the_images_per_class_that_are_advised_do(
    method: str, changes: dict[str, float], recipe: Recipe, tree: Path
) -> None:
    """Images held out, a limit and mosaics of four are counted; one more image per class would not do."""
    base = replace(recipe_of(method, recipe), **{"held_share": 0.1, **changes})
    with pytest.raises(InputError, match="fewer than 13 training images in circle") as refused:
        training_images(str(tree), replace(base, ipc=13))
    advised = int(re.search(r"lower --ipc to (\d+)", str(refused.value))[1])
    material = training_images(str(tree), replace(base, ipc=advised))[0]
    counts = material.train.counts().values()
    assert min(counts) >= base.distiller.images_needed(advised)
    assert advised == 12 or min(counts) < base.distiller.images_needed(advised + 1)


def test_a_limit_that_leaves_too_few_is_named(recipe: Recipe, tree: Path) -> None:
    """Twelve images of each of four classes; half of them are read, and one of those six is held out."""
    limited = replace(recipe, held_share=0.1, train_limit=24)
    with pytest.raises(InputError) as refused:
        training_images(str(tree), replace(limited, ipc=6))
    assert str(refused.value) == (
        f"{tree}: the recipe's `train_limit` of 24 leaves 5 training images of a class, and 6 images per class need 6; "
        "raise it in a --config file, or lower --ipc to 5"
    )
    training_images(str(tree), replace(limited, ipc=6), short_class="repeat")


def test_no_number_is_advised_where_none_would_do(recipe: Recipe, tmp_path: Path) -> None:
    """Three images of a class, and a mosaic takes four."""
    tree = write_tree(tmp_path / "tree", train=3, test=1)
    with pytest.raises(InputError, match=r"stripes \(3\); add images, or choose --short-class repeat or fewer"):
        training_images(str(tree), replace(recipe_of("rded", recipe), ipc=4))


# Short classes.

JITTER = Jitter(None, 2)


@pytest.fixture(scope="module")
def uneven(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve images of two classes, three and one of the others."""
    tree = write_tree(tmp_path_factory.mktemp("uneven") / "tree", train=12, test=2)
    for name, count in (("circle", 3), ("stripes", 1)):
        for number in range(count, 12):
            (tree / "train" / name / f"{number}.png").unlink()
    return tree


def recipe_of(method: str, recipe: Recipe) -> Recipe:
    patches = replace(recipe.distiller.patches, factor=2)
    configured = {
        "gvbsm": GVBSM(("convnet2_w8",), steps=2, patch=4, batch_size=4, jitter=JITTER),
        "hello": replace(recipe.distiller, patches=patches),
        "probe": distillers.method("probe")(patches, recipe.distiller.projector),
        "rded": distillers.method("rded")(patches),
        "sre2l": SRe2L(steps=2, batch_size=3, jitter=JITTER),
    }
    return replace(recipe, ipc=5, held_share=0.0, distiller=configured.get(method) or distillers.method(method)())


@pytest.mark.parametrize("method", distillers.methods())
@pytest.mark.parametrize(("rule", "counts"), [("repeat", [5, 5, 5, 5]), ("fewer", [3, 5, 5, 1])])
def test_short_classes_with_every_method(
    method: str, rule: str, counts: list[int], uneven: Path, recipe: Recipe, tmp_path: Path,
    capsys: pytest.CaptureFixture[str], tmp_path_factory: pytest.TempPathFactory,
) -> None:  # fmt: skip
    """Distilled, saved, opened, described and trained on, with as many images as the rule says."""
    chosen = recipe_of(method, recipe)
    stages = tmp_path_factory.getbasetemp() / "stages-of-short-classes"
    folder = hd.distill(str(uneven), tmp_path / "a", chosen, stages=stages, short_class=rule)
    artifact = hd.load(folder)
    assert artifact.classes == tuple(sorted(CLASSES))
    assert torch.bincount(artifact.data.targets).tolist() == counts
    short = artifact.manifest["figures"].get("short_classes")
    card = (folder / "README.md").read_text()
    if method in ("gvbsm", "sre2l") and rule == "repeat":  # from noise: nothing had to be used again
        assert short is None and "few training images" not in card
    else:
        few = {"circle": 3, "stripes": 1}
        mosaic = {"cross": 12, "square": 12} if method in ("hello", "probe", "rded") else {}  # five mosaics need twenty
        assert short == {"rule": rule, "training_images": {**few, **mosaic}}
        told = ", ".join(f"{name} ({count})" for name, count in short["training_images"].items())
        done = "there are fewer images of them" if rule == "fewer" else "their images were used more than once"
        assert f"classes had few training images, so {done}: {told}." in card
    assert hd.info(folder)["images"]["count"] == sum(counts)
    batches = list(artifact.loader(batch_size=4, epoch=0))
    assert sum(len(batch.images) for batch in batches) == sum(counts)
    if method == "random":
        assert artifact.labels.kind == "hard" and artifact.labels.targets.tolist() == artifact.data.targets.tolist()
        assert hd.train(folder, str(uneven), seeds=[0])["test_images"] == 8
        assert cli.main(["info", str(folder)]) == 0
        assert ("fewer distilled images of" if rule == "fewer" else "images used again of") in capsys.readouterr().out


def test_short_classes_of_random_images_are_the_real_ones(uneven: Path, recipe: Recipe, tmp_path: Path) -> None:
    """`repeat` uses each image as often as any other, give or take one; `fewer` uses each once."""
    train = open_training(str(uneven)).read(32)[0]
    for rule, times in (("repeat", [2, 2, 1]), ("fewer", [1, 1, 1])):
        made = hd.load(hd.distill(str(uneven), tmp_path / rule, recipe_of("random", recipe), short_class=rule))
        own = [image.numpy().tobytes() for image in made.data.images[made.data.targets == 0]]
        real = [image.numpy().tobytes() for image in train.images[train.targets == 0]]
        assert sorted((own.count(image) for image in real), reverse=True) == times and set(own) == set(real)


def test_repeated_images_stand_behind_all_others(material: Material) -> None:
    """So the rows of other classes, and what is drawn of them, stay as they were."""
    keep = (material.train.targets != 0) | (torch.arange(len(material.train)) < 2)
    short = material._replace(train=material.train.rows(torch.nonzero(keep).flatten()))
    data = ShortClasses.of(short.train, RandomImages(), 5, "repeat").repeated(short).train
    assert len(data) == len(short.train) + 3
    assert torch.equal(data.images[:-3], short.train.images) and torch.equal(data.targets[:-3], short.train.targets)
    assert torch.equal(data.images[-3:], short.train.images[[0, 1, 0]]) and data.targets[-3:].tolist() == [0, 0, 0]
    enough = ShortClasses.of(material.train, RandomImages(), 5, "fewer")
    made = Distilled(material.train, HardLabels(material.train.targets, 4), {})
    assert enough.repeated(material) is material and enough.cut(made) is made


def test_the_default_names_every_short_class(
    uneven: Path, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fit(*_: object, **__: object) -> None:
        raise AssertionError("training began")

    monkeypatch.setattr(teachers, "fit", fit)
    mosaics = replace(recipe_of("rded", recipe), ipc=1)
    with pytest.raises(
        InputError, match=r"need 4 training images of each class .* fewer in circle \(3\), stripes \(1\);"
    ):
        hd.distill(str(uneven), tmp_path / "a", mosaics)
    with pytest.raises(InputError, match=r"fewer than 3 training images \(after holding some out\) in circle \(2\)"):
        data = drawn(3, seed=0)
        one_less = Material(data.rows(torch.arange(1, 12)), data.rows(torch.arange(0)))
        distill_material(one_less, replace(recipe, ipc=3), RandomImages(), tmp_path / "a")


def test_labels_by_row_stay_with_their_images() -> None:
    data = drawn(4, seed=0)
    made = Distilled(data, HardLabels(data.targets, 4), {})
    cut = ShortClasses("fewer", {"square": 1}, 4, 4).cut(made)
    assert cut.labels.targets.tolist() == cut.data.targets.tolist() == [0] * 4 + [1] + [2] * 4 + [3] * 4
    assert torch.equal(cut.data.images[4], data.images[4])


# Names of files.


def put(folder: Path, name: bytes) -> str:
    """A drawn image under any name."""
    folder.mkdir(parents=True, exist_ok=True)
    path = os.path.join(os.fsencode(folder), name)  # noqa: PTH118
    with open(path, "wb") as file:  # noqa: PTH123
        Image.new("RGB", (8, 8), (len(name) % 256, 1, 2)).save(file, "PNG")
    return os.fsdecode(path)


def test_odd_file_names(tmp_path: Path) -> None:
    names = [
        b"caf\xe9.png",
        b"two\nlines.png",
        b"x" * 251 + b".png",
        "犬.png".encode(),
        b"no ending",
        b"-rf",
        b"a\\b;$(x).png",
    ]
    for split in ("train", "test"):
        for folder in ("a", "b"):
            for name in names:
                put(tmp_path / split / folder, name)
    (tmp_path / "train" / "a" / "link.png").symlink_to("../b/-rf")
    (tmp_path / "train" / "b" / "circle").symlink_to("circle")
    images, skipped = open_training(str(tmp_path)).read(8)
    assert images.counts() == {"a": 8, "b": 7}
    reds = sorted(images.images[images.targets == 1][:, 0, 0, 0].tolist())
    assert reds == sorted(len(name) % 256 for name in names)
    assert [(Path(bad.name).name, bad.reason) for bad in skipped.bad] == [("circle", "not readable")]


def test_reports_hold_any_file_name(tmp_path: Path) -> None:
    for split in ("train", "test"):
        for folder in ("a", "b"):
            put(tmp_path / split / folder, b"good.png")
    for name in (b"caf\xe9.png", b"two\nlines.png"):
        with open(put(tmp_path / "train" / "a", name).encode(errors="surrogateescape"), "wb"):  # noqa: PTH123
            pass
    _, skipped = open_training(str(tmp_path)).read(8)
    skipped.write(tmp_path / "r.json")
    told = json.loads((tmp_path / "r.json").read_text())
    assert [Path(entry["file"]).name for entry in told["files"]] == [os.fsdecode(b"caf\xe9.png"), "two\nlines.png"]
    with pytest.raises(InputError) as caught:
        skipped.check(0.01)
    assert "/a/caf\\udce9.png (empty file), " in str(caught.value) and "/a/two\\nlines.png (empty file)" in str(
        caught.value
    )
    assert "\n" not in str(caught.value)


def test_folders_that_lead_out_of_the_source_are_refused(tmp_path: Path) -> None:
    tree, other = write_tree(tmp_path / "tree", train=2, test=1), write_tree(tmp_path / "other", train=2, test=1)
    (tree / "train" / "inside").symlink_to("circle")
    (tree / "test" / "inside").symlink_to("circle")
    assert open_training(str(tree)).counts()["inside"] == 2
    (tmp_path / "link").symlink_to(tree)  # the source itself may be a link
    assert len(open_training(str(tmp_path / "link")).read(8)[0]) == 10
    (tree / "train" / "outside").symlink_to(other / "train" / "circle")
    with pytest.raises(InputError, match=r"train/outside is a link that leads out of .*tree; put the folder itself"):
        open_training(str(tree))


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_split_that_leads_out_of_the_source_is_refused(tmp_path: Path, split: str) -> None:
    tree, other = write_tree(tmp_path / "tree", train=2, test=1), write_tree(tmp_path / "other", train=2, test=1)
    shutil.rmtree(tree / split)
    (tree / split).symlink_to(other / split)
    with pytest.raises(InputError, match=rf"{split} is a link that leads out of"):
        (open_test if split == "test" else open_training)(str(tree))


# Names of classes.

NAMES = [
    "犬", "\N{DOG FACE}\N{ZERO WIDTH JOINER}\N{SNOWMAN}", "e\N{COMBINING ACUTE ACCENT}tude", "a/b", "one, two",
    "line\nbreak", "CON", "..", ".", "1", "2", "10", "x" * 255, "<b>&amp;", "{name}", "quote\"'\\", " a ", "-rf", "%s",
]  # fmt: skip


def data_set(folder: Path, names: list[str]) -> Path:
    """Five drawn images of each class, as saved by `datasets`."""
    rng = np.random.default_rng(0)
    pictures = [draw(CLASSES[number % 4], rng, 16) for number in range(5 * len(names))]
    labels = [number // 5 for number in range(5 * len(names))]
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=names)})
    table = datasets.Dataset.from_dict({"image": pictures, "label": labels}, features=features)
    datasets.DatasetDict({"train": table, "test": table}).save_to_disk(folder)
    return folder


def test_class_names_come_back_exactly(recipe: Recipe, tmp_path: Path) -> None:
    source = data_set(tmp_path / "source", NAMES)
    simple = replace(recipe, distiller=RandomImages(), ipc=2)
    folder = hd.distill(str(source), tmp_path / "inner" / "a", simple)
    opened = datasets.load_dataset(str(folder), cache_dir=str(tmp_path / "cache"))["train"]
    assert opened.features["label"].names == NAMES
    assert opened["label"][:] == [number // 2 for number in range(2 * len(NAMES))]
    assert hd.load(folder).classes == tuple(NAMES)
    assert json.loads((folder / "hello.json").read_text(encoding="utf-8"))["classes"] == NAMES
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "inner", "source"]
    assert [path.name for path in (tmp_path / "inner").iterdir()] == ["a"]
    trained = hd.train(folder, str(source), student="convnet1_w4", seeds=[0])
    assert trained["test_images"] == 5 * len(NAMES)


def test_class_folders_of_any_name_come_back_exactly(tmp_path: Path) -> None:
    names = [name for name in NAMES if "/" not in name and "\0" not in name and not name.startswith(".")]
    for split in ("train", "test"):
        for name in names:
            put(tmp_path / split / name, b"0.png")
    assert open_training(str(tmp_path)).classes == tuple(sorted(names))


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (["étude", "e\N{COMBINING ACUTE ACCENT}tude", "b"], r"'\xe9tude' and 'e\u0301tude'"),
        (["Cat", "b", "cat"], "'Cat' and 'cat'"),
        (["cat ", "b", "cat"], "'cat ' and 'cat'"),
        (["straße", "STRASSE"], r"'stra\xdfe' and 'STRASSE'"),
    ],
)
def test_names_that_people_take_for_one_are_refused(tmp_path: Path, names: list[str], told: str) -> None:
    with pytest.raises(InputError) as caught:
        open_training(str(data_set(tmp_path / "source", names)))
    assert f"classes differ only by case, spaces or Unicode form: {told}; merge or" in str(caught.value)
    for split in ("train", "test"):
        for name in names:
            put(tmp_path / "tree" / split / name, b"0.png")
    with pytest.raises(InputError, match="classes differ only by case, spaces or Unicode form: "):
        open_training(str(tmp_path / "tree"))


def test_class_folders_that_are_no_text_are_refused(tmp_path: Path) -> None:
    for split in ("train", "test"):
        for name in (b"caf\xe9", b"tea"):
            folder = Path(os.fsdecode(os.fsencode(tmp_path / split) + b"/" + name))
            put(folder, b"0.png")
    with pytest.raises(InputError, match=r"must be UTF-8 of .* unlike caf\\udce9; rename them"):
        open_training(str(tmp_path))


@pytest.mark.parametrize(
    ("name", "told"), [("nul\0", r"unlike nul\\x00"), ("\x1b[31m", r"unlike \\x1b"), ("", "unlike ; ren")]
)
def test_class_names_with_control_characters_are_refused(tmp_path: Path, name: str, told: str) -> None:
    with pytest.raises(InputError, match=told):
        open_training(str(data_set(tmp_path / "source", ["a", name])))


def test_images_without_a_label_are_left_out_and_counted(tmp_path: Path) -> None:
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b"])})
    images = drawn(1, seed=0).images
    pictures = [Image.fromarray(image.permute(1, 2, 0).numpy()) for image in images]
    for place, labels in enumerate(([0, 1, -1, 0], [0, 1, None, 0])):
        train = datasets.Dataset.from_dict({"image": pictures, "label": labels}, features=features)
        test = datasets.Dataset.from_dict({"image": pictures[:2], "label": [0, 1]}, features=features)
        datasets.DatasetDict({"train": train, "test": test}).save_to_disk(tmp_path / str(place))
        split = open_training(str(tmp_path / str(place)))
        assert split.counts() == {"a": 2, "b": 1} and split.notes == ("1 rows without a label left out",)
        assert torch.equal(split.read(32)[0].images, images[[0, 1, 3]]) and split.rows.tolist() == [0, 1, 3]
