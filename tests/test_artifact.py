"""What is kept on disk: same bytes for the same seed, same logits after loading, readable without this package."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import hello_distill as hd
from conftest import COMMAND, SIDE, seal, write_tree
from hello_distill import artifact as artifacts
from hello_distill.api import distill, evaluation_images, prepare
from hello_distill.artifact import load, save
from hello_distill.data.images import Material
from hello_distill.data.sources import open_test
from hello_distill.distillers.recipe import Recipe
from hello_distill.export import export
from hello_distill.format import storage
from hello_distill.format.manifest import IMAGES
from hello_distill.format.sizes import num_batches
from hello_distill.format.specs import Codec, StudentSpec
from hello_distill.labels.projector import adapter_config
from hello_distill.stages import Stages
from hello_distill.system.errors import ArtifactError, InputError, MachineError
from hello_distill.system.owners import Owner, seat
from hello_distill.training import together
from hello_distill.views import whole


def content(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_the_files_of_an_artefact(artefact: Path) -> None:
    assert sorted(content(artefact)) == [
        "README.md",
        "SHA256SUMS",
        "config.json",
        "data/train-00000-of-00001.parquet",
        "hello.json",
        "projector/adapter_config.json",
        "projector/adapter_model.safetensors",
    ]
    assert all(stat.S_IMODE(p.stat().st_mode) & 0o444 == 0o444 for p in artefact.rglob("*") if p.is_file())


def test_sums_and_sizes_are_those_of_the_files(artefact: Path) -> None:
    files = content(artefact)
    for line in files["SHA256SUMS"].decode().splitlines():
        digest, name = line.split("  ")
        assert hashlib.sha256(files[name]).hexdigest() == digest
    assert len(files["SHA256SUMS"].splitlines()) == len(files) - 1
    manifest = json.loads(files["hello.json"])
    assert {name: len(files[name]) for name in manifest["files"]} == {
        name: entry["bytes"] for name, entry in manifest["files"].items()
    }


def test_no_path_host_or_time_is_inside(artefact: Path, tree: Path) -> None:
    for name, written in content(artefact).items():
        for secret in (str(tree), str(artefact.parent), os.uname().nodename, "tiny-clip"):
            assert secret.encode() not in written, (name, secret)


def test_same_seed_same_bytes_other_seed_other_bytes(
    artefact: Path, tree: Path, recipe: Recipe, tmp_path: Path
) -> None:
    assert content(distill(str(tree), tmp_path / "again", recipe)) == content(artefact)
    other = content(distill(str(tree), tmp_path / "other", replace(recipe, seed=1)))
    for name in ("data/train-00000-of-00001.parquet", "projector/adapter_model.safetensors"):
        assert other[name] != content(artefact)[name]


def test_the_saved_config_repeats_the_run_in_another_process(
    artefact: Path, tree: Path, clip_folder: Path, tmp_path: Path
) -> None:
    """Through the command, with another hash seed: nothing may hang on the order of a set."""
    command = [*COMMAND, "distill", str(tree), "--out", str(tmp_path / "again")]
    environment = {**os.environ, "PYTHONHASHSEED": "12345"}
    again = ["--config", str(artefact / "config.json"), "--encoder", f"local-dir:{clip_folder}"]
    subprocess.run([*command, *again], check=True, env=environment, capture_output=True)
    assert content(tmp_path / "again") == content(artefact)


def test_labels_are_equal_bit_for_bit_after_saving_and_loading(tree: Path, recipe: Recipe, tmp_path: Path) -> None:
    material = prepare(str(tree), recipe)
    stages = Stages(material, recipe.teachers, recipe.seed)
    made = recipe.distiller(material, stages, recipe.ipc, recipe.seed)
    opened = load(save(made, recipe.ipc, recipe.student, recipe.codec, {}, tmp_path / "a"))
    x = whole(material.held.images)
    before, after = made.labels.projector, opened.labels.projector
    assert torch.equal(before(x), after(x))
    assert torch.equal(opened.data.images, made.data.images)
    assert torch.equal(opened.data.targets, made.data.targets)
    assert opened.student == recipe.student


def test_held_out_images_are_those_that_the_distillation_held_out(artefact: Path, tree: Path, recipe: Recipe) -> None:
    """Class folders alone: they give the artefact's training images, and students are tested on the held-out share."""
    held = prepare(str(tree), recipe).held
    images, described = evaluation_images(artefact, str(tree / "train"), load(artefact), "held-out")
    assert torch.equal(images.images, held.images) and torch.equal(images.targets, held.targets)
    assert described == "of the training split that the distillation held out (share 0.1, at most 2000, seed 0)"
    result = hd.train(artefact, str(tree / "train"), seeds=[0], test="held-out")
    assert (result["test_images"], result["test"]) == (len(held), described)
    assert "test" not in hd.train(artefact, str(tree), seeds=[0])
    with pytest.raises(InputError, match="has no test split; put held-out images into"):
        hd.train(artefact, str(tree / "train"), seeds=[0])


