"""Gradients of target scores by pixels, at many points around each picture, a few pictures at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from xai.compute.attribution import Attribution, Progress
from xai.compute.scoring import quick_scores, quick_twin
from xai.compute.trace import Trace
from xai.errors import UserError

CHUNK_PIXELS = 4 * 224 * 224  # so many pixels at once: with the graph, well under 2 GB on the larger networks
CHUNK_PICTURES = 64

Points = Callable[[Tensor, Tensor], Tensor]
"""Makes pixels (m, 3, h, w) from the index of the picture and of the step of each of m rows (int64 (m,) each)."""
Score = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Scores (m, classes) of pixels (m, 3, h, w), given picture and step of each row as well."""
Take = Callable[[Tensor, Tensor, Tensor, Tensor], None]
"""Gets gradients (m, 3, h, w), and for each row which of the K attributions it is part of, its picture, its step."""


@dataclass(frozen=True, eq=False)
class PixelDetails:
    """The map before channels are put together, and how well its values add up.

    Attributes:
        channels: float32 (K, 3, h, w) on the CPU: value of each channel of each pixel, signed.
        score_difference: float32 (K,): what the values should add up to, or None where the method promises nothing.
        completeness_gap: float32 (K,): sum of all values less that difference, or None.
    """

    channels: Tensor
    score_difference: Tensor | None = None
    completeness_gap: Tensor | None = None

    def of_picture(self, index: int) -> PixelDetails:
        """Return the details of one picture of several."""
        row = slice(index, index + 1)
        if self.score_difference is None or self.completeness_gap is None:
            return PixelDetails(self.channels[row])
        return PixelDetails(self.channels[row], self.score_difference[row], self.completeness_gap[row])


def attribution_of(channels: Tensor, reduction: str, difference: Tensor | None = None) -> Attribution:
    """Put the channels of values (K, 3, h, w) together: "sum", "abs_max" (largest magnitude) or "norm" (Euclidean)."""
    if reduction == "sum":
        maps = channels.sum(1)  # (K, 3, h, w) -> (K, h, w)
    elif reduction == "abs_max":
        maps = channels.abs().amax(1)
    elif reduction == "norm":
        maps = channels.norm(dim=1)
    else:
        raise ValueError(f"channels {reduction!r} is none of 'sum', 'abs_max', 'norm'")
    gap = None if difference is None else (channels.double().sum((1, 2, 3)) - difference).float()
    details = PixelDetails(channels.float(), None if difference is None else difference.float(), gap)
    return Attribution(maps.float(), details)


def sum_gradients(
    trace: Trace,
    targets: Sequence[int],
    points: Points,
    *,
    steps: int = 1,
    weigh: Callable[[Tensor, Tensor, Tensor], Tensor] | None = None,
    score: Score | None = None,
    cost: int = 1,
    on_progress: Progress | None = None,
) -> Tensor:
    """Sum over steps the gradient of each target score: float64 (K, 3, h, w) on the CPU.

    Args:
        trace: of one image (K targets) or of N images (one target each, K = N).
        targets: class indices.
        points: where to differentiate.
        steps: how many points each picture has.
        weigh: turns gradients (m, 3, h, w), with picture and step of each row, into what is summed.
        score: the scores to differentiate; the classifier's by default.
        cost: memory that `score` takes for a row, in that of a plain pass.
        on_progress: told after every backward pass.
    """
    with torch.inference_mode(False):
        total = torch.zeros(len(targets), *trace.pixels.shape[1:], dtype=torch.float64)

    def take(owners: Tensor, pictures: Tensor, taken: Tensor, gradient: Tensor) -> None:
        values = gradient if weigh is None else weigh(gradient, pictures, taken)
        total.index_add_(0, owners, values.cpu().double())

    walk(trace, targets, points, take, steps=steps, score=score, cost=cost, on_progress=on_progress)
    return total


