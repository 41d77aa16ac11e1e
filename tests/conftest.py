"""Shared pieces: shapes checked at run time, a tiny CLIP in a folder, drawn images, recipes of seconds.

Nothing here needs a network, a GPU or real images.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from jaxtyping import install_import_hook

install_import_hook("hello_distill", "beartype.beartype")
if "PYTEST_XDIST_WORKER" in os.environ:  # tests run side by side: they, and what they start, have a thread each
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np  # noqa: E402
import open_clip  # noqa: E402
import pytest  # noqa: E402
import safetensors.torch  # noqa: E402
import torch  # noqa: E402
from PIL import Image, ImageDraw  # noqa: E402

import chromium  # noqa: E402
import reports  # noqa: E402
from hello_distill import artifact as artifacts  # noqa: E402
from hello_distill import encoders  # noqa: E402
from hello_distill.api import distill  # noqa: E402
from hello_distill.artifact import Distilled  # noqa: E402
from hello_distill.data.images import ImageSet, Material  # noqa: E402
from hello_distill.distillers.hello import HeLlO  # noqa: E402
from hello_distill.distillers.lic import LIC  # noqa: E402
from hello_distill.distillers.rded import RDED, Patches  # noqa: E402
from hello_distill.distillers.recipe import Recipe  # noqa: E402
from hello_distill.format import storage  # noqa: E402
from hello_distill.format.specs import Augment, Codec, Optim, Queries, StudentSpec  # noqa: E402
from hello_distill.projector import ProjectorSpec  # noqa: E402
from hello_distill.relabel import relabel, wanted  # noqa: E402
from hello_distill.teachers import TeacherSpec  # noqa: E402

torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS") or min(2, os.cpu_count() or 1)))

Given = TypeVar("Given")
CLASSES = ("circle", "square", "cross", "stripes")
SIDE = 32
TINY_CLIP = {
    "embed_dim": 32,
    "quick_gelu": True,
    "vision_cfg": {"layers": [1, 1, 1, 1], "width": 16, "image_size": 32, "patch_size": None},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}


QUERIES = Queries(steps=2, rounds=1, batch_size=8)


def draw(kind: str, rng: np.random.Generator, side: int = SIDE) -> Image.Image:
    """A shape of random place, size and colours."""
    back, front = (tuple(int(v) for v in rng.integers(lo, hi, 3)) for lo, hi in ((0, 110), (140, 256)))
    picture = Image.new("RGB", (side, side), back)
    pen = ImageDraw.Draw(picture)
    radius = int(rng.integers(side // 5, side // 3))
    x, y = (int(v) for v in rng.integers(radius, side - radius, 2))
    if kind == "circle":
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=front)
    elif kind == "square":
        pen.rectangle((x - radius, y - radius, x + radius, y + radius), fill=front)
    elif kind == "cross":
        pen.line((x - radius, y, x + radius, y), fill=front, width=3)
        pen.line((x, y - radius, x, y + radius), fill=front, width=3)
    else:
        for row in range(y % 6, side, 6):
            pen.line((0, row, side, row), fill=front, width=2)
    return picture


def drawn(per_class: int, seed: int) -> ImageSet:
    """A drawn image set, class by class."""
    rng = np.random.default_rng(seed)
    pictures = [np.array(draw(kind, rng)) for kind in CLASSES for _ in range(per_class)]
    images = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).contiguous()
    return ImageSet(images, torch.arange(len(CLASSES)).repeat_interleave(per_class), CLASSES)


def write_tree(folder: Path, train: int = 12, test: int = 6, test_name: str = "test") -> Path:
    """Drawn images as a class-per-folder tree."""
    rng = np.random.default_rng(0)
    for split, count in (("train", train), (test_name, test)):
        for kind in CLASSES:
            place = folder / split / kind
            place.mkdir(parents=True)
            for number in range(count):
                draw(kind, rng).save(place / f"{number}.png")
    return folder


def fill(model: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    """Weights and statistics that leave no branch of a network switched off (open_clip starts bn3 at zero)."""
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in model.state_dict().items():
        if not tensor.is_floating_point():
            continue
        noise = torch.randn(tensor.shape, generator=generator)
        if "running_var" in name or (tensor.ndim == 1 and name.endswith("weight")):
            tensor.copy_(1 + 0.2 * noise.abs())
        else:
            tensor.copy_(noise * (0.1 if tensor.ndim < 2 else (tensor[0].numel() ** -0.5)))
    return model


def script(file: str | Path) -> ModuleType:
    """A script as a module: by its path, or its name in `scripts/`."""
    path = Path(__file__).parents[1] / "scripts" / file
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def seal(folder: Path, **changes: object) -> None:
    """Change fields of an artefact's manifest, and make its hashes and sums right again, as a forger would."""
    manifest = {**json.loads((folder / "hello.json").read_text()), **changes}
    others = (file for file in folder.rglob("*") if file.is_file() and file.name not in ("hello.json", "SHA256SUMS"))
    manifest["files"] = {
        file.relative_to(folder).as_posix(): {"bytes": file.stat().st_size, "sha256": storage.sha256(file)}
        for file in others
    }
    storage.write_json(folder / "hello.json", manifest)
    hashes = {name: entry["sha256"] for name, entry in manifest["files"].items()}
    sums = storage.sums({**hashes, "hello.json": storage.sha256(folder / "hello.json")})
    (folder / "SHA256SUMS").write_text(sums)


