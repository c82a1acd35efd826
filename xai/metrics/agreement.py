"""How far maps of one picture agree: in order, in their strongest places, in structure."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata
from skimage.metrics import structural_similarity

Map = NDArray[np.floating]
TOP_SHARE = 0.1


def rank_correlation(first: Map, second: Map) -> float:
    """Spearman's rank correlation of two maps (h, w) over places, in [-1, 1]; NaN where one map is constant.

    Ties share their mean rank. Source: Spearman 1904; for maps e.g. Adebayo et al. 2018, arXiv 1810.03292.
    """
    _check(first, second)
    a, b = (rankdata(values.ravel()) for values in (first, second))
    a, b = a - a.mean(), b - b.mean()
    size = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / size if size > 0 else float("nan")


def top_overlap(first: Map, second: Map, share: float = TOP_SHARE) -> float:
    """Intersection over union of the strongest places of two maps (h, w), in [0, 1].

    Args:
        first, second: maps; the strongest places are those of highest value, so evidence against does not count.
        share: of all places, in (0, 1]. Where the value at the border occurs several times, all those places count.
    """
    _check(first, second)
    a, b = (_strongest(values, share) for values in (first, second))
    union = int((a | b).sum())
    return float((a & b).sum() / union) if union else float("nan")


def structure(first: Map, second: Map) -> float:
    """Structural similarity of two maps (h, w), each divided by its largest |value|, in [-1, 1].

    Where one of them has negative values, both are brought from [-1, 1] to [0, 1]: the measure multiplies means, so two
    maps of opposite sign would pass for alike. A map of zeros stays one.

    Source: Wang et al. 2004, with the 7 x 7 window of scikit-image (smaller on small maps).
    """
    _check(first, second)
    a, b = (values.astype(np.float64) / (np.abs(values).max() or 1.0) for values in (first, second))
    if min(a.min(), b.min()) < 0:
        a, b = (a + 1) / 2, (b + 1) / 2
    window = min(7, *(side - 1 + side % 2 for side in first.shape))  # odd, and no larger than the map
    if window < 3:
        raise ValueError(f"Maps of {first.shape} are too small for a structural similarity.")
    return float(structural_similarity(a, b, win_size=window, data_range=1.0))


MEASURES: dict[str, Callable[[Map, Map], float]] = {
    "rank correlation": rank_correlation,
    "overlap of the strongest tenth": top_overlap,
    "structural similarity": structure,
}


def agreement_matrix(maps: Sequence[Map], measure: Callable[[Map, Map], float]) -> NDArray[np.float64]:
    """Measure all pairs of maps (h, w) of one size: float64 (M, M), symmetric."""
    matrix = np.empty((len(maps), len(maps)))
    for i, first in enumerate(maps):
        for j, second in enumerate(maps[: i + 1]):
            matrix[i, j] = matrix[j, i] = measure(first, second)
    return matrix


def _strongest(values: Map, share: float) -> NDArray[np.bool_]:
    count = max(1, round(share * values.size))
    border = np.partition(values.ravel(), -count)[-count]
    return values >= border if border > values.min() else np.zeros(values.shape, bool)


def _check(first: Map, second: Map) -> None:
    if first.shape != second.shape or first.ndim != 2:
        raise ValueError(f"Two maps (h, w) of one size are compared, not {first.shape} and {second.shape}.")
