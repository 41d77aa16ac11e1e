"""The folder of an artefact, seen from outside: its manifest, its bytes. Does not import torch.

README.md                          data set card
data/train-00000-of-00001.parquet  image {bytes, path}, label with class names
projector/                         peft adapter (kind `projector`)
teacher/                           classifiers' weights (kind `teacher`)
labels/                            stored labels (kinds `stored`, `pruned`, `quantized`, `static`)
hello.json                         manifest
config.json                        resolved recipe, fit for --config
SHA256SUMS                         for `sha256sum -c`
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from hello_distill import sizes
from hello_distill.errors import ArtifactError, InputError

FORMAT = 1
MANIFEST = "hello.json"
CONFIG = "config.json"
SUMS = "SHA256SUMS"
IMAGES = "data/train-00000-of-00001.parquet"
LADDER: dict[str, dict[str, Any]] = {
    "stored float16": {},
    "stored int8": {"codec": "int8"},
    "stored float8": {"codec": "float8"},
    "pruned 10x": {"keep": 1 / 10},
    "pruned 40x": {"keep": 1 / 40},
    "top-10 of pruned 10x": {"codec": "topk", "k": 10, "keep": 1 / 10},
}
"""Ways of storing labels that `info` compares."""
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
    file.write_bytes(as_json(content))


def as_json(content: dict[str, Any]) -> bytes:
    """What `write_json` writes."""
    return (json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode()


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
    """What an artefact holds and costs, in bytes on disk, and what other labels for the same training would cost.

    `stored_labels` is the paper's count (that of SRe2L and LPLD, too): float16 logits alone, for every view of the
    recorded student training. `ladder` counts whole files.
    """
    root = Path(folder)
    manifest = read_manifest(root)
    kept, student, labels = manifest["images"], manifest["student"], manifest["labels"]
    views = student["optim"]["epochs"] * kept["count"]
    encoder = labels.get("encoder", {})
    public = encoder.get("weights", labels.get("weights", []))
    return {
        "classes": len(manifest["classes"]),
        "ipc": manifest["ipc"],
        "images": {"count": kept["count"], "side": kept["side"], "bytes": (root / IMAGES).stat().st_size},
        "labels": {
            "kind": labels["kind"],
            "parameters": labels["parameters"],
            "bytes": folder_bytes(root / "projector") + folder_bytes(root / "labels"),
            "index_bytes": index_bytes(labels),
        },
        "teacher": {"networks": labels.get("networks", []), "bytes": folder_bytes(root / "teacher")},
        "public_weights": [{"name": w["name"], "bytes": w["bytes"]} for w in public],
        "stored_labels": {"bytes": views * len(manifest["classes"]) * 2, "formula": STORED_FORMULA},
        "ladder": ladder(manifest),
        "encoder_knows": encoder.get("knows"),
        "figures": manifest["figures"],
    }


def folder_bytes(folder: Path) -> int:
    """Bytes of all files below a folder; 0 where there is none."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def index_bytes(labels: dict[str, Any]) -> int:
    """Bytes of stored labels that are not labels: views, batches, file headers."""
    if "batches" not in labels:
        return 0
    form = labels["codec"]
    columns = sizes.label_columns(form["name"], labels["classes"], form.get("k", 0))
    return sizes.recording_bytes(labels["images"], labels["batches_per_epoch"], labels["batches"], columns)["index"]


def ladder(manifest: dict[str, Any]) -> list[dict[str, Any]]:
    """Bytes of each way of keeping labels for the same images and the same training.

    `smaller_from_ipc` is the number of images per class from which this artefact's projector is the smaller.
    Teacher and projector are listed where the artefact knows their size.
    """
    classes, ipc, optim = len(manifest["classes"]), manifest["ipc"], manifest["student"]["optim"]
    projector = manifest["labels"].get("bytes_by_precision", {})
    ours = projector.get(manifest["labels"].get("precision"))

    def stored(images_per_class: int, **how: Any) -> int:
        return sizes.stored_bytes(classes, images_per_class, optim["epochs"], optim["batch_size"], **how)

    def static(images_per_class: int) -> int:
        return sizes.safetensors_bytes({"logits": ("F16", (classes * images_per_class, classes))})

    ways: dict[str, Callable[[int], int]] = {name: partial(stored, **how) for name, how in LADDER.items()}
    ways["static float16"] = static
    rungs: list[dict[str, Any]] = []
    for name, way in ways.items():
        above = sizes.first_ipc_above(way, ours) if ours is not None else None
        rungs.append({"labels": name, "bytes": way(ipc), "smaller_from_ipc": above})
    if teacher := manifest["figures"].get("teacher_bytes"):
        above = 1 if ours is not None and ours < teacher else None
        rungs.append({"labels": "teacher float16", "bytes": teacher, "smaller_from_ipc": above})
    for precision in ("float32", "float16", "int8", "int4"):
        if precision in projector:
            rungs.append({"labels": f"projector {precision}", "bytes": projector[precision], "smaller_from_ipc": None})
    return rungs
