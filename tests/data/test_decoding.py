"""Strangers' images: what is refused and why, how odd ones look, and that bombs cost nothing."""

from __future__ import annotations

import io
import json
import os
import random
import shutil
import struct
import subprocess
import sys
import zlib
from collections import Counter
from dataclasses import replace
from pathlib import Path

import datasets
import numpy as np
import pyarrow.parquet
import pytest
import torch
from PIL import Image, ImageCms

import hello_distill as hd
from hello_distill import cli
from hello_distill.data import decoding
from hello_distill.data.decoding import Unreadable, decode, picture
from hello_distill.data.sources import open_training
from hello_distill.distillers.random import RandomImages
from hello_distill.distillers.recipe import Recipe
from hello_distill.system.errors import InputError, MachineError

SIDE = 16


def smooth(height: int = 40, width: int = 50, seed: int = 0) -> np.ndarray:
    """A colour picture without sharp edges (h w 3), so that lossy formats keep it."""
    y, x = np.mgrid[0:height, 0:width]
    phases = np.random.default_rng(seed).uniform(0, 6, 3)
    return np.stack([127 + 120 * np.sin(x / 17 + y / 13 + phase) for phase in phases], -1).astype(np.uint8)


def encoded(image: Image.Image | np.ndarray, form: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    (Image.fromarray(image) if isinstance(image, np.ndarray) else image).save(buffer, form, **options)
    return buffer.getvalue()


def pixels(content: bytes) -> np.ndarray:
    found = picture(content)
    assert found.mode == "RGB"
    return np.asarray(found).astype(float)


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width: int, height: int, depth: int, kind: int, rows: bytes, *more: bytes) -> bytes:
    """A PNG by hand: what Pillow reads but does not write."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0))
    end = chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(more) + end


def deep(values: np.ndarray, kind: int, *more: bytes) -> bytes:
    """16-bit values (h w channels) as a PNG of a colour type."""
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    return png(values.shape[1], values.shape[0], 16, kind, rows, *more)


# What is refused.

GOOD = np.random.default_rng(3).integers(0, 256, (24, 24, 3)).astype(np.uint8)
JPEG, PNG, WEBP = (encoded(GOOD, form) for form in ("JPEG", "PNG", "WEBP"))


def share(content: bytes, part: float) -> bytes:
    return content[: int(len(content) * part)]


BAD: dict[str, tuple[bytes, str]] = {
    "zero.png": (b"", "empty file"),
    "notes.jpg": ("hello, wörld\n".encode(), "text"),
    "404.jpg": (b"\n<!DOCTYPE html><html><body>not found</body></html>", "HTML"),
    "t10.jpg": (share(JPEG, 0.10), "truncated"),
    "t50.jpg": (share(JPEG, 0.50), "truncated"),
    "t99.jpg": (share(JPEG, 0.99), "truncated"),
    "t10.png": (share(PNG, 0.10), "truncated"),
    "t50.png": (share(PNG, 0.50), "truncated"),
    "t99.png": (share(PNG, 0.99), "truncated"),
    "t50.webp": (share(WEBP, 0.50), "truncated"),
    "archive.png": (b"PK\x03\x04" + bytes(range(200)), "unsupported format"),
    "drawing.png": (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "unsupported format"),
    "program.eps": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n", "unsupported format"),
    "icon.ico": (encoded(GOOD, "ICO"), "unsupported format"),
    "float.tif": (encoded(Image.new("F", (8, 8), 0.5), "TIFF"), "unsupported pixels"),
    "flipped.png": (PNG[:60] + bytes([PNG[60] ^ 1]) + PNG[61:], "damaged"),
    "huge.png": (png(20_000, 20_000, 8, 2, b""), "too many pixels"),
}
"""Files that are written as they are; the rest of the twenty are made by the file system."""


def test_the_reasons_are_told_apart() -> None:
    for name, (content, reason) in BAD.items():
        with pytest.raises(Unreadable) as caught:
            picture(content)
        assert caught.value.reason == reason, name
    with pytest.raises(Unreadable, match="no image in the row"):
        decode(None)
    with pytest.raises(Unreadable, match="no image in the row"):
        decode({"bytes": None, "path": None})


def write_bad(folder: Path, outside: Path) -> dict[str, str]:
    """Twenty kinds of bad files, and the reason for each by name."""
    for name, (content, _) in BAD.items():
        (folder / name).write_bytes(content)
    os.mkfifo(folder / "pipe.png")
    (folder / "dangling.png").symlink_to("nowhere.png")
    outside.write_bytes(PNG)
    (folder / "leading-out.png").symlink_to(outside)
    special = {
        "pipe.png": "no regular file",
        "dangling.png": "no such file",
        "leading-out.png": "outside of the source",
    }
    return {**{name: reason for name, (_, reason) in BAD.items()}, **special}


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """Two hundred good images, whose colour says their class, and twenty bad ones among them."""
    root = tmp_path_factory.mktemp("mixed")
    for split, count in (("train", 50), ("test", 5)):
        for target in range(4):
            folder = root / "data" / split / "abcd"[target]
            folder.mkdir(parents=True)
            for number in range(count):
                Image.new("RGB", (SIDE, SIDE), (60 * target, number, 9)).save(folder / f"{number:02d}.png")
    expected: dict[str, str] = {}
    scratch = root / "bad"
    scratch.mkdir()
    for place, (name, reason) in enumerate(write_bad(scratch, root / "outside.png").items()):
        target = root / "data" / "train" / "abcd"[place % 4] / f"{place:02d}-{name}"
        (scratch / name).rename(target)
        expected[str(target)] = reason
    return root / "data", expected


@pytest.fixture
def random_recipe(recipe: Recipe) -> Recipe:
    return replace(recipe, distiller=RandomImages(), ipc=20, held_share=0.0)


def test_twenty_kinds_of_bad_images_are_left_out_and_listed(
    mixed: tuple[Path, dict[str, str]], random_recipe: Recipe, tmp_path: Path
) -> None:
    data, expected = mixed
    assert len(expected) == 20
    listed = tmp_path / "skipped.json"
    with hd.Context(max_bad=0.1):
        folder = hd.distill(str(data), tmp_path / "a", random_recipe, skipped=listed)
    told = json.loads(listed.read_text())
    assert {entry["file"]: entry["reason"] for entry in told["files"]} == expected
    assert {entry["file"]: entry["class"] for entry in told["files"]} == {f: Path(f).parent.name for f in expected}
    assert (told["seen"], told["kept"], told["skipped"]) == (220, 200, 20) and len(told["files"]) == 20
    assert told["reasons"] == Counter(expected.values())
    artifact = hd.load(folder)
    assert artifact.manifest["figures"]["skipped_images"] == Counter(expected.values())
    assert len(artifact.data) == 80
    for image, target in zip(artifact.data.images, artifact.data.targets, strict=True):
        assert image[0].unique().tolist() == [60 * int(target)]  # targets stay with their images
    for file in (path for path in folder.rglob("*") if path.is_file()):
        assert not any(Path(name).name.encode() in file.read_bytes() for name in expected), "a private name is in it"


def test_more_than_one_in_a_hundred_stops_the_run_and_is_reported(
    mixed: tuple[Path, dict[str, str]], random_recipe: Recipe, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, _ = mixed
    config = tmp_path / "c.json"
    config.write_text(json.dumps(random_recipe.settings()))
    common = ["distill", str(data), "--config", str(config), "--out", str(tmp_path / "a")]
    assert cli.main([*common, "--skipped", str(tmp_path / "r.json")]) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert "split train: 20 of 220 images cannot be read: " in said
    assert "00-zero.png (empty file), " in said and said.count("(") == 4 and " and 17 more; " in said
    assert said.endswith(
        "mend or remove them, or read what links lead to with --follow-links, or let a larger share pass with "
        "--max-bad (now 0.01)"
    )
    assert json.loads((tmp_path / "r.json").read_text())["skipped"] == 20
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c.json", "r.json"]
    assert cli.main([*common, "--max-bad", "0.0909"]) == 2  # 20 of 220 is 0.0909...
    assert cli.main([*common, "--max-bad", "0.091"]) == 0
    assert "20 of 220 skipped: " in capsys.readouterr().err
    assert cli.main(["info", str(tmp_path / "a")]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "training images left out" in shown and "7 truncated, " in shown
    for wrong in ("1.5", "-0.1"):
        assert cli.main([*common[:-1], str(tmp_path / "b"), "--max-bad", wrong]) == 2
        assert "is no share; give a number from 0 to 1" in capsys.readouterr().err
    assert cli.main([*common[:-1], str(tmp_path / "b"), "--skipped", str(tmp_path / "no" / "r.json")]) == 2
    assert f"--skipped {tmp_path}/no/r.json cannot be written; choose a file in a folder" in capsys.readouterr().err


def test_up_to_one_in_a_hundred_passes_in_train_and_test(
    artefact: Path, tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The test split of `train`: 1 of 25 stops it, and passes with --max-bad."""
    copy = tmp_path / "data"
    (copy / "train").mkdir(parents=True)
    for name in ("circle", "cross", "square", "stripes"):
        (copy / "train" / name).symlink_to("../test/" + name)
    shutil.copytree(tree / "test", copy / "test")
    (copy / "test" / "circle" / "zz.png").write_bytes(b"")
    arguments = ["train", str(artefact), "--data", str(copy), "--labels", "hard", "--seeds", "0", "--json"]
    assert cli.main(arguments) == 2
    assert "split test: 1 of 25 images cannot be read: " in capsys.readouterr().err
    assert cli.main([*arguments, "--max-bad", "0.04"]) == 0
    assert json.loads(capsys.readouterr().out)["test_images"] == 24


