"""Networks that are shipped as they are, in the place of images: `hello-distill compare --models`.

Whoever can ship a network needs no distilled images and no student, so such rows stand beside those of students, with
their accuracy on the same test images and their bytes. `head` is a linear head on the frozen public encoder, from zero
and without bias, fitted to the classes of the original training images in as many steps as the projector, its rate
tried as the projector's is. Labels that are made online name the network that makes them, as it was fitted on the
original images: the projector before query fitting, and the teacher's last epoch, each in its own precision.

Each is fitted once, with the comparison's seed. A head on distilled images is no such row: who has the images trains
it, as a student of the name `encoder/lite@64`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from hello_distill.experiments.grid import HEAD, Bench, Comparison, kind_of, with_settings
from hello_distill.experiments.ledger import Ledger
from hello_distill.experiments.tuning import fit_settings
from hello_distill.format import sizes
from hello_distill.format.results import grids
from hello_distill.format.results.entries import Summary
from hello_distill.format.results.grids import GridResult, Model
from hello_distill.labels.sources.projector import ProjectorLabels, describe
from hello_distill.labels.sources.teacher import taught
from hello_distill.projector import Projector
from hello_distill.system import context
from hello_distill.system.cache import locked
from hello_distill.system.errors import InputError, nearest
from hello_distill.system.machine import commit
from hello_distill.teachers import Ensemble, encoder_name, public_bytes
from hello_distill.training.scores import percent, top1
from hello_distill.types import Classifier


class Deployed(NamedTuple):
    """A network that is shipped, its bytes, those of the public weights beside it, and settings that were tried."""

    classifier: Classifier
    bytes: int
    public: int
    settings: Mapping[str, Any]


def known(comparison: Comparison) -> list[str]:
    """Names of all models that a comparison has."""
    return [HEAD, *dict.fromkeys(name for name in (*MAKERS, *comparison.labels) if kind_of(name) in MAKERS)]


def check(comparison: Comparison, models: Sequence[str]) -> None:
    """Raise InputError for a model that a comparison does not have, and where its encoder can have no head."""
    for name in models:
        if name not in known(comparison):
            raise InputError(f"unknown model {name!r}: {nearest(name, known(comparison))}")
    if HEAD in models:
        encoder_name(comparison.projector)


def fill(bench: Bench, ledger: Ledger, models: Sequence[str]) -> None:
    """Fit, test and keep the models that are not there. Of several processes one fits each."""
    for name in models:
        with locked(ledger.claims / f"model-{name}"):
            if not any(model.model == name for model in _comparison(ledger.read()).models):
                ledger.change(partial(_add, model=_tested(bench, ledger, name)))
                ledger.add_stages(bench.figures())


def _comparison(result: GridResult) -> grids.Comparison:
    assert isinstance(result, grids.Comparison)
    return result


def _add(result: GridResult, model: Model) -> None:
    _comparison(result).add_model(model)


def _tested(bench: Bench, ledger: Ledger, name: str) -> Model:
    start = time.monotonic()
    with context.stage(f"model {name}") as stage:
        made = deployed(bench, name, fit_settings(bench, ledger, HEAD) if name == HEAD else {})
        accuracy = top1(made.classifier, bench.test(), name)
        assert accuracy is not None
        stage.figure = f"{made.bytes:,} bytes, top-1 {percent(accuracy)} on test images"
    return Model(
        model=name,
        settings=dict(made.settings),
        seeds=[bench.comparison.base.seed],
        commits=[commit() or "unknown"],
        seconds=round(time.monotonic() - start),
        bytes=made.bytes,
        public=made.public,
        top1=Summary.of([accuracy]),
    )


def deployed(bench: Bench, name: str, settings: Mapping[str, float]) -> Deployed:
    """The model of that name; a head is fitted with the projector's settings but for these."""
    return _head(bench, settings) if name == HEAD else MAKERS[kind_of(name)](bench, name)


def _head(bench: Bench, settings: Mapping[str, float]) -> Deployed:
    """Its weights are rounded to float16, in which they are shipped."""
    spec = with_settings(bench.comparison.projector, settings)
    model = bench.stages().probe(spec, taught=False, lora=False).model
    assert isinstance(model, Projector)
    weight = model.label_head.weight
    weight.copy_(weight.half())
    size = sizes.safetensors_bytes({"label_head.weight": ("F16", tuple(weight.shape))})
    return Deployed(model, size, public_bytes(encoder_name(spec)), settings)


def _projector(bench: Bench, name: str) -> Deployed:
    fitted = bench.stages().projector(bench.comparison.projector)
    templates = bench.comparison.projector.templates
    source = ProjectorLabels(fitted.start, fitted.adapter, describe(fitted.encoder), templates)
    kept = bench.kind(name).make(None, None, source)
    return Deployed(kept.projector, kept.size(), sum(weights.bytes for weights in fitted.encoder.weights), {})


def _teacher(bench: Bench, name: str) -> Deployed:
    stages = bench.stages()
    kept = bench.kind(name).make(None, None, taught(stages, bench.material.train.side))
    return Deployed(Ensemble(kept.members), kept.size(), sum(map(public_bytes, set(kept.networks))), {})


MAKERS: dict[str, Callable[[Bench, str], Deployed]] = {"projector": _projector, "teacher": _teacher}
"""By kind of labels, how the network that makes them is had."""
