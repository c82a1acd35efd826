"""Feature visualisation: pictures made by gradient ascent to excite a unit, a channel, a layer or a class.

A picture is held as the Fourier coefficients of decorrelated colours, not as pixels: the same steps then move all
frequencies and colours alike, and the result has less noise. What the classifier sees is shifted, scaled and turned a
little in each step, so that only what survives this is drawn.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from xai.compute.attribution import Progress
from xai.compute.parametrisation import Jolts, disturb, fourier_planes, to_colours
from xai.compute.trace import Classifier, score_pixels, trace_pixels
from xai.errors import UserError, one_of

PARAMETRISATIONS = ("fourier", "pixels")
MOST_PICTURES = 16  # at a time: they share one graph
START_SPREAD = 0.01  # standard deviation of the first coefficients, as in the paper's code
LOUDER = (0.03, 0.1, 0.3, *[1.0] * 8)  # spreads that are tried where a start leaves its goal asleep


@dataclass(frozen=True)
class Goal:
    """What a picture should excite.

    Attributes:
        layer: name of a layer with output (N, C, h', w'), or None for the scores.
        channel: index of a channel, or of a class where the layer is None; None: the whole layer, its mean square.
        place: (row, column) in the layer of one unit of the channel; None: the mean over all places.
    """

    layer: str | None
    channel: int | None = None
    place: tuple[int, int] | None = None


@dataclass(frozen=True, eq=False)
class Visualization:
    """Pictures made for a goal; all on the CPU.

    Attributes:
        pictures: float32 (n, 3, h, w) in [0, 1].
        start: float32 (n, 3, h, w), the random pictures it began with.
        objective: float32 (steps, n); the goal's value of the disturbed pictures before each step.
        before, after: float32 (n,); the goal's value of `start` and of `pictures`, undisturbed.
    """

    pictures: Tensor
    start: Tensor
    objective: Tensor
    before: Tensor
    after: Tensor


def visualize_feature(
    classifier: Classifier,
    goal: Goal,
    *,
    size: tuple[int, int],
    count: int = 1,
    steps: int = 256,
    rate: float = 0.05,
    parametrisation: str = "fourier",
    decorrelate: bool = True,
    jolts: Jolts | None = None,
    diversity: float = 0.0,
    total_variation: float = 0.0,
    l2: float = 0.0,
    seed: int = 0,
    on_progress: Progress | None = None,
) -> Visualization:
    """Draw pictures that excite a unit, a channel, a layer or a class.

    Args:
        classifier: maps pixels to scores.
        goal: what to excite. A unit behind a ReLU that is zero for the start has no gradient; such a start is drawn
            again, and louder. What sleeps after eleven of them stays as it is: choose the layer before it.
        size: height and width in pixels.
        count: pictures, 1 to MOST_PICTURES.
        steps: of Adam; each costs a forward and a backward pass.
        rate: of Adam.
        parametrisation: one of PARAMETRISATIONS.
        decorrelate: mix the colours as they occur in photographs.
        jolts: disturbances; `Jolts()` unless given.
        diversity: weight of the mean cosine between the Gram matrices of the layer for different pictures, which is
            taken off; it needs a layer and at least two pictures to have an effect.
        total_variation: weight of the mean difference of neighbouring pixels, taken off.
        l2: weight of the mean squared distance from mid grey, taken off.
        seed: of the start and of the disturbances. Same arguments, same bits on a CPU; on a GPU sums may differ.
        on_progress: called after every step with the pictures so far, (n, 3, h, w).

    Raises:
        UserError: an option is not valid, or no gradient reaches the layer.

    Source: Olah, Mordvintsev and Schubert 2017, doi 10.23915/distill.00007, and their code. Departures: all three
    disturbances are one bilinear resampling, outside is mid grey, and a zero gradient at a ReLU stays zero; louder
    starts do what their code does by letting gradients through.
    """
    _check(count, steps, parametrisation, diversity, goal)
    jolts = jolts or Jolts()
    generator = torch.Generator().manual_seed(seed)
    with torch.inference_mode(False), torch.enable_grad():
        draw = partial(_draw, size=size, parametrisation=parametrisation, decorrelate=decorrelate)

        def sleeps(coefficients: Tensor) -> Tensor:  # (n,)
            return (goal_gradient(classifier, draw(coefficients), goal)[1] == 0).flatten(1).all(1)

        draw_start = partial(_random_start, count, size, parametrisation, classifier.mean.device)
        coefficients = _awake_start(draw_start, sleeps, generator, seed).requires_grad_()
        adam = torch.optim.Adam([coefficients], lr=rate)
        start = draw(coefficients).detach()
        objective = []
        for step in range(1, steps + 1):
            pictures = draw(coefficients)
            seen = disturb(pictures, jolts, generator)
            value, slope = goal_gradient(classifier, seen.detach(), goal, diversity)
            cost = total_variation * _variation(pictures) + l2 * (pictures - 0.5).square().mean((1, 2, 3))
            loss = cost.sum() - (seen * slope).sum()  # the second term has the gradient of the goal, turned round
            (coefficients.grad,) = torch.autograd.grad(loss, coefficients)
            adam.step()
            objective.append(value)
            if on_progress:
                on_progress(step / steps, pictures.detach().cpu())
        pictures = draw(coefficients).detach()
    before, after = (goal_value(classifier, each, goal) for each in (start, pictures))
    return Visualization(pictures.cpu(), start.cpu(), torch.stack(objective), before, after)


def _awake_start(
    draw_start: Callable[[torch.Generator, float], Tensor],
    sleeps: Callable[[Tensor], Tensor],
    generator: torch.Generator,
    seed: int,
) -> Tensor:
    """Draw the first coefficients (n, ...), those of pictures that sleep again and louder."""
    coefficients = draw_start(generator, START_SPREAD)
    wakers = torch.Generator().manual_seed(seed)  # of its own: what is awake is drawn and disturbed as ever
    for spread in LOUDER:
        asleep = sleeps(coefficients)
        if not asleep.any():
            break
        other = draw_start(wakers, spread)
        coefficients = torch.where(asleep.view(-1, *[1] * (other.ndim - 1)), other, coefficients)
    return coefficients


def _random_start(
    count: int,
    size: tuple[int, int],
    parametrisation: str,
    device: torch.device,
    generator: torch.Generator,
    spread: float,
) -> Tensor:
    shape = (size[0], size[1] // 2 + 1, 2) if parametrisation == "fourier" else size
    return (torch.randn(count, 3, *shape, generator=generator) * spread).to(device)


def _draw(coefficients: Tensor, size: tuple[int, int], parametrisation: str, decorrelate: bool) -> Tensor:
    """Turn coefficients into pictures (n, 3, h, w) in [0, 1]."""
    planes = fourier_planes(coefficients, size) if parametrisation == "fourier" else coefficients
    return to_colours(planes, decorrelate)


def _check(count: int, steps: int, parametrisation: str, diversity: float, goal: Goal) -> None:
    if parametrisation not in PARAMETRISATIONS:
        raise one_of("parametrisation", parametrisation, PARAMETRISATIONS)
    if not 1 <= count <= MOST_PICTURES:
        raise UserError(f"The number of pictures must be from 1 to {MOST_PICTURES}, not {count}.")
    if steps < 1:
        raise UserError(f"The number of steps must be at least 1, not {steps}.")
    if goal.layer is None and goal.channel is None:
        raise UserError("A goal needs a layer or a class.")
    if diversity and goal.layer is None:
        raise UserError("Diversity compares pictures at a layer; a class has none. Set diversity to 0.")
    if goal.place is not None and (goal.channel is None or goal.layer is None):
        raise UserError("A place belongs to a channel of a layer; name both.")


def goal_value(classifier: Classifier, pixels: Tensor, goal: Goal) -> Tensor:
    """Return how much each picture excites a goal: float32 (n,) on the CPU.

    Args:
        classifier: maps pixels to scores.
        pixels: float32 (n, 3, h, w) in [0, 1].
        goal: what to excite.

    Raises:
        UserError: the goal does not exist in this network.
    """
    if goal.layer is None:
        return _value(score_pixels(classifier, pixels), goal).cpu()
    trace = trace_pixels(classifier, pixels, [goal.layer])
    _check_layer(goal.layer, trace.layers)
    return _value(trace.activation(goal.layer), goal).cpu()


def goal_gradient(classifier: Classifier, pixels: Tensor, goal: Goal, diversity: float = 0.0) -> tuple[Tensor, Tensor]:
    """Return what `goal_value` returns, and the gradient of its sum, less diversity's share, by the pixels.

    Args:
        classifier: maps pixels to scores.
        pixels: float32 (n, 3, h, w) in [0, 1].
        goal: what to excite.
        diversity: weight, as in `visualize_feature`.

    Returns:
        Float32 (n,) on the CPU, and (n, 3, h, w) on the network's device.

    Raises:
        UserError: the goal does not exist in this network, or no gradient gets from it to the pixels.
    """
    if goal.layer is None:
        trace = trace_pixels(classifier, pixels, [], input_gradient=True)
        with torch.inference_mode(False), torch.enable_grad():
            value = _value(trace.scores, goal)
            (slope,) = torch.autograd.grad(value.sum(), trace.pixels)
        return value.detach().cpu(), slope
    activation, slope = pixel_gradient(
        classifier, pixels, goal.layer, lambda each: _value(each, goal).sum() - diversity * _likeness(each)
    )
    return _value(activation, goal).cpu(), slope


def pixel_gradient(
    classifier: Classifier, pixels: Tensor, layer: str, measure: Callable[[Tensor], Tensor]
) -> tuple[Tensor, Tensor]:
    """Differentiate a measure of what a layer produced by the pixels.

    Args:
        classifier: maps pixels to scores.
        pixels: float32 (n, 3, h, w) in [0, 1].
        layer: name of a module with output (n, C, h', w').
        measure: makes one number of that output.

    Returns:
        The output, detached, and the gradient (n, 3, h, w), both on the network's device.

    Raises:
        UserError: the layer gives no output, or no gradient gets from it to the pixels.
    """
    trace = trace_pixels(classifier, pixels, [layer], input_gradient=True)
    _check_layer(layer, trace.layers)
    slope: Tensor | None = None
    with torch.inference_mode(False), torch.enable_grad():
        output = trace.outputs[layer].detach().requires_grad_()  # later code may have written over the original
        reshape = classifier.reshape
        activation = output if reshape is None or output.ndim == 4 else reshape(output)
        (step,) = torch.autograd.grad(measure(activation), output)
        edge = trace.edges[layer]
        if edge is not None:
            (slope,) = torch.autograd.grad((edge,), trace.pixels, step, allow_unused=True)
    if slope is None:
        raise UserError(f"No gradient gets from layer '{layer}' to the picture. Choose another layer.")
    return activation.detach(), slope


def _check_layer(layer: str, kept: tuple[str, ...]) -> None:
    if layer not in kept:
        raise UserError(f"Layer '{layer}' gave no output in a forward pass. Choose another layer.")


def _value(output: Tensor, goal: Goal) -> Tensor:
    """Measure a goal in a layer's output (n, C, h', w') or in scores (n, K): (n,)."""
    if goal.channel is None:
        return output.float().square().flatten(1).mean(1)
    if not 0 <= goal.channel < output.shape[1]:
        what = f"class {goal.channel}" if goal.layer is None else f"channel {goal.channel} of layer '{goal.layer}'"
        raise UserError(f"Unknown {what}. Choose 0 to {output.shape[1] - 1}.")
    channel = output[:, goal.channel].float()  # (n, h', w') or (n,)
    if goal.place is None:
        return channel.reshape(len(channel), -1).mean(1)
    row, column = goal.place
    if not (0 <= row < channel.shape[1] and 0 <= column < channel.shape[2]):
        rows, columns = channel.shape[1:]
        raise UserError(f"Unknown place {goal.place}. Choose rows 0 to {rows - 1} and columns 0 to {columns - 1}.")
    return channel[:, row, column]


def _likeness(activation: Tensor) -> Tensor:
    """Sum over pictures of the mean cosine between their Gram matrix and those of the others; 0 for one picture."""
    flat = activation.float().flatten(2)  # (n, C, h', w') -> (n, C, P)
    grams = F.normalize((flat @ flat.transpose(1, 2)).flatten(1), dim=1)  # (n, C * C)
    similarity = grams @ grams.T  # (n, n)
    return (similarity.sum() - similarity.diagonal().sum()) / max(1, len(flat) - 1)


def _variation(pictures: Tensor) -> Tensor:
    """Mean absolute difference of neighbouring pixels, down plus across: (n, 3, h, w) -> (n,)."""
    return pictures.diff(dim=2).abs().mean((1, 2, 3)) + pictures.diff(dim=3).abs().mean((1, 2, 3))
