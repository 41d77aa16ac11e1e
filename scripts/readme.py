"""Write what is generated in README.md and in docs/, so that no figure and no output is typed by hand.

    python scripts/readme.py           rewrite it
    python scripts/readme.py --check   end with 1 if something is stale
    python scripts/readme.py --record  run the README's commands first, into results/quickstart.txt (minutes)

Generated text stands between a marker and `<!-- end -->`. Markers:

    <!-- results/NAME.json -->    the tables of a result file
    <!-- results/quickstart.txt -->   commands of the README with what they printed when they were recorded
    <!-- results/quickstart.txt begins -->   the same, cut after the first part of the last table
    <!-- results/forecast.txt -->   what `make forecast` printed
    <!-- results/tutorial.txt NUMBER -->   what a cell of the tutorial printed when `make tutorial` ran it
    <!-- headline -->             the README's table and its verdict
    <!-- claims -->               the paper's claims, judged
    <!-- fields -->               the fields of `hello.json`
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
from collections.abc import Iterable, Sequence
from contextlib import redirect_stdout, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import fields
import tutorial
from hello_distill.cli import main
from hello_distill.cli.output import show
from hello_distill.format.results import Bench, Budgets, Demo, Plan, Presets, read
from hello_distill.format.results.entries import Summary
from hello_distill.format.results.grids import Comparison, Continual, GridCell, GridResult, Study
from hello_distill.report import claims, terminal
from hello_distill.report.grids import NOTES, STAGES
from hello_distill.report.page import Table, Text, row, weight
from hello_distill.report.parts import commits, diverged, schedule
from hello_distill.report.sections import section
from hello_distill.system.errors import listed

LABELS = (
    "hard",
    "static",
    "teacher",
    "teacher-int8",
    "teacher-int4",
    "stored-1",
    "stored-10",
    "stored-100",
    "stored",
    "pruned",
    "pruned-lpld",
    "quantized",
    "quantized-lpqld",
    "projector-float32",
    "projector",
    "projector-int8",
    "projector-int4",
)
ROOT = Path(__file__).parents[1]
TRANSCRIPT = ROOT / "results" / "quickstart.txt"
FORECAST = ROOT / "results" / "forecast.txt"
MARKED = re.compile(
    r"(<!-- (results/(?:[\w-]+\.json|quickstart\.txt(?: begins)?|forecast\.txt|tutorial\.txt \d+)|headline|claims|"
    r"fields|\$ .+?)"
    r" -->\n).*?(<!-- end -->)",
    re.DOTALL,
)
QUICKSTART = (
    "hello-distill distill fashion-mnist --recipe demo --config docs/quick.yaml --out out/fashion",
    "hello-distill info out/fashion",
)
"""The README's first two commands; `--record` runs them."""
DEMO = "$ hello-distill demo --out out/demo"
"""The third takes longer; it wrote `results/demo.json` and prints that file's table."""
HEADLINE = (("cifar10", "CIFAR-10"), ("tiny", "Tiny-ImageNet, 32 px"), ("photographs", "Imagenette, 64 px"))
HEADLINE_ROWS = {
    ("hello", "projector"): "HeLlO: its images, its projector",
    ("rded", "teacher"): "RDED: its images, its teacher online",
    ("random", "projector"): "random images, HeLlO's projector",
    ("random", "teacher"): "random images, RDED's teacher online",
    ("random", "hard"): "random images, hard labels",
}


def markdown(table: Table, title: bool = True) -> str:
    """A table of the report as Markdown, with its notes."""
    head, *rows = table.lines(apart=True)
    lines = [f"| {' | '.join(line)} |" for line in (head, *rows)]
    lines.insert(1, "|---" * len(head) + "|")
    return "\n\n".join([*([f"**{table.title}**"] if title else []), "\n".join(lines), *table.notes])


def processors(result: Any) -> str:
    """Names of the processors that a result was made on, and of the GPUs."""
    machines = [result.environment, *getattr(result, "more_environments", [])]
    return " and ".join(dict.fromkeys(map(hardware, machines)))


