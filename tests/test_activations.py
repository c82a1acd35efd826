"""Channel statistics, contributions, rankings and reduced maps against slow loops and limiting cases."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from xai.compute.activations import (
    RANKINGS,
    REDUCTIONS,
    activation_map,
    channel_contributions,
    channel_statistics,
    layer_statistics,
    rank_channels,
)
from xai.errors import UserError


def activation(channels: int = 5, height: int = 3, width: int = 4) -> Tensor:
    return torch.randn(channels, height, width, generator=torch.Generator().manual_seed(1))


def slow_numbers(values: list[float]) -> tuple[float, float, float, float, float]:
    mean = sum(values) / len(values)
    variance = sum((v - mean) ** 2 for v in values) / len(values)
    return mean, min(values), max(values), variance, sum(v == 0 for v in values) / len(values)


def test_statistics_equal_plain_python_loops():
    values = activation().relu()
    statistics = channel_statistics(values)
    for channel in range(5):
        expected = slow_numbers([float(v) for row in values[channel] for v in row])
        fields = ("mean", "minimum", "maximum", "variance", "zero_share")
        got = [float(getattr(statistics, name)[channel]) for name in fields]
        assert got == pytest.approx(expected, abs=1e-6)


def test_dead_after_a_relu_is_a_channel_of_zeros():
    values = activation().relu()
    values[[0, 3]] = 0
    assert channel_statistics(values).dead.tolist() == [True, False, False, True, False]
    assert channel_statistics(values).dead_share == pytest.approx(0.4)


def test_dead_before_a_relu_is_a_constant_channel_whatever_its_sign():
    convolution = nn.Conv2d(3, 4, 3)
    with torch.no_grad():
        convolution.weight[2] = 0
        convolution.bias[2] = -0.7
        values = convolution(torch.rand(1, 3, 8, 8))[0]
    assert channel_statistics(values).dead.tolist() == [False, False, True, False]


def test_a_negative_channel_that_varies_is_not_dead():
    assert not channel_statistics(-1 - activation().abs()).dead.any()


def test_single_position_is_dead_only_at_zero():
    values = torch.tensor([0.0, 2.0, -1.0])[:, None, None]
    assert channel_statistics(values).dead.tolist() == [True, False, False]


def test_a_silent_layer_is_all_dead():
    statistics = channel_statistics(torch.zeros(4, 2, 2))
    assert statistics.dead.all()
    assert statistics.zero_share.tolist() == [1, 1, 1, 1]


def test_contributions_at_the_last_stage_sum_to_the_score_minus_its_bias():
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 3))
    values = torch.randn(1, 6, 4, 5).relu().requires_grad_()
    score = head(values)[0, 2]
    gradient = torch.autograd.grad(score, values)[0]
    contributions = channel_contributions(values[0], gradient[0])
    assert float(contributions.sum()) == pytest.approx(float((score - head[2].bias[2]).detach()), abs=1e-5)
    weights, means = head[2].weight[2].detach(), values[0].detach().mean((1, 2))
    expected = [float(weights[c]) * float(means[c]) for c in range(6)]
    assert contributions.tolist() == pytest.approx(expected, abs=1e-6)
    assert not contributions.requires_grad


@pytest.mark.parametrize(
    ("by", "number"), [("mean", np.mean), ("max", np.max), ("variance", np.var)], ids=lambda v: str(v)
)
def test_ranking_puts_the_largest_first(by, number):
    values = activation(7)
    expected = sorted(range(7), key=lambda c: -number(values[c].numpy()))
    assert rank_channels(values, by).tolist() == expected


def test_ranking_by_contribution_puts_for_before_against():
    values = torch.ones(3, 2, 2)
    gradient = torch.tensor([-1.0, 0.5, 0.0])[:, None, None].expand(3, 2, 2)
    assert rank_channels(values, "contribution", gradient).tolist() == [1, 2, 0]


def test_equal_channels_and_no_ranking_keep_the_order():
    for by in ("channel", "mean", "max", "variance"):
        assert rank_channels(torch.ones(40, 2, 2), by).tolist() == list(range(40))


def test_unknown_ranking_and_missing_gradient_say_what_to_choose():
    with pytest.raises(UserError, match="variance"):
        rank_channels(activation(), "entropy")
    with pytest.raises(UserError, match="gradient"):
        rank_channels(activation(), "contribution")
    assert set(RANKINGS) == {"channel", "mean", "max", "variance", "contribution"}


@pytest.mark.parametrize(
    ("reduce", "number"),
    [
        ("mean", lambda v: sum(v) / len(v)),
        ("max", max),
        ("l2", lambda v: math.sqrt(sum(x * x for x in v))),
    ],
)
def test_activation_map_equals_a_loop_over_positions(reduce, number):
    values = activation()
    expected = [[number([float(values[c, y, x]) for c in range(5)]) for x in range(4)] for y in range(3)]
    np.testing.assert_allclose(activation_map(values, reduce), expected, atol=1e-6)


def test_unknown_reduction_lists_the_valid_ones():
    with pytest.raises(UserError, match=", ".join(REDUCTIONS)):
        activation_map(activation(), "median")


def test_layer_statistics_cover_all_images_channels_and_positions():
    batch = torch.randn(2, 3, 4, 5).relu()
    batch[:, 1] = 0
    batch[0, 2] = 0  # silent for one of the two images only: not dead
    first, second = layer_statistics({"a": batch, "b": -torch.ones(1, 2, 1, 1)})
    flat = batch.double().numpy().ravel()
    assert (first.layer, first.channels, first.height, first.width) == ("a", 3, 4, 5)
    got = [first.mean, first.std, first.minimum, first.maximum, first.zero_share]
    assert got == pytest.approx([flat.mean(), flat.std(), flat.min(), flat.max(), (flat == 0).mean()], abs=1e-6)
    assert first.dead_share == pytest.approx(1 / 3)
    assert (second.layer, second.mean, second.std, second.dead_share) == ("b", -1, 0, 0)
