"""Pictures for the screen: the source at display size, overlays on it, and channels packed for the scrubber."""

import math
import zlib
from collections.abc import Hashable
from dataclasses import dataclass

import numpy as np
import PIL.Image

from xai import ImageTrace
from xai.figures import style
from xai.figures.overlays import Box, draw_box, overlay, place_map
from xai.figures.sheets import encode_jpeg
from xai.io.images import Image
from xai.ui.caching import PICTURE_BYTES, byte_bounded
from xai.ui.components import Scale, Sprite, Stage

LONGEST = 640  # display pixels of the longer side
TILE = 112  # pixels of a channel in the sprite; larger maps are averaged down


@dataclass(frozen=True)
class Drawing:
    """How a map is drawn: colour map, largest opacity, and the share of the limit below which it is hidden."""

    colormap: str | None = None
    alpha: float = 0.6
    threshold: float = 0.0


@dataclass(frozen=True, eq=False)
class Display:
    """A source picture at display size: uint8 (H, W, 3), the same as JPEG, and display pixels per source pixel."""

    pixels: np.ndarray
    jpeg: bytes
    scale: float

    def box(self, source: Box) -> Box:
        """Carry a box from source pixels to display pixels."""
        left, top, right, bottom = (edge * self.scale for edge in source)
        return left, top, right, bottom


def display(image: Image) -> Display:
    """Bring a picture to display size, once."""
    return _display(image.digest, image)


@byte_bounded(PICTURE_BYTES // 2, lambda made: made.pixels.nbytes)
def _display(key: Hashable, image: Image) -> Display:
    scale = min(1.0, LONGEST / max(image.size)) if max(image.size) > LONGEST else max(1.0, 320 / max(image.size))
    width, height = (max(1, round(side * scale)) for side in image.size)
    pixels = np.asarray(image.to_pil().resize((width, height), PIL.Image.Resampling.LANCZOS))
    return Display(pixels, encode_jpeg(pixels, 90), width / image.width)


def stage(image: Image, box: Box) -> Stage:
    """Say where the pictures of one view lie on their source."""
    height, width = display(image).pixels.shape[:2]
    return Stage((width, height), (0, 0, image.width, image.height), box)


def framed(image: Image, box: Box) -> bytes:
    """Show the picture with the outline of what the network sees, as JPEG."""
    return _framed((image.digest, box), image, box)


@byte_bounded(PICTURE_BYTES // 8, len)
def _framed(key: Hashable, image: Image, box: Box) -> bytes:
    shown = display(image)
    return encode_jpeg(draw_box(shown.pixels, shown.box(box)), 90)


def overlaid(
    image: Image, values: np.ndarray, box: Box, drawing: Drawing, *, limit: float | None = None, signed: bool = False
) -> bytes:
    """Lay a map over the picture, as JPEG.

    Args:
        image: the source.
        values: float (h, w), covering `box`.
        box: part of the source, in its pixels.
        drawing: colours and opacity.
        limit: end of the colour scale; pictures that are compared take one.
        signed: whether both signs are shown.
    """
    shown = display(image)
    height, width = shown.pixels.shape[:2]
    where = shown.box(box)
    if limit is None:
        limit = style.value_limit(values, signed=signed)
    painted = overlay(
        shown.pixels,
        place_map(values, (width, height), where),
        signed=signed,
        limit=limit,
        alpha=drawing.alpha,
        colormap=drawing.colormap,
        threshold=drawing.threshold,
        box=where,
    )
    return encode_jpeg(painted)


def colour_scale(drawing: Drawing, limit: float, *, signed: bool, unit: str = "") -> Scale:
    """The colour bar that belongs to an overlay."""
    return Scale(level_colours(drawing.colormap, signed=signed), -limit if signed else 0.0, limit, unit)


def pack_channels(maps: np.ndarray, low: np.ndarray, high: np.ndarray, *, shared: bool, signed: bool) -> Sprite:
    """Pack the channels of a layer for the scrubber, as the levels of `style.value_levels`.

    Args:
        maps: float (C, h, w), any range.
        low, high: float (C,), smallest and largest value of each.
        shared: one scale for all channels; else each runs to its own largest |value|.
        signed: whether the scale has a negative half; without it values below zero count as zero.
    """
    ends = np.maximum(np.abs(low), high) if signed else np.maximum(high, 0)
    end = float(ends.max())
    limits = np.full(len(maps), end) if shared else ends
    shares = _shrink(maps) / np.where(limits > 0, limits, 1)[:, None, None].astype(np.float32)
    scale = ((-end if signed else 0.0), end) if shared else None
    return pack_tiles(style.value_levels(shares, 1.0, signed=signed), low, high, scale=scale, zero=128 if signed else 0)


def pack_tiles(
    tiles: np.ndarray, low: np.ndarray, high: np.ndarray, *, scale: tuple[float, float] | None = None, zero: int = 0
) -> Sprite:
    """Pack tiles for the scrubber: uint8 (C, h, w) levels, or (C, h, w, 3) colours."""
    packed = zlib.compress(np.ascontiguousarray(tiles).tobytes(), 1)
    return Sprite(packed, (tiles.shape[2], tiles.shape[1]), low, high, scale, zero)


def _shrink(maps: np.ndarray) -> np.ndarray:
    """Average maps (C, h, w) that are larger than a tile over square blocks."""
    block = math.ceil(max(maps.shape[1:]) / TILE)
    if block == 1:
        return maps
    height, width = (side // block for side in maps.shape[1:])
    cut = maps[:, : height * block, : width * block]
    return cut.reshape(len(maps), height, block, width, block).mean((2, 4))  # (C, h, w) -> (C, h / block, w / block)


def level_colours(colormap: str | None, *, signed: bool) -> np.ndarray:
    """The colours of the levels 0 to 255, uint8 (256, 3)."""
    return style.colormap_table(style.find_colormap(colormap, signed=signed))


def working_jpeg(traced: ImageTrace) -> bytes:
    """The working pixels of a traced picture, as the network gets them before normalisation, enlarged as JPEG."""
    pixels = traced.pixels[0].detach().permute(1, 2, 0).mul(255).round().byte().cpu().numpy()  # (3, h, w) -> (h, w, 3)
    height, width = pixels.shape[:2]
    times = max(1, 448 // max(height, width))
    picture = PIL.Image.fromarray(pixels).resize((width * times, height * times), PIL.Image.Resampling.BICUBIC)
    return encode_jpeg(np.asarray(picture), 90)
