"""Figures of the docs that are drawn from formulas: `make figures`.

python scripts/figures.py
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import open_clip
import torch

from hello_distill.encoders import Encoder
from hello_distill.format.sizes import stored_bytes
from hello_distill.projector import lora_numbers
from hello_distill.recipes import find
from hello_distill.report.plot import inked, pyplot, themed

FILE = Path(__file__).parents[1] / "docs" / "assets" / "label-bytes.svg"
CLASSES = (10, 20, 50, 100, 200, 500, 1000)
IPCS = (1, 10, 50)


def projector_bytes() -> dict[int, int]:
    """Bytes of the paper's projector in float16, by classes: two for each number of LoRA."""
    recipe = find("paper")
    spec = recipe.distiller.projector_spec
    assert spec is not None
    with torch.device("meta"):
        visual = open_clip.CLIP(**open_clip.get_model_config(spec.encoder.partition("/")[0])).visual
    shapes: dict[str, Any] = {"encode_text": None, "mean": (), "std": (), "weights": (), "knows": ""}
    encoder = Encoder(spec.encoder, visual, size=visual.image_size, width=visual.output_dim, **shapes)
    return {classes: 2 * lora_numbers(encoder, spec, classes) for classes in CLASSES}


def labels_by_classes() -> dict[str, dict[int, int]]:
    """Bytes of the labels of one training of the recipe `paper`, by classes: stored float16, and its projector."""
    optim = find("paper").student.optim
    lines = {
        f"stored for every view, {ipc} image{'s' if ipc > 1 else ''} a class": {
            classes: stored_bytes(classes, classes * ipc, optim.epochs, optim.batch_size) for classes in CLASSES
        }
        for ipc in IPCS
    }
    return {**lines, "the projector, however many images": projector_bytes()}


def drawn(lines: dict[str, dict[int, int]]) -> bytes:
    """The figure as SVG that takes the page's ink."""
    with inked():
        figures: Any = pyplot()
        figure, axes = figures.subplots(figsize=(6.4, 3.6))
        for name, line in lines.items():
            axes.plot(list(line), [value / 2**20 for value in line.values()], marker=".", label=name)
        axes.set(xscale="log", yscale="log", xlabel="classes", ylabel="MiB of labels", xticks=CLASSES)
        axes.xaxis.set_major_formatter(figures.ScalarFormatter())
        axes.minorticks_off()
        axes.grid(alpha=0.3)
        axes.legend(frameon=False, fontsize="small")
        figure.tight_layout()
        content = io.BytesIO()
        figure.savefig(content, format="svg", metadata={"Date": None})
        figures.close(figure)
    return themed(content.getvalue())


def main() -> None:
    """Write the figure, and say what it shows at its right end."""
    lines = labels_by_classes()
    FILE.write_bytes(drawn(lines))
    print(f"{FILE.name}: {', '.join(f'{name} {line[CLASSES[-1]]:,} bytes' for name, line in lines.items())}")


if __name__ == "__main__":
    main()
