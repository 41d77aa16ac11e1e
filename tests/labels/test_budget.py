"""The projector in fewer bytes: precision, ranks, and the choice for a budget."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import hello_distill as hd
from hello_distill import stages
from hello_distill.api import distill
from hello_distill.artifact import load
from hello_distill.data.images import Material
from hello_distill.distillers.recipe import Recipe
from hello_distill.encoders.encoder import Encoder
from hello_distill.format import precision, tensors
from hello_distill.format.fields import PRECISIONS
from hello_distill.format.precision import from_stored, to_stored
from hello_distill.format.specs import Augment
from hello_distill.labels.projector import HEAD
from hello_distill.labels.sources import budget
from hello_distill.labels.sources.projector import adapter_bytes
from hello_distill.projector import Adapter, Projector, fit_projector, restore, zero_shot
from hello_distill.queries import labelled_views
from hello_distill.stages import Stages
from hello_distill.system.errors import InputError
from hello_distill.training.scores import predict


@pytest.fixture(scope="module")
def fitted(tiny: Encoder, material: Material, recipe: Recipe) -> tuple[Projector, Adapter]:
    spec = replace(recipe.distiller.projector, encoder_rank=4)
    start = zero_shot(tiny, material.train.classes, spec)
    teacher = Stages(material, recipe.teachers, 0).teachers().ensemble
    return start, fit_projector(start, tiny, material.train, teacher, spec, seed=0)


SHAPES = {"x.lora_A.weight": (8, 5, 3, 3), "x.lora_B.weight": (6, 8, 1, 1), "y.lora_A.weight": (3, 7)}


def matrix(name: str) -> torch.Tensor:
    return torch.randn(SHAPES[name], generator=torch.Generator().manual_seed(len(name)))


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize(("form", "most"), [("int8", 127), ("int4", 7)])
def test_integers_are_the_nearest_multiples_of_the_scale_of_their_rank(name: str, form: str, most: int) -> None:
    given = matrix(name)
    found = from_stored(name, to_stored(name, given, form), SHAPES[name], form)
    ranks = 1 if "lora_B" in name else 0
    for rank in range(SHAPES[name][ranks]):
        exact, back = given.select(ranks, rank), found.select(ranks, rank)
        shares = precision.SHARES if form == "int4" else (1.0,)
        scales = [share * exact.abs().max() / most for share in shares]
        rounded = [(exact / scale).round().clamp(-most, most) * scale for scale in scales]
        nearest = min(rounded, key=lambda values: ((values - exact) ** 2).sum().item())
        torch.testing.assert_close(back, nearest, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("form", PRECISIONS)
def test_the_layout_of_a_precision_is_that_of_its_tensors(form: str) -> None:
    kept = {key: part for name in SHAPES for key, part in to_stored(name, matrix(name), form).items()}
    names = {torch.float32: "F32", torch.float16: "F16", torch.int8: "I8", torch.uint8: "U8"}
    assert precision.layout(SHAPES, form) == {k: (names[v.dtype], tuple(v.shape)) for k, v in kept.items()}
    for name, shape in SHAPES.items():
        assert from_stored(name, kept, shape, form).shape == shape


def test_float16_is_what_stock_peft_reads_and_integers_have_another_name(
    artefact: Path, tmp_path: Path, fitted: tuple[Projector, Adapter]
) -> None:
    from hello_distill.relabel import relabel, wanted

    opened = load(artefact).labels
    for form in PRECISIONS:
        made = relabel(artefact, tmp_path / form, wanted("projector", precision=form))
        again = load(made).labels
        assert again.adapter.precision == form and again.adapter.parameters == opened.adapter.parameters
        expected = opened.adapter.rounded(form)
        for name, value in expected.matrices.items():
            assert torch.equal(again.adapter.matrices[name], value), name
        assert hd.info(made)["labels"]["bytes"] == adapter_bytes(opened.adapter, form)
        names = {path.name for path in (made / "projector").iterdir()}
        weights = "adapter_model.safetensors" if form.startswith("float") else f"adapter_{form}.safetensors"
        assert names == {"adapter_config.json", weights}
        assert set(tensors.read(made / "projector" / weights)) == set(expected.kept)


def test_lower_factors_are_the_best_of_their_rank() -> None:
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(8, 5, 3, 3, generator=generator), torch.randn(6, 8, 1, 1, generator=generator)
    product = b.flatten(1) @ a.flatten(1)
    u, s, v = torch.linalg.svd(product)
    for rank in (1, 3, 6):
        low_a, low_b = budget.lower(a, b, rank)
        assert low_a.shape == (rank, 5, 3, 3) and low_b.shape == (6, rank, 1, 1)
        best = u[:, :rank] @ torch.diag(s[:rank]) @ v[:rank]
        torch.testing.assert_close(low_b.flatten(1) @ low_a.flatten(1), best, atol=1e-5, rtol=1e-4)


def test_cutting_to_the_full_rank_changes_nothing_and_lower_ranks_change_more(
    fitted: tuple[Projector, Adapter], material: Material
) -> None:
    start, adapter = fitted
    reference = predict(restore(start, adapter), material.held.images)
    full = restore(start, budget.cut(adapter, adapter.encoder_rank, adapter.head_rank))
    torch.testing.assert_close(predict(full, material.held.images), reference, atol=1e-4, rtol=1e-4)
    views = labelled_views(material.held, Augment(), restore(start, adapter), 16, seed=0)
    points = budget.curve(start, adapter, views, [(4, 3, "float32"), (2, 2, "float32"), (1, 1, "float32")])
    assert [point.error for point in points] == sorted(point.error for point in points)
    assert points[0].agreement >= 99 and 0 <= points[0].error < points[-1].error / 10
    one = budget.cut(adapter, 1, 1)
    assert all(m.shape[0] == 1 for name, m in one.matrices.items() if "lora_A" in name)
    assert any(f".{HEAD}." in name for name in one.matrices)


def test_a_budget_takes_the_most_faithful_that_fits_and_the_knee_is_the_smallest_good_one() -> None:
    points = [
        budget.Point(8, 8, "float16", 800, 99.9, 0.001),
        budget.Point(8, 8, "int8", 400, 99.6, 0.002),
        budget.Point(4, 4, "float16", 410, 98.0, 0.02),
        budget.Point(4, 4, "int8", 210, 97.0, 0.021),
    ]
    assert budget.choose(points, 1000) == points[0]
    assert budget.choose(points, 799) == points[1]
    assert budget.choose(points, 300) == points[3]
    assert budget.knee(points) == points[1]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("200KB", 200_000),
        ("1.5 MiB", 1_572_864),
        ("4096", 4096),
        ("3k", None),
        ("ten", None),
        ("", None),
        ("9" * 400, None),
    ],
)
def test_sizes_as_people_write_them(text: str, expected: int | None) -> None:
    if expected is None:
        with pytest.raises(InputError, match="no size"):
            budget.parse_bytes(text)
    else:
        assert budget.parse_bytes(text) == expected


def test_an_artefact_keeps_to_its_label_budget_and_shows_the_curve(
    tree: Path, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hello_distill.queries.VIEWS", 32)
    fits: list[int] = []
    fit_queries = stages.fit_queries

    def counted(start: Projector, adapter: Adapter, *others: Any) -> Any:
        fits.append(adapter.encoder_rank)
        return fit_queries(start, adapter, *others)

    monkeypatch.setattr(stages, "fit_queries", counted)
    method = replace(recipe.distiller, projector=replace(recipe.distiller.projector, encoder_rank=8))
    largest = hd.info(distill(str(tree), tmp_path / "free", replace(recipe, distiller=method)))["labels"]["bytes"]
    assert fits.pop() == 8 and not fits
    for limit in (largest // 2, largest // 3):
        made = distill(str(tree), tmp_path / str(limit), replace(recipe, distiller=replace(method, label_bytes=limit)))
        found = hd.info(made)
        assert found["labels"]["bytes"] <= limit
        curve = found["figures"]["fidelity"]
        assert len(curve) == 4 * 2 * 3 and {point["precision"] for point in curve} == {"float16", "int8", "int4"}
        assert found["figures"]["knee"] in curve
        chosen = min((p for p in curve if p["bytes"] <= limit), key=lambda p: p["error"])
        assert chosen["bytes"] == found["labels"]["bytes"]
        adapter = load(made).labels.adapter
        assert (adapter.encoder_rank, adapter.precision) == (chosen["encoder_rank"], chosen["precision"])
        assert (chosen["encoder_rank"], chosen["head_rank"]) != (8, curve[0]["head_rank"])
        assert fits == [8, adapter.encoder_rank], "a form that was cut is fitted on views once more"
        fits.clear()
    least = min(point["bytes"] for point in curve)
    monkeypatch.setattr(stages, "train_teachers", None)  # refused before anything is trained
    with pytest.raises(InputError, match=f"too small: the least projector here takes {least} bytes"):
        distill(str(tree), tmp_path / "x", replace(recipe, distiller=replace(method, label_bytes=least - 1)))
    assert not (tmp_path / "x").exists()
