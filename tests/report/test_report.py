"""The page: every number is its file's, whatever is in a file stays text, and nothing is fetched."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

import reports
from conftest import script
from hello_distill import cli
from hello_distill.artifact import load
from hello_distill.data.sources import read_test_split
from hello_distill.format import results
from hello_distill.format.results.entries import Data, Summary
from hello_distill.format.results.grids import Bytes, Comparison, GridCell
from hello_distill.labels.sources.static import static
from hello_distill.report import grids, pictures, plot, published, report
from hello_distill.report.page import Figure, plain
from hello_distill.report.parts import mean_by_epoch
from hello_distill.system.errors import InputError
from hello_distill.training.scores import confusion
from reports import Made


class Page(HTMLParser):
    """Tables as rows of (text, values), the tags, and every address."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tables: dict[tuple[str, str], list[list[tuple[str, list[float]]]]] = {}
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.names: list[str] = []
        self.images: list[tuple[str, bytes]] = []
        self.commands: list[str] = []
        self.heads = {"h2": "", "h3": ""}
        self.inside: str | None = None
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attributes}
        self.tags.append(tag)
        self.names += given
        self.addresses += [given[name] for name in ("src", "href") if name in given]
        self.inside = tag if tag in ("h2", "h3", "pre") else self.inside
        if tag in self.heads:
            self.heads[tag] = ""
        if tag == "pre":
            self.commands.append("")
        if tag == "img":
            self.images.append((given["alt"], base64.b64decode(given["src"].partition("base64,")[2])))
        if tag == "table":
            self.table = self.tables.setdefault((self.heads["h2"], self.heads["h3"]), [])
        if tag == "tr":
            self.table.append([])
        if tag in ("td", "th"):
            self.table[-1].append(("", []))
            self.inside = tag
        if tag == "data":
            self.table[-1][-1][1].append(float(given["value"]))

    def handle_endtag(self, tag: str) -> None:
        self.inside = None if tag == self.inside else self.inside
        if tag == "table":
            del self.table

    def handle_data(self, text: str) -> None:
        if self.inside in self.heads:
            self.heads[self.inside] += text
        elif self.inside == "pre":
            self.commands[-1] += text
        elif self.inside in ("td", "th"):
            before, values = self.table[-1][-1]
            self.table[-1][-1] = (before + text, values)


@pytest.fixture(scope="module")
def text(page_file: Path) -> str:
    return page_file.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(text: str) -> Page:
    return Page(text)


def alone(made: Made, name: str, tmp_path: Path) -> Path:
    """A folder with one of the result files."""
    folder = tmp_path / "alone"
    folder.mkdir()
    shutil.copy(made.results / name, folder)
    return folder