def test_it_is_said_why_no_images_are_held_out(artefact: Path, tmp_path: Path) -> None:
    """Two images a class are too few for a tenth of them; a recipe without any held out has none of whatever data."""
    few = str(write_tree(tmp_path / "few", train=2, test=1))
    with pytest.raises(InputError) as raised:
        hd.train(artefact, few, seeds=[0], test="held-out")
    assert str(raised.value) == (
        f"the artefact was distilled with `held_share` 0.1, and no class of {few} has enough images for that; "
        "give what it was distilled from"
    )
    other = tmp_path / "none-held"
    shutil.copytree(artefact, other)
    settings = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps({**settings, "held_share": 0.0}))
    seal(other)
    with pytest.raises(InputError, match=r"^the artefact was distilled with `held_share` 0: it held no images out"):
        hd.train(other, few, seeds=[0], test="held-out")


def test_two_artefacts_in_folders_of_one_name_are_told_apart_by_datasets(
    tree: Path, recipe: Recipe, tmp_path: Path
) -> None:
    """`datasets` caches a local folder by its name and its card; the card must therefore differ."""
    script = (
        "import sys, datasets, numpy\n"
        "one, two = (datasets.load_dataset(folder)['train']['image'] for folder in sys.argv[1:])\n"
        "assert any((numpy.array(a) != numpy.array(b)).any() for a, b in zip(one, two))"
    )
    folders = [distill(str(tree), tmp_path / str(seed) / "a", replace(recipe, seed=seed)) for seed in (0, 1)]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_DATASETS_CACHE": str(tmp_path / "cache")}
    done = subprocess.run([sys.executable, "-c", script, *folders], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_loader_gives_images_labels_and_mixed_classes(artefact: Path) -> None:
    opened = hd.load(artefact)
    batches = list(opened.loader(batch_size=3, epoch=1))
    assert [len(batch.images) for batch in batches] == [3, 3, 2]
    for images, soft, hard in batches:
        assert images.shape[1:] == (3, SIDE, SIDE) and images.min() >= 0 and images.max() <= 1
        assert torch.equal(soft, opened.labels.projector(images).half().float())
        torch.testing.assert_close(hard.sum(1), torch.ones(len(hard)))
    again = list(opened.loader(batch_size=3, epoch=1))
    assert all(
        torch.equal(a.images, b.images) and torch.equal(a.soft, b.soft) for a, b in zip(batches, again, strict=True)
    )
    assert not torch.equal(next(iter(opened.loader(batch_size=3, epoch=2))).images, batches[0].images)


def test_small_batches_are_labelled_in_one_go_always_the_same_ones(
    artefact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Eight batches of one image, five at once: those of images 0 to 4, and of 5 to 7."""
    opened = hd.load(artefact)
    seen: list[int] = []
    projector = opened.labels.projector

    def counted(images: torch.Tensor) -> torch.Tensor:
        seen.append(len(images))
        return projector(images)

    monkeypatch.setattr(opened.labels, "projector", counted)
    monkeypatch.setattr(together, "AT_ONCE", 5)
    epoch = list(opened.batches(batch_size=1, epoch=2))
    assert seen == [5, 3]
    for view, batch in epoch:
        alone = opened.batch(view)
        assert torch.equal(batch.images, alone.images) and torch.equal(batch.hard, alone.hard)
        torch.testing.assert_close(batch.soft, alone.soft, rtol=0, atol=2e-3)
    for first in range(9):
        seen.clear()
        rest = list(opened.batches(batch_size=1, epoch=2, first=first))
        assert len(rest) == 8 - first and seen == ([5, 3] if first < 5 else [3])
        for (view, batch), (same, again) in zip(epoch[first:], rest, strict=True):
            assert view.key == same.key and torch.equal(batch.soft, again.soft), (
                "a run that goes on has the same labels"
            )


def test_hard_labels_need_no_encoder(artefact: Path, clip_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> None:
        raise AssertionError("the encoder was opened")

    monkeypatch.setattr(artifacts.KINDS.find("projector"), "load", never)
    _, soft, hard = next(iter(load(artefact, "hard").loader()))
    assert torch.equal(soft, hard)


def test_info_counts_bytes_on_disk_and_what_stored_labels_would_take(artefact: Path) -> None:
    found, files = hd.info(artefact), content(artefact)
    assert found["images"]["bytes"] == len(files["data/train-00000-of-00001.parquet"])
    assert found["labels"]["bytes"] == sum(len(v) for name, v in files.items() if name.startswith("projector/"))
    assert found["images"]["count"] == 8 and found["ipc"] == 2 and found["classes"] == 4
    assert found["stored_labels"]["bytes"] == 3 * 8 * 4 * 2  # epochs, images, classes, bytes of a float16
    tensors = load(artefact).labels.adapter.kept
    assert found["labels"]["parameters"] == sum(t.numel() for t in tensors.values())
    assert 2 * found["labels"]["parameters"] < found["labels"]["bytes"]


# Nothing half-written.


def test_a_failure_while_writing_leaves_nothing(
    tree: Path, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(storage, "write_json", full)
    with pytest.raises(MachineError, match=r"out/a cannot be written: it needs [\d,]+ bytes, and [\d,]+ are free"):
        distill(str(tree), tmp_path / "out" / "a", recipe)
    assert [path.name for path in (tmp_path / "out").iterdir()] == [".a.stages"], "what a rerun goes on from"


def test_nothing_is_overwritten(artefact: Path, tree: Path, recipe: Recipe, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="exists already; name another output"):
        distill(str(tree), artefact, recipe)
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(InputError, match="exists already"):
        distill(str(tree), tmp_path / "link", recipe)


# Broken artefacts.


@pytest.fixture
def broken(artefact: Path, tmp_path: Path) -> Path:
    """A copy to break."""
    return shutil.copytree(artefact, tmp_path / "broken")


def test_folders_that_are_no_artefact(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"is no artefact: it has no hello.json"):
        load(tmp_path)
    absent = f"{tmp_path / 'a'} does not exist; name an artefact's folder, or hf://owner/name for one on the Hub"
    with pytest.raises(InputError, match=absent):
        load(tmp_path / "a")
    (tmp_path / ".a.claim").mkdir()
    other = Owner("cluster7", "of another machine", 4711, "1", "t")
    for owner, told in (
        (other, f"{tmp_path / 'a'} is no artefact yet: process 4711 of cluster7 has claimed it; wait for it to end"),
        (other._replace(seat=seat(), pid=2**22 + 1), absent),  # more than the largest number of a process: it has ended
        (Owner.me(), absent),
    ):
        (tmp_path / ".a.claim" / "owner.json").write_text(json.dumps(owner._asdict()))
        with pytest.raises(InputError, match=told):
            load(tmp_path / "a")


def test_an_artefact_chooses_no_public_encoder_for_its_students(broken: Path, tree: Path, clip_folder: Path) -> None:
    """Whoever trains does."""
    name = f"encoder/local-dir:{clip_folder}"
    result = hd.train(broken, str(tree), student=name, seeds=[0])
    assert result["student"] == name and 0 <= result["top1_last"]["mean"] <= 100
    manifest = json.loads((broken / "hello.json").read_text())
    seal(broken, student={**manifest["student"], "network": "encoder/lite@64"})
    with pytest.raises(ArtifactError, match="the student is a public encoder, which its user chooses"):
        load(broken)


def test_broken_manifests(broken: Path) -> None:
    seal(broken, format=99)
    with pytest.raises(ArtifactError, match="has format 99, this version reads 2"):
        load(broken)
    (broken / "hello.json").write_text("{")
    with pytest.raises(ArtifactError, match="cannot be read"):
        load(broken)


def test_broken_images(broken: Path) -> None:
    classes = json.loads((broken / "hello.json").read_text())["classes"]
    seal(broken, classes=["a", "b", "c", "d"])
    with pytest.raises(ArtifactError, match="its class names are not those of the manifest"):
        load(broken)
    (broken / IMAGES).write_bytes(b"PAR1")
    seal(broken, classes=classes)
    with pytest.raises(ArtifactError, match="cannot be read"):
        load(broken)


def test_broken_projectors(broken: Path, artefact: Path) -> None:
    labels = json.loads((broken / "hello.json").read_text())["labels"]
    seal(broken, labels={**labels, "encoder_rank": 3})
    with pytest.raises(ArtifactError, match=r"adapter_config.json is not the one"):
        load(broken)
    (broken / "projector" / "adapter_config.json").write_text(adapter_config(labels["convolutions"], 3, 4))
    seal(broken, labels={**labels, "encoder_rank": 3, "head_rank": 4})
    with pytest.raises(ArtifactError, match="is not of rank"):
        load(broken)
    (broken / "projector" / "adapter_config.json").write_text(
        adapter_config(labels["convolutions"][1:], 2, labels["head_rank"])
    )
    seal(broken, labels={**labels, "convolutions": labels["convolutions"][1:]})
    with pytest.raises(ArtifactError, match="convolutions and a head"):
        load(broken)
    shutil.copy(artefact / "projector" / "adapter_config.json", broken / "projector")
    weights = [{**labels["encoder"]["weights"][0], "sha256": "0" * 64}]
    seal(broken, labels={**labels, "encoder": {**labels["encoder"], "weights": weights}})
    with pytest.raises(
        MachineError, match=r"SHA-256 000000000000...\), and none of 1 folders in HELLO_DISTILL_ENCODERS"
    ):
        load(broken)
    seal(broken, labels={**labels, "encoder": {**labels["encoder"], "mean": [0.1, 0.2, 0.3]}})
    with pytest.raises(
        ArtifactError, match=r"says that the mean of 'local-dir' is \[0.1, 0.2, 0.3\], and it is \[0.48"
    ):
        load(broken)
    seal(broken, labels={**labels, "kind": "pickled"})
    with pytest.raises(ArtifactError, match=r"`labels.kind`: .pickled. is none of hard, projector"):
        load(broken)
    seal(broken, labels=labels)
    (broken / "projector" / "adapter_model.safetensors").write_bytes(b"\x08" + b"\0" * 20)
    seal(broken)
    with pytest.raises(ArtifactError, match="cannot be read"):
        load(broken)


# Codecs and specifications.


@pytest.mark.parametrize(("codec", "largest"), [(Codec("png"), 0), (Codec("jpeg", 95), 100), (Codec("webp", 95), 100)])
def test_students_see_what_the_codec_keeps(
    codec: Codec, largest: int, material: Material, recipe: Recipe, tmp_path: Path
) -> None:
    from hello_distill.artifact import Distilled
    from hello_distill.labels.sources.hard import HardLabels

    made = Distilled(material.held, HardLabels(material.held.targets, 4), {})
    kept = load(save(made, 8, StudentSpec(), codec, {}, tmp_path / codec.format)).data.images
    difference = (kept.int() - material.held.images.int()).abs()
    assert difference.max() <= largest
    if codec.format != "png":
        assert 0 < difference.float().mean() < 5


def test_epochs_at_which_students_are_tested() -> None:
    spec = StudentSpec(evaluations=5)
    assert spec.tested_epochs() == [60, 120, 180, 240, 300]
    assert replace(spec, optim=replace(spec.optim, epochs=3)).tested_epochs() == [1, 2, 3]


def test_a_recipe_survives_json(recipe: Recipe) -> None:

    from hello_distill.recipes import RECIPES

    for name, make in RECIPES.items():
        written = json.loads(json.dumps(make().settings()))
        assert make().with_changes(written) == make(), name
        assert recipe.with_changes(written) == make(), name


def test_epochs_of_a_config_count_in_the_place_of_a_recipe_s_steps() -> None:
    recipe, optim = hd.recipe("cpu"), {"optim": {"epochs": 12}}
    assert recipe.student_steps and recipe.teachers.steps and recipe.distiller.projector_spec.steps
    changed = recipe.with_changes({"student": optim, "teachers": optim, "distiller": {"projector": optim}})
    assert changed.student_for(100).optim.epochs == changed.teachers.for_images(9000).optim.epochs == 12
    assert changed.distiller.projector_spec.steps is None
    assert recipe.with_changes({"student": {"optim": {"lr": 0.1}}}).student_steps == recipe.student_steps
    both = recipe.with_changes({"student": optim, "student_steps": 50})
    assert both.student_for(100).optim.epochs == 10, "50 steps of 20 images"


def test_another_encoder_comes_at_its_own_size() -> None:
    changed = hd.recipe("demo").with_encoder("ViT-B-32/openai")
    assert (changed.distiller.projector.encoder, changed.distiller.projector.size) == ("ViT-B-32/openai", None)
    assert hd.recipe("demo").with_encoder("lite") == hd.recipe("demo")


def test_a_data_set_is_read_back_as_a_source(artefact: Path, tmp_path: Path) -> None:
    """An artefact's images open like any local data set folder, but have no test split."""
    with pytest.raises(InputError, match="no labelled test split"):
        open_test(str(artefact))


def test_the_first_images_of_each_class_are_an_artefact_of_their_own(
    artefact: Path, tree: Path, tmp_path: Path
) -> None:
    whole = artifacts.load(artefact)
    part = artifacts.first_images(whole, 1)
    assert part.data.counts() == dict.fromkeys(whole.classes, 1)
    for target in range(len(whole.classes)):
        first = whole.data.images[whole.data.of_class(target)[0]]
        assert torch.equal(part.data.images[part.data.of_class(target)[0]], first)
    optims = whole.student.optim, part.student.optim
    steps = [optim.epochs * num_batches(len(set_.data), 4) for optim, set_ in zip(optims, (whole, part), strict=True)]
    assert steps == [6, 6], "students train as long"
    result = hd.train(artefact, str(tree), seeds=[0], ipc=1)
    assert result["epochs"] == 6 and result["top1_last"]["runs"]
    with pytest.raises(
        InputError, match="each class has at least 2; ask for no more, or distil an artefact with that many"
    ):
        artifacts.first_images(whole, 3)
    export(artefact, tmp_path / "tree", ipc=1)
    files = sorted((tmp_path / "tree").glob("*/*.png"))
    assert len(files) == 4 and {file.name for file in files} == {"00000.png"}


def test_labels_stored_by_view_have_no_first_images(kinds: dict[str, Path]) -> None:
    with pytest.raises(InputError, match="stored labels cannot be cut to fewer images; leave --ipc out"):
        artifacts.first_images(artifacts.load(kinds["stored"]), 1)
    for kind in ("static", "hard", "teacher"):
        assert len(artifacts.first_images(artifacts.load(kinds[kind]), 1).data) == 4
