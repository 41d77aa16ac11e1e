"""Distil a folder, train students on the artefact with each of its labels, and write what came of it to a file.

    python scripts/photographs.py DATA OUT FILE [--recipe cpu] [--encoder lite] [--ipc 10] [--seeds 0 1 2]

OUT is the folder of the artefact; if it is there already, students are trained on what it holds.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path

import hello_distill as hd
from hello_distill.machine import keep_freed_memory
from hello_distill.progress import ConsoleProgress
from hello_distill.storage import CONFIG, write_json

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("data")
parser.add_argument("out", type=Path)
parser.add_argument("file", type=Path)
parser.add_argument("--recipe", default="cpu")
parser.add_argument("--encoder", default="lite")
parser.add_argument("--ipc", type=int, default=10)
parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
options = parser.parse_args()

keep_freed_memory()
progress = ConsoleProgress()
if not options.out.exists():
    recipe = replace(hd.recipe(options.recipe).with_encoder(options.encoder), ipc=options.ipc)
    hd.distill(options.data, options.out, recipe, progress)
runs = [hd.train(options.out, options.data, None, kind, options.seeds, progress) for kind in ("hard", "projector")]
for run in runs:
    run["data"] = Path(options.data).name  # where it lies is nobody's affair
write_json(
    options.file,
    {
        "command": f"python scripts/photographs.py {' '.join([Path(options.data).name, *sys.argv[2:]])}",
        "info": hd.info(options.out),
        "recipe": json.loads((options.out / CONFIG).read_text()),
        "runs": runs,
    },
)
