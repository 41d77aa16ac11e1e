"""Write what is generated in README.md and in docs/, so that no figure and no output is typed by hand.

    python scripts/readme.py           rewrite it
    python scripts/readme.py --check   end with 1 if something is stale
    python scripts/readme.py --record  run the README's commands first, into results/quickstart.txt (minutes)

Generated text stands between a marker and `<!-- end -->`. Markers:

    <!-- results/NAME.json -->    the tables of a result file
    <!-- results/quickstart.txt -->   commands of the README with what they printed when they were recorded
    <!-- results/quickstart.txt begins -->   the same, cut after the first part of the last table
    <!-- headline -->             the README's table and its verdict
    <!-- claims -->               the paper's claims, judged
    <!-- $ hello-distill ... -->  what a command prints, by running it
"""

from __future__ import annotations

import io
import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import redirect_stdout, suppress
from pathlib import Path
from typing import Any

from hello_distill.cli import main
from hello_distill.cli.output import show
from hello_distill.report import claims, terminal
from hello_distill.report.kinds import study as study_kind
from hello_distill.report.terminal import DEMO_ROWS, demo_gains, diverged, remade, size, spread, student_settings
from hello_distill.system.errors import listed

LABELS = (
    "hard",
    "static",
    "teacher",
    "stored",
    "pruned",
    "quantized",
    "projector-float32",
    "projector",
    "projector-int8",
    "projector-int4",
)
ROOT = Path(__file__).parents[1]
TRANSCRIPT = ROOT / "results" / "quickstart.txt"
MARKED = re.compile(
    r"(<!-- (results/[\w-]+\.json|results/quickstart\.txt(?: begins)?|headline|claims|\$ .+?) -->\n).*?(<!-- end -->)",
    re.DOTALL,
)
QUICKSTART = (
    "hello-distill distill fashion-mnist --recipe demo --config docs/quick.yaml --out out/fashion",
    "hello-distill info out/fashion",
)
"""The README's first two commands; `--record` runs them."""
DEMO = "$ hello-distill demo --out out/demo"
"""The third takes longer; it wrote `results/demo.json` and prints that file's table."""
HEADLINE = (("cifar10", "CIFAR-10"), ("tiny", "Tiny-ImageNet at 32 pixels"))
HEADLINE_ROWS = {
    ("hello", "projector"): "HeLlO: its images, its projector",
    ("rded", "teacher"): "RDED: its images, its teacher online",
    ("random", "projector"): "random real images, HeLlO's projector",
    ("random", "teacher"): "random real images, RDED's teacher online",
    ("random", "hard"): "random real images, hard labels",
}


def processors(result: dict[str, Any]) -> str:
    """Names of the processors that a result was made on, and of the GPUs."""
    machines = [result["environment"], *result.get("more_environments", [])]
    return " and ".join(dict.fromkeys(map(hardware, machines)))


def hardware(machine: dict[str, Any]) -> str:
    """A machine's processor, and the GPU where one was used; versions before this one did not ask for its name."""
    used = machine["device"].startswith("cuda")
    return machine["processor"] + (f" with {machine.get('gpu') or 'a GPU'}" if used else "")


def demo(result: dict[str, Any]) -> str:
    """Fashion-MNIST: three trainings, their bytes, the gap."""
    lines = ["| students trained on | label bytes | top-1, last epoch |", "|---|---|---|"]
    for key, text in DEMO_ROWS.items():
        labels = size(result["bytes"]["projector"]) if key.endswith("projector") else "none"
        lines.append(f"| {text} | {labels} | {spread(result[key])} |")
    student = result["recipe"]["student"]
    figures = result["figures"]
    return "\n".join([*lines, ""]) + (
        f"\n{demo_gains(result)} The spread is over students; (a) and (d) are one draw of images. The teachers' "
        f"last epoch has {figures['teacher_top1']:.1f} % and the projector {figures['projector_top1']:.1f} % on "
        f"held-out training images, {figures['zero_shot_top1']:.1f} % before it was fitted. The images take "
        f"{size(result['bytes']['images'])}; stored float16 labels for the same training would take "
        f"{size(result['bytes']['stored_labels'])}. Student: `{student['network']}`, {student['optim']['epochs']} "
        f"epochs, {result['test_images']:,} test images. {made(result)} The whole took {result['seconds'] / 60:.0f} "
        "minutes.\n"
    )


