"""Superpixels: which pixels are switched on and off together."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import torch
from torch import Tensor

from xai.errors import UserError, one_of

WATERSHED_COMPACTNESS = 1e-4  # its costs are gradients in [0, 1]; slic's are squared colour differences up to 100


@dataclass(frozen=True)
class Segmenter:
    """How a picture is cut into superpixels; lengths are in pixels.

    Attributes:
        name: one of SEGMENTERS.
        n_segments: about how many (slic, watershed, grid).
        kernel_size, max_dist, ratio: of quickshift: width of the density estimate, cut-off that decides how many
            superpixels there are, weight of colour against place in [0, 1]. The defaults are those of the lime package.
        scale, min_size: of felzenszwalb: larger gives larger superpixels; smallest size in pixels.
        compactness: colour against place (slic; watershed uses a ten-thousandth): higher gives squarer superpixels.
        sigma: width of a Gaussian blur before cutting; 0 for none (quickshift, slic, felzenszwalb).
    """

    name: str = "quickshift"
    n_segments: int = 50
    kernel_size: float = 4.0
    max_dist: float = 200.0
    ratio: float = 0.2
    scale: float = 100.0
    min_size: int = 50
    compactness: float = 10.0
    sigma: float = 0.0


def segment(pixels: Tensor, segmenter: Segmenter) -> Tensor:
    """Cut one picture into superpixels, always the same for the same picture.

    Args:
        pixels: (3, h, w), bytes, or floats in [0, 1]; both give the same superpixels.
        segmenter: how.

    Returns:
        Labels int64 (h, w) on the CPU: 0 to d - 1, each of them used.

    Raises:
        UserError: an unknown segmenter, or floats outside [0, 1].
    """
    if segmenter.name not in SEGMENTERS:
        raise one_of("segmenter", segmenter.name, SEGMENTERS)
    labels = SEGMENTERS[segmenter.name](_unit_floats(pixels), segmenter)
    _, renumbered = np.unique(labels, return_inverse=True)  # some number from 1, and watershed can leave gaps
    return torch.from_numpy(renumbered.reshape(labels.shape).astype(np.int64))


def _unit_floats(pixels: Tensor) -> np.ndarray:
    """Return float64 (h, w, 3) in [0, 1], by way of float32 so that bytes and floats end up equal to the last bit."""
    floats = pixels.detach().cpu().float()
    floats = floats / 255 if pixels.dtype == torch.uint8 else floats
    if floats.min() < 0 or floats.max() > 1:
        low, high = floats.min().item(), floats.max().item()
        raise UserError(f"Pixels to segment must be bytes, or floats in [0, 1], not floats in [{low:g}, {high:g}].")
    return np.ascontiguousarray(floats.permute(1, 2, 0).numpy().astype(np.float64))  # (3, h, w) -> (h, w, 3)


def _quickshift(image: np.ndarray, how: Segmenter) -> np.ndarray:
    from skimage.segmentation import quickshift

    return quickshift(  # the seed, of the noise that breaks ties, is the one scikit-image and lime have
        image, ratio=how.ratio, kernel_size=how.kernel_size, max_dist=how.max_dist, sigma=how.sigma, rng=42
    )


def _slic(image: np.ndarray, how: Segmenter) -> np.ndarray:
    from skimage.segmentation import slic

    return slic(image, how.n_segments, how.compactness, sigma=how.sigma, start_label=0)


def _felzenszwalb(image: np.ndarray, how: Segmenter) -> np.ndarray:
    from skimage.segmentation import felzenszwalb

    return felzenszwalb(image, how.scale, how.sigma, how.min_size)


def _watershed(image: np.ndarray, how: Segmenter) -> np.ndarray:
    from skimage.color import rgb2gray
    from skimage.filters import sobel
    from skimage.segmentation import watershed

    return watershed(sobel(rgb2gray(image)), how.n_segments, compactness=how.compactness * WATERSHED_COMPACTNESS)


def _grid(image: np.ndarray, how: Segmenter) -> np.ndarray:
    """Cut into rows and columns of cells that are as square as can be."""
    height, width = image.shape[:2]
    rows = min(height, max(1, round((how.n_segments * height / width) ** 0.5)))
    columns = min(width, max(1, round(how.n_segments / rows)))
    down, across = np.arange(height) * rows // height, np.arange(width) * columns // width
    return down[:, None] * columns + across


SEGMENTERS: Mapping[str, Callable[[np.ndarray, Segmenter], np.ndarray]] = MappingProxyType(
    {
        "quickshift": _quickshift,
        "slic": _slic,
        "felzenszwalb": _felzenszwalb,
        "watershed": _watershed,
        "grid": _grid,
    }
)