def hardware(machine: dict[str, Any]) -> str:
    """A machine's processor, and the GPU where one was used; versions before this one did not ask for its name."""
    used = machine["device"].startswith("cuda")
    return machine["processor"] + (f" with {machine.get('gpu') or 'a GPU'}" if used else "")


def made(result: Any) -> str:
    """Where a result was made, and from which commits where its cells say that."""
    where = result.environment
    named = commits(result) if isinstance(result, GridResult) else ""
    return f"Made at {named or (where['commit'] or 'unknown')[:8]} on {processors(result)}, {where['threads']} threads."


def seeds(cells: Iterable[GridCell]) -> str:
    """How many seeds the cells have, in words."""
    counts = sorted({len(cell.seeds) for cell in cells})
    return " or ".join(map(str, counts)) + (" seed" if counts == [1] else " seeds")


def demo(result: Demo) -> str:
    """Fashion-MNIST: four trainings, their bytes, the gap."""
    student, figures = result.recipe["student"], result.figures
    about = (
        f"The teachers' last epoch has {figures['teacher_top1']:.1f} % and the projector "
        f"{figures['projector_top1']:.1f} % on held-out training images, {figures['zero_shot_top1']:.1f} % before it "
        f"was fitted. Student: `{student['network']}`, {student['optim']['epochs']} epochs, {result.test_images:,} "
        f"test images. {made(result)} The whole took {result.seconds / 60:.0f} minutes."
    )
    return "\n\n".join([*(markdown(table, False) for table in section("", result).tables), about]) + "\n"


def comparison(result: Comparison) -> str:
    """A comparison: accuracies by images and labels for each number of images per class, then what they take."""
    cells, base = result.cells, result.recipe.content()["base"]
    ipcs = sorted({cell.ipc for cell in cells})
    labels = [name for name in LABELS if any(cell.labels == name for cell in cells)]
    names = sorted({cell.student for cell in cells})
    parts = [markdown(accuracies(result, ipc, name, labels)) for ipc in ipcs for name in names]
    parts += [markdown(models(result))] if result.models else []
    parts += [f"What is shipped:\n\n{markdown(shipped(cells, ipcs, labels), False)}", tuned(cells)]
    students = ", ".join(f"`{name}`" for name in names)
    ahead = max(cell.top1_best.mean - cell.top1_last.mean for cell in cells)
    fitted = " and ".join(sorted({f"`{trial.fit}`" for trial in result.trials if trial.fit}))
    fits = f", some of {fitted}" * bool(fitted)
    notes = [
        f"Top-1 in percent after the last epoch, mean +- sd over {seeds(cells)}, each with images "
        f"and a student of its own.{remade(cells)} At the best of {base['student']['evaluations']} tested epochs it is "
        f"at most {ahead:.1f} points higher.",
        f"Student: {students}. {len(result.trials)} tuning trials on held-out training images: of students as many "
        f"for each method and family of labels{fits}, none of the network that teaches. They stand in the "
        "result file.",
        *measured(result.stages, base["teachers"]["network"]),
        f"Made at {commits(result)} on {processors(result)}.",
        *([diverged(result.diverged)] if result.diverged else []),
    ]
    return "\n\n".join([*parts, " ".join(notes)]) + "\n"


def remade(cells: Iterable[GridCell]) -> str:
    """A sentence on images that were not the same ones for all labels, where there are some: their bytes differ."""
    sizes: dict[tuple[str, int], set[int]] = {}
    for cell in cells:
        sizes.setdefault((cell.method, cell.ipc), set()).add(cell.bytes.images)
    twice = listed([f"{method} at IPC {ipc}" for (method, ipc), several in sorted(sizes.items()) if len(several) > 1])
    text = (
        f" Teachers, projector and images of {twice} were made more than once, so columns of a row differ by that, too."
    )
    return text if twice else ""


