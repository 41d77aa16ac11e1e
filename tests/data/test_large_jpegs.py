"""JPEG files much larger than the side that is kept are decoded smaller, and else as they always are."""

from __future__ import annotations

import io
import random
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from hello_distill.data.decoding import Unreadable, picture, square
from hello_distill.data.mapped import in_memory
from hello_distill.data.sources import open_training
from hello_distill.format.fields import Square

SIDE = 32


def drawn(width: int, height: int, mode: str = "RGB") -> Image.Image:
    """A picture of no symmetry, with colours that change over a tenth of it."""
    small = np.random.default_rng(0).integers(0, 256, (9, 11, 3)).astype(np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC).convert(mode)


def encoded(image: Image.Image, form: str = "JPEG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, quality=90, **options)
    return buffer.getvalue()


def kept(content: bytes, side: int | None, how: Square = "crop") -> np.ndarray:
    return np.asarray(square(picture(content, side, how), SIDE, how)).astype(float)


@pytest.mark.parametrize(
    ("size", "side", "decoded"),
    [
        ((451, 400), 64, (226, 200)),
        ((400, 451), 100, (200, 226)),  # just twice the side
        ((399, 451), 100, (399, 451)),
        ((700, 520), 64, (175, 130)),
        ((1024, 1024), 64, (128, 128)),
        ((1024, 1024), 16, (128, 128)),  # no smaller than an eighth
        ((900, 100), 64, (900, 100)),
    ],
)
def test_never_less_than_twice_the_side(
    size: tuple[int, int], side: int, decoded: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What JPEG's decoder gives, the last row and column of which it may have rounded up."""
    real, seen = JpegImageFile.load, []
    monkeypatch.setattr(JpegImageFile, "load", lambda self: (seen.append(self.size), real(self))[1])
    made = picture(encoded(drawn(*size)), side)
    assert set(seen) == {decoded} and made.size == ((side, side) if decoded != size else size)
    assert picture(encoded(drawn(*size))).size == size, "all pixels where no side is given"


def test_only_jpeg_is_made_smaller() -> None:
    for form in ("PNG", "WEBP", "BMP", "TIFF"):
        assert picture(encoded(drawn(400, 300), form), 16).size == (400, 300), form


def with_orientation(number: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = number
    return encoded(drawn(301, 277), exif=exif)


LARGE = {
    **{f"orientation {number}": with_orientation(number) for number in range(1, 9)},
    "grey": encoded(drawn(301, 277, "L")),
    "CMYK": encoded(drawn(301, 277, "CMYK")),
    "progressive": encoded(drawn(301, 277), progressive=True),
    "all colours": encoded(drawn(301, 277), subsampling=0),
    "several pictures": encoded(drawn(301, 277), "MPO", save_all=True, append_images=[drawn(50, 50)]),
}


@pytest.mark.parametrize("how", get_args(Square))
@pytest.mark.parametrize("name", LARGE)
def test_it_looks_as_all_pixels_do(name: str, how: Square) -> None:
    """Another orientation or inverted inks would be 20 and more away, and the decoder's rounding up 4."""
    assert max(picture(LARGE[name], SIDE, how).size) == SIDE
    difference = np.abs(kept(LARGE[name], SIDE, how) - kept(LARGE[name], None, how))
    assert 0 < difference.mean() < 0.5 and difference.max() <= 3, (difference.mean(), difference.max())


def outcome(content: bytes, side: int | None) -> tuple[str, str]:
    try:
        picture(content, side)
    except Unreadable as error:
        return error.reason, error.detail
    return "", ""


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::PIL.Image.DecompressionBombWarning")
def test_broken_files_are_told_alike() -> None:
    """Cut short anywhere, or with bytes changed: the reason and the detail are those of decoding all pixels."""
    dice, broken = random.Random(0), []
    for content in (LARGE["orientation 6"], LARGE["progressive"], LARGE["CMYK"]):
        broken += [content[: len(content) * part // 20] for part in range(1, 20)]
        for _ in range(60):
            changed = bytearray(content)
            for _ in range(4):
                changed[int(len(changed) * dice.random() ** 2)] = dice.randrange(256)
            broken.append(bytes(changed))
    found = [outcome(content, SIDE) for content in broken]
    assert found == [outcome(content, None) for content in broken]
    assert {"truncated", "damaged", ""} <= {reason for reason, _ in found}


def test_a_source_is_read_so(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / "train" / name).mkdir(parents=True)
        (tmp_path / "train" / name / "0.jpg").write_bytes(LARGE["orientation 6"])
    for how in get_args(Square):
        found = in_memory(open_training(str(tmp_path)).read(SIDE, how)[0].images)[0].numpy().transpose(1, 2, 0)
        assert np.array_equal(found, kept(LARGE["orientation 6"], SIDE, how))
        assert not np.array_equal(found, kept(LARGE["orientation 6"], None, how))
