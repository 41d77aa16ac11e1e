"""The dear stages of a run, each done when first asked for and then kept: teachers, and fitted projectors.

In memory always; in a folder, too, where one is given, so that a run that was stopped or a second method finds them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from torch import Tensor, nn

from hello_distill import encoders
from hello_distill.data.images import ImageSet, Material
from hello_distill.encoders import Encoder
from hello_distill.format import storage, tensors
from hello_distill.projector import (
    Adapter,
    Projector,
    ProjectorSpec,
    fit_probe,
    fit_projector,
    lora_numbers,
    restore,
    zero_shot,
)
from hello_distill.system import context, distributed, publishing
from hello_distill.system.errors import DivergedError
from hello_distill.system.machine import locked
from hello_distill.teachers import (
    ENCODER_SCALE,
    Ensemble,
    Teachers,
    TeacherSpec,
    encoder_name,
    network,
    only_last,
    public_weights,
    train_teachers,
    weights_bytes,
    with_network,
)
from hello_distill.training.scores import BATCH, percent, top1


class Fitted(NamedTuple):
    """A projector's start and what fitting made of it."""

    encoder: Encoder
    start: Projector
    """Zero-shot, at the logit scale that was fitted with."""
    adapter: Adapter
    """In float32."""
    figures: dict[str, Any]


class Probed(NamedTuple):
    """An encoder with a whole linear head of its own, and what was measured of it."""

    model: nn.Module
    figures: dict[str, Any]


