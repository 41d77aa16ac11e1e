"""Charts: accuracy against bytes, as `hello-distill plot` draws it, and learning curves.

On a page their ink follows the reader's light or dark theme, on a transparent ground.
"""

from __future__ import annotations

import io
import json
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hello_distill.format.results import read, reason
from hello_distill.format.results.entries import Data
from hello_distill.format.results.grids import Comparison, GridCell, GridResult, Model
from hello_distill.system import publishing
from hello_distill.system.errors import InputError, MachineError

MARKS = {"hard": "x", "static": "v", "teacher": "s", "stored": "D", "pruned": "^", "quantized": "<", "projector": "o"}
INK = "#010203"
"""Stands for the theme's ink until the file is written; no chart draws in it."""
THEME = "<style>:root{color:#1c1e21}@media(prefers-color-scheme:dark){:root{color:#e4e6e9}}</style>"


def plot(result: str | Path, out: str | Path | None = None) -> Path:
    """Draw a row of panels per student, a panel per number of images per class. Returns the picture's path.

    Bytes are those of all that is shipped: images, labels and teacher's weights; public weights are not. Raises
    InputError where the file is no result, MachineError where matplotlib is missing.
    """
    file = Path(result)
    try:
        content = read(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise InputError(f"{file} is no result of `hello-distill compare`: {reason(error)}") from None
    if not isinstance(content, GridResult):
        raise InputError(f"{file} is no result of `hello-distill compare`")
    if not (cells := content.cells):
        raise InputError(f"{file} has no finished cell yet; run `hello-distill compare` first")
    target = Path(out) if out else file.with_suffix(".svg")
    ipcs, students = (sorted({getattr(cell, key) for cell in cells}) for key in ("ipc", "student"))
    suffix = target.suffix.removeprefix(".") or "png"
    try:
        publishing.write(target, picture(content.data, cells, suffix, students, ipcs, models_of(content)))
    except (OSError, ValueError) as error:
        raise InputError(
            f"{target} cannot be written: {error}; give --out a .svg or .png in a folder that exists"
        ) from None
    return target


def pyplot() -> Any:
    """matplotlib's pyplot, drawing into memory; the same drawing gives the same bytes.

    Raises MachineError where matplotlib is missing.
    """
    try:
        import matplotlib
    except ImportError:
        raise MachineError("pictures need matplotlib; install it with `pip install 'hello-distill[report]'`") from None
    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "hello-distill"
    from matplotlib import pyplot

    return pyplot


def plain(text: str) -> str:
    """Text that matplotlib does not take for a formula."""
    return text.replace("$", r"\$")


def models_of(result: GridResult) -> list[Model]:
    """The networks that are shipped as they are, of which comparisons may have some."""
    return result.models if isinstance(result, Comparison) else []


def picture(
    data: Data,
    cells: Sequence[GridCell],
    form: str,
    students: Sequence[str],
    ipcs: Sequence[int],
    models: Sequence[Model] = (),
) -> bytes:
    """The panels of some students and numbers of images; colours and the reach of bytes are those of all cells.

    Models stand in every panel. Raises ValueError for a form that matplotlib does not write.
    """
    figures = pyplot()
    colours = {method: f"C{number}" for number, method in enumerate(sorted({cell.method for cell in cells}))}
    reach = _reach([*(cell.bytes.total for cell in cells), *(model.bytes for model in models)])
    size = (4.2 * len(ipcs), 3.6 * len(students) + 0.9)
    figure, panels = figures.subplots(len(students), len(ipcs), figsize=size, sharey=True, squeeze=False)
    for row, student in zip(panels, students, strict=True):
        row[0].set_ylabel("top-1 on the test split (%)")
        for panel, ipc in zip(row, ipcs, strict=True):
            _points(panel, [cell for cell in cells if (cell.student, cell.ipc) == (student, ipc)], colours)
            _models(panel, models)
            panel.set_xlim(*reach)
            panel.set_title(plain(f"{data.name}, {student}, IPC {ipc}"), fontsize="medium")
            _bits(panel, data)
    handles = _legend(cells, colours)
    across = min(len(handles), int(size[0] / 1.35))
    figure.legend(handles=handles, loc="lower center", ncol=across, frameon=False)
    figure.tight_layout(rect=(0, 0.3 * -(-len(handles) // across) / size[1], 1, 1))
    try:
        content = io.BytesIO()
        figure.savefig(content, format=form, metadata={"Date": None} if form == "svg" else None)
        return content.getvalue()
    finally:
        figures.close(figure)


def _legend(cells: Sequence[GridCell], colours: dict[str, str]) -> list[Any]:
    """Methods by their colours, and the kinds of labels that there are by their marks."""
    from matplotlib.lines import Line2D

    shown = {cell.labels.partition("-")[0] for cell in cells}
    methods = [Line2D([], [], marker="o", ls="", color=colour, label=plain(name)) for name, colour in colours.items()]
    return methods + [
        Line2D([], [], marker=mark, ls="", color="grey", label=name) for name, mark in MARKS.items() if name in shown
    ]


def _points(panel: Any, cells: Sequence[GridCell], colours: dict[str, str]) -> None:
    """A mark per cell, its kind of labels by form and its method by colour."""
    for cell in cells:
        mark, colour = MARKS.get(cell.labels.partition("-")[0], "P"), colours[cell.method]
        score = cell.top1_last
        panel.errorbar(cell.bytes.total, score.mean, yerr=score.sd or 0, fmt=mark, color=colour, alpha=0.8)
    panel.set_xscale("log")
    panel.set_xlabel(f"bytes of images, labels and teacher{_beside(cells)}")
    panel.grid(alpha=0.3)


def _models(panel: Any, models: Sequence[Model]) -> None:
    """A star with its name for each network that is shipped in the place of images."""
    for model in models:
        panel.plot(model.bytes, model.top1.mean, "*", color="grey", alpha=0.8)
        here, beside = (model.bytes, model.top1.mean), {"xytext": (4, 4), "textcoords": "offset points"}
        panel.annotate(plain(model.model), here, fontsize="x-small", alpha=0.8, **beside)


def _reach(sizes: Sequence[int]) -> tuple[float, float]:
    """From below the least to above the most; nothing at all cannot stand on a logarithmic axis."""
    known = [size for size in sizes if size > 0] or [1000]
    return min(known) / 2, 2.0 * max(known)


def _bits(panel: Any, data: Data) -> None:
    """The same bytes as bits for each class, above the panel; nothing where the file does not count classes."""
    if data.classes is None:
        return
    bits = 8 / data.classes
    above = panel.secondary_xaxis("top", functions=(lambda size: size * bits, lambda each: each / bits))
    above.set_xlabel("bits per class", fontsize="small")
    above.tick_params(labelsize="small")


def _beside(cells: Sequence[GridCell]) -> str:
    """What some of the cells rely on besides, and do not ship."""
    public = max((cell.bytes.public for cell in cells), default=0)
    return f"\n(projector: and a public encoder of {public / 1e6:.0f} MB)" if public else ""


def accuracy_by_bytes(
    data: Data, cells: Sequence[GridCell], student: str, ipc: int, models: Sequence[Model] = ()
) -> bytes:
    """The panel of `hello-distill plot` for one student and one number of images per class, of all cells."""
    with inked():
        return themed(picture(data, cells, "svg", [student], [ipc], models))


def curves(lines: Mapping[str, Mapping[int, float]], by: str) -> bytes:
    """Accuracy in percent by epoch, or by something else that is counted, a line for each name."""
    with inked():
        figures = pyplot()
        rows = -(-len(lines) // 2)
        figure, axes = figures.subplots(figsize=(5.2, 3.4 + 0.25 * rows))
        for number, (name, line) in enumerate(lines.items()):
            epochs = sorted(line)
            dash = ("-", "--", ":", "-.")[number // 10 % 4]
            axes.plot(
                epochs,
                [line[epoch] for epoch in epochs],
                dash,
                marker=".",
                color=f"C{number % 10}",
                label=plain(name),
            )
        axes.set_xlabel(by)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.set_ylabel("top-1 on the test split (%)")
        axes.grid(alpha=0.3)
        figure.legend(loc="lower center", ncol=min(2, len(lines)), frameon=False, fontsize="small")
        figure.tight_layout(rect=(0, (0.1 + 0.25 * rows) / (3.4 + 0.25 * rows), 1, 1))
        content = io.BytesIO()
        figure.savefig(content, format="svg", metadata={"Date": None})
        figures.close(figure)
        return themed(content.getvalue())


@contextmanager
def inked() -> Iterator[None]:
    """matplotlib with the theme's ink. Letters that its fonts lack are no news."""
    pyplot()
    import matplotlib

    inked = ("text.color", "axes.edgecolor", "axes.labelcolor", "axes.titlecolor", "xtick.color", "ytick.color")
    changes: Any = {**dict.fromkeys(inked, INK), "savefig.transparent": True}
    with matplotlib.rc_context(changes), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        yield


def themed(svg: bytes) -> bytes:
    """A picture drawn inside of `inked`, in the ink of the page that shows it."""
    text = svg.decode().replace(INK, "currentColor")
    return re.sub(r"<svg\b[^>]*>", lambda match: match[0] + THEME, text, count=1).encode()
