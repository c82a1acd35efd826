"""KernelSHAP: share the output of the network out among superpixels as Shapley values do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import comb

import torch
from torch import Tensor

from xai.compute.attribution import Attribution, Progress
from xai.compute.fills import make_fill
from xai.compute.lime_sampling import checkpoints
from xai.compute.masking import MaskedPicture, each_picture, paint
from xai.compute.segments import Segmenter, segment
from xai.compute.trace import Trace


@dataclass(frozen=True, eq=False)
class ShapDetails:
    """The Shapley values behind the maps, all on the CPU.

    Attributes:
        segments: int64 (h, w), the superpixel of each pixel, from 0 to d - 1.
        values: float64 (K, d).
        standard_errors: float64 (K, d), by how much other samples would change them; 0 if exact, nan if there are
            fewer pairs of samples than superpixels.
        base: float64 (K,), the output with all superpixels hidden.
        outputs: float64 (K,), the output for the picture itself.
        exact: whether all 2^d coalitions were scored.
        samples: how many coalitions were scored, with these two.
    """

    segments: Tensor
    values: Tensor
    standard_errors: Tensor
    base: Tensor
    outputs: Tensor
    exact: bool
    samples: int

    @property
    def score_difference(self) -> Tensor:
        """What the values should add up to: float64 (K,)."""
        return self.outputs - self.base

    @property
    def completeness_gap(self) -> Tensor:
        """Sum of the values less that, rounding only: float64 (K,)."""
        return self.values.sum(1) - self.score_difference


def kernel_shap(
    trace: Trace,
    targets: Sequence[int],
    *,
    layer: str | None = None,
    seed: int = 0,
    on_progress: Progress | None = None,
    segmenter: str = "quickshift",
    n_segments: int = 50,
    kernel_size: float = 4.0,
    max_dist: float = 200.0,
    ratio: float = 0.2,
    scale: float = 100.0,
    min_size: int = 50,
    compactness: float = 10.0,
    sigma: float = 0.0,
    fill: str = "mean",
    color: str = "#808080",
    output: str = "probability",
    samples: int = 1000,
) -> Attribution:
    """Hide coalitions of superpixels; the values are the Shapley values of the game in which the output is the gain.

    They add up to the output for the picture less that with all superpixels hidden.

    Args:
        trace: of one image (K targets, which share the samples) or of N images (one target each, K = N).
        targets: class indices.
        layer: not used.
        seed: of the coalitions and of the fill "noise".
        segmenter, n_segments, kernel_size, max_dist, ratio, scale, min_size, compactness, sigma: see `Segmenter`.
        fill, color: what hides a superpixel, see `make_fill`.
        output: "probability" (softmax) or "score".
        samples: how many coalitions are scored. If that is enough for all 2^d, they are, and the values are exact.

    Returns:
        Maps float32 (K, h, w): the value of the superpixel of each pixel, signed; details `ShapDetails`.

    Source: Lundberg and Lee 2017, arXiv 1705.07874, theorem 2; sampled in pairs of a coalition and its complement, from
    the kernel's own distribution, by Covert and Lee 2021, arXiv 2012.01536, section 4.
    """
    cut = Segmenter(segmenter, n_segments, kernel_size, max_dist, ratio, scale, min_size, compactness, sigma)

    def explain_one(pixels: Tensor, targets: tuple[int, ...], on_progress: Progress | None) -> Attribution:
        segments = segment(pixels, cut)
        shown = make_fill(pixels, fill, segments=segments, color=color, seed=seed)
        masked = MaskedPicture(trace, pixels, shown, targets, output)
        features = int(segments.max()) + 1
        exact = 2**features <= samples
        coalitions = all_coalitions(features) if exact else draw_pairs(max(2, samples), features, seed)
        weights = shapley_kernel(coalitions) if exact else torch.ones(len(coalitions), dtype=torch.float64)
        answers = torch.zeros(len(coalitions), len(targets), dtype=torch.float64)
        done = 0
        for count in [len(coalitions)] if exact else checkpoints(len(coalitions)):
            for batch in masked.answers_to_coalitions(segments, coalitions[done:count]):
                answers[done : done + len(batch)] = batch
                done += len(batch)
                if on_progress:
                    on_progress(done / len(coalitions), None)
            if on_progress:
                values, _ = shapley_values(coalitions[:done], answers[:done], weights[:done])
                on_progress(done / len(coalitions), paint(values, segments))
        values, inverse = shapley_values(coalitions, answers, weights)
        errors = torch.zeros_like(values) if exact else _standard_errors(coalitions, answers, values, inverse)
        base, whole = answers[0], answers[1]
        details = ShapDetails(segments, values, errors, base, whole, exact, len(coalitions))
        return Attribution(paint(values, segments), details)

    return each_picture(trace, targets, explain_one, on_progress)


def all_coalitions(features: int) -> Tensor:
    """List all coalitions, the empty and the full one first: bool (2^d, d)."""
    numbers = torch.tensor([0, 2**features - 1, *range(1, 2**features - 1)])
    return (numbers[:, None] >> torch.arange(features)) % 2 == 1


def draw_pairs(count: int, features: int, seed: int) -> Tensor:
    """Draw coalitions: bool (n, d), n the next even number; the empty and the full one, then pairs of complements.

    Sizes s are drawn with the weight of all coalitions of that size together, 1 / (s (d - s)).
    """
    generator = torch.Generator().manual_seed(seed)
    ends = torch.tensor([[False], [True]]).expand(2, features)
    pairs = (count - 1) // 2
    if features == 1 or pairs == 0:
        return ends
    sizes = torch.arange(1, features, dtype=torch.float64)
    drawn = torch.multinomial(1 / (sizes * (features - sizes)), pairs, replacement=True, generator=generator) + 1
    order = torch.rand(pairs, features, generator=generator).argsort(1).argsort(1)  # (n, d), a random rank for each
    some = order < drawn[:, None]
    return torch.cat([ends, torch.stack([some, ~some], 1).flatten(0, 1)])


def shapley_kernel(coalitions: Tensor) -> Tensor:
    """Return the Shapley kernel of each coalition (n, d), 0 for the empty and the full one: float64 (n,)."""
    features = coalitions.shape[1]
    weights = [0.0, *((features - 1) / (comb(features, s) * s * (features - s)) for s in range(1, features)), 0.0]
    return torch.tensor(weights, dtype=torch.float64)[coalitions.sum(1)]


def shapley_values(coalitions: Tensor, answers: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Solve the weighted least squares under the condition that the values add up.

    Args:
        coalitions: bool (n, d), the empty and the full one first.
        answers: float64 (n, K).
        weights: float64 (n,).

    Returns:
        The values (K, d), and the matrix (d, d) that turns Z^T W (answers - base) into values up to a constant.
    """
    base, whole = answers[0], answers[1]
    inner = coalitions[2:].double()  # (n - 2, d)
    weighted = inner * (weights[2:, None] / weights[2:].sum().clamp_min(1e-300))
    features = coalitions.shape[1]
    system = torch.ones(features + 1, features + 1, dtype=torch.float64)  # the last row and column: the sum
    system[-1, -1] = 0.0
    system[:-1, :-1] = weighted.T @ inner
    inverse = torch.linalg.pinv(system, hermitian=True)
    sides = torch.cat([weighted.T @ (answers[2:] - base), (whole - base)[None]])  # (d + 1, K)
    values = (inverse @ sides)[:-1].T  # (K, d)
    gap = whole - base - values.sum(1)
    return values + gap[:, None] / features, inverse[:-1, :-1]  # what rounding took, given back


def _standard_errors(coalitions: Tensor, answers: Tensor, values: Tensor, inverse: Tensor) -> Tensor:
    """Return the sandwich estimate over pairs, which are independent of each other: (K, d), nan if they are too few."""
    inner = coalitions[2:].double()
    freedom = len(inner) // 2 - (coalitions.shape[1] - 1)
    if freedom <= 0:
        return torch.full_like(values, float("nan"))
    rest = answers[2:] - answers[0] - inner @ values.T  # (n - 2, K)
    pulls = inner[:, None] * rest[:, :, None] / len(inner)  # (n - 2, K, d)
    pairs = (pulls[::2] + pulls[1::2]) @ inverse  # (n/2 - 1, K, d)
    return pairs.square().sum(0).sqrt() * (len(inner) / 2 / freedom) ** 0.5
