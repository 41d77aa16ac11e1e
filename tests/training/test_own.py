"""Own teachers: read without running anything, fitted to the data's classes, in the place of a training."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
import torch.nn.functional as F
import torchvision
from torch import nn

from conftest import CLASSES, drawn, seal
from forge import Pickled
from hello_distill import artifact as artifacts
from hello_distill import cli, queries, stages
from hello_distill.api import distill
from hello_distill.data.images import ImageSet, Material
from hello_distill.distillers.random import RandomImages
from hello_distill.distillers.rded import RDED
from hello_distill.distillers.recipe import Recipe
from hello_distill.distillers.recover import backbone
from hello_distill.distillers.sre2l import SRe2L
from hello_distill.experiments.comparison import compare
from hello_distill.experiments.continual import Continual, continual
from hello_distill.experiments.grid import Bench, Comparison, Contender
from hello_distill.experiments.ledger import Cell
from hello_distill.experiments.plan import distill_planned, plan
from hello_distill.experiments.study import Study, study
from hello_distill.format import costs, storage
from hello_distill.format.specs import Augment
from hello_distill.format.storage import sha256
from hello_distill.relabel import relabel, wanted
from hello_distill.stages import Stages
from hello_distill.system.errors import ArtifactError, InputError, MachineError
from hello_distill.teachers import TeacherSpec, check_teachers
from hello_distill.training.networks import IMAGENET_MEAN, IMAGENET_STD, build
from hello_distill.training.own import OwnTeacher, check_sources, open_teachers, parse
from hello_distill.training.own.checkpoint import fitted, read
from hello_distill.training.own.classes import rows_of
from hello_distill.training.own.found import find
from hello_distill.views import sample_views


def shapes(per_class: int, seed: int) -> ImageSet:
    """Drawn images, their classes in the order of folders."""
    return drawn(per_class, seed).only((0, 2, 1, 3))


SHAPES = Material(shapes(24, seed=1), shapes(8, seed=2))
VIEW = next(iter(sample_views(8, 32, 8, Augment(scale=(1.0, 1.0), mix="none"), seed=0, epoch=0)))


def normalised(images: torch.Tensor, mean: Sequence[float], std: Sequence[float]) -> torch.Tensor:
    return (images / 255 - torch.tensor(mean).view(1, 3, 1, 1)) / torch.tensor(std).view(1, 3, 1, 1)


def trained(
    model: nn.Module,
    outputs: Sequence[int] = range(len(CLASSES)),
    size: int = 32,
    mean: Sequence[float] = IMAGENET_MEAN,
    std: Sequence[float] = IMAGENET_STD,
    steps: int = 24,
    rate: float = 2e-3,
) -> nn.Module:
    """A bare network that has been trained for a moment on drawn shapes; class i is its output `outputs[i]`."""
    data, rows = shapes(32, seed=5), torch.tensor(list(outputs))
    images = F.interpolate(normalised(data.images, mean, std), (size, size), mode="bilinear")
    optimiser = torch.optim.Adam(model.parameters(), lr=rate)
    generator = torch.Generator().manual_seed(0)
    for _ in range(steps):
        chosen = torch.randint(len(data), (32,), generator=generator)
        optimiser.zero_grad()
        F.cross_entropy(model(images[chosen]), rows[data.targets[chosen]]).backward()
        optimiser.step()
    return model.eval()


def contiguous(model: nn.Module) -> dict[str, torch.Tensor]:
    """Its weights as safetensors takes them."""
    return {name: value.contiguous() for name, value in model.state_dict().items()}


def small(outputs: int = len(CLASSES), seed: int = 0, side: int = 32) -> nn.Module:
    """The backbone of a narrow ConvNet."""
    return build("convnet2_w8", outputs, side, seed).backbone


@pytest.fixture(scope="session")
def resnet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ResNet-18 of torchvision's, trained for a moment, as its users keep it."""
    torch.manual_seed(0)
    model = trained(torchvision.models.resnet18(num_classes=len(CLASSES)), steps=20, rate=5e-4)
    file = tmp_path_factory.mktemp("teacher") / "teacher.pt"
    torch.save(model.state_dict(), file)
    return file


@pytest.fixture(scope="session")
def convnet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A narrow ConvNet, trained for a moment."""
    file = tmp_path_factory.mktemp("teacher") / "convnet.safetensors"
    safetensors.torch.save_file(contiguous(trained(small(), steps=150)), file)
    return file


@pytest.fixture
def no_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever trains a teacher fails."""

    def refuse(*arguments: object) -> None:
        raise AssertionError("a teacher is trained")

    monkeypatch.setattr(stages, "train_teachers", refuse)


