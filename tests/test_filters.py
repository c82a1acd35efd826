"""Kernels, components, similarity and dead filters against NumPy, slow loops and limiting cases."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
import torchvision
from torch import Tensor, nn

from xai.compute.filters import (
    convolution_weights,
    filter_similarity,
    filter_statistics,
    kernel_colours,
    kernel_components,
    kernel_slices,
    list_convolutions,
    similarity_order,
)
from xai.errors import UserError


def weight(filters: int = 4, inputs: int = 6, height: int = 3, width: int = 2) -> Tensor:
    return torch.randn(filters, inputs, height, width, generator=torch.Generator().manual_seed(3))


@pytest.fixture(scope="module")
def resnet50() -> nn.Module:
    return torchvision.models.resnet50(weights=None)


def test_resnet50_has_53_convolutions_and_49_without_short_cuts(resnet50):
    names = [name for name, _ in list_convolutions(resnet50)]
    assert len(names) == 53
    assert len([name for name in names if "downsample" not in name]) == 49
    assert names[0] == "conv1"
    assert dict(list_convolutions(resnet50))["layer4.2.conv3"] is resnet50.layer4[2].conv3


def test_weights_are_a_copy(resnet50):
    copy = convolution_weights(resnet50, "conv1")
    assert copy.shape == (64, 3, 7, 7)
    assert torch.equal(copy, resnet50.conv1.weight)
    copy.zero_()
    assert resnet50.conv1.weight.any()
    assert not copy.requires_grad


def test_grouped_convolutions_hold_the_channels_of_one_group():
    network = nn.Sequential(nn.Conv2d(8, 4, 3, groups=4))
    assert convolution_weights(network, "0").shape == (4, 2, 3, 3)


def test_a_layer_that_is_no_convolution_lists_those_that_are(resnet50):
    with pytest.raises(UserError, match=r"layer1\.0\.conv1.*did you mean 'conv1'"):
        convolution_weights(resnet50, "conv")
    with pytest.raises(UserError, match="bn1"):
        convolution_weights(resnet50, "bn1")


def test_kernel_colours_keep_sign_axes_and_one_scale():
    kernels = torch.zeros(2, 3, 2, 4)
    kernels[0, 0, 1, 3] = 2.0  # red excites the first filter at row 1, column 3
    kernels[1, 2, 0, 0] = -1.0  # blue inhibits the second filter, half as strongly
    colours = kernel_colours(kernels)
    assert colours.shape == (2, 2, 4, 3)
    assert colours[0, 1, 3].tolist() == [1.0, 0.5, 0.5]
    assert colours[1, 0, 0].tolist() == [0.5, 0.5, 0.25]
    assert (colours[0, 0] == 0.5).all()
    assert (kernel_colours(torch.zeros(2, 3, 2, 2)) == 0.5).all()


def test_kernel_colours_need_three_channels():
    with pytest.raises(UserError, match="this convolution has 6"):
        kernel_colours(weight())


def test_kernel_slices_take_one_input_channel():
    kernels = weight()
    assert torch.equal(kernel_slices(kernels, 5)[2], kernels[2, 5])
    for wrong in (-1, 6):
        with pytest.raises(UserError, match="0 to 5"):
            kernel_slices(kernels, wrong)


def test_components_equal_numpy_svd_filter_by_filter():
    kernels = weight()
    result = kernel_components(kernels, 3)
    for index, each in enumerate(kernels.double().numpy()):
        left, strength, right = np.linalg.svd(each.reshape(6, 6), full_matrices=False)
        for k in range(3):
            sign = np.sign(left[:, k].sum())
            expected = (sign * strength[k] * right[k]).reshape(3, 2)
            np.testing.assert_allclose(result.patterns[index, k], expected, atol=1e-5)
        expected = strength[:3] ** 2 / (strength**2).sum()
        np.testing.assert_allclose(result.explained[index], expected, atol=1e-6)


def test_one_pattern_behind_all_input_channels_is_found_with_its_sign():
    pattern = torch.tensor([[0.0, -3.0], [1.0, 2.0]])
    gains = torch.tensor([2.0, 1.0, -0.5])
    result = kernel_components((gains[:, None, None] * pattern)[None], 2)
    expected = pattern * torch.linalg.vector_norm(gains)
    torch.testing.assert_close(result.patterns[0, 0], expected, atol=1e-5, rtol=0)
    assert result.explained[0].tolist() == pytest.approx([1, 0], abs=1e-6)


def test_all_components_together_keep_the_norm():
    kernels = weight()
    patterns = kernel_components(kernels, 6).patterns
    torch.testing.assert_close(patterns.square().sum((1, 2, 3)), kernels.square().sum((1, 2, 3)))


def test_components_that_cannot_exist_are_zero():
    result = kernel_components(weight(height=1, width=1), 3)
    assert result.patterns.shape == (4, 3, 1, 1)
    assert not result.patterns[:, 1:].any()
    dead = kernel_components(torch.zeros(1, 6, 3, 3), 2)
    assert not dead.explained.any()


def test_similarity_equals_a_slow_cosine():
    kernels = weight()
    similarity = filter_similarity(kernels)
    rows = kernels.flatten(1).tolist()
    for i, a in enumerate(rows):
        for j, b in enumerate(rows):
            dot = sum(x * y for x, y in zip(a, b, strict=True))
            norms = math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))
            assert float(similarity[i, j]) == pytest.approx(dot / norms, abs=1e-6)


def test_similarity_of_copies_opposites_and_nothing():
    one = weight(1)
    similarity = filter_similarity(torch.cat([one, 3 * one, -one, 0 * one]))
    assert similarity[0].tolist() == pytest.approx([1, 1, -1, 0], abs=1e-6)
    assert similarity[3].tolist() == [0, 0, 0, 0]


def test_order_brings_families_together():
    base = weight(3, 40)
    family = torch.tensor([0, 1, 2, 0, 1, 2, 2, 1, 0])
    noise = 0.1 * torch.randn(9, 40, 3, 2)
    order = similarity_order(filter_similarity(base[family] + noise))
    members = family[order].tolist()
    assert sorted(order.tolist()) == list(range(9))
    assert sum(a != b for a, b in pairwise(members)) == 2
    assert similarity_order(torch.ones(1, 1)).tolist() == [0]


def test_statistics_find_dead_and_duplicate_filters():
    kernels = weight(6)
    kernels[1] *= 1e-4
    kernels[4] = 0
    kernels[5] = 2 * kernels[0]
    statistics = filter_statistics(kernels)
    assert statistics.dead.tolist() == [False, True, False, False, True, False]
    assert statistics.dead_share == pytest.approx(2 / 6)
    assert (int(statistics.nearest[0]), int(statistics.nearest[5])) == (5, 0)
    assert float(statistics.nearest_similarity[0]) == pytest.approx(1, abs=1e-6)
    expected = [math.sqrt(sum(v * v for v in row)) for row in kernels.flatten(1).tolist()]
    assert statistics.norm.tolist() == pytest.approx(expected, rel=1e-5)


def test_statistics_of_a_lone_filter_and_of_a_pruned_layer():
    lone = filter_statistics(weight(1))
    assert (lone.nearest.tolist(), lone.nearest_similarity.tolist(), lone.dead.tolist()) == ([0], [0], [False])
    assert filter_statistics(torch.zeros(3, 2, 3, 3)).dead.all()
