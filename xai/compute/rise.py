"""RISE: the mean of many random masks, each weighted by what the network says to the picture behind it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from xai.compute.attribution import Attribution, Progress
from xai.compute.cam import enlarge
from xai.compute.fills import make_fill
from xai.compute.masking import BATCH, MaskedPicture, each_picture
from xai.compute.trace import Trace


def rise(
    trace: Trace,
    targets: Sequence[int],
    *,
    layer: str | None = None,
    seed: int = 0,
    on_progress: Progress | None = None,
    masks: int = 2000,
    cells: int = 7,
    p: float = 0.5,
    centered: bool = True,
    fill: str = "mean",
    color: str = "#808080",
) -> Attribution:
    """Estimate for each pixel the probability of the class given that the pixel is shown.

    Args:
        trace: of one image (K targets, which share the masks) or of N images (one target each, K = N).
        targets: class indices.
        layer: not used.
        seed: of the masks and of the fill "noise".
        masks: how many; the paper takes 4,000 to 8,000.
        cells: side of the coarse grid that each mask is enlarged from.
        p: probability that a cell is shown.
        centered: take off the mean probability over all masks, so that zero means that to show a pixel changes nothing.
        fill, color: what shows behind a mask, see `make_fill`; the authors' code has the mean colour of ImageNet.

    Returns:
        Maps float32 (K, h, w): shares of 1, signed; as in the paper, in [0, 1] and with no zero point, if not centred.

    Source: Petsiuk et al. 2018, arXiv 1806.07421, eq. 6 and section 3.2. They divide by the expected sum of the masks
    at a pixel; here it is by the actual one, so that a network that always says the same has an even map.
    """

    def explain_one(pixels: Tensor, targets: tuple[int, ...], on_progress: Progress | None) -> Attribution:
        shown = make_fill(pixels, fill, color=color, seed=seed)
        masked = MaskedPicture(trace, pixels, shown, targets, "probability")
        shares, done = torch.zeros(pixels.shape[1:], dtype=torch.float64), 0
        sums = shares.repeat(len(targets), 1, 1)
        total = sums[:, :1, :1].clone()

        def estimate() -> Tensor:
            maps = sums / shares.clamp_min(1e-6)  # a pixel that no mask shows has 0
            return (torch.where(shares > 0, maps - total / done, 0.0) if centered else maps).float()

        grids, shifts = draw_grids(masks, cells, p, pixels.shape[1:], seed)
        for rows, places in zip(grids.split(BATCH), shifts.split(BATCH), strict=True):
            keep = smooth_masks(rows, places, (pixels.shape[1], pixels.shape[2]))
            answers = masked.answers(keep)  # (b, K)
            sums += torch.einsum("bk,bhw->khw", answers.double(), keep.double())
            shares += keep.sum(0)
            total += answers.double().sum(0).view(-1, 1, 1)
            done += len(rows)
            if on_progress:
                on_progress(done / masks, estimate())
        return Attribution(estimate())

    return each_picture(trace, targets, explain_one, on_progress)


def draw_grids(count: int, cells: int, p: float, size: Sequence[int], seed: int) -> tuple[Tensor, Tensor]:
    """Draw coarse grids, float32 (n, cells, cells) of 0 and 1, and by how much each is shifted, int64 (n, 2) pixels."""
    generator = torch.Generator().manual_seed(seed)
    grids = (torch.rand(count, cells, cells, generator=generator) < p).float()
    shifts = [torch.randint(-(-length // cells), (count,), generator=generator) for length in size]
    return grids, torch.stack(shifts, 1)


def smooth_masks(grids: Tensor, shifts: Tensor, size: tuple[int, int]) -> Tensor:
    """Enlarge grids (n, s, s) bilinearly to one cell more than the picture, and cut it out: (n, h, w) in [0, 1]."""
    height, width = size
    s = grids.shape[-1]
    large = enlarge(grids, ((s + 1) * -(-height // s), (s + 1) * -(-width // s)))
    return torch.stack(
        [each[y : y + height, x : x + width] for each, (y, x) in zip(large, shifts.tolist(), strict=True)]
    )
