"""Random views of whole batches, each picture with choices of its own, on any device.

The choices of a batch are one matrix of uniform numbers, a row for each picture, drawn from a key such as (seed, stage,
epoch, step). So they depend neither on the device nor on the process that takes the row, and a resumed run draws the
same.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from xai.scan import operations
from xai.scan.config import Views
from xai.scan.device import fixed, moved

_COLUMNS = 48
_REDRAWS = 4  # after them one picture in 8,000 does not fit where a fifth of the area is the least, one in 260 from 0.6
_YIQ = (operations.LUMA, (0.596, -0.274, -0.322), (0.211, -0.523, 0.312))
_RGB = tuple(map(tuple, torch.linalg.inv(torch.tensor(_YIQ)).tolist()))
_ORDERS = ((0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0))
_GAUSS = tuple(tuple(a * b / 256 for b in (1, 4, 6, 4, 1)) for a in (1, 4, 6, 4, 1))


class Draws:
    """Uniform numbers for each picture, handed out column by column."""

    def __init__(self, uniform: Tensor) -> None:
        self._uniform, self._next = uniform, 0

    @classmethod
    def joined(cls, parts: Sequence[Draws]) -> Draws:
        """Put the choices of several batches one after another; nothing may have been handed out yet."""
        return cls(torch.cat([part._uniform for part in parts]))

    def between(self, low: float, high: float) -> Tensor:
        """A number in [low, high) for each picture, (N,)."""
        self._next += 1
        return low + (high - low) * self._uniform[:, self._next - 1]

    def chosen(self, share: float) -> Tensor:
        """Whether each picture is among a share of all, bool (N,)."""
        return self.between(0, 1) < share

    def below(self, count: int) -> Tensor:
        """An integer in [0, count) for each picture, int64 (N,)."""
        return self.between(0, count).long().clamp_(max=count - 1)


def draw(key: Sequence[int], total: int, rows: range, device: torch.device) -> Draws:
    """Draw the choices of a batch of `total` pictures and keep some rows of them."""
    return Draws(moved(_uniform(key, total)[rows.start : rows.stop], device))


def draw_alike(key: Sequence[int], total: int, device: torch.device) -> Draws:
    """Draw choices once, for all of `total` pictures."""
    return Draws(moved(_uniform(key, 1), device).expand(total, -1))


def _uniform(key: Sequence[int], rows: int) -> np.ndarray:
    return np.random.default_rng(list(key)).random((rows, _COLUMNS), dtype=np.float32)


def random_views(pixels: Tensor, views: Views, draws: Draws) -> Tensor:
    """Make one random view of each picture.

    Args:
        pixels: uint8 (N, 3, h, w), square.
        views: how strong.
        draws: the choices, a row for each picture.

    Returns:
        Float32 (N, 3, h, w) in [0, 1].
    """
    made = pixels.float() / 255
    plan = operations.plan(draws, views.operations)
    made = _warped(made, _geometry(views, draws, plan))
    made = _coloured(made, views, draws)
    if views.blur:
        made = _blurred(made, draws.chosen(views.blur) * draws.between(0.3, 1))
    for operation, strength in plan:
        made = operations.apply(made, operation, strength)
    if views.cutout:
        made = _cut_out(made, views.cutout, draws)
    return made


def _geometry(views: Views, draws: Draws, plan: operations.Plan) -> Tensor:
    """Map places of the view to places of the picture, both in [-1, 1]: (N, 3, 3)."""
    across, down = _sides(views, draws)
    left, top = draws.between(-1, 1) * (1 - across), draws.between(-1, 1) * (1 - down)
    angle = draws.between(-1, 1) * math.radians(views.rotation)
    mirror = 1 - 2 * draws.chosen(0.5 if views.flip else 0).float()
    zero, one = torch.zeros_like(across), torch.ones_like(across)
    cosine, sine = angle.cos(), angle.sin()
    crop = _matrices([[across * mirror, zero, left], [zero, down, top], [zero, zero, one]])
    turn = _matrices([[cosine, -sine, zero], [sine, cosine, zero], [zero, zero, one]])
    matrix = crop @ turn
    for operation, strength in plan:
        matrix = matrix @ operations.geometry(operation, strength)
    return matrix


def _sides(views: Views, draws: Draws) -> tuple[Tensor, Tensor]:
    """Width and height of the cut-out of each picture, as shares of the picture's, (N,) each."""

    def drawn() -> tuple[Tensor, Tensor]:
        area = draws.between(views.crop, 1)
        ratio = torch.exp(draws.between(math.log(3 / 4), math.log(4 / 3))) if views.crop < 1 else torch.ones_like(area)
        return (area * ratio).sqrt(), (area / ratio).sqrt()

    across, down = drawn()
    for _ in range(_REDRAWS if views.fits else 0):
        wide, high = drawn()
        keep = (across <= 1) & (down <= 1)
        across, down = torch.where(keep, across, wide), torch.where(keep, down, high)
    return across.clamp(max=1), down.clamp(max=1)


