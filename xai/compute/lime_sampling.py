"""The pictures that LIME asks about, and how many of them are enough."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from xai.compute.attribution import Progress
from xai.compute.lime_smooth import FINE, MOST, ROUGH, Told, can_smooth, centres, smooth
from xai.compute.lime_solve import Fit, Surrogate, fit_surrogate, kernel_weights
from xai.compute.masking import MaskedPicture, read_output
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


@dataclass(frozen=True, eq=False)
class Behind:
    """What the outputs of samples are made of.

    Attributes:
        scores: (m, classes), of the first m samples, MOST at most.
        targets: the K classes asked about.
        output: "probability" or "score".
        places: float64 (d, 2), where the superpixels are, see `centres`.
    """

    scores: Tensor
    targets: tuple[int, ...]
    output: str
    places: Tensor

    def tell(self, k: int, samples: Tensor, outputs: Tensor, weights: Tensor) -> Told:
        """Put together what is known about one target."""
        return Told(samples, outputs, weights, self.scores[: len(samples)], self.targets[k], self.output, self.places)


@dataclass(frozen=True, eq=False)
class Neighbours:
    """Pictures around the one explained and what the network says to them.

    Attributes:
        samples: float64 (n, d), 1 where a superpixel is on; the first row is the picture itself.
        outputs: float64 (n, K).
        weights: float64 (n,).
        used: for each of K targets, how many of the samples, from the first, its model is fitted on.
        plan: how they were drawn.
        behind: what the outputs were made of; None where it was not kept, and then nothing is smoothed.
    """

    samples: Tensor
    outputs: Tensor
    weights: Tensor
    used: tuple[int, ...]
    plan: Plan
    behind: Behind | None = None

    def fit(self, how: Fit, more: int = FINE) -> list[Surrogate]:
        """Fit one linear model for each target; `more` as for `smooth`."""
        return [self.fit_target(k, how, more) for k in range(len(self.used))]

    def fit_target(self, k: int, how: Fit, more: int = FINE) -> Surrogate:
        """Fit the linear model of one target, smoothed if that can be done."""
        samples, outputs, weights = self.of_target(k)
        fitted = fit_surrogate(samples, outputs, weights, how)
        if self.behind is None or not can_smooth(how, fitted):
            return fitted
        return smooth(fitted, self.behind.tell(k, samples, outputs, weights), how, self.plan.weigh, more)

    def part(self, rows: Tensor) -> Neighbours:
        """Keep only some samples, where rows (n,) is True."""
        return replace(
            self,
            samples=self.samples[rows],
            outputs=self.outputs[rows],
            weights=self.weights[rows],
            used=tuple(int(rows[:each].sum()) for each in self.used),
            behind=self.behind and replace(self.behind, scores=self.behind.scores[rows[: len(self.behind.scores)]]),
        )

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
    samples, weights, places = coalitions.double(), plan.weigh(coalitions), centres(segments)
    outputs = torch.zeros(plan.limit, len(masked.targets), dtype=torch.float64)
    kept: list[Tensor] = []  # scores (b, classes)
    stable, used = [0] * len(masked.targets), [plan.limit] * len(masked.targets)
    done = 0
    for count in checkpoints(plan.limit):
        for scores in masked.scores_of_coalitions(segments, coalitions[done:count]):
            outputs[done : done + len(scores)] = read_output(scores, masked.targets, masked.output)
            if plan.smooth and done < MOST:
                kept.append(scores[: MOST - done].cpu())
            done += len(scores)
            if on_progress:
                on_progress(done / plan.limit, None)
        counts = tuple(min(done, each) for each in used)
        behind = Behind(torch.cat(kept), masked.targets, masked.output, places) if plan.smooth else None
        known = Neighbours(samples[:done], outputs[:done], weights[:done], counts, plan, behind)
        if plan.stop_early:
            for k in (k for k, each in enumerate(used) if each > done):
                stable[k] = stable[k] + 1 if ranking_reliability(known, k) >= RELIABLE else 0
                used[k] = done if stable[k] == 2 else used[k]  # once may be luck
        if on_check:
            on_check(done / plan.limit, known)
        if max(used) <= done:
            break
    return replace(known, used=tuple(used))


def ranking_reliability(known: Neighbours, k: int) -> float:
    """Say how much of the ranking of the superpixels other samples would repeat, from -1 or so to 1.

    Two halves of the samples, pairs kept together, are fitted apart (ridge, all superpixels). The correlation r of
    their ranks gives 2 r / (1 + r) for all samples together: Spearman 1910 and Brown 1910, British Journal of
    Psychology 3.
    """
    numbers = torch.arange(len(known.samples))
    parts = [((numbers + 1) // 2 % 2 == i) & (numbers < known.used[k]) for i in range(2)]
    halves = [known.part(rows).fit_target(k, Fit(), ROUGH).coefficients for rows in parts]
    spread = max(float(each.max() - each.min()) for each in halves)
    if spread <= 1e-9 * float(known.outputs[:, k].abs().max()):  # all the same: there is nothing to rank
        return 1.0
    ranks = torch.stack([each.argsort().argsort().double() for each in halves])  # (2, d)
    correlation = float(torch.corrcoef(ranks)[0, 1])
    return 2 * correlation / (1 + correlation) if correlation > 0 else correlation
