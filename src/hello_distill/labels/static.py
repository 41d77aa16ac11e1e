"""One soft label per image, whatever the view: the cheapest soft labels there are."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hello_distill.format.kinds import KINDS, LabelKind, LabelPart

FILE = "labels/static.safetensors"


class StaticPart(LabelPart):
    """One soft label per image."""

    def files(self) -> set[str]:
        return {FILE}


@KINDS.register("static")
@dataclass(frozen=True)
class Static(LabelKind):
    """Logits of the un-augmented images, in float16."""

    part = StaticPart
    made_by = "teacher"

    @classmethod
    def load(cls, folder: Path, part: dict[str, Any], data: Any) -> Any:
        from hello_distill.labels.sources import static

        return static.load(folder, part, data)

    def make(self, data: Any, student: Any, online: Any) -> Any:
        from hello_distill.labels.sources import static

        return static.static(data, online)
