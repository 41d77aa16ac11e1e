"""What papers report, from `published.json`: the one place where others' figures stand, each with its source."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from importlib import resources

from pydantic import BaseModel, ConfigDict

from hello_distill.format.results.grids import Comparison
from hello_distill.report.page import Cell, Figure, Table, row, score, signed, words


class Entry(BaseModel):
    """Base of what the file holds."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")


class Paper(Entry):
    """Where figures were read."""

    name: str
    reference: str
    note: str


class DataSet(Entry):
    """A data set, the names that folders of it have here, and why figures on it differ between protocols."""

    names: list[str]
    why: str


class Accuracy(Entry):
    """Top-1 in percent of a network trained on a method's images, as a paper's table has it."""

    data: str
    method: str
    labels: list[str]
    """Kinds of labels here that are those of the paper's students."""
    ipc: int
    network: str
    top1: float
    sd: float | None
    paper: str
    place: str

    @property
    def source(self) -> str:
        """Paper and table."""
        paper = published().papers[self.paper]
        return f"{paper.name}, {self.place} ({paper.reference}{'; ' if paper.note else ''}{paper.note})"


class Step(Entry):
    """A row of the paper's ablation, each with all before it."""

    step: str
    top1: float
    parameters: str
    data: str
    ipc: int
    paper: str
    place: str


class Published(Entry):
    """The file as a whole."""

    papers: dict[str, Paper]
    data: dict[str, DataSet]
    accuracies: list[Accuracy]
    ablation: list[Step]


@functools.cache
def published() -> Published:
    """The file, read once."""
    text = resources.files("hello_distill.report").joinpath("published.json").read_bytes()
    return Published.model_validate_json(text)


def data_set(name: str) -> str | None:
    """The published data set that a folder of this name holds; None where none is known."""
    return next((title for title, data in published().data.items() if name.lower() in data.names), None)


def beside(data: str, method: str, labels: str, ipc: int) -> list[Accuracy]:
    """What is published for a cell on the folder `data`: the same data set, method, kind of labels and images."""
    wanted = (data_set(data), method, ipc)
    return [
        entry
        for entry in published().accuracies
        if (entry.data, entry.method, entry.ipc) == wanted and labels in entry.labels
    ]


def cell(entries: Iterable[Accuracy]) -> Cell:
    """Figures with their networks, for a place in a table."""
    parts: list[str | Figure] = []
    for entry in entries:
        parts += [*(["; "] if parts else []), *score(entry.top1, entry.sd), f" ({entry.network})"]
    return tuple(parts) or words("")


def notes(students: Iterable[str], entries: Iterable[Accuracy]) -> list[str]:
    """Where the figures come from, and a sentence why they may differ; nothing where there are none."""
    entries = list(entries)
    if not entries:
        return []
    networks = ", ".join(dict.fromkeys(entry.network for entry in entries))
    why = f"published students are {networks}, ours {', '.join(students)}; {published().data[entries[0].data].why}"
    return [
        f"Why published figures may differ: {why}.",
        f"Published: {'; '.join(dict.fromkeys(entry.source for entry in entries))}.",
    ]


def gains(result: Comparison) -> Table | None:
    """HeLlO with its projector against RDED with its teacher: ours, and the paper's."""
    name = f"{result.data.name}, here"
    rows = [
        row(name, str(hello.ipc), hello.student, *_gain(rded.top1_last.mean, hello.top1_last.mean))
        for hello, rded in result.pairs()
    ]
    if not rows:
        return None
    table = _of_hello("Table 1")
    rows += [
        row(f"{hello.data}, the paper", str(hello.ipc), hello.network, *_gain(rded.top1, hello.top1))
        for hello, rded in _pairs(table)
    ]
    head = ("data", "IPC", "student", "RDED, teacher's labels", "HeLlO, projector's labels", "gain")
    return Table(
        "The paper's claim beside ours: HeLlO against RDED",
        head,
        rows,
        [
            "Figures on different data are not comparable; the gains are what the claim is about. They may differ "
            "because the paper's encoder is CLIP's ResNet-50 and its students ResNet-18 of 224 pixels, on a GPU.",
            f"The paper: {table[0].source}.",
        ],
    )


def experiment(place: str | None) -> Table | None:
    """The paper's own figures of an experiment, by its table; None where they are not known."""
    if entries := _of_hello(place):
        return _architectures(entries)
    steps = [step for step in published().ablation if step.place == place]
    return _ablation(steps) if steps else None


def _of_hello(place: str | None) -> list[Accuracy]:
    return [entry for entry in published().accuracies if (entry.paper, entry.place) == ("hello", place)]


def _pairs(entries: list[Accuracy]) -> list[tuple[Accuracy, Accuracy]]:
    """HeLlO's figures and RDED's beside them."""
    cells = {(entry.data, entry.ipc, entry.network, entry.method): entry for entry in entries}
    return [(hello, cells[(*key[:3], "rded")]) for key, hello in cells.items() if key[3] == "hello"]


def _architectures(entries: list[Accuracy]) -> Table:
    rows = [
        row(f"{hello.data}, IPC {hello.ipc}", hello.network, *_gain(rded.top1, hello.top1))
        for hello, rded in _pairs(entries)
    ]
    head = ("data", "student", "RDED, teacher's labels", "HeLlO, projector's labels", "gain")
    return Table(f"The paper's {entries[0].place}", head, rows, [f"The paper: {entries[0].source}."])


def _ablation(steps: list[Step]) -> Table:
    rows = [row(step.step, step.top1, step.parameters) for step in steps]
    first = steps[0]
    head = (f"step ({first.data}, IPC {first.ipc}), each with all before it", "top-1", "stored numbers")
    paper = published().papers[first.paper]
    note = f"The paper: {paper.name}, {first.place} ({paper.reference}; {paper.note}). Its M is 2^20."
    return Table(f"The paper's {first.place}", head, rows, [note])


def _gain(rded: float, hello: float) -> tuple[float, float, Cell]:
    return rded, hello, signed(hello - rded)
