"""Whether maps of clusters follow the object: pointing game and energy against masks of the objects."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Maps = NDArray[np.floating]
Masks = NDArray[np.bool_]


@dataclass(frozen=True)
class Pointing:
    """How maps of N pictures meet the masks of their objects; all in [0, 1].

    Attributes:
        hits: share of the pictures whose map peaks inside the mask.
        energy: mean share of the map's positive values inside the mask.
        area: mean share of the picture that the masks cover: what a random map reaches in both.
        pictures: how many have a map that is not zero everywhere; the others count as misses.
    """

    hits: float
    energy: float
    area: float
    pictures: int


def measure_pointing(maps: Maps, masks: Masks) -> Pointing:
    """Compare maps (N, h, w) with masks (N, h, w).

    Where several places share the peak, as all of them do in a map of zeros, the share of them inside counts.

    Source: Zhang et al. 2016, arXiv 1608.00507; energy: Wang et al. 2020, arXiv 1910.01279.
    """
    if maps.shape != masks.shape:
        raise ValueError(f"Maps have shape {maps.shape}, masks {masks.shape}.")
    flat, inside = maps.reshape(len(maps), -1).astype(np.float64), masks.reshape(len(masks), -1)
    positive = np.maximum(flat, 0)
    sums = positive.sum(1)
    peaks = flat == flat.max(1, keepdims=True)
    hits = (peaks & inside).sum(1) / peaks.sum(1)
    energy = (positive * inside).sum(1) / np.where(sums > 0, sums, 1)
    return Pointing(
        hits=float(np.where(sums > 0, hits, 0).mean()),
        energy=float(energy.mean()),
        area=float(inside.mean()),
        pictures=int((sums > 0).sum()),
    )