def continual(result: Continual) -> str:
    """Classes that arrive in steps: a table for each number of steps, a row for each labeller."""
    return "\n\n".join([*blocks(result), f"{labellers(result)}{made(result)}"]) + "\n"


def blocks(result: Any) -> list[str]:
    """The tables of a result, whose notes stand under the last."""
    shown = section("", result).tables
    tables = [block for block in shown if isinstance(block, Table)]
    texts = [sentence for block in shown if isinstance(block, Text) for sentence in block.notes]
    return [*(markdown(replace(table, notes=())) for table in tables), *tables[-1].notes, *texts]


def labellers(result: Continual) -> str:
    """A sentence on how well the labellers of all classes know held-out images."""
    known = result.stages.get("hello, all classes")
    if known is None:
        return ""
    return (
        f"On held-out training images of all classes RDED's teacher has {known['teacher_top1']:.1f} % and HeLlO's "
        f"projector {known['projector_top1']:.1f} %. "
    )


def study(result: Study) -> str:
    """Variants beside the first of them: the report's tables, or of several students one with a column for each."""
    recipe, cells = result.recipe, result.cells
    students = [name for name in recipe.networks if any(cell.student == name for cell in cells)]
    ends = "" if recipe.question.endswith("?") else "."
    about = (
        f"{recipe.question}{ends} On {result.data.name}. Top-1 in percent of a student after the last epoch, mean +- "
        f"sd over {seeds(cells)} of images and students.{refitted(result)} {made(result)}"
    )
    if len(students) == 1:
        shown = [part for part in blocks(result) if part not in NOTES]
        return "\n\n".join([*shown, about]) + "\n"
    parts = []
    for ipc in sorted({cell.ipc for cell in cells}):
        rows = {(cell.method, cell.student): cell for cell in cells if cell.ipc == ipc}
        table = [row(name, *(last(rows.get((name, student))) for student in students)) for name in recipe.order]
        heads = ["", *(f"`{name}`" for name in students)]
        parts.append(markdown(Table(f"IPC {ipc}{schedule(result, ipc)}", heads, table)))
    texts = [diverged(result.diverged)] if result.diverged else []
    return "\n\n".join([*parts, about, *texts]) + "\n"


def refitted(result: Study) -> str:
    """A sentence on rows whose labeller was fitted anew in the middle of a study."""
    twice = [name.removesuffix(", again") for name in result.stages if name.endswith(", again")]
    if not twice:
        return ""
    return (
        f" Teachers and projectors were made a second time in the middle of the study, among them that of "
        f"`{listed(twice)}`, so that rows differ by that, too."
    )


def models(result: Comparison) -> Table:
    """Networks that are shipped in the place of images."""
    rows = [row(each.model, each.top1, weight(each.bytes)) for each in result.models]
    note = (
        "Fitted on the original images, once, and tested as they are: who can ship one needs no images and no student."
    )
    return Table("Shipped in the place of images", ["network", "test images", "its size"], rows, [note])


def accuracies(result: Comparison, ipc: int, student: str, labels: list[str]) -> Table:
    """A student's row for each method, a column for each kind of labels."""
    cells = {(cell.method, cell.labels): cell for cell in result.cells if (cell.ipc, cell.student) == (ipc, student)}
    columns = [name for name in labels if name != "stored" and any(key[1] == name for key in cells)]
    methods = [name for name in result.recipe.content()["methods"] if any(key[0] == name for key in cells)]
    rows = [row(method, *(last(cells.get((method, name))) for name in columns)) for method in methods]
    several = len({cell.student for cell in result.cells}) > 1
    named = f", `{student}`" if several else ""
    title = f"{ipc} image{'s' if ipc > 1 else ''} per class{named}{schedule(result, ipc)}"
    return Table(title, ["images", *columns], rows)


def last(cell: GridCell | None) -> Summary | None:
    """Accuracy after the last epoch; None where there is no such cell."""
    return cell and cell.top1_last


