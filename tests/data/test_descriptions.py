"""Hugging Face data set folders of strangers: nothing outside is opened, and no other error comes out."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable
from pathlib import Path

import datasets
import pytest
from PIL import Image

from hello_distill.data.sources import open_test, open_training
from hello_distill.system.errors import InputError

datasets.disable_progress_bars()


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache of its own for each test, since `datasets` finds entries by the folder's name."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))


def table(labels: list[int], kind: object = None) -> datasets.Dataset:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "png")
    features = datasets.Features(
        {"image": datasets.Image(), "label": kind or datasets.ClassLabel(names=["a", "b", "c"])}
    )
    images = [{"bytes": buffer.getvalue(), "path": None}] * len(labels)
    return datasets.Dataset.from_dict({"image": images, "label": labels}, features=features)


def parquet(folder: Path, labels: list[int], kind: object = None) -> Path:
    (folder / "data").mkdir(parents=True)
    for split in ("train", "test"):
        table(labels, kind).to_parquet(folder / "data" / f"{split}-0.parquet")
    return folder


def saved(folder: Path) -> Path:
    both = table([0, 1, 2])
    datasets.DatasetDict({"train": both, "test": both}).save_to_disk(str(folder))
    return folder


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder beside the data set, whose files it has no business with."""
    return parquet(tmp_path / "outside", [0, 1, 2])


def test_true_folders_open(tmp_path: Path) -> None:
    files = "configs:\n- config_name: default\n  data_files:\n  - split: train\n    path: data/train-*\n"
    named = parquet(tmp_path / "named", [0, 1, 2])
    (named / "README.md").write_text(f"---\n{files}  - split: test\n    path: data/test-*\n---\n")
    for folder in (parquet(tmp_path / "plain", [0, 1, 2]), saved(tmp_path / "saved"), named):
        train, test = open_training(str(folder)), open_test(str(folder))
        assert train.counts() == test.counts() == {"a": 1, "b": 1, "c": 1}


def link(folder: Path, outside: Path) -> None:
    (folder / "data" / "train-0.parquet").unlink()
    (folder / "data" / "train-0.parquet").symlink_to(outside / "data" / "train-0.parquet")


def pipe(folder: Path, outside: Path) -> None:
    os.mkfifo(folder / "data" / "train-1.parquet")


def card(name: str) -> Callable[[Path, Path], None]:
    def change(folder: Path, outside: Path) -> None:
        (folder / "README.md").write_text(f"---\nconfigs:\n- config_name: default\n  data_files: [{name}]\n---\n")

    return change


def card_beside(folder: Path, outside: Path) -> None:
    (folder / ".huggingface.yaml").write_text("configs:\n- config_name: default\n  data_dir: ../outside\n")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (link, r"train-0\.parquet is a link that leads out of"),
        (pipe, r"train-1\.parquet is no ordinary file"),
        (card("../outside/data/train-0.parquet"), "names '../outside/data/train-0.parquet', which is not in that"),
        (card("/etc/passwd"), "names '/etc/passwd'"),
        (card("http://127.0.0.1:9/x.parquet"), "names 'http://127.0.0.1:9/x.parquet'"),
        (card("'zip://x::../outside/y'"), "names 'zip://x::../outside/y'"),
        (card_beside, r"\.huggingface\.yaml names '\.\./outside'"),
        (card("["), r"README\.md cannot be read \(ParserError\)"),
        (card("[" * 10_000), r"README\.md cannot be read \(RecursionError\)"),
    ],
)
def test_a_folder_that_leads_out_is_refused(
    change: Callable[[Path, Path], None], told: str, outside: Path, tmp_path: Path
) -> None:
    folder = parquet(tmp_path / "data", [0, 1, 2])
    change(folder, outside)
    with pytest.raises(InputError, match=told):
        open_training(str(folder))


@pytest.mark.parametrize(
    ("file", "content", "told"),
    [
        ("dataset_dict.json", {"splits": ["../outside", "test"]}, "names '../outside', which is not in that"),
        ("dataset_dict.json", {}, r"cannot be read \(KeyError\)"),
        ("dataset_dict.json", [], r"cannot be read \(TypeError\)"),
        ("train/state.json", {"_data_files": [{"filename": "../../x"}]}, r"names '\.\./\.\./x', which is not"),
        ("train/state.json", {"_data_files": [{"filename": "/dev/zero"}]}, "names '/dev/zero'"),
        ("train/state.json", {"_data_files": 3}, r"cannot be read \(TypeError\)"),
        ("train/state.json", {"_data_files": []}, "is no image data set that `datasets` can open"),
        ("train/dataset_info.json", [], r"is no image data set that `datasets` can open \(AttributeError"),
    ],
)
def test_a_saved_folder_that_leads_out_is_refused(file: str, content: object, told: str, tmp_path: Path) -> None:
    folder = saved(tmp_path / "data")
    old = json.loads((folder / file).read_text())
    (folder / file).write_text(json.dumps({**old, **content} if content and isinstance(content, dict) else content))
    with pytest.raises(InputError, match=told):
        open_training(str(folder))


def test_labels_that_number_no_classes_are_refused(tmp_path: Path) -> None:
    """A billion classes would be a billion names."""
    folder = parquet(tmp_path / "a", [0, 1, 10**9], datasets.Value("int64"))
    with pytest.raises(InputError, match="column label holds 3 different values for 3 images, so it names no classes"):
        open_training(str(folder))
    folder = parquet(tmp_path / "b", [[[0]], [[1]]], datasets.Array2D((1, 1), "int64"))
    with pytest.raises(InputError, match="needs an image column and a class label column"):
        open_training(str(folder))
    folder = parquet(tmp_path / "c", [0, 0], datasets.ClassLabel(names=["only"]))
    with pytest.raises(InputError, match="has 1 classes; a classifier needs at least two"):
        open_training(str(folder))
