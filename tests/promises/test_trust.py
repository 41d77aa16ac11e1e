"""What an artefact says of itself, and how that is checked: manifest, card, expected accuracy, order of classes."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from conftest import COMMAND, cheap, seal
from hello_distill import cli
from hello_distill.api import distill, record, reproduce, verify
from hello_distill.artifact import load
from hello_distill.data import licence
from hello_distill.data.images import ImageSet
from hello_distill.data.licence import Origin, source_of
from hello_distill.data.order import check_order, cycle, other_names
from hello_distill.distillers.recipe import Recipe
from hello_distill.format import manifest
from hello_distill.format.results.entries import Summary
from hello_distill.format.verification import check_files
from hello_distill.system.errors import ArtifactError, InputError
from hello_distill.training.expectation import expected_range, verdict
from hello_distill.views import whole

# The manifest.


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"ipc": 0}, "`ipc`: Input should be greater than or equal to 1"),
        ({"ipc": "2"}, "`ipc`: Input should be a valid integer"),
        ({"more": 1}, "`more`: Extra inputs are not permitted"),
        ({"classes": ["a", "a", "b", "c"]}, "two classes have one name"),
        ({"classes": ["a\x1b[31m", "b", "c", "d"]}, r"`classes.0`: Value error, must not hold control characters"),
        ({"ipc": 1}, "more images than classes times images per class"),
        ({"figures": {"x": float("nan")}}, "`figures.x`"),
        ({"images": None}, "`images`: Input should be an object"),
    ],
)
def test_a_field_that_is_not_as_it_must_be_is_named(
    artefact: Path, tmp_path: Path, changes: dict[str, object], told: str
) -> None:
    folder = shutil.copytree(artefact, tmp_path / "a")
    seal(folder, **changes)
    with pytest.raises(ArtifactError, match=re.escape(told)):
        load(folder)


def test_two_values_of_one_field_are_one_value(artefact: Path, tmp_path: Path) -> None:
    """What is checked is what is used, also where a forger writes a field twice."""
    folder = shutil.copytree(artefact, tmp_path / "a")
    text = (folder / "hello.json").read_text()
    (folder / "hello.json").write_text(text.replace('"ipc": 2,', '"ipc": 2, "ipc": 3,', 1))
    found = manifest.parse((folder / "hello.json").read_bytes(), folder)["ipc"]
    assert found == json.loads((folder / "hello.json").read_text())["ipc"] == 3


# Bytes, modes, names.


def test_bytes_and_modes_depend_on_neither_hash_seed_nor_umask(
    artefact: Path, tree: Path, clip_folder: Path, tmp_path: Path
) -> None:
    """Two more runs, in processes of their own: all files equal, 0644 under umask 022 and 0640 under 027."""
    expected = {file.relative_to(artefact): file.read_bytes() for file in artefact.rglob("*") if file.is_file()}
    for seed, umask, mode in ((1, 0o022, 0o644), (2, 0o027, 0o640)):
        out = tmp_path / str(seed)
        command = [*COMMAND, "distill", str(tree), "--out", str(out)]
        command += ["--config", str(artefact / "config.json"), "--encoder", f"local-dir:{clip_folder}"]
        environment = {**os.environ, "PYTHONHASHSEED": str(seed)}
        subprocess.run(command, check=True, env=environment, umask=umask, capture_output=True)
        assert {file.relative_to(out): file.read_bytes() for file in out.rglob("*") if file.is_file()} == expected
        assert {stat.S_IMODE(file.stat().st_mode) for file in out.rglob("*") if file.is_file()} == {mode}


def test_sums_hold_without_python(artefact: Path) -> None:
    done = subprocess.run(["sha256sum", "--strict", "-c", "SHA256SUMS"], cwd=artefact, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.count(": OK") == 6


# The card.


def front(folder: Path) -> dict[str, object]:
    return yaml.safe_load((folder / "README.md").read_text().split("---")[1])


def test_the_card_counts_names_and_describes(artefact: Path) -> None:
    found, text = front(artefact), (artefact / "README.md").read_text()
    info = found["dataset_info"]
    assert info["splits"] == [
        {"name": "train", "num_bytes": (artefact / manifest.IMAGES).stat().st_size, "num_examples": 8}
    ]
    assert list(info["features"][1]["dtype"]["class_label"]["names"].values()) == list(load(artefact).classes)
    assert "license" not in found and "The source names none, so none is given here" in text
    assert "Crops of real images of the source" in text


def test_a_licence_is_inherited_and_never_assumed(tree: Path, recipe: Recipe, tmp_path: Path) -> None:
    source = shutil.copytree(tree, tmp_path / "data")
    (source / "README.md").write_text(
        "---\nlicense: other\nlicense_name: imagenet\nlicense_link: https://image-net.org/download.php\n---\n"
    )
    assert source_of(str(source)) == Origin(None, "other", "imagenet", "https://image-net.org/download.php")
    found = front(distill(str(source), tmp_path / "a", recipe))
    assert [found[key] for key in ("license", "license_name", "license_link")] == [
        "other", "imagenet", "https://image-net.org/download.php",
    ]  # fmt: skip
    assert "source_datasets" not in found  # a folder's path is nobody else's business
    for text in ("", "no front matter", "---\n: [\n---\n", "---\nlicense:\n---\n"):
        (source / "README.md").write_text(text)
        assert source_of(str(source)) == licence.UNKNOWN
    assert source_of("fashion-mnist").license == "mit"


def test_datasets_refuses_a_table_with_another_number_of_rows(artefact: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(artefact, tmp_path / "a")
    card = (folder / "README.md").read_text()
    (folder / "README.md").write_text(card.replace("num_examples: 8", "num_examples: 9"))
    script = "import sys, datasets; datasets.load_dataset(sys.argv[1])"
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_DATASETS_CACHE": str(tmp_path / "cache")}
    done = subprocess.run([sys.executable, "-c", script, folder], env=environment, capture_output=True, text=True)
    assert "NonMatchingSplitsSizesError" in done.stderr


def card_code(artefact: Path, clip_folder: Path, out: Path) -> str:
    """The card's code for stock libraries, word for word, and then what it found is written to `out`."""
    code = (artefact / "README.md").read_text().split("```python\n")[1].split("```")[0]
    return (
        code.replace("PATH", str(artefact)).replace("ENCODER", str(clip_folder))
        + "import sys\n"
        + "assert not [name for name in sys.modules if name.startswith('hello_distill')]\n"
        + "names = data.features['label'].names\n"
        + "found = dict(logits=logits, images=images, labels=data['label'][:], names=names)\n"
        + f"numpy.savez({str(out)!r}, **found)"
    )