def _matrices(rows: Sequence[Sequence[Tensor]]) -> Tensor:
    return torch.stack([torch.stack(list(row), 1) for row in rows], 1)  # 3 x 3 tensors (N,) -> (N, 3, 3)


def _warped(made: Tensor, matrix: Tensor) -> Tensor:
    grid = F.affine_grid(matrix[:, :2], list(made.shape), align_corners=False)
    return F.grid_sample(made, grid, mode="bilinear", padding_mode="border", align_corners=False)


def _coloured(made: Tensor, views: Views, draws: Draws) -> Tensor:
    """Change colours by one 3 x 3 matrix and one offset for each picture.

    In torchvision's jitter the order of the changes is random; here it is brightness, saturation, hue, contrast.
    """
    on = draws.chosen(views.jitter_share).float()
    brightness, contrast, saturation, hue = (draws.between(-s, s) * on for s in views.jitter)
    luma = fixed(operations.LUMA, made.device)
    eye = torch.eye(3, device=made.device)
    grey = luma.expand(3, 3)
    wide = saturation.view(-1, 1, 1)
    matrix = (1 + wide) * eye - wide * grey
    matrix = _hue_turns(hue * 2 * math.pi) @ matrix * (1 + brightness).view(-1, 1, 1)
    mean = (matrix @ made.mean((2, 3)).unsqueeze(2)).squeeze(2) @ luma  # (N,)
    matrix = matrix * (1 + contrast).view(-1, 1, 1)
    offset = (-contrast * mean).view(-1, 1).expand(-1, 3)
    flat = draws.chosen(views.grey).float().view(-1, 1, 1)
    matrix, offset = (1 - flat) * matrix + flat * grey @ matrix, offset
    order = fixed(_ORDERS, made.device)[draws.below(6) * draws.chosen(views.shuffle).long()]  # (N, 3)
    matrix = matrix.gather(1, order.unsqueeze(2).expand(-1, 3, 3))
    sign = 1 - 2 * draws.chosen(views.invert).float()
    matrix, offset = matrix * sign.view(-1, 1, 1), offset * sign.view(-1, 1) + (1 - sign).view(-1, 1) / 2
    changed = torch.baddbmm(offset.unsqueeze(2), matrix, made.flatten(2))  # (N, 3, h * w)
    return changed.view_as(made).clamp(0, 1)


def _hue_turns(angle: Tensor) -> Tensor:
    """Turn the colour plane of YIQ: (N,) -> (N, 3, 3)."""
    zero, one = torch.zeros_like(angle), torch.ones_like(angle)
    cosine, sine = angle.cos(), angle.sin()
    turn = _matrices([[one, zero, zero], [zero, cosine, -sine], [zero, sine, cosine]])
    return fixed(_RGB, angle.device) @ turn @ fixed(_YIQ, angle.device)


def _blurred(made: Tensor, weight: Tensor) -> Tensor:
    """Mix each picture with its blurred self; weight (N,) in [0, 1]."""
    kernel = fixed(_GAUSS, made.device).expand(3, 1, 5, 5)
    soft = F.conv2d(F.pad(made, (2, 2, 2, 2), mode="reflect"), kernel, groups=3)
    return torch.lerp(made, soft, weight.view(-1, 1, 1, 1))


def _cut_out(made: Tensor, largest: float, draws: Draws) -> Tensor:
    """Blot out one grey square in each picture (DeVries and Taylor 2017), its side up to a share of the picture's."""
    half = draws.between(0, largest / 2).view(-1, 1)
    x, y = draws.between(0, 1).view(-1, 1), draws.between(0, 1).view(-1, 1)
    places = (torch.arange(made.shape[-1], device=made.device) + 0.5) / made.shape[-1]
    inside = ((places - y).abs() < half).unsqueeze(2) & ((places - x).abs() < half).unsqueeze(1)  # (N, h, w)
    return torch.where(inside.unsqueeze(1), 0.5, made)
