"""Bring maps of one picture, made at different sizes and of different parts of it, to one grid."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Map = NDArray[np.floating]
Box = tuple[float, float, float, float]


def common_places(maps: Sequence[Map], boxes: Sequence[Box]) -> list[Map]:
    """Cut maps to what all of them cover and bring them to one size, so that they can be compared place by place.

    Args:
        maps: float (h, w) each.
        boxes: part of the picture that each covers: left, top, right, bottom in the picture's pixels.

    Returns:
        The maps as they are where size and box are the same. Else float32 maps of one size that cover the common part
        of the boxes with as many values as the coarsest map has there: bilinear, and averaged where that shrinks.
    """
    if len({(each.shape, box) for each, box in zip(maps, boxes, strict=True)}) == 1:
        return list(maps)
    lows, highs = np.array(boxes)[:, :2], np.array(boxes)[:, 2:]  # (M, 2): across, down
    low, high = lows.max(0), highs.min(0)
    if (high <= low).any():
        raise ValueError(f"Maps of parts that share no place cannot be compared: {list(boxes)}.")
    sizes = np.array([each.shape[::-1] for each in maps])  # (M, 2): width, height
    scales = sizes / (highs - lows)  # values per pixel of the picture
    width, height = np.maximum(1, np.rint((high - low) * scales.min(0))).astype(int).tolist()
    brought = []
    for each, start, scale, size in zip(maps, lows, scales, sizes, strict=True):
        corners = np.clip([(low - start) * scale, (high - start) * scale], 0, size)  # Pillow takes no rounding beyond
        picture = Image.fromarray(np.ascontiguousarray(each, dtype=np.float32))
        part = picture.resize((width, height), Image.Resampling.BILINEAR, box=tuple(corners.ravel().tolist()))
        brought.append(np.asarray(part))
    return brought