def test_the_card_s_own_code_opens_the_artefact_without_this_package(
    artefact: Path, clip_folder: Path, tmp_path: Path
) -> None:
    """Word for word, in a process that never imports us: images, names, and our logits within 1e-5 of their size."""
    code = card_code(artefact, clip_folder, tmp_path / "found.npz")
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_DATASETS_CACHE": str(tmp_path / "cache")}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found, ours = np.load(tmp_path / "found.npz"), load(artefact)
    assert tuple(found["names"]) == ours.classes
    assert found["labels"].tolist() == ours.data.targets.tolist()
    np.testing.assert_array_equal(found["images"], whole(ours.data.images).numpy())
    expected = ours.labels.projector(whole(ours.data.images)).numpy()
    np.testing.assert_allclose(found["logits"], expected, atol=1e-5 * np.abs(expected).max())


# Expected accuracy.


def test_the_expected_range_is_student_s() -> None:
    """t(0.975, 2) = 4.302653 (tables); sd of 70, 71, 72 is 1; the mean of three more lies within t * sqrt(2/3)."""
    found = expected_range([70.0, 71.0, 72.0], 3, 10_000)
    assert found.low == pytest.approx(71 - 4.302653 * (2 / 3) ** 0.5, abs=1e-5)
    assert found.high == pytest.approx(71 + 4.302653 * (2 / 3) ** 0.5, abs=1e-5)
    one = expected_range([70.0, 71.0, 72.0], 1, 10_000)
    assert one.high - 71 == pytest.approx(4.302653 * (4 / 3) ** 0.5, abs=1e-5)
    assert expected_range([70.0] * 3, 3, 100).high == pytest.approx(70 + 4.302653 * (2 / 3) ** 0.5, abs=1e-5)


def test_about_95_of_100_honest_repetitions_come_out_inside() -> None:
    rng = np.random.default_rng(0)
    draws = rng.normal(60, 1.0, (4000, 6))
    inside = [expected_range(row[:3].tolist(), 3, 10**6).holds(float(row[3:].mean())) for row in draws]
    assert 0.94 < np.mean(inside) < 0.96
    shifted = [expected_range(row[:3].tolist(), 3, 10**6).holds(float(row[3:].mean()) - 20) for row in draws]
    assert np.mean(shifted) < 0.02