def read(made: Made, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((made.results / name).read_text())
    return found


def scores(entry: dict[str, Any]) -> list[list[float]]:
    """Mean and sd (where there is one) of the last and the best epoch, and n."""
    summaries = (entry["top1_last"], entry["top1_best"])
    both = [[value for value in (each["mean"], each["sd"]) if value is not None] for each in summaries]
    return [*both, [len(entry["top1_last"]["runs"])]]


def test_the_same_input_gives_the_same_bytes(made: Made, text: str, tmp_path: Path) -> None:
    assert reports.write(made, tmp_path / "report.html").read_text(encoding="utf-8") == text


@pytest.mark.parametrize(("file", "data"), [("cifar10.json", "cifar10-jpeg"), ("shapes.json", "shapes")])
def test_every_number_of_a_comparison_is_the_file_s(made: Made, page: Page, file: str, data: str) -> None:
    found = read(made, file)
    tables = {name: rows for (part, name), rows in page.tables.items() if part == f"Comparison on {data}"}
    shown = 0
    for ipc in sorted({cell["ipc"] for cell in found["cells"]}):
        title = next(name for name in tables if name.startswith(f"{ipc} image"))
        head, *rows = tables[title]
        cells = {(c["method"], c["labels"]): c for c in found["cells"] if c["ipc"] == ipc}
        assert {(row[0][0], row[1][0]) for row in rows} == cells.keys() and len(rows) == len(cells)
        epochs, batch = found["recipe"]["training"][str(ipc)]
        assert title.endswith(f", {epochs} epochs in batches of {batch}")
        for row in rows:
            cell = cells[row[0][0], row[1][0]]
            sizes = [[cell["bytes"][name]] for name in ("images", "labels", "teacher")]
            in_all = sum(size for (size,) in sizes)
            bits = [[8 * in_all / 4 / 1000]] if data == "shapes" else []  # of four classes; the older file says none
            assert [values for _, values in row[2 : 9 + len(bits)]] == [*scores(cell), *sizes, [in_all], *bits]
            known = {"hard": "hard", "teacher": "unlimited", "projector": "unlimited"}
            assert row[9 + len(bits)][0] == known.get(cell["labels"], "fixed")
            last = cell["top1_last"]
            spread = "" if last["sd"] is None else f" ± {last['sd']:.1f}"
            assert row[2][0] == f"{last['mean']:.1f}{spread}"
            shown += 1
        assert [name for name, _ in head][2:5] == ["last epoch", "best epoch", "n"]
        regimes = [row[9 + (data == "shapes")][0] for row in rows]
        assert regimes == sorted(regimes, key=["hard", "fixed", "unlimited"].index), "kept apart"
    assert shown == len(found["cells"])
    stages = tables["Teachers and projector on held-out training images"][1:]
    assert {row[0][0] for row in stages} == found["stages"].keys()
    for row in stages:
        names = ("teacher_top1", "ensemble_top1", "zero_shot_top1", "projector_top1")
        known = found["stages"][row[0][0]]
        assert [values for _, values in row[1:]] == [[known[name]] if name in known else [] for name in names]
    about = {row[0][0]: row[1][0] for row in tables["What was run"][1:]}
    assert about["commit"] == (found["environment"]["commit"] or "unknown")
    assert about["processor"] == found["environment"]["processor"] and about["torch"] == found["environment"]["torch"]


def test_models_stand_below_the_students_with_all_that_is_shipped(made: Made, tmp_path: Path) -> None:
    content = read(made, "shapes.json")
    top1 = {"mean": 61.25, "sd": None, "runs": [61.25]}
    model = {"model": "head", "settings": {}, "seeds": [0], "commits": ["x"], "bytes": 4000, "public": 9, "top1": top1}
    result = results.read({**content, "models": [model]})
    assert isinstance(result, Comparison) and results.read(content).models == []
    section = grids.comparison("results/shapes.json", result)
    (table,) = section.tables
    cells = dict(zip(table.head, table.rows[-1], strict=True))
    assert plain(cells["images"]) == plain(cells["images' size"]) == "none"
    assert plain(cells["labels"]) == "the head itself" and plain(cells["regime"]) == "no student"
    assert cells["last epoch"] == (Figure(61.25, "61.2"),) and cells["in all"][0].value == 4000
    assert cells["kbit per class"][0].value == 8.0
    assert len(table.rows) == len(result.cells) + 1
    shown = table.lines()
    assert shown[0] == ["images", "labels", "last epoch", "n", "in all", "kbit per class", "regime"]
    charts = next(block for block in section.blocks if block.title == "Accuracy against bytes")
    picture = charts.pictures[0][1][0]
    assert "the head itself 61.2 % at 4,000 bytes" in picture.alt
    svg = picture.draw().decode()
    assert "<!-- head -->" in svg and "<!-- bits per class -->" in svg
    assert "<!-- bytes of images, labels and teacher" in svg


def test_the_readme_keeps_students_apart_and_names_what_is_shipped_in_their_place(made: Made) -> None:
    content = read(made, "shapes.json")
    ours = [{**cell, "settings": {"lr": 1e-3}} for cell in content["cells"]]
    other = [{**cell, "student": "encoder/lite@64"} for cell in ours]
    top1 = {"mean": 61.25, "sd": None, "runs": [61.25]}
    model = {"model": "head", "settings": {}, "seeds": [0], "commits": ["x"], "bytes": 4096, "public": 9, "top1": top1}
    result = results.read({**content, "cells": [*ours, *other], "models": [model]})
    assert isinstance(result, Comparison)
    assert [pair[0].student for pair in result.pairs()] == ["convnet2_w8"], "a claim is about students from nothing"
    text = script("readme.py").comparison(result)
    for name in ("convnet2_w8", "encoder/lite@64"):
        assert f"**2 images per class, `{name}`, 2 epochs in batches of 4**" in text
    assert "| head | 61.2 | 4.0 KiB |" in text


def test_every_number_of_the_other_kinds_is_the_file_s(made: Made, page: Page) -> None:
    demo = read(made, "demo.json")
    rows = page.tables["The demonstration: fashion-mnist", "Accuracies"][1:]
    for row, name in zip(
        rows, ("random_hard", "distilled_hard", "distilled_projector", "random_projector"), strict=True
    ):
        last, best = demo[name], demo[name]["best"]
        assert [values for _, values in row[1:4]] == [[last["mean"], last["sd"]], [best["mean"], best["sd"]], [3]]
    presets = read(made, "presets.json")["presets"]
    rows = page.tables["Methods as their authors' code runs them: cifar10-jpeg", "Accuracies"][1:]
    for row, entry in zip(rows, presets, strict=True):
        assert [values for _, values in row[5:9]] == [*scores(entry), [entry["figures"]["teacher_top1"]]]
    students = read(made, "students.json")
    rows = page.tables["Students on shapes", "Accuracies"][1:]
    assert [values for _, values in rows[0][2:]] == [[students["epochs"]], *scores(students)]
    rows = page.tables["Projectors cut to label budgets (shapes)", "What was chosen"][1:]
    assert [[v for _, values in row for v in values] for row in rows] == [
        [400000, 386035, 8, 9, 100.0, 7.6e-9, 78.5],
        [100000, 99000, 4, 9, 97.25, 0.0125, 77.25],
    ]
    rows = page.tables[
        "Projectors cut to label budgets (shapes)", "Faithfulness to the uncut projector, on held-out training images"
    ][1:]
    assert [[v for _, values in row for v in values] for row in rows] == [
        [386035, 8, 9, 100.0, 7.6e-9],
        [99000, 4, 9, 97.25, 0.0125],
    ]


def test_every_number_of_a_study_is_the_file_s(made: Made, page: Page) -> None:
    found = read(made, "variants.json")
    cells = {cell["method"]: cell for cell in found["cells"]}
    tables = {name: rows for (part, name), rows in page.tables.items() if part == "Which? (shapes)"}
    head, *rows = tables["convnet2_w8, 2 images per class, 2 epochs in batches of 4"]
    assert [row[0][0] for row in rows] == found["recipe"]["order"] == ["rded", "hello"]
    assert head[3][0] == "from rded" and rows[0][3] == ("", [])
    gain = cells["hello"]["top1_last"]["mean"] - cells["rded"]["top1_last"]["mean"]
    assert rows[1][3] == (f"{gain:+.1f}", [gain])
    for row in rows:
        cell = cells[row[0][0]]
        last, best, n = scores(cell)
        held = [cell["held_top1"]["mean"], cell["held_top1"]["sd"]]
        assert [row[place][1] for place in (1, 2, 4, 5)] == [held, last, best, n]
        assert [row[place][1] for place in (7, 8)] == [
            [cell["numbers"]],
            [cell["bytes"]["labels"] + cell["bytes"]["teacher"]],
        ]
    assert [row[6][1] for row in rows] == [
        [found["stages"]["rded"]["teacher_top1"]],
        [found["stages"]["hello"]["projector_top1"]],
    ]
    paper = [[value for _, values in row for value in values] for row in tables["The paper's Table 3"][1:]]
    assert paper == [[28.2], [30.1], [43.5], [43.6], [43.7]]


def test_every_number_of_a_continual_run_is_the_file_s(made: Made, page: Page) -> None:
    found = read(made, "steps.json")
    (curve,) = found["curves"]
    head, row = page.tables["Classes that arrive in steps (shapes)", "2 steps, convnet2_w8, IPC 2"]
    assert [name for name, _ in head[2:4]] == ["2 classes", "4 classes"]
    points = [*curve["top1_by_step"], curve["top1_mean"]]
    assert [values for _, values in row[2:]] == [*([point["mean"], point["sd"]] for point in points), [2]]


def test_published_figures_stand_beside_ours_with_their_source(page: Page, text: str) -> None:
    name = "10 images per class, convnet3, 300 epochs in batches of 20"
    rows = page.tables["Comparison on cifar10-jpeg", name][1:]
    beside = {(row[0][0], row[1][0]): row[-1] for row in rows}
    assert beside["rded", "teacher"] == ("50.2 ± 0.5 (ConvNet-3); 37.1 ± 0.3 (ResNet-18)", [50.2, 0.5, 37.1, 0.3])
    assert beside["hello", "projector"] == ("", []), "the paper has no figure on these data"
    assert "Why published figures may differ: published students are ConvNet-3, ResNet-18, ours convnet3;" in text
    assert "DELT, CIFAR-10 (CVPR 2025, results table in VILA-Lab/DELT; a rival&#39;s copy" in text
    gains = page.tables["Comparison on cifar10-jpeg", "The paper's claim beside ours: HeLlO against RDED"][1:]
    assert [row[0][0] for row in gains].count("ImageNet-1K, the paper") == 3
    paper = {(row[0][0], row[1][0]): row[5][0] for row in gains}
    assert paper["ImageNet-100, the paper", "10"] == "+12.9" and paper["ImageNet-1K, the paper", "50"] == "-4.3"
    for row in gains:
        (rded,), (hello,), (gain,) = (values for _, values in row[3:])
        assert gain == hello - rded


def test_published_figures_have_known_papers_and_are_shown_once() -> None:
    found = published.published()
    places = [(e.data, e.method, e.ipc, e.network, e.paper, e.place) for e in found.accuracies]
    assert len(places) == len(set(places)) == 97
    for entry in (*found.accuracies, *found.ablation):
        assert entry.paper in found.papers and entry.data in found.data and 0 < entry.top1 < 100
    names = [name for data in found.data.values() for name in data.names]
    assert len(names) == len(set(names))
    table = published.experiment("Table 2")
    assert table is not None and [row[4][0].text for row in table.rows] == ["+3.2", "+3.7", "+1.6", "+11.7", "+1.5"]
    assert published.experiment("Table 1, left") is published.experiment(None) is None
    assert [e.top1 for e in published.beside("CIFAR10", "gvbsm", "stored", 50)] == [59.2]
    assert (
        published.beside("cifar10", "rded", "projector", 10) == published.beside("mnist", "rded", "teacher", 10) == []
    )


def test_nothing_is_fetched_and_nothing_runs(text: str, page: Page) -> None:
    outside = [address for address in page.addresses if not address.startswith(("data:", "#"))]
    assert outside == [] and len([a for a in page.addresses if a.startswith("data:image/")]) == len(page.images)
    assert "script" not in page.tags and not [name for name in page.names if name.startswith("on")]
    assert not re.search(r"url\(|@import|<iframe|<object|<embed|<link[^>]*stylesheet", text)
    for _, content in page.images:
        if b"<svg" in content:
            svg = content.decode()
            assert "<script" not in svg and not re.search(r'(?:href|src)="(?!#)', svg)
            assert "prefers-color-scheme:dark" in svg and "currentColor" in svg and "#010203" not in svg
        else:
            Image.open(io.BytesIO(content)).load()


def test_hostile_text_stays_text(made: Made, text: str, page: Page) -> None:
    assert "<script" not in text and "<img src=http" not in text and "49" not in page.heads["h2"]
    part = f"Comparison on {reports.HOSTILE}"
    titles = [name for (where, name), _ in page.tables.items() if where == part]
    assert f"2 images per class, {reports.HOSTILE}, 2 epochs in batches of 4" in titles
    about = {row[0][0]: row[1][0] for row in page.tables[part, "What was run"][1:]}
    assert about["commit"] == r"\x1b[31m" and about["others"] == f"{reports.HOSTILE} {reports.HOSTILE}"
    call = next(line for lines in page.commands for line in lines.splitlines() if "evil.example" in line)
    assert call == f"hello-distill compare {reports.HOSTILE}"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"cells": [{"method": "x"}]}, "a result of comparison, but not whole: cells.0.labels: Field required"),
        ({"recipe": 3}, "a result of comparison, but not whole: recipe: Input should be"),
        ({"stages": {"a": {"teacher_top1": "<b>1"}}}, "a result of comparison, but not whole: stages.a.teacher_top1"),
    ],
)
def test_a_file_that_is_not_whole_is_told(made: Made, tmp_path: Path, change: dict[str, Any], told: str) -> None:
    (tmp_path / "r").mkdir()
    (tmp_path / "r" / "a.json").write_text(json.dumps({**read(made, "cifar10.json"), **change}))
    text = report(tmp_path / "r", tmp_path / "p.html").read_text()
    assert f"<li><strong>r/a.json</strong>: {told}" in text and "<b>" not in text


