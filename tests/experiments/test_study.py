"""Variants side by side: what each of them is, that they differ in one thing, and a run by definition."""

from __future__ import annotations

import dataclasses
import importlib
import json
import math
import shutil
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from hello_distill import artifact as artifacts
from hello_distill import cli, recipes, stages
from hello_distill.data.images import Material
from hello_distill.distillers.hello import HeLlO
from hello_distill.distillers.lic import LIC, information_loss, patches_of
from hello_distill.distillers.probe import Probe
from hello_distill.distillers.random import RandomImages
from hello_distill.distillers.rded import RDED, stitch
from hello_distill.distillers.recipe import Recipe
from hello_distill.encoders.encoder import Encoder
from hello_distill.experiments import study
from hello_distill.experiments.grid import Bench, Comparison, Contender
from hello_distill.experiments.ledger import Cell
from hello_distill.experiments.study import Study
from hello_distill.format import results
from hello_distill.format.results.grids import THE_RECIPE
from hello_distill.projector import ProjectorSpec, fit_probe, fit_projector, lora_numbers, zero_shot
from hello_distill.recipes import find_comparison
from hello_distill.recipes.hello import EASY
from hello_distill.recipes.studies import STUDIES
from hello_distill.report.page import Text
from hello_distill.report.sections import section
from hello_distill.stages import Stages
from hello_distill.student import train_student
from hello_distill.system.context import Context
from hello_distill.system.errors import DivergedError, InputError
from hello_distill.system.progress import ConsoleProgress
from hello_distill.teachers import Ensemble, suited_epochs, train_teachers
from hello_distill.training.fit import learning_rate
from hello_distill.training.losses import probability_loss
from hello_distill.types import Images
from hello_distill.views import mixed_targets, render, sample_views, whole

ROOT = Path(__file__).parents[2]
EVEN_STAGES = ("early", "middle", "late")

# The pieces that variants are made of.


def test_probabilities_are_averaged_and_compared_as_such() -> None:
    generator = torch.Generator().manual_seed(0)
    told = [3 * torch.randn(5, 4, generator=generator) for _ in range(3)]

    class Fixed(torch.nn.Module):
        def __init__(self, logits: torch.Tensor) -> None:
            super().__init__()
            self.logits = logits

        def forward(self, images: Images) -> torch.Tensor:
            return self.logits

    images = torch.zeros(5, 3, 8, 8)
    found = Ensemble([Fixed(each) for each in told], "probabilities")(images)
    mean = sum(F.softmax(each.double(), 1) for each in told) / 3
    torch.testing.assert_close(found.double().exp(), mean, atol=1e-6, rtol=1e-5)
    logits = Ensemble([Fixed(each) for each in told])(images)
    assert (F.softmax(logits, 1) - mean).abs().max() > 0.01, "the mean of logits is another"

    prediction, hard = told[0], F.one_hot(torch.tensor([0, 1, 2, 3, 0]), 4).float()
    slow = 0.0
    for row in range(5):
        p, q = F.softmax(prediction[row].double(), 0), mean[row]
        slow += (sum((p[c] - q[c]) ** 2 for c in range(4)) - 0.3 * math.log(p[hard[row].argmax()])) / 5
    assert probability_loss(0.3)(prediction, found, hard).item() == pytest.approx(float(slow), rel=1e-5)


def by_hand(encoder: Encoder, material: Material, spec: ProjectorSpec, scale: float) -> torch.Tensor:
    """The head of a linear probe: logistic regression on fixed unit features, by AdamW as the specification has it."""
    data, optim = material.train, spec.optim
    head = torch.zeros(len(data.classes), encoder.width, requires_grad=True)
    optimiser = torch.optim.AdamW([head], lr=optim.lr, weight_decay=optim.weight_decay)
    views = [
        view
        for epoch in range(optim.epochs)
        for view in sample_views(len(data), data.side, optim.batch_size, spec.augment, 0, epoch)
    ]
    for step, view in enumerate(views):
        with torch.no_grad():
            features = F.normalize(encoder.visual.eval()(encoder.preprocess(render(data.images, view))), dim=1)
        logits = scale * features @ head.T
        share = mixed_targets(data.targets, view, len(data.classes))
        loss = -(share * logits.log_softmax(1)).sum(1).mean()
        optimiser.param_groups[0]["lr"] = learning_rate(optim, step / len(views))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return head.detach()


