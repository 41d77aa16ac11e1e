"""What no run can end well with is refused before anything is trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hello_distill import api as pipeline
from hello_distill.distillers.recipe import Recipe
from hello_distill.experiments.comparison import compare
from hello_distill.experiments.continual import continual
from hello_distill.experiments.study import study
from hello_distill.format.fields import LARGEST_COUNT
from hello_distill.recipes import find_comparison, find_continual, find_study
from hello_distill.relabel import wanted
from hello_distill.system.errors import InputError

TOO_LARGE = LARGEST_COUNT + 1
TOLD = f"is {TOO_LARGE}; seeds are 0 or more, and {LARGEST_COUNT} at most"


@pytest.fixture
def untrained(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is trained, and no artefact is opened for it."""

    def never(*_: object, **__: object) -> None:
        raise AssertionError("training began")

    for name in ("distill_material", "students_of", "evaluation_images"):
        monkeypatch.setattr(pipeline, name, never)


def test_seeds_that_no_artefact_can_state(
    untrained: None, artefact: Path, tree: Path, recipe: Recipe, tmp_path: Path
) -> None:
    out, seeds = tmp_path / "out", [0, 1, TOO_LARGE]
    with pytest.raises(InputError, match=f"--seed {TOLD}"):
        pipeline.distill(str(tree), out, recipe.with_changes({"seed": TOO_LARGE}))
    for run in (
        lambda: pipeline.record(artefact, str(tree), out, seeds),
        lambda: pipeline.train(artefact, str(tree), seeds=seeds),
        lambda: pipeline.reproduce(artefact, str(tree), seeds),
        lambda: compare("nowhere", out, find_comparison("small"), ["hello"], ["hard"], [1], ["convnet3"], seeds),
        lambda: continual("nowhere", out, find_continual("small"), ["hello"], [5], [10], seeds),
    ):
        with pytest.raises(InputError, match=f"--seeds {TOLD}"):
            run()
    with pytest.raises(InputError, match=f"--seed {TOLD}"):
        wanted("stored", seed=TOO_LARGE)
    assert wanted("stored", seed=LARGEST_COUNT).seed == LARGEST_COUNT
    assert not out.exists()


@pytest.mark.parametrize(
    ("seeds", "told"),
    [
        ([0, 0, 0], "--seeds names 0 3 times; give each seed once"),
        ([2, 1, 2], "--seeds names 2 twice; give each seed once"),
    ],
)
def test_a_seed_that_is_named_twice(
    untrained: None, seeds: list[int], told: str, artefact: Path, tree: Path, tmp_path: Path
) -> None:
    """Its student would count as several, with a spread of nothing."""
    out = tmp_path / "out"
    for run in (
        lambda: pipeline.record(artefact, str(tree), out, seeds),
        lambda: pipeline.train(artefact, str(tree), seeds=seeds),
        lambda: pipeline.reproduce(artefact, str(tree), seeds),
        lambda: compare("nowhere", out, find_comparison("small"), ["hello"], ["hard"], [1], ["convnet3"], seeds),
        lambda: continual("nowhere", out, find_continual("small"), ["hello"], [5], [10], seeds),
        lambda: study("nowhere", out, find_study("ablation"), seeds=seeds),
    ):
        with pytest.raises(InputError, match=told):
            run()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["teachers", "projector"])
@pytest.mark.parametrize(
    ("crops", "told"),
    [
        ({"scale": [1.0, 0.5]}, "augment.scale`: Value error, must name the smaller number first"),
        ({"scale": [0.5, 1.5]}, "augment.scale.1`: Input should be less than or equal to 1"),
        ({"ratio": [2.0, 0.5]}, "augment.ratio`: Value error, must name the smaller number first"),
        ({"ratio": [0.0, 0.5]}, "augment.ratio.0`: Input should be greater than 0"),
    ],
)
def test_crops_of_teachers_and_projector(
    untrained: None, name: str, crops: dict[str, Any], told: str, tree: Path, recipe: Recipe, tmp_path: Path
) -> None:
    spec = {"augment": crops}
    changes = {"teachers": spec} if name == "teachers" else {"distiller": {"projector": spec}}
    name = name if name == "teachers" else f"distiller.{name}"
    with pytest.raises(InputError, match=f"config: `{name}.{told}"):
        pipeline.distill(str(tree), tmp_path / "a", recipe.with_changes(changes))
    assert list(tmp_path.iterdir()) == []
