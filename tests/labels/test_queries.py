"""Query fitting: labels that are faithful on the views that students ask for."""

from __future__ import annotations

import copy
import math
import statistics
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch

from hello_distill.api import distill
from hello_distill.artifact import load
from hello_distill.data.images import ImageSet, Material
from hello_distill.data.parquet import once_encoded
from hello_distill.distillers.recipe import Recipe
from hello_distill.encoders.encoder import Encoder
from hello_distill.format import costs, specs
from hello_distill.format.specs import Augment, Codec, Optim, Queries
from hello_distill.projector import (
    Adapter,
    Projector,
    ProjectorSpec,
    adapted,
    add_lora,
    fit_projector,
    lora_matrices,
    restore,
    zero_shot,
)
from hello_distill.queries import (
    ROUND,
    UNSEEN,
    fit_queries,
    labelled_views,
    on_views,
    spread,
)
from hello_distill.stages import Stages
from hello_distill.system.errors import InputError
from hello_distill.teachers import TeacherSpec, train_teachers
from hello_distill.training.epoch import EpochBatches
from hello_distill.training.networks import build
from hello_distill.training.rounds import why_ended
from hello_distill.training.scores import Faithfulness, faithfulness
from hello_distill.views import render, sample_views

VIEWS = Augment(scale=(0.5, 1.0))


def test_faithfulness_from_its_definition() -> None:
    wanted = torch.tensor([[3.0, 0.0, 0.0], [0.0, 2.0, 1.0]])
    given = torch.tensor([[5.0, 2.0, 2.0], [3.0, 1.0, 2.0]])  # the first is a copy, two higher
    gaps = [(3 - 2) - (0 - 1), (1 - 2) - (2 - 1), (2 - 2) - (1 - 1)]
    error = sum(gap**2 for gap in gaps) / (4 + 1 + 1 + 1 + 1 + 0)
    measured = faithfulness(wanted, given)
    assert measured.agreement == 50.0 and measured.error == pytest.approx(error)


def test_spread_is_that_of_the_mean_probability_over_epochs(material: Material) -> None:
    labeller = build("convnet2_w8", 4, 32, 0).eval().requires_grad_(False)
    images = material.train.rows(torch.arange(10))
    means = []
    for epoch in range(20):
        views = sample_views(10, images.side, 4, VIEWS, UNSEEN + 7, epoch)
        each = [labeller(render(images.images, view)).softmax(1) for view in views]
        means.append((torch.cat(each).sum(0) / 10).tolist())
    classes = list(zip(*means, strict=True))
    assert spread(labeller, images, VIEWS, 4, 7) == pytest.approx(sum(map(statistics.stdev, classes)) / 4, rel=1e-4)
    still = Augment(scale=(1.0, 1.0), flip=0.0, mix="none")
    assert spread(labeller, images, still, 4, 7) < 1e-7, "without augmentation each epoch is the same"


def test_query_fitting_halves_the_error_on_views_that_no_fit_has_seen(
    tiny: Encoder, material: Material, recipe: Recipe
) -> None:
    longer = replace(recipe.teachers, optim=replace(recipe.teachers.optim, epochs=8), weak_epochs=(8,))
    observer = train_teachers(material.train, longer, seed=0).observer
    spec = replace(recipe.distiller.projector, encoder_rank=4, optim=Optim(epochs=1, batch_size=16))
    start = zero_shot(tiny, material.train.classes, spec)
    adapter = fit_projector(start, tiny, material.train, observer, spec, seed=0)
    images = material.train.rows(torch.arange(0, len(material.train), 6))
    queries = Queries(steps=60, rounds=3, batch_size=16, lr=1e-2)
    fitted, facts = fit_queries(start, adapter, images, observer, queries, VIEWS, seed=0)
    views = labelled_views(images, VIEWS, observer, 16, 2 * UNSEEN)
    before, after = (on_views(restore(start, each), views) for each in (adapter, fitted))
    assert after.error < before.error / 2 and after.agreement > before.agreement
    judged_by = labelled_views(images, VIEWS, observer, 16, UNSEEN)
    assert facts["errors"][0] == pytest.approx(on_views(restore(start, adapter), judged_by).error)
    assert facts["steps"] == 60 * (len(facts["errors"]) - 1)
    again, _ = fit_queries(start, adapter, images, observer, queries, VIEWS, seed=0)
    assert all(torch.equal(again.matrices[name], matrix) for name, matrix in fitted.matrices.items())