def opened(text: str, material: Material = SHAPES) -> OwnTeacher:
    return open_teachers([text], material)[0]


# What a source may be.


@pytest.mark.parametrize(
    ("text", "kind", "network", "place", "name"),
    [
        ("resnet18:a/t.pt", "file", "resnet18", "a/t.pt", "resnet18:t.pt"),
        ("torchvision/resnet18:a/t.pt", "file", "resnet18", "a/t.pt", "resnet18:t.pt"),
        ("timm/resnet10t:a/t.ckpt", "file", "timm/resnet10t", "a/t.ckpt", "timm/resnet10t:t.ckpt"),
        ("torchvision/resnet18", "torchvision", "resnet18", "", "torchvision/resnet18"),
        ("torchvision/resnet50:IMAGENET1K_V2", "torchvision", "resnet50", "IMAGENET1K_V2", None),
        ("timm/resnet18:pretrained", "timm", "timm/resnet18", "", "timm/resnet18"),
        ("timm/resnet18:a1_in1k", "timm", "timm/resnet18.a1_in1k", "", "timm/resnet18.a1_in1k"),
    ],
)
def test_forms_of_a_source(text: str, kind: str, network: str, place: str, name: str | None) -> None:
    source = parse(text)
    assert (source.kind, source.network, source.place) == (kind, network, place)
    assert source.name == (name or text)
    assert parse(source.name).name == source.name


def test_options_of_a_source() -> None:
    source = parse("resnet18:a/t.pt:classes=b/names.txt:size=64:mean=0.5:std=0.1,0.2,0.3")
    assert (source.classes, source.size) == ("b/names.txt", 64)
    assert (source.mean, source.std) == ((0.5, 0.5, 0.5), (0.1, 0.2, 0.3))
    assert source.name == "resnet18:t.pt:classes=names.txt:size=64:mean=0.5,0.5,0.5:std=0.1,0.2,0.3"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("t.pt", "write NETWORK:FILE, such as resnet18:t.pt"),
        ("resnet18", "is no folder, and names no weights"),
        ("resnet18:missing", "there is no file missing"),
        ("resnet18:t.pt:sizes=3", "unknown option 'sizes': did you mean 'size'?"),
        ("resnet18:t.pt:size=big", "not 'big'"),
        ("resnet18:t.pt:mean=1,2", "a number for each of red, green and blue"),
        ("resnet18:t.pt:std=0", "must be above 0"),
    ],
)
def test_what_is_no_source(text: str, told: str) -> None:
    with pytest.raises(InputError, match=told.replace("?", r"\?").replace(".", r"\.")):
        parse(text)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("resnet81:{}", "did you mean 'resnet18'"),
        ("resnet18:{}x.pt", "there is no file"),
        ("torchvision/resnet18:V9", "has no weights 'V9': "),
        ("torchvision/convnet3", "unknown network|has no public weights"),
        ("timm/resnet18:a1_in2k", "did you mean 'a1_in1k'"),
        ("resnet18:{}:classes=missing.txt", "missing.txt cannot be read"),
    ],
)
def test_what_cannot_be_found_is_said_before_data_are_read(text: str, told: str, convnet: Path) -> None:
    with pytest.raises(InputError, match=told):
        check_sources([text.format(convnet)], "projector")


def test_a_teacher_that_would_do_nothing_is_refused(convnet: Path) -> None:
    with pytest.raises(InputError, match="needs no teacher"):
        check_sources([f"convnet2_w8:{convnet}"], "hard")
    with pytest.raises(InputError, match="named twice"):
        check_sources([f"convnet2_w8:{convnet}"] * 2, "teacher")


def test_public_weights_that_cannot_be_fetched_are_the_machines_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))

    def unreachable(*arguments: object, **options: object) -> None:
        assert options["weights_only"] is True
        raise OSError("unreachable")

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", unreachable)
    with pytest.raises(MachineError, match="go online once"):
        find(parse("torchvision/resnet18"))


# Files of weights.


