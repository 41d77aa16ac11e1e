"""The image decoder on broken files: a picture, or one of the errors that its callers know."""

from __future__ import annotations

import io
import random
from functools import cache

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, features

from hello_distill.data.decoding import Unreadable, decode

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::PIL.Image.DecompressionBombWarning")
FORMATS = ("PNG", "JPEG", "GIF", "TIFF", *(["WEBP"] if features.check("webp") else []))
MODES = ("RGB", "L", "P", "RGBA", "I;16", "1", "CMYK", "LA")


@cache
def file(form: str, mode: str, seed: int) -> bytes | None:
    """A small image file with an orientation in it; None where the format does not have the mode."""
    picture = Image.frombytes("L", (23, 17), random.Random(seed).randbytes(23 * 17))
    picture = picture.convert("I").convert("I;16") if mode == "I;16" else picture.convert(mode)
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 1 + seed % 8, "drawn"
    options = {} if form == "GIF" else {"exif": exif}
    if form == "TIFF":
        options["compression"] = (None, "tiff_lzw", "tiff_deflate", "packbits")[seed % 4]
    buffer = io.BytesIO()
    try:
        picture.save(buffer, form, **options)
    except (OSError, ValueError, KeyError):
        return None
    return buffer.getvalue()


FILES = [made for form in FORMATS for mode in MODES for seed in range(4) if (made := file(form, mode, seed))]


@st.composite
def broken(draw: st.DrawFn) -> bytes:
    """A file with some bytes changed, most of them near its start, then cut short, or with a piece of another in it."""
    content = bytearray(draw(st.sampled_from(FILES)))
    for _ in range(draw(st.integers(0, 6))):
        place = draw(st.one_of(st.integers(0, 80), st.integers(0, len(content) - 1)))
        content[place % len(content)] = draw(st.one_of(st.sampled_from([0, 1, 127, 128, 255]), st.integers(0, 255)))
    how = draw(st.sampled_from(["whole", "cut", "spliced", "repeated"]))
    place = draw(st.integers(0, len(content)))
    if how == "cut":
        return bytes(content[:place])
    if how == "spliced":
        return bytes(content[:place]) + draw(st.sampled_from(FILES))[place // 2 :]
    return bytes(content) * (2 if how == "repeated" else 1)


@settings(max_examples=1000, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(broken(), st.sampled_from((None, 4)))
def test_a_broken_file_is_a_picture_or_an_error_that_is_known(content: bytes, side: int | None) -> None:
    try:
        picture = decode({"bytes": content, "path": None}, side=side)
    except Unreadable:
        return
    assert picture.mode == "RGB" and min(picture.size) >= 1


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.binary(max_size=200))
def test_noise_is_no_picture(content: bytes) -> None:
    try:
        decode({"bytes": content, "path": None})
    except Unreadable:
        return
    raise AssertionError("a picture came of noise")


def test_every_unbroken_file_is_a_picture() -> None:
    assert len(FILES) > 100
    for content in FILES:
        assert sorted(decode({"bytes": content, "path": None}).size) == [17, 23]
