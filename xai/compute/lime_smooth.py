"""Less luck of the draw in LIME: what the network would say to samples that it was not asked about.

A Gaussian process learns the scores from the samples there are. It expects a score to follow from single superpixels
and from what neighbours do together, as in a network that looks at a place at a time, most of all from superpixels that
move the scores of any classes. The linear model of LIME is then fitted to many more samples, drawn and weighed alike,
with the answers of the process in place of the network's. Both come to the same with ever more samples; with few of
them, what superpixels do together and what the softmax makes of the scores no longer ends up in the coefficients by
chance (Bayesian quadrature).

Source: O'Hagan 1991, Journal of Statistical Planning and Inference 29; local kernels: van der Wilk et al. 2017, arXiv
1709.01894; the leave-one-out answers that choose the noise: Rasmussen and Williams 2006, Gaussian Processes for Machine
Learning, eq. 5.12.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from xai.compute.lime_solve import Fit, Surrogate, r_squared, solve_ridge

MOST = 2000  # samples that a process learns from: work grows with the cube
ROUGH, FINE = 8, 32  # samples that the process answers for each one that the network did
LEAST = 4096  # but no fewer
CLASSES = 200  # likeliest classes whose scores are learnt one by one; the others' are summed up
CONSTANT, LINEAR, LOCAL = 10.0, 1.5, 3.0  # variances: of the mean score, of the superpixels by themselves, together
SHARPNESS = 2.0  # of the last
WINDOWS, REACH = 3, 0.2  # of a side: windows in which superpixels act together, and the width of one
NOISES = (0.01, 0.03, 0.1, 0.3)  # variances that are tried
CHUNK = 4096


@dataclass(frozen=True, eq=False)
class Told:
    """What the network said about one class.

    Attributes:
        samples: float64 (n, d), 1 where a superpixel is on; the first row is the picture itself.
        outputs, weights: float64 (n,).
        scores: (m, classes) of the first m samples.
        target: the class.
        output: "probability" or "score".
        places: float64 (d, 2), see `centres`.
    """

    samples: Tensor
    outputs: Tensor
    weights: Tensor
    scores: Tensor
    target: int
    output: str
    places: Tensor


def centres(segments: Tensor) -> Tensor:
    """Return the centre of each superpixel of labels (h, w): float64 (d, 2), rows and columns in shares of a side."""
    labels = segments.flatten()
    sizes = labels.bincount().double()
    spots = torch.cartesian_prod(*((torch.arange(side).double() + 0.5) / side for side in segments.shape))
    return spots.new_zeros(len(sizes), 2).index_add(0, labels, spots) / sizes[:, None]


def can_smooth(how: Fit, fitted: Surrogate) -> bool:
    """Say whether a linear model is smoothed: ridge over all superpixels, two or more."""
    return how.regressor == "ridge" and len(fitted.selected) == len(fitted.coefficients) > 1


def smooth(fitted: Surrogate, told: Told, how: Fit, weigh: Callable[[Tensor], Tensor], more: int = FINE) -> Surrogate:
    """Return a linear model near the one that more samples would give.

    Args:
        fitted: the linear model of these samples.
        told: what they are.
        how: it was fitted.
        weigh: returns the weights of other samples.
        more: samples to answer for each one that there is.
    """
    spread = float(told.outputs.max() - told.outputs.min())
    if float(fitted.rest.abs().max()) <= 1e-4 * spread:
        return fitted  # the linear model says it all
    process, expected = _learn(told, how.alpha)
    count, known = len(told.samples), len(told.scores)
    drawn = _draw(max(LEAST, more * count), told.samples.shape[1])
    coefficients, intercept = solve_ridge(drawn, process.answer(drawn), weigh(drawn), how.alpha * len(drawn) / count)
    rest = told.outputs - torch.cat([expected, process.answer(told.samples[known:])])
    if count > known:  # samples that it does not know say in which direction it errs
        slopes, shift = solve_ridge(told.samples, rest, told.weights, how.alpha)
        coefficients, intercept = coefficients + slopes, intercept + shift
        rest = rest - (told.samples @ slopes + shift)
    predicted = told.samples @ coefficients + intercept
    return replace(
        fitted,
        coefficients=coefficients,
        intercept=float(intercept),
        r2=r_squared(told.outputs, predicted, told.weights),
        prediction=float(predicted[0]),
        rest=rest,
    )


@dataclass(frozen=True, eq=False)
class _Likeness:
    """By how much scores of samples are expected to vary together: the kernel of the process.

    With x being 1 for a superpixel that is on and -1 for one that is off, c the mean of x x' over superpixels, each
    counted by the variance it brings about, c_w that mean in window w and p_w the share of the variance that lies
    there, it is CONSTANT + LINEAR c + LOCAL sum over w of p_w exp(SHARPNESS (c_w - 1)).

    Attributes:
        windows: (w, d), what each superpixel counts in each window; rows add up to 1.
        shares: of the variance of all superpixels, (w,).
    """

    windows: Tensor
    shares: Tensor

    @classmethod
    def of(cls, slopes: Tensor, places: Tensor) -> _Likeness:
        """Let superpixels, which are at (d, 2), count by their slopes in linear models of the scores (d, classes).

        What moves one class moves others, so all of them together tell better than one which superpixels matter.
        """
        variance = slopes.square().sum(1)
        variance = (variance / variance.max().clamp_min(1e-300)).clamp_min(1e-12)
        middles = (torch.arange(WINDOWS, dtype=places.dtype) + 0.5) / WINDOWS
        apart = torch.cdist(torch.cartesian_prod(middles, middles), places)  # (w, d)
        parts = torch.exp(-apart.square() / (2 * REACH**2))
        parts = parts / parts.sum(0) * variance / variance.sum()
        shares = parts.sum(1)
        return cls(parts / shares[:, None], shares)

    def between(self, one: Tensor, other: Tensor) -> Tensor:
        """Return how alike samples (n, d) and (m, d) are: (n, m), in the precision of the first."""
        signs, others = 2 * one - 1, (2 * other - 1).to(one).T
        alike = one.new_full((len(one), len(other)), CONSTANT)
        for window, share in zip(self.windows.to(one), self.shares.tolist(), strict=True):
            cosines = (signs * window) @ others
            alike.add_(cosines, alpha=LINEAR * share)
            alike.add_(cosines.sub_(1).mul_(SHARPNESS).exp_(), alpha=LOCAL * share)
        return alike


@dataclass(frozen=True, eq=False)
class _Process:
    """What is known of the scores: the mean (c,), and how strongly each sample (m, d) pulls at them (m, c)."""

    likeness: _Likeness
    samples: Tensor
    strength: Tensor
    mean: Tensor
    output: str

    def answer(self, samples: Tensor) -> Tensor:
        """Return the outputs expected for samples (n, d): float64 (n,)."""
        answers = [samples.new_zeros(0)]
        for rows in samples.split(CHUNK):
            pulls = self.likeness.between(rows.float(), self.samples) @ self.strength.float()
            answers.append(_read(pulls + self.mean.float(), self.output).double())
        return torch.cat(answers)


def _learn(told: Told, alpha: float) -> tuple[_Process, Tensor]:
    """Return the process, and what it expects of each sample without knowing it (m,)."""
    scores = told.scores.double()
    samples, outputs, weights = (each[: len(scores)] for each in (told.samples, told.outputs, told.weights))
    likeness = _Likeness.of(solve_ridge(samples, scores, weights, alpha)[0], told.places)
    signals = _sum_up(scores, told.target) if told.output == "probability" else scores[:, [told.target]]
    mean = signals.mean(0)
    kernel = likeness.between(samples, samples)

    def try_noise(noise: float) -> tuple[float, Tensor, Tensor]:
        root = torch.linalg.cholesky(kernel + noise * torch.eye(len(kernel), dtype=kernel.dtype))
        inverse = torch.cholesky_inverse(root)
        strength = inverse @ (signals - mean)
        expected = _read(signals - strength / inverse.diagonal()[:, None], told.output)
        return float((weights * (outputs - expected).square()).sum()), strength, expected

    _, strength, expected = min(map(try_noise, NOISES), key=lambda tried: tried[0])
    return _Process(likeness, samples, strength, mean, told.output), expected


def _sum_up(scores: Tensor, target: int) -> Tensor:
    """Return scores (n, c) with the same probability of the target, first, as all (n, classes), less the mean of all.

    They are those of the target and of the likeliest other classes, and what the remaining ones come to.
    """
    others = scores.softmax(1).mean(0).index_fill(0, torch.tensor(target), -1.0).argsort(descending=True)[:-1]
    near, far = others[: CLASSES - 1], others[CLASSES - 1 :]
    parts = [scores[:, [target]], scores[:, near]]
    if len(far):
        parts.append(scores[:, far].logsumexp(1, keepdim=True))
    return torch.cat(parts, 1) - scores.mean(1, keepdim=True)


def _read(signals: Tensor, output: str) -> Tensor:
    """Turn signals (n, c), the first being the target's, into outputs (n,)."""
    return signals.softmax(1)[:, 0] if output == "probability" else signals[:, 0]


def _draw(count: int, features: int) -> Tensor:
    """Draw samples in pairs of complements: float64 (count, d)."""
    generator = torch.Generator().manual_seed(0)
    half = torch.randint(2, (count // 2, features), generator=generator).double()
    return torch.cat([half, 1 - half])