def test_a_linear_probe_is_logistic_regression_on_the_encoder_as_it_is(
    tiny: Encoder, material: Material, recipe: Recipe
) -> None:
    spec = recipe.distiller.projector
    model, fitted = fit_probe(tiny, material.train, None, spec, lora=False, scale=20.0, seed=0)
    torch.testing.assert_close(model.label_head.weight, by_hand(tiny, material, spec, 20.0), atol=1e-5, rtol=1e-4)
    assert fitted == 4 * tiny.width and model.label_head.weight.abs().max() > 1e-4
    before, after = tiny.visual.state_dict(), model.visual.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_probe_with_lora_moves_its_convolutions_and_has_a_whole_head(
    tiny: Encoder, material: Material, recipe: Recipe
) -> None:
    spec = replace(recipe.distiller.projector, optim=replace(recipe.distiller.projector.optim, epochs=3))
    teachers = train_teachers(material.train, recipe.teachers, seed=0)
    model, fitted = fit_probe(tiny, material.train, teachers.ensemble, spec, lora=True, scale=20.0, seed=0)
    head = 4 * tiny.width
    assert fitted == head + lora_numbers(tiny, replace(spec, head_rank=1), 4) - (4 + tiny.width)
    before, after = tiny.visual.state_dict(), model.visual.state_dict()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved and all(before[name].ndim == 4 for name in moved), "convolutions move, and nothing else"
    alone, _ = fit_probe(tiny, material.train, None, spec, lora=True, scale=20.0, seed=0)
    assert not torch.allclose(alone.label_head.weight, model.label_head.weight, atol=1e-3), "teachers are heard"


