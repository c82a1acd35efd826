"""Class activation maps without gradients: each channel of a layer is tried, and weighs what it does to the score."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import torch
from torch import Tensor

from xai.compute.attribution import Attribution, Progress
from xai.compute.cam import cells_to_attribution, enlarge, weighted_sum
from xai.compute.replace import Replay
from xai.compute.scoring import quick_scores
from xai.compute.trace import Trace

PICTURE_BYTES = 5 * 2**20  # masked pictures in one pass, eight of 224 px: as fast as many, and soon stopped
OUTPUT_BYTES = 2**23  # variants of a layer's output in one pass
ACCELERATOR = 32  # times as much on other devices


def score_cam(
    trace: Trace, targets: Sequence[int], *, layer: str, on_progress: Progress | None = None, relu: bool = True
) -> Attribution:
    """Weight the channels of one layer by the score of the picture seen only where the channel is active.

    Each channel, enlarged and scaled to [0, 1], masks the picture; the weights are the softmax, over the channels, of
    the target's score (before any softmax over classes) of the masked pictures. C channels take C forward passes of
    one picture each, for any number of targets.

    What is masked turns into the mean colour of the training pictures, that is 0 after normalisation, as in the
    authors' code. The paper takes the score of a baseline picture off each score: the softmax does not change by that,
    so it is not computed. A channel that is the same everywhere hides the whole picture; it still takes part in the
    softmax (the authors' code leaves it out). The authors' code weighs by the class probability, not by the
    softmax over channels; this follows the paper. pytorch-grad-cam enlarges with corners aligned, this without.

    Args:
        trace: of one image (K targets) or of N images (one target each, K = N).
        targets: class indices.
        layer: name of a kept layer with output (N, C, h', w').
        on_progress: called after every pass.
        relu: drop negative values, as the paper does; without activations below 0 there are none.

    Returns:
        Maps float32 (K, h, w) at the size of the working pixels, raw, bilinear from the cells in the details.

    Source: Wang et al. 2020, arXiv 1910.01279, algorithm 1.
    """
    scores = _try_channels(trace, targets, layer, partial(_masked_scores, trace), on_progress)
    return _weigh(trace, layer, scores.softmax(1), relu)


def ablation_cam(
    trace: Trace, targets: Sequence[int], *, layer: str, on_progress: Progress | None = None, relu: bool = True
) -> Attribution:
    """Weight the channels of one layer by the share of the target score that is lost without them.

    A channel is left out by setting it to 0 everywhere (in a token layer: in all tokens). With the score y as it is and
    y_k without channel k, the weight is (y - y_k) / |y|. The part of the network behind the layer runs C times, for any
    number of targets; what leads to the layer is shared by many of these where the network allows it, see `Replay`.

    Departures: the paper and pytorch-grad-cam divide by y, which for a negative score turns evidence for the class into
    evidence against it; a score of 0 counts as 1 there. pytorch-grad-cam replaces a channel by a value far below all
    others where the layer has no minimum of exactly 0; here it is 0 always, as in the paper. Arguments and result are
    those of `score_cam`; without `relu`, places whose channels lower the score are negative.

    Source: Desai and Ramaswamy 2020, WACV, doi 10.1109/WACV45572.2020.9093360.
    """
    replay = Replay(trace.classifier, layer, trace.pixels[:1].detach())
    drops = _try_channels(trace, targets, layer, partial(_relative_drops, replay), on_progress)
    return _weigh(trace, layer, drops, relu)


Trial = Callable[[Tensor, Tensor], Iterator[Tensor]]
"""From one picture (1, 3, h, w) and its activation (1, C, h', w'), a number per channel and class, in chunks (c, K)."""


def _try_channels(
    trace: Trace, targets: Sequence[int], layer: str, trial: Trial, on_progress: Progress | None
) -> Tensor:
    """Return what the trial says for each channel and target: (K, C)."""
    pixels, activation = trace.pixels.detach(), trace.activation(layer)
    images, channels = activation.shape[:2]
    rows = []
    for i in range(images):
        wanted = list(targets) if images == 1 else [targets[i]]
        found: list[Tensor] = []
        for chunk in trial(pixels[i : i + 1], activation[i : i + 1]):
            found.extend(chunk[:, wanted])  # one (K or 1,) per channel
            if on_progress:
                on_progress((i + len(found) / channels) / images, None)
        rows.append(torch.stack(found, 1))  # (K or 1, C)
    return torch.cat(rows)


def _weigh(trace: Trace, layer: str, weights: Tensor, relu: bool) -> Attribution:
    cells = weighted_sum(weights[:, :, None, None], trace.activation(layer))  # (K, C) -> (K, h', w')
    return cells_to_attribution(trace, cells.relu() if relu else cells)


def _masked_scores(trace: Trace, pixels: Tensor, activation: Tensor) -> Iterator[Tensor]:
    mean = trace.classifier.mean  # (1, 3 or 1, 1, 1)
    for channels in activation[0].split(_rows(pixels, PICTURE_BYTES)):  # (c, h', w')
        masks = enlarge(channels, (pixels.shape[2], pixels.shape[3]))[:, None]  # (c, 1, h, w)
        low, high = masks.amin((2, 3), keepdim=True), masks.amax((2, 3), keepdim=True)
        varies = channels.amax((1, 2)) > channels.amin((1, 2))  # (c,); enlarged, a constant shows rounding
        masks = torch.where(varies[:, None, None, None] & (high > low), (masks - low) / (high - low), 0.0)
        yield quick_scores(trace.classifier, mean + masks * (pixels - mean))


def _relative_drops(replay: Replay, pixels: Tensor, activation: Tensor) -> Iterator[Tensor]:
    channels = torch.arange(activation.shape[1], device=activation.device)
    rows = _rows(pixels, PICTURE_BYTES)
    if replay.narrow:
        rows = max(rows, _rows(activation, OUTPUT_BYTES))
    for chunk in channels.split(rows):
        scores = replay.score(pixels, partial(_leave_out, chunk), 1 + len(chunk))
        whole, without = scores[:1], scores[1:]  # of one pass, so that a dead channel loses exactly 0
        yield (whole - without) / torch.where(whole == 0, 1.0, whole.abs())


def _leave_out(channels: Tensor, output: Tensor) -> Tensor:
    """Stack the output of a layer (1, ...) as it is and without each of c channels: (1 + c, ...)."""
    stacked = torch.cat([output] * (1 + len(channels)))
    by_channel = stacked.movedim(1 if output.ndim == 4 else -1, 1)
    by_channel[torch.arange(1, len(stacked), device=channels.device), channels] = 0
    return stacked


def _rows(row: Tensor, limit: int) -> int:
    """Say how many rows like this one go through the network at once."""
    limit *= 1 if row.device.type == "cpu" else ACCELERATOR
    return max(1, limit // (row.numel() * row.element_size()))
