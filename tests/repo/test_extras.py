"""Extras are enough alone, and what needs one says which."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.skipif(sys.version_info < (3, 11), reason="tomllib came with Python 3.11")
def test_each_extra_is_enough_alone(artefact: Path, tree: Path) -> None:
    command = [sys.executable, ROOT / "scripts" / "extras.py", artefact, tree]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0 and not done.stderr, done.stderr
    assert [line.split(" alone")[0] for line in done.stdout.splitlines()[1:]] == [
        "[report]",
        "[log]",
        "[onnx]",
        "[view]",
        "[lite]",
        "[transformers]",
    ]
