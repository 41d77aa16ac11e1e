"""What HeLlO's projector is built up from: an encoder with a whole linear head. Table 3, rows 1 to 3."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from hello_distill.artifact import Distilled
from hello_distill.data.images import ImageSet, Material
from hello_distill.distillers.base import Distiller, classifier_bytes, register
from hello_distill.distillers.rded import Patches
from hello_distill.encoders.encoder import Encoder
from hello_distill.labels.sources.teacher import TeacherLabels
from hello_distill.projector import ProjectorSpec
from hello_distill.stages import Stages
from hello_distill.teachers import TeacherSpec, encoder_name


@register("probe")
@dataclass(frozen=True)
class Probe(Distiller):
    """RDED's images, labelled online by the encoder with a head that was fitted without text and is kept as a whole.

    The artefact keeps the whole network, so that it opens as any teacher does; `fitted_numbers` among its figures says
    how many numbers would have to be kept beside the public encoder. A head without bias, from zero: ours.
    """

    patches: Patches = field(default_factory=Patches)
    projector: ProjectorSpec = field(default_factory=ProjectorSpec)
    """Encoder, fitting, and LoRA on convolutions; of the head there is no low rank."""
    taught: bool = True
    """Fitted to the weak teachers by Eq. 5; else to the classes alone, by CE."""
    lora: bool = True
    """The encoder is moved by LoRA; else it stays as it is."""

    def __call__(self, material: Material, stages: Stages, ipc: int, seed: int) -> Distilled:
        self.patches.check(material.train, ipc)
        name = encoder_name(self.projector)
        images = self.patches(material.train, stages.judge(), ipc, seed, stages.blocks)
        model, figures = stages.probe(self.projector, self.taught, self.lora)
        return Distilled(images, TeacherLabels([name], [model], images.side), {**stages.figures, **figures})

    @property
    def projector_spec(self) -> ProjectorSpec:
        return self.projector

    def with_projector(self, projector: ProjectorSpec) -> Probe:
        return replace(self, projector=projector)

    def images_needed(self, ipc: int) -> int:
        return self.patches.needed(ipc)

    def shipped_bytes(self, data: ImageSet, teachers: TeacherSpec, encoder: Encoder | None) -> int:
        return classifier_bytes(encoder_name(self.projector), data)