@pytest.mark.parametrize(
    "content",
    [JPEG, encoded(GOOD, "JPEG", progressive=True), PNG, WEBP, encoded(GOOD, "GIF"), encoded(GOOD, "BMP"),
     encoded(GOOD, "TIFF"), encoded(GOOD, "TIFF", compression="tiff_lzw"), encoded(GOOD, "PPM")],
    ids=["jpeg", "progressive", "png", "webp", "gif", "bmp", "tiff", "tiff-lzw", "ppm"],
)  # fmt: skip
def test_a_shortened_file_never_gives_other_pixels(content: bytes) -> None:
    """Refused, or (a missing end mark) exactly as the whole file."""
    whole, refused = pixels(content), 0
    for length in {*range(0, len(content), 1 + len(content) // 150), *range(len(content) - 40, len(content))}:
        try:
            assert np.array_equal(pixels(content[:length]), whole), length
        except Unreadable:
            refused += 1
    assert refused > 100


def test_damaged_files_end_in_one_exception() -> None:
    dice = random.Random(0)
    kinds = [JPEG, PNG, WEBP, *(encoded(GOOD, form) for form in ("GIF", "BMP", "TIFF", "PPM"))]
    refused = 0
    for _ in range(1500):
        content = bytearray(dice.choice(kinds))
        for _ in range(dice.randint(1, 8)):
            content[dice.randrange(min(len(content), 400))] = dice.randrange(256)
        try:
            assert picture(bytes(content)).mode == "RGB"
        except Unreadable as error:
            assert error.reason in decoding.REASONS
            refused += 1
    assert 100 < refused < 1500


# How odd images look.


def swapped_profile() -> bytes:
    """sRGB's profile with red and green exchanged: the profile says that the first channel is green."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return profile.replace(b"rXYZ", b"----", 1).replace(b"gXYZ", b"rXYZ", 1).replace(b"----", b"gXYZ", 1)


def linear_grey_profile() -> bytes:
    """A grey profile whose values are proportional to light."""
    white = b"XYZ \0\0\0\0" + struct.pack(">iii", *(round(v * 65536) for v in (0.9642, 1.0, 0.8249)))
    curve = b"curv\0\0\0\0" + struct.pack(">I", 0)
    tags = struct.pack(">I4sII4sII", 2, b"wtpt", 156, len(white), b"kTRC", 156 + len(white), len(curve))
    size = 128 + len(tags) + len(white) + len(curve)
    header = struct.pack(">I4sI4s4s4s", size, b"\0\0\0\0", 0x02400000, b"mntr", b"GRAY", b"XYZ ") + bytes(12)
    header += b"acsp" + bytes(28) + white[8:] + bytes(48)
    return header + tags + white + curve


def light_to_srgb(grey: np.ndarray) -> np.ndarray:
    x = grey / 255
    return 255 * np.where(x <= 0.0031308, 12.92 * x, 1.055 * x ** (1 / 2.4) - 0.055)


def on_white(colours: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    return colours * alpha[..., None] + 255 * (1 - alpha[..., None])


def grey3(values: np.ndarray) -> np.ndarray:
    return np.repeat(values[..., None], 3, -1)


def odd() -> dict[str, tuple[bytes, np.ndarray]]:
    """Files and the pixels that they must give, computed without Pillow's conversions."""
    rgb, rng = smooth(), np.random.default_rng(1)
    grey = rgb[..., 0]
    ramp = np.linspace(0, 65535, 40 * 50).reshape(40, 50).astype(np.uint16)
    deep_rgb = rng.integers(0, 65536, (40, 50, 3))
    alpha = np.linspace(0, 255, 50).round().astype(np.uint8)[None].repeat(40, 0)
    cases: dict[str, tuple[bytes, np.ndarray]] = {}
    cmyk = np.dstack([rgb, grey // 3])
    ink = (255.0 - cmyk[..., :3]) * (255.0 - cmyk[..., 3:]) / 255
    cases["cmyk tiff"] = encoded(Image.fromarray(cmyk, "CMYK"), "TIFF"), ink
    cases["cmyk jpeg"] = encoded(Image.fromarray(cmyk, "CMYK"), "JPEG", quality=100, subsampling=0), ink
    palette = rng.integers(0, 256, (256, 3)).astype(np.uint8)
    indexed = Image.fromarray(grey)
    indexed.putpalette(palette.tobytes())
    cases["palette"] = encoded(indexed, "PNG"), palette[grey].astype(float)
    cases["palette gif"] = encoded(indexed, "GIF"), palette[grey].astype(float)
    clear = np.where(grey == 200, 0.0, 1.0)
    cases["palette, one transparent"] = encoded(indexed, "PNG", transparency=200), on_white(palette[grey], clear)
    cases["gif, one transparent"] = encoded(indexed, "GIF", transparency=200), on_white(palette[grey], clear)
    table = rng.integers(0, 256, 256).astype(np.uint8)
    cases["palette, alphas"] = (
        encoded(indexed, "PNG", transparency=table.tobytes()),
        on_white(palette[grey], table[grey] / 255),
    )
    cases["grey"] = encoded(grey, "PNG"), grey3(grey)
    cases["grey jpeg"] = encoded(grey, "JPEG", quality=100), grey3(grey)
    cases["one bit"] = encoded(Image.fromarray(grey > 99), "PNG"), grey3(np.where(grey > 99, 255, 0))
    cases["grey and alpha"] = encoded(np.dstack([grey, alpha]), "PNG"), on_white(grey3(grey), alpha / 255)
    cases["alpha"] = encoded(np.dstack([rgb, alpha]), "PNG"), on_white(rgb, alpha / 255)
    cases["alpha webp"] = (
        encoded(np.dstack([rgb, alpha]), "WEBP", lossless=True, exact=True),
        on_white(rgb, alpha / 255),
    )
    cases["16-bit grey"] = deep(ramp, 0), grey3(ramp / 257)
    cases["16-bit grey tiff"] = encoded(ramp, "TIFF"), grey3(ramp / 257)
    cases["16-bit pgm"] = b"P5 50 40 65535\n" + ramp.astype(">u2").tobytes(), grey3(ramp / 257)
    cases["16-bit grey, one transparent"] = (
        deep(np.where(ramp < 9000, 500, ramp), 0, chunk(b"tRNS", struct.pack(">H", 500))),
        grey3(np.where(ramp < 9000, 255, ramp / 257)),
    )
    cases["16-bit rgb"] = deep(deep_rgb, 2), deep_rgb / 257
    hidden = deep_rgb.copy()
    hidden[:9] = 1000, 2000, 3000
    shown = hidden / 257
    shown[:9] = 255
    cases["16-bit rgb, one transparent"] = deep(hidden, 2, chunk(b"tRNS", struct.pack(">HHH", 1000, 2000, 3000))), shown
    both = rng.integers(0, 65536, (40, 50, 4))
    cases["16-bit alpha"] = deep(both, 6), on_white(both[..., :3] / 257, both[..., 3] / 65535)
    pair = rng.integers(0, 65536, (40, 50, 2))
    cases["16-bit grey and alpha"] = deep(pair, 4), on_white(grey3(pair[..., 0] / 257), pair[..., 1] / 65535)
    other = [Image.fromarray(smooth(seed=7))]
    first = Image.fromarray(rgb)
    cases["animated gif"] = encoded(indexed, "GIF", save_all=True, append_images=other), palette[grey].astype(float)
    cases["animated webp"] = encoded(first, "WEBP", save_all=True, append_images=other, lossless=True), rgb
    cases["animated png"] = encoded(first, "PNG", save_all=True, append_images=other), rgb
    cases["pages of a tiff"] = encoded(first, "TIFF", save_all=True, append_images=other), rgb
    for number, turned in enumerate(turns(rgb), 1):
        exif = Image.Exif()
        exif[0x0112] = number
        cases[f"exif {number}"] = encoded(rgb, "JPEG", exif=exif, quality=100, subsampling=0), turned
        cases[f"exif {number} tiff"] = encoded(rgb, "TIFF", exif=exif), turned
    cases["1x1"] = encoded(rgb[:1, :1], "PNG"), rgb[:1, :1]
    tall = smooth(10_000, 1)
    cases["1x10000"] = encoded(tall, "PNG"), tall
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    cases["sRGB profile"] = encoded(rgb, "PNG", icc_profile=srgb), rgb
    cases["other profile"] = encoded(rgb, "PNG", icc_profile=swapped_profile()), rgb[..., [1, 0, 2]]
    cases["other profile, alpha"] = (
        encoded(np.dstack([rgb, alpha]), "PNG", icc_profile=swapped_profile()),
        on_white(rgb[..., [1, 0, 2]], alpha / 255),
    )
    cases["other profile, palette"] = (
        encoded(indexed, "PNG", icc_profile=swapped_profile()),
        palette[grey][..., [1, 0, 2]].astype(float),
    )
    cases["grey profile"] = encoded(grey, "PNG", icc_profile=linear_grey_profile()), grey3(light_to_srgb(grey))
    cases["grey with an rgb profile"] = encoded(grey, "PNG", icc_profile=srgb), grey3(grey)
    cases["broken profile"] = encoded(rgb, "PNG", icc_profile=b"no profile" * 20), rgb
    return cases


def turns(rgb: np.ndarray) -> list[np.ndarray]:
    """The picture as orientations 1 to 8 show it, written out from the EXIF standard."""
    main = rgb.transpose(1, 0, 2)
    return [rgb, rgb[:, ::-1], rgb[::-1, ::-1], rgb[::-1], main, main[:, ::-1], main[::-1, ::-1], main[::-1]]


ODD = odd()


@pytest.mark.parametrize("name", ODD)
def test_odd_images_look_as_they_should(name: str) -> None:
    content, reference = ODD[name]
    found = pixels(content)
    assert found.shape == reference.shape
    assert np.abs(found - reference).mean() <= 2


def test_sixteen_bits_are_neither_clipped_nor_saturated() -> None:
    for name in ("16-bit grey", "16-bit grey tiff", "16-bit pgm"):
        found = pixels(ODD[name][0])
        assert len(np.unique(found)) == 256 and found.max() == 255 and abs(found.mean() - 127.5) < 1, name


def test_hidden_colours_do_not_show() -> None:
    for clear in (
        encoded(Image.new("RGBA", (8, 8), (200, 10, 10, 0)), "PNG"),
        encoded(Image.new("LA", (8, 8), (10, 0)), "PNG"),
        encoded(Image.new("RGB", (8, 8), (200, 10, 10)), "PNG", transparency=(200, 10, 10)),
    ):
        assert (pixels(clear) == 255).all()


def test_plain_images_keep_every_pixel() -> None:
    for image in (smooth(), smooth()[..., 0]):
        for content in (encoded(image, "PNG"), encoded(image, "JPEG"), encoded(image, "WEBP")):
            plain = Image.open(io.BytesIO(content)).convert("RGB")
            assert np.array_equal(pixels(content), np.asarray(plain))
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert np.array_equal(pixels(encoded(smooth(), "PNG", icc_profile=srgb)), smooth())


def test_folder_parquet_and_saved_data_set_give_identical_pixels(tmp_path: Path) -> None:
    contents = [content for content, _ in ODD.values()]
    labels = [number % 2 for number in range(len(contents))]
    order = sorted(range(len(contents)), key=lambda place: (labels[place], place))
    for place, content in enumerate(contents):
        for split in ("train", "test"):
            file = tmp_path / "tree" / split / "ab"[labels[place]] / f"{place:03d}.img"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b"])})
    records = {
        "image": [{"bytes": contents[place], "path": None} for place in order],
        "label": [labels[place] for place in order],
    }
    table = datasets.Dataset.from_dict(records, features=features)
    (tmp_path / "parquet").mkdir()
    for split in ("train", "test"):
        table.to_parquet(tmp_path / "parquet" / f"{split}-00000-of-00001.parquet")
    datasets.DatasetDict({"train": table, "test": table}).save_to_disk(tmp_path / "saved")
    tree, parquet, saved = (open_training(str(tmp_path / name)).read(SIDE)[0] for name in ("tree", "parquet", "saved"))
    assert len(tree) == len(contents) > 45
    for other in (parquet, saved):
        assert torch.equal(tree.images, other.images) and torch.equal(tree.targets, other.targets)


# Bombs.

SCRIPT = """
import json, sys, time
from pathlib import Path
from hello_distill.data.decoding import Unreadable, decode, picture

def peak():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM")) / 1024

root = Path(sys.argv[1])
picture((root / "ordinary.png").read_bytes())
for file in sorted(root.glob("bomb*")):
    before, start = peak(), time.perf_counter()
    try:
        decode({"bytes": None, "path": str(file)}, [root.resolve()])
        reason = "accepted"
    except Unreadable as error:
        reason = error.reason
    print(json.dumps([file.name, reason, time.perf_counter() - start, peak() - before]))
"""


def resized(content: bytes, mark: bytes, offset: int, size: bytes) -> bytes:
    """A file with another size in its header, behind a mark."""
    place = content.index(mark) + offset
    return content[:place] + size + content[place + len(size) :]


def test_bombs_are_refused_by_their_headers(tmp_path: Path) -> None:
    (tmp_path / "ordinary.png").write_bytes(PNG)
    extended = encoded(GOOD, "WEBP", exif=b"Exif\0\0" + bytes(10))
    bombs = {
        "png-10k": (png(10_000, 10_000, 8, 2, bytes(99)), "too many pixels"),
        "png-20k": (png(20_000, 20_000, 8, 2, bytes(99)), "too many pixels"),
        "png-65k": (png(65_000, 65_000, 8, 2, bytes(99)), "too many pixels"),
        "png-thin": (png(1, 60_000_000, 8, 2, bytes(99)), "too many pixels"),
        "png-text": (png(8, 8, 8, 2, bytes(200), chunk(b"tEXt", b"a\0" + b"x" * 100_000_000)), "too many bytes"),
        "png-packed": (
            png(8, 8, 8, 2, bytes(200), chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(100_000_000), 1))),
            "damaged",
        ),
        "png-profile": (
            png(8, 8, 8, 2, bytes(200), chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(100_000_000), 1))),
            "damaged",
        ),
        "eps": (BAD["program.eps"][0], "unsupported format"),
        "jpeg": (resized(JPEG, b"\xff\xc0", 5, struct.pack(">HH", 65_000, 65_000)), "too many pixels"),
        "gif": (resized(encoded(GOOD, "GIF"), b"GIF8", 6, b"\xff\xff\xff\xff"), "too many pixels"),
        "bmp": (resized(encoded(GOOD, "BMP"), b"BM", 18, struct.pack("<ii", 60_000, 60_000)), "too many pixels"),
        "webp": (resized(extended, b"VP8X", 12, (16_382).to_bytes(3, "little") * 2), "too many pixels"),
        "ppm": (b"P6 60000 60000 255\n", "too many pixels"),
    }
    for name, (content, _) in bombs.items():
        (tmp_path / f"bomb-{name}").write_bytes(content)
        assert len(content) <= 2048 or name in ("png-text", "png-packed", "png-profile"), name
    with (tmp_path / "bomb-sparse").open("wb") as file:
        file.truncate(8 * 2**30)
    done = subprocess.run([sys.executable, "-c", SCRIPT, tmp_path], capture_output=True, text=True)
    assert done.returncode == 0 and not done.stderr, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    found = {name: (reason, seconds, grown) for name, reason, seconds, grown in lines}
    expected = {f"bomb-{name}": reason for name, (_, reason) in bombs.items()} | {"bomb-sparse": "too many bytes"}
    assert {name: reason for name, (reason, _, _) in found.items()} == expected
    assert max(seconds for _, seconds, _ in found.values()) <= 1
    assert sum(grown for _, _, grown in found.values()) <= 200  # MB, all together


