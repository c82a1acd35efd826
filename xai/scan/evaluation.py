"""Everything that is measured about one head on one split, with labels or without."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from xai.scan import metrics

if TYPE_CHECKING:
    import pandas as pd

NEAREST = (1, 5, 20)  # neighbours whose purity is told


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What is known about a clustering of N pictures into k clusters.

    Attributes:
        sizes: int64 (k,), pictures per cluster.
        confidence: float64 (k,), mean probability of the cluster among its pictures, NaN in an empty one.
        entropy: of the mean probabilities, as a share of ln k: 1 if all clusters are equally large.
        silhouette: None without features.
        together: share of nearest neighbours that share a cluster, by number of neighbours; empty without neighbours.
        agreement, calibration: with the classes; None without labels. A picture counts as calibrated right when the
            class matched one to one with its cluster is its own.
        counts: int64 (k, c) pictures by cluster and class, or None.
        matched, majority: int64 (k,), class of each cluster one to one (-1: left over) and by majority, or None.
        purity: share of nearest neighbours with the same class, by number of neighbours.
        class_names: c names.
    """

    sizes: NDArray[np.int64]
    confidence: NDArray[np.float64]
    entropy: float
    silhouette: metrics.Silhouette | None
    together: dict[int, float]
    agreement: metrics.Agreement | None
    calibration: metrics.Calibration | None
    counts: NDArray[np.int64] | None
    matched: NDArray[np.int64] | None
    majority: NDArray[np.int64] | None
    purity: dict[int, float]
    class_names: tuple[str, ...]

    def summary(self) -> dict[str, Any]:
        """Return the numbers alone, as `metrics.summarise` and a JSON file take them; NaN becomes None."""
        numbers: dict[str, Any] = {"pictures": int(self.sizes.sum()), "clusters": len(self.sizes)}
        numbers |= {"used_clusters": int((self.sizes > 0).sum()), "entropy_share": self.entropy}
        numbers["confidence"] = float(np.nansum(self.confidence * self.sizes) / max(int(self.sizes.sum()), 1))
        if self.silhouette is not None:
            numbers |= {"silhouette": self.silhouette.score, "silhouette_space": self.silhouette.space}
        numbers |= {f"neighbours_together_{count}": share for count, share in self.together.items()}
        if self.agreement is not None:
            numbers |= asdict(self.agreement)
        if self.calibration is not None:
            numbers["calibration_error"] = self.calibration.error
        numbers |= {f"neighbour_purity_{count}": share for count, share in self.purity.items()}
        return {name: None if value != value else value for name, value in numbers.items()}

    def table(self) -> pd.DataFrame:
        """Return one row per cluster: size, confidence, silhouette and, with labels, its classes and their shares."""
        import pandas as pd

        rows = []
        for index, size in enumerate(self.sizes.tolist()):
            row: dict[str, Any] = {"cluster": index, "pictures": size, "confidence": float(self.confidence[index])}
            if self.silhouette is not None:
                row["silhouette"] = float(self.silhouette.by_cluster[index])
            rows.append(row | self._classes(index))
        return pd.DataFrame(rows)

    def _classes(self, index: int) -> dict[str, Any]:
        if self.counts is None or self.matched is None or self.majority is None:
            return {}
        counts, matched, majority = self.counts[index], int(self.matched[index]), int(self.majority[index])
        total = int(counts.sum())
        return {
            "class": self.class_names[majority] if majority >= 0 else "",
            "share_of_cluster": float(counts.max() / total) if total else float("nan"),
            "share_of_class": float(counts[majority] / self.counts[:, majority].sum()) if total else float("nan"),
            "matched": self.class_names[matched] if matched >= 0 else "",
        }

    def confusion(self) -> pd.DataFrame | None:
        """Return the share of each class (rows) that fell into each cluster (columns), or None without labels."""
        import pandas as pd

        if self.counts is None:
            return None
        return pd.DataFrame(metrics.confusion_rates(self.counts), index=list(self.class_names))


@dataclass(frozen=True, eq=False)
class Neighbours:
    """Mined neighbours of the pictures that are evaluated, and what is known of the training pictures.

    Attributes:
        indices: int (N, K) into the training split, nearest first, the picture itself left out.
        clusters, classes: int (M,) of the training split; class -1, or no classes at all, without labels.
    """

    indices: NDArray[np.integer]
    clusters: NDArray[np.integer]
    classes: NDArray[np.integer] | None = None


def evaluate(
    probabilities: NDArray[np.floating],
    *,
    classes: NDArray[np.integer] | None = None,
    class_names: Sequence[str] = (),
    features: NDArray[np.floating] | None = None,
    space: str = "",
    neighbours: Neighbours | None = None,
) -> Evaluation:
    """Measure a clustering by all that is given.

    Args:
        probabilities: float (N, k), of each picture for each cluster.
        classes: int (N,), -1 where a picture has no label; None: no labels.
        class_names: names of the classes.
        features: float (N, D), of length 1, for the silhouette.
        space: what the features are, in words.
        neighbours: of these pictures.
    """
    count, clusters = probabilities.shape[1], probabilities.argmax(1)
    sizes = np.bincount(clusters, minlength=count)
    sure = probabilities.max(1).astype(np.float64)
    with np.errstate(invalid="ignore"):
        confidence = np.bincount(clusters, weights=sure, minlength=count) / sizes
    labelled = classes if classes is not None and (classes != metrics.NOBODY).any() else None
    return Evaluation(
        sizes=sizes,
        confidence=confidence,
        entropy=_entropy_share(probabilities),
        silhouette=None if features is None else metrics.silhouette(features, clusters, count, space=space),
        together=_purities(neighbours, neighbours.clusters if neighbours else None, clusters),
        **_against_classes(probabilities, labelled, len(class_names)),
        purity=_purities(neighbours, neighbours.classes if neighbours else None, labelled),
        class_names=tuple(class_names),
    )


def _entropy_share(probabilities: NDArray[np.floating]) -> float:
    mean = probabilities.mean(0, dtype=np.float64)
    mean = mean[mean > 0]
    return float(-(mean * np.log(mean)).sum() / np.log(probabilities.shape[1])) if probabilities.shape[1] > 1 else 1.0


def _against_classes(
    probabilities: NDArray[np.floating], classes: NDArray[np.integer] | None, class_count: int
) -> dict[str, Any]:
    """Fill in what needs labels; all None without."""
    if classes is None:
        return dict.fromkeys(("agreement", "calibration", "counts", "matched", "majority"))
    clusters, known = probabilities.argmax(1), classes != metrics.NOBODY
    counts = metrics.contingency(clusters, classes, probabilities.shape[1], class_count)
    matched = metrics.match_one_to_one(counts)
    return {
        "agreement": metrics.measure_agreement(probabilities, classes, class_count),
        "calibration": metrics.calibrate(probabilities.max(1)[known], (matched[clusters] == classes)[known]),
        "counts": counts,
        "matched": matched,
        "majority": metrics.match_majority(counts),
    }


def _purities(
    neighbours: Neighbours | None, theirs: NDArray[np.integer] | None, own: NDArray[np.integer] | None
) -> dict[int, float]:
    if neighbours is None or theirs is None or own is None:
        return {}
    most = neighbours.indices.shape[1]
    return {n: metrics.neighbour_purity(neighbours.indices, theirs, own, n) for n in NEAREST if n <= most}
