"""Losses of clustering against slow re-derivations, and the scores that choose heads against counting."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.metrics import mutual_info_score

from xai.scan.heads import HeadObjective
from xai.scan.losses import (
    consistency,
    entropy,
    held_out_score,
    nt_xent,
    prediction_loss,
    scan_loss,
    shared_information,
    taught_loss,
)
from xai.scan.nets import HeadBank


def test_nt_xent_is_the_papers_sum_over_all_anchors() -> None:
    first, second = (F.normalize(torch.randn(5, 4, dtype=torch.float64), dim=1) for _ in range(2))
    views = [*first, *second]
    total = 0.0
    for i, anchor in enumerate(views):
        partner = views[(i + 5) % 10]
        others = [math.exp(float(anchor @ view) / 0.3) for k, view in enumerate(views) if k != i]
        total -= math.log(math.exp(float(anchor @ partner) / 0.3) / sum(others))
    assert float(nt_xent((first, second), 0.3)) == pytest.approx(total / 10, rel=1e-12)


def test_nt_xent_of_many_views_is_the_mean_over_all_pairs_each_against_other_pictures() -> None:
    looks = [F.normalize(torch.randn(3, 4, dtype=torch.float64), dim=1) for _ in range(4)]
    losses = []
    for a, b in itertools.permutations(range(4), 2):
        for picture in range(3):
            anchor = looks[a][picture]
            own = math.exp(float(anchor @ looks[b][picture]) / 0.3)
            others = [math.exp(float(anchor @ look[k]) / 0.3) for look in looks for k in range(3) if k != picture]
            losses.append(-math.log(own / (own + sum(others))))
    assert len(losses) == 36
    assert float(nt_xent(looks, 0.3)) == pytest.approx(sum(losses) / 36, rel=1e-12)


def test_a_prediction_is_compared_with_the_other_view() -> None:
    predicted, wanted = (F.normalize(torch.randn(6, 4, dtype=torch.float64), dim=1) for _ in range(2))
    pairs = [(predicted[i], wanted[i + 3]) for i in range(3)] + [(predicted[i + 3], wanted[i]) for i in range(3)]
    distances = [float(((ours - theirs) ** 2).sum()) for ours, theirs in pairs]  # the paper's, of unit vectors
    assert float(prediction_loss(predicted, wanted)) == pytest.approx(sum(distances) / 6 / 2, rel=1e-12)
    assert float(prediction_loss(wanted, wanted.roll(3, 0))) == pytest.approx(0, abs=1e-12)


def test_consistency_is_minus_the_log_of_the_dot_product() -> None:
    anchor, neighbour = torch.randn(2, 7, 3, 6, dtype=torch.float64)
    dots = (anchor.softmax(-1) * neighbour.softmax(-1)).sum(-1)
    torch.testing.assert_close(consistency(anchor, neighbour), -dots.log())


def test_consistency_stays_finite_where_both_are_certain_of_different_clusters() -> None:
    anchor, neighbour = torch.tensor([200.0, 0.0]), torch.tensor([0.0, 200.0], requires_grad=True)
    loss = consistency(anchor, neighbour)
    loss.backward()
    assert float(loss.detach()) == pytest.approx(200 - math.log(2), rel=1e-6)
    assert torch.isfinite(neighbour.grad).all() and float(neighbour.grad[0]) < 0  # toward the anchor's cluster


def test_scan_loss_of_each_head_is_consistency_less_weighted_entropy() -> None:
    anchor, neighbour = torch.randn(2, 9, 2, 4, dtype=torch.float64)
    loss, agreement, spread = scan_loss(anchor, neighbour, weight=5)
    for head in range(2):
        p, q = anchor[:, head].softmax(1), neighbour[:, head].softmax(1)
        agree = np.mean([-math.log(float(a @ b)) for a, b in zip(p, q, strict=True)])
        mean = p.mean(0).tolist()
        used = -sum(share * math.log(share) for share in mean)
        assert float(agreement[head]) == pytest.approx(agree) and float(spread[head]) == pytest.approx(used)
        assert float(loss[head]) == pytest.approx(agree - 5 * used)


def test_the_entropy_of_a_running_mean_has_the_gradient_of_the_batch_at_that_mean() -> None:
    anchor = torch.randn(6, 1, 3, dtype=torch.float64, requires_grad=True)
    before = torch.tensor([[0.7, 0.2, 0.1]], dtype=torch.float64)
    _, _, spread = scan_loss(anchor, anchor.detach(), 1.0, before, share=0.25)
    moved = 0.75 * before[0] + 0.25 * anchor.softmax(-1).mean(0)[0].detach()
    assert float(spread) == pytest.approx(float(entropy(moved)))
    (found,) = torch.autograd.grad(spread.sum(), anchor)
    slopes = -(moved.log() + 1)  # of the entropy, at the running mean
    (wanted,) = torch.autograd.grad((anchor.softmax(-1).mean(0)[0] * slopes).sum(), anchor)
    torch.testing.assert_close(found, wanted)


def test_heads_of_all_sizes_are_added_and_replicas_averaged() -> None:
    bank = HeadBank(5, (3, 4), replicas=2).double()
    objective = HeadObjective(bank, entropy=2.0, memory=0).double()
    features, near = torch.randn(2, 8, 5, dtype=torch.float64)
    made = objective(bank(features), bank(near))
    total = 0.0
    for size in (3, 4):
        for replica in range(2):
            head = bank.head(size, replica).double()
            ours, theirs = head(features)[:, None], head(near)[:, None]
            total += float(scan_loss(ours, theirs, 2.0)[0]) / 2
    assert float(made["loss"]) == pytest.approx(total)


def test_taught_loss_gives_each_cluster_the_same_say_and_unsure_pictures_none() -> None:
    logits = torch.randn(7, 3, dtype=torch.float64, requires_grad=True)
    clusters = torch.tensor([0, 0, 0, 1, 2, 2, 1])
    sure = torch.tensor([True, True, True, True, False, False, False])
    losses = F.cross_entropy(logits, clusters, reduction="none")
    loss = taught_loss(logits, clusters, sure)
    assert float(loss) == pytest.approx(float((losses[:3].mean() + losses[3]) / 2))
    loss.backward()
    assert logits.grad[:4].abs().min() > 0 and logits.grad[4:].abs().max() == 0


def test_taught_loss_is_zero_where_nobody_is_sure() -> None:
    logits = torch.randn(4, 3, requires_grad=True)
    loss = taught_loss(logits, torch.tensor([0, 1, 2, 0]), torch.zeros(4, dtype=torch.bool))
    loss.backward()
    assert float(loss) == 0 and logits.grad.abs().max() == 0


def test_the_held_out_score_runs_from_nothing_learned_to_perfect() -> None:
    even = torch.full((6, 4), 0.25)
    assert float(held_out_score(even, even[:, None].expand(-1, 3, -1), 4)) == pytest.approx(1)
    perfect = torch.eye(4)[torch.tensor([0, 1, 2, 3])]
    assert float(held_out_score(perfect, perfect[:, None].expand(-1, 3, -1), 4)) == pytest.approx(0, abs=1e-6)
    collapsed = torch.eye(4)[torch.zeros(4, dtype=torch.int64)]
    assert float(held_out_score(collapsed, collapsed[:, None].expand(-1, 3, -1), 4)) == pytest.approx(1)


def test_shared_information_is_that_of_the_pairs() -> None:
    generator = np.random.default_rng(0)
    own, near = generator.integers(0, 5, 40), generator.integers(0, 5, (40, 3))
    wanted = mutual_info_score(np.repeat(own, 3), near.reshape(-1))
    assert shared_information(torch.from_numpy(own), torch.from_numpy(near), 5) == pytest.approx(wanted)
