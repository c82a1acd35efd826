"""Maps that ignore the network: what any explanation must beat."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F

from xai.compute.attribution import Attribution, Progress
from xai.compute.trace import Trace


def random(
    trace: Trace,
    targets: Sequence[int],
    *,
    layer: str | None = None,
    seed: int = 0,
    on_progress: Progress | None = None,
) -> Attribution:
    """Give every pixel a random value, uniform in [0, 1): float32 (K, h, w).

    Each class has its own map, the same for all images. Layer and progress are not used.
    """
    size = trace.pixels.shape[2:]
    maps = [torch.rand(size, generator=torch.Generator().manual_seed(_mix(seed, target))) for target in targets]
    return Attribution(torch.stack(maps))


def _mix(seed: int, target: int) -> int:
    """Make one seed of two, so that near ones do not meet."""
    return (seed * 0x9E3779B97F4A7C15 + target) % 2**63  # 2^64 divided by the golden ratio


def center(
    trace: Trace,
    targets: Sequence[int],
    *,
    layer: str | None = None,
    on_progress: Progress | None = None,
    width: float = 0.25,
) -> Attribution:
    """Say that the middle of the picture matters: a Gaussian bump of height 1, float32 (K, h, w), for every class.

    Layer and progress are not used.

    Args:
        trace: gives the size.
        targets: one equal map for each.
        width: standard deviation, as a share of each side.
    """
    sides = []
    for length in trace.pixels.shape[2:]:
        places = torch.arange(length, dtype=torch.float32) - (length - 1) / 2
        sides.append(torch.exp(-(places**2) / (2 * (width * length) ** 2)))
    bump = sides[0][:, None] * sides[1]  # (h, w)
    return Attribution(bump.repeat(len(targets), 1, 1))


def edges(
    trace: Trace,
    targets: Sequence[int],
    *,
    layer: str | None = None,
    on_progress: Progress | None = None,
) -> Attribution:
    """Say that edges matter: Sobel's gradient magnitude of the grey picture, float32 (K, h, w), for every class.

    Grey is the luma (ITU-R BT.601) of pixels in [0, 1]; a step from black to white along an axis gives 1 / sqrt(2), as
    in scikit-image. Layer and progress are not used.

    Source: Adebayo et al. 2018, arXiv 1810.03292, who show that some explanations look like an edge detector.
    """
    pixels = trace.pixels.detach().cpu()
    luma = torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)
    grey = F.pad((pixels * luma).sum(1, keepdim=True), (1, 1, 1, 1), mode="replicate")  # (N, 1, h + 2, w + 2)
    sobel = torch.tensor([[1.0, 2.0, 1.0], [0.0, 0.0, 0.0], [-1.0, -2.0, -1.0]]) / 4
    steps = F.conv2d(grey, torch.stack([sobel, sobel.T])[:, None])  # (N, 2, h, w)
    magnitude = steps.square().mean(1).sqrt()  # (N, h, w)
    return Attribution(magnitude.expand(len(targets), *magnitude.shape[1:]).contiguous())
