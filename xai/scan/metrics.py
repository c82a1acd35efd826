"""How good is a clustering: against classes where there are labels, by itself where there are none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from sklearn import metrics as reference

Ints = NDArray[np.integer]
Floats = NDArray[np.floating]
NOBODY = -1  # class of a cluster that no class was matched with, and label of a picture without one


def contingency(clusters: Ints, classes: Ints, count: int, class_count: int) -> NDArray[np.int64]:
    """Count how many pictures of each class lie in each cluster: int64 (k, c); pictures with class -1 are left out.

    Args:
        clusters: int (N,), 0 to count - 1.
        classes: int (N,), -1 to class_count - 1.
        count, class_count: numbers k and c of clusters and classes, also of those that have no picture.
    """
    known = classes != NOBODY
    places = clusters[known].astype(np.int64) * class_count + classes[known]
    return np.bincount(places, minlength=count * class_count).reshape(count, class_count)


def match_one_to_one(table: Ints) -> NDArray[np.int64]:
    """Give each cluster at most one class and each class at most one cluster, with the most pictures right.

    Args:
        table: int (k, c), counts; k and c may differ.

    Returns:
        Int64 (k,), a class or -1 for a cluster that was left over: it counts as wrong and never as class 0.
    """
    found = np.full(len(table), NOBODY, np.int64)
    rows, columns = linear_sum_assignment(table, maximize=True)
    found[rows] = columns
    return found


def match_majority(table: Ints) -> NDArray[np.int64]:
    """Give each cluster the class of most of its pictures, which clusters may share; int64 (k,), -1 if empty."""
    return np.where(table.sum(1) > 0, table.argmax(1), NOBODY)


def accuracy_score(table: Ints, matched: Ints) -> float:
    """Share of the pictures of a contingency table (k, c) whose class is the one matched with their cluster (k,)."""
    given = np.flatnonzero(matched != NOBODY)
    return float(table[given, matched[given]].sum() / max(table.sum(), 1))


def top_score(probabilities: Floats, classes: Ints, matched: Ints, best: int = 5) -> float:
    """Share of labelled pictures whose class is matched with one of their `best` most probable clusters.

    Where there are no more than `best` clusters, all count, so that the score is the share of pictures whose class is
    matched at all.
    """
    known = classes != NOBODY
    ranked = np.argsort(-probabilities[known], axis=1, kind="stable")[:, :best]  # (N, k) -> (N, best)
    return float((matched[ranked] == classes[known, None]).any(1).mean()) if known.any() else float("nan")


def confusion_rates(table: Ints) -> NDArray[np.float64]:
    """Turn counts (k, c) into the share of each class that fell into each cluster: float64 (c, k), rows sum to 1.

    A class without pictures has a row of zeros.
    """
    by_class = table.T.astype(np.float64)
    return by_class / np.maximum(by_class.sum(1, keepdims=True), 1)


@dataclass(frozen=True)
class Agreement:
    """How far clusters and classes agree; shares in [0, 1], the adjusted ones about 0 by chance.

    Attributes:
        accuracy: with clusters and classes matched one to one (Hungarian); leftover clusters count as wrong.
        majority: with each cluster given its most frequent class; equals purity, and rises with more clusters.
        top5: the class is matched, one to one, with one of the five most probable clusters.
        nmi, ami: mutual information over the mean of both entropies, plain and adjusted for chance.
        ari: adjusted Rand index.
        homogeneity, completeness, v: one class per cluster, one cluster per class, and their harmonic mean.
        labelled: number of pictures that this is about.
    """

    accuracy: float
    majority: float
    top5: float
    nmi: float
    ami: float
    ari: float
    homogeneity: float
    completeness: float
    v: float
    labelled: int


def measure_agreement(probabilities: Floats, classes: Ints, class_count: int) -> Agreement:
    """Compare the most probable clusters with classes.

    Args:
        probabilities: float (N, k).
        classes: int (N,), -1 where there is no label.
        class_count: number of classes, also of those without a picture.
    """
    clusters, known = probabilities.argmax(1), classes != NOBODY
    table = contingency(clusters, classes, probabilities.shape[1], class_count)
    matched = match_one_to_one(table)
    truth, found = classes[known], clusters[known]
    homogeneity, completeness, v = reference.homogeneity_completeness_v_measure(truth, found)
    return Agreement(
        accuracy=accuracy_score(table, matched),
        majority=accuracy_score(table, match_majority(table)),
        top5=top_score(probabilities, classes, matched),
        nmi=float(reference.normalized_mutual_info_score(truth, found)),
        ami=float(reference.adjusted_mutual_info_score(truth, found)),
        ari=float(reference.adjusted_rand_score(truth, found)),
        homogeneity=float(homogeneity),
        completeness=float(completeness),
        v=float(v),
        labelled=int(known.sum()),
    )


@dataclass(frozen=True, eq=False)
class Calibration:
    """Whether a confidence of 80 % is right in 80 % of the cases.

    Attributes:
        error: expected calibration error, the mean |confidence - accuracy| over bins, weighted by their pictures.
        edges: float64 (bins + 1,), of confidence.
        counts: int64 (bins,).
        confidence, accuracy: float64 (bins,), means; NaN in an empty bin.
    """

    error: float
    edges: NDArray[np.float64]
    counts: NDArray[np.int64]
    confidence: NDArray[np.float64]
    accuracy: NDArray[np.float64]


def calibrate(confidence: Floats, right: NDArray[np.bool_], bins: int = 15) -> Calibration:
    """Compare confidences (N,) in [0, 1] with what was right (N,), in bins of equal width, upper edge included.

    Source: Guo et al. 2017, arXiv 1706.04599, eq. 3.
    """
    edges = np.linspace(0, 1, bins + 1)
    place = np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, bins - 1)
    counts = np.bincount(place, minlength=bins)
    sums = [np.bincount(place, weights=each, minlength=bins) for each in (confidence, right)]
    with np.errstate(invalid="ignore"):
        sure, accuracy = (each / counts for each in sums)
    error = float(np.abs(sums[0] - sums[1]).sum() / max(len(confidence), 1))
    return Calibration(error, edges, counts, sure, accuracy)


@dataclass(frozen=True, eq=False)
class Silhouette:
    """How much nearer each picture is to its own cluster than to the next.

    Attributes:
        values: float64 (N,) in [-1, 1]; 0 for the only picture of a cluster.
        second: int64 (N,), the next nearest cluster, -1 if there is none.
        score: mean over pictures; NaN with fewer than two used clusters.
        by_cluster: float64 (k,), mean in each cluster, NaN in an empty one.
        space: which features were used. Silhouettes of different spaces must not be compared (arXiv 2403.14830).
    """

    values: NDArray[np.float64]
    second: NDArray[np.int64]
    score: float
    by_cluster: NDArray[np.float64]
    space: str


def silhouette(features: Floats, clusters: Ints, count: int, *, space: str) -> Silhouette:
    """Measure silhouettes by cosine distance, exactly and without a table of N x N distances.

    The mean of 1 - x.y over the members y of a cluster is 1 - x.m with m their mean, so one product of (N, D) with
    (D, k) is enough.

    Args:
        features: float (N, D), of length 1.
        clusters: int (N,).
        count: number k of clusters.
        space: what the features are, in words.

    Source: Rousseeuw 1987.
    """
    sizes = np.bincount(clusters, minlength=count)
    rows, features = np.arange(len(clusters)), features.astype(np.float64)
    sums = np.zeros((count, features.shape[1]))
    np.add.at(sums, clusters, features)
    with np.errstate(divide="ignore", invalid="ignore"):
        far = 1 - features @ (sums / sizes[:, None]).T  # (N, D) x (D, k) -> (N, k)
        own = sizes[clusters]
        # The distance of a picture to itself is 0 (1 - its squared length, rounded): take it out of the mean.
        inside = (far[rows, clusters] * own - (1 - (features**2).sum(1))) / (own - 1)
        far[:, sizes == 0] = np.inf
        far[rows, clusters] = np.inf
        outside = far.min(1)
        values = np.where(own > 1, (outside - inside) / np.maximum(inside, outside), 0.0)
        alone = np.isinf(outside)
        values = np.where(alone, np.nan, np.nan_to_num(values))
        by_cluster = np.bincount(clusters, weights=values, minlength=count) / sizes
    score = float(values.mean()) if len(values) and not alone.any() else float("nan")
    return Silhouette(values, np.where(alone, NOBODY, far.argmin(1)), score, by_cluster, space)


def neighbour_purity(neighbours: Ints, train_classes: Ints, classes: Ints, nearest: int) -> float:
    """Share of the `nearest` mined neighbours, int (N, K) into train, that have the class of their picture (N,).

    Pairs where one has no label (-1) are left out; NaN if none is left. With clusters instead of classes this is how
    often neighbours share a cluster.
    """
    theirs = train_classes[neighbours[:, :nearest]]  # (N, nearest)
    known = (theirs != NOBODY) & (classes != NOBODY)[:, None]
    return float((theirs == classes[:, None])[known].mean()) if known.any() else float("nan")


@dataclass(frozen=True)
class Spread:
    """Mean and sample standard deviation over runs, such as seeds; no deviation of a single one."""

    mean: float
    deviation: float | None
    runs: int

    def __str__(self) -> str:
        return f"{self.mean:.3f}" if self.deviation is None else f"{self.mean:.3f} ± {self.deviation:.3f}"


def summarise(runs: Sequence[Mapping[str, Any]]) -> dict[str, Spread]:
    """Give mean and spread of every number that all runs have, in the order of the first."""
    numbers = {
        name: [run[name] for run in runs]
        for name in (runs[0] if runs else ())
        if all(isinstance(run.get(name), (int, float)) and not isinstance(run[name], bool) for run in runs)
    }
    return {
        name: Spread(float(np.mean(each)), float(np.std(each, ddof=1)) if len(each) > 1 else None, len(each))
        for name, each in numbers.items()
    }
