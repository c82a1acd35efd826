"""What the stages make small: contrast, prediction, SCAN loss, cross entropy against the teacher's clusters."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def nt_xent(views: Sequence[Tensor], temperature: float) -> Tensor:
    """Contrast views: each must find another one of its picture among those of all other pictures.

    Two views: SimCLR (Chen et al. 2020, eq. 1), both as anchors. More: the mean over all pairs of one picture, each
    against the other pictures alone (Shidani et al. 2024, "Poly-view contrastive learning", arithmetic mean).

    Args:
        views: two or more, vectors of length 1, (N, P) each; row i of all of them shows picture i.
        temperature: of the softmax.

    Returns:
        Mean over all ordered pairs of views of one picture, in nats.
    """
    vectors = torch.cat(list(views))  # (V N, P)
    looks, pictures = len(views), len(views[0])
    likeness = (vectors @ vectors.T / temperature).view(looks, pictures, looks, pictures)
    same = torch.eye(pictures, dtype=torch.bool, device=vectors.device)[:, None]  # (N, 1, N)
    others = likeness.masked_fill(same, -math.inf).logsumexp((2, 3))  # (V, N)
    pairs = likeness.diagonal(dim1=1, dim2=3)  # (V, V, N): each anchor with all views of its picture
    itself = torch.eye(looks, dtype=torch.bool, device=vectors.device)[:, :, None]
    losses = F.softplus(others[:, None] - pairs).masked_fill(itself, 0)
    return losses.sum() / (looks * (looks - 1) * pictures)


def prediction_loss(predicted: Tensor, wanted: Tensor) -> Tensor:
    """Compare predictions with what the target network makes of the other view (BYOL, Grill et al. 2020, eq. 2).

    Args:
        predicted, wanted: vectors of length 1, (2 n, P): first views of n pictures, then their second views.

    Returns:
        Mean of 1 - cosine, in [0, 2]: half of the paper's mean squared distance.
    """
    return 1 - (predicted * wanted.roll(len(wanted) // 2, 0)).sum(1).mean()


def consistency(anchor: Tensor, neighbour: Tensor) -> Tensor:
    """Minus the logarithm of the dot product of two assignments (SCAN, eq. 2, first part), for each pair.

    Computed from logits, so that it does not overflow where both are certain of different clusters.

    Args:
        anchor, neighbour: cluster logits (..., k).

    Returns:
        (...), in nats, 0 or more.
    """
    return -torch.logsumexp(anchor.log_softmax(-1) + neighbour.log_softmax(-1), dim=-1)


def entropy(probabilities: Tensor) -> Tensor:
    """Entropy of distributions (..., k), in nats: ln k where all clusters are used alike."""
    return torch.special.entr(probabilities).sum(-1)


def scan_loss(
    anchor: Tensor, neighbour: Tensor, weight: float, before: Tensor | None = None, share: float = 1.0
) -> tuple[Tensor, Tensor, Tensor]:
    """SCAN loss of one head or several (Van Gansbeke et al. 2020, eq. 2): agree with neighbours, use all clusters.

    With `before` the entropy is that of a running mean, so that many clusters and small batches go together; the
    gradient is that of the batch's own mean, taken at the running one.

    Args:
        anchor, neighbour: logits (N, R, k) of R heads; anchors alone enter the mean.
        weight: of the entropy, lambda in the paper.
        before: running mean of the probabilities up to now, (R, k).
        share: of this batch in the new running mean.

    Returns:
        Loss, consistency and entropy, each (R,); and the loss is consistency - weight * entropy.
    """
    agreement = consistency(anchor, neighbour).mean(0)
    mean = anchor.softmax(-1).mean(0)
    if before is not None:
        moved = torch.lerp(before, mean.detach(), share)
        mean = moved + mean - mean.detach()
    spread = entropy(mean)
    return agreement - weight * spread, agreement, spread


def taught_loss(logits: Tensor, clusters: Tensor, confident: Tensor) -> Tensor:
    """Cross entropy against clusters that a teacher is sure of, each cluster with the same say.

    Args:
        logits: (N, k).
        clusters: of the teacher, int64 (N,).
        confident: which pictures count, bool (N,).

    Returns:
        Scalar; 0, with a gradient of 0, where no picture is confident.
    """
    counts = torch.zeros_like(logits[0]).index_add_(0, clusters, confident.to(logits))
    weights = torch.where(counts > 0, 1 / counts.clamp(min=1), 0)[clusters] * confident
    losses = F.cross_entropy(logits, clusters, reduction="none")
    return (losses * weights).sum() / (counts > 0).sum().clamp(min=1)


def held_out_score(anchor: Tensor, neighbours: Tensor, clusters: int) -> Tensor:
    """How well a head does on held-out pictures without labels; less is better, and sizes can be compared.

    (consistency - H + ln k) / ln k, the consistency over all neighbours of each picture: 0 where every picture agrees
    with its neighbours and all clusters are used alike, 1 for a head that has learned nothing.

    Args:
        anchor: probabilities of N held-out pictures (N, k).
        neighbours: probabilities of the nearest training pictures of each (N, K, k).
        clusters: k.

    Returns:
        Scalar.
    """
    agree = (anchor.unsqueeze(1) * neighbours).sum(-1).clamp(min=1e-12)
    return (-agree.log().mean() - entropy(anchor.mean(0)) + math.log(clusters)) / math.log(clusters)


def shared_information(anchor: Tensor, neighbours: Tensor, clusters: int) -> float:
    """Mutual information between the cluster of a picture and that of its neighbours, in nats; more is better.

    Counts hard assignments, so that a head does not gain by mere sharpening.

    Args:
        anchor: cluster of each held-out picture, int64 (N,).
        neighbours: clusters of its nearest training pictures, int64 (N, K).
        clusters: k.
    """
    pairs = anchor.unsqueeze(1) * clusters + neighbours
    joint = torch.bincount(pairs.flatten(), minlength=clusters**2).double().view(clusters, clusters)
    joint = joint / joint.sum()
    return float(entropy(joint.sum(0)) + entropy(joint.sum(1)) - entropy(joint.flatten()))