class Stages:
    """Teachers and projectors of one set of training images and one seed."""

    def __init__(
        self,
        material: Material,
        spec: TeacherSpec,
        seed: int,
        folder: Path | None = None,
        more_epochs: Collection[int] = (),
    ) -> None:
        self.material = material
        self.spec = spec
        self.seed = seed
        self.folder = folder
        self.more_epochs = frozenset(more_epochs)
        """Epochs whose checkpoints others that share the folder will ask for: one training keeps them all."""
        self.figures: dict[str, Any] = {}
        """What was measured of the teachers that were asked for, by its name in a manifest."""
        self.projector_figures: dict[str, Any] = {}
        """The same of the last projector."""
        self._teachers: dict[str, Teachers] = {}
        self._fitted: dict[str, Fitted] = {}
        self._diverged: dict[str, DivergedError] = {}

    def teachers(self, name: str | None = None) -> Teachers:
        """The teachers of the spec, or of the same training of another network."""
        name = None if name == self.spec.network else name
        spec = with_network(self.spec, name)
        if spec.network not in self._teachers:
            with self._once(repr(spec)), context.stage(f"teachers {name or ''}".strip()) as stage:
                self._teachers[spec.network] = self._kept_teachers(spec)
                found = self._measure(self._teachers[spec.network])
                stage.figure = (
                    f"top-1 {percent(found['teacher_top1'])} (last epoch), {percent(found['ensemble_top1'])} "
                    f"(mean of epochs {', '.join(map(str, spec.weak_epochs))}) on held-back training images"
                )
            if name is None:
                self.figures |= found
            else:
                self.figures[f"{spec.network}_top1"] = found["teacher_top1"]
        return self._teachers[spec.network]

    def _measure(self, teachers: Teachers) -> dict[str, Any]:
        held = self.material.held
        return {
            "teacher_top1": top1(teachers.observer, held),
            "ensemble_top1": top1(teachers.ensemble, held),
            "teacher_bytes": weights_bytes(teachers.observer),
        }

    def _kept_teachers(self, spec: TeacherSpec) -> Teachers:
        """The run's checkpoints, each in a folder of its own; the observer is that of the last epoch."""
        data, last = self.material.train, spec.optim.epochs
        run = self._place("teachers", only_last(spec), [w.sha256 for w in public_weights(spec.network)])
        if run is None:
            return train_teachers(data, spec, self.seed)
        needed = {*spec.weak_epochs, last}
        with _missing(run, [f"epoch-{epoch}" for epoch in needed]) as missing:
            if missing:
                self._train_and_keep(run, replace(spec, weak_epochs=tuple(sorted(needed | self.more_epochs))))
        return Teachers(
            self._checkpoint(run, spec, last), Ensemble([self._checkpoint(run, spec, e) for e in spec.weak_epochs])
        )

    def _train_and_keep(self, run: Path, spec: TeacherSpec) -> None:
        """Train, and keep the checkpoints that are not there yet."""
        data = self.material.train
        untrained = network(spec.network, len(data.classes), data.side).state_dict()
        publishing.check_room(run, len(spec.weak_epochs) * tensors.size(untrained))
        trained = train_teachers(data, spec, self.seed)
        for epoch, member in zip(spec.weak_epochs, trained.ensemble.members, strict=True):
            _keep(run / f"epoch-{epoch}", {"weights.safetensors": dict(member.state_dict())})

    def _checkpoint(self, run: Path, spec: TeacherSpec, epoch: int) -> nn.Module:
        data = self.material.train
        model = network(spec.network, len(data.classes), data.side)
        model.load_state_dict(tensors.read(run / f"epoch-{epoch}" / "weights.safetensors"))
        return model.to(data.images.device).eval().requires_grad_(False)

    def projector(self, spec: ProjectorSpec) -> Fitted:
        """The projector of Eq. 2-5, fitted to the weak teachers; measured before and after."""
        key = repr(replace(spec, precision="float32"))
        if key not in self._fitted:
            encoder = encoders.load(spec.encoder, spec.size)
            start = zero_shot(encoder, self.material.train.classes, spec).to(self.material.train.images.device)
            figures = {"zero_shot_top1": self._tested(start, "zero-shot")}
            with self._once(key), context.stage("projector") as stage:
                adapter = self._kept_adapter(start, encoder, spec)
                start.scale = adapter.scale
                stage.figure = f"{adapter.parameters:,} numbers fitted, logit scale {adapter.scale:g}"
            before = figures["zero_shot_top1"]
            figures["projector_top1"] = self._tested(restore(start, adapter), "projector", before)
            self._fitted[key] = Fitted(encoder, start, adapter, figures)
            self.projector_figures = figures
        return self._fitted[key]

    def _tested(self, projector: Projector, name: str, before: float | None = None) -> float | None:
        with context.stage(f"{name} test") as stage:
            found = top1(projector, self.material.held, name)
            stage.figure = f"top-1 {percent(found)} on {len(self.material.held)} held-back training images"
            if found is not None and before is not None and found < before:
                stage.figure += (
                    "; WORSE than before fitting: lower its learning rate, "
                    "`distiller.projector.optim.lr` in a --config file"
                )
        return found

    def _kept_adapter(self, start: Projector, encoder: Encoder, spec: ProjectorSpec) -> Adapter:
        weights = [w.sha256 for w in encoder.weights]
        place = self._place("projectors", replace(spec, precision="float32"), self.spec, weights)
        if place is None:
            return self._fit(start, encoder, spec)
        with _missing(place) as missing:
            if missing:
                publishing.check_room(place, 4 * lora_numbers(encoder, spec, len(start.label_head.weight)))
                adapter = self._fit(start, encoder, spec)
                facts = {
                    "convolutions": list(adapter.convolutions),
                    "encoder_rank": adapter.encoder_rank,
                    "head_rank": adapter.head_rank,
                    "scale": adapter.scale,
                    "normalize": adapter.normalize,
                }
                _keep(place, {"adapter.safetensors": adapter.matrices}, {"adapter.json": storage.as_json(facts)})
        facts = json.loads((place / "adapter.json").read_text())
        facts["convolutions"] = tuple(facts["convolutions"])
        matrices = tensors.read(place / "adapter.safetensors")
        return Adapter(matrices, matrices, "float32", **facts)

    def _fit(self, start: Projector, encoder: Encoder, spec: ProjectorSpec) -> Adapter:
        ensemble = Ensemble([*self.teachers().ensemble.members], spec.match)
        return fit_projector(start, encoder, self.material.train, ensemble, spec, self.seed)

    def probe(self, spec: ProjectorSpec, taught: bool, lora: bool) -> Probed:
        """An encoder with a whole head: fitted to the weak teachers or to classes alone, with LoRA or without."""
        with self._once(repr((spec, taught, lora))), context.stage("probe") as stage:
            model, fitted = self._kept_probe(spec, taught, lora)
            found = top1(model, self.material.held, "probe")
            stage.figure = f"{fitted:,} numbers fitted, top-1 {percent(found)} on held-back training images"
        return Probed(model, {"fitted_numbers": fitted, "projector_top1": found})

    def _kept_probe(self, spec: ProjectorSpec, taught: bool, lora: bool) -> tuple[nn.Module, int]:
        data, encoder = self.material.train, encoders.load(spec.encoder, spec.size)
        weights = [w.sha256 for w in encoder.weights]
        place = self._place("probes", replace(spec, precision="float32"), self.spec if taught else None, lora, weights)
        if place is None:
            return self._fit_probe(encoder, spec, taught, lora)
        with _missing(place) as missing:
            if missing:
                trained, fitted = self._fit_probe(encoder, spec, taught, lora)
                facts = {"probe.json": storage.as_json({"fitted_numbers": fitted})}
                _keep(place, {"probe.safetensors": dict(trained.state_dict())}, facts)
        model = network(encoder_name(spec), len(data.classes), data.side)
        model.load_state_dict(tensors.read(place / "probe.safetensors"))
        facts = json.loads((place / "probe.json").read_text())
        return model.to(data.images.device).requires_grad_(False), facts["fitted_numbers"]

    def _fit_probe(self, encoder: Encoder, spec: ProjectorSpec, taught: bool, lora: bool) -> tuple[Projector, int]:
        ensemble = self.teachers().ensemble if taught else None
        how = spec, lora, ENCODER_SCALE, self.seed
        return fit_probe(encoder, self.material.train, ensemble, *how)

    @contextmanager
    def _once(self, what: str) -> Iterator[None]:
        """Raise at once what the same stage came to before: another try would end the same way."""
        if what in self._diverged:
            raise self._diverged[what]
        try:
            yield
        except DivergedError as error:
            self._diverged[what] = error
            raise

    @cached_property
    def _images(self) -> str:
        """The training images' fingerprint; of those in a file it takes minutes."""
        return fingerprint(self.material.train)

    def _place(self, kind: str, *specs: Any) -> Path | None:
        """Where a stage is kept: named by everything that its result depends on."""
        if self.folder is None:
            return None
        what = [repr(spec) for spec in specs]
        digest = hashlib.sha256(json.dumps([what, self.seed, self._images]).encode())
        return self.folder / kind / digest.hexdigest()[:16]


