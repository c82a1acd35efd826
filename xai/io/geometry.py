"""From source pixels to the network's working pixels, and the box of the source that they show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import PIL.Image
import torch
from numpy.typing import NDArray
from torch import Tensor

from xai.errors import UserError, one_of
from xai.io.images import Image

RESIZE_MODES = ("center-crop", "squash", "keep")
FILTERS = {name: PIL.Image.Resampling[name.upper()] for name in ("bilinear", "bicubic", "nearest")}
LARGEST_RESIZED = 4_000_000  # pixels of a whole picture before the crop
KEEP_LIMIT = 4_000_000  # pixels; a network needs several kilobytes of memory for each
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class InputFormat:
    """What a network wants to be given.

    Attributes:
        mean, std: per channel, for pixels in [0, 1].
        size: height and width of the working pixels.
        resize: length of the shorter side before the centre crop.
        interpolation: "bilinear", "bicubic" or "nearest".
        channels: 3 (RGB) or 1 (grey).
    """

    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    size: tuple[int, int] = (224, 224)
    resize: int = 256
    interpolation: str = "bilinear"
    channels: int = 3


@dataclass(frozen=True, eq=False)
class Prepared:
    """Working pixels of one or more images.

    Attributes:
        pixels: float32 (N, 3, h, w) in [0, 1].
        boxes: per image, the part of the source they show: left, top, right, bottom in source pixels.
        resize: how they were made, one of `RESIZE_MODES`.
    """

    pixels: Tensor
    boxes: tuple[Box, ...]
    resize: str


def prepare_images(images: Sequence[Image], fmt: InputFormat, resize: str = "center-crop") -> Prepared:
    """Make the working pixels of images.

    Args:
        images: at least one.
        fmt: the network's input format.
        resize: "center-crop" (shorter side to `fmt.resize`, then the middle; the weights' own way), "squash" (the whole
            picture, aspect ratio lost) or "keep" (the picture's own pixels; all pictures must have one size).

    Raises:
        UserError: unknown `resize`; with "keep", a picture over 4 megapixels or pictures of different sizes.
    """
    if not images:
        raise UserError("The list of pictures is empty; give at least one.")
    if resize not in RESIZE_MODES:
        raise one_of("resize", resize, RESIZE_MODES)
    if resize == "keep":
        _check_keep(images)
    made = [_prepare(image, fmt, resize) for image in images]
    return Prepared(torch.stack([pixels for pixels, _ in made]), tuple(box for _, box in made), resize)


def _check_keep(images: Sequence[Image]) -> None:
    sizes = {image.size for image in images}
    if len(sizes) > 1:
        raise UserError(
            f"resize 'keep' needs pictures of one size, these have {len(sizes)}; use center-crop or squash."
        )
    width, height = sizes.pop()
    if width * height > KEEP_LIMIT:
        raise UserError(
            f"resize 'keep' takes pictures up to {KEEP_LIMIT / 1e6:.0f} megapixels, this one has "
            f"{width} x {height}; use center-crop or squash."
        )


def _prepare(image: Image, fmt: InputFormat, resize: str) -> tuple[Tensor, Box]:
    box = (0.0, 0.0, float(image.width), float(image.height))
    pixels = image.pixels
    if resize == "center-crop":
        pixels, box = _center_crop(image, fmt)
    elif resize == "squash":
        height, width = fmt.size
        pixels = np.asarray(image.to_pil().resize((width, height), FILTERS[fmt.interpolation]))
    return torch.from_numpy(pixels.astype(np.float32) / 255).permute(2, 0, 1).contiguous(), box  # -> (3, h, w)


def _center_crop(image: Image, fmt: InputFormat) -> tuple[NDArray[np.uint8], Box]:
    """Do what torchvision's resize and centre crop do; a crop larger than the resized picture is stretched to it."""
    height, width = fmt.size
    shorter = min(image.size)
    across, down = (fmt.resize if side == shorter else int(fmt.resize * side / shorter) for side in image.size)
    crop_width, crop_height = min(width, across), min(height, down)
    left, top = round((across - crop_width) / 2), round((down - crop_height) / 2)
    crop = (left, top, left + crop_width, top + crop_height)
    x, y = image.width / across, image.height / down
    box = (crop[0] * x, crop[1] * y, min(crop[2] * x, image.width), min(crop[3] * y, image.height))
    method = FILTERS[fmt.interpolation]
    if across * down <= LARGEST_RESIZED:
        resized = image.to_pil().resize((across, down), method).crop(crop)
    else:  # a very wide or tall picture: make the crop alone, equal but for rounding
        resized = image.to_pil().resize((crop_width, crop_height), method, box=box)
    if resized.size != (width, height):
        resized = resized.resize((width, height), method)
    return np.asarray(resized), box
