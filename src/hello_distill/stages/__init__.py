"""The costly stages of a run, each computed when first asked for and then cached: teachers and fitted projectors.

In memory always; in a folder, too, where one is given, for a run that goes on after a stop, and for other methods.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from hello_distill import encoders
from hello_distill.data.images import ImageSet, Material
from hello_distill.data.parquet import once_encoded
from hello_distill.encoders.encoder import Encoder
from hello_distill.format import sizes, tensors
from hello_distill.format.specs import Augment, Codec, Queries
from hello_distill.projector import (
    Adapter,
    Projector,
    ProjectorSpec,
    fit_probe,
    fit_projector,
    lora_numbers,
    restore,
    untrained,
    zero_shot,
)
from hello_distill.queries import ROUND, UNSEEN, Views, fit_queries, labelled_views, on_views
from hello_distill.stages.given import Fitted, Probed, alone, length, log_checkpoints, log_held_out, steps_taken
from hello_distill.stages.kept import Computed, Kept, fingerprint, read
from hello_distill.system import context, room
from hello_distill.system.errors import DivergedError
from hello_distill.teachers import (
    ENCODER_SCALE,
    Ensemble,
    Teachers,
    TeacherSpec,
    encoder_name,
    kept_layout,
    network,
    only_last,
    public_weights,
    summary,
    train_teachers,
    weights_bytes,
    with_network,
)
from hello_distill.training.folding import without_norms
from hello_distill.training.own import OwnTeacher, open_teachers
from hello_distill.training.rounds import described, in_rounds
from hello_distill.training.scores import Faithfulness, in_precision, percent, top1
from hello_distill.types import Classifier

STUDENTS_VIEWS = Augment()
LOSSLESS = Codec("png")
JUDGED = 50
"""Views in a batch that rounds of Eq. 5 are judged by."""
ADAPTER_FACTS = ("convolutions", "encoder_rank", "head_rank", "scale", "normalize")
"""What an adapter is beside its matrices."""


class Stages:
    """Teachers and projectors of one set of training images and one seed."""

    def __init__(
        self,
        material: Material,
        spec: TeacherSpec,
        seed: int,
        folder: Path | None = None,
        more_epochs: Collection[int] = (),
        augment: Augment = STUDENTS_VIEWS,
        own: Sequence[OwnTeacher] | None = None,
        codec: Codec = LOSSLESS,
    ) -> None:
        """`own` are the teachers of the spec's sources for these classes, where they are open already; `codec` is how
        distilled images will be kept."""
        self.material = material
        self.spec = spec.for_images(len(material.train))
        self.seed = seed
        self._kept = Kept(folder, material.train, seed)
        self.more_epochs = frozenset(more_epochs)
        """Epochs whose checkpoints others that share the folder will ask for: one training keeps them all."""
        self.augment = augment
        """The views that students will draw, which labels are for."""
        self.figures: dict[str, Any] = {}
        """What was measured of the teachers that were asked for, by its name in a manifest."""
        self.projector_figures: dict[str, Any] = {}
        """The same of the last projector."""
        self._teachers: dict[str, Teachers] = {}
        self._fitted: dict[str, Fitted] = {}
        self._queried: dict[str, Adapter] = {}
        self._diverged: dict[str, DivergedError] = {}
        self._own = own
        self._codec = codec

    def teachers(self, name: str | None = None) -> Teachers:
        """The teachers of the spec, or of the same training of another network."""
        name = None if name == self.spec.network else name
        spec = with_network(self.spec, name)
        if spec.network not in self._teachers:
            with self._failing_again(repr(spec)), context.stage(f"teachers {name or ''}".strip()) as stage:
                self._teachers[spec.network] = self._cached_teachers(spec)
                measured = self._measure(self._teachers[spec.network])
                log_checkpoints(spec, self._teachers[spec.network], self.material)
                stage.figure = summary(spec, measured, len(self.material.train))
            if name is None:
                self.figures |= measured
            else:
                self.figures[f"{spec.network}_top1"] = measured["teacher_top1"]
        return self._teachers[spec.network]

    def judge(self) -> Classifier:
        """The observer as it scores patches: in the precision of its training."""
        return in_precision(self.teachers().observer, self.spec.precision)

    @cached_property
    def own(self) -> Sequence[OwnTeacher]:
        """The teachers that were brought along, in place of a training."""
        return open_teachers(self.spec.sources, self.material) if self._own is None else self._own

    def brought(self) -> list[dict[str, Any]]:
        """What a manifest says of own teachers that were asked for."""
        return [own.described() for own in self.own] if self._teachers else []

    @property
    def taught_by(self) -> TeacherSpec | list[str]:
        """What names the teachers among all that a stage depends on: their training, or the files' hashes."""
        return [own.key for own in self.own] if self.spec.sources else self.spec

    @property
    def observer_name(self) -> str:
        """What people call the observer."""
        return self.own[0].source.name if self.spec.sources else self.spec.network

    def _measure(self, teachers: Teachers) -> dict[str, Any]:
        held = self.material.held
        return {
            "teacher_top1": top1(in_precision(teachers.observer, self.spec.precision), held),
            "ensemble_top1": top1(in_precision(teachers.ensemble, self.spec.precision), held),
            "teacher_bytes": weights_bytes(teachers.observer),
        }

    def _cached_teachers(self, spec: TeacherSpec) -> Teachers:
        """A training's checkpoints, each in a folder of its own; the observer is that of the last epoch.

        From the cache, where there is one, else trained now; or those that were brought along.
        """
        last = spec.optim.epochs
        if spec.sources:
            return Teachers(self.own[0].model, Ensemble([own.model for own in self.own]))
        if self._kept.folder is None:
            return train_teachers(self.material.train, spec, self.seed)
        # `only_last`: which of its checkpoints are weak teachers does not change a training
        specs = only_last(spec), [w.sha256 for w in public_weights(spec.network)]
        needed = {*spec.weak_epochs, last}

        def make(folder: Path) -> None:
            self._write_checkpoints(folder, replace(spec, weak_epochs=tuple(sorted(needed | self.more_epochs))))

        folder = self._kept.made("teachers", specs, make, [f"epoch-{epoch}" for epoch in needed])
        model = self._network(spec.network)
        observer, *members = (_loaded(model, read(folder / f"epoch-{epoch}")) for epoch in (last, *spec.weak_epochs))
        return Teachers(observer, Ensemble(members))

    def _write_checkpoints(self, folder: Path, spec: TeacherSpec) -> None:
        """Train, and write the checkpoints that are not there yet."""
        data = self.material.train
        one = 2 * sizes.safetensors_bytes(kept_layout(spec.network, len(data.classes), data.side))  # in float32
        room.check_room(folder, len(spec.weak_epochs) * one)
        trained = train_teachers(data, spec, self.seed)
        for epoch, member in zip(spec.weak_epochs, trained.ensemble.members, strict=True):
            self._kept.write(folder / f"epoch-{epoch}", dict(member.state_dict()))

    def _network(self, name: str) -> nn.Module:
        data = self.material.train
        return network(name, len(data.classes), data.side).to(data.images.device)

    def projector(self, spec: ProjectorSpec, data: ImageSet | None = None, earlier: Adapter | None = None) -> Fitted:
        """The projector of Eq. 2-5, fitted to the weak teachers; measured before and after.

        `data` are images of the same classes to fit it on (None: the training images), `earlier` an adapter for a head
        of these classes, from which LoRA goes on (None: from zero).
        """
        origin = (*([] if data is None else [fingerprint(data)]), *([] if earlier is None else [earlier.fingerprint()]))
        data = self.material.train if data is None else data
        key = repr((alone(spec), *origin))
        if key not in self._fitted:
            encoder = encoders.load(spec.encoder, spec.size)
            start = zero_shot(encoder, self.material.train.classes, spec).to(self.material.train.images.device)
            figures = {"zero_shot_top1": self._tested(in_precision(start, spec.optim.precision), "zero-shot")}
            with self._failing_again(key), context.stage("projector") as stage:
                adapter, errors = self._cached_adapter(start, encoder, spec, data, earlier, origin)
                start.scale = adapter.scale  # not set yet where the adapter came from the cache
                stage.figure = f"{adapter.parameters:,} numbers in {length(spec, len(data), errors)}"
                stage.figure += f"; logit scale {adapter.scale:g}"
            before = figures["zero_shot_top1"]
            fitted = in_precision(restore(start, adapter), spec.optim.precision)
            figures["projector_top1"] = self._tested(fitted, "projector", before)
            steps = steps_taken(spec, len(data), errors)
            log_held_out("projector", {0: before, steps: figures["projector_top1"]})
            self._fitted[key] = Fitted(encoder, start, adapter, figures, origin)
            self.projector_figures = figures
        return self._fitted[key]

    def _tested(self, projector: Classifier, name: str, before: float | None = None) -> float | None:
        with context.stage(f"{name} test") as stage:
            accuracy = top1(projector, self.material.held, name)
            stage.figure = f"top-1 {percent(accuracy)} on {len(self.material.held)} held-out training images"
            if accuracy is not None and before is not None and accuracy < before:
                stage.figure += (
                    "; WORSE than before fitting: lower its learning rate, `distiller.projector.optim.lr`, or give it "
                    "more steps, `distiller.projector.steps`, in a --config file"
                )
        return accuracy

    def _cached_adapter(
        self,
        start: Projector,
        encoder: Encoder,
        spec: ProjectorSpec,
        data: ImageSet,
        earlier: Adapter | None,
        origin: Sequence[str],
    ) -> tuple[Adapter, list[float]]:
        """The adapter, and the relative errors on views of held-out images where there are rounds: see `in_rounds`."""
        specs = alone(spec), self.taught_by, [w.sha256 for w in encoder.weights], *origin
        needed = 4 * lora_numbers(encoder, spec, len(start.label_head.weight))

        def compute() -> Computed:
            members = [*self.teachers().ensemble.members]
            ensemble = without_norms(Ensemble(members, spec.match))  # of the spec's own mean
            first = untrained(start, encoder, data, ensemble, spec, self.seed) if earlier is None else earlier

            def fitted(number: int, best: Adapter) -> Adapter:
                seed = self.seed + (number - 1) * ROUND
                what = "projector" if spec.rounds == 1 else f"projector, round {number}"
                one = replace(alone(spec), rounds=1, gain=0.0), *specs[1:], number, best.fingerprint()
                fit = partial(fit_projector, start, encoder, data, ensemble, spec, seed, best, what)
                matrices, _ = self._kept.computed("rounds", one, needed, lambda: (fit().matrices, {}))
                return replace(best, kept=matrices, matrices=matrices, precision="float32")

            if spec.rounds == 1:
                adapter, errors = fitted(1, first), list[float]()
            else:
                judged = self._judged(start, ensemble)
                adapter, errors = in_rounds(first, fitted, judged, spec.rounds, spec.gain, "projector")
            return adapter.matrices, {**{name: getattr(adapter, name) for name in ADAPTER_FACTS}, "errors": errors}

        matrices, facts = self._kept.computed("projectors", specs, needed, compute)
        errors = facts.pop("errors")
        return Adapter(matrices, matrices, "float32", **{**facts, "convolutions": tuple(facts["convolutions"])}), errors

    def _judged(self, start: Projector, ensemble: Classifier) -> Callable[[Adapter], Faithfulness]:
        """How near an adapter's labels are to the weak teachers' on views, as students draw them, of images that it
        was not fitted on; of training images where none are held out."""
        judged = self.material.held if len(self.material.held) else self.material.train
        views = labelled_views(judged, self.augment, ensemble, JUDGED, UNSEEN + self.seed)
        return lambda adapter: on_views(restore(start, adapter), views)

    def queried(self, spec: ProjectorSpec, fitted: Fitted, adapter: Adapter, images: ImageSet) -> Adapter:
        """The adapter, in float32, after it was fitted on the views of distilled images that students will draw.

        `adapter` is `fitted`'s, or a cut of it. Where the spec has no query fitting it is given back as it is.
        """
        queries = spec.queries
        if queries is None:
            return adapter

        def compute() -> Computed:
            teacher = without_norms(getattr(self.teachers(), queries.target))
            refitted, facts = fit_queries(fitted.start, adapter, images, teacher, queries, self.augment, self.seed)
            return refitted.matrices, facts

        weights = [w.sha256 for w in fitted.encoder.weights]
        ranks = adapter.encoder_rank, adapter.head_rank
        asked = fingerprint(images), *fitted.origin
        specs = replace(spec, precision="float32"), self.taught_by, self.augment, weights, ranks, *asked
        if (key := repr(specs)) not in self._queried:
            with self._failing_again(key), context.stage("query fitting") as stage:
                matrices, facts = self._kept.computed("queries", specs, tensors.size(adapter.matrices), compute)
                stage.figure = f"{facts['steps']} steps, {described(facts['errors'], queries.gain)}"
            self._queried[key] = replace(adapter, kept=matrices, matrices=matrices)
        return self._queried[key]

    def blocks(self, kind: str, specs: Sequence[Any], total: int, make: Callable[[int], Tensor]) -> list[Tensor]:
        """Independent pieces of a method's work, shared among processes and kept (`Kept.blocks`)."""
        return self._kept.blocks(kind, (*specs, self.taught_by), total, make)

    def as_kept(self, images: ImageSet) -> ImageSet:
        """Distilled images as students will see them: what a lossy codec leaves of them."""
        if self._codec.format == LOSSLESS.format:
            return images
        return once_encoded(images, self._codec.encode, self._codec.format)

    def unseen_views(self, spec: ProjectorSpec, images: ImageSet, number: int) -> Views:
        """Views of distilled images that no fit and no round has been judged by, with the labels of the projector's
        teacher; another `number` above 1 gives others."""
        queries = spec.queries or Queries(target="ensemble")
        teacher = getattr(self.teachers(), queries.target)
        return labelled_views(images, self.augment, teacher, queries.batch_size, number * UNSEEN + self.seed)

    def faithful(self, spec: ProjectorSpec, labeller: Classifier, images: ImageSet) -> dict[str, float]:
        """Figures of how well a labeller imitates its teacher on views that nothing was chosen by.

        `labels_on_held_out` is its top-1 on held-out training images: what query fitting gives up on other images.
        """
        measured = on_views(labeller, self.unseen_views(spec, images, number=2))
        figures = {"view_agreement": measured.agreement, "view_error": measured.error}
        held = top1(labeller, self.material.held)
        return figures if held is None else {**figures, "labels_on_held_out": held}

    def probe(self, spec: ProjectorSpec, taught: bool, lora: bool) -> Probed:
        """An encoder with a whole head: fitted to the weak teachers or to classes alone, with LoRA or without."""
        encoder = encoders.load(spec.encoder, spec.size)

        def compute() -> Computed:
            ensemble = self.teachers().ensemble if taught else None
            trained, fitted = fit_probe(encoder, self.material.train, ensemble, spec, lora, ENCODER_SCALE, self.seed)
            return dict(trained.state_dict()), {"fitted_numbers": fitted}

        weights = [w.sha256 for w in encoder.weights]
        specs = alone(spec), self.taught_by if taught else None, lora, weights
        with self._failing_again(repr((spec, taught, lora))), context.stage("probe") as stage:
            state, figures = self._kept.computed("probes", specs, 0, compute)
            model = _loaded(self._network(encoder_name(spec)), state)
            accuracy = top1(in_precision(model, spec.optim.precision), self.material.held, "probe")
            fitted = figures["fitted_numbers"]
            stage.figure = f"{fitted:,} numbers fitted, top-1 {percent(accuracy)} on held-out training images"
        return Probed(model, {"fitted_numbers": fitted, "projector_top1": accuracy})

    @contextmanager
    def _failing_again(self, what: str) -> Iterator[None]:
        """Remember how a stage diverged, and raise that at once when it is asked for again."""
        if what in self._diverged:
            raise self._diverged[what]
        try:
            yield
        except DivergedError as error:
            self._diverged[what] = error
            raise


def _loaded(model: nn.Module, weights: Mapping[str, Tensor]) -> nn.Module:
    """Another network like `model`, with these weights, that is not to be trained."""
    made = copy.deepcopy(model)
    made.load_state_dict(weights)
    return made.eval().requires_grad_(False)
