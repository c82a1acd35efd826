"""What stands in for the pixels that are taken away."""

from __future__ import annotations

import re

import torch
from torch import Tensor

from xai.compute.baselines import BLUR, blur
from xai.errors import UserError, one_of

FILLS = ("mean", "black", "blur", "noise", "color")


def make_fill(
    pixels: Tensor, fill: str, *, segments: Tensor | None = None, color: str = "#808080", seed: int = 0
) -> Tensor:
    """Return the picture that shows through where pixels are taken away.

    Args:
        pixels: (3, h, w) in [0, 1].
        fill: "mean" (of each superpixel, or of the whole picture), "black", "blur" (Gaussian, a tenth of the shorter
            side), "noise" (uniform in [0, 1], seeded) or "color".
        segments: labels (h, w) from 0 to d - 1; None for one segment that is the whole picture.
        color: "#rrggbb", for fill "color".

    Returns:
        (3, h, w) in [0, 1], of the type and on the device of the pixels.

    Raises:
        UserError: an unknown fill, or a colour that is not "#rrggbb".
    """
    if fill == "mean":
        return _mean(pixels, segments)
    if fill == "black":
        return torch.zeros_like(pixels)
    if fill == "blur":
        return blur(pixels, BLUR).clamp(0, 1)
    if fill == "noise":
        noise = torch.rand(pixels.shape, generator=torch.Generator().manual_seed(seed))
        return noise.to(pixels)
    if fill == "color":
        return torch.ones_like(pixels) * pixels.new_tensor(_read_color(color)).view(3, 1, 1)
    raise one_of("fill", fill, FILLS)


def _mean(pixels: Tensor, segments: Tensor | None) -> Tensor:
    labels = torch.zeros(pixels.shape[1:], dtype=torch.long) if segments is None else segments
    labels = labels.flatten().to(pixels.device)
    sums = pixels.new_zeros(3, int(labels.max()) + 1, dtype=torch.float64)
    sums = sums.index_add(1, labels, pixels.flatten(1).double())  # (3, h*w) -> (3, d)
    means = sums / labels.bincount()
    return means[:, labels].view_as(pixels).to(pixels.dtype)


def _read_color(color: str) -> list[float]:
    if not re.fullmatch(r"#[0-9a-fA-F]{6}", color):
        raise UserError(f"Option color must be red, green and blue as in #808080, not {color!r}.")
    return [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
