"""Maps laid over pictures, pixel for pixel: placing, blending, the box of what the network saw, captions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.font_manager import findfont
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from xai.errors import UserError
from xai.figures import style

Picture = NDArray[np.uint8]
Box = tuple[float, float, float, float]


def overlay(
    picture: Picture,
    values: NDArray[np.floating],
    *,
    signed: bool = False,
    limit: float | None = None,
    alpha: float = 0.6,
    colormap: str | None = None,
    threshold: float = 0.0,
    box: Box | None = None,
) -> Picture:
    """Colour a picture by a map; the opacity of each pixel follows |value|.

    Args:
        picture: uint8 (H, W, 3), RGB.
        values: float (H, W), any range; `place_map` brings a smaller map to this size.
        signed: show both signs with a diverging colour map; else values below zero count as zero.
        limit: value that gets the end colour and the opacity `alpha`; maps to be compared take one limit
            (`style.value_limit` of all). Default: that of this map.
        alpha: opacity at the limit, in [0, 1].
        colormap: one of `style.colormap_names(signed=signed)`.
        threshold: share of the limit, in [0, 1], below which |value| is hidden.
        box: (left, top, right, bottom) in pixels; outlined where it is smaller than the picture.

    Returns:
        Uint8 (H, W, 3). Where the value is zero the picture is unchanged, bit for bit.

    Raises:
        UserError: the colour map is unknown, alpha or threshold is out of range, or a value is not finite.
    """
    _check_share("alpha", alpha)
    _check_share("threshold", threshold)
    if values.shape != picture.shape[:2]:
        raise ValueError(f"The map has shape {values.shape}, the picture {picture.shape[:2]}: use place_map.")
    if limit is None:
        limit = style.value_limit(values, signed=signed)
    if threshold > 0:
        values = np.where(np.abs(values) < threshold * limit, 0, values)
    levels = style.value_levels(values, limit, signed=signed)  # (H, W)
    table = style.colormap_table(style.find_colormap(colormap, signed=signed)).astype(np.uint16)
    strength = np.abs(np.arange(256) - 128) / 127 if signed else np.arange(256) / 255
    opacity = np.rint(255 * alpha * np.minimum(strength, 1)).astype(np.uint16)[:, None]  # (256, 1), of 255
    # Blend in whole numbers: 16 bits hold 255 * 255 + 127, and opacity 0 gives the very same pixel back.
    blended = np.take(255 - opacity, levels, axis=0) * picture  # (H, W, 1) * (H, W, 3) -> (H, W, 3)
    blended += np.take(table * opacity, levels, axis=0)  # by level: a third of the time of indexing
    blended += 127
    blended //= 255
    result = blended.astype(np.uint8)
    return result if box is None else draw_box(result, box)


def _check_share(name: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise UserError(f"Unknown {name} {value}. Choose a number from 0 to 1.")


def place_map(values: NDArray[np.floating], size: tuple[int, int], box: Box | None = None) -> NDArray[np.float32]:
    """Put a map where it belongs on a picture: bilinear inside the box, zero outside.

    Args:
        values: float (h, w), for instance at the resolution of a layer.
        size: (width, height) of the picture.
        box: (left, top, right, bottom) in pixels of the picture that the map covers; None: all of it.

    Returns:
        Float32 (height, width).
    """
    width, height = size
    left, top, right, bottom = box or (0.0, 0.0, float(width), float(height))
    across, down = values.shape[1] / (right - left), values.shape[0] / (bottom - top)
    placed = Image.fromarray(np.ascontiguousarray(values, dtype=np.float32)).transform(
        size,
        Image.Transform.AFFINE,
        (across, 0, -left * across, 0, down, -top * down),
        Image.Resampling.BILINEAR,
    )
    return np.array(placed)


def is_part(box: Box, width: int, height: int) -> bool:
    """Whether a box leaves out some whole pixel of a picture, so that outlining it tells something."""
    left, top, right, bottom = (round(edge) for edge in box)
    return left > 0 or top > 0 or right < width or bottom < height


def draw_box(picture: Picture, box: Box) -> Picture:
    """Outline a box with a thin light line inside a thin dark one, legible on any background.

    Args:
        picture: uint8 (H, W, 3).
        box: (left, top, right, bottom) in pixels.

    Returns:
        A copy; unchanged when the box holds the whole picture.
    """
    height, width = picture.shape[:2]
    result = picture.copy()
    if not is_part(box, width, height):
        return result
    left, top = max(round(box[0]), 0), max(round(box[1]), 0)
    right, bottom = min(round(box[2]), width), min(round(box[3]), height)
    line = max(1, round(min(height, width) / 300))
    for inset, colour in ((0, 0), (line, 255)):
        x0, y0, x1, y1 = left + inset, top + inset, right - inset, bottom - inset
        result[y0 : y0 + line, x0:x1] = colour
        result[max(y1 - line, y0) : y1, x0:x1] = colour
        result[y0:y1, x0 : x0 + line] = colour
        result[y0:y1, max(x1 - line, x0) : x1] = colour
    return result


def caption_picture(picture: Picture, text: str) -> Picture:
    """Write one line on the upper left of a picture, light on a dark strip.

    Args:
        picture: uint8 (H, W, 3).
        text: what to write; it is set smaller, down to 8 px, to fit the width.

    Returns:
        A copy, uint8 (H, W, 3).
    """
    height, width = picture.shape[:2]
    canvas = Image.fromarray(picture)
    draw = ImageDraw.Draw(canvas)
    path = findfont("DejaVu Sans")  # comes with Matplotlib and covers most alphabets
    size = max(8, round(min(height, width) / 18))
    font = ImageFont.truetype(path, size)
    while size > 8 and draw.textlength(text, font) + size > width:
        size -= 1
        font = ImageFont.truetype(path, size)
    pad = size // 2
    right, bottom = draw.textlength(text, font) + 2 * pad, 1.2 * size + pad
    draw.rectangle((0, 0, right, bottom), fill=style.INK)
    draw.text((pad, pad // 2), text, fill="white", font=font)
    return np.array(canvas)


def side_by_side(pictures: Sequence[Picture], gutter: int = 8) -> Picture:
    """Join pictures of one height (H, W, 3) from left to right with white gutters."""
    space = np.full((pictures[0].shape[0], gutter, 3), 255, np.uint8)
    parts = [part for picture in pictures for part in (space, picture)]
    return np.concatenate(parts[1:], axis=1)
