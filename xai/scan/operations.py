"""Fourteen random operations on batches of pictures, as RandAugment (Cubuk et al. 2020) and SCAN use them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from xai.scan.device import fixed

if TYPE_CHECKING:
    from xai.scan.augment import Draws

Plan = list[tuple[Tensor, Tensor]]  # operation of each picture, int64 (N,), and its strength, float32 (N,) in [-1, 1]
NAMES = (
    "identity",
    "rotate",
    "shear x",
    "shear y",
    "translate x",
    "translate y",
    "autocontrast",
    "equalise",
    "solarise",
    "posterise",
    "colour",
    "contrast",
    "brightness",
    "sharpness",
)
LUMA = (0.299, 0.587, 0.114)  # ITU-R 601
_SMOOTH = ((1 / 13, 1 / 13, 1 / 13), (1 / 13, 5 / 13, 1 / 13), (1 / 13, 1 / 13, 1 / 13))


def plan(draws: Draws, rounds: int) -> Plan:
    """Choose an operation and a strength for each picture, several times."""
    return [(draws.below(len(NAMES)), draws.between(-1, 1)) for _ in range(rounds)]


def geometry(operation: Tensor, strength: Tensor) -> Tensor:
    """What the chosen operations do to places in [-1, 1]: (N, 3, 3), the unit matrix for those of colour.

    Turns reach 30 degrees, shears 0.1, shifts a tenth of the side.
    """
    name = {each: (operation == place).float() for place, each in enumerate(NAMES[:6])}
    angle = strength * (30 * torch.pi / 180) * name["rotate"]
    cosine, sine = angle.cos(), angle.sin()
    zero, one = torch.zeros_like(angle), torch.ones_like(angle)
    rows = [
        [cosine, -sine + 0.1 * strength * name["shear x"], 0.2 * strength * name["translate x"]],
        [sine + 0.1 * strength * name["shear y"], cosine, 0.2 * strength * name["translate y"]],
        [zero, zero, one],
    ]
    return torch.stack([torch.stack(row, 1) for row in rows], 1)


def apply(pixels: Tensor, operation: Tensor, strength: Tensor) -> Tensor:
    """Change the colours of each picture by its operation; those of geometry leave it.

    Args:
        pixels: float32 (N, 3, h, w) in [0, 1].
        operation: index in `NAMES`, int64 (N,).
        strength: float32 (N,) in [-1, 1].

    Returns:
        As `pixels`.
    """
    made = pixels.clone()
    counts = operation.bincount(minlength=len(NAMES)).tolist()  # the one time that a GPU waits
    for name, chosen in zip(NAMES, operation.argsort(stable=True).split(counts), strict=True):
        if name in _COLOURS and len(chosen):
            made[chosen] = _COLOURS[name](pixels[chosen], strength[chosen].view(-1, 1, 1, 1)).clamp(0, 1)
    return made


def _autocontrast(pixels: Tensor, _strength: Tensor) -> Tensor:
    low, high = pixels.amin((2, 3), keepdim=True), pixels.amax((2, 3), keepdim=True)
    return torch.where(high > low, (pixels - low) / (high - low).clamp(min=1e-6), pixels)


def _equalise(pixels: Tensor, _strength: Tensor) -> Tensor:
    """Spread the values of each channel evenly over 256 steps, as Pillow does."""
    values = (pixels * 255).round().long().flatten(2)  # (n, 3, h * w)
    counts = torch.zeros(*values.shape[:2], 256, dtype=torch.int64, device=pixels.device)
    counts.scatter_add_(2, values, torch.ones_like(values))
    last = counts.gather(2, values.amax(2, keepdim=True))  # count of the largest value that occurs
    step = (values.shape[2] - last) // 255  # (n, 3, 1)
    before = counts.cumsum(2) - counts
    table = ((before + step // 2) // step.clamp(min=1)).clamp(0, 255)
    spread = table.gather(2, values).view_as(pixels) / 255
    return torch.where((step > 0).unsqueeze(3), spread, pixels)


def _solarise(pixels: Tensor, strength: Tensor) -> Tensor:
    return torch.where(pixels < 1 - strength.abs(), pixels, 1 - pixels)


def _posterise(pixels: Tensor, strength: Tensor) -> Tensor:
    width = 2 ** (4 * strength.abs()).round()  # 8 bits down to 4
    return torch.floor(pixels * 255 / width) * width / 255


def _toward(other: Callable[[Tensor], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
    """Mix with another picture, or move away from it."""

    def mixed(pixels: Tensor, strength: Tensor) -> Tensor:
        return other(pixels) + (1 + 0.9 * strength) * (pixels - other(pixels))

    return mixed


def _luma(pixels: Tensor) -> Tensor:
    return (pixels * fixed(LUMA, pixels.device).view(1, 3, 1, 1)).sum(1, keepdim=True)


def _smooth(pixels: Tensor) -> Tensor:
    kernel = fixed(_SMOOTH, pixels.device).expand(3, 1, 3, 3)
    return F.conv2d(F.pad(pixels, (1, 1, 1, 1), mode="reflect"), kernel, groups=3)


_COLOURS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "autocontrast": _autocontrast,
    "equalise": _equalise,
    "solarise": _solarise,
    "posterise": _posterise,
    "colour": _toward(_luma),
    "contrast": _toward(lambda pixels: _luma(pixels).mean((2, 3), keepdim=True)),
    "brightness": _toward(torch.zeros_like),
    "sharpness": _toward(_smooth),
}
