"""Write the README's tables from the files in `results/`, so that no figure is typed by hand.

    python scripts/readme.py           rewrite them
    python scripts/readme.py --check   end with 1 if they are not what the files say

A table stands between `<!-- results/NAME.json -->` and `<!-- end -->`, the paper's claims between `<!-- claims -->` and
`<!-- end -->`.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hello_distill.report import claims
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
PLACE = re.compile(r"(<!-- results/(?P<name>[\w-]+)\.json -->\n).*?(<!-- end -->)", re.DOTALL)
CLAIMS = re.compile(r"(<!-- claims -->\n).*?(<!-- end -->)", re.DOTALL)


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
        f"held-back training images, {figures['zero_shot_top1']:.1f} % before it was fitted. The images take "
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
        f"Student: {students}. {len(result['trials'])} tuning trials on held-back training images: of students as many "
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
    """A sentence on how well the labellers of all classes know held-back images."""
    found = result["stages"].get("hello, all classes")
    if found is None:
        return ""
    return (
        f" On held-back training images of all classes RDED's teacher has {found['teacher_top1']:.1f} % and HeLlO's "
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
            columns = ["test images", "held-back images", "numbers kept"]
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
    """Which variants are better or worse than the recipe on held-back images, where they are tried for its place."""
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
    lines = ["<details><summary>The students' losses and rates, as trials chose them</summary>", ""]
    lines += ["| student | of |", "|---|---|"]
    lines += [f"| {settings} | {', '.join(used)} |" for settings, used in sorted(rows.items())]
    return "\n".join([*lines, "", "</details>"])


def measured(stages: dict[str, Any], network: str) -> list[str]:
    """Accuracies of teachers and projector on held-back training images; `network` is the projector's teacher."""
    names = {"teacher_top1": "last epoch", "ensemble_top1": "ensemble that the projector learns from"}
    names |= {"zero_shot_top1": "before fitting", "projector_top1": "fitted"}
    told = []
    for name, found in stages.items():
        known = {key: text for key, text in names.items() if found.get(key) is not None}
        if name != network:
            known.pop("ensemble_top1", None)
        told.append(f"{name} " + ", ".join(f"{found[key]:.1f} % ({text})" for key, text in known.items()))
    return [f"On held-back training images: {'; '.join(told)}."] if told else []


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
    about += f"held-back training images. {made(last)}"
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
        f"\n\nAgreement and error are against the uncut float32 projector, on held-back training images. From "
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


def filled(text: str) -> str:
    """The README's text with every table made anew."""

    def table(match: re.Match[str]) -> str:
        name = match["name"]
        result = json.loads((ROOT / "results" / f"{name}.json").read_text(encoding="utf-8"))
        return match[1] + table_of(result)(result) + match[3]

    text = PLACE.sub(table, text)
    return CLAIMS.sub(lambda match: match[1] + claimed() + match[2], text)


if __name__ == "__main__":
    readme = ROOT / "README.md"
    before = readme.read_text(encoding="utf-8")
    after = filled(before)
    if "--check" in sys.argv:
        sys.exit("README.md does not say what results/ says; run `make results`" if before != after else 0)
    readme.write_text(after, encoding="utf-8")
