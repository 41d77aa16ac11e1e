"""The demonstration: what the projector's labels are worth on Fashion-MNIST, in a few minutes."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hello_distill.api import check, distill_material, opened, prepare, stages_of
from hello_distill.artifact import Artifact, load, save_relabelled
from hello_distill.data.images import ImageSet
from hello_distill.data.sources import read_test_split
from hello_distill.distillers import method
from hello_distill.distillers.recipe import Recipe
from hello_distill.format import costs, storage
from hello_distill.format.results import Demo, DemoBytes, DemoRow
from hello_distill.format.results.entries import Summary
from hello_distill.relabel import label_source, wanted
from hello_distill.stages import Stages
from hello_distill.stages.kept import PROGRESS, kept_for
from hello_distill.student import train_students
from hello_distill.system.claims import claimed
from hello_distill.system.machine import environment
from hello_distill.system.publishing import published, write
from hello_distill.training.checkpoint import within

DATA = "fashion-mnist"
SEEDS = (0, 1, 2)


def demo(out: str | Path, recipe: Recipe) -> dict[str, Any]:
    """Distil, train twelve students, compare. Leaves `artefact`, `random`, `random-projector` and `table.json` in
    `out`, which appears when all are there.

    A run that was stopped goes on with the stages and students in `.NAME.stages` beside `out`.

    Accuracies are percent on the test split: `mean`, `sd` and `runs` after the last epoch, `best` beside them.
    Raises InputError if `out` exists, and where the run was begun with another machine (`kept_for`).
    """
    with claimed(out), kept_for(out, None) as stages, published(out, 0) as partial:
        return _demo(partial, recipe, stages)


def _demo(folder: Path, recipe: Recipe, stages: Path) -> dict[str, Any]:
    start = time.monotonic()
    check(recipe)
    material = prepare(DATA, recipe)
    random = distill_material(material, recipe, method("random")(), folder / "random")
    store = stages_of(material, recipe, stages)
    distilled = distill_material(material, recipe, recipe.distiller, folder / "artefact", store)
    projected = _projected(random, folder / "random-projector", recipe, store)
    images = load(random, "hard").data
    test = read_test_split(DATA, images.classes, images.side, square=recipe.square)
    students = {
        "random_hard": opened(random, None, "hard"),
        "distilled_hard": opened(distilled, None, "hard"),
        "distilled_projector": opened(distilled, None, "projector"),
        "random_projector": opened(projected, None, "projector"),
    }
    result = Demo(
        data=DATA,
        **_rows(students, test, stages / "students"),
        bytes=sizes(distilled),
        figures=costs.info(distilled)["figures"],
        seeds=list(SEEDS),
        test_images=len(test),
        recipe=recipe.settings(),
        seconds=round(time.monotonic() - start),
        environment=environment(),
    ).content()
    write(folder / "table.json", storage.as_json(result))
    return result


def _rows(students: Mapping[str, Artifact], test: ImageSet, checkpoints: Path) -> dict[str, DemoRow]:
    """Accuracies by what students are trained on; students that are trained are kept until all are."""
    known = repr([artifact.manifest["files"] for artifact in students.values()])
    rows: dict[str, DemoRow] = {}
    with within(checkpoints / f".{hashlib.sha256(known.encode()).hexdigest()[:16]}{PROGRESS}"):
        for name, artifact in students.items():
            scores = train_students(artifact, test, SEEDS, name.replace("_", " "))
            best = Summary.of([score.best for score in scores])
            rows[name] = DemoRow(**Summary.of([score.last for score in scores]).content(), best=best)
    return rows


def _projected(random: Path, out: Path, recipe: Recipe, store: Stages) -> Path:
    """Random images with the labels of a projector that was fitted on views of them, as that of the distilled ones."""
    spec, artifact = recipe.distiller.projector_spec, load(random, "hard")
    assert spec is not None
    kind = wanted("projector", precision=spec.precision)
    labels = label_source(artifact, kind.trained(artifact, store, store, spec), kind)
    return save_relabelled(random, labels, artifact.student, out)


def sizes(folder: Path) -> DemoBytes:
    """Bytes of an artefact's images and projector, and of the stored labels, with their views, that it replaces."""
    info = costs.info(folder)
    stored = next(rung["bytes"] for rung in info["ladder"] if rung["labels"] == "stored float16")
    return DemoBytes(images=info["images"]["bytes"], projector=info["labels"]["bytes"], stored_labels=stored)
