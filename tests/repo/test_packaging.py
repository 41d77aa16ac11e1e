"""The package as strangers install it. Those that make an environment from nothing, torch and all, are slow."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from test_trust import card_code

from conftest import script
from hello_distill.artifact import load
from hello_distill.views import whole

ROOT = Path(__file__).parents[2]
PARTS = ("src", "pyproject.toml", "README.md", "LICENSE")
"""What the package is built of."""


def test_the_source_distribution_installs(tmp_path: Path) -> None:
    """The wheel that is built of it has all files of the package and no others, and its command runs from elsewhere."""
    release = script("release.py")
    (tmp_path / "tree").mkdir()
    for part in PARTS:
        copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copyfile
        copy(ROOT / part, tmp_path / "tree" / part)
    for left in [*tmp_path.rglob("__pycache__"), *tmp_path.rglob("*.egg-info")]:
        shutil.rmtree(left)
    wheel = release.wheel_of(release.source_distribution(tmp_path / "tree", tmp_path), tmp_path)
    source = tmp_path / "tree" / "src"
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if name.startswith("hello_distill/")}
    assert packed == {
        file.relative_to(source).as_posix() for file in (source / "hello_distill").rglob("*") if file.is_file()
    }
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--no-compile"]
    subprocess.run([*install, "--target", tmp_path / "site", wheel], check=True)
    extras = "lite,report,view,log,onnx"
    satisfied = [sys.executable, "-m", "pip", "install", "--dry-run", "--no-index", f"{wheel}[{extras}]"]
    resolved = subprocess.run(satisfied, capture_output=True, text=True)
    assert resolved.returncode == 0, f"what it asks for is not what the lock installs: {resolved.stderr}"
    version = wheel.name.split("-")[1]
    told = {"--version": f"hello-distill {version}\n", "recipes": "distill --recipe\n"}
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
    for argument, beginning in told.items():
        command = [tmp_path / "site" / "bin" / "hello-distill", argument]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.stdout.startswith(beginning), done.stderr


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
    check_logits(artefact, tmp_path / "found.npz")
    command = tmp_path / "venv" / "bin" / "hello-distill"
    verified = subprocess.run([command, "verify", artefact, "--json"], env=environment, capture_output=True, text=True)
    assert verified.returncode == 0, verified.stderr
    assert len(json.loads(verified.stdout)["checks"]) == 3


OLDEST = (
    "torch==2.14.1", "torchvision==0.29.1", "numpy==1.26.4", "pyarrow==16.0.0", "datasets==3.0.0", "peft==0.14.0",
    "open_clip_torch==3.0.0", "transformers==4.46.3", "huggingface_hub==0.29.3",
)  # fmt: skip
"""The oldest libraries that pyproject.toml allows for what a card's code uses; torch is the one that is tested with."""


@pytest.mark.slow
def test_a_card_s_code_runs_with_the_oldest_libraries(artefact: Path, clip_folder: Path, tmp_path: Path) -> None:
    """Without this package, in an environment of its own."""
    subprocess.run([sys.executable, ROOT / "scripts" / "environment.py", tmp_path / "venv"], check=True)
    python = tmp_path / "venv" / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", *OLDEST], check=True)
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_DATASETS_CACHE": str(tmp_path / "cache")}
    environment.pop("PYTHONPATH", None)
    code = card_code(artefact, clip_folder, tmp_path / "found.npz")
    subprocess.run([python, "-c", code], check=True, env=environment, cwd=tmp_path)
    check_logits(artefact, tmp_path / "found.npz")


def check_logits(artefact: Path, found: Path) -> None:
    expected = load(artefact).labels.projector(whole(load(artefact).data.images)).numpy()
    np.testing.assert_allclose(np.load(found)["logits"], expected, atol=1e-5 * np.abs(expected).max())
