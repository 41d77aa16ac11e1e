"""HeLlO: Algorithm 1, lines 3-11."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import Any

from hello_distill.artifact import Distilled
from hello_distill.data.images import ImageSet, Material
from hello_distill.data.mapped import in_memory
from hello_distill.distillers.base import Distiller, register
from hello_distill.distillers.lic import LIC
from hello_distill.distillers.rded import Patches
from hello_distill.encoders.encoder import Encoder
from hello_distill.labels.sources import budget
from hello_distill.labels.sources.projector import ProjectorLabels, describe
from hello_distill.projector import Adapter, ProjectorSpec, lora_numbers, restore
from hello_distill.stages import Stages
from hello_distill.stages.given import Fitted
from hello_distill.stages.kept import fingerprint
from hello_distill.system import context
from hello_distill.teachers import TeacherSpec


@register("hello")
@dataclass(frozen=True)
class HeLlO(Distiller):
    """Images from patches, moved by Eq. 7; labels from a projector (Yu et al., arXiv 2408.08201)."""

    labels = "projector"
    patches: Patches = field(default_factory=Patches)
    projector: ProjectorSpec = field(default_factory=ProjectorSpec)
    update: LIC | None = field(default_factory=LIC)
    label_bytes: int | None = None
    """At most so many bytes for the projector: its ranks are cut and its precision chosen to fit. None: as fitted."""

    def __call__(self, material: Material, stages: Stages, ipc: int, seed: int) -> Distilled:
        self.check(material, ipc)
        mosaics = self.patches(material.train, stages.judge(), ipc, seed, stages.blocks)  # line 3: Eq. 6
        fitted = stages.projector(self.projector)  # lines 4-8: Eq. 2-5
        images, moved = self._moved(mosaics, fitted, stages)  # lines 9-11: Eq. 7
        seen = stages.as_kept(images)
        queried = stages.queried(self.projector, fitted, fitted.adapter, seen)  # ours
        adapter, figures = self._stored_form(stages, fitted, queried, seen)
        # merges the rounded adapter: what students see is what is stored
        labels = ProjectorLabels(fitted.start, adapter, describe(fitted.encoder), self.projector.templates)
        figures |= stages.faithful(self.projector, labels.projector, seen)
        return Distilled(images, labels, {**stages.figures, **fitted.figures, **figures, **moved})

    def check(self, material: Material, ipc: int) -> None:
        """Raise InputError for settings and images that do not suit each other."""
        self.patches.check(material.train, ipc)
        if self.update is not None:
            self.update.check(material.train.side, self.patches.factor)
        if self.label_bytes is not None:
            budget.check_limit(self.label_bytes, self.projector, len(material.train.classes))

    @property
    def projector_spec(self) -> ProjectorSpec:
        return self.projector

    def with_projector(self, projector: ProjectorSpec) -> HeLlO:
        return replace(self, projector=projector)

    def with_label_bytes(self, limit: int) -> HeLlO:
        """The same method with a budget for the projector, fitted at twice the ranks to be cut from.

        Where the head's rank is left to its rule, it stays: that rank is as high as pays. A method that has a budget
        already is fitted at high ranks, and takes the new budget as it is.
        """
        spec = self.projector
        if self.label_bytes is None:
            head = spec.head_rank and 2 * spec.head_rank
            spec = replace(spec, encoder_rank=2 * spec.encoder_rank, head_rank=head)
        return replace(self, projector=spec, label_bytes=limit)

    def images_needed(self, ipc: int) -> int:
        return self.patches.needed(ipc)

    def shipped_bytes(self, data: ImageSet, teachers: TeacherSpec, encoder: Encoder | None) -> int:
        assert encoder is not None
        return self.label_bytes or 2 * lora_numbers(encoder, self.projector, len(data.classes))

    def _stored_form(
        self, stages: Stages, fitted: Fitted, adapter: Adapter, images: ImageSet
    ) -> tuple[Adapter, dict[str, Any]]:
        """The adapter at the ranks and in the precision that it will be stored in, and how faithful that and other
        forms are to the teacher on views of the images. At lower ranks it is fitted on the views once more."""
        forms = budget.as_fitted(adapter) if self.label_bytes is None else budget.halved(adapter)
        with context.stage("faithfulness") as stage:
            views = stages.unseen_views(self.projector, images, number=3)
            points = budget.curve(fitted.start, adapter, views, forms)
            if self.label_bytes is None:
                chosen = next(point for point in points if point.precision == self.projector.precision)
            else:
                chosen = budget.choose(points, self.label_bytes)
            stage.figure = (
                f"ranks {chosen.encoder_rank} and {chosen.head_rank} in {chosen.precision}: {chosen.bytes:,} bytes, "
                f"agrees with the teacher on {chosen.agreement:.1f} % of unseen views"
            )
        figures: dict[str, Any] = {"fidelity": [asdict(point) for point in points]}
        if self.label_bytes is not None:
            figures["knee"] = asdict(budget.knee(points))
        if (chosen.encoder_rank, chosen.head_rank) != (adapter.encoder_rank, adapter.head_rank):
            cut = budget.cut(adapter, chosen.encoder_rank, chosen.head_rank)
            adapter = stages.queried(self.projector, fitted, cut, images)
        return adapter.rounded(chosen.precision), figures

    def _moved(self, mosaics: ImageSet, fitted: Fitted, stages: Stages) -> tuple[ImageSet, dict[str, Any]]:
        if self.update is None:
            return mosaics, {}
        with context.stage("image update") as stage:
            pixels, per_side = in_memory(mosaics.images), self.patches.factor
            projector, known = (
                restore(fitted.start, fitted.adapter),
                (fingerprint(mosaics), fitted.adapter.fingerprint()),
            )
            before = self.update.loss(pixels, projector.encode, per_side)
            images = self.update(pixels, projector.encode, per_side, stages.blocks, known)
            after = self.update.loss(images, projector.encode, per_side)
            stage.figure = f"information loss {before:.3g} before, {after:.3g} after"
        return replace(mosaics, images=images), {
            "information_loss_before": before,
            "information_loss_after": after,
        }