def test_files_of_no_known_kind_are_listed(text: str, tmp_path: Path) -> None:
    listed = re.findall(r"<li><strong>(.*?)</strong>: (.*?)</li>", text)
    assert [name for name, _ in listed] == ["results/broken.json", "results/novel.json"]
    assert listed[0][1].startswith("cannot be read: Expecting value: line 1 column 12")
    assert listed[1][1] == f"no kind of result that is known here ({', '.join(results.NAMES)})"
    (tmp_path / "r").mkdir()
    for name, content in (("deep", b"[" * 10**5), ("list", b"[1]"), ("nan", b'{"cells": NaN}'), ("bytes", b"\xff{")):
        (tmp_path / "r" / f"{name}.json").write_bytes(content)
    (tmp_path / "r" / "folder.json").mkdir()
    found = report(tmp_path / "r", tmp_path / "p.html").read_text()
    assert re.findall(r"<li><strong>r/(\w+)\.json", found) == ["bytes", "deep", "folder", "list", "nan"]


def test_learning_curves_are_drawn_where_the_file_has_them(made: Made, page: Page, text: str) -> None:
    found = read(made, "shapes.json")
    cell = next(c for c in found["cells"] if (c["method"], c["labels"]) == ("hello", "projector"))
    assert cell["tested"].keys() == {"0", "1"} and cell["tested"]["0"].keys() == {"1", "2"}
    assert [cell["tested"][seed]["2"] for seed in "01"] == cell["top1_last"]["runs"]
    assert [max(cell["tested"][seed].values()) for seed in "01"] == cell["top1_best"]["runs"]
    assert mean_by_epoch({"0": {"1": 10.0, "2": 30.0}, "1": {"2": 40.0, "3": 1.0}}) == {2: 35.0}
    charts = [alt for alt, _ in page.images if alt.startswith("Top-1 by epoch")]
    charts = [alt for alt in charts if "convnet2_w8" in alt or "<" in alt]  # others are of the repository's results
    assert len(charts) == 4, "of shapes, of its variants, of the hostile copy, of the training"
    assert f"hello, projector ends at {cell['top1_last']['mean']:.1f} %" in next(a for a in charts if "<" not in a)
    assert "This file keeps of each training the last and the best tested epoch alone" in text


