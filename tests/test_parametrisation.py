"""Fourier coefficients, colours and disturbances against their definitions: xai.compute.parametrisation."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2.functional import affine

from xai.compute.parametrisation import Jolts, colour_matrix, disturb, fourier_planes, to_colours

SIZES = [(8, 8), (9, 12), (12, 9), (7, 7)]


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("size", SIZES)
def test_planes_are_the_sum_of_waves_that_the_coefficients_name(size):
    height, width = size
    for row, column, part in [(0, 1, 0), (1, 0, 0), (2, 3, 1), (height - 1, 2, 0)]:
        coefficients = torch.zeros(1, 3, height, width // 2 + 1, 2)
        coefficients[0, 1, row, column, part] = 1
        down = row if row <= height // 2 else row - height
        frequency = max(math.hypot(down / height, column / width), 1 / max(size))
        y, x = np.mgrid[:height, :width]
        angle = 2 * np.pi * (down * y / height + column * x / width)
        wave = (-np.sin(angle) if part else np.cos(angle)) * (1 if column == 0 else 2)  # 2: with its conjugate
        expected = wave / frequency / math.sqrt(height * width) / 4
        planes = fourier_planes(coefficients, size)
        assert planes[0, 0].abs().max() == 0 and planes[0, 2].abs().max() == 0
        np.testing.assert_allclose(planes[0, 1], expected, atol=1e-5)


@pytest.mark.parametrize("size", SIZES)
def test_coefficients_come_back_from_the_planes(size):
    planes = random(2, 3, *size)
    rows, columns = torch.fft.fftfreq(size[0])[:, None], torch.fft.rfftfreq(size[1])[None]
    frequency = torch.hypot(rows, columns).clamp_min(1 / max(size))
    spectrum = torch.fft.rfft2(planes) * 4 * frequency / math.sqrt(size[0] * size[1])
    assert torch.allclose(fourier_planes(torch.view_as_real(spectrum), size), planes, atol=1e-4)


@pytest.mark.parametrize("size", SIZES)
def test_the_gradient_is_right_and_finite(size):
    coefficients = random(1, 3, size[0], size[1] // 2 + 1, 2).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda each: to_colours(fourier_planes(each, size), False), coefficients)
    extreme = (1000 * random(1, 3, size[0], size[1] // 2 + 1, 2)).requires_grad_()
    (slope,) = torch.autograd.grad(to_colours(fourier_planes(extreme, size), True).sum(), extreme)
    assert torch.isfinite(slope).all()


def test_colours_are_mixed_as_in_photographs():
    matrix = colour_matrix()
    lengths = matrix.norm(dim=0)
    assert lengths.max() == pytest.approx(1) and lengths[0] > lengths[1] > lengths[2]
    root = torch.tensor([[0.26, 0.09, 0.02], [0.27, 0.0, -0.05], [0.27, -0.09, 0.03]])  # of the paper's code
    assert torch.allclose(matrix, root / math.sqrt(0.26**2 + 0.27**2 + 0.27**2), atol=1e-6)
    assert matrix[:, 0].std() < 0.02 and (matrix[:, 0] > 0).all()  # brightness moves all three alike
    assert matrix[0, 1] > 0 > matrix[2, 1]  # red against blue
    assert matrix[1, 2] < 0 < matrix[0, 2] and matrix[2, 2] > 0  # green against red and blue
    covariance = matrix @ matrix.T
    correlation = covariance / covariance.diagonal().outer(covariance.diagonal()).sqrt()
    assert (correlation > 0.7).all()  # channels of photographs go together


def test_each_plane_becomes_a_colour():
    planes = random(2, 3, 4, 5)
    expected = torch.zeros(2, 3, 4, 5)
    for n, y, x in np.ndindex(2, 4, 5):
        expected[n, :, y, x] = 1 / (1 + torch.exp(-(colour_matrix() @ planes[n, :, y, x])))
    assert torch.allclose(to_colours(planes, True), expected, atol=1e-6)
    assert torch.equal(to_colours(planes, False), planes.sigmoid())
    assert to_colours(100 * planes, True).min() >= 0 and to_colours(100 * planes, True).max() <= 1


def test_no_jolts_change_nothing_and_grey_stays_grey():
    generator = torch.Generator().manual_seed(0)
    pictures = torch.rand(3, 3, 9, 14, generator=generator)
    assert torch.allclose(disturb(pictures, Jolts(0, 0, 0), generator), pictures, atol=1e-5)
    grey = torch.full((3, 3, 9, 14), 0.5)
    assert torch.equal(disturb(grey, Jolts(), generator), grey)
    moved = disturb(pictures, Jolts(), generator)
    assert moved.min() >= 0 and moved.max() <= 1 and moved.shape == pictures.shape


@pytest.mark.parametrize("jolts", [Jolts(0.2, 0, 0), Jolts(0, 0.3, 0), Jolts(0, 0, 40), Jolts(0.1, 0.2, 30)])
def test_jolts_are_shifts_scalings_and_turns_of_torchvision(jolts):
    pictures = torch.rand(4, 3, 20, 32, generator=torch.Generator().manual_seed(1))
    found = disturb(pictures, jolts, torch.Generator().manual_seed(2))
    draws = torch.rand(4, 4, generator=torch.Generator().manual_seed(2)) * 2 - 1
    for i in range(4):
        turn, size, across, down = draws[:, i].tolist()
        angle, scale = jolts.rotate * turn, 1 + jolts.scale * size
        # Ours moves where a pixel is read; the library moves the pixel: turned and scaled with the rest.
        cos, sin = math.cos(math.radians(angle)) * scale, math.sin(math.radians(angle)) * scale
        x, y = jolts.shift * across * 32, jolts.shift * down * 20
        there = [-(cos * x + sin * y), -(-sin * x + cos * y)]
        expected = (
            affine(
                pictures[i] - 0.5,
                angle=-angle,
                translate=there,
                scale=scale,
                shear=[0, 0],
                interpolation=InterpolationMode.BILINEAR,
                fill=0,
            )
            + 0.5
        )
        inner = (slice(None), slice(5, 15), slice(8, 24))
        assert torch.allclose(found[i][inner], expected[inner], atol=0.02)


def test_each_picture_is_disturbed_on_its_own_and_the_same_twice():
    pictures = torch.rand(1, 3, 16, 16).expand(3, 3, 16, 16)
    one, other = (disturb(pictures, Jolts(), torch.Generator().manual_seed(5)) for _ in range(2))
    assert torch.equal(one, other)
    assert not torch.allclose(one[0], one[1], atol=0.01) and not torch.allclose(one[1], one[2], atol=0.01)
