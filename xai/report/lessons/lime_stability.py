"""How LIME settles as samples are added: other seeds, other samples, and what R2 says meanwhile."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import spearmanr
from torch import Tensor

from xai.compute.lime_sampling import Neighbours
from xai.compute.lime_solve import Fit, Surrogate, fit_surrogate
from xai.explanation import Explanation
from xai.figures.lines import Curve, curve_panels
from xai.report.lessons.finding import Finding
from xai.report.lessons.lime import ask_again, details
from xai.tracing import ImageTrace

OTHER = 1000  # seeds of samples that no explanation has seen start here


@dataclass(frozen=True, eq=False)
class Answers:
    """What the network says to samples.

    Attributes:
        samples: float64 (n, d), 1 where a superpixel is on.
        outputs, weights: float64 (n,).
    """

    samples: Tensor
    outputs: Tensor
    weights: Tensor

    def fit(self, count: int | None = None) -> Surrogate:
        """Fit the ridge of the lime package to the first samples, by default to all."""
        return fit_surrogate(self.samples[:count], self.outputs[:count], self.weights[:count], Fit())


def first_class(known: Neighbours) -> Answers:
    """Keep what was answered about the first class."""
    return Answers(known.samples, known.outputs[:, 0], known.weights)


@dataclass(frozen=True)
class Stability:
    """How LIME settles as samples are added; one value for each number of samples and seed or pair of seeds.

    Attributes:
        between: float (n, pairs), rank correlation of the coefficients from two seeds.
        settled: float (n, seeds), rank correlation with those from all samples of the other seeds.
        own, fresh: float (n, seeds), R2 on the samples of the fit, and on all samples of the other seeds.
    """

    between: NDArray[np.float64]
    settled: NDArray[np.float64]
    own: NDArray[np.float64]
    fresh: NDArray[np.float64]


def measure_stability(drawn: Sequence[Answers], counts: Sequence[int]) -> Stability:
    """Fit on the first samples of each seed, and compare with the other seeds.

    Args:
        drawn: the samples of each seed, at least three seeds, as many samples each as the largest count.
        counts: numbers of samples to fit on.
    """
    others = [_join([each for each in drawn if each is not one]) for one in drawn]
    references = [each.fit().coefficients for each in others]
    between, settled, own, fresh = [], [], [], []
    for n in counts:
        fits = [one.fit(n) for one in drawn]
        between.append([rank_likeness(a.coefficients, b.coefficients) for a, b in combinations(fits, 2)])
        settled.append([rank_likeness(each.coefficients, known) for each, known in zip(fits, references, strict=True)])
        own.append([each.r2 for each in fits])
        fresh.append([r_squared(known, f.coefficients, f.intercept) for f, known in zip(fits, others, strict=True)])
    return Stability(*(np.array(each) for each in (between, settled, own, fresh)))


def show_stability(
    traced: ImageTrace, made: Explanation, counts: Sequence[int] = (50, 100, 200, 400, 800), seeds: int = 5
) -> Finding:
    """Show how alike explanations from different seeds are, and what R2 says meanwhile, as samples are added."""
    drawn = [first_class(ask_again(traced, made, max(counts), made.seed + OTHER + seed)) for seed in range(seeds)]
    found = measure_stability(drawn, counts)
    superpixels = len(details(made).coefficients[0])
    figure = curve_panels(
        counts,
        {
            "Rank correlation of the coefficients": [
                _curve("Two seeds", found.between),
                _curve("With all samples of the other seeds", found.settled),
            ],
            "Weighted R²": [_curve("Samples of the fit", found.own), _curve("Samples of the other seeds", found.fresh)],
        },
        place_label="Samples (number)",
        alt=f"Rank correlation between seeds and R2 for {counts[0]} to {counts[-1]} samples, mean and range.",
        title=f"LIME with {seeds} seeds, mean and range · {superpixels} superpixels · {made.image.name}",
        logarithmic=True,
    )
    alike, r2, elsewhere = found.between.mean(1), found.own.mean(1), found.fresh.mean(1)
    enough = next((str(n) for n, value in zip(counts, alike, strict=True) if value >= 0.9), None)
    reached = f"0.9 is reached with {enough}" if enough else "0.9 is not reached"
    sentence = (
        f"From {counts[0]} to {counts[-1]} samples the rank correlation between two seeds goes from {alike[0]:.2f} to "
        f"{alike[-1]:.2f} ({reached}), R2 on the samples of the fit from {r2[0]:.2f} to {r2[-1]:.2f}, R2 on the other "
        f"seeds' samples from {elsewhere[0]:.2f} to {elsewhere[-1]:.2f}."
    )
    return Finding(figure, sentence)


def r_squared(known: Answers, coefficients: Tensor, intercept: float) -> float:
    """Return the weighted share of the variance of samples that a linear model explains; below 0: worse than none."""
    outputs, weights = known.outputs, known.weights
    rest = outputs - (known.samples @ coefficients + intercept)
    mean = (weights * outputs).sum() / weights.sum()
    return 1 - float((weights * rest.square()).sum() / (weights * (outputs - mean).square()).sum())


def _join(parts: Sequence[Answers]) -> Answers:
    """Put samples of several seeds together."""
    return Answers(
        torch.cat([each.samples for each in parts]),
        torch.cat([each.outputs for each in parts]),
        torch.cat([each.weights for each in parts]),
    )


def rank_likeness(first: Tensor, second: Tensor) -> float:
    """Spearman's rank correlation of two rows of values; 0 where one of them is constant."""
    if first.max() == first.min() or second.max() == second.min():
        return 0.0
    return float(spearmanr(first.numpy(), second.numpy()).statistic)


def _curve(name: str, values: NDArray[np.float64]) -> Curve:
    """Draw the mean over the columns (n, m), and their range."""
    return Curve(name, values.mean(1).tolist(), values.min(1).tolist(), values.max(1).tolist())
