"""Every kind of source gives the same pixels and names; every kind of bad source is told in one sentence."""

from __future__ import annotations

import gzip
import shutil
from dataclasses import replace
from pathlib import Path

import datasets
import numpy as np
import pytest
import torch
from PIL import Image

from conftest import CLASSES, SIDE, drawn, write_tree
from hello_distill.api import distill, evaluation_images
from hello_distill.artifact import load
from hello_distill.data import fashion_mnist, tables
from hello_distill.data import sources as data
from hello_distill.data.decoding import GREY, decode, square
from hello_distill.data.folders import HELD_OUT
from hello_distill.data.images import hold_out
from hello_distill.data.sources import open_test, open_training
from hello_distill.distillers.random import RandomImages
from hello_distill.distillers.recipe import Recipe
from hello_distill.system.context import Context
from hello_distill.system.errors import InputError, MachineError


def as_dataset(folder: Path, split: str) -> datasets.Dataset:
    paths = sorted((folder / split).glob("*/*.png"), key=lambda p: (CLASSES_SORTED.index(p.parent.name), p.name))
    features = datasets.Features({"img": datasets.Image(), "fine_label": datasets.ClassLabel(names=CLASSES_SORTED)})
    records = {
        "img": [{"bytes": path.read_bytes(), "path": None} for path in paths],
        "fine_label": [CLASSES_SORTED.index(path.parent.name) for path in paths],
    }
    return datasets.Dataset.from_dict(records, features=features)


