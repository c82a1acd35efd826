"""Which pictures stand for a cluster, which lie on its border, and which do not belong to it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.integer]
Floats = NDArray[np.floating]


@dataclass(frozen=True, eq=False)
class Members:
    """Pictures of one cluster by rank; every array holds indices of pictures, int64.

    Attributes:
        cluster: which.
        size: pictures in it.
        prototypes: most typical first: probability times mean similarity to the cluster's pictures.
        borderline: smallest lead over the second most probable cluster first.
        second: int64, that second cluster, for each of `borderline`.
        outliers: largest share of nearest neighbours in other clusters, less the mean similarity to all of them, first.
    """

    cluster: int
    size: int
    prototypes: NDArray[np.int64]
    borderline: NDArray[np.int64]
    second: NDArray[np.int64]
    outliers: NDArray[np.int64]


def rank_members(
    probabilities: Floats, features: Floats, neighbours: Ints, similarities: Floats, cluster: int, most: int = 24
) -> Members:
    """Order the pictures of one cluster in three ways.

    Args:
        probabilities: float (N, k).
        features: float (N, D), of length 1.
        neighbours, similarities: (N, K), indices into the same N pictures, nearest first, the picture left out.
        cluster: which.
        most: pictures in each order.
    """
    clusters = probabilities.argmax(1)
    inside = np.flatnonzero(clusters == cluster)
    if not len(inside):
        none = np.zeros(0, np.int64)
        return Members(cluster, 0, none, none, none, none)
    mean = features[inside].mean(0, dtype=np.float64)
    typical = probabilities[inside, cluster] * (features[inside] @ mean)
    lead, second = leads(probabilities[inside])
    strange = neighbour_disagreement(clusters, neighbours)[inside] - similarities[inside].astype(float).mean(1)
    border = np.argsort(lead, kind="stable")[:most]
    return Members(
        cluster=cluster,
        size=len(inside),
        prototypes=inside[np.argsort(-typical, kind="stable")[:most]],
        borderline=inside[border],
        second=second[border],
        outliers=inside[np.argsort(-strange, kind="stable")[:most]],
    )


def leads(probabilities: Floats) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Say by how much the best cluster leads and which is second: float64 (N,) in [0, 1], int64 (N,).

    A head with one cluster has no second: lead 1, cluster 0.
    """
    if probabilities.shape[1] == 1:
        return np.ones(len(probabilities)), np.zeros(len(probabilities), np.int64)
    ranked = np.argsort(-probabilities, axis=1, kind="stable")[:, :2]  # (N, k) -> (N, 2)
    best = np.take_along_axis(probabilities.astype(np.float64), ranked, axis=1)
    return best[:, 0] - best[:, 1], ranked[:, 1]


def neighbour_disagreement(clusters: Ints, neighbours: Ints, theirs: Ints | None = None) -> NDArray[np.float64]:
    """Share of the mined neighbours (N, K) that lie in another cluster than their picture (N,): float64 (N,).

    Args:
        clusters: int (N,), of the pictures.
        neighbours: int (N, K).
        theirs: int (M,), clusters of the pictures that the neighbours index, by default the same.
    """
    found = (clusters if theirs is None else theirs)[neighbours]
    return (found != clusters[:, None]).mean(1)
