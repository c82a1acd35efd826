"""Relatives of Grad-CAM that need one backward pass or none: other ways to weigh the channels of a layer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from xai.compute.attribution import Attribution, Progress
from xai.compute.cam import (
    Combine,
    Copy,
    average_copies,
    cells_to_attribution,
    principal_component,
    turn,
    weighted_sum,
)
from xai.compute.trace import Trace, trace_pixels

TURNS = [(quarters, mirrored) for quarters in range(4) for mirrored in (False, True)]  # as it is first


def grad_cam_plus_plus(
    trace: Trace,
    targets: Sequence[int],
    *,
    layer: str,
    on_progress: Progress | None = None,
    relu: bool = True,
    turned: bool = False,
) -> Attribution:
    """Weight the channels of one layer by their positive gradients, each place counting by its own share alpha.

    With score S, gradient g = dS/dA at a place and T the sum of a channel's activations, alpha is g^2 / (2 g^2 + T g^3)
    where g is not 0, and the weight of the channel is the sum of alpha relu(g). The closed form takes exp(S) as the
    class output and S as piecewise linear in A, so that its derivatives are exp(S) g, exp(S) g^2 and exp(S) g^3; with
    curved activations behind the layer (GELU, SiLU) it is an approximation.

    Departures: the common factor exp(S) > 0 of the weights is left out, which the paper has; the authors' code also
    divides the alphas of a channel by their sum, which the paper has not. pytorch-grad-cam adds 1e-6 to the
    denominator, which for small gradients (behind average pooling) is more than all the rest of it; here nothing is
    added, and a denominator of 0 counts as 1. Activations are meant to be >= 0: at a layer with negative ones the
    denominator can come close to 0 and a single place take over.

    Args:
        trace: of one image (K targets) or of N images (one target each, K = N).
        targets: class indices.
        layer: name of a kept layer with output (N, C, h', w').
        on_progress: called when all is done.
        relu: drop negative values, as the paper does; without activations below 0 there are none.
        turned: mean of the maps of eight copies, turned by quarters and mirrored, each turned back: for networks that
            were trained on pictures turned any way, whose maps then turn with the picture exactly.

    Returns:
        Maps float32 (K, h, w) at the size of the working pixels, raw, bilinear from the cells in the details.

    Source: Chattopadhay et al. 2018, arXiv 1710.11063, eq. 19 for alpha.
    """
    return _from_gradients(trace, targets, layer, _plus_plus, on_progress, relu, turned)


def x_grad_cam(
    trace: Trace,
    targets: Sequence[int],
    *,
    layer: str,
    on_progress: Progress | None = None,
    relu: bool = True,
    turned: bool = False,
) -> Attribution:
    """Weight the channels of one layer by their gradient, averaged in proportion to the activation at each place.

    The weight of a channel is the sum of g A over places, divided by the sum of A. So the map before `relu` adds up to
    the sum of g A over the layer, which is the score itself where biases behind the layer play no part.

    Departures: the authors' code and pytorch-grad-cam add a small number to the sum of A; here nothing is added, and a
    channel whose activations add up to 0 gets the weight 0. Where activations of both signs almost cancel, the weight
    is large. Arguments and result are those of `grad_cam_plus_plus`.

    Source: Fu et al. 2020, arXiv 2008.02312; `relu` as in the authors' code.
    """
    return _from_gradients(trace, targets, layer, _x_grad, on_progress, relu, turned)


def layer_cam(
    trace: Trace,
    targets: Sequence[int],
    *,
    layer: str,
    on_progress: Progress | None = None,
    relu: bool = True,
    turned: bool = False,
) -> Attribution:
    """Multiply each activation of one layer by its own gradient where that is positive, and sum over channels.

    Sharp at early layers, where an average over places would mix too much. Places that speak against the class are
    never shown: only negative activations can make the map negative, and `relu` drops that.

    Departure: the paper brings out maps of early layers by tanh(2 M / max M) before it fuses them; here they stay raw.
    Arguments and result are those of `grad_cam_plus_plus`.

    Source: Jiang et al. 2021, IEEE Transactions on Image Processing 30, doi 10.1109/TIP.2021.3089943.
    """
    return _from_gradients(trace, targets, layer, _layer, on_progress, relu, turned)


def eigen_cam(
    trace: Trace, targets: Sequence[int], *, layer: str, on_progress: Progress | None = None, relu: bool = True
) -> Attribution:
    """Show where the activations of one layer vary most: their first principal component over channels.

    The class plays no part: all targets of an image get the same map. A component has no sign of its own; here the
    largest magnitude is positive. So the map tells apart places, not evidence for from evidence against.

    Departures: activations are centred over places, as in pytorch-grad-cam; the paper does not centre them, so that
    its map of activations >= 0 has one sign only, which `relu` restores. pytorch-grad-cam keeps whatever sign the
    decomposition gives. Arguments and result are those of `grad_cam_plus_plus`.

    Source: Muhammad and Yeasin 2020, arXiv 2008.00299.
    """
    activation = trace.activation(layer)  # (1 or N, C, h', w')
    cells = principal_component(activation.new_ones(()), activation)  # (1 or N, h', w')
    cells = cells.repeat(len(targets) // len(cells), 1, 1)
    attribution = cells_to_attribution(trace, cells.relu() if relu else cells)
    if on_progress:
        on_progress(1.0, None)
    return attribution


def _from_gradients(
    trace: Trace,
    targets: Sequence[int],
    layer: str,
    combine: Combine,
    on_progress: Progress | None,
    relu: bool,
    turned: bool,
) -> Attribution:
    copies = _turned(trace, layer) if turned else [(trace, 0, False)]
    cells = average_copies(copies, len(TURNS) if turned else 1, targets, layer, combine, on_progress, relu)
    return cells_to_attribution(trace, cells)


def _turned(trace: Trace, layer: str) -> Iterator[Copy]:
    yield trace, *TURNS[0]
    for quarters, mirrored in TURNS[1:]:
        pixels = turn(trace.pixels.detach(), quarters, mirrored).contiguous()
        yield trace_pixels(trace.classifier, pixels, [layer]), quarters, mirrored


def _plus_plus(gradient: Tensor, activation: Tensor) -> Tensor:
    denominator = 2 + activation.sum((2, 3), keepdim=True) * gradient  # of alpha, both sides divided by g^2
    denominator = torch.where(denominator == 0, 1.0, denominator)
    weights = (gradient.relu() / denominator).sum((2, 3), keepdim=True)  # (k, C, h', w') -> (k, C, 1, 1)
    return weighted_sum(weights, activation)


def _x_grad(gradient: Tensor, activation: Tensor) -> Tensor:
    total = activation.sum((2, 3), keepdim=True)  # (1 or k, C, 1, 1)
    share = torch.where(total == 0, 0.0, activation / total)
    return weighted_sum((gradient * share).sum((2, 3), keepdim=True), activation)


def _layer(gradient: Tensor, activation: Tensor) -> Tensor:
    return (gradient.relu() * activation).sum(1)
