"""Pictures as Fourier coefficients of decorrelated colours, and small random disturbances of pictures."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

_SOFTEN = 4.0  # the paper's code divides by it, which keeps the first pictures near mid grey

# Square root of the covariance of the colours of ImageNet, columns from the most to the least common direction
# (brightness, blue to yellow, green to magenta); Olah et al. 2017, doi 10.23915/distill.00007, from their code.
_COLOUR_ROOT = ((0.26, 0.09, 0.02), (0.27, 0.00, -0.05), (0.27, -0.09, 0.03))


@dataclass(frozen=True)
class Jolts:
    """How much the pictures are disturbed in each step, each picture on its own; all uniformly random.

    Attributes:
        shift: largest, as a share of the side.
        scale: largest change of size, as a share.
        rotate: largest, in degrees.
    """

    shift: float = 0.04
    scale: float = 0.1
    rotate: float = 10.0


def fourier_planes(coefficients: Tensor, size: tuple[int, int]) -> Tensor:
    """Turn Fourier coefficients into planes, each frequency with energy falling as in photographs.

    Args:
        coefficients: float32 (n, 3, h, w // 2 + 1, 2), real and imaginary parts of equal size at all frequencies.
        size: height h and width w.

    Returns:
        Float32 (n, 3, h, w), unbounded. Amplitudes are divided by the frequency, the lowest one counting as 1 / side.
    """
    scale = math.sqrt(size[0] * size[1]) / _frequencies(size).to(coefficients.device)  # (h, w // 2 + 1)
    spectrum = torch.view_as_complex(coefficients.contiguous()) * scale
    return torch.fft.irfft2(spectrum, s=size) / _SOFTEN


def _frequencies(size: tuple[int, int]) -> Tensor:
    """Return the frequency of each coefficient in cycles per pixel, (h, w // 2 + 1), at least 1 / longer side."""
    height, width = size
    rows, columns = torch.fft.fftfreq(height)[:, None], torch.fft.rfftfreq(width)[None]
    return torch.sqrt(rows.square() + columns.square()).clamp_min(1 / max(size))


def colour_matrix() -> Tensor:
    """Return the 3 x 3 matrix that mixes decorrelated colours into red, green and blue (rows); no column exceeds 1."""
    root = torch.tensor(_COLOUR_ROOT)
    return root / root.norm(dim=0).max()


def to_colours(planes: Tensor, decorrelate: bool) -> Tensor:
    """Mix planes (n, 3, h, w) into red, green and blue and squash them into [0, 1]."""
    if decorrelate:
        planes = torch.einsum("rc,nchw->nrhw", colour_matrix().to(planes.device), planes)
    return planes.sigmoid()


def disturb(pictures: Tensor, jolts: Jolts, generator: torch.Generator) -> Tensor:
    """Shift, scale and turn each picture (n, 3, h, w) by random amounts of its own; mid grey comes in from outside."""
    count, height, width = len(pictures), pictures.shape[2], pictures.shape[3]
    draws = torch.rand(4, count, generator=generator) * 2 - 1
    angle = draws[0] * math.radians(jolts.rotate)
    zoom = 1 / (1 + draws[1] * jolts.scale)
    cos, sin = zoom * angle.cos(), zoom * angle.sin()
    aspect = height / width  # the grid runs from -1 to 1 along both sides
    rows = [cos, -sin * aspect, 2 * jolts.shift * draws[2], sin / aspect, cos, 2 * jolts.shift * draws[3]]
    affine = torch.stack(rows, 1).view(count, 2, 3).to(pictures.device)
    grid = F.affine_grid(affine, list(pictures.shape), align_corners=False)
    return F.grid_sample(pictures - 0.5, grid, padding_mode="zeros", align_corners=False) + 0.5