def test_no_file_outside_of_the_source_is_opened(tmp_path: Path) -> None:
    """A data set that names a path of this machine gets nothing from it."""
    secret = tmp_path / "secret.png"
    secret.write_bytes(PNG)
    (tmp_path / "set").mkdir()
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b"])})
    paths = [str(secret), "set/../secret.png", "https://example.com/x.png", "a\0b", "\\\\host\\x", "/dev/zero", None]
    stored = [*((None, path) for path in paths), (PNG, None), (PNG, "/etc/passwd")]
    labels = [number % 2 for number in range(len(stored))]
    rows = {"image": [{"bytes": content, "path": path} for content, path in stored], "label": labels}
    table = pyarrow.table(rows, schema=features.arrow_schema)  # `datasets` would look at the paths itself
    for split in ("train", "test"):
        pyarrow.parquet.write_table(table, tmp_path / "set" / f"{split}-00000-of-00001.parquet")
    _, skipped = open_training(str(tmp_path / "set")).read(SIDE)
    told = ["outside of the source"] * 3 + ["no such file"] + ["outside of the source"] * 2 + ["no image in the row"]
    assert [bad.reason for bad in skipped.bad] == told
    assert [bad.name for bad in skipped.bad] == [*paths[:-1], "row 6"]
    with pytest.raises(InputError, match="7 of 9 images cannot be read"):
        skipped.check(0.01)


