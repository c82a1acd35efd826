"""Many small maps in one PNG, fast enough for sliders: contact sheets, sprites, and where each map lies."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageColor, ImageDraw, ImageFont

from xai.figures import style

GUTTER = 2  # px between tiles
CAPTION = 14  # px under each tile when there are captions
# The palette: the colours of the scale, then the gutter, the captions and the transparent empty places.
LEVELS = 252
GUTTER_LEVEL, CAPTION_LEVEL, EMPTY_LEVEL = LEVELS, LEVELS + 1, LEVELS + 2


@dataclass(frozen=True)
class SheetLayout:
    """Where the maps of a contact sheet lie, row by row from the upper left, in pixels."""

    count: int
    columns: int
    tile_width: int
    tile_height: int
    gutter: int = GUTTER
    caption: int = 0

    @property
    def rows(self) -> int:
        """Number of rows."""
        return math.ceil(self.count / self.columns)

    @property
    def width(self) -> int:
        """Pixels of the whole sheet."""
        return self.columns * (self.tile_width + self.gutter) - self.gutter

    @property
    def height(self) -> int:
        """Pixels of the whole sheet."""
        return self.rows * (self.tile_height + self.caption + self.gutter) - self.gutter

    def origin(self, index: int) -> tuple[int, int]:
        """The upper left pixel (x, y) of the map with this index."""
        row, column = divmod(index, self.columns)
        return column * (self.tile_width + self.gutter), row * (self.tile_height + self.caption + self.gutter)

    def index_at(self, x: int, y: int) -> int | None:
        """The index of the map at pixel (x, y), its caption included; None on gutters and empty places."""
        if not (0 <= x < self.width and 0 <= y < self.height):
            return None
        column, across = divmod(x, self.tile_width + self.gutter)
        row, down = divmod(y, self.tile_height + self.caption + self.gutter)
        index = row * self.columns + column
        on_tile = across < self.tile_width and down < self.tile_height + self.caption
        return index if on_tile and index < self.count else None


@dataclass(frozen=True)
class Sprite:
    """All maps of a layer in one PNG without gutters, to be cut into frames by a browser.

    Frame i lies at column i % columns, row i // columns. The colours run from `low` to `high`; where each map
    has a scale of its own these are the widest, and `limits` has the end of each.
    """

    png: bytes
    columns: int
    tile_width: int
    tile_height: int
    count: int
    low: float
    high: float
    limits: tuple[float, ...]


def sheet_layout(
    count: int, shape: tuple[int, int], *, columns: int | None = None, tile: int = 56, captions: bool = False
) -> SheetLayout:
    """Lay out a contact sheet.

    Args:
        count: number of maps, at least 1.
        shape: (h, w) of each; the longer side becomes `tile` pixels and the aspect ratio is kept.
        columns: maps per row; default as square as can be.
        tile: pixels of the longer side.
        captions: leave room for one under each map.
    """
    if count < 1:
        raise ValueError("A contact sheet needs at least one map.")
    height, width = shape
    scale = tile / max(height, width)
    return SheetLayout(
        count=count,
        columns=min(count, columns or math.ceil(math.sqrt(count))),
        tile_width=max(1, round(width * scale)),
        tile_height=max(1, round(height * scale)),
        caption=CAPTION if captions else 0,
    )


def contact_sheet(
    maps: NDArray[np.floating],
    *,
    columns: int | None = None,
    tile: int = 56,
    shared_scale: bool = True,
    limit: float | None = None,
    signed: bool = False,
    colormap: str | None = None,
    captions: Sequence[str] | None = None,
) -> bytes:
    """Show many maps at once.

    Args:
        maps: float (C, h, w), any range.
        columns, tile: as for `sheet_layout`, which tells where each map lies.
        shared_scale: one colour scale for all maps; else each map runs to its own largest value, so that weak
            ones show but none can be compared.
        limit: end of the shared scale; default that of the maps.
        signed: diverging colours; else values below zero count as zero.
        colormap: one of `style.colormap_names(signed=signed)`.
        captions: a short text for each map, such as its channel number.

    Returns:
        PNG bytes with a palette. Small maps are enlarged without smoothing, large ones averaged over areas.
    """
    layout = sheet_layout(
        len(maps), (maps.shape[1], maps.shape[2]), columns=columns, tile=tile, captions=captions is not None
    )
    limits = _limits(maps, shared_scale=shared_scale, limit=limit, signed=signed)
    tiles = _scaled_tiles(maps, limits, layout, signed=signed)
    sheet = Image.fromarray(_assemble(tiles, layout))
    sheet.putpalette(_palette(colormap, signed=signed))
    if captions is not None:
        _write_captions(sheet, layout, captions)
    return _png(sheet)


def sprite_sheet(
    maps: NDArray[np.floating],
    tile: int = 224,
    *,
    columns: int | None = None,
    shared_scale: bool = True,
    limit: float | None = None,
    signed: bool = False,
    colormap: str | None = None,
) -> Sprite:
    """Pack all maps for a viewer that flips through them by itself; arguments as for `contact_sheet`."""
    layout = sheet_layout(len(maps), (maps.shape[1], maps.shape[2]), columns=columns, tile=tile)
    layout = SheetLayout(layout.count, layout.columns, layout.tile_width, layout.tile_height, gutter=0)
    limits = _limits(maps, shared_scale=shared_scale, limit=limit, signed=signed)
    sheet = Image.fromarray(_assemble(_scaled_tiles(maps, limits, layout, signed=signed), layout))
    sheet.putpalette(_palette(colormap, signed=signed))
    high = float(limits.max())
    return Sprite(
        png=_png(sheet),
        columns=layout.columns,
        tile_width=layout.tile_width,
        tile_height=layout.tile_height,
        count=layout.count,
        low=-high if signed else 0.0,
        high=high,
        limits=tuple(float(end) for end in limits),
    )


def encode_png(picture: NDArray[np.uint8]) -> bytes:
    """Encode uint8 (H, W, 3) or (H, W) without loss, at the fastest compression."""
    return _png(Image.fromarray(picture))


def encode_jpeg(picture: NDArray[np.uint8], quality: int = 85) -> bytes:
    """Encode uint8 (H, W, 3) or (H, W) with little loss: for pictures on a screen, not for values."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    transparent = {"transparency": EMPTY_LEVEL} if image.mode == "P" else {}
    image.save(buffer, "PNG", compress_level=1, **transparent)
    return buffer.getvalue()


