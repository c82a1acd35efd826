"""Galleries of pictures, and words drawn in sizes: what a cluster looks like and what sets it apart."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from xai.figures import style
from xai.figures.concepts import COLOURS

Picture = NDArray[np.uint8]
CAPTION = 16  # px under a tile
GAP = 4  # px between tiles
FRAME = 3  # px
SMALLEST, LARGEST = 11, 64  # px, of words in a cloud
_FIXED = tuple(code for name, code in COLOURS.items() if name not in ("yellow", "black"))


def cluster_colours(count: int) -> tuple[str, ...]:
    """Give each cluster a colour: up to six told apart with every kind of colour vision, more by hue and lightness.

    Beyond about a dozen, colours repeat to the eye: a figure must name clusters too.
    """
    if count <= len(_FIXED):
        return _FIXED[:count]
    found = []
    for index in range(count):
        lightness = (0.40, 0.58, 0.30)[index % 3]
        red, green, blue = colorsys.hls_to_rgb(index / count, lightness, 0.62)
        found.append(f"#{round(255 * red):02x}{round(255 * green):02x}{round(255 * blue):02x}")
    return tuple(found)


def picture_sheet(
    pictures: Sequence[Picture],
    captions: Sequence[str] | None = None,
    *,
    columns: int = 8,
    tile: int = 72,
    frames: Sequence[str | None] | None = None,
) -> Picture:
    """Lay pictures out in rows, each in a square with its caption: one picture to show, uint8 (H, W, 3).

    Args:
        pictures: at least one, uint8 (h, w, 3); small ones are enlarged without smoothing.
        captions: a short text under each; it is cut to the width of a tile.
        columns: pictures per row.
        tile: pixels of a square.
        frames: a colour round each, or None.
    """
    columns = min(columns, len(pictures))
    rows, below = -(-len(pictures) // columns), CAPTION if captions is not None else 0
    size = columns * (tile + GAP) - GAP, rows * (tile + below + GAP) - GAP
    sheet = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.truetype(findfont("DejaVu Sans"), CAPTION - 5)
    for index, pixels in enumerate(pictures):
        row, column = divmod(index, columns)
        left, top = column * (tile + GAP), row * (tile + below + GAP)
        frame = frames[index] if frames else None
        if frame:
            draw.rectangle((left, top, left + tile - 1, top + tile - 1), fill=frame)
        inset = FRAME if frame else 0
        fitted = _fit(pixels, tile - 2 * inset)
        across, down = ((tile - side) // 2 for side in fitted.size)
        sheet.paste(fitted, (left + across, top + down))
        if captions is not None:
            text = _cut(draw, captions[index], font, tile)
            draw.text((left + tile / 2, top + tile + CAPTION / 2), text, fill=style.INK, font=font, anchor="mm")
    return np.asarray(sheet)


def _fit(pixels: Picture, side: int) -> Image.Image:
    """Bring a picture into a square; whole multiples stay sharp."""
    height, width = pixels.shape[:2]
    scale = side / max(height, width)
    way = Image.Resampling.NEAREST if scale >= 1 else Image.Resampling.LANCZOS
    return Image.fromarray(pixels).resize((max(1, round(width * scale)), max(1, round(height * scale))), way)


def _cut(draw: ImageDraw.ImageDraw, text: str, font: ImageFont.FreeTypeFont, width: int) -> str:
    while len(text) > 1 and draw.textlength(text, font) > width:
        text = text[:-2].rstrip() + "…"
    return text


def sheet_figure(picture: Picture, alt: str, *, title: str | None = None) -> Figure:
    """Put a sheet of pictures into a figure of its own size, as notebooks show it."""
    height, width = picture.shape[:2]
    scale = min(1.0, 100 * style.WIDTH / width) / 100  # inches per pixel
    top = 0.42 if title else 0.0
    figure = style.new_figure(max(width * scale, 3.0), height * scale + top, alt)
    whole = figure.get_size_inches()
    axes = figure.add_axes((0, 0, width * scale / whole[0], height * scale / whole[1]))
    axes.imshow(picture, interpolation="lanczos" if scale < 0.01 else "nearest", aspect="auto")
    axes.set_axis_off()
    if title:
        figure.suptitle(title, size=style.TITLE, color=style.INK, weight="bold", x=0.0, ha="left", parse_math=False)
    return figure


@dataclass(frozen=True)
class Placed:
    """A word of a cloud: its upper left corner and size in pixels."""

    term: str
    left: int
    top: int
    size: int


def place_words(
    words: Sequence[tuple[str, float]], size: tuple[int, int], allowed: NDArray[np.bool_] | None = None
) -> list[Placed]:
    """Place words so that none overlap, the heaviest first and nearest to the middle of what is allowed.

    Args:
        words: term and weight above 0; the area of the letters follows the weight.
        size: width and height in pixels.
        allowed: bool (height, width), where words may lie; None: everywhere.

    Returns:
        The words that found room; each is tried smaller before it is left out.
    """
    width, height = size
    free = np.ones((height, width), bool) if allowed is None else allowed.copy()
    down, across = np.nonzero(free)
    if not len(down) or not words:
        return []
    middle = float(down.mean()), float(across.mean())
    heaviest = max(weight for _, weight in words)
    found = []
    for term, weight in sorted(words, key=lambda word: -word[1]):
        letters = max(SMALLEST, round(min(LARGEST, height / 3) * (weight / heaviest) ** 0.5))
        placed = None
        while placed is None and letters >= SMALLEST:
            placed = _place(term, letters, free, middle)
            letters = round(letters * 0.85)
        if placed:
            found.append(placed)
    return found


def _place(term: str, letters: int, free: NDArray[np.bool_], middle: tuple[float, float]) -> Placed | None:
    """Find the free rectangle nearest to the middle, by sums over all rectangles of that size, and take it."""
    _, _, wide, high = _font(letters).getbbox(term)
    wide, high = int(wide) + 4, int(high) + 3
    height, width = free.shape
    if wide > width or high > height:
        return None
    sums = np.zeros((height + 1, width + 1), np.int64)
    sums[1:, 1:] = free.cumsum(0).cumsum(1)
    inside = sums[high:, wide:] - sums[:-high, wide:] - sums[high:, :-wide] + sums[:-high, :-wide]
    tops, lefts = np.nonzero(inside == wide * high)
    if not len(tops):
        return None
    far = ((tops + high / 2 - middle[0]) * 1.6) ** 2 + (lefts + wide / 2 - middle[1]) ** 2
    best = int(far.argmin())
    top, left = int(tops[best]), int(lefts[best])
    free[top : top + high, left : left + wide] = False
    return Placed(term, left + 2, top + 1, letters)


def _font(letters: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(findfont("DejaVu Sans"), letters)


def word_cloud(
    words: Sequence[tuple[str, float]],
    *,
    size: tuple[int, int] = (520, 260),
    colour: str = style.ACCENT,
    picture: Picture | None = None,
    strength: NDArray[np.floating] | None = None,
) -> Picture:
    """Draw words in sizes, all of them upright: uint8 (height, width, 3).

    Args:
        words: term and weight.
        size: width and height in pixels.
        colour: of the words.
        picture: uint8 (h, w, 3) to draw on, faded; the words then lie on its map.
        strength: float (h, w), a map over it: words stay where it is at least a fifth of its peak.
    """
    canvas = Image.new("RGB", size, "white")
    allowed = None
    if picture is not None:
        faded: NDArray[np.floating] = np.asarray(
            Image.fromarray(picture).resize(size, Image.Resampling.BICUBIC), np.float32
        )
        if strength is not None:
            shown = np.maximum(_stretch(strength, size), 0)
            top = float(shown.max())
            shown = shown / top if top else shown
            allowed = shown >= 0.2 if top else None
            faded = 255 - (255 - faded) * (0.12 + 0.25 * shown[..., None])
        else:
            faded = 255 - (255 - faded) * 0.25
        canvas = Image.fromarray(np.rint(faded).astype(np.uint8))
    draw = ImageDraw.Draw(canvas)
    for word in place_words(words, size, allowed):
        draw.text((word.left, word.top), word.term, fill=colour, font=_font(word.size))
    return np.asarray(canvas)


def _stretch(values: NDArray[np.floating], size: tuple[int, int]) -> NDArray[np.float32]:
    return np.asarray(Image.fromarray(values.astype(np.float32)).resize(size, Image.Resampling.BILINEAR))


def word_bars(words: Sequence[tuple[str, float, float, float]], *, title: str | None = None) -> Figure:
    """Show words with their weight, and how frequent each is inside and outside the cluster.

    Args:
        words: term, weight, score inside, score outside; the most telling first.
        title: which cluster.
    """
    names = ", ".join(word for word, *_ in words[:5])
    alt = f"Bars of the weights of {style.count(len(words), 'word')}: {names}."
    figure = style.new_figure(7.0, 0.9 + 0.26 * max(len(words), 1), alt)
    figure.set_layout_engine("constrained")
    axes = figure.add_subplot()
    places = np.arange(len(words))
    axes.barh(places, [weight for _, weight, *_ in words], height=0.7, color=style.ACCENT)
    texts = [f"{inside:.0%} here, {outside:.0%} elsewhere" for _, _, inside, outside in words]
    for place, (text, (_, weight, *_)) in enumerate(zip(texts, words, strict=True)):
        axes.annotate(text, (weight, place), (4, 0), textcoords="offset points", va="center", size=style.SMALL)
    axes.set_yticks(places, [word for word, *_ in words], size=style.LABEL, parse_math=False)
    axes.set(ylim=(len(words) - 0.4, -0.6), xlim=(0, 1.6 * max([weight for _, weight, *_ in words], default=1)))
    axes.set_xlabel("Contrastive c-TF-IDF", size=style.LABEL, color=style.INK)
    axes.spines[["top", "right", "left", "bottom"]].set_visible(False)
    axes.tick_params(length=0, labelsize=style.SMALL, colors=style.MUTED)
    if title:
        figure.suptitle(title, size=style.TITLE, color=style.INK, weight="bold", x=0.01, ha="left", parse_math=False)
    return figure


def as_rgb(colour: str, alpha: float = 1.0) -> str:
    """Write a colour as CSS wants it, with its opacity."""
    red, green, blue = (round(255 * part) for part in to_rgb(colour))
    return f"rgba({red},{green},{blue},{alpha:g})"