def peak() -> int:
    """The most memory that this process has taken since it was last asked to forget, in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) // 1024


def worked(call: Callable[[], Given], seconds: float) -> tuple[Given, float]:
    """What a call gives, and its CPU seconds: of the cheapest of three tries where one exceeds `seconds`.

    Threads that wait for a busy machine spin, which counts as work.
    """
    costs: list[float] = []
    while True:
        start = time.process_time()
        given = call()
        costs.append(time.process_time() - start)
        if costs[-1] < seconds or len(costs) == 3:
            return given, min(costs)


@contextmanager
def cheap(seconds: float = 1.0) -> Iterator[None]:
    """Fails if what is done inside takes more than so many seconds of work, or 50 MB."""
    Path("/proc/self/clear_refs").write_text("5")
    before, start = peak(), time.process_time()
    yield
    assert time.process_time() - start < seconds
    assert peak() - before < 50


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """A headless Chromium; without one its tests are skipped."""
    try:
        with chromium.opened() as opened:
            yield opened
    except chromium.Missing as reason:
        pytest.skip(str(reason))


@pytest.fixture(scope="session")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny CLIP (ModifiedResNet) as an open_clip `local-dir:` checkpoint."""
    folder = tmp_path_factory.mktemp("tiny-clip")
    preprocessing = {"mean": [0.48, 0.46, 0.41], "std": [0.27, 0.26, 0.28]}
    config = {"model_cfg": TINY_CLIP, "preprocess_cfg": preprocessing}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    vision = open_clip.CLIPVisionCfg(**TINY_CLIP["vision_cfg"])
    text = open_clip.CLIPTextCfg(**TINY_CLIP["text_cfg"])
    model = fill(open_clip.CLIP(32, vision, text, quick_gelu=True))
    with torch.no_grad():  # batch statistics of drawn images, so that features differ from image to image
        model.visual.train()(drawn(24, seed=3).images / 255 - 0.5)
    state = {name: value.contiguous() for name, value in model.state_dict().items()}
    safetensors.torch.save_file(state, folder / "open_clip_model.safetensors")
    os.environ["HELLO_DISTILL_ENCODERS"] = str(folder)  # artefacts name this encoder by its hash alone
    return folder


@pytest.fixture(scope="session")
def tiny(clip_folder: Path) -> encoders.Encoder:
    """The tiny CLIP through the very code that opens the paper's encoder."""
    return encoders.load(f"local-dir:{clip_folder}")


@pytest.fixture(scope="session")
def material() -> Material:
    """Drawn training images, and some held out."""
    return Material(drawn(24, seed=1), drawn(8, seed=2))


@pytest.fixture(scope="session")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Drawn images on disk, with a test split."""
    return write_tree(tmp_path_factory.mktemp("data") / "shapes")


def tiny_recipe(encoder: str) -> Recipe:
    """Everything, in seconds: drawn shapes, a narrow ConvNet, one or two epochs of each training."""
    views = Augment(scale=(0.5, 1.0))
    return Recipe(
        ipc=2,
        max_side=SIDE,
        teachers=TeacherSpec("convnet2_w8", (1, 2), Augment(mix="none"), Optim(epochs=2, batch_size=16)),
        distiller=HeLlO(
            patches=Patches(factor=1, crops=2, pool=6),
            projector=ProjectorSpec(
                encoder, encoder_rank=2, augment=views, optim=Optim(epochs=1, batch_size=16), queries=QUERIES
            ),
            update=LIC(steps=2),
        ),
        student=StudentSpec("convnet2_w8", augment=views, optim=Optim(epochs=3, batch_size=4), evaluations=2),
    )


@pytest.fixture(scope="session")
def recipe(clip_folder: Path) -> Recipe:
    """The tiny recipe with the tiny CLIP."""
    return tiny_recipe(f"local-dir:{clip_folder}")


FEW = "from hello_distill import cli, queries; queries.VIEWS = 32; raise SystemExit(cli.main())"
COMMAND = [sys.executable, "-c", FEW]
"""The command in a process of its own, with as few views as `few_views` has."""


@pytest.fixture(scope="session", autouse=True)
def few_views() -> Iterator[None]:
    """Faithfulness is measured on 32 views in the place of 500: a projector of the tiny recipe is made in half the
    time. Tests of the number itself set it back."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hello_distill.queries.VIEWS", 32)
        yield


@pytest.fixture(scope="session")
def artefact(tree: Path, recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An artefact made by the tiny recipe."""
    return distill(str(tree), tmp_path_factory.mktemp("out") / "a", recipe)


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


@pytest.fixture(scope="session")
def kinds(artefact: Path, tree: Path, recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """An artefact of each kind of labels."""
    folder = tmp_path_factory.mktemp("kinds")
    taught = distill(str(tree), folder / "teacher", replace(recipe, distiller=RDED(recipe.distiller.patches)))
    options = {"pruned": {"keep": 0.5}, "quantized": {"keep": 0.5, "k": 3}, "hard": {}, "static": {}, "stored": {}}
    made = {kind: relabel(taught, folder / kind, wanted(kind, **given)) for kind, given in options.items()}
    return {"projector": artefact, "teacher": taught, **made}


@pytest.fixture(scope="session")
def made(tree: Path, recipe: Recipe, artefact: Path, tmp_path_factory: pytest.TempPathFactory) -> reports.Made:
    """What the tests of the report have a page made of."""
    return reports.make(tmp_path_factory.mktemp("report"), tree, recipe, artefact)


@pytest.fixture(scope="session")
def page_file(made: reports.Made, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of all that there is."""
    return reports.write(made, tmp_path_factory.mktemp("page") / "report.html")
