"""CSV files whose columns are pixels: a class and the grey values of a square in each line, as MNIST goes about."""

from __future__ import annotations

import csv
import io
import math
import re
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from pyarrow import csv as tables

from hello_distill.data import values
from hello_distill.data.arrays import split_of
from hello_distill.data.folders import test_split, training_split
from hello_distill.data.images import Split
from hello_distill.data.listings import Listing
from hello_distill.system import context
from hello_distill.system.errors import InputError, one_line

PIXEL = re.compile(r"(pixels?|px|p|x)?[-_ ]?\d+([-_ x.]\d+)?", re.IGNORECASE)
"""Names of columns that are pixels: `pixel0`, `1x1`, `pixel_3_4`, `17`."""
FEWEST = 16
"""Pixels of an image in such a file, at least."""
OTHERS = 4
"""Columns beside pixels, at most."""


class Numbered(NamedTuple):
    """A source whose images are lines of numbers in such files."""

    source: str
    files: dict[str, Listing]
    """By split; one file alone has the name ``."""

    def training(self) -> Split:
        return self._split(training_split(self.source, list(self.files)), None)

    def test(self, name: str | None) -> Split:
        train = self.training()
        found = test_split(self.source, name, self.files, train.name, "write it into test.csv beside train.csv")
        return self._split(found, train.classes)

    def _split(self, name: str, classes: tuple[str, ...] | None) -> Split:
        file = self.files[name]
        header, table = _read(file)
        if "split" in header and len(table["split"].unique()) > 1:
            raise InputError(
                f"{file.shown}: lines of pixels are divided into splits by files, and it has a column called split; "
                "write each split into a file of its own, such as train.csv and test.csv"
            )
        if chosen := context.current().image_column:
            raise InputError(
                f"{file.shown} holds each pixel in a column of its own, and no images in the column {chosen}; leave "
                "--image-column out"
            )
        pixels = [column for column in header if PIXEL.fullmatch(column)]
        column = values.column(file.shown, "label", [other for other in header if other not in pixels], pixels)
        pixels = [other for other in pixels if other != column]
        images = np.stack([table[each].to_numpy() for each in pixels], axis=1)
        return split_of(file.shown, name or "train", images, table[column].to_pylist(), classes, column)


def is_numbered(file: Listing) -> bool:
    """Whether the columns of a CSV file are pixels, by its first line."""
    header = _header(_first(file))
    pixels = sum(PIXEL.fullmatch(column) is not None for column in header)
    return pixels >= FEWEST and len(header) - pixels <= OTHERS


def _first(file: Listing) -> list[str]:
    """The cells of the first line; none where it is no CSV."""
    try:
        line = file.tree.content(file.file).partition(b"\n")[0].decode("utf-8-sig")
        return [cell.strip() for cell in next(csv.reader([line]), [])]
    except (InputError, ValueError, csv.Error):
        return []


def _header(first: list[str]) -> list[str]:
    """Names of the columns: the cells of the first line, unless these are a class and the grey values of a square, of
    which some are equal."""
    count = len(first) - 1
    square = count >= FEWEST and math.isqrt(count) ** 2 == count
    if square and len({*first[1:]}) < count and all(cell.isdecimal() for cell in first[1:]):
        return ["label", *(f"pixel{number}" for number in range(count))]
    return first


def _read(file: Listing) -> tuple[list[str], pa.Table]:
    """Names of the columns, and the numbers. Raises InputError where the file cannot be read."""
    first = _first(file)
    header = _header(first)
    options = tables.ReadOptions(column_names=header, skip_rows=int(header == first))
    try:
        return header, tables.read_csv(io.BytesIO(file.tree.content(file.file)), options)
    except pa.ArrowException as error:
        raise InputError(
            f"{file.shown} cannot be read as lines of pixels ({one_line(error)[:99]}); write as many numbers into each "
            "as there are columns"
        ) from None