@pytest.mark.parametrize(
    ("errors", "rounds", "best", "why"),
    [
        ([1.0, 0.4, 0.39], 2, 2, "the last round lowered it by less than 20 %"),
        ([1.0, 0.4, 0.5], 2, 1, "the last round lowered it by less than 20 %"),
        ([1.0, 2.0], 1, 0, "the last round lowered it by less than 20 %"),
        ([1.0, 0.5], 1, 1, "one round is the most, though the last one paid"),
        ([1.0, 0.5, 0.2, 0.1], 3, 3, "3 rounds are the most, though the last one paid"),
    ],
)
def test_rounds_end_when_one_does_not_pay_and_the_best_counts(
    errors: list[float],
    rounds: int,
    best: int,
    why: str,
    tiny: Encoder,
    material: Material,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    teacher, spec = build("convnet2_w8", 4, 32, 0).eval().requires_grad_(False), ProjectorSpec(encoder_rank=2)
    asked: list[int] = []
    monkeypatch.setattr("hello_distill.queries.VIEWS", 500)

    def observer(images: torch.Tensor) -> torch.Tensor:
        asked.append(len(images))
        return teacher(images)

    start = zero_shot(tiny, material.train.classes, spec)
    lora = add_lora(copy.deepcopy(start), adapted(tiny, spec), 2, 2)
    matrices = lora_matrices(lora)
    adapter = Adapter(matrices, matrices, "float32", adapted(tiny, spec), 2, 2, 1.0, True)
    measured, seen = iter(errors), []

    def scripted(labeller: Projector, *_: object) -> Faithfulness:
        seen.append(labeller.label_head.weight.clone())
        return Faithfulness(50.0, next(measured))

    monkeypatch.setattr("hello_distill.queries.on_views", scripted)
    most = rounds if "the most" in why else 3
    queries = Queries(steps=2, rounds=most, batch_size=16, lr=1e-2)
    fitted, facts = fit_queries(start, adapter, material.held, observer, queries, VIEWS, seed=0)
    assert facts == {"errors": errors, "steps": 2 * rounds} and why_ended(errors, queries.gain) == why
    held = len(material.held)  # of two batches: a round's two steps are a pass over it
    assert 500 <= sum(asked) - rounds * held < 516, "views that rounds are judged by are labelled once"
    assert torch.equal(restore(start, fitted).label_head.weight, seen[best]) and (best or fitted is adapter)


def test_views_that_are_measured_on_are_as_many_as_stated_and_labelled_by_the_teacher(
    material: Material, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hello_distill.queries.VIEWS", 500)
    teacher = build("convnet2_w8", 4, 32, 0).eval().requires_grad_(False)
    images = material.train.rows(torch.arange(10))
    views = labelled_views(images, VIEWS, teacher, 16, UNSEEN)
    assert [len(x) for x, _ in views] == [10] * 50, "passes of ten images, until there are five hundred"
    assert not torch.equal(views[0][0], views[1][0]), "each pass draws other views"
    torch.testing.assert_close(views[7][1], teacher(views[7][0]))
    assert sum(len(x) for x, _ in labelled_views(material.train.rows(torch.arange(40)), VIEWS, teacher, 32, 0)) == 500


def test_views_of_fits_and_measures_are_no_student_s() -> None:
    largest_seed = 2**40
    most_rounds = 100
    assert largest_seed < ROUND and most_rounds * ROUND + largest_seed < UNSEEN
    assert UNSEEN + largest_seed < 2 * UNSEEN and 3 * UNSEEN + largest_seed < 2**63
    with pytest.raises(InputError, match=r"`queries.rounds`: Input should be less than or equal to 100"):
        specs.check("queries", Queries(rounds=most_rounds + 1))


def test_stages_keep_a_query_fit_and_ask_by_images(
    material: Material, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = replace(recipe.distiller.projector, queries=Queries(steps=60, rounds=1, batch_size=16, lr=2e-2))
    stages = Stages(material, recipe.teachers, 0, tmp_path, augment=VIEWS)
    fitted = stages.projector(spec)
    first = stages.queried(spec, fitted, fitted.adapter, material.held)
    assert any(not torch.equal(first.matrices[name], fitted.adapter.matrices[name]) for name in first.matrices)
    without = replace(spec, queries=None)
    assert stages.queried(without, fitted, fitted.adapter, material.held) is fitted.adapter
    other = stages.queried(spec, fitted, fitted.adapter, material.train)
    assert any(not torch.equal(first.matrices[name], other.matrices[name]) for name in first.matrices)
    monkeypatch.setattr("hello_distill.stages.fit_queries", None)
    again = Stages(material, recipe.teachers, 0, tmp_path, augment=VIEWS)
    kept = again.queried(spec, again.projector(spec), again.projector(spec).adapter, material.held)
    assert all(torch.equal(kept.matrices[name], matrix) for name, matrix in first.matrices.items())


def test_labels_are_fitted_on_the_pixels_that_students_see(
    tree: Path, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of the artefact, which a JPEG changes, and not those that were encoded."""
    seen: list[ImageSet] = []

    def fitted(start: Any, adapter: Any, images: ImageSet, *others: Any) -> Any:
        seen.append(images)
        return fit_queries(start, adapter, images, *others)

    monkeypatch.setattr("hello_distill.stages.fit_queries", fitted)
    kept = load(distill(str(tree), tmp_path / "a", replace(recipe, codec=Codec("jpeg", 40)))).data
    assert len(seen) == 1 and torch.equal(seen[0].images, kept.images) and torch.equal(seen[0].targets, kept.targets)
    lossless = Stages(Material(kept, kept), recipe.teachers, 0)
    assert lossless.as_kept(kept) is kept
    assert not torch.equal(once_encoded(kept, Codec("jpeg", 10).encode, "jpeg").images, kept.images)


def test_an_artefact_states_how_faithful_its_labels_are(artefact: Path) -> None:
    figures = costs.info(artefact)["figures"]
    assert 0 <= figures["labels_on_held_out"] <= 100
    assert 0 <= figures["view_agreement"] <= 100 and math.isfinite(figures["view_error"])
    assert load(artefact).labels.kind == "projector"


def test_lengths_in_steps_do_not_hang_on_the_number_of_images(tree: Path, recipe: Recipe, tmp_path: Path) -> None:
    spec = TeacherSpec("convnet2_w8", (4, 8), Augment(mix="none"), Optim(epochs=8, batch_size=10), steps=100)
    small, large = spec.for_images(95), spec.for_images(1000)
    assert (small.optim.epochs, small.weak_epochs, small.batches(95), small.steps) == (10, (5, 10), 10, 100)
    assert (large.optim.epochs, large.weak_epochs, large.batches(1000), large.steps) == (8, (4, 8), 13, 104)
    assert small.for_images(95) == small and large.for_images(1000) == large
    assert (spec.halved().steps, replace(spec, steps=None).halved().weak_epochs) == (50, (2, 4))
    assert replace(spec, steps=None).for_images(95) == replace(spec, steps=None)
    halved = [ProjectorSpec(steps=n, rounds=2, queries=Queries(steps=n, rounds=1)).halved() for n in (50, 200, 400)]
    assert [(fit.steps, fit.queries.steps) for fit in halved] == [(100, 50), (150, 150), (200, 200)]
    assert all(fit.rounds == 1 for fit in halved)
    chosen = replace(recipe, student_steps=7)
    student = load(distill(str(tree), tmp_path / "a", chosen)).student
    assert student.optim.epochs == 4, "8 images in batches of 4 are two steps an epoch"
    assert ProjectorSpec(steps=5).optim.lasting(5, 2).epochs == 3


def test_a_large_set_is_not_gone_through_whole(material: Material) -> None:
    train_set = material.train
    few, batches = Optim(epochs=2, batch_size=4).for_steps(6, len(train_set))
    assert len(train_set) > 12 and (few.epochs, batches) == (2, 3)
    whole = EpochBatches(train_set, Augment(), 4, seed=0)
    part = replace(whole, most=batches)
    assert part.per_epoch == 3 < whole.per_epoch
    for (rows, batch), (whole_rows, whole_batch) in zip(part(1), islice(whole(1), 3), strict=True):
        assert torch.equal(rows, whole_rows) and torch.equal(batch.images, whole_batch.images)
    assert Queries(steps=600, batch_size=50).optim(100) == (Optim(300, 50, 5e-3, "muon", warmup=0.1), 2)
    assert Queries(steps=600, batch_size=50).optim(50_000) == (Optim(1, 50, 5e-3, "muon", warmup=0.1), 600)


@pytest.mark.parametrize(("gain", "rounds"), [(1.0, 1), (0.0, 3)])
def test_eq_5_goes_on_in_rounds_for_as_long_as_one_pays(
    material: Material, recipe: Recipe, monkeypatch: pytest.MonkeyPatch, gain: float, rounds: int
) -> None:
    spec = replace(recipe.distiller.projector, queries=None)
    judged, fitted = [0.9, 0.5, 0.3, 0.2], []
    stages = Stages(material, recipe.teachers, 0, augment=VIEWS)

    def measured(adapter: Adapter) -> Faithfulness:
        fitted.append(adapter)
        return Faithfulness(50.0, judged.pop(0))

    monkeypatch.setattr(stages, "_judged", lambda start, ensemble: measured)
    adapter = stages.projector(replace(spec, rounds=3, gain=gain)).adapter
    assert len(fitted) == rounds + 1, "the start and each round are judged once"
    once = Stages(material, recipe.teachers, 0).projector(spec).adapter
    for name, matrix in once.matrices.items():
        assert torch.equal(fitted[1].matrices[name], matrix), "the first round is a fit without rounds"
        assert torch.equal(adapter.matrices[name], fitted[-1].matrices[name])
    assert adapter.scale == once.scale


def test_a_round_is_found_again_whatever_ends_the_rounds(
    material: Material, recipe: Recipe, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    spec = replace(recipe.distiller.projector, queries=None)
    ended = replace(spec, rounds=2, gain=0.0)
    measured = iter([0.9, 0.5, 0.3] * 2)
    monkeypatch.setattr(Stages, "_judged", lambda *_: lambda adapter: Faithfulness(50.0, next(measured)))
    fits: list[str] = []

    def counted(*given: Any) -> Adapter:
        fits.append(given[-1])
        return fit_projector(*given)

    monkeypatch.setattr("hello_distill.stages.fit_projector", counted)
    whole = Stages(material, recipe.teachers, 0, tmp_path / "whole", augment=VIEWS).projector(ended).adapter
    assert fits == ["projector, round 1", "projector, round 2"]
    kept = tmp_path / "in two"
    Stages(material, recipe.teachers, 0, kept, augment=VIEWS).projector(spec)
    adapter = Stages(material, recipe.teachers, 0, kept, augment=VIEWS).projector(ended).adapter
    assert fits[2:] == ["projector", "projector, round 2"], "a fit without rounds is the first of them"
    assert adapter.fingerprint() == whole.fingerprint()


def test_rounds_are_judged_by_the_ensemble_on_views_of_held_out_images(material: Material, recipe: Recipe) -> None:
    stages = Stages(material, recipe.teachers, 0, augment=VIEWS)
    fitted = stages.projector(replace(recipe.distiller.projector, queries=None))
    ensemble = stages.teachers().ensemble
    views = labelled_views(material.held, VIEWS, ensemble, 50, UNSEEN)
    expected = on_views(restore(fitted.start, fitted.adapter), views)
    assert stages._judged(fitted.start, ensemble)(fitted.adapter) == pytest.approx(expected, rel=1e-6)