def test_an_artefact_that_states_its_accuracy_is_held_to_it(artefact: Path, tree: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="states no accuracy to expect"):
        reproduce(artefact, str(tree))
    with pytest.raises(InputError, match="needs at least 3 seeds, not 2"):
        record(artefact, str(tree), tmp_path / "b", [0, 1])
    stated = record(artefact, str(tree), tmp_path / "b", [0, 1, 2])
    expected = load(stated).manifest["expected"]
    assert (expected["seeds"], expected["test_images"]) == ([0, 1, 2], 24)
    found = reproduce(stated, str(tree))
    assert found["inside"] and found["runs"] == expected["top1_last"]["runs"]  # the same machine, the same students
    text = (stated / "README.md").read_text()
    assert (
        f"{expected['top1_last']['mean']:.1f} % top-1 after the last epoch (sd {expected['top1_last']['sd']:.1f}"
        in text
    )
    for name in (manifest.IMAGES, "config.json", "projector/adapter_model.safetensors"):
        assert (stated / name).read_bytes() == (artefact / name).read_bytes()

    last = Summary.of([99.8, 99.9, 100.0]).content()
    seal(stated, expected={**expected, "top1_last": last})
    code = cli.main(["evaluate", str(stated), "--data", str(tree), "--seeds", "0"])
    assert code == 4
    seal(stated, expected={**expected, "test_sha256": "0" * 64})
    with pytest.raises(InputError, match=r"24 test images of .* are not the 24 on which"):
        reproduce(stated, str(tree))


def test_a_verdict_holds_the_range_and_the_runs() -> None:
    expected = {"top1_last": {"runs": [70.0, 71.0, 72.0]}, "test_images": 10_000}
    found = verdict(expected, [60.0])
    assert (
        not found["inside"] and found["mean"] == 60.0 and found["low"] == pytest.approx(71 - 4.302653 * (4 / 3) ** 0.5)
    )


# Order of classes.


