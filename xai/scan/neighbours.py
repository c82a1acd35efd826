"""Exact nearest neighbours by cosine, and how often they share a label."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

_BLOCK = 4_000_000  # likenesses held together: 16 MB


def nearest(
    queries: Tensor,
    base: Tensor,
    count: int,
    *,
    own: int | None = None,
    on_progress: Callable[[float], None] | None = None,
) -> tuple[Tensor, Tensor]:
    """Find the rows of `base` with the largest cosine to each query.

    Args:
        queries: vectors of length 1, (N, D).
        base: vectors of length 1, (M, D).
        count: K, how many to find; at most M, or M - 1 with `own`.
        own: place in `base` of the first query, where the queries are some of its rows in order: each is left out of
            its own neighbours. None: they are not.
        on_progress: called with the share that is done.

    Returns:
        Places, int64 (N, K), nearest first, and cosines, float32 (N, K).
    """
    rows = max(1, _BLOCK // len(base))
    indices, similarities = [], []
    for start in range(0, len(queries), rows):
        likeness = queries[start : start + rows] @ base.T  # (rows, M)
        if own is not None:
            places = torch.arange(len(likeness), device=base.device)
            likeness[places, own + start + places] = -torch.inf
        found = likeness.topk(count, dim=1)
        indices.append(found.indices)
        similarities.append(found.values)
        if on_progress:
            on_progress(min(1.0, (start + rows) / len(queries)))
    return torch.cat(indices), torch.cat(similarities)


def purity(indices: np.ndarray, labels: np.ndarray, base_labels: np.ndarray) -> float:
    """Share of neighbours that have the label of their picture, over (N, K)."""
    return float((base_labels[indices] == labels[:, None]).mean())


def knn_accuracy(
    indices: Tensor, similarities: Tensor, labels: Tensor, base_labels: Tensor, heat: float = 0.1
) -> float:
    """Share of pictures whose label the neighbours' vote names, each vote weighted by exp(cosine / heat).

    Args:
        indices, similarities: from `nearest`, (N, K).
        labels: int64 (N,).
        base_labels: int64 (M,).
        heat: the smaller, the more the nearest count.
    """
    votes = F.one_hot(base_labels[indices], int(base_labels.max()) + 1).float()  # (N, K, classes)
    totals = (votes * (similarities.float() / heat).exp().unsqueeze(2)).sum(1)
    return float((totals.argmax(1) == labels).float().mean())
