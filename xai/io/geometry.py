"""From source pixels to the network's working pixels, and the box of the source that they show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import PIL.Image
import torch
from torch import Tensor

from xai.errors import UserError, one_of
from xai.io.images import Image

RESIZE_MODES = ("center-crop", "squash", "keep")
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
    if resize != "keep":
        if resize == "center-crop":
            box = crop_box(image.width, image.height, fmt)
        height, width = fmt.size
        filters = {"bilinear": "BILINEAR", "bicubic": "BICUBIC", "nearest": "NEAREST"}
        method = PIL.Image.Resampling[filters[fmt.interpolation]]
        pixels = np.asarray(image.to_pil().resize((width, height), method, box=_inside(box, image)))
    return torch.from_numpy(pixels.astype(np.float32) / 255).permute(
        2, 0, 1
    ).contiguous(), box  # (H, W, 3) -> (3, h, w)


def crop_box(width: int, height: int, fmt: InputFormat) -> Box:
    """Return the part of a picture that torchvision's resize and centre crop keep, in source pixels.

    Resizing just this box gives the same pixels as resizing the whole picture and cropping, without ever making a very
    wide picture large. A crop that is larger than the resized picture shows the whole shorter side.
    """
    resized_width = fmt.resize if width <= height else int(fmt.resize * width / height)
    resized_height = fmt.resize if height <= width else int(fmt.resize * height / width)
    crop_height, crop_width = (min(fmt.size[0], resized_height), min(fmt.size[1], resized_width))
    left = round((resized_width - crop_width) / 2)
    top = round((resized_height - crop_height) / 2)
    x, y = width / resized_width, height / resized_height
    return (left * x, top * y, (left + crop_width) * x, (top + crop_height) * y)


def _inside(box: Box, image: Image) -> Box:
    """Keep rounding errors from putting the box outside the picture, which Pillow refuses."""
    left, top, right, bottom = box
    return max(left, 0.0), max(top, 0.0), min(right, image.width), min(bottom, image.height)
