"""Lay pictures out on a plane so that those with like features lie near each other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xai.errors import one_of

Floats = NDArray[np.floating]
LAYOUTS = ("pca", "t-sne")
MOST = 5000  # pictures that t-SNE lays out in bearable time
ANCHORS = 10  # neighbours among which a further picture is placed


@dataclass(frozen=True, eq=False)
class Layout:
    """Places on a plane.

    Attributes:
        kind: "pca" or "t-sne".
        pictures: int64 (n,), which pictures were laid out: all, or a sample.
        places: float32 (n, 2).
        explained: share of the variance in the two directions (PCA), else None: distances of t-SNE have no unit.
        components, mean: float64 (2, D), (D,) of PCA, else None.
    """

    kind: str
    pictures: NDArray[np.int64]
    places: NDArray[np.float32]
    explained: float | None
    components: NDArray[np.float64] | None = None
    mean: NDArray[np.float64] | None = None


def lay_out(features: Floats, kind: str = "pca", *, most: int = MOST, seed: int = 0) -> Layout:
    """Lay out features (N, D) of length 1.

    Args:
        features: float (N, D).
        kind: "pca": the two directions of largest variance; "t-sne": neighbours stay neighbours, the rest is free.
        most: pictures at most; of more, a sample.
        seed: of the sample and of t-SNE.

    Raises:
        UserError: the kind is unknown.

    Source: van der Maaten and Hinton 2008, as in scikit-learn, started from PCA.
    """
    if kind not in LAYOUTS:
        raise one_of("layout", kind, LAYOUTS)
    random = np.random.default_rng(seed)
    chosen = np.arange(len(features))
    if len(features) > most:
        chosen = np.sort(random.choice(len(features), most, replace=False))
    values = features[chosen].astype(np.float64)
    mean = values.mean(0)
    _, sizes, axes = np.linalg.svd(values - mean, full_matrices=False)  # (n, D) -> (r,), (r, D)
    axes = axes[:2] * np.where(axes[:2, np.abs(axes[:2]).argmax(1)].diagonal() < 0, -1, 1)[:, None]  # one sign
    places = (values - mean) @ axes.T
    if kind == "pca":
        explained = float((sizes[:2] ** 2).sum() / max((sizes**2).sum(), 1e-12))
        return Layout(kind, chosen, places.astype(np.float32), explained, axes, mean)
    from sklearn.manifold import TSNE

    perplexity = min(30.0, max(2.0, (len(chosen) - 1) / 4))
    start = places / max(places[:, 0].std(), 1e-12) * 1e-4
    made = TSNE(2, perplexity=perplexity, init=start, metric="cosine", random_state=seed, n_jobs=1).fit_transform(
        values
    )
    return Layout(kind, chosen, made.astype(np.float32), None)


def place_on(layout: Layout, features: Floats, query: Floats) -> tuple[float, float]:
    """Find the place of a further picture.

    PCA places it exactly. t-SNE has no map for further pictures: it goes to the mean of its nearest ones, weighted by
    their similarity.

    Args:
        layout: of `features`.
        features: float (N, D), as given to `lay_out`.
        query: float (D,).
    """
    if layout.components is not None and layout.mean is not None:
        x, y = (query - layout.mean) @ layout.components.T
        return float(x), float(y)
    alike = features[layout.pictures] @ query
    nearest = np.argsort(-alike)[:ANCHORS]
    weights = np.exp((alike[nearest] - alike[nearest].max()) / 0.1)
    x, y = (weights[:, None] * layout.places[nearest]).sum(0) / weights.sum()
    return float(x), float(y)