def test_the_commands_of_a_page_are_those_that_its_files_hold(made: Made, page: Page) -> None:
    others = (made.results / f"{name}.json" for name in ("photographs", "tiny-varied"))
    files = [*made.results.glob("*_*.json"), *others]
    held = [line for file in files for line in json.loads(file.read_text()).get("commands", [])]  # a plan keeps none
    assert len(held) == len(set(held)) > 0
    shown = {line for lines in page.commands for line in lines.splitlines()}
    experiments = {line for line in shown if line.split()[1] in ("compare", "study", "continual")}
    assert experiments == {*held, f"hello-distill compare {reports.HOSTILE}"}


def strip(content: bytes, side: int, count: int) -> torch.Tensor:
    """Images of a strip."""
    picture = torch.frombuffer(bytearray(Image.open(io.BytesIO(content)).convert("RGB").tobytes()), dtype=torch.uint8)
    picture = picture.view(side, -1, 3).permute(2, 0, 1)
    return torch.stack([picture[:, :, at : at + side] for at in range(0, count * (side + 2), side + 2)])


def test_an_artefact_shows_its_images_before_and_after_the_update(made: Made, page: Page, text: str) -> None:
    after, before = load(made.artefact).data, load(made.before).data
    shown = dict(page.images)
    for place, name in enumerate(after.classes):
        rows = after.of_class(place)
        assert torch.equal(strip(shown[f"distilled images of {name}"], 32, 2), after.images[rows])
        assert torch.equal(strip(shown[f"{name}, before"], 32, 2), before.images[rows])
        assert torch.equal(strip(shown[f"{name}, after"], 32, 2), after.images[rows])
    moved = (after.images.short() - before.images.short()).abs().float().mean()
    assert moved > 0 and f"moved by {moved:.2f} on average" in text


