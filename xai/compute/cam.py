"""Class activation maps: which places of a layer raise the score of a class."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from xai.compute.attribution import Attribution, Progress
from xai.compute.trace import Trace, trace_pixels

SMOOTHING_FACTORS = (0.9, 1.0, 1.1)


@dataclass(frozen=True, eq=False)
class CamDetails:
    """The map before it is enlarged.

    Attributes:
        cells: float32 (K, h', w') on the CPU, at the resolution of the layer.
    """

    cells: Tensor

    def of_picture(self, index: int) -> CamDetails:
        """Return the details of one picture of several."""
        return CamDetails(self.cells[index : index + 1])


def grad_cam(
    trace: Trace,
    targets: Sequence[int],
    *,
    layer: str,
    on_progress: Progress | None = None,
    relu: bool = True,
    augment_smooth: bool = False,
    eigen_smooth: bool = False,
) -> Attribution:
    """Weight the channels of one layer by how much each, on average over places, moves the target score.

    Args:
        trace: of one image (K targets) or of N images (one target each, K = N).
        targets: class indices.
        layer: name of a kept layer with output (N, C, h', w').
        relu: drop negative values, as the paper does; without, places that speak against the class stay.
        augment_smooth: mean of the maps over {as is, mirrored} x {0.9, 1, 1.1 times the brightness}.
        eigen_smooth: first principal component over channels of the weighted activations, in place of their sum; its
            sign is such that the largest magnitude is positive.

    Returns:
        Maps float32 (K, h, w) at the size of the working pixels, raw, bilinear from the cells in the details.

    Source: Selvaraju et al. 2017, arXiv 1610.02391, eq. 1 and 2. The smoothing options are those of pytorch-grad-cam.
    """
    return _explain(trace, targets, layer, _average_gradient, on_progress, relu, augment_smooth, eigen_smooth)


def hires_cam(
    trace: Trace,
    targets: Sequence[int],
    *,
    layer: str,
    on_progress: Progress | None = None,
    relu: bool = False,
    augment_smooth: bool = False,
    eigen_smooth: bool = False,
) -> Attribution:
    """Multiply each activation of one layer by its own gradient, so that only places the score really uses light up.

    Signed by default, as defined; most code clips at zero, which `relu` does here. The guarantee is lost under either
    smoothing option. Arguments and result are those of `grad_cam`.

    Source: Draelos and Carin 2020, arXiv 2011.08891, eq. 5.
    """
    return _explain(trace, targets, layer, _own_gradient, on_progress, relu, augment_smooth, eigen_smooth)


Weighing = Callable[[Tensor], Tensor]


def _average_gradient(gradient: Tensor) -> Tensor:
    return gradient.mean((2, 3), keepdim=True)  # (k, C, h, w) -> (k, C, 1, 1)


def _own_gradient(gradient: Tensor) -> Tensor:
    return gradient


def _explain(
    trace: Trace,
    targets: Sequence[int],
    layer: str,
    weigh: Weighing,
    on_progress: Progress | None,
    relu: bool,
    augment_smooth: bool,
    eigen_smooth: bool,
) -> Attribution:
    combine = principal_component if eigen_smooth else weighted_sum

    def from_gradient(gradient: Tensor, activation: Tensor) -> Tensor:
        return combine(weigh(gradient), activation)

    copies = _brightened(trace, layer) if augment_smooth else [(trace, 0, False)]
    count = 2 * len(SMOOTHING_FACTORS) if augment_smooth else 1
    cells = average_copies(copies, count, targets, layer, from_gradient, on_progress, relu)
    return cells_to_attribution(trace, cells)


Copy = tuple[Trace, int, bool]
"""A trace of a changed picture, by how many quarters it was turned, and whether it was mirrored, see `turn`."""
Combine = Callable[[Tensor, Tensor], Tensor]
"""From a gradient (k, C, h', w') and an activation (1 or k, C, h', w'), cells (k, h', w')."""


def average_copies(
    copies: Iterable[Copy],
    count: int,
    targets: Sequence[int],
    layer: str,
    combine: Combine,
    on_progress: Progress | None,
    relu: bool,
) -> Tensor:
    """Average the cells of `count` copies of a picture, each turned back: (K, h', w')."""
    total = torch.zeros(())
    for done, (trace, quarters, mirrored) in enumerate(copies, start=1):
        activation = trace.activation(layer)  # (1 or N, C, h', w')
        cells = torch.cat([combine(gradient, activation) for gradient in trace.gradient_chunks(layer, targets)])
        total = total + turn_back(cells.relu() if relu else cells, quarters, mirrored)  # (K, h', w')
        if on_progress:
            on_progress(done / count, None)
    return total / count


def turn(picture: Tensor, quarters: int, mirrored: bool) -> Tensor:
    """Turn pictures (..., h, w) to the left by quarters, then mirror them left to right if asked."""
    turned = torch.rot90(picture, quarters, (-2, -1))
    return turned.flip(-1) if mirrored else turned


def turn_back(turned: Tensor, quarters: int, mirrored: bool) -> Tensor:
    """Undo `turn`."""
    return torch.rot90(turned.flip(-1) if mirrored else turned, -quarters, (-2, -1))


def cells_to_attribution(trace: Trace, cells: Tensor) -> Attribution:
    """Enlarge cells (K, h', w') to the working pixels."""
    maps = enlarge(cells, (trace.pixels.shape[2], trace.pixels.shape[3]))  # (K, h', w') -> (K, h, w)
    return Attribution(maps.float().cpu(), CamDetails(cells.float().cpu()))


def enlarge(cells: Tensor, size: tuple[int, int]) -> Tensor:
    """Enlarge maps (K, h', w') to (K, h, w): bilinear, corners not aligned.

    Two matrix products, which for many maps take a third of the time of the library's own interpolation.
    """
    down, across = (
        F.interpolate(torch.eye(old, device=cells.device)[None], new, mode="linear", align_corners=False)[0]
        for old, new in zip(cells.shape[1:], size, strict=True)
    )  # (h', h), (w', w)
    return down.T @ cells.float() @ across


def weighted_sum(weights: Tensor, activation: Tensor) -> Tensor:
    """Sum weights (k, C, h or 1, w or 1) times activation (1 or k, C, h, w) over channels: (k, h, w)."""
    if weights.shape[2:] == (1, 1) and len(activation) == 1:
        return torch.einsum("kc,chw->khw", weights[:, :, 0, 0], activation[0])
    return (weights * activation).sum(1)


def principal_component(weights: Tensor, activation: Tensor) -> Tensor:
    """Project weighted activations (k, C, h, w), centred over places, on their first principal component: (k, h, w)."""
    weighted = weights * activation
    places = weighted.flatten(2).transpose(1, 2)  # (k, C, h, w) -> (k, h*w, C)
    centred = places - places.mean(1, keepdim=True)
    _, _, directions = torch.linalg.svd(centred, full_matrices=False)
    projected = (centred @ directions[:, 0, :, None])[..., 0]  # (k, h*w)
    strongest = projected.gather(1, projected.abs().argmax(1, keepdim=True))
    projected = projected * torch.where(strongest < 0, -1.0, 1.0)
    return projected.unflatten(1, weighted.shape[2:])


def _brightened(trace: Trace, layer: str) -> Iterator[Copy]:
    """Yield the picture as it is and mirrored, each at three brightnesses."""
    for mirrored in (False, True):
        for factor in SMOOTHING_FACTORS:
            pixels = turn(trace.pixels.detach() * factor, 0, mirrored)
            yield trace_pixels(trace.classifier, pixels, [layer]), 0, mirrored
