"""Maps that ignore the network: xai.compute.controls."""

import numpy as np
import pytest
import skimage.filters
import torch
from networks import ResidualNet, classifier_of, random_pixels, seeded

from xai.compute.controls import center, edges, random
from xai.compute.trace import trace_pixels


def trace_of(pixels):
    return trace_pixels(classifier_of(seeded(ResidualNet)), pixels, [])


@pytest.fixture(scope="module")
def wide():
    return torch.rand(1, 3, 12, 20, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("method", [random, center, edges])
def test_maps_have_the_shape_of_all_methods_and_batches_equal_singles(method, wide):
    made = method(trace_of(wide), [1, 3])
    assert made.maps.shape == (2, 12, 20) and made.maps.dtype == torch.float32 and made.details is None
    assert made.maps.min() >= 0 and made.maps.max() > 0 and not made.maps.requires_grad
    assert torch.equal(made.maps, method(trace_of(wide), [1, 3]).maps)
    assert torch.equal(made.maps[1:], method(trace_of(wide), [3]).maps)
    pixels = random_pixels(3)
    batch = method(trace_of(pixels), [2, 0, 2]).maps
    for i, target in enumerate((2, 0, 2)):
        assert torch.equal(batch[i : i + 1], method(trace_of(pixels[i : i + 1]), [target]).maps)


def test_random_is_uniform_seeded_and_another_one_for_each_class():
    state = torch.get_rng_state()
    trace = trace_of(random_pixels(1, 100))
    maps = random(trace, [0, 1], seed=4).maps
    assert maps.min() >= 0 and maps.max() < 1
    assert torch.allclose(maps.flatten(1).sort(1).values, torch.linspace(0, 1, 10_000).expand(2, -1), atol=0.03)
    assert abs(torch.corrcoef(maps.flatten(1))[0, 1]) < 0.05
    near = random(trace, [0], seed=5).maps[0], random(trace, [1], seed=3).maps[0]
    assert all(not torch.equal(each, one) for each in near for one in maps)
    assert torch.equal(state, torch.get_rng_state())


def test_center_is_a_gaussian_bump(wide):
    bump = center(trace_of(wide), [0], width=0.3).maps[0]
    assert torch.equal(bump, bump.flip(0)) and torch.equal(bump, bump.flip(1))
    assert bump[5:7, 9:11].min() == bump.max() > 0.95
    for y, x in [(0, 0), (3, 15), (11, 4)]:
        expected = np.exp(-((y - 5.5) ** 2) / (2 * 3.6**2) - (x - 9.5) ** 2 / (2 * 6.0**2))
        assert bump[y, x].item() == pytest.approx(expected, rel=1e-5)


def test_edges_are_those_of_scikit_image(wide):
    grey = (wide[0] * torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)).sum(0)
    found = edges(trace_of(wide), [0]).maps[0]
    assert np.allclose(found, skimage.filters.sobel(grey.numpy()), atol=1e-6)


def test_edges_of_a_step_and_of_nothing():
    pixels = torch.zeros(1, 3, 16, 16)
    assert edges(trace_of(pixels), [0]).maps.max() == 0
    pixels[..., 8:] = 1.0
    found = edges(trace_of(pixels), [0]).maps[0]
    assert torch.allclose(found[:, 7:9], torch.full((16, 2), 0.5**0.5), atol=1e-6)
    assert found[:, :7].max() == 0 and found[:, 9:].max() == 0
