"""The costly stages of a run, each computed when first asked for and then cached: teachers and fitted projectors.

In memory always; in a folder, too, where one is given, for a run that goes on after a stop, and for other methods.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from torch import Tensor, nn

from hello_distill import encoders
from hello_distill.data.images import ImageSet, Material
from hello_distill.encoders.encoder import Encoder
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
from hello_distill.system import cache, context, distributed, publishing, room
from hello_distill.system.errors import DivergedError
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

ADAPTER_FACTS = ("convolutions", "encoder_rank", "head_rank", "scale", "normalize")
"""What an adapter is beside its matrices."""


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
                self._teachers[spec.network] = self._cached_teachers(spec)
                found = self._measure(self._teachers[spec.network])
                stage.figure = (
                    f"top-1 {percent(found['teacher_top1'])} (last epoch), {percent(found['ensemble_top1'])} "
                    f"(mean of epochs {', '.join(map(str, spec.weak_epochs))}) on held-out training images"
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

    def _cached_teachers(self, spec: TeacherSpec) -> Teachers:
        """A training's checkpoints, each in a folder of its own; the observer is that of the last epoch."""
        last = spec.optim.epochs
        if self.folder is None:
            return train_teachers(self.material.train, spec, self.seed)
        specs = only_last(spec), [w.sha256 for w in public_weights(spec.network)]
        needed = {*spec.weak_epochs, last}

        def make(folder: Path) -> None:
            self._write_checkpoints(folder, replace(spec, weak_epochs=tuple(sorted(needed | self.more_epochs))))

        folder = self._cached("teachers", specs, make, [f"epoch-{epoch}" for epoch in needed])
        observer, *members = (self._checkpoint(folder, spec, epoch) for epoch in (last, *spec.weak_epochs))
        return Teachers(observer, Ensemble(members))

    def _write_checkpoints(self, folder: Path, spec: TeacherSpec) -> None:
        """Train, and write the checkpoints that are not there yet."""
        data = self.material.train
        untrained = network(spec.network, len(data.classes), data.side).state_dict()
        room.check_room(folder, len(spec.weak_epochs) * tensors.size(untrained))
        trained = train_teachers(data, spec, self.seed)
        for epoch, member in zip(spec.weak_epochs, trained.ensemble.members, strict=True):
            _write(folder / f"epoch-{epoch}", {"weights.safetensors": dict(member.state_dict())})

    def _checkpoint(self, folder: Path, spec: TeacherSpec, epoch: int) -> nn.Module:
        return self._network(spec.network, folder / f"epoch-{epoch}" / "weights.safetensors").eval()

    def _network(self, name: str, weights: Path) -> nn.Module:
        data = self.material.train
        model = network(name, len(data.classes), data.side)
        model.load_state_dict(tensors.read(weights))
        return model.to(data.images.device).requires_grad_(False)

    def projector(self, spec: ProjectorSpec) -> Fitted:
        """The projector of Eq. 2-5, fitted to the weak teachers; measured before and after."""
        key = repr(replace(spec, precision="float32"))
        if key not in self._fitted:
            encoder = encoders.load(spec.encoder, spec.size)
            start = zero_shot(encoder, self.material.train.classes, spec).to(self.material.train.images.device)
            figures = {"zero_shot_top1": self._tested(start, "zero-shot")}
            with self._once(key), context.stage("projector") as stage:
                adapter = self._cached_adapter(start, encoder, spec)
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
            stage.figure = f"top-1 {percent(found)} on {len(self.material.held)} held-out training images"
            if found is not None and before is not None and found < before:
                stage.figure += (
                    "; WORSE than before fitting: lower its learning rate, "
                    "`distiller.projector.optim.lr` in a --config file"
                )
        return found

    def _cached_adapter(self, start: Projector, encoder: Encoder, spec: ProjectorSpec) -> Adapter:
        if self.folder is None:
            return self._fit(start, encoder, spec)

        def make(folder: Path) -> None:
            room.check_room(folder, 4 * lora_numbers(encoder, spec, len(start.label_head.weight)))
            adapter = self._fit(start, encoder, spec)
            facts = {name: getattr(adapter, name) for name in ADAPTER_FACTS}
            _write(folder, {"adapter.safetensors": adapter.matrices}, {"adapter.json": storage.as_json(facts)})

        specs = replace(spec, precision="float32"), self.spec, [w.sha256 for w in encoder.weights]
        folder = self._cached("projectors", specs, make)
        facts = json.loads((folder / "adapter.json").read_text())
        facts["convolutions"] = tuple(facts["convolutions"])
        matrices = tensors.read(folder / "adapter.safetensors")
        return Adapter(matrices, matrices, "float32", **facts)

    def _fit(self, start: Projector, encoder: Encoder, spec: ProjectorSpec) -> Adapter:
        ensemble = Ensemble([*self.teachers().ensemble.members], spec.match)
        return fit_projector(start, encoder, self.material.train, ensemble, spec, self.seed)

    def probe(self, spec: ProjectorSpec, taught: bool, lora: bool) -> Probed:
        """An encoder with a whole head: fitted to the weak teachers or to classes alone, with LoRA or without."""
        with self._once(repr((spec, taught, lora))), context.stage("probe") as stage:
            model, fitted = self._cached_probe(spec, taught, lora)
            found = top1(model, self.material.held, "probe")
            stage.figure = f"{fitted:,} numbers fitted, top-1 {percent(found)} on held-out training images"
        return Probed(model, {"fitted_numbers": fitted, "projector_top1": found})

    def _cached_probe(self, spec: ProjectorSpec, taught: bool, lora: bool) -> tuple[nn.Module, int]:
        encoder = encoders.load(spec.encoder, spec.size)
        if self.folder is None:
            return self._fit_probe(encoder, spec, taught, lora)

        def make(folder: Path) -> None:
            trained, fitted = self._fit_probe(encoder, spec, taught, lora)
            facts = {"probe.json": storage.as_json({"fitted_numbers": fitted})}
            _write(folder, {"probe.safetensors": dict(trained.state_dict())}, facts)

        weights = [w.sha256 for w in encoder.weights]
        specs = replace(spec, precision="float32"), self.spec if taught else None, lora, weights
        folder = self._cached("probes", specs, make)
        facts = json.loads((folder / "probe.json").read_text())
        return self._network(encoder_name(spec), folder / "probe.safetensors"), facts["fitted_numbers"]

    def _fit_probe(self, encoder: Encoder, spec: ProjectorSpec, taught: bool, lora: bool) -> tuple[Projector, int]:
        ensemble = self.teachers().ensemble if taught else None
        return fit_probe(encoder, self.material.train, ensemble, spec, lora, ENCODER_SCALE, self.seed)

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

    def _cached(
        self, kind: str, specs: Sequence[Any], make: Callable[[Path], None], parts: Collection[str] = ()
    ) -> Path:
        """The folder of a stage, named by all that its result depends on; `make` writes it, or its missing parts."""
        assert self.folder is not None
        named = [[repr(spec) for spec in specs], self.seed, self._images]
        folder = self.folder / kind / hashlib.sha256(json.dumps(named).encode()).hexdigest()[:16]
        return cache.once(folder, lambda: make(folder), parts, together=True)


def fingerprint(data: ImageSet) -> str:
    """Hash of images, targets and class names; the same for images in memory and in a file."""
    digest = hashlib.sha256(json.dumps([list(data.images.shape), *data.classes]).encode())
    for start in range(0, len(data), BATCH):
        digest.update(data.images[start : start + BATCH].cpu().numpy().data)
    digest.update(data.targets.cpu().numpy().data)
    return digest.hexdigest()


def _write(
    folder: Path, weights: dict[str, dict[str, Tensor]], texts: Mapping[str, bytes] = MappingProxyType({})
) -> None:
    """Write a stage's folder, which appears only when complete, unless it is there."""
    if folder.is_dir() or not distributed.first():
        return
    needed = sum(tensors.size(content) for content in weights.values()) + sum(map(len, texts.values()))
    with publishing.published(folder, needed) as partial:
        for name, content in weights.items():
            tensors.write(partial / name, {key: value.contiguous() for key, value in content.items()})
        for name, text in texts.items():
            (partial / name).write_bytes(text)
