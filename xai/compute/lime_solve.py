"""The linear model inside LIME: weights of the samples, choice of superpixels, fit, and how sure it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from xai.errors import one_of

DISTANCES = ("cosine", "euclidean")
REGRESSORS = ("ridge", "lasso", "bayesian_ridge")
SELECTIONS = ("auto", "none", "highest_weights", "forward_selection", "lasso_path")
RESAMPLES = 20


@dataclass(frozen=True)
class Fit:
    """How the linear model is fitted; the defaults are those of the lime package.

    Attributes:
        regressor: one of REGRESSORS.
        alpha: of ridge: the penalty alpha * sum of squared coefficients is added to the weighted sum of squared errors;
            of lasso: 2 alpha * sum of magnitudes is. bayesian_ridge finds its own.
        selection: one of SELECTIONS, "auto" being "forward_selection" for up to 6 superpixels, else "highest_weights".
        num_features: how many superpixels may have a coefficient; 0 for all.
    """

    regressor: str = "ridge"
    alpha: float = 1.0
    selection: str = "auto"
    num_features: int = 0

    def __post_init__(self) -> None:
        if self.regressor not in REGRESSORS:
            raise one_of("regressor", self.regressor, REGRESSORS)
        if self.selection not in SELECTIONS:
            raise one_of("feature_selection", self.selection, SELECTIONS)


@dataclass(frozen=True, eq=False)
class Surrogate:
    """The linear model of one output around one picture.

    Attributes:
        coefficients: float64 (d,); 0 for superpixels that were not selected.
        selected: the m superpixels that were, int64 (m,).
        intercept: what it predicts with all superpixels off.
        r2: weighted share of the variance of the samples that it explains.
        prediction: what it predicts for the picture itself.
        rest: float64 (n,), by how much it misses each sample, or a better model that does not know that sample.
    """

    coefficients: Tensor
    selected: Tensor
    intercept: float
    r2: float
    prediction: float
    rest: Tensor


def kernel_weights(coalitions: Tensor, kernel_width: float, distance: str) -> Tensor:
    """Weigh samples (n, d) by how near they are to the whole picture: float64 (n,) in [0, 1].

    The weight is exp(-D^2 / (2 kernel_width^2)); with m of d superpixels on, the cosine distance D is 1 - sqrt(m / d)
    and the euclidean one sqrt(d - m), as in the lime package.
    """
    if distance not in DISTANCES:
        raise one_of("distance", distance, DISTANCES)
    count = coalitions.shape[1]
    on = coalitions.sum(1, dtype=torch.float64)  # (n, d) -> (n,)
    apart = 1 - (on / count).sqrt() if distance == "cosine" else (count - on).sqrt()
    return torch.exp(-(apart**2) / (2 * kernel_width**2))


def fit_surrogate(samples: Tensor, outputs: Tensor, weights: Tensor, how: Fit) -> Surrogate:
    """Fit outputs (n,) of samples (n, d) with weights (n,), all float64; the first sample is the picture itself."""
    selected = select_features(samples, outputs, weights, how)
    chosen = samples[:, selected]  # (n, d) -> (n, m)
    slopes, intercept = _regress(chosen, outputs, weights, how)
    predicted = chosen @ slopes + intercept
    coefficients = samples.new_zeros(samples.shape[1]).index_copy(0, selected, slopes)
    r2 = r_squared(outputs, predicted, weights)
    return Surrogate(coefficients, selected, intercept, r2, float(predicted[0]), outputs - predicted)


def standard_errors(samples: Tensor, outputs: Tensor, weights: Tensor, fitted: Surrogate, how: Fit) -> Tensor:
    """Return by how much other samples would change each coefficient: float64 (d,), nan where it cannot be said.

    That is where a superpixel was not selected, and for ridge where there are no more samples than coefficients.
    Ridge: the sandwich estimate, which holds although the network is not linear; White 1980, Econometrica 48. Samples
    that were drawn as complements of each other count as one.
    Others: standard deviation over seeded bootstrap resamples. The selection of superpixels is held fixed.
    """
    chosen = samples[:, fitted.selected]
    errors = samples.new_full((samples.shape[1],), float("nan"))
    freedom = len(samples) - chosen.shape[1] - 1
    if how.regressor != "ridge":
        return errors.index_copy(0, fitted.selected, _bootstrap(chosen, outputs, weights, how))
    if freedom <= 0:
        return errors
    centred, _ = _centre(chosen, weights)
    numbers = _number_pairs(samples)
    pulls = centred.new_zeros(int(numbers[-1]) + 1, centred.shape[1])  # (pairs, m)
    pulls.index_add_(0, numbers, centred * (weights * fitted.rest)[:, None])
    inverse = torch.linalg.pinv(_gram(centred, weights, how.alpha), hermitian=True)
    found = (pulls @ inverse).square().sum(0).sqrt() * (len(samples) / freedom) ** 0.5
    return errors.index_copy(0, fitted.selected, found)


def _number_pairs(samples: Tensor) -> Tensor:
    """Number samples (n, d) from 0: samples 1 and 2, 3 and 4 ... alike if they are complements, else each by itself."""
    numbers, end = torch.arange(len(samples)), 1 + (len(samples) - 1) // 2 * 2
    return (numbers + 1) // 2 if (samples[1:end:2] + samples[2:end:2] == 1).all() else numbers


def select_features(samples: Tensor, outputs: Tensor, weights: Tensor, how: Fit) -> Tensor:
    """Choose the superpixels that may have a coefficient: int64 (m,), by the rules of the lime package."""
    features = samples.shape[1]
    count = min(how.num_features or features, features)
    selection = how.selection
    if selection == "auto":
        selection = "forward_selection" if 0 < how.num_features <= 6 else "highest_weights"
    if selection == "forward_selection":
        return _select_forward(samples, outputs, weights, count)
    if selection == "lasso_path":
        return _select_on_lasso_path(samples, outputs, weights, count)
    if selection == "highest_weights" and count < features:
        slopes, _ = solve_ridge(samples, outputs, weights, 0.01)
        return slopes.abs().argsort(descending=True, stable=True)[:count]
    return torch.arange(features)


def _select_forward(samples: Tensor, outputs: Tensor, weights: Tensor, count: int) -> Tensor:
    """Add, one by one, the feature with which the weighted squared error is smallest."""
    centred, _ = _centre(samples, weights)
    gram, product = _gram(centred, weights, 0.0), centred.T @ (weights * outputs)  # (d, d), (d,)
    chosen: list[int] = []
    for _ in range(count):
        rest = [i for i in range(samples.shape[1]) if i not in chosen]
        sets = torch.tensor([[*chosen, i] for i in rest])  # (r, c)
        parts = gram[sets[:, :, None], sets[:, None, :]]  # (r, c, c)
        sides = product[sets]  # (r, c)
        solved = (torch.linalg.pinv(parts, hermitian=True) @ sides[:, :, None])[:, :, 0]
        chosen.append(rest[int((solved * sides).sum(1).argmax())])  # the part of the variance that each set explains
    return torch.tensor(chosen)


def _select_on_lasso_path(samples: Tensor, outputs: Tensor, weights: Tensor, count: int) -> Tensor:
    """Take the features of the last point on the lasso path that has at most `count` of them."""
    from sklearn.linear_model import lars_path

    centred, _ = _centre(samples, weights)
    root = weights.sqrt()
    shifted = outputs - (weights * outputs).sum() / weights.sum()
    _, _, path = lars_path((centred * root[:, None]).numpy(), (shifted * root).numpy(), method="lasso")
    fitting = (np.flatnonzero(point) for point in path.T[:0:-1] if np.count_nonzero(point) <= count)
    return torch.from_numpy(next(fitting, np.arange(min(count, samples.shape[1]))))


def _regress(samples: Tensor, outputs: Tensor, weights: Tensor, how: Fit) -> tuple[Tensor, float]:
    """Return slopes (m,) and intercept."""
    if how.regressor == "ridge":
        slopes, intercept = solve_ridge(samples, outputs, weights, how.alpha)
        return slopes, float(intercept)
    model = scikit_learn_regressor(how, weights)
    model.fit(samples.numpy(), outputs.numpy(), sample_weight=weights.numpy())
    return torch.from_numpy(np.array(model.coef_, dtype=np.float64)), float(model.intercept_)


def scikit_learn_regressor(how: Fit, weights: Tensor) -> Any:
    """Return the same regressor as an unfitted one of scikit-learn, for samples with these weights."""
    from sklearn.linear_model import BayesianRidge, Lasso, Ridge

    if how.regressor == "ridge":
        return Ridge(alpha=how.alpha)
    if how.regressor == "lasso":  # its alpha is per unit of weight; its own tolerance of 1e-4 shows in the coefficients
        return Lasso(alpha=how.alpha / float(weights.sum()), tol=1e-9, max_iter=10_000)
    return BayesianRidge()


def solve_ridge(samples: Tensor, outputs: Tensor, weights: Tensor, alpha: float) -> tuple[Tensor, Tensor]:
    """Solve in closed form for slopes (d,), or (d, K) for outputs (n, K), and intercepts () or (K,) without penalty."""
    centred, mean = _centre(samples, weights)
    right = (centred * weights[:, None]).T @ outputs
    slopes = torch.linalg.pinv(_gram(centred, weights, alpha), hermitian=True) @ right
    return slopes, (weights @ outputs) / weights.sum() - mean @ slopes


def _centre(samples: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Subtract the weighted mean (d,) and return it, too."""
    mean = (weights @ samples) / weights.sum()
    return samples - mean, mean


def _gram(centred: Tensor, weights: Tensor, alpha: float) -> Tensor:
    return centred.T @ (centred * weights[:, None]) + alpha * torch.eye(centred.shape[1], dtype=centred.dtype)


def _bootstrap(samples: Tensor, outputs: Tensor, weights: Tensor, how: Fit) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    numbers = _number_pairs(samples)
    count = int(numbers[-1]) + 1
    found = []
    for drawn in torch.randint(count, (RESAMPLES, count), generator=generator):
        rows = (drawn[:, None] == numbers).nonzero()[:, 1]
        found.append(_regress(samples[rows], outputs[rows], weights[rows], how)[0])
    return torch.stack(found).std(0)


def r_squared(outputs: Tensor, predicted: Tensor, weights: Tensor) -> float:
    """Return which share of the weighted variance of outputs (n,) the predicted ones (n,) explain."""
    mean = (weights * outputs).sum() / weights.sum()
    whole = float((weights * (outputs - mean) ** 2).sum())
    left = float((weights * (outputs - predicted) ** 2).sum())
    return 1 - left / whole if whole > 0 else float(left == 0)
