"""Less luck of the draw in LIME: what the network would say to samples that it was not asked about.

A Gaussian process learns, from the samples there are, what the linear model leaves unexplained. The linear model is
then fitted to many more samples, drawn and weighed alike, with the answers of the process in place of the network's.
Both come to the same with ever more samples; with few of them the process knows where superpixels act together, and
that part no longer ends up in the coefficients by chance (Bayesian quadrature).

Source: O'Hagan 1991, Journal of Statistical Planning and Inference 29; the leave-one-out errors that choose the noise:
Rasmussen and Williams 2006, Gaussian Processes for Machine Learning, eq. 5.12.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from xai.compute.lime_solve import Fit, Surrogate, r_squared, solve_ridge

MOST = 1500  # samples that are smoothed: work grows with the cube, and of more there is less to gain
MORE = 4096  # samples that the process answers, in pairs of complements
SHARPNESS = 2.0  # the kernel is exp(SHARPNESS * (cosine - 1)), cosine between two samples of -1 and 1
EVENNESS = 0.3  # how much superpixels without influence count in that cosine, in those of average influence
NOISES = (0.1, 0.3, 1.0)  # variances that are tried, in those of the process


def can_smooth(how: Fit, fitted: Surrogate) -> bool:
    """Say whether a linear model is smoothed: ridge over all superpixels, two or more, and not too many samples."""
    whole = len(fitted.selected) == len(fitted.coefficients) > 1
    return whole and how.regressor == "ridge" and len(fitted.rest) <= MOST


def smooth(
    fitted: Surrogate,
    samples: Tensor,
    outputs: Tensor,
    weights: Tensor,
    how: Fit,
    weigh: Callable[[Tensor], Tensor],
) -> Surrogate:
    """Return a linear model near the one that more samples would give.

    Args:
        fitted: the linear model of these samples.
        samples, outputs, weights: float64 (n, d), (n,), (n,).
        how: it was fitted.
        weigh: returns the weights of other samples.
    """
    if float(fitted.rest.abs().max()) <= 1e-9 * float(outputs.abs().max()):
        return fitted  # the linear model says it all
    scales = _scales(fitted.coefficients)
    kernel = _kernel(samples, samples, scales)
    strength, rest = _learn(kernel, fitted.rest, weights)
    more = _draw_more(samples.shape[1])
    answers = _kernel(more, samples, scales) @ strength
    slopes, intercept = solve_ridge(more, answers, weigh(more), how.alpha * len(more) / len(samples))
    coefficients = fitted.coefficients + slopes
    predicted = samples @ coefficients + fitted.intercept + intercept
    return replace(
        fitted,
        coefficients=coefficients,
        intercept=fitted.intercept + intercept,
        r2=r_squared(outputs, predicted, weights),
        prediction=float(predicted[0]),
        rest=rest,
    )


def _scales(coefficients: Tensor) -> Tensor:
    """Let superpixels count by the root of their influence: (d,), squares adding up to 1."""
    share = coefficients.abs() / coefficients.abs().mean().clamp_min(1e-300)
    return torch.nn.functional.normalize(share.sqrt() + EVENNESS, dim=0)


def _kernel(one: Tensor, other: Tensor, scales: Tensor) -> Tensor:
    """Return how alike samples (n, d) and (m, d) are: (n, m), 1 for equal ones."""
    return torch.exp(SHARPNESS * (((2 * one - 1) * scales) @ ((2 * other - 1) * scales).T - 1))


def _learn(kernel: Tensor, values: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Return the strength of each sample (n,), and by how much a process that does not know it misses it (n,)."""
    best, found = float("inf"), (values, values)
    for noise in NOISES:
        root = torch.linalg.cholesky(kernel + noise * torch.eye(len(kernel), dtype=kernel.dtype))
        inverse = torch.cholesky_inverse(root)
        strength = inverse @ values
        missed = strength / inverse.diagonal()
        error = float((weights * missed**2).sum())
        if error < best:
            best, found = error, (strength, missed)
    return found


def _draw_more(features: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    half = torch.randint(2, (MORE // 2, features), generator=generator).double()
    return torch.cat([half, 1 - half])
