"""What an artefact holds and costs, and what other labels for the same training would cost. Without torch."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from hello_distill.format import pulled, sizes, verification
from hello_distill.format.kinds import part_of, shipped
from hello_distill.format.manifest import IMAGES

LADDER: dict[str, dict[str, Any]] = {
    "stored float16": {},
    "stored int8": {"codec": "int8"},
    "stored float8": {"codec": "float8"},
    "pruned 10x": {"keep": 1 / 10},
    "pruned 40x": {"keep": 1 / 40},
    "top-10 of pruned 10x": {"codec": "topk", "k": 10, "keep": 1 / 10},
}
"""Ways of storing labels that `info` compares; top-k only where there are more classes than k."""
STORED_FORMULA = "epochs x images x classes x 2 bytes (one float16 logit row for every augmented view)"


def info(folder: str | Path) -> dict[str, Any]:
    """What an artefact holds and costs, in bytes on disk, and what other labels for the same training would cost.

    `stored_labels` is the paper's count (that of SRe2L and LPLD, too): float16 logits alone, for every view of the
    recorded student training. `ladder` counts whole files. What the manifest states and only opening the labels shows
    is not checked here: the labels' `parameters`, and rungs that are `stated`. Raises as `verification.check_sizes`
    does.
    """
    manifest = verification.check_sizes(pulled.local(folder))
    files = manifest["files"]
    images, student, labels = manifest["images"], manifest["student"], manifest["labels"]
    stored = sizes.tensor_bytes("F16", (student["optim"]["epochs"], images["count"], len(manifest["classes"])))
    part = part_of(labels)
    size, networks = shipped(files, part.files()), part.classifiers()
    return {
        "classes": len(manifest["classes"]),
        "ipc": manifest["ipc"],
        "images": {"count": images["count"], "side": images["side"], "bytes": files[IMAGES]["bytes"]},
        "labels": {
            "kind": labels["kind"],
            "parameters": labels["parameters"],
            "bytes": 0 if networks else size,
            "index_bytes": part.index_bytes(),
        },
        "teacher": {"networks": networks, "bytes": size if networks else 0},
        **({"own_teachers": manifest["teachers"]} if "teachers" in manifest else {}),
        "public_weights": [{"name": w.name, "bytes": w.bytes} for w in part.public_weights()],
        "stored_labels": {"bytes": stored, "formula": STORED_FORMULA},
        "ladder": ladder(manifest),
        "encoder_knows": part.encoder_knows(),
        "figures": manifest["figures"],
        **({"expected": manifest["expected"]} if manifest["expected"] else {}),
    }


def ladder(manifest: dict[str, Any]) -> list[dict[str, Any]]:
    """Bytes of each way of keeping labels for the same images and the same training.

    `smaller_from_ipc` is the number of images per class from which this artefact's labels are the smaller, where they
    have `forms`. A teacher is listed where the artefact knows its size; `stated` are those of which it has no file.
    """
    classes, images, optim = len(manifest["classes"]), manifest["images"]["count"], manifest["student"]["optim"]
    part = part_of(manifest["labels"])
    forms = part.forms()
    ours = shipped(manifest["files"], part.files()) if forms else None

    def rung(name: str, size: Callable[[int], int]) -> dict[str, Any]:
        above = None if ours is None else sizes.first_ipc_above(lambda ipc: size(classes * ipc), ours)
        return {"labels": name, "bytes": size(images), "smaller_from_ipc": above, "stated": False}

    training = {"epochs": optim["epochs"], "batch_size": optim["batch_size"]}
    stored = {name: settings for name, settings in LADDER.items() if settings.get("k", 0) < classes}
    rungs = [rung(name, partial(sizes.stored_bytes, classes, **training, **stored[name])) for name in stored]
    rungs.append(rung("static float16", lambda count: sizes.safetensors_bytes({"logits": ("F16", (count, classes))})))
    if teacher := manifest["figures"].get("teacher_bytes"):
        above = 1 if ours is not None and ours < teacher else None
        rungs.append({"labels": "teacher float16", "bytes": teacher, "smaller_from_ipc": above, "stated": True})
    for form, stated in forms.items():
        here = form == part.form()
        size = ours if here else stated
        rungs.append({"labels": form, "bytes": size, "smaller_from_ipc": None, "stated": not here})
    return rungs