def confused(classes: int, per_class: int, accuracy: float, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits of a classifier of that accuracy, whose mistakes go to a neighbouring class half of the time."""
    rng = np.random.default_rng(seed)
    targets = np.repeat(np.arange(classes), per_class)
    wrong = np.where(rng.random(len(targets)) < 0.5, targets ^ 1, rng.integers(classes, size=len(targets))) % classes
    guess = np.where(rng.random(len(targets)) < accuracy, targets, wrong)
    return torch.eye(classes)[torch.from_numpy(guess)], torch.from_numpy(targets)


def order_holds(logits: torch.Tensor, targets: torch.Tensor) -> bool:
    names = tuple(map(str, range(logits.shape[1])))
    try:
        check_order(logits, ImageSet(torch.zeros(len(targets), 3, 1, 1, dtype=torch.uint8), targets, names), "it")
    except ArtifactError:
        return False
    return True


@pytest.mark.parametrize("classes", [10, 100])
def test_permuted_classes_are_found_and_true_ones_are_not_accused(classes: int) -> None:
    """100 of 100 permutations, 100 of 100 exchanges of two classes of 20 images, 0 of 100 false alarms."""
    caught, exchanged, accused = 0, 0, 0
    for seed in range(100):
        logits, targets = confused(classes, 20, 0.8, seed)
        rng = np.random.default_rng(seed)
        permutation = rng.permutation(classes)
        caught += not order_holds(logits, torch.from_numpy(permutation)[targets])
        two = np.arange(classes)
        first, second = rng.choice(classes, 2, replace=False)
        two[[first, second]] = two[[second, first]]
        exchanged += not order_holds(logits, torch.from_numpy(two)[targets])
        accused += not order_holds(logits, targets)
        accused += not order_holds(*confused(classes, 20, 0.4, seed))
    assert (caught, exchanged, accused) == (100, 100, 0)


@pytest.mark.parametrize(("classes", "per_class"), [(100, 1), (100, 20), (1000, 1)])
def test_a_source_that_only_guesses_is_not_accused(classes: int, per_class: int) -> None:
    """Its pointers form cycles of any length: 0 of 80 false alarms for sources that are right once in 20, or never."""
    accused = 0
    for seed in range(40):
        for accuracy in (0.0, 0.05):
            rng = np.random.default_rng(seed)
            targets = np.repeat(np.arange(classes), per_class)
            guess = np.where(rng.random(len(targets)) < accuracy, targets, rng.integers(classes, size=len(targets)))
            accused += bool(cycle(torch.from_numpy(targets), torch.from_numpy(guess), classes))
    assert accused == 0


def cycle_of(confusion: torch.Tensor) -> list[tuple[int, int]]:
    """The cycles of images counted by class (rows) and guess (columns)."""
    targets, guesses = torch.nonzero(confusion).repeat_interleave(confusion[confusion > 0], dim=0).T
    return cycle(targets, guesses, len(confusion))


def test_the_classes_that_have_changed_places_are_named() -> None:
    confusion = torch.tensor([[2, 18, 0, 0], [0, 1, 19, 0], [20, 0, 0, 0], [0, 0, 0, 20]])
    assert cycle_of(confusion) == [(0, 1), (1, 2), (2, 0)]
    assert cycle_of(torch.tensor([[2, 18, 0], [0, 20, 0], [0, 0, 20]])) == []  # one class is not recognised
    assert cycle_of(torch.tensor([[0, 1], [1, 0]])) == []  # too few images to say


def test_the_order_of_the_most_classes_takes_little_memory() -> None:
    """32,767 classes, the most that a manifest may have: a square of counts would take 8 GB."""
    classes = 2**15 - 1
    targets = torch.arange(classes).repeat_interleave(4)
    guesses = torch.where(targets == 5, 9, torch.where(targets == 9, 5, targets))
    with cheap(5.0):
        assert cycle(targets, guesses, classes) == []  # eight images are too few to say
    twenty = torch.cat([targets, torch.tensor([5, 9]).repeat_interleave(20)])
    taken = torch.cat([guesses, torch.tensor([9, 5]).repeat_interleave(20)])
    with cheap(5.0):
        assert cycle(twenty, taken, classes) == [(5, 9), (9, 5)]


@pytest.mark.parametrize(
    ("theirs", "told"),
    [
        (["cat", "dog"], ""),
        (["dog", "cat"], "the same classes in another order"),
        (["Cat", "dog "], "names that differ only in case, spaces or Unicode form"),
        (["cat", "dog", "x"], "2 classes and 3"),
        (["cat", "cow"], "other names, such as 'dog'"),
    ],
)
def test_how_class_names_differ(theirs: list[str], told: str) -> None:
    assert other_names(["cat", "dog"], theirs) == told


def test_verify_compares_the_order_with_images_and_with_a_teacher(
    tree: Path, recipe: Recipe, artefact: Path, tmp_path: Path
) -> None:
    """An artefact whose class names were exchanged after it was made, all hashes right, meets its data."""
    from hello_distill.distillers.rded import RDED

    better = replace(recipe.teachers, optim=replace(recipe.teachers.optim, epochs=30, lr=5e-3), weak_epochs=(30,))
    base = replace(recipe, teachers=better, distiller=RDED(recipe.distiller.patches))
    taught = distill(str(tree), tmp_path / "a", base)
    found = verify(taught, str(tree), taught)
    assert len(found["checks"]) == 5 and not found["not_checked"]
    assert "which are right for" in found["checks"][3]
    logits = torch.eye(4)[torch.arange(4).repeat_interleave(25)]
    with pytest.raises(ArtifactError, match="it takes 'a' for 'b', 'b' for 'a'"):
        swapped = torch.tensor([1, 0, 2, 3]).repeat_interleave(25)
        check_order(logits, ImageSet(torch.zeros(100, 3, 1, 1, dtype=torch.uint8), swapped, ("a", "b", "c", "d")), "x")


def test_verify_says_what_it_could_not_check(
    artefact: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("HELLO_DISTILL_ENCODERS")
    assert cli.main(["verify", str(artefact)]) == 3
    said = capsys.readouterr()
    assert "NOT CHECKED" in said.out and "not all of" in said.err
    monkeypatch.setenv("HELLO_DISTILL_ENCODERS", str(artefact))
    with pytest.raises(Exception, match="none of 1 folders in HELLO_DISTILL_ENCODERS holds it"):
        load(artefact)


def test_a_teacher_for_another_number_of_classes_is_refused(tree: Path, recipe: Recipe, tmp_path: Path) -> None:
    from hello_distill.distillers.rded import RDED
    from hello_distill.format import tensors
    from hello_distill.teachers import weights
    from hello_distill.training.networks import build

    taught = distill(str(tree), tmp_path / "a", replace(recipe, distiller=RDED(recipe.distiller.patches)))
    tensors.write(taught / "teacher" / "0.safetensors", weights(build("convnet2_w8", 5, 32, seed=0)))
    seal(taught)
    with pytest.raises(ArtifactError, match=r"backbone\.9\.bias is \('F16', \(5,\)\) and should be \('F16', \(4,\)\)"):
        load(taught)


def test_checking_a_projector_of_4_mb_costs_less_than_50_ms(artefact: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(artefact, tmp_path / "a")
    (folder / "projector" / "adapter_model.safetensors").write_bytes(os.urandom(4 * 10**6))
    seal(folder)
    costs = []
    for _ in range(5):
        start = time.process_time()
        check_files(folder)
        costs.append(time.process_time() - start)
    assert min(costs) < 0.05
