"""From an image file to an 8-bit sRGB picture: what is taken for an image, and how it looks, is decided here alone.

Files come from strangers. A short list of formats is opened, none of which can run anything; sizes are looked at
before pixels are decoded; and whatever is wrong with a file ends in `Unreadable` with one of `REASONS`.
"""

from __future__ import annotations

import codecs
import io
import os
import stat
import warnings
from collections.abc import Sequence
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from hello_distill.data import archives
from hello_distill.format.fields import Square
from hello_distill.system.errors import MachineError, one_line

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF")
"""Formats that are opened, AVIF where Pillow can. EPS never is: it is a program, and Pillow would run it."""
MAX_PIXELS = 50_000_000
"""Larger images are refused by their header, before anything is decoded."""
MAX_BYTES = 64 * 2**20
"""Larger files are refused before they are read: no image within MAX_PIXELS needs so many when it is compressed."""
GREY = (124, 116, 104)
"""ImageNet's mean, in 8 bits."""
REASONS = (
    "empty file", "HTML", "text", "unsupported format", "unsupported pixels", "truncated", "damaged",
    "too many pixels", "too many bytes", "no regular file", "outside of the source", "no such file", "not readable",
    "no image in the row",
)  # fmt: skip
"""Why a file is no image for us. None names a file, so that counts by reason can be passed on."""


class Unreadable(ValueError):
    """A file that is no image for us: one of `REASONS`, and what more is known."""

    def __init__(self, reason: str, detail: str = "") -> None:
        assert reason in REASONS
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail


def decode(
    record: dict[str, Any] | None, roots: Sequence[Path] = (), side: int | None = None, how: Square = "crop"
) -> Image.Image:
    """The picture of `{"bytes", "path"}`. A path is opened where there are no bytes, and only below `roots`.

    `side` and `how` as in `picture`. Raises Unreadable.
    """
    if record is None or (record["bytes"] is None and record["path"] is None):
        raise Unreadable("no image in the row")
    if record["bytes"] is not None:
        return picture(record["bytes"], side, how)
    return picture(contents(os.fsdecode(record["path"]), roots), side, how)


def contents(path: str, roots: Sequence[Path], most: int = MAX_BYTES) -> bytes:
    """The bytes of a file that lies below one of the folders, or in one of the archives (resolved), links followed.

    Pipes, devices and files of more than `most` bytes are not opened. Raises Unreadable.
    """
    try:
        real = Path(os.path.realpath(path))
    except ValueError:  # a zero byte, or letters that no file name has
        raise Unreadable("no such file") from None
    if not any(real.is_relative_to(root) for root in roots):
        raise Unreadable("outside of the source", "a link that leads elsewhere" if real != Path(path) else "")
    if archive := archives.holding(real):
        return _member(archive, real.relative_to(archive).as_posix(), most)
    try:
        status = real.stat()
        if not stat.S_ISREG(status.st_mode):
            raise Unreadable("no regular file")
        if status.st_size > most:
            raise _too_many_bytes(status.st_size, most)
        return real.read_bytes()
    except FileNotFoundError:
        raise Unreadable("no such file") from None
    except OSError as error:
        raise Unreadable("not readable", error.strerror or "") from None


def _member(archive: Path, name: str, most: int) -> bytes:
    try:
        if (size := archives.size(archive, name)) > most:
            raise _too_many_bytes(size, most)
        return archives.read(archive, name)
    except KeyError:
        raise Unreadable("no such file") from None
    except archives.BROKEN as error:
        raise Unreadable("not readable", one_line(error)[:200]) from None


