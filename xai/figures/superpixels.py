"""Superpixels on a picture: their outlines, their weights in colour, and the chosen ones cut out."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image
from skimage.segmentation import find_boundaries

from xai.figures import overlays, style
from xai.figures.panels import Scale, draw_panels

Picture = NDArray[np.uint8]
HIDDEN = 200  # grey of what is hidden
OUTSIDE = -1  # label of pixels that the network does not see
LINE = (255, 230, 0)  # of outlines without a sign


def place_labels(segments: NDArray[np.integer], size: tuple[int, int], box: overlays.Box) -> NDArray[np.int32]:
    """Put superpixels where they belong on a picture: labels int32 (H, W), OUTSIDE beyond the box.

    Args:
        segments: labels (h, w) from 0.
        size: (width, height) of the picture.
        box: (left, top, right, bottom) in its pixels that the labels cover.
    """
    left, top, right, bottom = box
    across, down = segments.shape[1] / (right - left), segments.shape[0] / (bottom - top)
    placed = Image.fromarray((segments + 1).astype(np.int32)).transform(
        size, Image.Transform.AFFINE, (across, 0, -left * across, 0, down, -top * down), Image.Resampling.NEAREST
    )  # what is beyond the box becomes 0
    return np.array(placed, dtype=np.int32) - 1


def outline(picture: Picture, labels: NDArray[np.integer], colour: tuple[int, int, int] = LINE) -> Picture:
    """Draw the boundaries between superpixels on a copy of the picture, uint8 (H, W, 3)."""
    result = picture.copy()
    result[find_boundaries(labels, mode="inner", background=OUTSIDE)] = colour
    return result


def cut_out(
    picture: Picture,
    labels: NDArray[np.integer],
    weights: NDArray[np.floating],
    kept: NDArray[np.integer],
    *,
    hide_rest: bool,
) -> Picture:
    """Mark superpixels on a picture: outlined in the colour of their sign, everything else as it is or grey.

    Args:
        picture: uint8 (H, W, 3).
        labels: int (H, W), as from `place_labels`.
        weights: float (d,) of the superpixels.
        kept: the labels that are marked.
        hide_rest: whether all other pixels become grey.

    Returns:
        Uint8 (H, W, 3).
    """
    inside = np.isin(labels, kept)
    result = picture.copy()
    if hide_rest:
        result[~inside] = HIDDEN
    table = style.colormap_table(style.DIVERGING[0])
    for sign, colour in ((1, table[-30]), (-1, table[30])):
        members = kept[np.sign(weights[kept]) == sign]
        own = np.where(np.isin(labels, members), labels, OUTSIDE)
        edges = find_boundaries(own, mode="inner", background=OUTSIDE)
        for shift in (0, 1):  # two pixels wide
            result[np.roll(edges, shift, 0) & inside | edges] = colour
    return result


def superpixel_panels(
    picture: Picture,
    segments: NDArray[np.integer],
    weights: NDArray[np.floating],
    kept: NDArray[np.integer],
    *,
    box: overlays.Box,
    suptitle: str,
) -> Figure:
    """Show outlines, signed weights on a symmetric scale, the kept superpixels, and these with the rest hidden.

    Args:
        picture: uint8 (H, W, 3).
        segments: labels (h, w) from 0 to d - 1, covering the box.
        weights: float (d,).
        kept: labels of the superpixels that are cut out.
        box: (left, top, right, bottom) in pixels of the picture.
        suptitle: what the figure shows.
    """
    labels = place_labels(segments, (picture.shape[1], picture.shape[0]), box)
    values = np.where(labels == OUTSIDE, 0, weights[labels]).astype(np.float32)
    limit = float(np.abs(weights).max())
    panels = [
        outline(picture, labels),
        overlays.overlay(picture, values, signed=True, limit=limit, alpha=0.8),
        cut_out(picture, labels, weights, kept, hide_rest=False),
        cut_out(picture, labels, weights, kept, hide_rest=True),
    ]
    signs = np.sign(weights[kept])
    count = f"{int((signs > 0).sum())} for, {int((signs < 0).sum())} against"
    titles = [f"{len(weights)} superpixels", "Weights", f"The {len(kept)} strongest ({count})", "The rest hidden"]
    scale = Scale(style.colour_scale(limit, signed=True), "Weight of a superpixel")
    alt = (
        f"A picture in {len(weights)} superpixels: outlines; weights from {-limit:.3g} to {limit:.3g} in colour; the "
        f"{len(kept)} strongest outlined, red for and blue against the class; and these with the rest grey."
    )
    return draw_panels(panels, titles, columns=2, suptitle=suptitle, alt=alt, scale=scale, box=box, blocky=False)
