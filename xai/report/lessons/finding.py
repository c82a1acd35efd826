"""What a look at a network gives: a figure and its numbers; and the frame for maps that cannot share one scale."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from xai.figures.overlays import overlay, place_map
from xai.figures.panels import Scale, draw_panels
from xai.figures.style import colour_scale, colour_values
from xai.io.geometry import Box
from xai.io.images import Image

OWN_SCALE = "Share of panel's maximum"  # of |value|; the titles give it
ALPHA = 0.7  # of the strongest value: the photograph stays visible under it


@dataclass(frozen=True, eq=False)
class Finding:
    """A figure, and a sentence whose numbers were computed from the same arrays."""

    figure: Figure
    sentence: str


def overlay_each(
    pictures: Sequence[tuple[Image, Box]],
    maps: Sequence[NDArray[np.floating]],
    titles: Sequence[str],
    *,
    suptitle: str,
    alt: str,
    signed: bool = False,
    limit: float | None = None,
    value_label: str = OWN_SCALE,
    columns: int | None = None,
) -> Figure:
    """Lay each map over the part of a picture that the network was given.

    Args:
        pictures: K pictures, each with that part (left, top, right, bottom), in pixels.
        maps: K float maps (h, w), raw.
        titles: K titles.
        suptitle, alt: what the figure shows, for those who see it and those who do not.
        signed: whether values below zero count.
        limit: the shared end of the scale; None: each panel has its own, which its title should give.
        value_label: name and unit of the values on the colour bar.
        columns: panels per row; default at most 4.
    """
    panels = []
    for (image, box), values in zip(pictures, maps, strict=True):
        part = crop_picture(image, box)
        placed = place_map(values, (part.shape[1], part.shape[0]), None)
        panels.append(overlay(part, placed, signed=signed, limit=limit, alpha=ALPHA))
    scale = Scale(colour_scale(1.0 if limit is None else limit, signed=signed), value_label)
    columns = columns or min(len(panels), 4)
    return draw_panels(panels, titles, alt=alt, columns=columns, suptitle=suptitle, scale=scale, blocky=False)


def crop_picture(image: Image, box: Box) -> NDArray[np.uint8]:
    """Cut the part (left, top, right, bottom) out of a picture, to whole pixels: uint8 (H, W, 3)."""
    left, top, right, bottom = (round(edge) for edge in box)
    return image.pixels[top:bottom, left:right]


def colour_each(maps: Sequence[NDArray[np.floating]], *, signed: bool) -> list[NDArray[np.uint8]]:
    """Colour maps (h, w) each on its own scale, to be drawn beside `OWN_SCALE`."""
    return [colour_values(values, float(np.abs(values).max()), signed=signed) for values in maps]


def correlate(first: NDArray[np.floating], second: NDArray[np.floating]) -> float:
    """Pearson's correlation of two arrays of one shape, over all their values; 0 where one of them is constant."""
    a, b = (values.astype(np.float64).ravel() - values.mean(dtype=np.float64) for values in (first, second))
    scale = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / scale if scale else 0.0