def made(result: dict[str, Any]) -> str:
    """Where a result was made, and from which commits where its cells say that."""
    where = result["environment"]
    commits = sorted({commit[:8] for cell in result.get("cells", []) for commit in cell["commits"]})
    told = ", ".join(commits) or (where["commit"] or "unknown")[:8]
    return f"Made at {told} on {processors(result)}, {where['threads']} threads."


def comparison(result: dict[str, Any]) -> str:
    """A comparison: accuracies by images and labels for each number of images per class, then what they take."""
    cells = result["cells"]
    ipcs = sorted({cell["ipc"] for cell in cells})
    labels = [name for name in LABELS if any(cell["labels"] == name for cell in cells)]
    parts = [accuracies(result, ipc, labels) for ipc in ipcs]
    parts += [f"What is shipped:\n\n{shipped(cells, ipcs, labels)}", tuned(cells)]
    commits = sorted({commit[:8] for cell in cells for commit in cell["commits"]})
    students = ", ".join(f"`{name}`" for name in sorted({cell["student"] for cell in cells}))
    runs = sorted({len(cell["seeds"]) for cell in cells})
    ahead = max(cell["top1_best"]["mean"] - cell["top1_last"]["mean"] for cell in cells)
    tested = result["recipe"]["base"]["student"]["evaluations"]
    fitted = " and ".join(sorted({f"`{trial['fit']}`" for trial in result["trials"] if "fit" in trial}))
    notes = [
        f"Top-1 in percent after the last epoch, mean +- sd over {' or '.join(map(str, runs))} seeds, each with images "
        f"and a student of its own.{remade(result)} At the best of {tested} tested epochs it is at most {ahead:.1f} "
        "points higher.",
        f"Student: {students}. {len(result['trials'])} tuning trials on held-out training images: of students as many "
        f"for each method and family of labels, some of {fitted}, none of the network that teaches. They stand in the "
        "result file.",
        *measured(result["stages"], result["recipe"]["base"]["teachers"]["network"]),
        f"Made at {', '.join(commits)} on {processors(result)}.{diverged(result)}",
    ]
    return "\n\n".join([*parts, " ".join(notes)]) + "\n"


def continual(result: dict[str, Any]) -> str:
    """Classes that arrive in steps: a table for each number of steps, a row for each labeller."""
    parts = []
    for ipc, steps in sorted({(curve["ipc"], curve["steps"]) for curve in result["curves"]}):
        chosen = [curve for curve in result["curves"] if (curve["ipc"], curve["steps"]) == (ipc, steps)]
        heads = ["images", "labels", *map(str, chosen[0]["classes"]), "mean of steps"]
        lines = [
            f"**{steps} steps**, IPC {ipc}; classes seen:",
            "",
            f"| {' | '.join(heads)} |",
            "|---" * len(heads) + "|",
        ]
        for curve in chosen:
            points = [f"{point['mean']:.1f}" for point in curve["top1_by_step"]]
            lines.append(f"| {' | '.join([curve['method'], curve['labels'], *points, spread(curve['top1_mean'])])} |")
        parts.append("\n".join(lines))
    student = result["recipe"]["base"]["student"]["network"]
    about = (
        f"Top-1 in percent on the test images of the classes seen, after the last epoch of a new `{student}` at each "
        "step; mean over seeds, each with its own order of classes. `-seen`: teachers and projector know the classes "
        f"seen so far; `-all`: all of them, from the first step.{labellers(result)} {made(result)}{diverged(result)}"
    )
    return "\n\n".join([*parts, about]) + "\n"


