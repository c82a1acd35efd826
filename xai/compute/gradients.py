"""Gradients of a score by the pixels, and means of them: plain, over noisy copies, along paths from baselines.

All of these work on pixels in [0, 1], so a map lies on the picture itself. Each takes the trace of one image (K
targets) or of N images (one target each, K = N), and no layer. Each returns raw maps (K, h, w), and as details a
`PixelDetails` with the signed values of each channel, which `channels` puts together: "sum" keeps their sign and sum,
"abs_max" takes the largest magnitude and "norm" the Euclidean length.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from xai.compute.attribution import Attribution, Progress
from xai.compute.baselines import fixed_baseline, random_baseline, step_seeds
from xai.compute.pixel_gradients import (
    Points,
    attribution_of,
    mean_scores,
    own_gradients,
    sum_gradients,
    target_scores,
    walk,
)
from xai.compute.trace import Trace


def saliency(
    trace: Trace,
    targets: Sequence[int],
    *,
    layer: str | None = None,
    on_progress: Progress | None = None,
    channels: str = "abs_max",
) -> Attribution:
    """Differentiate the target score by each pixel: how fast it would change.

    Source: Simonyan et al. 2014, arXiv 1312.6034, section 3.
    """
    gradient = own_gradients(trace, targets, on_progress)
    return attribution_of(gradient, channels)


def input_x_gradient(
    trace: Trace,
    targets: Sequence[int],
    *,
    layer: str | None = None,
    on_progress: Progress | None = None,
    channels: str = "sum",
) -> Attribution:
    """Multiply each pixel by its gradient: its share of the score if the network were linear and black counted zero.

    The pixels are those in [0, 1]; code that multiplies normalised values asks about the mean colour in place of black.

    Source: Shrikumar et al. 2016, arXiv 1605.01713.
    """
    gradient = own_gradients(trace, targets, on_progress)
    return attribution_of(gradient * _plain(trace).cpu().double(), channels)


def smooth_grad(
    trace: Trace,
    targets: Sequence[int],
    *,
    layer: str | None = None,
    seed: int = 0,
    on_progress: Progress | None = None,
    samples: int = 32,
    noise: float = 0.15,
    channels: str = "abs_max",
) -> Attribution:
    """Average the gradients of noisy copies of the picture, so that what flickers from copy to copy goes away.

    Args:
        samples: number of copies; the paper finds little change above 50.
        noise: standard deviation as a share of the picture's own range of values; the paper takes 0.1 to 0.2.

    All pictures and targets get the same noise, scaled by the picture's range. Gradients are averaged with their sign,
    as in the paper's formula; magnitudes are taken only when channels are put together.

    Source: Smilkov et al. 2017, arXiv 1706.03825.
    """
    points = _noisy(trace, seed, samples, noise)
    gradient = sum_gradients(trace, targets, points, steps=samples, on_progress=on_progress)
    return attribution_of(gradient / samples, channels)


def var_grad(
    trace: Trace,
    targets: Sequence[int],
    *,
    layer: str | None = None,
    seed: int = 0,
    on_progress: Progress | None = None,
    samples: int = 32,
    noise: float = 0.15,
    channels: str = "abs_max",
) -> Attribution:
    """Return the variance of the gradient over noisy copies of the picture: where it depends on small changes.

    Copies are those of `smooth_grad`; the variance divides by their number, as captum's does. Never negative.

    Source: Adebayo et al. 2018, arXiv 1810.03307 (VarGrad).
    """
    shape = (2, len(targets), *trace.pixels.shape[1:])
    with torch.inference_mode(False):
        sums = torch.zeros(shape, dtype=torch.float64)  # of gradients and of their squares

    def take(owners: Tensor, _pictures: Tensor, _taken: Tensor, gradient: Tensor) -> None:
        values = gradient.cpu().double()
        sums[0].index_add_(0, owners, values)
        sums[1].index_add_(0, owners, values**2)

    walk(trace, targets, _noisy(trace, seed, samples, noise), take, steps=samples, on_progress=on_progress)
    mean, mean_square = sums / samples
    return attribution_of((mean_square - mean**2).clamp_min(0), channels)


def integrated_gradients(
    trace: Trace,
    targets: Sequence[int],
    *,
    layer: str | None = None,
    on_progress: Progress | None = None,
    steps: int = 32,
    baseline: str = "black",
    channels: str = "sum",
) -> Attribution:
    """Integrate the gradient along the straight line from a baseline to the picture, times their difference.

    The values add up to the score of the picture less that of the baseline, up to the gap in the details, which shrinks
    with more steps. The integral is by Gauss and Legendre, as in captum.

    Args:
        steps: points on the line.
        baseline: one of `BASELINES`; see `fixed_baseline`.

    Source: Sundararajan et al. 2017, arXiv 1703.01365, eq. 1.
    """
    pixels = _plain(trace)
    start = fixed_baseline(pixels, baseline)
    places, weights = (torch.tensor(each, dtype=torch.float64) for each in np.polynomial.legendre.leggauss(steps))
    shares = ((places + 1) / 2).float().to(pixels.device)  # from [-1, 1] to [0, 1]
    weights = (weights / 2).float().to(pixels.device)

    def points(pictures: Tensor, taken: Tensor) -> Tensor:
        share = _column(shares[taken])
        return start[pictures] + share * (pixels - start)[pictures]

    gradient = sum_gradients(
        trace,
        targets,
        points,
        steps=steps,
        weigh=lambda gradient, _pictures, taken: gradient * _column(weights[taken]),
        on_progress=on_progress,
    )
    values = gradient * (pixels - start).cpu().double()
    before = mean_scores(trace, targets, lambda pictures, _taken: start[pictures])
    return attribution_of(values, channels, target_scores(trace, targets) - before)


def gradient_shap(
    trace: Trace,
    targets: Sequence[int],
    *,
    layer: str | None = None,
    seed: int = 0,
    on_progress: Progress | None = None,
    samples: int = 32,
    baseline: str = "uniform",
    gap: bool = True,
    channels: str = "sum",
) -> Attribution:
    """Average (picture - baseline) times gradient, at random places on lines to random baselines.

    The mean over ever more samples adds up to the score less the mean score of the baselines. The details hold the gap
    for the baselines drawn, if asked. All pictures get the same draws.

    Args:
        samples: baselines drawn, each with one place on its line.
        baseline: one of `RANDOM_BASELINES`; see `random_baseline`. They stand in for the training pictures that the
            paper draws from. No noise is added to the picture.
        gap: score the baselines, too, to know it. That takes a third of the time.

    Source: Lundberg and Lee 2017, arXiv 1705.07874, and Erion et al. 2021, arXiv 1906.10670.
    """
    pixels = _plain(trace)
    seeds = step_seeds(seed, samples + 1)
    shares = torch.rand(samples, generator=torch.Generator().manual_seed(seeds.pop(0))).to(pixels.device)

    def baselines(pictures: Tensor, taken: Tensor) -> Tensor:
        return random_baseline(pixels[pictures], baseline, [seeds[step] for step in taken])

    def points(pictures: Tensor, taken: Tensor) -> Tensor:
        start = baselines(pictures, taken)
        return start + _column(shares[taken]) * (pixels[pictures] - start)

    values = sum_gradients(
        trace,
        targets,
        points,
        steps=samples,
        weigh=lambda gradient, pictures, taken: gradient * (pixels[pictures] - baselines(pictures, taken)),
        on_progress=on_progress,
    )
    if not gap:
        return attribution_of(values / samples, channels)
    before = mean_scores(trace, targets, baselines, steps=samples)
    return attribution_of(values / samples, channels, target_scores(trace, targets) - before)


def _plain(trace: Trace) -> Tensor:
    """Return the pixels of a trace (N, 3, h, w) without graph."""
    with torch.inference_mode(False):
        return trace.pixels.detach().clone()


def _noisy(trace: Trace, seed: int, samples: int, noise: float) -> Points:
    """Make noisy copies; the noise of a step is the same whatever else is asked for."""
    pixels = _plain(trace)
    deviation = noise * (pixels.amax((1, 2, 3)) - pixels.amin((1, 2, 3)))  # (N,)
    seeds = step_seeds(seed, samples)

    def points(pictures: Tensor, taken: Tensor) -> Tensor:
        generators = [torch.Generator().manual_seed(seeds[step]) for step in taken]
        drawn = torch.stack([torch.randn(pixels.shape[1:], generator=each) for each in generators])
        return pixels[pictures] + _column(deviation[pictures]) * drawn.to(pixels.device)

    return points


def _column(values: Tensor) -> Tensor:
    """Let one value for each row (m,) stand before pictures: (m, 1, 1, 1)."""
    return values[:, None, None, None]
