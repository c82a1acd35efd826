"""How clusters of one head flow into those of another, how far they are nested, and the path of one picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xai.scan.metrics import contingency

Ints = NDArray[np.integer]
Floats = NDArray[np.floating]


@dataclass(frozen=True, eq=False)
class Flow:
    """What two heads make of the same pictures.

    Attributes:
        counts: int64 (a, b), pictures by cluster of the coarse and of the fine head.
        nested: share of the pictures that lie in the coarse cluster where most of their fine cluster lies, in [0, 1]:
            1 if every fine cluster is part of one coarse cluster.
        by_chance: the same if both heads were independent: a fine cluster then lies, for its largest part, in the
            largest coarse cluster.
        explained: share of the coarse head's entropy that the fine head settles, 0 by chance in large samples.
        parents: int64 (b,), coarse cluster of most of each fine cluster, -1 for an empty one.
    """

    counts: NDArray[np.int64]
    nested: float
    by_chance: float
    explained: float
    parents: NDArray[np.int64]


def measure_flow(coarse: Ints, fine: Ints, coarse_count: int, fine_count: int) -> Flow:
    """Count how the clusters (N,) of a coarse head flow into those (N,) of a fine one."""
    counts = contingency(fine, coarse, fine_count, coarse_count).T  # (b, a) -> (a, b)
    total, rows = max(int(counts.sum()), 1), counts.sum(1)
    inside = _entropy(counts.sum(0) / total)
    joint, plain = _entropy(counts.ravel() / total), _entropy(rows / total)
    return Flow(
        counts=counts,
        nested=float(counts.max(0).sum() / total),
        by_chance=float(rows.max() / total),
        explained=1.0 if plain == 0 else max(0.0, 1 - (joint - inside) / plain),
        parents=np.where(counts.sum(0) > 0, counts.argmax(0), -1),
    )


def _entropy(shares: Floats) -> float:
    shares = shares[shares > 0]
    return float(-(shares * np.log(shares)).sum())


@dataclass(frozen=True)
class Step:
    """One stop on the way of a picture through the heads.

    Attributes:
        head: name.
        cluster, probability: where the picture lies, and how surely.
        second, second_probability: the next best cluster.
        company: share of this cluster's training pictures that shared the picture's cluster one head before; None at
            the first head. Small where the picture leaves its company.
        usual: whether that is where most of this cluster comes from.
    """

    head: str
    cluster: int
    probability: float
    second: int
    second_probability: float
    company: float | None
    usual: bool


def trace_path(query: Mapping[str, Floats], train: Mapping[str, Ints], counts: Sequence[int]) -> list[Step]:
    """Follow one picture through the heads, coarse to fine.

    Args:
        query: head to the picture's probabilities (k,), in the order of the path.
        train: head to the clusters (M,) of the training pictures.
        counts: number of clusters of each head.
    """
    steps: list[Step] = []
    for place, (head, probabilities) in enumerate(query.items()):
        ranked = np.argsort(-probabilities, kind="stable")
        cluster, second = int(ranked[0]), int(ranked[min(1, len(ranked) - 1)])
        company, usual = None, True
        if steps:
            before = steps[-1]
            flow = contingency(train[before.head], train[head], counts[place - 1], counts[place])[:, cluster]
            company = float(flow[before.cluster] / max(int(flow.sum()), 1))
            usual = bool(flow[before.cluster] == flow.max())
        chances = float(probabilities[cluster]), float(probabilities[second])
        steps.append(Step(head, cluster, chances[0], second, chances[1], company, usual))
    return steps