def test_names_of_weights_may_stand_behind_others(tmp_path: Path) -> None:
    """State dictionaries of common trainers: bare, of DataParallel, nested beside an optimiser, of Lightning."""
    model = small(seed=3)
    state, images = model.state_dict(), torch.rand(2, 3, 32, 32)
    forms = {
        "bare": state,
        "parallel": {f"module.{name}": value for name, value in state.items()},
        "nested": {"epoch": 3, "model": state, "optimizer": {"lr": 0.1}},
        "lightning": {"state_dict": {f"model.{name}": value for name, value in state.items()}, "epoch": 1},
        "half": {name: value.half() if value.is_floating_point() else value for name, value in state.items()},
    }
    for name, content in forms.items():
        torch.save(content, tmp_path / f"{name}.pt")
        found, outputs = fitted(read(tmp_path / f"{name}.pt").weights, "convnet2_w8", 32, name)
        assert outputs == len(CLASSES)
        atol = 2e-3 if name == "half" else 0
        torch.testing.assert_close(found.eval().backbone(images), model.eval()(images), rtol=0, atol=atol)


@pytest.mark.parametrize(
    "network", ["densenet121", "googlenet", "regnet_y_400mf", "timm/vit_tiny_patch16_224", "timm/resnet10t"]
)
def test_outputs_are_counted_in_the_weights(network: str) -> None:
    """Of 13, whatever the head is called; auxiliary heads and old names of layers are passed over."""
    state = build(network, 13, 224, seed=0).backbone.state_dict()
    if network == "googlenet":
        state |= {"aux1.fc2.weight": torch.zeros(13, 1024)}
    if network == "densenet121":
        state = {name.replace("norm1.", "norm.1.").replace("conv2.", "conv.2."): value for name, value in state.items()}
    assert fitted(state, network, 224, "t")[1] == 13


def test_class_names_in_a_file(tmp_path: Path) -> None:
    state = contiguous(small())
    torch.save({"model": state, "class_to_idx": {"b": 1, "a": 0}}, tmp_path / "numbers.pt")
    torch.save({"model": state, "classes": ["a", "b"]}, tmp_path / "list.pt")
    safetensors.torch.save_file(state, tmp_path / "said.safetensors", {"classes": json.dumps(["a", "b"])})
    safetensors.torch.save_file(state, tmp_path / "silent.safetensors", {"format": "pt"})
    names = {file.stem: read(file).names for file in tmp_path.iterdir()}
    named = [["a"], ["b"]]
    assert names == {"numbers": named, "list": named, "said": named, "silent": None}


def test_nothing_in_a_file_is_run(tmp_path: Path) -> None:
    torch.save({"model": Pickled(str(tmp_path / "ran"))}, tmp_path / "evil.pt")
    torch.save(small(), tmp_path / "whole.pt")
    (tmp_path / "broken.pt").write_bytes(b"PK\x03\x04broken")
    (tmp_path / "broken.safetensors").write_bytes(b"broken")
    for name in ("evil.pt", "whole.pt"):
        with pytest.raises(InputError, match=r"holds more than weights \(.*\).*save the weights alone"):
            read(tmp_path / name)
    for name in ("broken.pt", "broken.safetensors"):
        with pytest.raises(InputError, match="cannot be read"):
            read(tmp_path / name)
    assert not (tmp_path / "ran").exists()


def test_weights_of_another_network_are_named(tmp_path: Path) -> None:
    state = small().state_dict()
    with pytest.raises(InputError, match=r"does not fit 'resnet18': it lacks conv1.weight"):
        fitted(state, "resnet18", 32, "t")
    with pytest.raises(InputError, match=r"0.weight is \(8, 3, 3, 3\), and \(16, 3, 3, 3\)"):
        fitted(state, "convnet2_w16", 32, "t")
    with pytest.raises(InputError, match=r"for images of 64 pixels \(`:size=` says which it takes\)"):
        fitted(state, "convnet2_w8", 64, "t")
    with pytest.raises(InputError, match=r"holds 12\.bias, too"):
        fitted({**state, "12.bias": torch.zeros(1)}, "convnet2_w8", 32, "t")
    with pytest.raises(InputError, match="not finite"):
        fitted({**state, "0.bias": torch.full((8,), torch.nan)}, "convnet2_w8", 32, "t")


# Which output is which class.


def test_classes_are_mapped_by_name() -> None:
    names = [["tench, Tinca tinca", "n01440764"], ["Golden_Retriever"], ["cat"], ["cat"]]
    assert rows_of(["golden retriever", "tinca tinca"], names, 4, "t") == (1, 0)
    assert rows_of(["n01440764", "golden-retriever"], names, 4, "t") == (0, 1)
    assert rows_of(["x", "y", "z", "w"], names, 4, "t") == (0, 1, 2, 3)
    assert rows_of(["x", "y"], None, 2, "t") == (0, 1)
    for classes, told in ((["tench", "dog"], "knows no class 'dog'"), (["cat", "tench"], "2 classes called 'cat'")):
        with pytest.raises(InputError, match=told):
            rows_of(classes, names, 4, "t")
    with pytest.raises(InputError, match="4 outputs, the data 2 classes"):
        rows_of(["x", "y"], None, 4, "t")
    with pytest.raises(InputError, match="4 class names for its 5 outputs"):
        rows_of(["x", "y"], names, 5, "t")


