"""What would have to be different for a picture to fall into another cluster."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Ints = NDArray[np.integer]
Floats = NDArray[np.floating]
BATCH = 64
GRID = 8  # cells of a side


def nearest_elsewhere(query: Floats, features: Floats, clusters: Ints, own: int, count: int = 8) -> NDArray[np.int64]:
    """List the pictures most like a query among those of other clusters, nearest first.

    Args:
        query: float (D,), of length 1.
        features: float (M, D), of length 1.
        clusters: int (M,).
        own: cluster of the query.
        count: how many at most.
    """
    others = np.flatnonzero(clusters != own)
    order = np.argsort(-(features[others] @ query), kind="stable")[:count]
    return others[order]


@dataclass(frozen=True, eq=False)
class Edit:
    """The smallest replacement found that moves a picture to another cluster.

    Attributes:
        cells: bool (g, g), what was replaced; all False if nothing flips the cluster.
        share: of the picture that was replaced.
        before, after: clusters; the same if nothing flips it.
        pixels: float32 (3, h, w) in [0, 1], the edited picture.
        leads: float64 (steps + 1,), lead of the own cluster's score over the best other while cells were replaced in
            order, before superfluous ones were put back.
    """

    cells: NDArray[np.bool_]
    share: float
    before: int
    after: int
    pixels: Tensor
    leads: NDArray[np.float64]

    @property
    def flipped(self) -> bool:
        """Whether an edit was found."""
        return self.before != self.after


def smallest_edit(
    score: Callable[[Tensor], Tensor], pixels: Tensor, donor: Tensor, *, target: int | None = None, grid: int = GRID
) -> Edit:
    """Replace cells of a picture by those of another until its cluster changes, and put back what was not needed.

    Cells go in the order of what each does alone; the search is greedy, so a smaller edit may exist.

    Args:
        score: pixels (n, 3, h, w) in [0, 1] to cluster scores (n, k).
        pixels: float (3, h, w), the picture.
        donor: float (3, h, w): a picture of another cluster, or a fill such as a blurred copy.
        target: cluster to reach; None: any other.
        grid: cells of a side.

    Source: the replacement of regions by those of a distractor picture, Goyal et al. 2019, arXiv 1904.07451, here on
    pixels and with the pruning pass.
    """
    masks = _cell_masks(pixels.shape[1:], grid)  # (g * g, h, w)
    before = int(_scores(score, pixels[None])[0].argmax())
    alone = _leads(_scores(score, torch.stack([_mix(pixels, donor, mask) for mask in masks])), before, target)
    order = alone.argsort(stable=True)
    grown, so_far = [pixels], torch.zeros_like(masks[0])
    for cell in order.tolist():
        so_far = so_far | masks[cell]
        grown.append(_mix(pixels, donor, so_far))
    leads = _leads(_scores(score, torch.stack(grown)), before, target)
    flips = (leads < 0).nonzero()
    if not len(flips):
        nothing = np.zeros((grid, grid), bool)
        return Edit(nothing, 0.0, before, before, pixels, leads.double().numpy())
    chosen = order[: int(flips[0])].tolist()
    for cell in list(chosen[:-1]):
        rest = [other for other in chosen if other != cell]
        trial = _mix(pixels, donor, masks[rest].any(0))
        if _leads(_scores(score, trial[None]), before, target)[0] < 0:
            chosen = rest
    edited = _mix(pixels, donor, masks[chosen].any(0))
    cells = np.zeros(grid * grid, bool)
    cells[chosen] = True
    after = int(_scores(score, edited[None])[0].argmax())
    share = float(masks[chosen].any(0).float().mean())
    return Edit(cells.reshape(grid, grid), share, before, after, edited, leads.double().numpy())


def _cell_masks(size: tuple[int, ...], grid: int) -> Tensor:
    """Masks of the cells, bool (g * g, h, w), row by row."""
    down, across = (torch.arange(side) * grid // side for side in size)
    cell = down[:, None] * grid + across  # (h, w)
    return cell == torch.arange(grid * grid)[:, None, None]


def _mix(pixels: Tensor, donor: Tensor, mask: Tensor) -> Tensor:
    return torch.where(mask, donor, pixels)


@torch.inference_mode()
def _scores(score: Callable[[Tensor], Tensor], pixels: Tensor) -> Tensor:
    return torch.cat([score(part).float().cpu() for part in pixels.split(BATCH)])


def _leads(scores: Tensor, own: int, target: int | None) -> Tensor:
    """Lead of one cluster over the target, or over the best other: (n,)."""
    if target is None:
        others = torch.cat([scores[:, :own], scores[:, own + 1 :]], 1)
        return scores[:, own] - others.amax(1)
    # The target must beat every other cluster, not the old one alone.
    return torch.cat([scores[:, :target], scores[:, target + 1 :]], 1).amax(1) - scores[:, target]
