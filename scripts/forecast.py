"""What ImageNet-1K would take on this machine, by `distill --dry-run`, into results/forecast.txt: `make forecast`.

    python scripts/forecast.py PHOTOGRAPHS

A few batches of photographs at 224 pixels are timed (minutes). The offline encoder stands for CLIP's RN50.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

from hello_distill.system.machine import environment
from hello_distill.system.publishing import write

ROOT = Path(__file__).parents[1]
photographs = Path(sys.argv[1])
made = environment()
parts = [f"# {made['processor']}, {made['threads']} threads, at {made['commit']}\n"]
for ipc in (10, 50):
    words = ["distill", str(photographs), "--recipe", "imagenet1k", "--encoder", "lite", "--ipc", str(ipc)]
    words += ["--size", "224", "--out", "out/a", "--dry-run", "--assume", "images=1281167", "classes=1000"]
    command = [Path(sys.executable).with_name("hello-distill"), *words]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=os.environ | {"COLUMNS": "90"})
    shown = shlex.join(["hello-distill", *(word.replace(str(photographs), photographs.name) for word in words)])
    lines = [line.rstrip() for line in done.stdout.splitlines()]
    parts.append("\n".join([f"$ {shown}", *lines, ""]))
write(ROOT / "results" / "forecast.txt", "\n".join(parts).encode())