def test_permuted_classes_are_caught_and_the_order_is_named(tmp_path: Path) -> None:
    """A teacher whose outputs 0, 1 and 2 have changed places in a ring; with its order said it is taken."""
    order = (1, 2, 0, 3)
    file = tmp_path / "t.pt"
    torch.save(trained(small(), order, steps=150).state_dict(), file)
    with pytest.raises(InputError, match=r"'circle' for 'cross'.*: square, circle, cross, stripes$"):
        opened(f"convnet2_w8:{file}")
    (tmp_path / "names.txt").write_text("square\ncircle\ncross\nstripes\n")
    own = opened(f"convnet2_w8:{file}:classes={tmp_path / 'names.txt'}")
    assert own.model.interface is not None and own.model.interface.rows == order


def test_a_teacher_at_chance_is_caught(tmp_path: Path) -> None:
    model = small()
    nn.init.zeros_(model[-1].weight)
    torch.save(model.state_dict(), tmp_path / "t.pt")
    with pytest.raises(InputError, match=r"is right for 25.0 % .* chance for 25.0 %; is it trained"):
        opened(f"convnet2_w8:{tmp_path / 't.pt'}")


def test_own_normalisation_size_and_more_classes_are_honoured(tmp_path: Path) -> None:
    """Logits are those of the bare network on images that are prepared by hand, of the outputs that have the names."""
    mean, std = (0.2, 0.3, 0.4), (0.5, 0.6, 0.7)
    outputs = (6, 0, 3, 4)
    model = trained(small(8, side=48), outputs, 48, mean, std, steps=150)
    names = ["cross", "a", "b", "square", "stripes", "c", "circle", "d"]
    torch.save({"model": model.state_dict(), "classes": names}, tmp_path / "t.pt")
    own = opened(f"convnet2_w8:{tmp_path / 't.pt'}:size=48:mean=0.2,0.3,0.4:std=0.5,0.6,0.7")
    assert own.model.interface is not None and own.model.interface.rows == outputs
    images = SHAPES.held.images[:5] / 255
    larger = F.interpolate(images, (48, 48), mode="bicubic", antialias=True).clamp(0, 1) * 255
    expected = model(normalised(larger, mean, std))[:, list(outputs)]
    torch.testing.assert_close(own.model(images), expected.detach(), rtol=1e-4, atol=1e-4)


def test_public_weights_of_torchvision_with_imagenets_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A network of a thousand classes, four of which are the data's: by name, by synonym, by WordNet id."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    weights = torchvision.models.ShuffleNet_V2_X0_5_Weights.DEFAULT
    torch.manual_seed(0)
    rows = (1, 0, 999, 2)
    model = trained(torchvision.models.shufflenet_v2_x0_5(), rows, 64, steps=40)
    file = tmp_path / "hub" / "checkpoints" / weights.url.rpartition("/")[2]
    file.parent.mkdir(parents=True)
    torch.save(model.state_dict(), file)
    classes = ("goldfish", "Tench", "bathroom tissue", "n01484850")
    named = Material(*(replace(part, classes=classes) for part in SHAPES))
    own = opened("torchvision/shufflenet_v2_x0_5:DEFAULT:size=64", named)
    assert own.model.interface is not None and own.model.interface.rows == rows
    assert (own.model.interface.size, own.sha256) == (64, sha256(file))
    assert find(parse("torchvision/shufflenet_v2_x0_5")).size == 224


# In the place of a training.


