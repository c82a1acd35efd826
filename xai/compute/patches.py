"""The parts of pictures that excite a channel most, as large as what its units see."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from xai.compute.attribution import Progress
from xai.compute.feature_visualization import pixel_gradient
from xai.compute.trace import Classifier, trace_pixels
from xai.errors import UserError

PROBES = 8  # pictures of noise: a unit that a ReLU or a pooling hides in one shows in another


@dataclass(frozen=True)
class ReceptiveField:
    """Which pixels the units of a layer see, for pictures of one size; (rows, columns), in pixels.

    Attributes:
        size: of the picture.
        stride: from one unit to the next.
        first: from a unit's row times the stride to the first pixel it sees; -inf if that is always the border.
        last: from there to the end of the last pixel it sees; inf if that is always the border.
    """

    size: tuple[int, int]
    stride: tuple[float, float]
    first: tuple[float, float]
    last: tuple[float, float]

    def box(self, row: int, column: int) -> tuple[int, int, int, int]:
        """Return what a unit sees: top, left, bottom, right, within the picture."""
        starts = [place * stride for place, stride in zip((row, column), self.stride, strict=True)]
        top, left = (math.floor(max(0, at + first)) for at, first in zip(starts, self.first, strict=True))
        ends = zip(starts, self.last, self.size, strict=True)
        bottom, right = (math.ceil(min(side, at + last)) for at, last, side in ends)
        return top, left, bottom, right


@dataclass(frozen=True)
class Patch:
    """Where one picture excites a channel most.

    Attributes:
        image: index of the picture, counted over all batches.
        value: of the channel there, in the layer's own units.
        place: row and column in the layer.
        box: top, left, bottom, right of what the unit sees, in working pixels; cut off at the picture's border.
    """

    image: int
    value: float
    place: tuple[int, int]
    box: tuple[int, int, int, int]


def receptive_field(classifier: Classifier, layer: str, size: tuple[int, int]) -> ReceptiveField:
    """Measure which pixels move the middle unit of a layer, by its gradients on pictures of noise.

    Pixels count whose gradient is above float32 rounding (of the largest). So the field is exact for shallow layers; of
    deep ones it leaves out the outermost pixels, whose paths to the unit are few.

    Args:
        classifier: maps pixels to scores.
        layer: name of a module with output (N, C, h', w').
        size: height and width of the pictures.

    Raises:
        UserError: the layer gives no output, or no gradient gets from it to the pixels.
    """
    generator = torch.Generator().manual_seed(0)
    pixels = torch.rand(PROBES, 3, *size, generator=generator)
    middle: list[int] = []

    def measure(activation: Tensor) -> Tensor:
        _, channels, height, width = activation.shape
        middle[:] = height // 2, width // 2
        weights = torch.randn(channels, generator=generator).to(activation)  # a plain sum may be constant
        return (activation[:, :, middle[0], middle[1]] @ weights).sum()

    activation, slope = pixel_gradient(classifier, pixels, layer, measure)
    strength = slope.abs().amax((0, 1))  # (n, 3, h, w) -> (h, w)
    seen = (strength > torch.finfo(torch.float32).eps * strength.max()).cpu()
    stride, first, last = [], [], []
    for axis, side in enumerate(size):
        stride.append(side / activation.shape[2 + axis])
        indices = seen.any(1 - axis).nonzero()[:, 0].tolist() or [0, side - 1]
        at = middle[axis] * stride[axis]
        first.append(indices[0] - at if indices[0] > 0 else -math.inf)
        last.append(indices[-1] + 1 - at if indices[-1] + 1 < side else math.inf)
    return ReceptiveField(size, (stride[0], stride[1]), (first[0], first[1]), (last[0], last[1]))


def top_patches(
    classifier: Classifier,
    batches: Iterable[Tensor],
    *,
    layer: str,
    channel: int,
    count: int = 9,
    total: int = 0,
    on_progress: Progress | None = None,
) -> list[Patch]:
    """Find the pictures that excite a channel most, and where; at most one patch of each picture.

    Args:
        classifier: maps pixels to scores.
        batches: pixels float32 (n, 3, h, w) in [0, 1], one batch in memory at a time; sizes may differ.
        layer: name of a module with output (N, C, h', w').
        channel: index in it.
        count: at most so many patches.
        total: number of pictures, for the progress; without it nothing is told.
        on_progress: called after every batch.

    Returns:
        Patches, largest value first; equal ones in the order of the pictures.

    Raises:
        UserError: the layer or channel does not exist.

    Source: Zeiler and Fergus 2014, arXiv 1311.2901, section 4, who take the strongest pictures in this way.
    """
    best: list[tuple[float, int, tuple[int, int], tuple[int, int]]] = []  # value, image, place, size
    seen = 0
    for pixels in batches:
        size = (pixels.shape[2], pixels.shape[3])
        for value, place in _peaks(classifier, pixels, layer, channel):
            best.append((value, seen, place, size))
            seen += 1
        best = sorted(best, key=lambda each: (-each[0], each[1]))[:count]
        if on_progress and total:
            on_progress(min(1.0, seen / total), None)
    fields = {size: receptive_field(classifier, layer, size) for size in {each[3] for each in best}}
    return [Patch(image, value, place, fields[size].box(*place)) for value, image, place, size in best]


def _peaks(classifier: Classifier, pixels: Tensor, layer: str, channel: int) -> list[tuple[float, tuple[int, int]]]:
    """Return the largest value of a channel in each picture, and its row and column."""
    trace = trace_pixels(classifier, pixels, [layer])
    if layer not in trace.layers:
        raise UserError(f"Layer '{layer}' gave no output in a forward pass. Choose another layer.")
    activation = trace.activation(layer)  # (n, C, h', w')
    if not 0 <= channel < activation.shape[1]:
        raise UserError(f"Unknown channel {channel} of layer '{layer}'. Choose 0 to {activation.shape[1] - 1}.")
    values, places = activation[:, channel].flatten(1).max(1)  # (n, C, h', w') -> (n,)
    width = activation.shape[3]
    found = zip(values.tolist(), places.tolist(), strict=True)
    return [(value, (place // width, place % width)) for value, place in found]