def _palette(colormap: str | None, *, signed: bool) -> bytes:
    table = style.colormap_table(style.find_colormap(colormap, signed=signed), LEVELS)
    gutter, caption = ImageColor.getrgb(style.FAINT), ImageColor.getrgb(style.INK)
    return table.tobytes() + bytes([*gutter, *caption, 255, 255, 255])


def _limits(maps: NDArray[np.floating], *, shared_scale: bool, limit: float | None, signed: bool) -> NDArray:
    """The end of each map's scale, (C,)."""
    if not shared_scale:
        return np.array([style.value_limit(values, signed=signed) for values in maps])
    return np.full(len(maps), style.value_limit(maps, signed=signed) if limit is None else limit)


def _scaled_tiles(
    maps: NDArray[np.floating], limits: NDArray, layout: SheetLayout, *, signed: bool
) -> NDArray[np.uint8]:
    """Bring maps (C, h, w) to levels (C, tile_height, tile_width)."""
    scale = np.where(limits > 0, limits, np.inf)[:, None, None]  # a scale of length 0: everything is zero
    with np.errstate(invalid="ignore"):  # infinite values are refused below
        shares = np.asarray(maps / scale, dtype=np.float32)
    for axis, size in ((1, layout.tile_height), (2, layout.tile_width)):
        if shares.shape[axis] > size:
            weights = _area_weights(shares.shape[axis], size)
            shares = np.moveaxis(np.moveaxis(shares, axis, -1) @ weights.T, -1, axis)
    levels = style.value_levels(shares, 1.0, signed=signed, levels=LEVELS)
    for axis, size in ((1, layout.tile_height), (2, layout.tile_width)):
        length = levels.shape[axis]
        if length < size:
            times = np.diff(np.arange(length + 1) * size // length)
            levels = np.repeat(levels, times, axis=axis)
    return levels


def _area_weights(length: int, size: int) -> NDArray[np.float32]:
    """Weights (size, length) by which each of `size` equal areas averages the pixels that it covers."""
    edges = np.linspace(0, length, size + 1)
    starts = np.arange(length)
    covered = np.minimum(edges[1:, None], starts + 1) - np.maximum(edges[:-1, None], starts)
    return (np.maximum(covered, 0) * size / length).astype(np.float32)


def _assemble(tiles: NDArray[np.uint8], layout: SheetLayout) -> NDArray[np.uint8]:
    """Set tiles (C, th, tw) in rows, uint8 (height, width); places without a map stay transparent."""
    cells = np.full(
        (
            layout.rows * layout.columns,
            layout.tile_height + layout.caption + layout.gutter,
            layout.tile_width + layout.gutter,
        ),
        EMPTY_LEVEL,
        np.uint8,
    )
    cells[: layout.count] = GUTTER_LEVEL
    cells[: layout.count, : layout.tile_height, : layout.tile_width] = tiles
    grid = cells.reshape(layout.rows, layout.columns, *cells.shape[1:]).transpose(0, 2, 1, 3)
    sheet = grid.reshape(layout.rows * cells.shape[1], layout.columns * cells.shape[2])
    return np.ascontiguousarray(sheet[: layout.height, : layout.width])


def _write_captions(sheet: Image.Image, layout: SheetLayout, captions: Sequence[str]) -> None:
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(CAPTION - 3)
    for index, text in enumerate(captions):
        x, y = layout.origin(index)
        middle = x + layout.tile_width / 2, y + layout.tile_height + CAPTION / 2
        draw.text(middle, text, fill=CAPTION_LEVEL, font=font, anchor="mm")