def test_a_resnet_teaches_hello_and_rded(
    resnet: Path,
    tree: Path,
    recipe: Recipe,
    tmp_path: Path,
    no_training: None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Both artefacts name it; RDED's ships it as it ships one that was trained, and gives its labels again."""
    monkeypatch.setattr(queries, "VIEWS", 16)
    source = f"resnet18:{resnet}"
    hello = distill(str(tree), tmp_path / "hello", recipe.with_own_teachers([source]))
    rded = replace(recipe, distiller=RDED(recipe.distiller.patches)).with_own_teachers([source])
    folder = distill(str(tree), tmp_path / "rded", rded)
    for made in (hello, folder):
        named = storage.read_manifest(made)["teachers"]
        size = resnet.stat().st_size
        assert named == [
            {"name": "resnet18:teacher.pt", "bytes": size, "sha256": sha256(resnet), "network": "resnet18"}
        ]
        assert str(resnet.parent) not in "".join(p.read_text() for p in made.iterdir() if p.suffix in (".json", ".md"))
        assert json.loads((made / "config.json").read_text())["teachers"]["sources"] == ["resnet18:teacher.pt"]
        assert costs.info(made)["own_teachers"] == named
        assert cli.main(["info", str(made)]) == 0 and "resnet18:teacher.pt" in capsys.readouterr().out
        assert cli.main(["verify", str(made), "--data", str(tree)]) == 0
    labels = storage.read_manifest(folder)["labels"]
    assert labels["networks"] == ["resnet18"] and "interfaces" not in labels
    artifact = artifacts.load(folder)
    own = opened(source)
    images = artifact.data.images / 255
    torch.testing.assert_close(artifact.labels(images, VIEW), own.model(images), rtol=5e-3, atol=5e-3)


def test_two_teachers_form_an_ensemble(resnet: Path, convnet: Path) -> None:
    """The first is the observer; the mean of both logits is what the projector learns."""
    spec = TeacherSpec(sources=(f"resnet18:{resnet}", f"convnet2_w8:{convnet}"))
    made = Stages(SHAPES, spec, 0)
    observer, ensemble = made.teachers()
    first, second = (own.model for own in open_teachers(spec.sources, SHAPES))
    images = SHAPES.held.images[:6] / 255
    torch.testing.assert_close(observer(images), first(images))
    torch.testing.assert_close(ensemble(images), (first(images) + second(images)) / 2)
    assert made.figures["teacher_top1"] > 50 and made.figures["ensemble_top1"] > 50


def test_an_artefact_ships_two_teachers_as_they_see_images(
    convnet: Path, tree: Path, recipe: Recipe, tmp_path: Path, no_training: None
) -> None:
    """One is shown images as networks are that are trained here, one of 48 pixels and other colours."""
    mean, std = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)
    large = tmp_path / "large.pt"
    torch.save(trained(small(side=48), range(4), 48, mean, std, steps=150).state_dict(), large)
    sources = [f"convnet2_w8:{convnet}", f"convnet2_w8:{large}:size=48:mean=0.5:std=0.25"]
    rded = replace(recipe, distiller=RDED(recipe.distiller.patches)).with_own_teachers(sources)
    folder = distill(str(tree), tmp_path / "a", rded)
    assert [named["name"] for named in storage.read_manifest(folder)["teachers"]] == [
        "convnet2_w8:convnet.safetensors",
        "convnet2_w8:large.pt:size=48:mean=0.5,0.5,0.5:std=0.25,0.25,0.25",
    ]
    artifact = artifacts.load(folder)
    images = artifact.data.images / 255
    expected = torch.stack([own.model(images) for own in open_teachers(sources, SHAPES)]).mean(0)
    torch.testing.assert_close(artifact.labels(images, VIEW), expected, rtol=1e-2, atol=1e-2)
    labels = storage.read_manifest(folder)["labels"]
    labels["interfaces"][1]["rows"][0] = 7
    seal(folder, labels=labels)
    with pytest.raises(ArtifactError, match="names other outputs"):
        artifacts.load(folder)


