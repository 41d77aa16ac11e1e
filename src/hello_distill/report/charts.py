"""Charts as SVG files whose ink follows the reader's light or dark theme, on a transparent ground."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from hello_distill.format.results.grids import GridCell
from hello_distill.report import plot

INK = "#010203"
"""Stands for the theme's ink until the file is written; no chart draws in it."""
THEME = "<style>:root{color:#1c1e21}@media(prefers-color-scheme:dark){:root{color:#e4e6e9}}</style>"


def accuracy_by_bytes(data: str, cells: Sequence[GridCell], student: str, ipc: int) -> bytes:
    """The panel of `hello-distill plot` for one student and one number of images per class, of all cells."""
    with _inked():
        return _themed(plot.picture(data, cells, "svg", [student], [ipc]))


def curves(lines: Mapping[str, Mapping[int, float]], by: str = "epoch") -> bytes:
    """Accuracy in percent by epoch, or by something else that is counted, a line for each name."""
    with _inked():
        pyplot = plot.pyplot()
        rows = -(-len(lines) // 2)
        figure, axes = pyplot.subplots(figsize=(5.2, 3.4 + 0.25 * rows))
        for place, (name, line) in enumerate(lines.items()):
            epochs = sorted(line)
            dash = ("-", "--", ":", "-.")[place // 10 % 4]
            axes.plot(
                epochs,
                [line[epoch] for epoch in epochs],
                dash,
                marker=".",
                color=f"C{place % 10}",
                label=plot.plain(name),
            )
        axes.set_xlabel(by)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.set_ylabel("top-1 on the test split (%)")
        axes.grid(alpha=0.3)
        figure.legend(loc="lower center", ncol=min(2, len(lines)), frameon=False, fontsize="small")
        figure.tight_layout(rect=(0, (0.1 + 0.25 * rows) / (3.4 + 0.25 * rows), 1, 1))
        content = io.BytesIO()
        figure.savefig(content, format="svg", metadata={"Date": None})
        pyplot.close(figure)
        return _themed(content.getvalue())


@contextmanager
def _inked() -> Iterator[None]:
    """matplotlib with the theme's ink. Letters that its fonts lack are no news."""
    plot.pyplot()
    import matplotlib

    inked = ("text.color", "axes.edgecolor", "axes.labelcolor", "axes.titlecolor", "xtick.color", "ytick.color")
    changes: Any = {**dict.fromkeys(inked, INK), "savefig.transparent": True}
    with matplotlib.rc_context(changes), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        yield


def _themed(svg: bytes) -> bytes:
    text = svg.decode().replace(INK, "currentColor")
    return re.sub(r"<svg\b[^>]*>", lambda match: match[0] + THEME, text, count=1).encode()