CLASSES_SORTED = sorted(CLASSES)


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same images as a class-per-folder tree, as Parquet, and as saved by `datasets`."""
    folder = tmp_path_factory.mktemp("sources")
    tree = write_tree(folder / "tree", test_name="validation")
    (folder / "parquet").mkdir()
    for split in ("train", "validation"):
        as_dataset(tree, split).to_parquet(folder / "parquet" / f"{split}-00000-of-00001.parquet")
    both = datasets.DatasetDict({split: as_dataset(tree, split) for split in ("train", "validation")})
    both.save_to_disk(folder / "saved")
    return {name: folder / name for name in ("tree", "parquet", "saved")}


@pytest.mark.parametrize("kind", ["tree", "parquet", "saved"])
def test_every_layout_gives_the_same_images_and_names(sources: dict[str, Path], kind: str) -> None:
    train, test = open_training(str(sources[kind])), open_test(str(sources[kind]))
    assert train.classes == test.classes == tuple(CLASSES_SORTED)
    assert set(train.counts().values()) == {12} and set(test.counts().values()) == {6}
    reference = np.stack(
        [
            np.array(Image.open(path))
            for name in CLASSES_SORTED
            for path in sorted((sources["tree"] / "train" / name).iterdir())
        ]
    )
    images = train.read(SIDE)[0]
    assert torch.equal(images.images, torch.from_numpy(reference).permute(0, 3, 1, 2))
    assert images.targets.tolist() == sorted(images.targets.tolist())
    assert train.native_side() == SIDE


@pytest.mark.parametrize("name", ["val", "validation", "test"])
def test_names_of_the_test_folder(tmp_path: Path, name: str) -> None:
    test = open_test(str(write_tree(tmp_path / "tree", train=2, test=1, test_name=name)))
    assert (test.name, len(test.table)) == (name, 4)


def record(path: Path) -> dict[str, object]:
    return {"bytes": path.read_bytes(), "path": None}


def test_orientation_of_a_photograph_is_applied(tmp_path: Path) -> None:
    picture = Image.new("RGB", (4, 2), "red")
    picture.putpixel((0, 0), (0, 0, 255))
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: show it a quarter turn clockwise
    picture.save(tmp_path / "turned.png", exif=exif)
    found = decode(record(tmp_path / "turned.png"))
    assert found.size == (2, 4)
    assert found.getpixel((1, 0)) == (0, 0, 255)


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK", "1", "LA"])
def test_other_modes_become_rgb(tmp_path: Path, mode: str) -> None:
    file = tmp_path / ("x.jpg" if mode == "CMYK" else "x.png")
    Image.new("RGB", (8, 8), (255, 255, 255)).convert(mode).save(file)
    found = decode(record(file))
    assert found.mode == "RGB"
    assert min(found.getpixel((3, 3))) >= 250


def test_sixteen_bit_greys_are_scaled_not_clipped(tmp_path: Path) -> None:
    Image.fromarray(np.full((4, 4), 32_896, np.uint16)).save(tmp_path / "x.png")
    assert decode(record(tmp_path / "x.png")).getpixel((0, 0)) == (128, 128, 128)


def test_square_takes_the_middle() -> None:
    wide = Image.new("RGB", (30, 10), "black")
    wide.paste((255, 255, 255), (10, 0, 20, 10))
    assert (np.array(square(wide, 10)) == 255).all()
    assert np.array(square(wide, 5)).shape == (5, 5, 3)


def test_the_whole_of_a_picture_becomes_a_square() -> None:
    wide = Image.new("RGB", (30, 10), "black")
    wide.paste((255, 255, 255), (0, 0, 10, 10))
    padded = np.array(square(wide, 30, "pad"))
    assert (padded[:10] == GREY).all() and (padded[20:] == GREY).all()
    assert (padded[10:20] == np.array(wide)).all()
    squashed = np.array(square(wide, 30, "squash"))
    assert (squashed[:, :8] == 255).all() and (squashed[:, 12:] == 0).all()


@pytest.mark.parametrize(("size", "share"), [((8, 8), 0.0), ((40, 10), 0.75), ((12, 8), 1 / 3)])
def test_much_that_is_cut_away_is_said(tmp_path: Path, size: tuple[int, int], share: float) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        Image.new("RGB", size).save(tmp_path / name / "0.png")
    train = open_training(str(tmp_path))
    assert train.cut_away() == pytest.approx(share)
    said = train.remarks("crop", names_count=False)
    assert [remark.partition(" of")[0] for remark in said] == (["note: 75 %"] if share > 0.5 else [])
    assert train.remarks("pad", names_count=False) == []


def test_size_and_square_of_a_recipe_hold_for_all_images(recipe: Recipe, tmp_path: Path) -> None:
    """Of training, of held-out and of test images; a size may be larger than the images' own."""
    for split in ("train", "test"):
        for number, name in enumerate(("a", "b")):
            (tmp_path / "d" / split / name).mkdir(parents=True)
            for file in range(4):
                wide = Image.new("RGB", (24, 8), (100 * number, 0, file))
                wide.paste((255, 255, 255), (0, 0, 8, 8))
                wide.save(tmp_path / "d" / split / name / f"{file}.png")
    squashed = replace(recipe, distiller=RandomImages(), ipc=2, held_share=0.5, size=48, square="squash")
    assert Recipe(ipc=1).with_changes(squashed.settings()) == squashed
    assert not {"size", "square"} & set(recipe.settings()), "recipes from before stay what they were"
    folder = distill(str(tmp_path / "d"), tmp_path / "a", squashed)
    artifact = load(folder)
    assert artifact.data.side == 48
    for test in (None, HELD_OUT):
        images = evaluation_images(folder, str(tmp_path / "d"), artifact, test)[0].images
        assert images.shape[-1] == 48 and bool((images[..., :12] == 255).all()) and int(images[:, 1, :, 20:].max()) == 0


def test_hold_out_takes_the_same_share_of_each_class_and_loses_nothing() -> None:
    whole = drawn(20, seed=0)
    train, held = hold_out(whole, 0.1, 1000, seed=0)
    assert [len(held.of_class(c)) for c in range(4)] == [2, 2, 2, 2]
    assert len(train) + len(held) == len(whole)
    together = torch.cat([train.images, held.images]).flatten(1).tolist()
    assert sorted(together) == sorted(whole.images.flatten(1).tolist())
    assert torch.equal(hold_out(whole, 0.1, 1000, seed=0).held.images, held.images)
    assert not torch.equal(hold_out(whole, 0.1, 1000, seed=1).held.images, held.images)
    assert len(hold_out(whole, 0.5, 8, seed=0).held) == 8
    assert min(len(hold_out(whole, 1.0, 1000, seed=0).train.of_class(c)) for c in range(4)) == 1


def test_a_limit_takes_the_same_share_of_each_class(sources: dict[str, Path]) -> None:
    train = open_training(str(sources["tree"]))
    assert set(train.limited(24, seed=0).counts().values()) == {6}
    assert set(train.limited(1, seed=0).counts().values()) == {1}
    assert train.limited(None, seed=0) is train.limited(48, seed=0) is train