def test_without_the_images_before_the_way_to_them_is_told(made: Made, tmp_path: Path) -> None:
    results = alone(made, "demo.json", tmp_path)
    text = report(results, tmp_path / "p.html", [made.artefact]).read_text()
    assert "set `update` of its `distiller` to null" in text and "Most confused" not in text
    assert "before the image update" not in report(results, tmp_path / "q.html", [made.before]).read_text()


def test_the_most_confused_classes_are_those_of_the_labels(made: Made, page: Page) -> None:
    artifact = load(made.artefact)
    test = read_test_split(str(made.data), artifact.classes, artifact.data.side)
    logits = static(test, artifact.labels).logits.float()
    counts = torch.zeros(4, 4, dtype=torch.int64)
    for target, found in zip(test.targets.tolist(), logits.argmax(1).tolist(), strict=True):
        counts[target, found] += 1
    assert torch.equal(confusion(logits, test.targets, 4), counts)
    rows = page.tables[f"Artefact {made.artefact.name}", "Most confused classes"][1:]
    names = artifact.classes
    got = {(row[0][0], row[1][0]): row[2][1] + row[3][1] for row in rows}
    wanted = {
        (names[a], names[b]): [counts[a, b].item(), 100 * counts[a, b].item() / 6]
        for a in range(4) for b in range(4) if a != b and counts[a, b]
    }  # fmt: skip
    assert got == wanted and [row[2][1] for row in rows] == sorted([row[2][1] for row in rows], reverse=True)


