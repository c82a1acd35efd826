"""Random views of one picture for training, each drawn from its own generator, so that no order or process matters."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import PIL.Image
from PIL import ImageEnhance, ImageOps

from xai.training.recipe import Recipe

Generator = np.random.Generator
_GREY = (124, 116, 104)  # the mean of ImageNet: what turning and shifting uncovers


def training_view(picture: np.ndarray, size: int, recipe: Recipe, generator: Generator) -> np.ndarray:
    """Make a random view: crop, mirror, random operations.

    Args:
        picture: uint8 (H, W, 3).
        size: side of the result in pixels.
        recipe: how strong.
        generator: where the choices come from.

    Returns:
        Uint8 (size, size, 3).
    """
    height, width = picture.shape[:2]
    box = random_crop(width, height, recipe.crop_scale, generator)
    view = PIL.Image.fromarray(picture).resize((size, size), PIL.Image.Resampling.BILINEAR, box=box)
    if recipe.flip and generator.random() < 0.5:
        view = view.transpose(PIL.Image.Transpose.FLIP_LEFT_RIGHT)
    for _ in range(recipe.randaugment):
        operation = _OPERATIONS[int(generator.integers(len(_OPERATIONS)))]
        sign = 1.0 if generator.random() < 0.5 else -1.0
        view = operation(view, sign * recipe.magnitude)
    return np.asarray(view)


def random_crop(width: int, height: int, smallest: float, generator: Generator) -> tuple[float, float, float, float]:
    """Draw a box of random area and aspect ratio inside a picture, as Inception's training did (Szegedy et al. 2015).

    Args:
        width, height: of the picture in pixels.
        smallest: share of its area that the box has at least.
        generator: where the choices come from.

    Returns:
        (left, top, right, bottom) in pixels; the aspect ratio lies between 3:4 and 4:3 where that fits.
    """
    for _ in range(10):
        area = width * height * generator.uniform(smallest, 1)
        ratio = math.exp(generator.uniform(math.log(3 / 4), math.log(4 / 3)))
        across, down = math.sqrt(area * ratio), math.sqrt(area / ratio)
        if across <= width and down <= height:
            left, top = generator.uniform(0, width - across), generator.uniform(0, height - down)
            return left, top, left + across, top + down
    side = min(width, height)
    left, top = (width - side) / 2, (height - side) / 2
    return left, top, left + side, top + side


def _affine(picture: PIL.Image.Image, matrix: tuple[float, ...]) -> PIL.Image.Image:
    return picture.transform(
        picture.size, PIL.Image.Transform.AFFINE, matrix, PIL.Image.Resampling.BILINEAR, fillcolor=_GREY
    )


def _enhanced(kind: Callable[[PIL.Image.Image], ImageEnhance._Enhance]) -> Callable[..., PIL.Image.Image]:
    return lambda picture, strength: kind(picture).enhance(1 + 0.9 * strength)


# Each takes a picture and a strength in [-1, 1]; the ranges are those of RandAugment.
_OPERATIONS: tuple[Callable[[PIL.Image.Image, float], PIL.Image.Image], ...] = (
    lambda picture, strength: picture,
    lambda picture, strength: picture.rotate(30 * strength, PIL.Image.Resampling.BILINEAR, fillcolor=_GREY),
    lambda picture, strength: _affine(picture, (1, 0.3 * strength, 0, 0, 1, 0)),
    lambda picture, strength: _affine(picture, (1, 0, 0, 0.3 * strength, 1, 0)),
    lambda picture, strength: _affine(picture, (1, 0, 0.45 * strength * picture.width, 0, 1, 0)),
    lambda picture, strength: _affine(picture, (1, 0, 0, 0, 1, 0.45 * strength * picture.height)),
    _enhanced(ImageEnhance.Brightness),
    _enhanced(ImageEnhance.Color),
    _enhanced(ImageEnhance.Contrast),
    _enhanced(ImageEnhance.Sharpness),
    lambda picture, strength: ImageOps.posterize(picture, 8 - round(4 * abs(strength))),
    lambda picture, strength: ImageOps.solarize(picture, round(256 * (1 - abs(strength)))),
    lambda picture, strength: ImageOps.autocontrast(picture),
    lambda picture, strength: ImageOps.equalize(picture),
)
