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


TABLES: dict[str, Callable[[dict[str, Any]], str]] = {"demo": demo}


def filled(text: str) -> str:
    """The README's text with every table made anew."""

    def table(match: re.Match[str]) -> str:
        name = match["name"]
        result = json.loads((ROOT / "results" / f"{name}.json").read_text(encoding="utf-8"))
        return match[1] + TABLES[name](result) + match[3]

    return PLACE.sub(table, text)


if __name__ == "__main__":
    readme = ROOT / "README.md"
    before = readme.read_text(encoding="utf-8")
    after = filled(before)
    if "--check" in sys.argv:
        sys.exit("README.md does not say what results/ says; run `make results`" if before != after else 0)
    readme.write_text(after, encoding="utf-8")
