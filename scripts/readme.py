"""Write the README's tables from the files in `results/`, so that no figure is typed by hand.

    python scripts/readme.py           rewrite them
    python scripts/readme.py --check   end with 1 if they are not what the files say

A table stands between `<!-- results/NAME.json -->` and `<!-- end -->`.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hello_distill.tables import DEMO_ROWS, demo_gains, size, spread

ROOT = Path(__file__).parents[1]
PLACE = re.compile(r"(<!-- results/(?P<name>\w+)\.json -->\n).*?(<!-- end -->)", re.DOTALL)


def demo(result: dict[str, Any]) -> str:
    """Fashion-MNIST: three trainings, their bytes, the gap."""
    lines = ["| students trained on | label bytes | top-1, last epoch |", "|---|---|---|"]
    for key, text in DEMO_ROWS.items():
        labels = size(result["bytes"]["projector"]) if key == "distilled_projector" else "none"
        lines.append(f"| {text} | {labels} | {spread(result[key])} |")
    gains = demo_gains(result)
    student = result["recipe"]["student"]
    figures = result["figures"]
    return "\n".join([*lines, ""]) + (
        f"\n(c) is {gains[0]:+.1f} points from (a) and {gains[1]:+.1f} from (b). The spread is over students; "
        f"(a) is one draw of images. The teachers' last epoch has "
        f"{figures['teacher_top1']:.1f} % and the projector {figures['projector_top1']:.1f} % on held-back training "
        f"images, {figures['zero_shot_top1']:.1f} % before it was fitted. The images take "
        f"{size(result['bytes']['images'])}; stored float16 labels for the same training would take "
        f"{size(result['bytes']['stored_labels'])}. Student: `{student['network']}`, {student['optim']['epochs']} "
        f"epochs, {result['test_images']:,} test images. {made(result)} The whole took {result['seconds'] / 60:.0f} "
        "minutes.\n"
    )


def made(result: dict[str, Any]) -> str:
    """Where a result was made."""
    where = result["environment"]
    return f"Made at {(where['commit'] or 'unknown')[:8]} on {where['processor']}, {where['threads']} threads."


def comparison(result: dict[str, Any]) -> str:
    """A comparison: a table for each number of images per class."""
    parts = []
    for ipc in sorted({cell["ipc"] for cell in result["cells"]}):
        epochs, batch_size = result["recipe"]["training"][str(ipc)]
        head = "| images | labels | top-1, last epoch | best epoch | images' bytes | labels' bytes | teacher's bytes |"
        lines = [f"**IPC {ipc}**, {epochs} epochs in batches of {batch_size}", "", head, "|" + "---|" * 7]
        for cell in (cell for cell in result["cells"] if cell["ipc"] == ipc):
            images, labels, teacher = (size(cell["bytes"][name]) for name in ("images", "labels", "teacher"))
            scores = f"{spread(cell['top1_last'])} | {spread(cell['top1_best'])}"
            lines.append(f"| {cell['method']} | {cell['labels']} | {scores} | {images} | {labels} | {teacher} |")
        parts.append("\n".join(lines))
    commits = sorted({commit[:8] for cell in result["cells"] for commit in cell["commits"]})
    where = result["environment"]
    students = ", ".join(f"`{name}`" for name in sorted({cell["student"] for cell in result["cells"]}))
    return "\n\n".join(parts) + (
        f"\n\nStudent: {students}. {len(result['trials'])} tuning trials on held-back training images, as many "
        f"for each method and family of labels; they stand in the result file. Made at {', '.join(commits)} on "
        f"{where['processor']}.\n"
    )


def table_of(result: dict[str, Any]) -> Callable[[dict[str, Any]], str]:
    """The function that writes a result's table."""
    return comparison if "cells" in result else demo


def filled(text: str) -> str:
    """The README's text with every table made anew."""

    def table(match: re.Match[str]) -> str:
        name = match["name"]
        result = json.loads((ROOT / "results" / f"{name}.json").read_text(encoding="utf-8"))
        return match[1] + table_of(result)(result) + match[3]

    return PLACE.sub(table, text)


if __name__ == "__main__":
    readme = ROOT / "README.md"
    before = readme.read_text(encoding="utf-8")
    after = filled(before)
    if "--check" in sys.argv:
        sys.exit("README.md does not say what results/ says; run `make results`" if before != after else 0)
    readme.write_text(after, encoding="utf-8")