def labellers(result: dict[str, Any]) -> str:
    """A sentence on how well the labellers of all classes know held-out images."""
    found = result["stages"].get("hello, all classes")
    if found is None:
        return ""
    return (
        f" On held-out training images of all classes RDED's teacher has {found['teacher_top1']:.1f} % and HeLlO's "
        f"projector {found['projector_top1']:.1f} %."
    )


def study(result: dict[str, Any]) -> str:
    """Variants beside the first of them: a table for each number of images per class, students side by side."""
    recipe, cells, judged = result["recipe"], result["cells"], False
    students = [name for name in recipe["networks"] if any(cell["student"] == name for cell in cells)]
    parts = []
    for ipc in sorted({cell["ipc"] for cell in cells}):
        chosen = {(cell["method"], cell["student"]): cell for cell in cells if cell["ipc"] == ipc}
        columns = [f"`{name}`" for name in students]
        if len(students) == 1:
            columns = ["test images", "held-out images", "numbers kept"]
        tested = decided(result, ipc) if len(students) == 1 else {}
        columns += ["at 5 %"] if tested else []
        judged = judged or bool(tested)
        epochs, batch_size = recipe["training"][str(ipc)]
        lines = [f"IPC {ipc}, {epochs} epochs in batches of {batch_size}:", ""]
        lines += [f"| | {' | '.join(columns)} |", "|---" * (1 + len(columns)) + "|"]
        for name in recipe["order"]:
            row = [chosen.get((name, student)) for student in students]
            shown = [short(cell) for cell in row]
            if len(students) == 1 and row[0] is not None:
                shown += [short(row[0], "held_top1"), f"{row[0]['numbers']:,}"]
                shown += [tested.get(name, "")] if tested else []
            if any(row):
                lines.append(f"| {name} | {' | '.join(shown)} |")
        parts.append("\n".join(lines))
    runs = sorted({len(cell["seeds"]) for cell in cells})
    what = "student" if len(students) > 1 else f"`{students[0]}`"
    ends = "" if recipe["question"].endswith("?") else "."
    about = (
        f"{recipe['question']}{ends} On {result['data']['name']}. Top-1 in percent of a {what} after the last epoch, "
        f"mean +- sd over {' or '.join(map(str, runs))} seeds of images and students.{refitted(result)} "
        f"{made(result)}{diverged(result)}"
    )
    if judged:
        parts.append(study_kind.DUNNETT)
    return "\n\n".join([*parts, about]) + "\n"


def decided(result: dict[str, Any], ipc: int) -> dict[str, str]:
    """Which variants are better or worse than the recipe on held-out images, where they are tried for its place."""
    found = study_kind.Study.model_validate(result)
    if not study_kind.tries_for_its_place(found):
        return {}
    return study_kind.against_first([place for place in found.cells if place.ipc == ipc], found.recipe.order)


def refitted(result: dict[str, Any]) -> str:
    """A sentence on rows whose labeller was fitted anew in the middle of a study."""
    twice = [name.removesuffix(", again") for name in result["stages"] if name.endswith(", again")]
    if not twice:
        return ""
    return (
        f" Teachers and projectors were made a second time in the middle of the study, among them that of "
        f"`{listed(twice)}`, so that rows differ by that, too."
    )


def accuracies(result: dict[str, Any], ipc: int, labels: list[str]) -> str:
    """A row for each method, a column for each kind of labels."""
    cells = {(cell["method"], cell["labels"]): cell for cell in result["cells"] if cell["ipc"] == ipc}
    columns = [name for name in labels if name != "stored" and any(key[1] == name for key in cells)]
    epochs, batch_size = result["recipe"]["training"][str(ipc)]
    title = f"**{ipc} image{'s' if ipc > 1 else ''} per class**, {epochs} epochs in batches of {batch_size}"
    lines = [title, "", f"| images | {' | '.join(columns)} |", "|---|" + "---|" * len(columns)]
    for method in [name for name in result["recipe"]["methods"] if any(key[0] == name for key in cells)]:
        shown = [short(cells.get((method, name))) for name in columns]
        lines.append(f"| {method} | {' | '.join(shown)} |")
    return "\n".join(lines)