def test_rows_of_a_part_are_told_as_rows_of_the_whole(tmp_path: Path) -> None:
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b"])})
    rows = {"image": [{"bytes": b"", "path": "x.png"}] * 40, "label": [0, 1] * 20}
    table = datasets.Dataset.from_dict(rows, features=features)
    datasets.DatasetDict({"train": table, "test": table}).save_to_disk(tmp_path / "set")
    part = open_training(str(tmp_path / "set")).limited(10, seed=0)
    _, skipped = part.read(SIDE)
    assert [bad.name for bad in skipped.bad] == [f"row {row} (x.png)" for row in part.rows.tolist()]
    assert len(skipped.bad) == 10 and max(part.rows.tolist()) > 10
    with pytest.raises(InputError, match=r"no image can be read: row .* and 7 more; mend or remove them$"):
        skipped.check(1.0)


def test_full_memory_is_not_the_files_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise MemoryError

    content = encoded(smooth(), "PNG")
    monkeypatch.setattr(decoding, "_to_rgb", full)
    with pytest.raises(MachineError, match=f"memory is full: an image of {len(content):,} bytes cannot be decoded"):
        picture(content)


def test_the_side_is_that_of_the_readable_images(tmp_path: Path) -> None:
    """Also where every image that is looked at first is a bad one."""
    for split in ("train", "test"):
        for name in ("a", "b"):
            (tmp_path / split / name).mkdir(parents=True)
            for number in range(100):
                content = b"" if number % 4 == 0 else encoded(np.zeros((20, 30, 3), np.uint8), "PNG")
                (tmp_path / split / name / f"{number:02d}.png").write_bytes(content)
    assert open_training(str(tmp_path)).native_side() == 20