def picture(content: bytes, side: int | None = None, how: Square = "crop") -> Image.Image:
    """RGB, 8 bit: the first frame, turned as its EXIF says.

    `side` and `how` are those of a call of `square` that follows: a large JPEG is then decoded smaller, and has the
    size that `square` gives it, without bars. None gives all pixels.

    An embedded profile is converted to sRGB; one that is broken or made for other channels is left aside, as browsers
    do. Transparent pixels are composited on white (ours), so that colours hidden behind alpha 0 do not show. 16-bit
    values are divided by 257. Raises Unreadable, and MachineError where memory is full, which is no fault of the file.
    """
    if not content:
        raise Unreadable("empty file")
    if len(content) > MAX_BYTES:
        raise _too_many_bytes(len(content))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's, of sizes and tags: what counts is raised here
            with Image.open(io.BytesIO(content), formats=formats()) as opened:
                if opened.width * opened.height > MAX_PIXELS:
                    raise Unreadable("too many pixels", f"{opened.width} x {opened.height}, at most {MAX_PIXELS:,}")
                if opened.format == "PNG" and content.rfind(b"IEND") < 0:  # Pillow is content with all pixels
                    raise Unreadable("truncated")
                stored = opened if side is None else _draft(opened, side, how)
                return _to_rgb(ImageOps.exif_transpose(stored), opened.info.get("icc_profile"))
    except Unreadable:
        raise
    except MemoryError:
        raise MachineError(
            f"memory is full: an image of {len(content):,} bytes cannot be decoded; close other programs"
        ) from None
    except UnidentifiedImageError:
        raise Unreadable("truncated" if _is_short_riff(content) else _kind(content)) from None
    except Image.DecompressionBombError:
        raise Unreadable("too many pixels", f"at most {MAX_PIXELS:,}") from None
    except Exception as error:  # of nearly any class, for a file made to harm
        reason = "truncated" if _is_short_riff(content) else _damage(error)
        raise Unreadable(reason, one_line(error)[:200] or type(error).__name__) from None


def square(picture: Image.Image, side: int, how: Square = "crop") -> Image.Image:
    """A picture as a square, `side` pixels wide (bicubic).

    Its centre (`crop`); the whole of it between grey bars, which are nothing to a network that takes ImageNet's mean
    out (`pad`, ours); or the whole of it, out of proportion (`squash`).
    """
    if picture.size == (side, side):
        return picture
    if how == "pad":
        return ImageOps.pad(picture, (side, side), Image.Resampling.BICUBIC, GREY)
    if how == "squash":
        return picture.resize((side, side), Image.Resampling.BICUBIC)
    return ImageOps.fit(picture, (side, side), Image.Resampling.BICUBIC)


