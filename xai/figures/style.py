"""The palette, type sizes and colour maps of all figures, and the one rule that turns values into colours.

The rule: zero has one colour. In a sequential map it is the lowest one (values below zero count as zero), in
a diverging map the neutral centre. A scale runs from zero to `limit`, or from -limit to limit when signed.
"""

from __future__ import annotations

import io
import textwrap
from functools import lru_cache

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from xai.errors import UserError, one_of

INK = "#1f2937"  # text
MUTED = "#5b6472"  # axes, secondary text
FAINT = "#d5d9e0"  # grid lines, gutters
ACCENT = "#0e7490"  # bars and lines that carry the data
POSITIVE = "#b2182b"  # speaks for; the upper end of the default diverging map
NEGATIVE = "#2166ac"  # speaks against; its lower end

TITLE, LABEL, SMALL, TINY = (
    12.0,
    10.0,
    8.5,
    7.0,
)  # points; a figure 9 inches wide shows them unscaled at 900 px
BOLD = 1.15  # how much wider bold type runs
WIDTH = 9.0  # inches
DPI = 100

# Lightness rises or falls steadily along each, so they also work in grey and for colour-blind readers. The
# exception is turbo, offered for likeness with published saliency maps.
SEQUENTIAL = ("inferno", "magma", "plasma", "viridis", "cividis", "gray", "YlOrRd", "turbo")
# No red against green; the upper end is the warm one where there is one.
DIVERGING = ("RdBu_r", "PuOr_r", "coolwarm", "PRGn")


def colormap_names(*, signed: bool | None = None) -> tuple[str, ...]:
    """Names to offer, the default first: the diverging ones if signed, the sequential ones if not, or all."""
    if signed is None:
        return SEQUENTIAL + DIVERGING
    return DIVERGING if signed else SEQUENTIAL


def find_colormap(name: str | None, *, signed: bool) -> str:
    """Check the name of a colour map, None being the default.

    Raises:
        UserError: it is not one of `colormap_names(signed=signed)`.
    """
    names = colormap_names(signed=signed)
    if name is None:
        return names[0]
    if name not in names:
        raise one_of("diverging colour map" if signed else "sequential colour map", name, names)
    return name


@lru_cache(maxsize=64)
def colormap_table(name: str, levels: int = 256) -> NDArray[np.uint8]:
    """List the colours of a colour map by level.

    Args:
        name: one of `colormap_names()`.
        levels: how many, even.

    Returns:
        Read-only uint8 (levels, 3), RGB. Zero is level 0 of a sequential map and level levels / 2 of a
        diverging one, whose ends are the levels 1 and levels - 1.
    """
    if name not in colormap_names():
        raise one_of("colour map", name, colormap_names())
    if name in DIVERGING:
        half = levels // 2
        places = 0.5 + 0.5 * np.clip((np.arange(levels) - half) / (half - 1), -1, 1)
    else:
        places = np.linspace(0, 1, levels)
    colours = matplotlib.colormaps[name](places)[:, :3]  # (levels, 4) -> (levels, 3)
    table = np.rint(colours * 255).astype(np.uint8)
    table.setflags(write=False)
    return table


def value_limit(values: ArrayLike, *, signed: bool = False, within: float = 1.0) -> float:
    """Find the end of a scale: the largest |value| if signed, else the largest or 0.

    Args:
        values: float, any shape.
        signed: whether the scale has a negative half.
        within: share of the values that the scale must hold, in (0, 1]; a few far above all others would leave the rest
            pale. Where so few values differ from zero that it would be 0, all are held.
    """
    array = np.asarray(values)
    highest = float(array.max(initial=0))
    if signed:
        highest = max(highest, -float(array.min(initial=0)))
    if within < 1 and array.size:
        sizes = np.abs(array) if signed else np.maximum(array, 0)
        return float(np.quantile(sizes, within)) or highest
    return highest


def value_levels(values: ArrayLike, limit: float, *, signed: bool = False, levels: int = 256) -> NDArray[np.uint8]:
    """Turn values into levels of a `colormap_table`.

    Args:
        values: float, any shape.
        limit: end of the scale; values beyond it get the colour of the end. At 0 everything counts as zero.
        signed: as for the colour map.
        levels: length of the table, at most 256.

    Returns:
        Uint8 of the same shape.

    Raises:
        UserError: a value is NaN or infinite, which no colour can show.
    """
    array = np.asarray(values, dtype=np.float32)
    bad = array.size - int(np.count_nonzero(np.isfinite(array)))
    if bad:
        raise UserError(f"Cannot draw a map of which {bad} of {array.size} values are not finite numbers.")
    share = array / np.float32(limit) if limit > 0 else np.zeros_like(array)
    if signed:
        half = levels // 2
        return np.rint(half + (half - 1) * np.clip(share, -1, 1)).astype(np.uint8)
    return np.rint((levels - 1) * np.clip(share, 0, 1)).astype(np.uint8)


def colour_values(
    values: ArrayLike, limit: float, *, signed: bool = False, colormap: str | None = None
) -> NDArray[np.uint8]:
    """Colour values (...) as RGB (..., 3) by the rule of this module."""
    return colormap_table(find_colormap(colormap, signed=signed))[value_levels(values, limit, signed=signed)]


def colour_scale(limit: float, *, signed: bool = False, colormap: str | None = None) -> ScalarMappable:
    """The same scale as matplotlib draws it, for colour bars and heat maps."""
    end = limit if limit > 0 else 1.0
    colours = ListedColormap(colormap_table(find_colormap(colormap, signed=signed)) / 255)
    return ScalarMappable(Normalize(-end if signed else 0.0, end), colours)


def new_figure(width: float, height: float, alt: str) -> Figure:
    """Make an empty figure outside pyplot's global state.

    Args:
        width, height: inches.
        alt: one factual sentence for readers who do not see it; `figure.get_label()` gives it back.
    """
    figure = Figure(figsize=(width, height), dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)
    figure.set_label(alt)
    return figure


def wrap(text: str, inches: float, size: float) -> str:
    """Break a text into lines that fit; a character is about 0.58 font sizes wide."""
    return "\n".join(textwrap.wrap(text, max(4, int(inches * 72 / (0.58 * size)))))


def count(number: int, noun: str) -> str:
    """Write a number of things: "1 map", "3 maps"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def render_png(figure: Figure) -> bytes:
    """Draw a figure as PNG bytes, at its own size."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()
