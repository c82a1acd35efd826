"""What the channels of a layer did for an image: statistics, contributions, rankings, maps over all channels.

One image gives an activation (C, h, w): C channels of h x w positions. Layers after a ReLU hold values >= 0,
layers before it (convolutions, batch norms) both signs. All results are detached and lie on the CPU.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from xai.errors import UserError, one_of

RANKINGS = ("channel", "mean", "max", "variance", "contribution")
REDUCTIONS = ("mean", "max", "l2")

# Share of the largest |value| in the layer: above float32 rounding, below anything that a map would show.
DEAD_SPREAD = 1e-6


@dataclass(frozen=True, eq=False)
class ChannelStatistics:
    """One number per channel of a layer, over all positions of one image.

    Attributes:
        mean, minimum, maximum, variance: float32 (C,) in the layer's own units (variance: units squared,
            divided by the number of positions, not by one less).
        zero_share: float32 (C,) in [0, 1]; share of positions that are exactly zero, which a ReLU produces.
        dead: bool (C,); the channel carries no pattern: its values spread over at most DEAD_SPREAD of the
            layer's largest |value|. After a ReLU that is a channel of zeros (or stuck at one value); before
            it, a constant one (a zero kernel plus its bias). A map of a single position cannot spread: there
            the channel is dead when its value is zero.
    """

    mean: Tensor
    minimum: Tensor
    maximum: Tensor
    variance: Tensor
    zero_share: Tensor
    dead: Tensor

    @property
    def dead_share(self) -> float:
        """Share of the channels that are dead, in [0, 1]."""
        return float(self.dead.float().mean())


@dataclass(frozen=True)
class LayerStatistics:
    """One row per layer, over all images, channels and positions; shares are in [0, 1].

    `dead_share` counts the channels that are dead (see ChannelStatistics) for all the images together.
    """

    layer: str
    channels: int
    height: int
    width: int
    mean: float
    std: float
    minimum: float
    maximum: float
    zero_share: float
    dead_share: float


def channel_statistics(activation: Tensor) -> ChannelStatistics:
    """Say how strongly, how evenly and how rarely each channel answered.

    Args:
        activation: float (C, h, w), any range.

    Returns:
        ChannelStatistics of C channels.
    """
    return _statistics(activation.detach().flatten(1))  # (C, h, w) -> (C, h * w)


def _statistics(values: Tensor) -> ChannelStatistics:
    """Describe each row of (C, P): P values of one channel."""
    values = values.float()
    variance, mean = torch.var_mean(values, dim=1, correction=0)  # (C, P) -> (C,)
    minimum, maximum = torch.aminmax(values, dim=1)  # (C, P) -> (C,)
    largest = torch.maximum(maximum.abs(), minimum.abs())  # (C,)
    spread = maximum - minimum if values.shape[1] > 1 else largest
    return ChannelStatistics(
        mean=mean.cpu(),
        minimum=minimum.cpu(),
        maximum=maximum.cpu(),
        variance=variance.cpu(),
        zero_share=(values == 0).float().mean(dim=1).cpu(),  # (C, P) -> (C,)
        dead=(spread <= DEAD_SPREAD * largest.max()).cpu(),
    )


def channel_contributions(activation: Tensor, gradient: Tensor) -> Tensor:
    """Say how much of the class score each channel accounts for, to first order.

    Args:
        activation: float (C, h, w).
        gradient: float (C, h, w), d score / d activation of the chosen class (`Trace.gradients`).

    Returns:
        Float32 (C,): sum over positions of gradient x activation, in units of the score; positive speaks for
        the class, negative against. Where global average pooling and one linear layer follow, they sum to the
        score minus its bias; elsewhere the sum is only the linear part.
    """
    return (gradient.detach() * activation.detach()).float().sum(dim=(1, 2)).cpu()  # (C, h, w) -> (C,)


def rank_channels(activation: Tensor, by: str = "mean", gradient: Tensor | None = None) -> Tensor:
    """Order the channels of a layer, best first; equal ones keep their order.

    Args:
        activation: float (C, h, w).
        by: one of RANKINGS: "channel" keeps the network's order, "mean", "max" and "variance" put the largest
            first, "contribution" puts the channel that speaks most for the class first and against it last.
        gradient: float (C, h, w) as for `channel_contributions`; needed by "contribution" only.

    Returns:
        Int64 (C,): channel indices.

    Raises:
        UserError: the ranking is unknown, or "contribution" came without a gradient.
    """
    if by not in RANKINGS:
        raise one_of("ranking", by, RANKINGS)
    if by == "channel":
        return torch.arange(activation.shape[0])
    if by == "contribution":
        if gradient is None:
            others = ", ".join(RANKINGS[:-1])
            raise UserError(f"Ranking 'contribution' needs the gradient of a class. Without one choose: {others}.")
        values = channel_contributions(activation, gradient)
    else:
        statistics = channel_statistics(activation)
        values = {"mean": statistics.mean, "max": statistics.maximum, "variance": statistics.variance}[by]
    return torch.argsort(values, descending=True, stable=True)


def activation_map(activation: Tensor, reduce: str = "mean") -> Tensor:
    """Show where a layer as a whole answered: one value per position, over all channels.

    Args:
        activation: float (C, h, w).
        reduce: one of REDUCTIONS: "mean" and "max" over the channels keep the sign; "l2" is the length of the
            position's channel vector, sqrt(sum of squares), >= 0.

    Returns:
        Float32 (h, w), raw, in the layer's own units.

    Raises:
        UserError: the reduction is unknown.
    """
    if reduce not in REDUCTIONS:
        raise one_of("reduction", reduce, REDUCTIONS)
    values = activation.detach().float()
    if reduce == "mean":
        return values.mean(dim=0).cpu()  # (C, h, w) -> (h, w)
    if reduce == "max":
        return values.amax(dim=0).cpu()  # (C, h, w) -> (h, w)
    return torch.linalg.vector_norm(values, dim=0).cpu()  # (C, h, w) -> (h, w)


def layer_statistics(activations: Mapping[str, Tensor]) -> list[LayerStatistics]:
    """Describe each layer in one row, in the order given.

    Args:
        activations: layer name to float (N, C, h, w), such as `Trace.activations`.

    Returns:
        One LayerStatistics per layer.
    """
    return [_layer_row(name, activation.detach()) for name, activation in activations.items()]


def _layer_row(name: str, activation: Tensor) -> LayerStatistics:
    _, channels, height, width = activation.shape
    values = activation.transpose(0, 1).flatten(1)  # (N, C, h, w) -> (C, N * h * w)
    rows = _statistics(values)
    # Channels are of equal size: the total variance is the mean variance within plus that between channels.
    variance = rows.variance.double().mean() + rows.mean.double().var(correction=0)
    return LayerStatistics(
        layer=name,
        channels=channels,
        height=height,
        width=width,
        mean=float(rows.mean.double().mean()),
        std=float(variance.sqrt()),
        minimum=float(rows.minimum.min()),
        maximum=float(rows.maximum.max()),
        zero_share=float(rows.zero_share.double().mean()),
        dead_share=rows.dead_share,
    )