@cache
def formats() -> tuple[str, ...]:
    """The formats of FORMATS that this Pillow has."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def _draft(opened: Image.Image, side: int, how: Square) -> Image.Image:
    """A JPEG that its decoder makes 1/2, 1/4 or 1/8 as large, resized as `square` does; others as they are.

    It is decoded to twice `side` pixels or more in width and height, so that resizing still filters. A JPEG of fewer
    than four times as many is decoded as it is.
    """
    size = opened.size
    drafted = opened.draft(None, (2 * side, 2 * side))
    if drafted is None or opened.size == size:
        return opened
    width, height = drafted[1][2:]  # the decoder rounds up, and a part of its last row and column is no picture
    size, box = (side, side), (0.0, 0.0, width, height)
    if how == "crop":
        left, top = (max(0, width - height) / 2, max(0, height - width) / 2)
        box = (left, top, width - left, height - top)
    elif how == "pad":  # `square` adds the bars
        size = (max(1, round(min(1, width / height) * side)), max(1, round(min(1, height / width) * side)))
    return opened.resize(size, Image.Resampling.BICUBIC, box)


def _too_many_bytes(count: int, most: int = MAX_BYTES) -> Unreadable:
    return Unreadable("too many bytes", f"{count:,}, at most {most:,}")


def _to_rgb(picture: Image.Image, profile: bytes | None) -> Image.Image:
    if picture.mode == "RGB" and profile is None and "transparency" not in picture.info:
        return picture
    if picture.mode.startswith("I"):
        picture = _to_8_bit(picture)
    if picture.mode in ("F", "LAB"):
        raise Unreadable("unsupported pixels", f"of Pillow's mode {picture.mode}")
    if not picture.has_transparency_data:
        return _in_srgb(picture, profile)
    key = picture.info.get("transparency")
    if isinstance(key, tuple) and max(key) > 255:  # of 16 bit, where Pillow has kept the upper 8 of the pixels
        picture.info["transparency"] = tuple(value >> 8 for value in key)
    grey = picture.mode in ("1", "L", "LA", "La")
    whole = picture.convert("RGBA")
    colours = _in_srgb(whole.convert("L" if grey else "RGB"), profile)
    result = Image.new("RGB", whole.size, "white")
    result.paste(colours, mask=whole.getchannel("A"))
    return result


def _to_8_bit(picture: Image.Image) -> Image.Image:
    """Greys of 16 bit as 8 bit; Pillow's own conversion would clip all above 255. A transparent grey stays so."""
    values = np.asarray(picture)
    if values.min() < 0 or values.max() > 65535:
        raise Unreadable("unsupported pixels", "numbers that 16 bits do not hold")
    grey = Image.fromarray((values // 257).astype(np.uint8))
    key = picture.info.get("transparency")
    if key is not None:
        grey.putalpha(Image.fromarray(np.where(values == key, 0, 255).astype(np.uint8)))
    return grey


def _in_srgb(picture: Image.Image, profile: bytes | None) -> Image.Image:
    """RGB, by a profile if there is one."""
    if profile is None:
        return picture.convert("RGB")
    if picture.mode not in ("L", "RGB", "CMYK"):
        picture = picture.convert("L" if picture.mode == "1" else "RGB")
    transform = _transform(profile, picture.mode)
    moved = None if transform is None else ImageCms.applyTransform(picture, transform)
    return moved or picture.convert("RGB")


@lru_cache(maxsize=4)
def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """From a profile to sRGB; None where that changes no colour by more than rounding, or cannot be done."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        transform = ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, "RGB")
        if mode == "CMYK":
            return transform
        probe = _probe().convert(mode)
        moved = np.asarray(ImageCms.applyTransform(probe, transform), np.int16) - np.asarray(probe.convert("RGB"))
    except (OSError, ImageCms.PyCMSError):
        return None
    return transform if np.abs(moved).max() > 1 else None


@cache
def _probe() -> Image.Image:
    """Colours of a 9 x 9 x 9 grid, to try a profile on."""
    steps = np.linspace(0, 255, 9).round().astype(np.uint8)
    grid = np.stack(np.meshgrid(steps, steps, steps), -1)
    return Image.fromarray(grid.reshape(27, 27, 3))


def _kind(content: bytes) -> str:
    """What a file is that none of our formats knows."""
    start = content[:1024].lstrip(b"\xef\xbb\xbf \t\r\n")
    ours = [Image.OPEN[name][1] for name in formats()]
    if any(accept is not None and accept(content[:16]) is True for accept in ours):
        return "damaged"
    if start[:15].lower().startswith((b"<!doctype html", b"<html")):
        return "HTML"
    if start.startswith((b"<?xml", b"<svg", b"%!PS", b"%PDF")) or not _is_text(start):
        return "unsupported format"
    return "text"


def _is_text(start: bytes) -> bool:
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(start)  # the last letter may be cut
    except UnicodeDecodeError:
        return False
    return all(letter.isprintable() or letter.isspace() for letter in text)


def _damage(error: Exception) -> str:
    said = str(error).lower()
    short = isinstance(error, EOFError) or any(word in said for word in ("truncated", "eof", "not enough", "too short"))
    return "truncated" if short else "damaged"


def _is_short_riff(content: bytes) -> bool:
    """Whether a WebP file ends before the length in its header, of which Pillow says nothing."""
    return content[:4] == b"RIFF" and 8 + int.from_bytes(content[4:8], "little") > len(content) >= 12
