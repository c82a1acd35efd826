"""Superpixels on a picture: their outlines, and the picture with all but some of them faded out."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import PIL.Image
from numpy.typing import NDArray
from skimage.segmentation import find_boundaries

from xai.figures.overlays import Picture

FADED = 0.12  # of a superpixel that is not shown, this much shines through the grey
GREY = 225


def enlarge_segments(segments: NDArray[np.integer], picture: Picture) -> NDArray[np.int32]:
    """Bring labels (h, w) to the size of a picture (H, W, 3), each pixel taking that of its place: int32 (H, W)."""
    height, width = picture.shape[:2]
    labels = PIL.Image.fromarray(np.ascontiguousarray(segments, dtype=np.int32))
    return np.asarray(labels.resize((width, height), PIL.Image.Resampling.NEAREST))


def outline_superpixels(picture: Picture, segments: NDArray[np.integer]) -> Picture:
    """Draw the borders between superpixels, a light line inside a dark one.

    Args:
        picture: uint8 (H, W, 3).
        segments: labels (h, w) of the same picture at any size.

    Returns:
        A copy.
    """
    labels = enlarge_segments(segments, picture)
    result = picture.copy()
    result[find_boundaries(labels, mode="thick")] = 0
    result[find_boundaries(labels, mode="inner")] = 255
    return result


def show_superpixels(picture: Picture, segments: NDArray[np.integer], shown: Collection[int]) -> Picture:
    """Fade out every superpixel but those shown.

    Args:
        picture: uint8 (H, W, 3).
        segments: labels (h, w) of the same picture at any size.
        shown: labels that stay as they are.
    """
    kept = np.isin(enlarge_segments(segments, picture), list(shown))[..., None]  # (H, W, 1)
    faded = np.rint(FADED * picture + (1 - FADED) * GREY).astype(np.uint8)
    return np.where(kept, picture, faded)
