"""Distil under several label budgets, and write what came of it to a file.

    python scripts/budgets.py DATA OUT FILE --recipe hello-many --budgets 800KB 400KB 200KB 100KB

Each projector's own accuracy on the test images stands beside, for which nothing is chosen.

OUT is the folder of the artefacts, one per budget, and of the teachers and the projector that they share; what is
there already is not made again.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import hello_distill as hd
from hello_distill.data.sources import read_test_split, short_name
from hello_distill.format.manifest import CONFIG
from hello_distill.format.results import Budgets, Cut
from hello_distill.format.results.entries import Data
from hello_distill.format.storage import as_json
from hello_distill.labels.sources.budget import Point, knee, parse_bytes
from hello_distill.system.context import Context
from hello_distill.system.machine import environment, keep_freed_memory
from hello_distill.system.progress import ConsoleProgress
from hello_distill.system.publishing import write
from hello_distill.training.scores import top1

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("data")
parser.add_argument("out", type=Path)
parser.add_argument("file", type=Path)
parser.add_argument("--recipe", default="hello-many")
parser.add_argument("--budgets", nargs="+", default=["800KB", "400KB", "200KB", "100KB"])
options = parser.parse_args()

keep_freed_memory()
Context(ConsoleProgress()).__enter__()  # to the end of the script
artefacts, test = {}, None
for budget in options.budgets:
    folder = options.out / budget
    if not folder.exists():
        recipe = hd.recipe(options.recipe).with_label_bytes(parse_bytes(budget))
        hd.distill(options.data, folder, recipe, options.out / "stages")
    info, artefact = hd.info(folder), hd.load(folder)
    test = test or read_test_split(options.data, artefact.classes, artefact.data.side)
    manifest = json.loads((folder / "hello.json").read_text())["labels"]
    artefacts[budget] = Cut(
        budget=parse_bytes(budget),
        bytes=info["labels"]["bytes"],
        **{name: manifest[name] for name in ("encoder_rank", "head_rank", "precision")},
        projector_test_top1=top1(artefact.labels.projector, test),
    )
curve = info["figures"]["fidelity"]
result = Budgets(
    command=f"python scripts/budgets.py {Path(options.data).name} {' '.join(sys.argv[2:])}",
    data=Data(name=short_name(options.data)),
    artefacts=artefacts,
    curve=curve,
    faithful_to="the teacher, on views of the distilled images",
    knee=knee([Point(**point) for point in curve]).__dict__,
    recipe=json.loads((options.out / options.budgets[-1] / CONFIG).read_text()),
    environment=environment(),
)
write(options.file, as_json(result.content()))
