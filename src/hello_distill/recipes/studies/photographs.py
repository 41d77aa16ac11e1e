"""Studies of photographs, of ResNet-18 and of the recipe `cpu`."""

from __future__ import annotations

from dataclasses import replace

from hello_distill.distillers.hello import HeLlO
from hello_distill.experiments.grid import Comparison, Contender
from hello_distill.experiments.study import Study
from hello_distill.format.results.grids import THE_RECIPE
from hello_distill.recipes.hello import cpu
from hello_distill.recipes.studies.base import hello_of
from hello_distill.teachers import TeacherSpec

TWICE = "twice the steps"


def enough(count: int) -> Study:
    """Is the recipe `cpu` long enough for so many photographs? By its steps and by twice as many, IPC 10.

    Twice: of teachers, projector, image update, each round of query fitting, and students. 95 % of the accuracy of
    twice the steps is what the recipe is to reach, whatever the number of photographs.
    """
    recipe = cpu(ipc=10)
    method = hello_of(recipe)
    batch_size, epochs = recipe.student.optim.batch_size, recipe.student_for(10 * 10).optim.epochs
    comparison = Comparison(
        replace(recipe, train_limit=count, student=replace(recipe.student, evaluations=1)),
        {THE_RECIPE: Contender(method), TWICE: Contender(_twice(method), _twice_taught(recipe.teachers))},
        method.projector,
        {10: (epochs, batch_size)},
        labels={},
    )
    question = f"Is the recipe for two cores long enough for {count:,} photographs?"
    return Study(question, None, comparison, {}, {TWICE: {"epochs": 2 * epochs}}, {recipe.student.network: {}})


def steps_500() -> Study:
    """500 photographs of 64 pixels, IPC 10, by the steps of `cpu` and by twice as many.

    hello-distill study DATA --recipe steps-500 --out results/steps_500.json
    """
    return enough(500)


def steps_3000() -> Study:
    """The same of 3,000 photographs.

    hello-distill study DATA --recipe steps-3000 --out results/steps_3000.json
    """
    return enough(3_000)


def steps_10000() -> Study:
    """The same of 10,000 photographs, or of all that there are.

    hello-distill study DATA --recipe steps-10000 --out results/steps_10000.json
    """
    return enough(10_000)


def _twice(method: HeLlO) -> HeLlO:
    spec, update = method.projector, method.update
    assert spec.steps is not None and spec.queries is not None and update is not None
    queries = replace(spec.queries, steps=2 * spec.queries.steps)
    projector = replace(spec, steps=2 * spec.steps, queries=queries)
    return replace(method, projector=projector, update=replace(update, steps=2 * update.steps))


def _twice_taught(spec: TeacherSpec) -> TeacherSpec:
    assert spec.steps is not None
    return replace(spec, steps=2 * spec.steps)
