"""Whether replicas of a head, trained from other random numbers, put the same pictures together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xai.scan.metrics import contingency, match_one_to_one

Ints = NDArray[np.integer]


@dataclass(frozen=True, eq=False)
class Stability:
    """How far replicas agree with one of them.

    Attributes:
        pictures: float64 (N,), share of the other replicas that put the picture in the cluster that corresponds to its
            own (clusters matched one to one); NaN without other replicas.
        clusters: float64 (k,), mean over the pictures of each cluster, NaN in an empty one.
        consensus: float64 (k, k), probability that replicas put a picture of one cluster and another picture of the
            second together; the diagonal is the cohesion of a cluster.
        replicas: number of replicas, with the one that is looked at.
    """

    pictures: NDArray[np.float64]
    clusters: NDArray[np.float64]
    consensus: NDArray[np.float64]
    replicas: int


def measure_stability(clusters: Ints, others: Sequence[Ints], count: int) -> Stability:
    """Compare the clusters (N,) of one replica with those (N,) of others, all with `count` clusters.

    The consensus needs no N x N matrix: pictures of clusters a and b lie together as often as the rows of their
    contingency tables have products.
    """
    same, sizes = np.zeros(len(clusters)), np.bincount(clusters, minlength=count)
    together = np.zeros((count, count))
    for other in others:
        table = contingency(clusters, other, count, count)  # (k, k)
        same += match_one_to_one(table)[clusters] == other
        together += table @ table.T
    runs = len(others)
    possible = np.outer(sizes, sizes).astype(float)
    np.fill_diagonal(together, together.diagonal() - runs * sizes)  # nobody is a pair with itself
    np.fill_diagonal(possible, sizes * (sizes - 1.0))
    with np.errstate(divide="ignore", invalid="ignore"):
        pictures = same / runs if runs else np.full(len(clusters), np.nan)
        by_cluster = np.bincount(clusters, weights=pictures, minlength=count) / sizes
        consensus = together / (runs * possible)
    consensus[possible == 0] = np.nan
    return Stability(pictures, by_cluster, consensus, runs + 1)