def shipped(cells: Sequence[GridCell], ipcs: list[int], labels: list[str]) -> Table:
    """Bytes by what they are for; methods share a row where they ship the same."""
    table = []
    for part, name in [("images", None), *((part, name) for name in labels for part in ("labels", "teacher"))]:
        rows: dict[tuple[int | None, ...], list[str]] = {}
        chosen = [cell for cell in cells if name in (None, cell.labels)]
        for method in dict.fromkeys(cell.method for cell in chosen):
            sizes: dict[int, int] = {}
            for cell in (cell for cell in chosen if cell.method == method):
                sizes[cell.ipc] = max(sizes.get(cell.ipc, 0), getattr(cell.bytes, part))
            if any(sizes.values()):
                rows.setdefault(tuple(sizes.get(ipc) for ipc in ipcs), []).append(method)
        for counts, methods in rows.items():
            what = {"images": "images", "labels": f"{name} labels", "teacher": f"the teacher of {name} labels"}[part]
            of = f" ({', '.join(methods)})" if len(rows) > 1 else ""
            table.append(row(what + of, *(None if c is None else weight(c) for c in counts)))
    if public := max(cell.bytes.public for cell in cells):
        table.append(row("not shipped: the public encoder that projectors rely on", *[weight(public)] * len(ipcs)))
    return Table("", ["", *(f"IPC {ipc}" for ipc in ipcs)], table)


def tuned(cells: Sequence[GridCell]) -> str:
    """The settings of students that trials chose, folded away."""
    rows: dict[str, list[str]] = {}
    several = len({cell.student for cell in cells}) > 1
    for cell in cells:
        used = rows.setdefault(student_settings(cell.settings), [])
        name = f"{cell.method} with {cell.labels}" + (f" (`{cell.student}`)" if several else "")
        if name not in used:
            used.append(name)
    table = Table("", ["student", "of"], [row(name, ", ".join(used)) for name, used in sorted(rows.items())])
    summary = "<details markdown><summary>The students' losses and rates, as trials chose them</summary>"
    return "\n\n".join([summary, markdown(table, False), "</details>"])


def student_settings(settings: dict[str, Any]) -> str:
    """A student's tuned settings as people read them."""
    losses = {
        "mse": f"MSE + {settings.get('beta', 0):g} CE",
        "kl": f"KL at temperature {settings.get('temperature', 0):g}",
        None: "CE",
    }
    loss = settings.get("loss")
    return f"{losses.get(loss, loss)}, rate {settings['lr']:g}"


def measured(stages: dict[str, Any], network: str) -> list[str]:
    """Accuracies of teachers and projector on held-out training images; `network` is the projector's teacher."""
    names = {**STAGES, "ensemble_top1": "mean of the weak teachers, which Eq. 5 imitates"}
    sentences = []
    for name, values in stages.items():
        known = {key: text for key, text in names.items() if values.get(key) is not None}
        if name != network:
            known.pop("ensemble_top1", None)
        sentences.append(f"{name} " + ", ".join(f"{values[key]:.1f} % ({text})" for key, text in known.items()))
    return [f"On held-out training images: {'; '.join(sentences)}."] if sentences else []


def presets(result: Presets) -> str:
    """Methods as their codes run them, beside what others report."""
    (table,) = section("", result).tables
    return f"{markdown(table, False)}\n\n{made(result.presets[-1])}\n"


def budgets(result: Budgets) -> str:
    """Projectors cut to label budgets."""
    chosen, curve = section("", result).tables
    return "\n\n".join([markdown(chosen, False), *curve.notes, made(result)]) + "\n"


def bench(result: Bench) -> str:
    """How fast each stage is."""
    (table,) = section("", result).tables
    return f"{markdown(table, False)}\n\n{made(result)} The whole took {result.seconds / 60:.0f} minutes.\n"


def plan(result: Plan) -> str:
    """What to ship, as a plan found it."""
    took = f" The whole took {result.seconds / 60:.0f} minutes." if result.seconds else ""
    return "\n\n".join([*blocks(result), f"{made(result)}{took}"]) + "\n"


