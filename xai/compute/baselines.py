"""Pictures to compare with: fixed baselines, and seeded sets of them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

BASELINES = ("black", "grey", "blur", "mean")
RANDOM_BASELINES = ("uniform", "noise", "blur")
BLUR = 0.1  # standard deviation of the blur, as a share of the shorter side
RANDOM_BLUR = (0.05, 0.2)


def fixed_baseline(pixels: Tensor, baseline: str) -> Tensor:
    """Return the baseline of each picture, the same shape: (N, 3, h, w) in [0, 1].

    Args:
        pixels: float32 (N, 3, h, w) in [0, 1].
        baseline: "black" (0), "grey" (0.5), "mean" (the picture's own mean colour), or "blur" (the picture through a
            Gaussian whose standard deviation is a tenth of the shorter side).
    """
    if baseline == "black":
        return torch.zeros_like(pixels)
    if baseline == "grey":
        return torch.full_like(pixels, 0.5)
    if baseline == "mean":
        return pixels.mean((2, 3), keepdim=True).expand_as(pixels)
    if baseline == "blur":
        return blur(pixels, BLUR)
    raise ValueError(f"baseline {baseline!r} is none of {BASELINES}")


def step_seeds(seed: int, steps: int) -> list[int]:
    """Return a seed for each of several random steps; the first ones do not depend on how many follow."""
    generator = torch.Generator().manual_seed(seed)
    return [int(torch.randint(2**62, (), generator=generator)) for _ in range(steps)]


def random_baseline(pixels: Tensor, baseline: str, seeds: Sequence[int]) -> Tensor:
    """Return a random baseline for each picture, which depends on its seed and, if blurred, on the picture.

    Args:
        pixels: float32 (M, 3, h, w) in [0, 1].
        baseline: "uniform" (one colour everywhere, each channel uniform in [0, 1]), "noise" (each value uniform in
            [0, 1]), or "blur" (the picture through a Gaussian of 5 to 20 % of the shorter side).
        seeds: M of them.
    """
    rows = []
    for row, seed in zip(pixels, seeds, strict=True):
        generator = torch.Generator().manual_seed(seed)
        if baseline == "uniform":
            rows.append(torch.rand(3, 1, 1, generator=generator).to(row).expand_as(row))
        elif baseline == "noise":
            rows.append(torch.rand(row.shape, generator=generator).to(row))
        elif baseline == "blur":
            low, high = RANDOM_BLUR
            rows.append(blur(row, low + (high - low) * float(torch.rand((), generator=generator))))
        else:
            raise ValueError(f"baseline {baseline!r} is none of {RANDOM_BASELINES}")
    return torch.stack(rows)


def blur(pixels: Tensor, share: float) -> Tensor:
    """Blur pictures (..., h, w) by a Gaussian of a share of the shorter side, scaled to weigh 1 in all at the edges."""
    deviation = share * min(pixels.shape[-2:])
    down, across = (_gaussian(size, deviation).to(pixels) for size in pixels.shape[-2:])
    return down @ pixels @ across.T


def _gaussian(size: int, deviation: float) -> Tensor:
    """Return the weights (size, size) of each place for each place; rows add up to 1."""
    places = torch.arange(size, dtype=torch.float32)
    weights = torch.exp(-((places[:, None] - places) ** 2) / (2 * deviation**2))
    return weights / weights.sum(1, keepdim=True)
