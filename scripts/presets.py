"""Run the methods' presets as their codes run them, and write what came of it beside the published figures.

    python scripts/presets.py DATA OUT FILE --recipes rded-small sre2l-small gvbsm-small --ipc 10 --seeds 0 1 2

OUT is the folder of the artefacts and of the teachers that they share. A recipe that FILE holds already is not run
again.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

import hello_distill as hd
from hello_distill.format.manifest import CONFIG
from hello_distill.format.results import Preset, Presets
from hello_distill.format.storage import as_json
from hello_distill.report import published
from hello_distill.system.context import Context
from hello_distill.system.machine import keep_freed_memory
from hello_distill.system.progress import ConsoleProgress
from hello_distill.system.publishing import write


def told(data: str, method: str, labels: str, ipc: int) -> str | None:
    """What is published for the method, in a line; None where nothing is."""
    figures = []
    for entry in published.beside(data, method, labels, ipc):
        sd = "" if entry.sd is None else f" +- {entry.sd}"
        figures.append(f"{entry.top1}{sd} ({entry.network}; {published.published().papers[entry.paper].name})")
    return ", ".join(figures) or None


parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("data")
parser.add_argument("out", type=Path)
parser.add_argument("file", type=Path)
parser.add_argument("--recipes", nargs="+", default=["rded-small", "sre2l-small", "gvbsm-small"])
parser.add_argument("--ipc", type=int, default=10)
parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
options = parser.parse_args()

keep_freed_memory()
Context(ConsoleProgress()).__enter__()  # to the end of the script
content = json.loads(options.file.read_text()) if options.file.exists() else {"presets": []}
result = Presets.model_validate(content)
name = Path(options.data).resolve().name
for recipe in options.recipes:
    if any((done.recipe, done.ipc) == (recipe, options.ipc) for done in result.presets):
        continue
    folder = options.out / f"{recipe}-ipc{options.ipc}"
    if not folder.exists():
        wanted = replace(hd.recipe(recipe), ipc=options.ipc)
        hd.distill(options.data, folder, wanted, options.out / "stages")
    trained = hd.train(folder, options.data, seeds=options.seeds)
    settings = json.loads((folder / CONFIG).read_text())
    preset = Preset(
        recipe=recipe,
        ipc=options.ipc,
        published=told(name, settings["method"], trained["labels"], options.ipc),
        command=f"python scripts/presets.py {name} OUT {options.file} --recipes {recipe} --ipc {options.ipc} "
        f"--seeds {' '.join(map(str, options.seeds))}",
        settings=settings,
        figures=hd.info(folder)["figures"],
        **{**trained, "data": name},
    )
    result.presets = [*result.presets, preset]
    options.file.parent.mkdir(parents=True, exist_ok=True)
    write(options.file, as_json(result.content()))
