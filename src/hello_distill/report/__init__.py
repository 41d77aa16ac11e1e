"""Result files and artefacts as one page that opens from disk: `hello-distill report`.

The same input gives the same bytes: no date, no path, names in order.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hello_distill.format import pulled, results
from hello_distill.format.manifest import MANIFEST
from hello_distill.format.results.entries import Result
from hello_distill.report import claims, sections
from hello_distill.report.page import Section, render
from hello_distill.system import publishing
from hello_distill.system.errors import InputError, printable
from hello_distill.system.hub import MARK

LARGEST = 64 * 2**20
"""Bytes of a result file; a larger one is none."""


def report(
    results: str | Path,
    out: str | Path,
    artefacts: Sequence[str | Path] = (),
    before: Sequence[str | Path] = (),
    data: str | None = None,
) -> Path:
    """Write the page of a folder of result files; returns its path. See `hello-distill report`.

    `before` are artefacts of the same runs as some of `artefacts`, without the image update. `data` is what the
    artefacts were distilled from; their labels are asked for its test split. Raises InputError where there is nothing
    to report, the folder is an artefact itself, or an artefact of `before` has no partner; MachineError where Jinja or
    matplotlib is missing.
    """
    folder = Path(results)
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder; give the folder that holds the result files")
    if (folder / MANIFEST).exists():
        raise InputError(
            f"{folder} is an artefact, not a folder of result files; give it by --artefact, behind that folder"
        )
    if (before or data is not None) and not artefacts:
        raise InputError("--before and --data say something of artefacts; give --artefact, too")
    target = Path(out)
    publishing.check_writable(target.parent)
    command = _command(folder, target.name, artefacts, before, data)
    known, unknown = read(folder)
    summary = claims.section([result for result, _ in known])
    shown = [*([summary] if summary else []), *(section for _, section in known)]
    if artefacts:
        from hello_distill.report.pictures import Shown, sections_of

        asked = Shown(tuple(map(pulled.local, artefacts)), tuple(map(pulled.local, before)), data)
        shown += sections_of(asked, command)
    if not shown and not unknown:
        raise InputError(f"{folder} holds no result file (.json); `hello-distill compare` writes one")
    publishing.write(target, render(f"hello-distill: {folder.resolve().name}", shown, unknown, command))
    return target


def read(folder: Path) -> tuple[list[tuple[Result, Section]], list[tuple[str, str]]]:
    """The results in a folder with their sections, and the names of files that hold none with the reason; by name."""
    known: list[tuple[Result, Section]] = []
    unknown: list[tuple[str, str]] = []
    for file in sorted(folder.glob("*.json")):
        if file.name.startswith("."):
            continue
        name = printable(f"{folder.resolve().name}/{file.name}")
        try:
            if (result := results.read(_content(file))) is None:
                unknown.append((name, f"no kind of result that is known here ({', '.join(results.NAMES)})"))
            else:
                section = sections.section(name, result)
                section.draw()
                known.append((result, section))
        except (OSError, ValueError, RecursionError) as error:
            unknown.append((name, printable(results.reason(error))))
    return known, unknown


def _content(file: Path) -> Any:
    """A JSON file, its text without anything that cannot be printed."""
    if file.stat().st_size > LARGEST:
        raise ValueError(f"it is larger than {LARGEST} bytes")
    return _clean(json.loads(file.read_text(encoding="utf-8")))


def _clean(content: Any) -> Any:
    if isinstance(content, str):
        return printable(content)
    if isinstance(content, list):
        return [_clean(value) for value in content]
    if isinstance(content, dict):
        return {printable(name): _clean(value) for name, value in content.items()}
    return content


def _command(
    folder: Path, out: str, artefacts: Sequence[str | Path], before: Sequence[str | Path], data: str | None
) -> str:
    """The call that makes the page, with names in the place of paths."""
    words = ["hello-distill", "report", folder.resolve().name]
    for option, given in (("--artefact", artefacts), ("--before", before), ("--data", [data] if data else [])):
        for path in given:
            words += [option, str(path) if str(path).startswith(MARK) else Path(path).resolve().name]
    return printable(shlex.join([*words, "--out", out]))
