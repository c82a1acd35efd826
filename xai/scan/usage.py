"""What heads do with held-out pictures, without labels: the scores that choose heads and that the gate asks."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from sklearn.metrics import adjusted_rand_score
from torch import Tensor, nn

from xai.scan.losses import held_out_score, shared_information
from xai.scan.metrics import accuracy_score, contingency, match_one_to_one

NEAREST = 5  # neighbours of a held-out picture that are asked
NEAR = 1.2  # by what factor the score of a head may lie above the lowest for it to be chosen
WORSE = 1.02  # by what factor the information of one size may fall where all sizes together gain


@dataclass(frozen=True)
class HeadMeasures:
    """Of one head on held-out pictures; none of them needs a label.

    Attributes:
        score: see `held_out_score`; less is better.
        information: shared between pictures and their neighbours, as a share of ln k; more is better.
        agreement: share of neighbours in the picture's own cluster; more is better.
        used: clusters that hold at least one picture.
        shares: of the pictures in each cluster, (k,).
        views: information shared between the clusters of pictures and those of random views of them, as a share of
            ln k; more is better; nan where no views were made.
        replicas: mean adjusted Rand index with the other heads of the size, 1 where there is none; more is better; nan
            as for views.
        accuracy: one to one with the classes, where there are labels and as many clusters; to be watched, it never
            decides anything.
    """

    score: float
    information: float
    agreement: float
    used: int
    shares: tuple[float, ...]
    views: float = math.nan
    replicas: float = math.nan
    accuracy: float | None = None


@dataclass(frozen=True)
class Overall:
    """Means over sizes; see `HeadMeasures`."""

    score: float
    views: float
    replicas: float


def measure_heads(
    held_out: Sequence[Tensor],
    train: Sequence[Tensor],
    neighbours: Tensor,
    labels: Tensor | None = None,
    viewed: Sequence[Tensor] | None = None,
) -> list[list[HeadMeasures]]:
    """Measure every head.

    Args:
        held_out, train: logits of all pictures, (N, R, k) and (M, R, k) for each size.
        neighbours: nearest training pictures of the held-out ones, int64 (N, K).
        labels: of the held-out pictures, int64 (N,), -1 where there is none.
        viewed: logits of random views of the held-out pictures, (N, V, R, k) for each size.

    Returns:
        For each size its replicas.
    """
    near, found = neighbours[:, :NEAREST], []
    for place, (ours, theirs) in enumerate(zip(held_out, train, strict=True)):
        measured = [_measure(ours[:, replica], theirs[:, replica], near, labels) for replica in range(ours.shape[1])]
        if viewed is not None:
            measured = _with_stability(measured, ours.argmax(2), viewed[place].argmax(3))
        found.append(measured)
    return found


def _with_stability(measured: list[HeadMeasures], plain: Tensor, viewed: Tensor) -> list[HeadMeasures]:
    """Add what the clusters of plain pictures (N, R) and of views of them (N, V, R) have in common."""
    agreement, found = agree_in_pairs(plain), []
    for replica, each in enumerate(measured):
        clusters = len(each.shares)
        shared = shared_information(plain[:, replica], viewed[:, :, replica], clusters) / math.log(clusters)
        found.append(replace(each, views=shared, replicas=agreement[replica]))
    return found


def agree_in_pairs(clusters: Tensor) -> list[float]:
    """Compare heads: for each the mean adjusted Rand index with the others, 1 where there is none.

    Args:
        clusters: of pictures by each of R heads, int64 (N, R).
    """
    found = clusters.cpu().numpy()
    count = found.shape[1]
    alike = np.eye(count)
    for one, other in itertools.combinations(range(count), 2):
        alike[one, other] = alike[other, one] = adjusted_rand_score(found[:, one], found[:, other])
    return ((alike.sum(1) - 1) / (count - 1)).tolist() if count > 1 else [1.0]


def _measure(held_out: Tensor, train: Tensor, near: Tensor, labels: Tensor | None) -> HeadMeasures:
    clusters = held_out.shape[1]
    assigned, around = held_out.argmax(1), train.argmax(1)[near]  # (N,), (N, K)
    counts = torch.bincount(assigned, minlength=clusters)
    return HeadMeasures(
        score=float(held_out_score(held_out.softmax(1), train.softmax(1)[near], clusters)),
        information=shared_information(assigned, around, clusters) / math.log(clusters),
        agreement=float((around == assigned.unsqueeze(1)).float().mean()),
        used=int((counts > 0).sum()),
        shares=tuple((counts / counts.sum()).tolist()),
        accuracy=_accuracy(assigned, labels, clusters),
    )


def _accuracy(assigned: Tensor, labels: Tensor | None, clusters: int) -> float | None:
    if labels is None or int(labels.max()) + 1 != clusters:
        return None
    table = contingency(assigned.cpu().numpy(), labels.numpy(), clusters, clusters)
    return accuracy_score(table, match_one_to_one(table))


def choose_head(measured: Sequence[HeadMeasures], clusters: Tensor) -> int:
    """Choose the head of a size with which the others that score about as well agree most (adjusted Rand index).

    The lowest score may be that of a head which is sharper than others, or which cuts where neighbours seldom differ.
    What heads find from many starts is more likely to be there (consensus: Strehl and Ghosh 2002, Journal of Machine
    Learning Research 3). Of those that agree equally, two for example, the one with the lower score.

    Args:
        measured: of R heads.
        clusters: of the held-out pictures by each head, int64 (N, R).
    """
    lowest = min(each.score for each in measured)
    near = [place for place, each in enumerate(measured) if each.score <= NEAR * lowest]
    agreement = dict(zip(near, agree_in_pairs(clusters[:, near]), strict=True))
    return max(near, key=lambda place: (agreement[place], -measured[place].score))


def as_row(measured: Sequence[Sequence[HeadMeasures]], sizes: Sequence[int]) -> dict[str, Any]:
    """What the history keeps of them: usage by head, scores by head."""
    named = {
        f"k{size}" if replica == 0 else f"k{size}-{replica + 1}": each
        for size, replicas in zip(sizes, measured, strict=True)
        for replica, each in enumerate(replicas)
    }
    accuracy = {name: each.accuracy for name, each in named.items() if each.accuracy is not None}
    views = {name: each.views for name, each in named.items() if not math.isnan(each.views)}
    return {
        "usage": {name: [round(share, 4) for share in each.shares] for name, each in named.items()},
        "score": {name: each.score for name, each in named.items()},
        "agreement": {name: each.agreement for name, each in named.items()},
        **({"views": views} if views else {}),
        **({"accuracy": accuracy} if accuracy else {}),
    }


def overall(measured: Sequence[Sequence[HeadMeasures]]) -> Overall:
    """Take the best head of each size (the first) together."""
    first = [replicas[0] for replicas in measured]
    return Overall(
        score=sum(each.score for each in first) / len(first),
        views=sum(each.views for each in first) / len(first),
        replicas=sum(each.replicas for each in first) / len(first),
    )


def lowest_score(measured: Sequence[Sequence[HeadMeasures]]) -> float:
    """Lowest score of each size, on the mean over sizes."""
    return sum(min(each.score for each in replicas) for replicas in measured) / len(measured)


def passes(new: Sequence[Sequence[HeadMeasures]], old: Sequence[Sequence[HeadMeasures]]) -> bool:
    """Whether what can be seen without labels got better, and neither a cluster nor a size was lost for it.

    Clusters that are there are found from other views of a picture and by other heads (stability: Ben-Hur, Elisseeff
    and Guyon 2002). The best heads of all sizes together must share more information with random views, and agree as
    well with their replicas; each must use as many clusters as before, and the information of its own may fall by 2 %
    at most: it varies by as much from epoch to epoch, but a size that loses more pays for the others. Neighbours of
    the pretext task are not asked: they lie nearer to the heads that learnt from them than to what is better. A mere
    share of equal answers would reward a head that throws clusters together.
    """
    for ours, theirs in zip(new, old, strict=True):
        if ours[0].used < theirs[0].used or not ours[0].views >= theirs[0].views / WORSE:
            return False
    now, before = overall(new), overall(old)
    return now.views > before.views and now.replicas >= before.replicas


class RunningUsage(nn.Module):
    """Running mean of the assignments of each head, part of a checkpoint.

    Args of the constructor:
        width: clusters of all heads together.
        memory: samples that it runs over; 0: it is the batch.
    """

    def __init__(self, width: int, memory: int) -> None:
        super().__init__()
        self.memory = memory
        self.mean: Tensor
        self.steps: Tensor
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def share(self, batch: int) -> float:
        """Weight of the next batch in the mean."""
        return 1.0 if not self.memory else min(1.0, max(batch / self.memory, 1 / (int(self.steps) + 1)))

    @torch.no_grad()
    def follow(self, places: Sequence[slice], parts: Sequence[Tensor], share: float) -> None:
        """Move the mean toward that of a batch: logits (N, R, k) of each size, and their places in the mean."""
        for place, logits in zip(places, parts, strict=True):
            self.mean[place] += share * (logits.softmax(-1).mean(0).flatten() - self.mean[place])
        self.steps += 1