def test_a_projector_in_the_cache_is_that_of_its_teachers_file(
    convnet: Path, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fitted once for a file, whatever it is called, and again for another."""
    fits: list[int] = []
    fit_projector = stages.fit_projector

    def counted(*arguments: object) -> object:
        fits.append(1)
        return fit_projector(*arguments)

    monkeypatch.setattr(stages, "fit_projector", counted)
    copied, other = tmp_path / "copied.safetensors", tmp_path / "other.pt"
    copied.write_bytes(convnet.read_bytes())
    torch.save(trained(small(seed=1), steps=150).state_dict(), other)
    for file, count in ((convnet, 1), (copied, 1), (other, 2)):
        spec = TeacherSpec(sources=(f"convnet2_w8:{file}",))
        Stages(SHAPES, spec, 0, tmp_path / "stages").projector(recipe.distiller.projector_spec)
        assert len(fits) == count
    assert not (tmp_path / "stages" / "teachers").exists()


def test_other_labels_name_who_made_them(
    convnet: Path, artefact: Path, tree: Path, recipe: Recipe, tmp_path: Path
) -> None:
    """Also where images and labels come from two artefacts."""
    rded = replace(recipe, distiller=RDED(recipe.distiller.patches), ipc=1)
    taught = distill(str(tree), tmp_path / "a", rded.with_own_teachers([f"convnet2_w8:{convnet}"]))
    made = relabel(artefact, tmp_path / "b", wanted("static"), taught)
    assert storage.read_manifest(made)["teachers"] == storage.read_manifest(taught)["teachers"]
    assert "teachers" not in storage.read_manifest(artefact)


def test_sre2l_takes_a_teacher_that_sees_images_as_its_code_does(convnet: Path, tree: Path, recipe: Recipe) -> None:
    """The very network is inverted; one of another size or normalisation cannot be."""
    own = opened(f"convnet2_w8:{convnet}")
    assert backbone(own.model, "convnet2_w8", "sre2l") is own.model.backbone
    stores = Stages(SHAPES, TeacherSpec(sources=(f"convnet2_w8:{convnet}",)), 0)
    made = SRe2L(steps=2, batch_size=4)(SHAPES, stores, 1, 0)
    assert made.labels.networks == ("convnet2_w8",)
    with pytest.raises(InputError, match="sees other images or knows other classes"):
        backbone(opened(f"convnet2_w8:{convnet}:mean=0.4").model, "convnet2_w8", "sre2l")


def test_a_plan_with_a_teacher_shares_nothing_with_one_without(
    convnet: Path, tree: Path, recipe: Recipe, tmp_path: Path
) -> None:
    """In one folder of stages. Images, which the teacher chooses, are named by its file, too."""
    tried = replace(recipe, distiller=RDED(recipe.distiller.patches), held_share=0.3, ipc=1)
    taught = tried.with_own_teachers([f"convnet2_w8:{convnet}"])
    chosen = {"labels": {"teacher": wanted("teacher")}, "steps": 2, "seeds": [0], "stages": tmp_path / "stages"}
    plan(str(tree), tmp_path / "without", tried, **chosen)
    known = {folder.name for folder in (tmp_path / "stages" / "images").iterdir()}
    result = plan(str(tree), tmp_path / "with", taught, **chosen)
    assert len({folder.name for folder in (tmp_path / "stages" / "images").iterdir()} - known) == len(known) == 2
    assert [model["model"] for model in result["instead"]] == ["teacher"]
    kinds, stages = chosen["labels"], chosen["stages"]
    for name, asked in (("with", taught), ("without", tried)):
        distill_planned(str(tree), tmp_path / f"a-{name}", asked, kinds, stages, str(tmp_path / name))
    assert storage.read_manifest(tmp_path / "a-with")["teachers"][0]["sha256"] == sha256(convnet)
    assert "teachers" not in storage.read_manifest(tmp_path / "a-without")


def comparison_of(recipe: Recipe) -> Comparison:
    """Random images, RDED's, and RDED's with a teacher that belongs to the method."""
    method = RDED(recipe.distiller.patches)
    other = replace(recipe.teachers, network="convnet1_w4")
    contenders = {
        "random": Contender(RandomImages()),
        "rded": Contender(method),
        "rded-other": Contender(method, other),
    }
    base, projector = replace(recipe, held_share=0.3), recipe.distiller.projector
    return Comparison(base, contenders, projector, {1: (1, 4)}, labels={}, trial_ipc=1)


def test_a_comparison_with_a_teacher_trains_none(
    convnet: Path, tree: Path, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """But that of a method which has one of its own. Whatever came of it names it; no folder is named."""
    trained_here, named = [], {}
    train, labelled = stages.train_teachers, Bench.labelled

    def counted(data: ImageSet, spec: TeacherSpec, seed: int) -> object:
        trained_here.append(spec.network)
        return train(data, spec, seed)

    @contextmanager
    def looked_at(bench: Bench, cell: Cell, *arguments: Any) -> Iterator[Path]:
        with labelled(bench, cell, *arguments) as folder:
            named[cell.method, cell.labels] = storage.read_manifest(folder).get("teachers", [])
            yield folder

    monkeypatch.setattr(stages, "train_teachers", counted)
    monkeypatch.setattr(Bench, "labelled", looked_at)
    monkeypatch.setattr("hello_distill.recipes.find_comparison", lambda name: comparison_of(recipe))
    out = tmp_path / "r.json"
    kinds = ["hard", "teacher", "projector"]
    call = ["compare", str(tree), "--out", str(out), "--students", "convnet1_w4", "--seeds", "0", "--labels", *kinds]
    call += ["--methods", "random", "rded", "rded-other"]
    assert cli.main([*call, "--teacher", f"convnet2_w8:{convnet}"]) == 0
    assert trained_here == ["convnet1_w4"]
    brought = {
        "name": "convnet2_w8:convnet.safetensors",
        "bytes": convnet.stat().st_size,
        "sha256": sha256(convnet),
        "network": "convnet2_w8",
    }
    without = {("random", "hard"), ("rded-other", "hard"), ("rded-other", "teacher")}
    assert named == {
        (method, kind): [] if (method, kind) in without else [brought]
        for method in ("random", "rded", "rded-other")
        for kind in kinds
    }
    written = json.loads(out.read_text())
    assert written["recipe"]["base"]["teachers"]["sources"] == [brought]
    assert "sources" not in written["recipe"]["methods"]["rded-other"]["teachers"]
    assert set(written["stages"]) == {"convnet2_w8:convnet.safetensors", "convnet1_w4", "projector"}
    assert "--teacher convnet2_w8:convnet.safetensors" in written["commands"][0]
    assert str(convnet.parent) not in out.read_text()
    copied = tmp_path / "convnet.safetensors"
    torch.save(trained(small(seed=1), steps=1).state_dict(), copied)
    assert cli.main([*call, "--teacher", f"convnet2_w8:{copied}"]) == 2, "the result is of another teacher"


def test_a_teacher_that_nothing_asks_is_refused(convnet: Path, tree: Path, recipe: Recipe, tmp_path: Path) -> None:
    """Or that labels could not ship: before the data are read."""
    taught = comparison_of(recipe).with_own_teachers([f"convnet2_w8:{convnet}"])
    for methods, labels in ((["random"], ["hard"]), (["rded-other"], ["hard", "teacher"])):
        with pytest.raises(InputError, match="nothing here asks the teacher that is brought along; leave --teacher"):
            compare("nowhere", tmp_path / "r.json", taught, methods, labels, None, ["convnet1_w4"], [0])
    asked = Study("?", None, taught, {}).comparison
    with pytest.raises(InputError, match="nothing here asks"):
        study("nowhere", tmp_path / "r.json", Study("?", None, asked, {}), ["rded-other"], seeds=[0])
    (tmp_path / "vision").mkdir()
    cannot = comparison_of(recipe).with_own_teachers([str(tmp_path / "vision")])
    for methods, labels in ((["rded"], ["hard"]), (["random"], ["static"])):
        with pytest.raises(InputError, match="an artefact holds networks of torchvision and timm only"):
            compare("nowhere", tmp_path / "r.json", cannot, methods, labels, None, ["convnet1_w4"], [0])


def test_a_study_with_a_teacher(convnet: Path, tree: Path, recipe: Recipe, tmp_path: Path, no_training: None) -> None:
    asked = Study("?", None, comparison_of(recipe), {}, networks={"convnet1_w4": {}})
    taught = asked.with_own_teachers([f"convnet2_w8:{convnet}"])
    result = study(str(tree), tmp_path / "r.json", taught, ["random", "rded"], seeds=[0])
    assert [cell["method"] for cell in result["cells"]] == ["random", "rded"]
    assert result["recipe"]["base"]["teachers"]["sources"][0]["sha256"] == sha256(convnet)


def test_a_teacher_of_all_classes_teaches_those_that_have_arrived(
    convnet: Path, tree: Path, recipe: Recipe, tmp_path: Path, no_training: None
) -> None:
    """With the logits of the classes seen alone, in the order in which these arrived."""
    taught = Continual(comparison_of(recipe), {"rded": {}}).with_own_teachers([f"convnet2_w8:{convnet}"])
    result = continual(str(tree), tmp_path / "r.json", taught, ["rded"], [2], None, [0])
    assert {(cell["labels"], cell["step"]) for cell in result["cells"]} == {
        (labels, step) for labels in ("teacher-seen", "teacher-all") for step in (1, 2)
    }
    whole = Bench(str(tree), taught.comparison, tmp_path / ".work")
    part, images = whole.only((3, 1)), whole.material.held.images[:5] / 255
    expected = whole.stages().teachers().observer(images)[:, [3, 1]]
    torch.testing.assert_close(part.stages().teachers().ensemble(images), expected)
    shipped = artifacts.load(part.images("rded", 1, 0)).labels
    torch.testing.assert_close(shipped(images[:1], VIEW), expected[:1], rtol=5e-3, atol=5e-3)


def test_settings_without_own_teachers_are_as_before() -> None:
    """Results and caches are named by them."""
    assert "sources" not in Recipe().settings()["teachers"]
    assert repr(TeacherSpec()) == repr(TeacherSpec(sources=("resnet18:t.pt",)))
    own = Recipe().with_own_teachers(["resnet18:t.pt"])
    assert Recipe().with_changes(json.loads(json.dumps(own.settings()))) == own


# Words for it that others have.


@pytest.mark.parametrize("changes", [{"teacher": "x"}, {"teachers": {"checkpoint": "x"}}, {"teachers": {"weights": 1}}])
def test_a_wrong_key_that_means_an_own_teacher_gets_a_hint(changes: dict[str, object]) -> None:
    with pytest.raises(InputError, match=r"unknown key .*`teachers.sources: \[SOURCE\]`, or by --teacher SOURCE"):
        Recipe().with_changes(changes)


def test_a_checkpoint_in_the_place_of_a_network_gets_a_hint(recipe: Recipe) -> None:
    for name in ("resnet18:t.pt", "torchvision/resnet18", "teacher.safetensors"):
        with pytest.raises(InputError, match="--teacher SOURCE"):
            check_teachers(replace(recipe.teachers, network=name), "projector")


def test_a_method_that_trains_its_own_networks_says_so(convnet: Path) -> None:
    with pytest.raises(InputError, match="trains a teacher of its own"):
        Stages(SHAPES, TeacherSpec(sources=(f"convnet2_w8:{convnet}",)), 0).teachers("mobilenet_v2")


# transformers.


def test_a_classifier_of_transformers(tree: Path, recipe: Recipe, tmp_path: Path, no_training: None) -> None:
    """Its names, size and normalisation are read from its folder; an artefact cannot hold it."""
    transformers = pytest.importorskip("transformers")
    labels = dict(enumerate(("stripes", "circle", "square", "cross")))
    config = transformers.ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic", num_labels=4, id2label=labels
    )
    torch.manual_seed(0)
    inner = transformers.ResNetForImageClassification(config)

    class Bare(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = inner

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.model(pixel_values=images).logits

    halves, rows = (0.5, 0.5, 0.5), (1, 3, 2, 0)
    bare = trained(Bare(), rows, 48, halves, halves, steps=60)
    folder = tmp_path / "vision"
    inner.save_pretrained(folder)
    said = {"size": {"height": 48, "width": 48}, "image_mean": halves, "image_std": halves}
    (folder / "preprocessor_config.json").write_text(json.dumps(said))
    own = opened(str(folder))
    assert own.source.name == "vision" and own.model.interface is not None
    assert (own.model.interface.size, own.model.interface.rows) == (48, rows)
    images = SHAPES.held.images[:5] / 255
    larger = F.interpolate(images, (48, 48), mode="bicubic", antialias=True).clamp(0, 1) * 255
    expected = bare(normalised(larger, halves, halves))[:, list(rows)].detach()
    torch.testing.assert_close(own.model(images), expected, rtol=1e-4, atol=1e-4)
    (folder / "preprocessor_config.json").unlink()
    with pytest.raises(InputError, match=r"has no preprocessor_config.json.*add :mean=R,G,B:std=R,G,B"):
        find(parse(str(folder)))
    assert find(parse(f"{folder}:mean=0.5:std=0.25")).std == (0.25, 0.25, 0.25)
    with pytest.raises(InputError, match="an artefact holds networks of torchvision and timm only"):
        check_sources([str(folder)], "teacher")
    tried = replace(recipe, held_share=0.3, ipc=1).with_own_teachers([f"{folder}:mean=0.5:std=0.5:size=48"])
    kinds = {name: wanted(name) for name in ("hard", "teacher", "projector")}
    result = plan(str(tree), tmp_path / "plan", tried, kinds, steps=2, seeds=[0])
    assert {way["labels"] for way in result["ways"]} == {"hard", "projector"}, "what can be shipped"
    assert [model["model"] for model in result["instead"]] == ["head", "projector"]
    assert str(tmp_path) not in (tmp_path / "plan").read_text()
    with pytest.raises(InputError, match="an artefact holds networks of torchvision and timm only"):
        plan(str(tree), tmp_path / "no", replace(tried, distiller=RDED(recipe.distiller.patches)), kinds)


def test_folders_that_are_no_classifier(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"config.json cannot be read \(FileNotFoundError\)"):
        find(parse(str(tmp_path)))
    (tmp_path / "config.json").write_text('{"auto_map": {"AutoModelForImageClassification": "code.Model"}}')
    with pytest.raises(InputError, match="holds no weights"):
        find(parse(str(tmp_path)))
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(InputError, match="asks for code of its own"):
        find(parse(str(tmp_path)))
    (tmp_path / "config.json").write_text("{}")
    monkeypatch.setitem(__import__("sys").modules, "transformers", None)
    with pytest.raises(MachineError, match=r"pip install 'hello-distill\[transformers\]'"):
        find(parse(str(tmp_path)))
