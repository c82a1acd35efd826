"""The pictures that LIME asks about, and how many of them are enough."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from xai.compute.attribution import Progress
from xai.compute.lime_smooth import can_smooth, smooth
from xai.compute.lime_solve import Fit, Surrogate, fit_surrogate, kernel_weights
from xai.compute.masking import MaskedPicture
from xai.errors import UserError

FIRST_CHECK, GROWTH = 100, 1.25  # samples at the first check, and the factor from one to the next
AUTO_LIMIT = 2000  # half a minute at most on a network that takes 15 ms for a picture
RELIABLE = 0.8  # of the ranking: its correlation with the converged one is then about the root, 0.9


@dataclass(frozen=True)
class Plan:
    """How neighbours of the picture are drawn and weighed.

    Attributes:
        limit: number of samples, with the picture itself.
        stop_early: whether fewer will do once the ranking of the superpixels is stable.
        kernel_width, distance: as for `kernel_weights`.
        seed: of the draws.
        smooth: whether a model of the network fills the gaps between the samples, see `lime_smooth`.
    """

    limit: int
    stop_early: bool
    kernel_width: float
    distance: str
    seed: int
    smooth: bool = False

    def weigh(self, samples: Tensor) -> Tensor:
        """Return the weights of samples (n, d): float64 (n,)."""
        return kernel_weights(samples, self.kernel_width, self.distance)

    def fit(self, samples: Tensor, outputs: Tensor, weights: Tensor, how: Fit) -> Surrogate:
        """Fit a linear model to outputs (n,) of samples (n, d), smoothed if that is planned and can be done."""
        fitted = fit_surrogate(samples, outputs, weights, how)
        if self.smooth and can_smooth(how, fitted):
            return smooth(fitted, samples, outputs, weights, how, self.weigh)
        return fitted


@dataclass(frozen=True, eq=False)
class Neighbours:
    """Pictures around the one explained and what the network says to them.

    Attributes:
        samples: float64 (n, d), 1 where a superpixel is on; the first row is the picture itself.
        outputs: float64 (n, K).
        weights: float64 (n,).
        used: for each of K targets, how many of the samples, from the first, its model is fitted on.
        plan: how they were drawn.
    """

    samples: Tensor
    outputs: Tensor
    weights: Tensor
    used: tuple[int, ...]
    plan: Plan

    def fit(self, how: Fit) -> list[Surrogate]:
        """Fit one linear model for each target."""
        return [self.plan.fit(*self.of_target(k), how) for k in range(len(self.used))]

    def of_target(self, k: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return samples, outputs and weights for one target."""
        count = self.used[k]
        return self.samples[:count], self.outputs[:count, k], self.weights[:count]


def read_samples(samples: int | str) -> tuple[int, bool]:
    """Return how many samples to draw at most, and whether to stop early.

    Raises:
        UserError: it is neither "auto" nor a whole number from 2 on.
    """
    text = str(samples).strip().lower()
    if text == "auto":
        return AUTO_LIMIT, True
    if not text.isdecimal() or int(text) < 2:
        raise UserError(f"Option samples must be auto or a whole number from 2 on, not {samples!r}.")
    return int(text), False


def draw_coalitions(count: int, features: int, seed: int) -> Tensor:
    """Flip a fair coin for each superpixel of every second sample: bool (n, d), the first row all True.

    From the second row on they come in pairs: a sample, and the one that shows what it hides. Each by itself is as
    likely as any other, so the linear model comes to the same as with single ones; but what two superpixels do together
    (or four, or six) is the same on both sides and cancels in the coefficients at once. The first rows are the same
    however many are drawn.
    """
    generator = torch.Generator().manual_seed(seed)
    coins = torch.randint(2, (count // 2, features), generator=generator, dtype=torch.uint8).bool()
    whole = torch.ones(1, features, dtype=torch.bool)
    return torch.cat([whole, torch.stack([coins, ~coins], 1).flatten(0, 1)])[:count]


def checkpoints(limit: int) -> list[int]:
    """List the numbers of samples at which to look at the maps so far, the last being the limit."""
    counts, count = [], float(FIRST_CHECK)
    while count < limit:
        counts.append(int(count))
        count *= GROWTH
    return [*counts, limit]


def ask_neighbours(
    masked: MaskedPicture,
    segments: Tensor,
    plan: Plan,
    *,
    on_check: Callable[[float, Neighbours], None] | None,
    on_progress: Progress | None,
) -> Neighbours:
    """Draw the samples, all targets sharing them, until there are enough.

    Each target stops by itself, so that its result does not depend on what else was asked.

    Args:
        masked: the picture and the classes asked about.
        segments: labels (h, w) from 0 to d - 1.
        plan: how many, and how they are weighed.
        on_check: called with the fraction done and the neighbours so far.
        on_progress: called after every batch; may raise `Cancelled`.
    """
    coalitions = draw_coalitions(plan.limit, int(segments.max()) + 1, plan.seed)
    samples, weights = coalitions.double(), plan.weigh(coalitions)
    outputs = torch.zeros(plan.limit, len(masked.targets), dtype=torch.float64)
    stable, used = [0] * len(masked.targets), [plan.limit] * len(masked.targets)
    done = 0
    for count in checkpoints(plan.limit):
        for answers in masked.answers_to_coalitions(segments, coalitions[done:count]):
            outputs[done : done + len(answers)] = answers
            done += len(answers)
            if on_progress:
                on_progress(done / plan.limit, None)
        counts = tuple(min(done, each) for each in used)
        known = Neighbours(samples[:done], outputs[:done], weights[:done], counts, plan)
        if plan.stop_early:
            for k in (k for k, each in enumerate(used) if each > done):
                stable[k] = stable[k] + 1 if ranking_reliability(*known.of_target(k), plan.fit) >= RELIABLE else 0
                used[k] = done if stable[k] == 2 else used[k]  # once may be luck
        if on_check:
            on_check(done / plan.limit, known)
        if max(used) <= done:
            break
    return Neighbours(samples[:done], outputs[:done], weights[:done], tuple(used), plan)


Fitter = Callable[[Tensor, Tensor, Tensor, Fit], Surrogate]


def ranking_reliability(samples: Tensor, outputs: Tensor, weights: Tensor, fit: Fitter = fit_surrogate) -> float:
    """Say how much of the ranking of the superpixels other samples would repeat, from -1 or so to 1.

    Two halves of the samples, pairs kept together, are fitted apart (ridge, all superpixels). The correlation r of
    their ranks gives 2 r / (1 + r) for all samples together: Spearman 1910 and Brown 1910, British Journal of
    Psychology 3.
    """
    half = (torch.arange(len(samples)) + 1) // 2 % 2
    parts = [half == i for i in range(2)]
    halves = [fit(samples[rows], outputs[rows], weights[rows], Fit()).coefficients for rows in parts]
    spread = max(float(each.max() - each.min()) for each in halves)
    if spread <= 1e-9 * float(outputs.abs().max()):  # all the same: there is nothing to rank
        return 1.0
    ranks = torch.stack([each.argsort().argsort().double() for each in halves])  # (2, d)
    correlation = float(torch.corrcoef(ranks)[0, 1])
    return 2 * correlation / (1 + correlation) if correlation > 0 else correlation
