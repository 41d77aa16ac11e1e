"""The folder of an artefact, seen from outside: its manifest, its bytes. Does not import torch.

README.md                          data set card
data/train-00000-of-00001.parquet  image {bytes, path}, label with class names
projector/                         peft adapter (kind `projector` only)
hello.json                         manifest
config.json                        resolved recipe, fit for --config
SHA256SUMS                         for `sha256sum -c`
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from hello_distill.errors import ArtifactError, InputError

FORMAT = 1
MANIFEST = "hello.json"
CONFIG = "config.json"
SUMS = "SHA256SUMS"
IMAGES = "data/train-00000-of-00001.parquet"
STORED_FORMULA = "epochs x images x classes x 2 bytes (one float16 logit row for every augmented view)"


def read_manifest(folder: str | Path) -> dict[str, Any]:
    """The manifest of an artefact. Raises InputError where there is none, ArtifactError where it is broken."""
    file = Path(folder) / MANIFEST
    if not file.is_file():
        raise InputError(f"{folder} is no artefact: it has no {MANIFEST}; make one with `hello-distill distill`")
    try:
        manifest: dict[str, Any] = json.loads(file.read_text())
        made_by = manifest["format"]
    except (ValueError, KeyError, TypeError) as error:
        raise ArtifactError(f"{file} cannot be read ({error}); get the artefact again") from None
    if made_by != FORMAT:
        raise ArtifactError(f"{file} has format {made_by}, this version reads {FORMAT}; use the version that wrote it")
    return manifest


def write_json(file: Path, content: dict[str, Any]) -> None:
    """JSON with sorted keys: the same content gives the same bytes."""
    file.write_text(json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")


def listing(folder: Path) -> dict[str, dict[str, Any]]:
    """Size in bytes and SHA-256 of every file below a folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        path.relative_to(folder).as_posix(): {
            "bytes": path.stat().st_size,
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        }
        for path in files
    }


def info(folder: str | Path) -> dict[str, Any]:
    """What an artefact holds and costs, in bytes on disk.

    `stored_labels` is what float16 logits for every view of the recorded student training would take, the
    count of SRe2L, LPLD and the HeLlO paper.
    """
    root = Path(folder)
    manifest = read_manifest(root)
    kept, student = manifest["images"], manifest["student"]
    views = student["optim"]["epochs"] * kept["count"]
    label_files = [path for path in (root / "projector").rglob("*") if path.is_file()]
    encoder = manifest["labels"].get("encoder", {})
    return {
        "classes": len(manifest["classes"]),
        "ipc": manifest["ipc"],
        "images": {"count": kept["count"], "side": kept["side"], "bytes": (root / IMAGES).stat().st_size},
        "labels": {
            "kind": manifest["labels"]["kind"],
            "parameters": manifest["labels"]["parameters"],
            "bytes": sum(path.stat().st_size for path in label_files),
        },
        "public_weights": [{"name": w["name"], "bytes": w["bytes"]} for w in encoder.get("weights", [])],
        "stored_labels": {"bytes": views * len(manifest["classes"]) * 2, "formula": STORED_FORMULA},
        "encoder_knows": encoder.get("knows"),
        "figures": manifest["figures"],
    }