def short(cell: dict[str, Any] | None, what: str = "top1_last") -> str:
    """Mean and standard deviation, or nothing where there is no such cell."""
    if cell is None:
        return ""
    sd = cell[what]["sd"]
    return f"{cell[what]['mean']:.1f}" + ("" if sd is None else f" +- {sd:.1f}")


def shipped(cells: list[dict[str, Any]], ipcs: list[int], labels: list[str]) -> str:
    """Bytes by what they are for; methods share a row where they ship the same."""
    lines = [f"| | {' | '.join(f'IPC {ipc}' for ipc in ipcs)} |", "|---|" + "---|" * len(ipcs)]
    wanted = [("images", None), *((part, name) for name in labels for part in ("labels", "teacher"))]
    for part, name in wanted:
        rows: dict[tuple[int | None, ...], list[str]] = {}
        chosen = [cell for cell in cells if name in (None, cell["labels"])]
        for method in dict.fromkeys(cell["method"] for cell in chosen):
            own: dict[int, int] = {}
            for cell in (cell for cell in chosen if cell["method"] == method):
                own[cell["ipc"]] = max(own.get(cell["ipc"], 0), cell["bytes"][part])
            if any(own.values()):
                rows.setdefault(tuple(own.get(ipc) for ipc in ipcs), []).append(method)
        for counts, methods in rows.items():
            what = {"images": "images", "labels": f"{name} labels", "teacher": "the teacher of teacher labels"}[part]
            told = f" ({', '.join(methods)})" if len(rows) > 1 else ""
            lines.append(f"| {what}{told} | {' | '.join('' if c is None else size(c) for c in counts)} |")
    if public := max(cell["bytes"]["public"] for cell in cells):
        what = "not shipped: the public encoder that projectors rely on"
        lines.append(f"| {what} | {' | '.join([size(public)] * len(ipcs))} |")
    return "\n".join(lines)


def tuned(cells: list[dict[str, Any]]) -> str:
    """The settings of students that trials chose, folded away."""
    rows: dict[str, list[str]] = {}
    for cell in cells:
        used = rows.setdefault(student_settings(cell["settings"]), [])
        if (name := f"{cell['method']} with {cell['labels']}") not in used:
            used.append(name)
    lines = ["<details markdown><summary>The students' losses and rates, as trials chose them</summary>", ""]
    lines += ["| student | of |", "|---|---|"]
    lines += [f"| {settings} | {', '.join(used)} |" for settings, used in sorted(rows.items())]
    return "\n".join([*lines, "", "</details>"])


def measured(stages: dict[str, Any], network: str) -> list[str]:
    """Accuracies of teachers and projector on held-out training images; `network` is the projector's teacher."""
    names = {"teacher_top1": "last epoch", "ensemble_top1": "ensemble that the projector learns from"}
    names |= {"zero_shot_top1": "before fitting", "projector_top1": "fitted"}
    told = []
    for name, found in stages.items():
        known = {key: text for key, text in names.items() if found.get(key) is not None}
        if name != network:
            known.pop("ensemble_top1", None)
        told.append(f"{name} " + ", ".join(f"{found[key]:.1f} % ({text})" for key, text in known.items()))
    return [f"On held-out training images: {'; '.join(told)}."] if told else []