@contextmanager
def _missing(place: Path, parts: Collection[str] = ()) -> Iterator[bool]:
    """Whether a stage, or one of its parts, is still to be made. Another run that wants the same waits meanwhile.

    Of several processes that train together the first asks, and when they leave, all find what it has kept.
    """
    wanted = [place / part for part in parts] or [place]
    with locked(place.with_suffix(".lock")) if distributed.first() else nullcontext():
        yield bool(distributed.followed(float(not all(folder.is_dir() for folder in wanted))))
        distributed.followed(0.0)


def fingerprint(data: ImageSet) -> str:
    """Hash of images, targets and class names; the same for images in memory and in a file."""
    digest = hashlib.sha256(json.dumps([list(data.images.shape), *data.classes]).encode())
    for start in range(0, len(data), BATCH):
        digest.update(data.images[start : start + BATCH].cpu().numpy().data)
    digest.update(data.targets.cpu().numpy().data)
    return digest.hexdigest()


def _keep(
    place: Path, weights: dict[str, dict[str, Tensor]], texts: Mapping[str, bytes] = MappingProxyType({})
) -> None:
    """Write a stage's folder; it appears only when complete.

    Where locks do not hold, another process may have made the same stage: then its folder is as good.
    """
    if not distributed.first():
        return
    needed = sum(tensors.size(content) for content in weights.values()) + sum(map(len, texts.values()))
    with publishing.reserved(place, wait=True) as claim:
        if place.is_dir():
            return
        with publishing.published(claim, needed) as partial:
            for name, content in weights.items():
                tensors.write(partial / name, {key: value.contiguous() for key, value in content.items()})
            for name, text in texts.items():
                (partial / name).write_bytes(text)
