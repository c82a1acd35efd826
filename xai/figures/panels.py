"""Titled pictures in rows with at most one colour bar: the frame that all grids of maps are drawn in."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from xai.figures import overlays, style

GAP = 0.08  # inches between panels
BAR = 1.15  # inches kept on the right for the colour bar and its numbers
NARROWEST, WIDEST = 4.0, 4.0  # inches: of a figure, of a panel
SHORTEST_BAR, LONGEST_BAR = 1.2, 3.2  # inches; a long label takes a longer bar
MOST_COLUMNS = 16  # unless asked for: a panel then still has room for a channel number
SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
LINE = 1.35  # line height of text, in font sizes


@dataclass(frozen=True)
class Scale:
    """What the colours of the panels mean: the scale itself, and the name and unit of its values."""

    colours: ScalarMappable
    label: str

    @property
    def shortest(self) -> float:
        """Inches of colour bar beside which the label fits in two lines."""
        return max(SHORTEST_BAR, 0.6 * (len(self.label) + 10) * 0.58 * style.LABEL / 72)


@dataclass(frozen=True)
class _Grid:
    """Where panels lie, in inches from the upper left of the figure."""

    columns: int
    wide: float  # of each panel
    high: float  # of the tallest panel
    top: float  # of the first row
    header: float  # of the titles over each row

    def place(self, index: int) -> tuple[float, float]:
        """The upper left corner of a panel."""
        row, column = divmod(index, self.columns)
        left = GAP + column * (self.wide + GAP)
        return left, self.top + row * (self.header + self.high + GAP) + self.header

    def size(self, count: int) -> tuple[float, float]:
        """The right and lower end of so many panels."""
        _, upper = self.place(count - 1)
        return GAP + self.columns * (self.wide + GAP), upper + self.high + GAP


def draw_panels(
    panels: Sequence[NDArray[np.uint8]],
    titles: Sequence[str] | None,
    *,
    alt: str,
    columns: int | None = None,
    suptitle: str | None = None,
    scale: Scale | None = None,
    box: overlays.Box | list[overlays.Box] | None = None,
    blocky: bool = True,
    room: tuple[float, float] = (0.0, 0.0),
) -> Figure:
    """Set panels in rows, at most 9 inches wide, so that nothing is squashed, clipped or cut off.

    Args:
        panels: RGB, uint8 (h, w, 3); sizes may differ, each is drawn as wide as the others.
        titles: one for each panel; long ones wrap.
        alt: one factual sentence for readers who do not see the figure.
        columns: panels per row; default as square as can be, at most MOST_COLUMNS.
        suptitle: what the figure shows.
        scale: drawn as a colour bar on the right.
        box: (left, top, right, bottom) in pixels of each panel, or one for each panel; outlined where smaller than it.
        blocky: enlarge pixel by pixel, as befits maps; else smoothly, as befits photographs.
        room: (width, height) in inches kept free on the right, beside and below the first row, for a legend.
    """
    if titles is not None and len(titles) != len(panels):
        raise ValueError(f"{len(titles)} titles for {len(panels)} panels.")
    columns = min(len(panels), columns or min(MOST_COLUMNS, math.ceil(math.sqrt(len(panels)))))
    bar = room[0] + (BAR if scale is not None else 0)
    wide = min((style.WIDTH - bar - (columns + 1) * GAP) / columns, WIDEST)
    width = max(GAP + columns * (wide + GAP) + bar, NARROWEST)
    size = style.LABEL if wide >= 1.3 else style.SMALL if wide >= 0.8 else style.TINY
    texts = [style.wrap(title, wide, size) for title in titles or []]
    heading = style.wrap(suptitle or "", width - 2 * GAP, style.BOLD * style.TITLE)
    high = wide * max(panel.shape[0] / panel.shape[1] for panel in panels)
    top = 2 * GAP + _height([heading], style.TITLE) if suptitle else GAP
    grid = _Grid(columns, wide, high, top, _height(texts, size))
    height = max(grid.size(len(panels))[1], top + grid.header + scale.shortest + 2 * GAP if scale else 0)
    height = max(height, top + grid.header + room[1] + GAP if room[1] else 0)

    figure = style.new_figure(width, height, alt)
    axes = figure.add_axes((0, 0, 1, 1), label="panels")
    axes.axis("off")
    axes.set(xlim=(0, width), ylim=(height, 0), autoscale_on=False)
    boxes: list[overlays.Box | None] = [*box] if isinstance(box, list) else [box] * len(panels)
    for index, (panel, each) in enumerate(zip(panels, boxes, strict=True)):
        _draw_panel(axes, panel, grid, index, each, blocky=blocky)
    for index, text in enumerate(texts):
        left, upper = grid.place(index)
        _write(axes, left + wide / 2, upper - 0.03, text, size=size, ha="center", va="bottom")
    if suptitle:
        _write(axes, GAP, GAP, heading, size=style.TITLE, weight="bold", va="top")
    if scale is not None:
        _colour_bar(figure, scale, grid, len(panels))
    return figure


def _height(texts: Sequence[str], size: float) -> float:
    """Inches that the tallest of the texts takes."""
    return max((text.count("\n") + 1 for text in texts), default=0) * size * LINE / 72


def _write(axes: Axes, x: float, y: float, text: str, **properties: Any) -> None:
    axes.text(x, y, text, color=style.INK, parse_math=False, **properties)  # a name may hold a "$"


def _draw_panel(
    axes: Axes, panel: NDArray[np.uint8], grid: _Grid, index: int, box: overlays.Box | None, *, blocky: bool
) -> None:
    left, upper = grid.place(index)
    height, width = panel.shape[:2]
    inches = grid.wide / width  # per pixel of the panel
    enlarged = inches * style.DPI >= 1
    axes.imshow(
        panel,
        extent=(left, left + inches * width, upper + inches * height, upper),
        interpolation="nearest" if blocky and enlarged else "antialiased",
        aspect="auto",
    )
    if box is not None and overlays.is_part(box, width, height):
        corner = left + box[0] * inches, upper + box[1] * inches
        size = (box[2] - box[0]) * inches, (box[3] - box[1]) * inches
        for colour, line in (("black", 1.8), ("white", 0.8)):
            axes.add_patch(Rectangle(corner, *size, fill=False, edgecolor=colour, linewidth=line))


def _colour_bar(figure: Figure, scale: Scale, grid: _Grid, count: int) -> None:
    """Draw the colour bar beside the first rows, with numbers at both ends and at zero."""
    width, height = figure.get_size_inches()
    right, bottom = grid.size(count)
    upper = grid.top + grid.header
    length = max(min(bottom - upper - GAP, LONGEST_BAR), scale.shortest)
    place = (right + GAP) / width, 1 - (upper + length) / height, 0.14 / width, length / height
    low, high = scale.colours.get_clim()
    power = math.floor(math.log10(high))
    power = 0 if -3 <= power < 3 else power  # very small and very large numbers: 1.2 and "× 10⁻⁵", not 1.2e-05
    label = scale.label + (f" (× 10{str(power).translate(SUPERSCRIPT)})" if power else "")
    bar = figure.colorbar(scale.colours, cax=figure.add_axes(place, label="scale"))
    ticks = np.linspace(low, high, 5).tolist()
    bar.set_ticks(ticks, labels=[f"{tick / 10**power:.3g}" for tick in ticks])
    bar.set_label(style.wrap(label, length, style.LABEL), size=style.LABEL, color=style.INK)
    bar.ax.tick_params(labelsize=style.SMALL, colors=style.MUTED)
    bar.outline.set_visible(False)