def own_gradients(trace: Trace, targets: Sequence[int], on_progress: Progress | None = None) -> Tensor:
    """Differentiate each target score at the traced pictures themselves: float64 (K, 3, h, w) on the CPU.

    A trace whose graph starts at the pixels is asked, which saves the forward pass.
    """
    if not (trace.pixels.requires_grad and trace.scores.requires_grad):
        return sum_gradients(trace, targets, lambda pictures, _taken: trace.pixels[pictures], on_progress=on_progress)
    with torch.inference_mode(False):
        rows = trace.one_hot(targets)  # (K, classes)
    found = []
    for part in rows.split(1 if len(trace.pixels) == 1 else len(rows)):
        with torch.inference_mode(False), torch.enable_grad():
            found.append(_differentiate((trace.scores * part).sum(), trace.pixels, keep=True).cpu().double())
        if on_progress:
            on_progress(sum(map(len, found)) / len(rows), None)
    return torch.cat(found)


def walk(
    trace: Trace,
    targets: Sequence[int],
    points: Points,
    take: Take,
    *,
    steps: int,
    score: Score | None = None,
    cost: int = 1,
    on_progress: Progress | None = None,
) -> None:
    """Differentiate the target scores at every point of every picture, in chunks, and hand over each gradient.

    Each chunk costs one forward pass, and one backward pass for each target of a single picture. Arguments are those
    of `sum_gradients`.
    """
    classes = torch.tensor([int(each) for each in targets])
    single = len(trace.pixels) == 1
    rounds = len(classes) if single else 1
    jobs = torch.arange(len(trace.pixels) * steps).split(chunk_size(trace.pixels, cost))
    for chunk, rows in enumerate(jobs):
        pictures, taken = rows // steps, rows % steps  # (m,)
        with torch.inference_mode(False), torch.enable_grad():
            here = points(pictures, taken).detach().clone().requires_grad_()
            scores = quick_twin(trace.classifier, here)(here) if score is None else score(here, pictures, taken)
            for k in range(rounds):
                owners = torch.full_like(pictures, k) if single else pictures
                chosen = scores[torch.arange(len(rows)), classes[owners]].sum()
                take(owners, pictures, taken, _differentiate(chosen, here, keep=k + 1 < rounds))
                if on_progress:
                    on_progress((chunk * rounds + k + 1) / (len(jobs) * rounds), None)


def chunk_size(pixels: Tensor, cost: int = 1) -> int:
    """Return how many pictures of this size are taken at once."""
    return max(1, min(CHUNK_PICTURES, CHUNK_PIXELS // (cost * pixels.shape[2] * pixels.shape[3])))


def _differentiate(score: Tensor, pixels: Tensor, *, keep: bool) -> Tensor:
    gradient = None
    if score.requires_grad:
        (gradient,) = torch.autograd.grad(score, pixels, retain_graph=keep, allow_unused=True)
    if gradient is None:
        raise UserError(
            "No gradient reaches the pixels: the network computes its scores without gradients (torch.no_grad or "
            "detach in its forward). Choose a method that needs none."
        )
    return gradient.detach()


def target_scores(trace: Trace, targets: Sequence[int]) -> Tensor:
    """Return the target scores of the traced pictures: float64 (K,) on the CPU."""
    return pick_targets(trace.scores.detach().cpu().double(), targets)


def mean_scores(trace: Trace, targets: Sequence[int], points: Points, *, steps: int = 1) -> Tensor:
    """Return the mean over steps of the target scores at points: float64 (K,) on the CPU."""
    total = torch.zeros(trace.scores.shape, dtype=torch.float64)  # (N, classes)
    for rows in torch.arange(len(trace.pixels) * steps).split(chunk_size(trace.pixels)):
        pictures, taken = rows // steps, rows % steps
        scores = quick_scores(trace.classifier, points(pictures, taken))
        total.index_add_(0, pictures, scores.cpu().double())
    return pick_targets(total / steps, targets)


def pick_targets(scores: Tensor, targets: Sequence[int]) -> Tensor:
    """Pick from scores (1, classes) each target, or from (N, classes) one for each row: (K,)."""
    classes = torch.tensor([int(each) for each in targets])
    rows = torch.arange(len(classes)) if len(scores) > 1 else torch.zeros_like(classes)
    return scores[rows, classes]