# Bad sources.


def refused(source: Path | str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        open_training(str(source))


def untested(source: Path | str, message: str, name: str | None = None) -> None:
    """The source can be trained on, and not be tested on."""
    open_training(str(source))
    with pytest.raises(InputError, match=message):
        open_test(str(source), name)


def test_bad_folders(tmp_path: Path) -> None:
    tree = write_tree(tmp_path / "tree", train=2, test=1)
    shutil.rmtree(tree / "test")
    untested(
        tree, r"has no test split; put held-out images into test/CLASS/ within it, or name a folder .* with --test"
    )
    write_tree(tmp_path / "other", train=1, test=1)
    shutil.move(str(tmp_path / "other" / "test"), tree / "test")
    (tree / "test" / "zebra").mkdir()
    untested(tree, "holds classes that the training images do not: zebra")
    (tree / "test" / "zebra").rmdir()
    for file in (tree / "train" / "circle").iterdir():
        file.unlink()
    refused(tree, "split train: no images of circle; add some or remove the class")
    shutil.rmtree(tree / "train")
    refused(tree, r"has test/ but no train/ folder; lay the images out as train/CLASS/IMAGE")
    (tree / "train" / "only").mkdir(parents=True)
    refused(tree, "holds 1 class folders; a classifier needs at least two")
    (tmp_path / "file").write_text("x")
    refused(tmp_path / "file", "is a file; give the folder")
    refused(tmp_path / "nowhere", "no data at .*/nowhere")
    refused("fashion-mnits", "did you mean 'fashion-mnist'")


def test_files_that_are_no_images_are_named_together(tmp_path: Path) -> None:
    tree = write_tree(tmp_path / "tree", train=2, test=1)
    (tree / "train" / "circle" / "notes.png").write_text("hello")
    (tree / "train" / "cross" / "0.png").write_bytes((tree / "train" / "cross" / "0.png").read_bytes()[:60])
    train = open_training(str(tree))
    assert train.native_side() == SIDE
    with pytest.raises(InputError, match=r"2 of 9 images cannot be read: .*circle/notes.png \(text\), .*cross/0.png"):
        train.read(SIDE)[1].check(max_bad=0.0)


def test_data_sets_without_what_is_needed(tmp_path: Path) -> None:
    def put(name: str, **splits: datasets.Dataset) -> Path:
        datasets.DatasetDict(splits).save_to_disk(tmp_path / name)
        return tmp_path / name

    images = as_dataset(write_tree(tmp_path / "tree", train=1, test=1), "train")
    refused(put("no-train", first=images, test=images), "has the splits first, test, but none called train")
    untested(put("no-test", train=images), "has no labelled test split; add one called test or validation, or name")
    untested(tmp_path / "no-test", r"--test first is no split of .*no-test to test on \(train\)", "first")
    untested(tmp_path / "no-test", "--test train is no split", "train")
    bare = images.remove_columns("fine_label")
    refused(put("no-label", train=bare, test=bare), "needs an image column and a class label column; it has img")
    unlabelled = images.cast_column("fine_label", datasets.Value("int64")).map(lambda row: {"fine_label": -1})
    hidden = unlabelled.cast_column("fine_label", images.features["fine_label"])
    untested(put("hidden", train=images, test=hidden), "has no labelled test split")
    untested(tmp_path / "hidden", "4 images have no label", "test")


def test_class_folders_alone_are_trained_on(tmp_path: Path) -> None:
    """The same images and classes as in a `train` folder, whether there is a test split or not."""
    tree = write_tree(tmp_path / "tree", train=3, test=2)
    alone = tree / "train"
    whole, flat = open_training(str(tree)).read(SIDE)[0], open_training(str(alone)).read(SIDE)[0]
    assert torch.equal(flat.images, whole.images) and flat.classes == whole.classes
    untested(alone, "has no test split")
    untested(alone, r"--test \. names the training images themselves", ".")
    untested(tree, "--test nowhere is neither a folder in .*/tree nor a folder of its own", "nowhere")
    for source, name in ((tree, None), (tree, "test"), (alone, str(tree / "test"))):
        test = open_test(str(source), name)
        assert test.classes == whole.classes and test.counts() == dict.fromkeys(CLASSES_SORTED, 2)
        assert torch.equal(test.read(SIDE)[0].images, open_test(str(tree)).read(SIDE)[0].images)
    (tree / "later").mkdir()
    untested(tree, "split later: no images in it", "later")


def test_too_little_memory_is_told_before_it_is_taken(
    sources: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    train = open_training(str(sources["tree"]))
    monkeypatch.setenv("HELLO_DISTILL_IMAGES", "memory")
    with pytest.raises(MachineError, match=r"GiB of memory are free; set a smaller `max_side`"):
        train.read(400_000)


def test_an_unreachable_hub_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: object, **__: object) -> None:
        raise ConnectionError

    monkeypatch.setattr(data, "rest_offline_if_unreachable", lambda: None)
    monkeypatch.setattr(tables.datasets, "load_dataset", unreachable)
    with pytest.raises(MachineError, match="go online once, or give a local folder"):
        open_training("someone/some-set")


def test_a_configuration_and_a_revision_are_asked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked = []
    whole = as_dataset(write_tree(tmp_path / "tree", train=2, test=1), "train")

    def opened(*given: object, **options: object) -> dict[str, datasets.Dataset]:
        asked.append((given, options))
        return {"train": whole, "test": whole}

    monkeypatch.setattr(data, "rest_offline_if_unreachable", lambda: None)
    monkeypatch.setattr(tables.datasets, "load_dataset", opened)
    with Context(revision="v2"):
        assert open_training("someone/some-set:small").counts() == dict.fromkeys(CLASSES_SORTED, 2)
    open_training("someone/some-set")
    assert asked == [
        (("someone/some-set", "small"), {"revision": "v2"}),
        (("someone/some-set", None), {"revision": None}),
    ]


# Fashion-MNIST.


@pytest.fixture
def raw(tmp_path: Path) -> tuple[Path, dict[str, np.ndarray]]:
    """Three images a class in the IDX files of the original."""
    folder = tmp_path / "raw"
    folder.mkdir()
    pictures = {}
    for number, prefix in enumerate(("train", "t10k")):
        pictures[prefix] = np.random.default_rng(number).integers(0, 256, (30, 28, 28), dtype=np.uint8)
        labels = np.tile(np.arange(10, dtype=np.uint8), 3)
        with gzip.open(folder / f"{prefix}-images-idx3-ubyte.gz", "wb") as file:
            file.write(b"\0" * 16 + pictures[prefix].tobytes())
        with gzip.open(folder / f"{prefix}-labels-idx1-ubyte.gz", "wb") as file:
            file.write(b"\0" * 8 + labels.tobytes())
    return folder, pictures


def test_fashion_mnist_is_converted_once_and_kept(
    raw: tuple[Path, dict[str, np.ndarray]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HELLO_DISTILL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(fashion_mnist, "_installed", lambda scratch: raw[0])
    train, test = open_training("fashion-mnist"), open_test("fashion-mnist")
    assert train.classes[0] == "t-shirt" and len(train.classes) == 10
    for split, prefix in ((train, "train"), (test, "t10k")):
        images = split.read(28)[0]
        assert torch.equal(images.images[:, 1], torch.from_numpy(raw[1][prefix]))
        assert images.targets.tolist() == list(range(10)) * 3
    assert [p.name for p in (tmp_path / "cache").iterdir()] == ["fashion-mnist"]  # no scratch is left

    def never(scratch: Path) -> Path:
        raise AssertionError("fetched twice")

    monkeypatch.setattr(fashion_mnist, "_installed", never)
    assert len(open_training("fashion-mnist").table) == 30


def test_fashion_mnist_that_cannot_be_had_lists_the_ways_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(scratch: Path) -> Path:
        """this way"""
        raise OSError("nothing here")

    monkeypatch.setenv("HELLO_DISTILL_CACHE", str(tmp_path))
    for way in ("_installed", "_unpacked", "_mirrored"):
        monkeypatch.setattr(fashion_mnist, way, fails)
    with pytest.raises(MachineError) as caught:
        fashion_mnist.fashion_mnist()
    assert str(caught.value).count("this way: nothing here") == 3
    assert "apt-get install dataset-fashion-mnist" in str(caught.value)
    assert not list(tmp_path.iterdir())
