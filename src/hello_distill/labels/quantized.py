"""Stored or pruned labels in fewer bytes: top-k logits (LPQLD), int8 with a scale per row, float8."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hello_distill.format.kinds import KINDS, LabelKind, option
from hello_distill.labels.pruned import KEEP, REPLACEMENT, check_share
from hello_distill.labels.recorded import RecordedKind
from hello_distill.system.errors import InputError


@KINDS.register("quantized")
@dataclass(frozen=True)
class Quantized(RecordedKind):
    """The batches of a training in a codec: all of them in order, or a pool where only a share is kept."""

    keep: float | None = option(None, KEEP)
    """None: all."""
    replacement: bool | None = option(None, REPLACEMENT)
    """None: without replacement, as LPQLD draws from its pool."""
    codec: str = option("topk", "topk (default), int8 or float8")
    k: int = option(10, "of topk, logits that are kept of each label (default: 10)")

    def __post_init__(self) -> None:
        super().__post_init__()
        check_share(self.keep)
        self._codec()

    def _codec(self) -> Any:
        from hello_distill.format.codecs import codec

        return codec(self.codec, self.k)

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> LabelKind:
        if "k" in given and given.get("codec", "topk") != "topk":
            raise InputError(f"--k is for the codec topk, not {given['codec']}")
        return super().of(given)

    def check(self, classes: int) -> None:
        """Raise InputError where top-k labels would keep every logit, and more bytes than float16 labels take."""
        if self.codec != "topk" or self.k < classes:
            return
        smaller = (classes - 1) // 2
        lower = f"a --k of {smaller} or less, or " if smaller else ""
        raise InputError(
            f"--k {self.k} of {classes} classes keeps every logit and its class, which takes more bytes than float16 "
            f"labels; give {lower}--codec float8"
        )

    def make(self, data: Any, student: Any, online: Any) -> Any:
        from hello_distill.labels.sources.recording import Draw, RecordedLabels

        keep = 1.0 if self.keep is None else self.keep
        plan = self.recorded(data, student, online, self._codec(), keep)
        return RecordedLabels(self.name, plan, None if keep == 1 else Draw(bool(self.replacement), plan.seed))
