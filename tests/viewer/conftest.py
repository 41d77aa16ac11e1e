"""An artefact from before the image update, for both tests of the page."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from hello_distill import artifact as artifacts
from hello_distill.artifact import Distilled
from hello_distill.format.specs import Codec


@pytest.fixture(scope="session")
def before(artefact: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The artefact as its run would have left it without the image update, with images that are clearly others."""
    kept = artifacts.load(artefact, "hard")
    config = json.loads((artefact / "config.json").read_text())
    config["distiller"]["update"] = None
    data = replace(kept.data, images=255 - kept.data.images)
    codec = Codec(**kept.manifest["images"]["codec"])
    out = tmp_path_factory.mktemp("before") / "still"
    return artifacts.save(Distilled(data, kept.labels, {}), 2, kept.student, codec, config, out)