def test_wrong_calls_are_told(made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, results = str(tmp_path / "p.html"), alone(made, "demo.json", tmp_path)
    with pytest.raises(InputError, match="is no folder; give the folder that holds the result files"):
        report(made.results / "demo.json", out)
    Path(out).write_text("a page that was made before")
    assert cli.main(["report", str(made.artefact), "--out", out]) == 2
    assert f"{made.artefact} is an artefact, not a folder of result files; give it by --art" in capsys.readouterr().err
    assert Path(out).read_text() == "a page that was made before"
    Path(out).unlink()
    with pytest.raises(InputError, match="--before and --data say something of artefacts; give --artefact, too"):
        report(results, out, data=str(made.data))
    with pytest.raises(InputError, match="is not the run of any --artefact without its image update"):
        report(results, out, [made.artefact], [made.artefact])
    (tmp_path / "empty").mkdir()
    assert cli.main(["report", str(tmp_path / "empty"), "--out", out]) == 2
    assert "holds no result file (.json); `hello-distill compare` writes one" in capsys.readouterr().err
    assert cli.main(["report", str(results), "--out", out, "--artefact", str(tmp_path / "none")]) == 2
    assert not Path(out).exists()
    assert cli.main(["report", str(results), "--out", out]) == 0
    assert capsys.readouterr().out == f"{out} is ready\n"


def test_a_chart_takes_no_text_for_a_formula() -> None:
    size, top1 = Bytes(images=1, labels=0, teacher=0, public=110_000_000), Summary.of([50.0])
    names: dict[str, Any] = {"method": r"$\frac{", "labels": "hard", "ipc": 1, "student": "a$b$"}
    cell = GridCell(**names, seeds=[0], commits=[], bytes=size, top1_last=top1, top1_best=top1)
    drawn = plot.picture(Data(name="$x$"), [cell], "svg", ["a$b$"], [1])
    assert drawn.startswith(b"<?xml") and b"(projector: and a public encoder of 110 MB)" in drawn


def test_an_artefact_is_said_to_be_made_with_its_own_labels(kinds: dict[str, Path]) -> None:
    """By the command that `distill` has for them; of labels that it has none for, no command is shown."""
    shown = {kind: pictures._made(folder, load(folder, "hard"), "a") for kind, folder in kinds.items()}
    own = "hello-distill distill DATA --config a/config.json --out a"
    assert shown["projector"] == [own] and shown["static"] == [f"{own} --labels static"]
    assert shown["stored"] == shown["pruned"] == []
