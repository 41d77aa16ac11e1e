"""The package as strangers install it. Slow: an environment is made from nothing, torch and all."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from hello_distill.artifact import load
from hello_distill.views import whole
from test_trust import card_code

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_a_card_s_code_runs_where_only_pip_install_was_run(artefact: Path, clip_folder: Path, tmp_path: Path) -> None:
    """`pip install .` into an empty environment, then the card's own code: our logits within 1e-5 of their size."""
    subprocess.run([sys.executable, ROOT / "scripts" / "environment.py", tmp_path / "venv"], check=True)
    python = tmp_path / "venv" / "bin" / "python"
    constraints = ["--constraint", ROOT / "constraints.txt"]
    subprocess.run([python, "-m", "pip", "install", "--quiet", *constraints, ROOT], check=True)
    code = card_code(artefact, clip_folder, tmp_path / "found.npz")
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_DATASETS_CACHE": str(tmp_path / "cache")}
    environment.pop("PYTHONPATH", None)
    subprocess.run([python, "-c", code], check=True, env=environment, cwd=tmp_path)
    found, ours = np.load(tmp_path / "found.npz"), load(artefact)
    expected = ours.labels.projector(whole(ours.data.images)).numpy()
    np.testing.assert_allclose(found["logits"], expected, atol=1e-5 * np.abs(expected).max())

    command = tmp_path / "venv" / "bin" / "hello-distill"
    verified = subprocess.run([command, "verify", artefact, "--json"], env=environment, capture_output=True, text=True)
    assert verified.returncode == 0, verified.stderr
    assert len(json.loads(verified.stdout)["checks"]) == 3
