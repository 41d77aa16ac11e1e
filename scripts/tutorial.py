"""The tutorial's outputs, made by running its Python on photographs: `make tutorial`.

    python scripts/tutorial.py PHOTOGRAPHS     # minutes

PHOTOGRAPHS is Imagenette as a local data set of Hugging Face, of which three classes are taken. The cells of
docs/tutorial.md run in out/tutorial. What they print is kept in results/tutorial.txt, from which `scripts/readme.py`
writes the page and its notebook; what they draw stays there, since it shows other people's photographs.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shutil
import sys
from collections import Counter
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "tutorial.md"
NOTEBOOK = PAGE.with_suffix(".ipynb")
OUTPUTS = ROOT / "results" / "tutorial.txt"
WORK = ROOT / "out" / "tutorial"
CLASSES = ("cassette player", "chain saw", "church")
SPLITS = {"train": ("train", 60), "test": ("validation", 20)}
"""Folders of photographs, with the splits that they are of and how many of each class."""
CODE = re.compile(
    r"```python\n(?P<code>.*?)```\n(?:\n<!-- results/tutorial\.txt \d+ -->\n(?P<printed>.*?)<!-- end -->\n)?", re.DOTALL
)
"""A cell of the page, and what it printed."""


def cells(page: str) -> list[str]:
    """The page's Python, cell by cell."""
    return [match["code"] for match in CODE.finditer(page)]


def printed(number: int) -> str:
    """What a cell printed when it was run on photographs, as a block of the page; cells count from 1."""
    found = re.search(rf"^# {number}\n(.*?)(?=^# |\Z)", OUTPUTS.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return f"```text\n{found[1]}```\n" if found else ""


def notebook(page: str) -> str:
    """The page as a notebook: prose as it is, Python as cells with what they printed."""
    parts, end = [], 0
    for count, match in enumerate(CODE.finditer(page), 1):
        parts += [_prose(page[end : match.start()]), _cell(count, match["code"], match["printed"])]
        end = match.end()
    parts.append(_prose(page[end:]))
    language = {"display_name": "Python 3", "language": "python", "name": "python3"}
    content: dict[str, Any] = {
        "cells": [{"id": f"part-{number}", **part} for number, part in enumerate(parts, 1) if "".join(part["source"])],
        "metadata": {"kernelspec": language, "language_info": {"name": "python"}},
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def _prose(text: str) -> dict[str, Any]:
    return {"cell_type": "markdown", "metadata": {}, "source": text.strip().splitlines(keepends=True)}


def _cell(count: int, code: str, output: str | None) -> dict[str, Any]:
    lines = (output or "").removeprefix("```text\n").removesuffix("```\n").splitlines(keepends=True)
    said = [{"output_type": "stream", "name": "stdout", "text": lines}] if lines else []
    source = code.rstrip("\n").splitlines(keepends=True)
    return {"cell_type": "code", "execution_count": count, "metadata": {}, "outputs": said, "source": source}


def ran(codes: list[str]) -> list[str]:
    """Run cells one after the other as a notebook does; gives what each printed."""
    names: dict[str, Any] = {"__name__": "__main__"}
    outputs = []
    for number, code in enumerate(codes, 1):
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            exec(compile(code, f"cell {number}", "exec"), names)
        outputs.append(said.getvalue())
    return outputs


def photographs(data: str, folder: Path) -> None:
    """Write the tutorial's photographs as class folders."""
    import datasets

    for name, (split, count) in SPLITS.items():
        rows = datasets.load_dataset(data, split=split)
        names, seen = rows.features["label"].names, Counter[str]()
        for row in rows:
            label = names[row["label"]]
            if label in CLASSES and seen[label] < count:
                place = folder / name / label
                place.mkdir(parents=True, exist_ok=True)
                row["image"].save(place / f"{seen[label]:03}.jpg", quality=95)
                seen[label] += 1


def main(data: str) -> None:
    """Run the page's cells on photographs, and keep what they print."""
    import readme
    from hello_distill.cli.output import console
    from hello_distill.system.context import Context

    data = str(Path(data).resolve())
    shutil.rmtree(WORK, ignore_errors=True)
    photographs(data, WORK / "photos")
    os.environ["MPLBACKEND"] = "Agg"
    os.chdir(WORK)
    with Context(console()):
        outputs = ran(cells(PAGE.read_text(encoding="utf-8")))
    kept = (f"# {number}\n{output}" for number, output in enumerate(outputs, 1) if output)
    OUTPUTS.write_text("".join(kept), encoding="utf-8")
    readme.update()


if __name__ == "__main__":
    main(*sys.argv[1:])
