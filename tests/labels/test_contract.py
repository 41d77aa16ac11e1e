"""What every file in `labels/` and in `distillers/` must do. A new file is held to it by being there."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from hello_distill import distillers, encoders, labels
from hello_distill.artifact import Distilled
from hello_distill.data.images import Material
from hello_distill.distillers.base import Distiller
from hello_distill.distillers.coreset import Coreset
from hello_distill.distillers.gvbsm import GVBSM
from hello_distill.distillers.probe import Probe
from hello_distill.distillers.rded import RDED
from hello_distill.distillers.recipe import Recipe
from hello_distill.distillers.recover import Jitter
from hello_distill.distillers.sre2l import SRe2L
from hello_distill.encoders.encoder import Encoder
from hello_distill.format.codecs import Int8, LabelCodec, Plain
from hello_distill.format.kinds import KINDS
from hello_distill.format.specs import Augment
from hello_distill.labels.sources.hard import HardLabels
from hello_distill.labels.sources.projector import ProjectorLabels, describe
from hello_distill.labels.sources.recording import Draw, Plan, RecordedLabels
from hello_distill.labels.sources.static import static
from hello_distill.labels.sources.teacher import TeacherLabels
from hello_distill.projector import fit_projector, zero_shot
from hello_distill.stages import Stages
from hello_distill.system.context import Context
from hello_distill.system.progress import Progress
from hello_distill.teachers import Teachers, train_teachers
from hello_distill.types import LabelSource
from hello_distill.views import render, sample_views


@pytest.fixture(scope="module")
def teachers(material: Material, recipe: Recipe) -> Teachers:
    return train_teachers(material.train, recipe.teachers, seed=0)


# Label sources.


@pytest.fixture(scope="module")
def makers(
    material: Material, recipe: Recipe, tiny: Encoder, teachers: Teachers
) -> dict[str, Callable[[], LabelSource]]:
    """How to make a source of each kind; a kind without a maker fails the tests below."""

    def projector() -> LabelSource:
        spec = recipe.distiller.projector
        start = zero_shot(tiny, material.train.classes, spec)
        adapter = fit_projector(start, tiny, material.train, teachers.ensemble, spec, seed=0)
        return ProjectorLabels(start, adapter.rounded("float16"), describe(tiny), spec.templates)

    online = TeacherLabels(["convnet2_w8"] * 2, [*teachers.ensemble.members], material.train.side)

    def plan(codec: LabelCodec, batches: int) -> Plan:
        return Plan(material.train, online, codec, Augment(mix="cutmix"), batch_size=10, seed=1, batches=batches)

    return {
        "hard": lambda: HardLabels(material.train.targets, 4),
        "projector": projector,
        "pruned": lambda: RecordedLabels("pruned", plan(Plain("float16"), 12), Draw()),
        "quantized": lambda: RecordedLabels("quantized", plan(Int8(), 20), None),
        "static": lambda: static(material.train, online),
        "stored": lambda: RecordedLabels("stored", plan(Plain("float16"), 20), None),
        "teacher": lambda: online,
    }


@pytest.mark.parametrize("kind", labels.kinds())
def test_a_label_source_keeps_its_labels_bit_for_bit(
    kind: str, makers: dict[str, Callable[[], LabelSource]], material: Material, tmp_path: Path
) -> None:
    source = makers[kind]()
    assert isinstance(source, LabelSource)
    assert source.kind == kind and source.unit in ("logits", "probabilities")
    described = source.save(tmp_path)
    assert described["kind"] == kind and described["parameters"] >= 0
    again = labels.kind(kind).load(tmp_path, described, material.train)
    assert again.unit == source.unit
    for mix in ("cutmix", "mixup", "none"):
        sampled = list(sample_views(len(material.train), material.train.side, 10, Augment(mix=mix), 0, 0))
        pairs = zip(source.views(0, sampled), again.views(0, sampled), strict=True)
        for first, view in pairs:
            assert all(torch.equal(torch.as_tensor(a), torch.as_tensor(b)) for a, b in zip(first, view, strict=True))
            images = render(material.train.images, view)
            untouched = images.clone()
            found = source(images, view)
            assert found.shape == (len(view.rows), 4) and found.dtype == torch.float32 and not found.requires_grad
            assert torch.equal(found, again(images, view))
            assert torch.equal(images, untouched)
            if source.unit == "probabilities":
                torch.testing.assert_close(found.sum(1), torch.ones(len(found)))


@pytest.mark.parametrize("kind", labels.kinds())
def test_a_label_source_writes_the_same_bytes_twice(
    kind: str, makers: dict[str, Callable[[], LabelSource]], tmp_path: Path
) -> None:
    written = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        described = makers[kind]().save(tmp_path / name)
        files = sorted(p for p in (tmp_path / name).rglob("*") if p.is_file())
        assert {p.suffix for p in files} <= {".safetensors", ".json"}
        assert makers[kind]().size() == sum(p.stat().st_size for p in files)
        assert all(p.stat().st_mode & 0o044 for p in files), "others must be able to read it"
        written.append((described, [(p.relative_to(tmp_path / name), p.read_bytes()) for p in files]))
    assert written[0] == written[1]


def test_labels_are_of_one_regime_each() -> None:
    found = {kind: labels.kind(kind).regime() for kind in KINDS.ours}
    fixed = dict.fromkeys(("pruned", "quantized", "static", "stored"), "fixed")
    assert found == {"hard": "hard", "projector": "unlimited", "teacher": "unlimited", **fixed}


# Distillers.


@pytest.fixture(scope="module")
def configured(recipe: Recipe) -> dict[str, Distiller]:
    """Methods with settings for tests; the others run with their defaults."""
    jitter = Jitter(None, 2)
    return {
        "gvbsm": GVBSM(("convnet2_w8",), steps=3, patch=4, batch_size=4, jitter=jitter),
        "hello": recipe.distiller,
        "probe": Probe(recipe.distiller.patches, recipe.distiller.projector),
        "rded": RDED(recipe.distiller.patches),
        "coreset": Coreset(encoder=recipe.distiller.projector.encoder),
        "sre2l": SRe2L(steps=3, batch_size=3, jitter=jitter),
    }


@pytest.fixture(scope="module")
def stages(material: Material, recipe: Recipe) -> Stages:
    return Stages(material, recipe.teachers, seed=0)


def test_the_methods_are_found() -> None:
    assert set(distillers.methods()) == {"coreset", "gvbsm", "hello", "probe", "random", "rded", "sre2l"}


@pytest.mark.parametrize("name", distillers.methods())
def test_a_distiller_gives_ipc_images_a_class_and_repeats_itself(
    name: str, configured: dict[str, Distiller], material: Material, stages: Stages
) -> None:
    distiller = configured.get(name) or distillers.method(name)()
    assert distiller.name == name
    untouched = copy.deepcopy(material)

    def run(seed: int) -> Distilled:
        return distiller(material, stages, ipc=3, seed=seed)

    first, second, other = run(0), run(0), run(1)
    assert first.data.images.dtype == torch.uint8 and first.data.side == material.train.side
    assert first.data.classes == material.train.classes
    assert torch.bincount(first.data.targets).tolist() == [3] * 4
    assert torch.equal(first.data.images, second.data.images)
    assert torch.equal(first.data.images, other.data.images) == (name == "coreset"), "its images hang on no seed"
    assert isinstance(first.labels, LabelSource)
    assert first.figures == second.figures
    for before, after in zip(untouched, material, strict=True):
        assert torch.equal(before.images, after.images) and torch.equal(before.targets, after.targets)


def test_a_projector_that_fitting_made_worse_is_told(
    material: Material, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[str] = []
    shown = Progress()
    monkeypatch.setattr(shown, "line", lambda name, seconds, figure: lines.append(figure))
    fresh = Stages(material, recipe.teachers, 0)
    spec = recipe.distiller.projector
    start = zero_shot(encoders.load(spec.encoder), material.train.classes, spec)
    with Context(shown):
        fresh._tested(start, "projector", before=101.0)
        fresh._tested(start, "projector", before=0.0)
    assert ["WORSE" in line for line in lines] == [True, False]