@pytest.mark.parametrize("taught", [False, True])
def test_a_probe_that_was_kept_is_the_one_that_was_fitted(
    taught: bool, material: Material, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = recipe.distiller.projector
    first = Stages(material, recipe.teachers, 0, folder=tmp_path).probe(spec, taught, True)
    monkeypatch.setattr(stages, "fit_probe", None)
    again = Stages(material, recipe.teachers, 0, folder=tmp_path).probe(spec, taught, True)
    memory = whole(material.held.images)
    assert torch.equal(first.model(memory), again.model(memory)) and first.figures == again.figures


def test_patches_of_a_mosaic_are_those_that_it_was_stitched_of() -> None:
    patches = torch.rand(3, 9, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    assert torch.equal(patches_of(stitch(patches, 3, 12), 3), patches.flatten(0, 1))
    with pytest.raises(InputError, match="images of 10 pixels have no 3 patches of one size along a side"):
        LIC(on="patches").check(10, 3)
    LIC(on="images").check(10, 3)


def test_an_update_of_patches_shows_the_encoder_each_by_itself() -> None:
    images = torch.randint(256, (2, 3, 8, 8), generator=torch.Generator().manual_seed(0)).to(torch.uint8)

    def encode(x: Images) -> torch.Tensor:
        return (x * torch.linspace(0, 1, x.shape[-1])).flatten(1).square()

    slow = 0.0
    for image in whole(images):
        for top in (0, 4):
            for left in (0, 4):
                slow += information_loss(encode, image[None, :, top : top + 4, left : left + 4], 2).item() / 8
    assert LIC(on="patches").loss(images, encode, 2) == pytest.approx(slow, rel=1e-5)
    update = LIC(on="patches", steps=5, lr=0.01)
    assert update.loss(update(images, encode, per_side=2), encode, 2) < slow
    whole_images = LIC(steps=5, lr=0.01)
    assert not torch.equal(whole_images(images, encode, per_side=2), update(images, encode, per_side=2))


def test_ensembles_of_one_run_need_one_training(
    material: Material, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[tuple[int, ...]] = []

    def counted(data: Any, spec: Any, *rest: Any) -> Any:
        trained.append(spec.weak_epochs)
        return train_teachers(data, spec, *rest)

    monkeypatch.setattr(stages, "train_teachers", counted)
    spec = replace(recipe.teachers, optim=replace(recipe.teachers.optim, epochs=4), weak_epochs=(1,))
    for epochs in ((1,), (2, 3), (4,)):
        asked = replace(spec, weak_epochs=epochs)
        found = Stages(material, asked, 0, folder=tmp_path, more_epochs={1, 2, 3}).teachers()
        wanted = train_teachers(material.train, asked, 0)
        images = whole(material.held.images)
        assert torch.equal(found.ensemble(images), wanted.ensemble(images))
        assert torch.equal(found.observer(images), wanted.observer(images))
    assert trained == [(1, 2, 3, 4)]
    Stages(material, replace(spec, weak_epochs=(1, 2)), 1, folder=tmp_path).teachers()
    Stages(material, replace(spec, weak_epochs=(3,)), 1, folder=tmp_path).teachers()
    assert trained[1:] == [(1, 2, 4), (3, 4)], "what an earlier run did not keep is trained for"


# Studies.


@pytest.fixture(scope="module")
def wanted(recipe: Recipe) -> Study:
    method = recipe.distiller
    contenders = {
        "probe": Contender(Probe(method.patches, method.projector)),
        "late": Contender(method, replace(recipe.teachers, weak_epochs=(2,))),
        "hello": Contender(method),
        "random": Contender(RandomImages()),
    }
    comparison = Comparison(recipe, contenders, method.projector, {1: (2, 4), 2: (3, 4)}, labels={})
    variants = {"random": {"augment": {"mix": "none"}}}
    return Study("Which?", None, comparison, {"lr": 2e-3}, variants, {"convnet2_w8": {}, "convnet1_w8": {"lr": 1e-2}})


def run(tree: Path, out: Path, wanted: Study, **changes: Any) -> dict[str, Any]:
    grid: dict[str, Any] = {"ipcs": [2], "students": ["convnet2_w8"], "seeds": [0], **changes}
    return study.study(str(tree), out, wanted, **grid)


@pytest.fixture(scope="module")
def done(tree: Path, wanted: Study, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("study") / "which.json"
    run(tree, out, wanted)
    return out


def test_one_kind_of_labels_for_all_variants_leaves_the_images_alone(done: Path, tree: Path, wanted: Study) -> None:
    out = done.with_name("labels.json")
    result = run(tree, out, replace(wanted, labels="teacher"), variants=["hello", "random"])
    assert [(c["method"], c["labels"]) for c in result["cells"]] == [("hello", "teacher"), ("random", "teacher")]
    sizes = [cell["bytes"] for cell in result["cells"]]
    assert sizes[0]["teacher"] == sizes[1]["teacher"] > 0 and sizes[0]["labels"] == sizes[1]["labels"]
    own = {cell["method"]: cell["bytes"]["images"] for cell in json.loads(done.read_text())["cells"]}
    assert [size["images"] for size in sizes] == [own["hello"], own["random"]], "the same images"
    assert result["recipe"]["labels_of_all"] == "teacher"
    assert "labels_of_all" not in json.loads(done.read_text())["recipe"]


def test_each_variant_is_trained_and_tested_as_it_says(done: Path, tree: Path, wanted: Study) -> None:
    result = json.loads(done.read_text())
    assert [(c["method"], c["labels"]) for c in result["cells"]] == [
        ("hello", "projector"),
        ("late", "projector"),
        ("probe", "teacher"),
        ("random", "hard"),
    ]
    bench = Bench(str(tree), wanted.comparison, done.with_name(".work"))
    for cell in result["cells"]:
        place = Cell(*(cell[name] for name in ("method", "labels", "ipc", "student")))
        folder = bench.images(cell["method"], 2, 0)
        artifact = artifacts.load(folder)
        spec = replace(
            wanted.comparison.base.student,
            optim=replace(wanted.comparison.base.student.optim, epochs=3, batch_size=4, lr=2e-3),
        )
        if cell["method"] == "random":
            spec = replace(spec, augment=replace(spec.augment, mix="none"))
        assert bench.student(place, wanted.settings(place)) == spec
        score = train_student(replace(artifact, student=spec), bench.test(), 0, held=bench.material.held)
        assert (score.last, score.held) == (cell["top1_last"]["runs"][0], cell["held_top1"]["runs"][0])
        fitted = artifact.manifest["figures"].get("fitted_numbers", artifact.manifest["labels"]["parameters"])
        assert cell["numbers"] == fitted
    probe, hello = result["cells"][2], result["cells"][0]
    assert probe["numbers"] < artifacts.load(bench.images("probe", 2, 0)).manifest["labels"]["parameters"]
    assert result["stages"]["late"]["ensemble_top1"] == result["stages"]["hello"]["teacher_top1"]
    assert hello["settings"] == {"lr": 2e-3}


def test_a_study_goes_on_where_it_was(done: Path, tree: Path, wanted: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    before = done.read_text()
    monkeypatch.setattr(study, "train_student", None)
    run(tree, done, wanted)
    assert done.read_text() == before


def test_a_network_has_its_own_settings(tree: Path, wanted: Study, tmp_path: Path) -> None:
    result = run(tree, tmp_path / "r.json", wanted, students=None, variants=["random"], ipcs=[1])
    found = {cell["student"]: cell["settings"] for cell in result["cells"]}
    mixed = {"augment": {"mix": "none"}}
    assert found == {"convnet2_w8": {"lr": 2e-3, **mixed}, "convnet1_w8": {"lr": 1e-2, **mixed}}


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"variants": ["helo"]}, "unknown variant 'helo': did you mean 'hello'"),
        ({"ipcs": [3]}, "no student training for IPC 3, only for 1, 2"),
        ({"students": ["resnet18"]}, "this study has no settings for the student 'resnet18': "),
    ],
)
def test_what_a_study_does_not_have_is_told(
    tree: Path, wanted: Study, tmp_path: Path, changes: dict[str, Any], told: str
) -> None:
    with pytest.raises(InputError, match=told):
        run(tree, tmp_path / "r.json", wanted, **changes)
    assert not (tmp_path / "r.json").exists()


def test_a_study_needs_images_held_out(tree: Path, wanted: Study, tmp_path: Path) -> None:
    base = replace(wanted.comparison.base, held_share=0.0)
    with pytest.raises(InputError, match="set `held_share` above 0"):
        run(tree, tmp_path / "r.json", replace(wanted, comparison=replace(wanted.comparison, base=base)))


def test_the_table_sets_each_variant_beside_the_first(done: Path) -> None:
    (table,) = section("r.json", results.read(json.loads(done.read_text()))).tables
    assert [row[0] for row in table.lines()] == ["variant", "probe", "late", "hello", "random"], "in the study's order"
    result = {cell["method"]: cell["top1_last"]["mean"] for cell in json.loads(done.read_text())["cells"]}
    gains = [f"{result[name] - result['probe']:+.1f}" for name in ("late", "hello", "random")]
    assert [row[3] for row in table.lines()] == ["from probe", "", *gains]


# The studies on record.


def leaves(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, part in value.items():
            yield from leaves(part, f"{name}.{key}")
    else:
        yield name, value


def differing(wanted: Study, first: str, second: str) -> set[str]:
    """Names of the settings in which two variants differ."""
    sides = []
    for name in (first, second):
        contender = wanted.comparison.contenders[name]
        teachers = contender.teachers or wanted.comparison.base.teachers
        student = Bench.student.__get__(Holding(wanted.comparison))(
            Cell(name, "projector", 10, next(iter(wanted.networks))),
            wanted.settings(Cell(name, "", 10, next(iter(wanted.networks)))),
        )
        parts = {"distiller": contender.distiller, "teachers": teachers, "student": student}
        sides.append(dict(leaves({key: dataclasses.asdict(part) for key, part in parts.items()})))
    return {key for key in {*sides[0], *sides[1]} if sides[0].get(key) != sides[1].get(key)}


@dataclasses.dataclass
class Holding:
    """As much of a bench as tells how a student is trained."""

    comparison: Comparison


def test_a_choice_differs_from_the_recipe_in_one_thing() -> None:
    wanted = STUDIES["choices"]()
    found = {name: differing(wanted, THE_RECIPE, name) for name in wanted.comparison.contenders}
    assert not found.pop(THE_RECIPE)
    assert found.pop("mosaics, update of patches") == {".distiller.patches.factor", ".distiller.update.on"}
    crops, pool, scale = (f".distiller.patches.{name}" for name in ("crops", "pool", "scale"))
    assert found.pop("easy whole images") == {crops, scale} and found.pop("any crops") == {crops, pool}
    assert found.pop("any whole images") == {crops, pool, scale}
    no_update = found.pop("no update")
    assert no_update and all(name.startswith(".distiller.update") for name in no_update)
    matched = found.pop("probabilities in Eq. 5, lambda 0.01")
    assert matched == {".distiller.projector.match", ".distiller.projector.weight"}
    queries = found.pop("no query fitting")
    assert queries and all(name.startswith(".distiller.projector.queries") for name in queries)
    loss = found.pop("MSE, beta 0.1"), found.pop("MSE, beta 1")
    assert loss == ({".student.loss", ".student.beta"},) * 2
    assert {name: len(settings) for name, settings in found.items()} == dict.fromkeys(found, 1)


def test_which_images_is_asked_with_one_labeller_and_with_those_of_the_recipes() -> None:
    wanted = STUDIES["images-photographs"]()
    methods = {name: contender.distiller for name, contender in wanted.comparison.contenders.items()}
    assert wanted.labels == "teacher"
    patches = {name: method.patches for name, method in methods.items() if isinstance(method, RDED)}
    assert patches["easy of a small pool"] == recipes.find("cpu").distiller.patches == EASY
    assert patches["easy crops"] == find_comparison("photographs").contenders["rded"].distiller.patches
    assert replace(patches["mosaics"], factor=1) == patches["easy crops"]


@pytest.mark.parametrize("count", [500, 3_000, 10_000])
def test_twice_the_steps_is_twice_of_everything_and_nothing_else(count: int) -> None:
    wanted, spec = STUDIES[f"steps-{count}"](), recipes.find("cpu", 10)
    first, second = ((each.distiller, each.teachers or spec.teachers) for each in wanted.comparison.contenders.values())
    assert first == (spec.distiller, spec.teachers) and wanted.comparison.base.train_limit == count
    lengths = [
        (m.projector.steps, m.projector.queries.steps, m.update.steps, teachers.steps)
        for m, teachers in (first, second)
    ]
    assert lengths[1] == tuple(2 * length for length in lengths[0])
    found = differing(wanted, *wanted.comparison.contenders)
    steps = ("projector.steps", "projector.queries.steps", "update.steps")
    assert found == {*(f".distiller.{name}" for name in steps), ".teachers.steps", ".student.optim.epochs"}
    longer = Bench.student.__get__(Holding(wanted.comparison))(
        Cell("twice the steps", "projector", 10, "resnet18"), wanted.variants["twice the steps"]
    )
    assert longer.optim.epochs == 2 * spec.student_for(100).optim.epochs == 2 * 360


def test_rows_of_the_ablation_add_one_thing_each() -> None:
    wanted = STUDIES["ablation"]()
    rows = list(wanted.comparison.contenders)
    steps = [differing(wanted, first, second) for first, second in pairwise(rows)]
    assert steps[0] == {".distiller.taught"} and steps[1] == {".distiller.lora"}
    assert ".distiller.taught" in steps[2] and not any(".teachers" in name or ".student" in name for name in steps[2])
    assert steps[3] and all(name.startswith(".distiller.update") for name in steps[3])
    assert steps[4] and all(name.startswith(".distiller.projector.queries") for name in steps[4])
    probe, hello = (wanted.comparison.contenders[rows[place]].distiller for place in (2, 4))
    assert isinstance(probe, Probe) and isinstance(hello, HeLlO)
    assert (probe.patches, probe.projector) == (hello.patches, hello.projector)


def test_stages_of_teachers_are_of_one_run() -> None:
    wanted = STUDIES["stages"]()
    others = [name for name in wanted.comparison.contenders if name != THE_RECIPE]
    assert all(differing(wanted, THE_RECIPE, name) == {".teachers.weak_epochs"} for name in others)
    chosen = [contender.teachers.weak_epochs for contender in wanted.comparison.contenders.values()]
    assert len(set(chosen)) == 4 and chosen[0] == wanted.comparison.base.teachers.weak_epochs


def test_suited_epochs_lie_around_the_share_of_the_run_that_did_best() -> None:
    """Middles by hand, 0.2 ipc^0.45 of 90: 18, 50.7, and from IPC 50 on 0.9 of them."""
    assert suited_epochs(1, 90) == (9, 11, 14, 16, 18, 20, 22, 25, 27)
    assert suited_epochs(10, 90) == (25, 32, 38, 44, 51, 57, 63, 70, 76)
    assert suited_epochs(50, 90) == suited_epochs(200, 90) == (72, 74, 76, 79, 81, 83, 86, 88, 90)
    assert [suited_epochs(ipc, 8, 3) for ipc in (1, 10, 50)] == [(1, 2, 3), (2, 5, 7), (6, 7, 8)]
    for count in (1, 3, 9):
        for epochs in (1, 2, 5, 9, 15, 20, 25, 90):
            for ipc in (1, 2, 5, 10, 20, 50, 100, 1000):
                found = suited_epochs(ipc, epochs, count)
                assert len(set(found)) == len(found) == min(count, epochs)
                assert list(found) == sorted(found) and found[0] >= 1 and found[-1] <= epochs


def test_the_rule_of_epochs_is_that_of_the_stages_on_record() -> None:
    """At each number of images the stage nearest to the rule's middle is, on held-out images, the best or near it."""
    result = json.loads((ROOT / "results" / "stages_cifar10.json").read_text())
    stages = {name: found["teachers"] for name, found in result["recipe"]["methods"].items()}
    middles = {name: fmean(stages[name]["weak_epochs"]) / stages[name]["optim"]["epochs"] for name in EVEN_STAGES}
    for ipc in (1, 10, 50):
        reached = {cell["method"]: cell["held_top1"]["mean"] for cell in result["cells"] if cell["ipc"] == ipc}
        rule = fmean(suited_epochs(ipc, 90)) / 90
        nearest = min(EVEN_STAGES, key=lambda name: abs(middles[name] - rule))
        assert nearest == {1: "early", 10: "middle", 50: "late"}[ipc]
        assert reached[nearest] > max(reached[name] for name in EVEN_STAGES) - 0.5


@pytest.mark.parametrize("name", STUDIES)
def test_a_study_finds_its_names_and_settings(name: str) -> None:
    wanted = recipes.find_study(name)
    study.check(wanted, list(wanted.comparison.contenders), list(wanted.comparison.training), list(wanted.networks))
    assert set(wanted.variants) <= set(wanted.comparison.contenders)
    json.dumps(wanted.described())


def test_the_command_passes_on_what_is_given(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, done: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    calls: list[Any] = []

    def ran(*arguments: Any, **chosen: Any) -> dict[str, Any]:
        calls.append((*arguments, chosen))
        shutil.copy(done, arguments[1])
        found: dict[str, Any] = json.loads(done.read_text())
        return found

    monkeypatch.setattr(importlib.import_module("hello_distill.experiments.study"), "study", ran)
    out = str(tmp_path / "r.json")
    given = ["--recipe", "ablation", "--variants", "+ LoRA", "--ipc", "10", "--seeds", "4"]
    assert cli.main(["study", "me/DATA", "--out", out, *given]) == 0
    data, file, wanted, chosen = calls[0]
    assert (data, file, wanted) == ("me/DATA", out, STUDIES["ablation"]())
    assert chosen == {"variants": ["+ LoRA"], "ipcs": [10], "students": None, "seeds": [4]}
    named = (
        "hello-distill study DATA --out r.json --recipe ablation --variants '+ LoRA' --ipc 10 --seeds 4 --max-bad 0.01"
    )
    assert json.loads((tmp_path / "r.json").read_text())["commands"] == [named]
    assert "Which?" in capsys.readouterr().out
    assert cli.main(["study", "me/DATA", "--out", out, "--recipe", "ablations"]) == 2
    assert "unknown study 'ablations': did you mean 'ablation'" in capsys.readouterr().err


def test_what_diverges_leaves_the_other_cells(
    tree: Path, wanted: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    images = Bench.images

    def diverging(bench: Bench, method: str, ipc: int, seed: int) -> Path:
        if method == "late":
            raise DivergedError("projector: the loss is nan")
        return images(bench, method, ipc, seed)

    monkeypatch.setattr(Bench, "images", diverging)
    with Context(ConsoleProgress()):
        result = run(tree, tmp_path / "r.json", wanted, variants=["late", "random"])
    assert [cell["method"] for cell in result["cells"]] == ["random"]
    told = " ".join(capsys.readouterr().err.split())
    assert "late, projector, IPC 2, convnet2_w8, seed 0: no result; projector: the loss is nan" in told
    assert [(run["method"], run["seed"], run["reason"]) for run in result["diverged"]] == [
        ("late", 0, "projector: the loss is nan")
    ]
    sentence = "No result, because training diverged: late, projector, convnet2_w8, IPC 2, seed 0."
    shown = section("r.json", results.read(result))
    assert shown.tables[-1] == Text("Runs without a result", [sentence])
    assert [block.notes for block in shown.blocks if isinstance(block, Text)] == [[sentence]]
    monkeypatch.setattr(Bench, "images", lambda *call: pytest.fail("a run that diverged is tried again"))
    assert run(tree, tmp_path / "r.json", wanted, variants=["late", "random"]) == result


def test_a_logit_scale_that_is_given_is_taken(tiny: Encoder, material: Material, recipe: Recipe) -> None:
    spec = replace(recipe.distiller.projector, scale=100.0)
    teachers = train_teachers(material.train, recipe.teachers, seed=0)
    start = zero_shot(tiny, material.train.classes, spec)
    adapter = fit_projector(start, tiny, material.train, teachers.ensemble, spec, seed=0)
    assert adapter.scale == start.scale == 100.0
    matched = fit_projector(start, tiny, material.train, teachers.ensemble, recipe.distiller.projector, seed=0)
    assert matched.scale != 100.0
    with pytest.raises(InputError, match=r"distiller.projector.scale must be above 0, not 0\.0"):
        replace(spec, scale=0.0)