def presets(result: dict[str, Any]) -> str:
    """Methods as their codes run them, beside what others report."""
    lines = ["| preset | IPC | top-1, last epoch | best epoch | its teacher | published |", "|---|---|---|---|---|---|"]
    for entry in result["presets"]:
        scores = f"{spread(entry['top1_last'])} | {spread(entry['top1_best'])}"
        known = [entry["figures"][key] for key in entry["figures"] if key.endswith("teacher_top1")]
        teacher = f"{known[0]:.1f} %" if known else ""
        lines.append(f"| `{entry['recipe']}` | {entry['ipc']} | {scores} | {teacher} | {entry['published'] or ''} |")
    last = result["presets"][-1]
    about = (
        f"Student: `{last['student']}`. The spread is over students of one draw of images. Teachers are measured on "
    )
    about += f"held-out training images. {made(last)}"
    return "\n".join(lines) + f"\n\n{about}\n"


def budgets(result: dict[str, Any]) -> str:
    """Projectors cut to label budgets."""
    heads = ["budget", "bytes", "ranks", "precision", "agreement", "relative error", "its own top-1 on test images"]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for entry in sorted(result["artefacts"].values(), key=lambda entry: -entry["budget"]):
        ranks = entry["encoder_rank"], entry["head_rank"]
        point = next(
            p for p in result["curve"]
            if (p["encoder_rank"], p["head_rank"], p["precision"]) == (*ranks, entry["precision"])
        )  # fmt: skip
        lines.append(
            f"| {size(entry['budget'])} | {entry['bytes']:,} | {ranks[0]} and {ranks[1]} | {entry['precision']} | "
            f"{point['agreement']:.1f} % | {point['error']:.3g} | {entry['projector_test_top1']:.1f} % |"
        )
    knee = result["knee"]
    return "\n".join(lines) + (
        f"\n\nAgreement and error are against the uncut float32 projector, on held-out training images. From "
        f"{knee['bytes']:,} bytes on (ranks {knee['encoder_rank']} and {knee['head_rank']}, {knee['precision']}) "
        f"more of them buy less than half a point of agreement. {made(result)}\n"
    )


def table_of(result: dict[str, Any]) -> Callable[[dict[str, Any]], str]:
    """The function that writes a result's table."""
    if result.get("recipe", {}).get("experiment") == "study":
        return study
    kinds = {"curves": continual, "cells": comparison, "presets": presets, "artefacts": budgets}
    return next((table for key, table in kinds.items() if key in result), demo)


def claimed() -> str:
    """What all results have to say to the paper's claims."""
    contents = [json.loads(file.read_text(encoding="utf-8")) for file in sorted((ROOT / "results").glob("*.json"))]
    rows = ["| claim | data | verdict | points, and half of their 95 % confidence interval |", "|---|---|---|---|"]
    return "\n".join([*rows, *(f"| {' | '.join(line)} |" for line in claims.lines(contents))]) + "\n"


def headline() -> str:
    """The README's one table: HeLlO, RDED and random images on two data sets, with the verdict of the claim on them."""
    results = {title: result_of(name) for name, title in HEADLINE}
    columns = [(title, ipc) for title in results for ipc in sorted({cell["ipc"] for cell in results[title]["cells"]})]
    heads = [f"{title}, {ipc} a class" for title, ipc in columns]
    lines = [f"| students trained on | {' | '.join(heads)} |", "|---" * (1 + len(columns)) + "|"]
    for (method, labels), text in HEADLINE_ROWS.items():
        row = []
        for title, ipc in columns:
            keys = {(cell["method"], cell["labels"]): cell for cell in results[title]["cells"] if cell["ipc"] == ipc}
            row.append(short(keys.get((method, labels))))
        lines.append(f"| {text} | {' | '.join(row)} |")
    judged = [line for line in claims.lines(results.values()) if line.claim == claims.HEADLINE]
    titles = {result["data"]["name"]: title for title, result in results.items()}
    verdicts = [f"- {titles[line.data]}: **{line.verdict}** ({gains(line)})." for line in judged]
    runs = " or ".join(
        map(str, sorted({len(cell["seeds"]) for result in results.values() for cell in result["cells"]}))
    )
    about = f"Top-1 in percent on test images after the last epoch, mean +- sd over {runs} seeds; empty: not run."
    return "\n".join([*lines, "", about, "", f'"{claims.HEADLINE}", the paper says:', "", *verdicts]) + "\n"


