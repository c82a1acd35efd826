"""Which mined pairs of neighbours pull a picture towards its cluster, and which pull it away."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.integer]
Floats = NDArray[np.floating]
CHUNK = 4096  # anchors at a time


def pair_pulls(own: Floats, neighbours: Floats) -> NDArray[np.float64]:
    """Say how each neighbour moves the logits of a picture in one step on the consistency loss.

    The loss of a pair is -log p.q; its gradient with respect to the picture's logits is p - p*q / p.q, so the step goes
    along p*q / p.q - p: towards the clusters that the neighbour shares, away from the others. Rows sum to 0.

    Args:
        own: float (k,), probabilities p of the picture.
        neighbours: float (K, k), probabilities q of its neighbours.

    Returns:
        Float64 (K, k); positive pulls towards a cluster.

    Source: Van Gansbeke et al. 2020, arXiv 2005.12320, eq. 2; the derivative is worked out here.
    """
    own, joint = own.astype(np.float64), own.astype(np.float64) * neighbours
    return joint / np.maximum(joint.sum(1, keepdims=True), 1e-12) - own


def pair_influence(
    query: Floats, cluster: int, features: Floats, neighbours: Ints, snapshots: Sequence[Floats]
) -> NDArray[np.float64]:
    """Say how each mined pair of the training set changed the logit of a query through the weights of the head.

    One step on the pair (a, b) changes the weights of cluster c by -(p_a - r) x_a - (p_b - r) x_b with r the shares of
    p_a*p_b / p_a.p_b at c, and the logit of the query by the product of that with its features. Summed over
    snapshots of training this is TracIn for a linear head on fixed features; what the backbone learned is not in it,
    nor is the entropy term, which speaks of no single pair.

    Args:
        query: float (D,), features, of the kind that the head reads.
        cluster: whose logit.
        features: float (M, D), of the training pictures.
        neighbours: int (M, K), into the training pictures.
        snapshots: probabilities (M, k) of the training pictures at one or more moments of training.

    Returns:
        Float64 (M, K): mean over snapshots; positive pairs raised the logit.

    Source: Pruthi et al. 2020, arXiv 2002.08484, eq. 4.
    """
    likeness = (features @ query).astype(np.float64)  # (M, D) x (D,) -> (M,)
    total = np.zeros(neighbours.shape)
    for probabilities in snapshots:
        values = probabilities.astype(np.float64)
        for first in range(0, len(neighbours), CHUNK):
            rows = slice(first, first + CHUNK)
            theirs = neighbours[rows]
            a, b = values[rows, None], values[theirs]  # (m, 1, k), (m, K, k)
            shared = a[..., cluster] * b[..., cluster] / np.maximum((a * b).sum(-1), 1e-12)  # (m, K)
            total[rows] += (shared - a[..., cluster]) * likeness[rows, None]
            total[rows] += (shared - b[..., cluster]) * likeness[theirs]
    return total / max(len(snapshots), 1)


def strongest_pairs(
    influence: Floats, neighbours: Ints, count: int
) -> tuple[list[tuple[int, int, float]], list[tuple[int, int, float]]]:
    """List the pairs that raised and those that lowered the logit most, as (picture, neighbour, influence).

    A pair that was mined from both sides counts once, with both influences.
    """
    rows = np.repeat(np.arange(len(neighbours)), neighbours.shape[1])
    pairs = np.sort(np.stack([rows, neighbours.ravel()]), axis=0)  # (2, M * K), smaller index first
    unique, inverse = np.unique(pairs, axis=1, return_inverse=True)
    sums = np.bincount(inverse.ravel(), weights=influence.ravel(), minlength=unique.shape[1])
    order = np.argsort(-sums, kind="stable")
    listed = [(int(unique[0, i]), int(unique[1, i]), float(sums[i])) for i in order[:count] if sums[i] > 0]
    lowered = [(int(unique[0, i]), int(unique[1, i]), float(sums[i])) for i in order[::-1][:count] if sums[i] < 0]
    return listed, lowered
