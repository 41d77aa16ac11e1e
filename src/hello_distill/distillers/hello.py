"""HeLlO: Algorithm 1, lines 3-11."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from hello_distill import encoders
from hello_distill.artifact import Distilled
from hello_distill.data import ImageSet, Material
from hello_distill.distillers.lic import LIC
from hello_distill.distillers.rded import Patches
from hello_distill.labels.projector import ProjectorLabels, describe
from hello_distill.progress import SILENT, Progress
from hello_distill.projector import Projector, ProjectorSpec, fit_projector, zero_shot
from hello_distill.scores import percent, top1
from hello_distill.teachers import Teachers


@dataclass(frozen=True)
class HeLlO:
    """Images from patches, moved by Eq. 7; labels from a projector (Yu et al., arXiv 2408.08201)."""

    patches: Patches = field(default_factory=Patches)
    projector: ProjectorSpec = field(default_factory=ProjectorSpec)
    update: LIC | None = field(default_factory=LIC)

    def __call__(
        self,
        material: Material,
        teachers: Callable[[], Teachers],
        ipc: int,
        seed: int,
        progress: Progress = SILENT,
    ) -> Distilled:
        self.patches.check(material.train, ipc)
        encoder = encoders.load(self.projector.encoder, self.projector.size)
        observer, ensemble = teachers()
        start = self._patches(material.train, observer, ipc, seed, progress)  # line 3: Eq. 6
        zero = zero_shot(encoder, start.classes, self.projector).to(start.images.device)  # lines 4-5: Eq. 2-4
        figures = self._measure(zero, material.held, "zero-shot", progress)
        with progress.stage("projector") as stage:  # lines 6-8: Eq. 5
            projector, adapter = fit_projector(zero, encoder, material.train, ensemble, self.projector, seed, progress)
            stage.figure = f"{adapter.parameters:,} numbers fitted, logit scale {adapter.scale:g}"
        figures |= self._measure(projector, material.held, "projector", progress)
        images, moved = self._moved(start, projector, progress)  # lines 9-11: Eq. 7
        labels = ProjectorLabels(projector, adapter, describe(encoder), self.projector.templates)
        return Distilled(images, labels, figures | moved)

    def _patches(self, data: ImageSet, observer: Any, ipc: int, seed: int, progress: Progress) -> ImageSet:
        with progress.stage("patches") as stage:
            start = self.patches(data, observer, ipc, seed, progress)
            stage.figure = f"{len(start)} images of {self.patches.factor**2} patches each"
        return start

    def _measure(self, projector: Projector, held: ImageSet, name: str, progress: Progress) -> dict[str, Any]:
        with progress.stage(f"{name} test") as stage:
            found = top1(projector, held, progress, name)
            stage.figure = f"top-1 {percent(found)} on {len(held)} held-back training images"
        return {f"{name.replace('-', '_')}_top1": found}

    def _moved(self, start: ImageSet, projector: Projector, progress: Progress) -> tuple[ImageSet, dict[str, Any]]:
        if self.update is None:
            return start, {}
        with progress.stage("image update") as stage:
            before = self.update.loss(start.images, projector.encode)
            images = self.update(start.images, projector.encode, progress)
            after = self.update.loss(images, projector.encode)
            stage.figure = f"information loss {before:.3g} before, {after:.3g} after"
        return replace(start, images=images), {
            "information_loss_before": before,
            "information_loss_after": after,
        }
