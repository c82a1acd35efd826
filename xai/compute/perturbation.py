"""Take away one part of the picture at a time and see how far the output falls: occlusion and feature ablation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from xai.compute.attribution import Attribution, Progress
from xai.compute.fills import make_fill
from xai.compute.masking import BATCH, MaskedPicture, each_picture, paint
from xai.compute.segments import Segmenter, segment
from xai.compute.trace import Trace
from xai.errors import UserError


@dataclass(frozen=True, eq=False)
class OcclusionDetails:
    """What each position of the square did.

    Attributes:
        falls: float64 (K, rows, columns) on the CPU, by how much the output falls.
        tops, lefts: first row and first column, in pixels, that the square covers at each position.
    """

    falls: Tensor
    tops: tuple[int, ...]
    lefts: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class AblationDetails:
    """What each superpixel did.

    Attributes:
        segments: int64 (h, w), the superpixel of each pixel, from 0 to d - 1.
        values: float64 (K, d) on the CPU, by how much the output falls without it.
    """

    segments: Tensor
    values: Tensor


def occlusion(
    trace: Trace,
    targets: Sequence[int],
    *,
    layer: str | None = None,
    seed: int = 0,
    on_progress: Progress | None = None,
    window: int = 32,
    stride: int = 16,
    fill: str = "mean",
    color: str = "#808080",
    output: str = "probability",
) -> Attribution:
    """Slide a square over the picture; a pixel gets the mean fall of the output over all squares that cover it.

    Args:
        trace: of one image (K targets) or of N images (one target each, K = N).
        targets: class indices.
        layer: not used.
        seed: of the fill "noise".
        window: side of the square in pixels; at most that of the picture is used.
        stride: from one position to the next, in pixels. The last square may hang over the edge.
        fill, color: what the square shows, see `make_fill`; "mean" is the mean colour of the whole picture.
        output: "probability" (softmax) or "score".

    Returns:
        Maps float32 (K, h, w), signed; details `OcclusionDetails`.

    Raises:
        UserError: the stride is larger than the window, so that pixels would be left out.

    Source: Zeiler and Fergus 2014, arXiv 1311.2901, section 4.2, who use a grey square; the mean over squares is that
    of captum.
    """
    if stride > window:
        raise UserError(f"Option stride must be at most window ({window}), not {stride}: pixels would be left out.")

    def explain_one(pixels: Tensor, targets: tuple[int, ...], on_progress: Progress | None) -> Attribution:
        masked = MaskedPicture(trace, pixels, make_fill(pixels, fill, color=color, seed=seed), targets, output)
        tops, lefts = (_positions(length, window, stride) for length in pixels.shape[1:])
        places = torch.cartesian_prod(torch.tensor(tops), torch.tensor(lefts))  # (n, 2)
        whole = masked.answers(torch.ones(1, *pixels.shape[1:], dtype=torch.bool))  # (1, K)
        sums = torch.zeros(len(targets), *pixels.shape[1:], dtype=torch.float64)
        counts, falls = torch.zeros(pixels.shape[1:], dtype=torch.float64), []
        for batch in places.split(BATCH):
            hidden = _squares(batch, window, pixels.shape[1], pixels.shape[2])  # (b, h, w)
            falls.append(whole - masked.answers(~hidden))  # (b, K)
            sums += torch.einsum("bk,bhw->khw", falls[-1], hidden.double())
            counts += hidden.sum(0)
            if on_progress:
                on_progress(sum(map(len, falls)) / len(places), (sums / counts.clamp_min(1)).float())
        cells = torch.cat(falls).T.unflatten(1, (len(tops), len(lefts)))  # (n, K) -> (K, rows, columns)
        return Attribution((sums / counts).float(), OcclusionDetails(cells, tops, lefts))

    return each_picture(trace, targets, explain_one, on_progress)


def _positions(length: int, window: int, stride: int) -> tuple[int, ...]:
    """List where a window begins along one side, so that every pixel is covered."""
    return tuple(range(0, max(length - window, 0) + stride, stride))


def _squares(places: Tensor, window: int, height: int, width: int) -> Tensor:
    """Return squares that begin at (top, left) (b, 2): bool (b, h, w), True inside."""
    inside = [
        (torch.arange(length) >= first[:, None]) & (torch.arange(length) < first[:, None] + window)
        for length, first in zip((height, width), places.unbind(1), strict=True)
    ]  # (b, h), (b, w)
    return inside[0][:, :, None] & inside[1][:, None, :]


def feature_ablation(
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
) -> Attribution:
    """Hide one superpixel at a time; it gets the fall of the output.

    Args:
        trace: of one image (K targets) or of N images (one target each, K = N).
        targets: class indices.
        layer: not used.
        seed: of the fill "noise".
        segmenter, n_segments, kernel_size, max_dist, ratio, scale, min_size, compactness, sigma: see `Segmenter`.
        fill, color: what hides a superpixel, see `make_fill`.
        output: "probability" (softmax) or "score".

    Returns:
        Maps float32 (K, h, w): the value of the superpixel of each pixel, signed; details `AblationDetails`.

    Source: the leave-one-out values of captum's FeatureAblation with superpixels as its feature mask.
    """
    cut = Segmenter(segmenter, n_segments, kernel_size, max_dist, ratio, scale, min_size, compactness, sigma)

    def explain_one(pixels: Tensor, targets: tuple[int, ...], on_progress: Progress | None) -> Attribution:
        segments = segment(pixels, cut)
        shown = make_fill(pixels, fill, segments=segments, color=color, seed=seed)
        masked = MaskedPicture(trace, pixels, shown, targets, output)
        count = int(segments.max()) + 1
        whole = masked.answers(torch.ones(1, *segments.shape, dtype=torch.bool))  # (1, K)
        values = torch.zeros(len(targets), count, dtype=torch.float64)
        done = 0
        for answers in masked.answers_to_coalitions(segments, ~torch.eye(count, dtype=torch.bool)):
            values[:, done : done + len(answers)] = (whole - answers).T
            done += len(answers)
            if on_progress:
                on_progress(done / count, paint(values, segments))
        return Attribution(paint(values, segments), AblationDetails(segments, values))

    return each_picture(trace, targets, explain_one, on_progress)