WRITERS = {
    Bench: bench,
    Demo: demo,
    Comparison: comparison,
    Continual: continual,
    Study: study,
    Presets: presets,
    Budgets: budgets,
    Plan: plan,
}


def headline() -> str:
    """The README's one table: HeLlO, RDED and random images on two data sets, with the verdict of the claim on them."""
    compared = {title: result_of(name) for name, title in HEADLINE}
    columns = [
        (title, ipc) for title, result in compared.items() for ipc in sorted({cell.ipc for cell in result.cells})
    ]
    heads = ["students trained on", *(f"{title}, {ipc} a class" for title, ipc in columns)]
    rows = []
    for (method, labels), text in HEADLINE_ROWS.items():
        names = {"method": method, "labels": labels}
        rows.append(row(text, *(last(compared[title].cell({**names, "ipc": ipc})) for title, ipc in columns)))
    judged = [line for line in claims.lines(compared.values()) if line.claim == claims.HEADLINE]
    titles = {result.data.name: title for title, result in compared.items()}
    verdicts = [f"- {titles[line.data]}: **{line.verdict}** ({gains(line)})." for line in judged]
    runs = seeds(cell for result in compared.values() for cell in result.cells)
    about = f"Top-1 in percent on test images after the last epoch, mean +- sd over {runs}; empty: not run."
    said = f'"{claims.HEADLINE}", the paper says:'
    return "\n\n".join([markdown(Table("", heads, rows), False), about, said, "\n".join(verdicts)]) + "\n"


def gains(line: claims.Line) -> str:
    """HeLlO's points less RDED's with their 95 % interval, by images per class, without the bytes."""
    parts = [part.split(",")[0] for part in line.figures.split("; ") if " at IPC " in part]
    return "HeLlO less RDED " + ", ".join(part.replace(" at IPC ", " points at ") + " a class" for part in parts)


def result_of(name: str) -> Any:
    """What is in a result file."""
    return read(json.loads((ROOT / "results" / f"{name}.json").read_text(encoding="utf-8")))


def printed(command: str) -> str:
    """What a quick command prints, by running it in this process, as lines for a terminal of 100 columns."""
    lines = io.TextIOWrapper(io.BytesIO(), encoding="ascii", errors="backslashreplace")
    with redirect_stdout(lines), suppress(SystemExit):
        if f"$ {command}" == DEMO:
            show(result_of("demo").content(), terminal.result, False)
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
        results = [result_of(file.stem) for file in sorted((ROOT / "results").glob("*.json"))]
        return f"{markdown(replace(claims.table(results), notes=()), False)}\n"
    if marker == "fields":
        return fields.tables()
    if marker.startswith("results/quickstart.txt"):
        text = TRANSCRIPT.read_text(encoding="utf-8")
        return f"```console\n{beginning(text) if marker.endswith('begins') else text}```\n"
    if marker == "results/forecast.txt":
        return f"```console\n{FORECAST.read_text(encoding='utf-8')}```\n"
    if marker.startswith("results/tutorial.txt "):
        return tutorial.printed(int(marker.split()[1]))
    if marker.startswith("$ "):
        head = f"{marker}\n" if marker == DEMO else ""
        return f"```text\n{head}{printed(marker.removeprefix('$ '))}```\n"
    result = result_of(marker.removeprefix("results/").removesuffix(".json"))
    return WRITERS[type(result)](result)


def written() -> dict[Path, str]:
    """Every page with its generated text made anew, the notebook, and the pictures of the site."""
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    texts = {page: page.read_text(encoding="utf-8") for page in pages}
    made_anew = {page: MARKED.sub(lambda m: m[1] + generated(m[2]) + m[3], text) for page, text in texts.items()}
    made_anew[tutorial.NOTEBOOK] = tutorial.notebook(made_anew[tutorial.PAGE])
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
