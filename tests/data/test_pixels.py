"""Images that are numbers, whatever kind of numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hello_distill.data.pixels import in_bytes, upright
from hello_distill.data.sources import open_training
from hello_distill.system.context import Context
from hello_distill.system.errors import InputError


@pytest.mark.parametrize("kind", [bool, np.uint8, np.int64, np.float32])
def test_zeros_and_ones_are_black_and_white(kind: Any) -> None:
    """Scikit-learn and MATLAB users keep binary images so: as bytes they would be all but black."""
    assert in_bytes("x", np.array([[0, 1], [1, 0]], kind)).tolist() == [[0, 255], [255, 0]]


def test_numbers_above_one_are_bytes_as_they_are() -> None:
    for kind in (np.uint8, np.int64, np.float64):
        assert in_bytes("x", np.array([0, 1, 2, 255], kind)).tolist() == [0, 1, 2, 255]
    assert in_bytes("x", np.array([0.25, 1.0])).tolist() == [64, 255]  # 63.75 rounded
    assert in_bytes("x", np.zeros((0, 4, 4), np.uint8)).shape == (0, 4, 4)


@pytest.mark.parametrize("wrong", [np.array([-1, 4]), np.array([256.0]), np.array([np.nan]), np.array(["a"])])
def test_other_numbers_are_refused(wrong: Any) -> None:
    with pytest.raises(InputError, match="not numbers from 0 to 255"):
        in_bytes("x", wrong)


def test_channels_may_come_first() -> None:
    image = np.arange(3 * 4 * 5).reshape(3, 4, 5)
    assert np.array_equal(upright("x", image), image.transpose(1, 2, 0))


def test_an_image_column_among_columns_of_pixels_is_refused(tmp_path: Path) -> None:
    """It was passed over in silence."""
    header = ",".join(["label", *(f"pixel{place}" for place in range(16))])
    lines = [",".join([name, *["7"] * 16]) for name in ("cat", "dog") * 2]
    (tmp_path / "train.csv").write_text("\n".join([header, *lines]))
    assert open_training(str(tmp_path / "train.csv")).counts() == {"cat": 2, "dog": 2}
    with (
        Context(image_column="pixel3"),
        pytest.raises(InputError, match=r"in the column pixel3; leave --image-column out$"),
    ):
        open_training(str(tmp_path / "train.csv"))
