"""The ImageNet recipes: the paper's counts on the encoder's real structure, and the sizes beside them."""

from __future__ import annotations

import json
from pathlib import Path

import open_clip
import pytest
import torch
from timm.data import ImageNetInfo
from torchvision.models import resnet18

from hello_distill import artifact as artifacts
from hello_distill import cli, recipes
from hello_distill.artifact import Distilled
from hello_distill.data.images import ImageSet
from hello_distill.data.names import LISTS
from hello_distill.encoders import openclip
from hello_distill.encoders.encoder import Encoder
from hello_distill.format import sizes
from hello_distill.labels.sources.projector import ProjectorLabels, adapter_bytes, describe
from hello_distill.projector import Adapter, Projector, adapted, head_rank, lora_numbers, lora_shapes
from hello_distill.report.page import size
from hello_distill.system.errors import InputError
from hello_distill.teachers import suited_epochs

MI = 2**20
"""The paper's M."""
COUNTS = {"imagenet100": (100, 594_136 + 71_936), "imagenet1k": (1000, 594_136 + 259_072)}
"""Classes, and numbers by hand: rank 8 on the 51 convolutions outside of `downsample`, and the head's two factors."""


@pytest.fixture(scope="module")
def rn50(tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    """CLIP's RN50 as open_clip builds it, random weights; the weight file is an empty one."""
    file = tmp_path_factory.mktemp("rn50") / openclip.FILE
    file.write_bytes(b"")
    model = open_clip.create_model("RN50-quickgelu", pretrained=None)
    tokenizer = open_clip.get_tokenizer("RN50-quickgelu")
    return openclip._assemble("RN50-quickgelu/openai", model, tokenizer, file, {}, None)


def unfitted(encoder: Encoder, recipe: str, classes: int) -> ProjectorLabels:
    """The projector of a recipe before anything is fitted; class features are random, since names cost minutes here."""
    spec = recipes.find(recipe).distiller.projector
    start = Projector(encoder, torch.randn(classes, encoder.width), 1.0, spec.normalize)
    names, ranks = adapted(encoder, spec), (spec.encoder_rank, head_rank(spec, classes, encoder.width))
    matrices = {name: torch.zeros(shape) for name, shape in lora_shapes(start, names, *ranks).items()}
    adapter = Adapter(matrices, matrices, "float32", names, *ranks, 1.0, spec.normalize).rounded("float16")
    return ProjectorLabels(start, adapter, describe(encoder), spec.templates)


@pytest.mark.parametrize(("recipe", "printed"), [("imagenet100", 0.6), ("imagenet1k", 0.8)])
def test_the_papers_parameter_counts(rn50: Encoder, recipe: str, printed: float) -> None:
    """Table 1 and 3: 0.6 M and 0.8 M, where M is 2^20."""
    classes, numbers = COUNTS[recipe]
    spec = recipes.find(recipe).distiller.projector
    assert len(adapted(rn50, spec)) == 51 and lora_numbers(rn50, spec, classes) == numbers
    assert round(numbers / MI, 1) == printed
    assert round(numbers / MI, 2) == {0.6: 0.64, 0.8: 0.81}[printed]
    assert recipes.find("paper").distiller.projector.skip == spec.skip
    assert lora_numbers(rn50, recipes.find("paper").distiller.projector, classes) == numbers, "what the rule gives"


def test_the_papers_other_counts_are_in_the_same_unit() -> None:
    """The paper's other counts, in the same unit: a linear head 1.0 M, with LoRA 1.5 M; RDED's ResNet-18 10.7 M."""
    assert round(1024 * 1000 / MI, 1) == 1.0 and round((594_136 + 1024 * 1000) / MI, 2) == 1.54
    assert round(sum(p.numel() for p in resnet18(num_classes=100).parameters()) / MI, 1) == 10.7


@pytest.mark.parametrize("recipe", COUNTS)
def test_info_prints_the_projectors_bytes(
    rn50: Encoder, recipe: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One image of 8 pixels a class: what `info` says of labels and of stored ones depends on their number alone."""
    classes, numbers = COUNTS[recipe]
    made, labels = recipes.find(recipe, 1), unfitted(rn50, recipe, classes)
    names = tuple(f"n{number:08d}" for number in range(classes))
    data = ImageSet(torch.zeros(classes, 3, 8, 8, dtype=torch.uint8), torch.arange(classes), names)
    artifacts.save(Distilled(data, labels, {}), 1, made.student, made.codec, made.settings(), tmp_path / "a")
    assert cli.main(["info", str(tmp_path / "a"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    kept = found["labels"]["bytes"]
    assert found["labels"]["parameters"] == numbers and kept == adapter_bytes(labels.adapter, "float16")
    assert 2 * numbers < kept < 2 * numbers + 40_000, "two bytes a number, and the names of 104 matrices"
    assert found["stored_labels"]["bytes"] == {100: 6_000_000, 1000: 600_000_000}[classes]
    assert cli.main(["info", str(tmp_path / "a")]) == 0
    table = capsys.readouterr().out
    assert f"{numbers:,} numbers, {size(kept)}" in table
    assert {100: "5.7 MiB = ", 1000: "572.2 MiB = "}[classes] in table


@pytest.mark.parametrize(
    ("ipc", "told"), [(1, "572.2 MiB"), (10, "5.6 GiB"), (50, "27.9 GiB"), (100, "55.9 GiB"), (200, "111.8 GiB")]
)
def test_stored_labels_are_as_large_as_published(ipc: int, told: str) -> None:
    """HeLlO's 572 MB at IPC 1 and 110 GB at IPC 200, SRe2L's and LPLD's in between; files are a little larger."""
    optim = recipes.find("imagenet1k", ipc).student.optim
    logits = sizes.tensor_bytes("F16", (optim.epochs, 1000 * ipc, 1000))
    assert size(logits) == told and logits == 600_000_000 * ipc
    files = sizes.stored_bytes(1000, 1000 * ipc, optim.epochs, optim.batch_size)
    assert 1 < files / logits < 1.01


@pytest.mark.parametrize("name", ["imagenet100", "imagenet1k"])
def test_settings_are_the_papers_by_images_per_class(name: str) -> None:
    found = {ipc: recipes.find(name, ipc) for ipc in (1, 10, 50, 100, 200)}
    assert [recipe.student.optim.batch_size for recipe in found.values()] == [20, 100, 200, 200, 200]
    assert [recipe.ipc for recipe in found.values()] == [1, 10, 50, 100, 200]
    for recipe in found.values():
        assert recipe.max_side == 224 and recipe.train_limit is None
        teachers, student, hello = recipe.teachers, recipe.student, recipe.distiller
        assert (teachers.network, teachers.optim.epochs, teachers.optim.name, teachers.optim.lr) == (
            "resnet18", 90, "sgd", 0.1,
        )  # fmt: skip
        assert teachers.weak_epochs == suited_epochs(recipe.ipc, 90)
        assert (student.network, student.optim.epochs, student.optim.name, student.optim.lr) == (
            "resnet18", 300, "adamw", 1e-3,
        )  # fmt: skip
        assert (hello.patches.factor, hello.patches.crops, hello.patches.pool) == (2, 5, 300)
        assert hello.projector.encoder == "RN50-quickgelu/openai" and hello.projector.size is None
        assert (hello.projector.encoder_rank, hello.projector.head_rank) == (8, {"imagenet100": 64}.get(name, 128))
    with pytest.raises(InputError, match=r"for IPC 1, 10, 50, 100, 200, not 20; the recipe `paper` takes any"):
        recipes.find(name, 20)
    assert recipes.find(name) == found[10] and recipes.find("cpu", 3).ipc == 3


def test_the_shipped_list_is_the_first_hundred_of_ilsvrc() -> None:
    shipped = (LISTS / "imagenet100.txt").read_text().split()
    known = ImageNetInfo("imagenet-1k").label_names()
    assert shipped == sorted(known)[:100] == known[:100] and len(set(shipped)) == 100
    assert (shipped[0], shipped[-1]) == ("n01440764", "n01855672")


def test_the_recipes_say_how_many_numbers_they_take() -> None:
    for name, (_, numbers) in COUNTS.items():
        assert f"{numbers:,} numbers" in (recipes.RECIPES[name].__doc__ or "")
