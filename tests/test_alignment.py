"""Maps of other sizes and parts of a picture on one grid."""

from __future__ import annotations

import numpy as np
import pytest

from xai.metrics.agreement import rank_correlation
from xai.metrics.alignment import common_places


def ramp(box: tuple[float, float, float, float], size: tuple[int, int]) -> np.ndarray:
    """A map (h, w) whose values say where in the picture they lie: x + 1000 y at the middle of each cell."""
    left, top, right, bottom = box
    height, width = size
    x = left + (np.arange(width) + 0.5) * (right - left) / width
    y = top + (np.arange(height) + 0.5) * (bottom - top) / height
    return x[None, :] + 1000 * y[:, None]


def test_maps_of_one_size_and_part_stay_as_they_are() -> None:
    maps = [np.random.default_rng(n).normal(size=(5, 7)) for n in range(2)]
    found = common_places(maps, [(0, 0, 70, 50)] * 2)
    assert all(each is one for each, one in zip(found, maps, strict=True))


def test_the_same_place_of_the_picture_comes_to_the_same_place_of_the_grid() -> None:
    boxes = [(10.0, 0.0, 90.0, 80.0), (20.0, 10.0, 120.0, 110.0), (0.0, 0.0, 200.0, 160.0)]
    maps = [ramp(boxes[0], (80, 80)), ramp(boxes[1], (50, 50)), ramp(boxes[2], (160, 200))]
    found = common_places(maps, boxes)
    shared = (20.0, 10.0, 90.0, 80.0)
    assert [each.shape for each in found] == [(35, 35)] * 3, "70 pixels at the half value per pixel of the coarsest"
    expected = ramp(shared, (35, 35))
    for each in found:
        inner = np.s_[2:-2, 2:-2]  # at an edge, bilinear leans on one side only
        assert np.allclose(each[inner], expected[inner], atol=30), "less than a thirtieth of a pixel"
        assert rank_correlation(each, expected) > 0.9999


def test_a_box_that_ends_a_rounding_beyond_the_map_is_no_error() -> None:
    third = 100 / 3
    boxes = [(0.0, 0.0, third * 3, 100.0), (third, 0.0, third * 3 + 1e-12, 100.0)]
    found = common_places([np.ones((30, 30)), np.ones((20, 20))], boxes)
    assert {each.shape for each in found} == {(20, 20)}


def test_parts_without_a_common_place_are_a_bug() -> None:
    with pytest.raises(ValueError, match="share no place"):
        common_places([np.ones((4, 4))] * 2, [(0, 0, 5, 5), (5, 0, 9, 5)])
