"""Write the artefacts of this folder, and what they say, by the version of hello-distill that is installed.

They were written by 0.1.0. From the root of the project, with the sources and tests of that version first on the path:

    PYTHONPATH=/path/to/0.1.0/src:/path/to/0.1.0/tests python tests/recorded/record.py
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import open_clip
import safetensors.torch
import torch

import hello_distill as hd
from conftest import drawn, fill, tiny_recipe, write_tree

HERE = Path(__file__).resolve().parent
CLIP = {
    "embed_dim": 8,
    "quick_gelu": True,
    "vision_cfg": {"layers": [1, 1, 1, 1], "width": 2, "image_size": 32, "patch_size": None},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 4, "heads": 2, "layers": 1},
}
"""As small as the tokenizer lets it be."""


def write_clip(folder: Path) -> Path:
    """A CLIP of 200 KB with random weights, as an open_clip checkpoint."""
    folder.mkdir()
    preprocessing = {"mean": [0.48, 0.46, 0.41], "std": [0.27, 0.26, 0.28]}
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": CLIP, "preprocess_cfg": preprocessing}))
    parts = open_clip.CLIPVisionCfg(**CLIP["vision_cfg"]), open_clip.CLIPTextCfg(**CLIP["text_cfg"])
    model = fill(open_clip.CLIP(8, *parts, quick_gelu=True))
    with torch.no_grad():
        model.visual.train()(drawn(24, seed=3).images / 255 - 0.5)
    state = {n: v.half().contiguous() if v.is_floating_point() else v for n, v in model.state_dict().items()}
    state["token_embedding.weight"] = state["token_embedding.weight"].to(torch.float8_e4m3fn)
    safetensors.torch.save_file(state, folder / "open_clip_model.safetensors")
    return folder


def main() -> None:
    """Write the encoder, an artefact of each kind, and `recorded.json`."""
    for folder in HERE.iterdir():
        if folder.is_dir():
            shutil.rmtree(folder)
    os.environ["HELLO_DISTILL_ENCODERS"] = str(write_clip(HERE / "clip"))
    recipe = tiny_recipe(f"local-dir:{HERE / 'clip'}")
    with tempfile.TemporaryDirectory() as folder:
        data = str(write_tree(Path(folder) / "data"))
        hd.distill(data, HERE / "projector", recipe)
        hd.distill(data, HERE / "hard", recipe.with_changes({"method": "random"}))
        patches = {"factor": 1, "crops": 2, "pool": 6}
        hd.distill(data, HERE / "teacher", recipe.with_changes({"method": "rded", "distiller": {"patches": patches}}))
    labels = ["labels", str(HERE / "teacher"), "--kind", "stored", "--out", str(HERE / "stored")]
    subprocess.run([sys.executable, "-m", "hello_distill", *labels], check=True)
    recorded = {}
    for name in ("hard", "projector", "stored", "teacher"):
        artifact = hd.load(HERE / name)
        view = next(iter(artifact.views()))
        batch = artifact.batch(view)
        recorded[name] = {
            "rows": view.rows.tolist(),
            "soft": batch.soft.tolist(),
            "image_sum": batch.images.double().sum().item(),
            "info": json.loads(json.dumps(hd.info(HERE / name))),
        }
    (HERE / "recorded.json").write_text(json.dumps(recorded, indent=1) + "\n")


if __name__ == "__main__":
    main()
