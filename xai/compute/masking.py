"""Score a picture with parts of it taken away: what all perturbation methods have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from xai.compute.attribution import Attribution, Progress, part_of
from xai.compute.scoring import quick_scores
from xai.compute.trace import Trace
from xai.errors import one_of

BATCH = 16  # pictures scored at once: more is slower on a CPU
OUTPUTS = ("probability", "score")


@dataclass(frozen=True, eq=False)
class PerPicture:
    """The details of a method for N pictures.

    Attributes:
        each: the details of every picture, in order.
    """

    each: tuple[object, ...]

    def of_picture(self, index: int) -> object:
        """Return the details of one picture."""
        return self.each[index]


@dataclass(frozen=True, eq=False)
class MaskedPicture:
    """A picture that can be asked about again with parts of it taken away.

    Attributes:
        trace: whose classifier gives the answers.
        pixels: (3, h, w) in [0, 1].
        fill: (3, h, w) in [0, 1], what shows where pixels are taken away.
        targets: the K classes asked about.
        output: "probability" (softmax over all classes) or "score".
    """

    trace: Trace
    pixels: Tensor
    fill: Tensor
    targets: tuple[int, ...]
    output: str

    def answers(self, keep: Tensor) -> Tensor:
        """Return the outputs for n masks (n, h, w), as `compose` takes them: float64 (n, K) on the CPU."""
        return read_output(self.scores(keep), self.targets, self.output)

    def scores(self, keep: Tensor) -> Tensor:
        """Return the scores of all classes for n masks (n, h, w), as `compose` takes them: (n, classes)."""
        return quick_scores(self.trace.classifier, compose(self.pixels, self.fill, keep.to(self.pixels.device)))

    def answers_to_coalitions(self, segments: Tensor, coalitions: Tensor) -> Iterator[Tensor]:
        """Yield the outputs, batch by batch (b, K), for pictures that keep some superpixels.

        Args:
            segments: labels (h, w) from 0 to d - 1.
            coalitions: bool (n, d), True for a superpixel that is kept.
        """
        return (self.answers(keep) for keep in _each_batch(segments, coalitions))

    def scores_of_coalitions(self, segments: Tensor, coalitions: Tensor) -> Iterator[Tensor]:
        """Yield the scores, batch by batch (b, classes), for pictures that keep some superpixels, as above."""
        return (self.scores(keep) for keep in _each_batch(segments, coalitions))


def _each_batch(segments: Tensor, coalitions: Tensor) -> Iterator[Tensor]:
    """Yield masks (b, h, w)."""
    return (rows[:, segments] for rows in coalitions.split(BATCH))  # (b, d) -> (b, h, w)


def compose(pixels: Tensor, fill: Tensor, keep: Tensor) -> Tensor:
    """Mix a picture and its fill by n masks.

    Args:
        pixels, fill: (3, h, w).
        keep: (n, h, w): bool, or float in [0, 1]; the share of the picture at each pixel.

    Returns:
        (n, 3, h, w), for bool masks equal to the picture or to the fill to the last bit.
    """
    if keep.dtype == torch.bool:
        return torch.where(keep[:, None], pixels, fill)  # (n, 1, h, w) and (3, h, w) -> (n, 3, h, w)
    return fill + keep[:, None] * (pixels - fill)


def read_output(scores: Tensor, targets: Sequence[int], output: str) -> Tensor:
    """Pick what is explained out of scores (n, classes): float64 (n, K) on the CPU.

    Raises:
        UserError: `output` is not one of OUTPUTS.
    """
    if output not in OUTPUTS:
        raise one_of("output", output, OUTPUTS)
    values = scores.detach().double()
    values = values.softmax(1) if output == "probability" else values
    return values[:, list(targets)].cpu()


def paint(values: Tensor, segments: Tensor) -> Tensor:
    """Give every pixel the value of its superpixel: (K, d) and labels (h, w) -> float32 (K, h, w)."""
    return values.float()[:, segments]


ExplainOne = Callable[[Tensor, tuple[int, ...], Progress | None], Attribution]
"""Explains one picture (3, h, w) for K targets."""


def each_picture(
    trace: Trace, targets: Sequence[int], explain_one: ExplainOne, on_progress: Progress | None
) -> Attribution:
    """Explain one picture for K targets, or N pictures for one target each; details are then `PerPicture`."""
    pictures = trace.pixels.detach()
    if len(pictures) == 1:
        return explain_one(pictures[0], tuple(targets), on_progress)
    made = [
        explain_one(pixels, (target,), part_of(on_progress, done, len(pictures)))
        for done, (pixels, target) in enumerate(zip(pictures, targets, strict=True))
    ]
    details = PerPicture(tuple(each.details for each in made)) if made[0].details is not None else None
    return Attribution(torch.cat([each.maps for each in made]), details)
