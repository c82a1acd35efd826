"""How far methods agree, pair by pair, as a heat map with the numbers in it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from xai.figures import style

CELL = 0.4  # inches
PALE = 0.6  # of the scale, from where a number is written in white


def agreement_heatmap(values: NDArray[np.floating], names: Sequence[str], *, measure: str, title: str) -> Figure:
    """Show a measure of agreement from -1 to 1 for every pair.

    Args:
        values: float (M, M), symmetric; NaN where it cannot be measured.
        names: M labels.
        measure: what it is, for the colour bar.
        title: which picture, class and network.
    """
    count = len(names)
    pairs = values[np.triu_indices(count, 1)]
    alt = (
        f"Heat map of {measure} for {count} methods ({', '.join(names)}), from {np.nanmin(pairs):.2f} to "
        f"{np.nanmax(pairs):.2f} between different ones."
    )
    side = CELL * count
    figure = style.new_figure(min(style.WIDTH, side + 3.0), side + 2.1, alt)
    figure.set_layout_engine("constrained")
    axes = figure.add_subplot()
    scale = style.colour_scale(1.0, signed=True)
    axes.imshow(values, cmap=scale.cmap, vmin=-1, vmax=1, interpolation="nearest")
    for row, column in np.ndindex(count, count):
        value = values[row, column]
        ink = "white" if abs(value) > PALE else style.INK
        text = "-" if np.isnan(value) else f"{value:.1f}".replace("-0.0", "0.0")
        axes.text(column, row, text, ha="center", va="center", size=style.TINY, color=ink)
    places = np.arange(count)
    axes.set_xticks(places, names, size=style.SMALL, color=style.INK, rotation=90, parse_math=False)
    axes.set_yticks(places, names, size=style.SMALL, color=style.INK, parse_math=False)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    bar = figure.colorbar(scale, ax=axes, shrink=0.6)
    bar.set_label(measure.capitalize(), size=style.LABEL, color=style.INK)
    bar.ax.tick_params(labelsize=style.SMALL, colors=style.MUTED)
    bar.outline.set_visible(False)
    heading = style.wrap(title, figure.get_size_inches()[0] - 0.2, style.BOLD * style.TITLE)
    figure.suptitle(heading, size=style.TITLE, color=style.INK, weight="bold", x=0.01, ha="left", parse_math=False)
    return figure