def gains(line: claims.Line) -> str:
    """HeLlO's points less RDED's with their 95 % interval, by images per class, without the bytes."""
    parts = [part.split(",")[0] for part in line.figures.split("; ") if " at IPC " in part]
    return "HeLlO less RDED " + ", ".join(part.replace(" at IPC ", " points at ") + " a class" for part in parts)


def result_of(name: str) -> dict[str, Any]:
    """What is in a result file."""
    content: dict[str, Any] = json.loads((ROOT / "results" / f"{name}.json").read_text(encoding="utf-8"))
    return content


def printed(command: str) -> str:
    """What a quick command prints, by running it in this process, as lines for a terminal of 100 columns."""
    lines = io.TextIOWrapper(io.BytesIO(), encoding="ascii", errors="backslashreplace")
    with redirect_stdout(lines), suppress(SystemExit):
        if f"$ {command}" == DEMO:
            show(result_of("demo"), terminal.demo, False)
        else:
            main(shlex.split(command)[1:])
    lines.seek(0)
    return trimmed(lines.read())


def trimmed(output: str) -> str:
    """Output without empty ends of lines, which editors would cut."""
    return "\n".join(line.rstrip() for line in output.splitlines()).strip("\n") + "\n"


def record() -> None:
    """Run the README's commands as a user does, in an empty folder, and keep what they print."""
    outputs = []
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "docs").symlink_to(ROOT / "docs")
        for command in QUICKSTART:
            words = [sys.executable, "-m", "hello_distill", *shlex.split(command)[1:]]
            environment = os.environ | {"COLUMNS": "100", "PYTHONIOENCODING": "ascii", "PYTHONPATH": str(ROOT / "src")}
            done = subprocess.run(words, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True, check=True)
            outputs.append(f"$ {command}\n{trimmed(done.stdout)}")
    TRANSCRIPT.write_text("\n".join(outputs), encoding="utf-8")


def beginning(text: str) -> str:
    """The commands with the first part of their last table."""
    ends = [match.start() for match in re.finditer(r"^[|+]-", text, re.MULTILINE)]
    return f"{text[: ends[1]]}...\n" if len(ends) > 1 else text


def generated(marker: str) -> str:
    """The text that belongs behind a marker."""
    if marker == "headline":
        return headline()
    if marker == "claims":
        return claimed()
    if marker.startswith("results/quickstart.txt"):
        text = TRANSCRIPT.read_text(encoding="utf-8")
        return f"```console\n{beginning(text) if marker.endswith('begins') else text}```\n"
    if marker.startswith("$ "):
        head = f"{marker}\n" if marker == DEMO else ""
        return f"```text\n{head}{printed(marker.removeprefix('$ '))}```\n"
    result = result_of(marker.removeprefix("results/").removesuffix(".json"))
    return table_of(result)(result)


def written() -> dict[Path, str]:
    """Every page with its generated text made anew, and the pictures of the site."""
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    texts = {page: page.read_text(encoding="utf-8") for page in pages}
    made_anew = {page: MARKED.sub(lambda m: m[1] + generated(m[2]) + m[3], text) for page, text in texts.items()}
    pictures = sorted((ROOT / "results").glob("*.svg"))
    return made_anew | {ROOT / "docs" / "assets" / file.name: file.read_text(encoding="utf-8") for file in pictures}


def update() -> None:
    """Write what is stale, or say so and end with 1."""
    os.environ |= {"COLUMNS": "100", "NO_COLOR": "1"}
    if "--record" in sys.argv:
        record()
    for file, text in written().items():
        if file.is_file() and file.read_text(encoding="utf-8") == text:
            continue
        if "--check" in sys.argv:
            sys.exit(f"{file.relative_to(ROOT)} is stale; run `make results`")
        file.parent.mkdir(exist_ok=True)
        file.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    update()
