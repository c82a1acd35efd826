"""Curves beside each other over one quantity, clouds of points against the line of equality, bars with their error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter
from numpy.typing import ArrayLike

from xai.figures import style

COLOURS = (style.ACCENT, style.POSITIVE, style.MUTED, style.INK)
MARKS = ("o", "s", "^", "D")
BAR_HEIGHT = 0.2  # inches of a row


@dataclass(frozen=True)
class Curve:
    """Values over places, and where they spread, the ends of their range.

    Attributes:
        name: for the legend.
        values: one for each place.
        low, high: as many, or None.
    """

    name: str
    values: Sequence[float]
    low: Sequence[float] | None = None
    high: Sequence[float] | None = None


def curve_panels(
    places: Sequence[float],
    panels: Mapping[str, Sequence[Curve]],
    *,
    place_label: str,
    alt: str,
    title: str,
    logarithmic: bool = False,
    limits: tuple[float, float] | None = None,
    mark: tuple[str, float] | None = None,
) -> Figure:
    """Show curves over the same places, each panel with a value axis of its own.

    Args:
        places: ascending; above 0 where `logarithmic`.
        panels: label of the value axis to at most four curves.
        place_label: name and unit of the places.
        alt, title: what the figure shows, for those who do not see it and those who do.
        logarithmic: whether equal steps are equal factors.
        limits: ends of every value axis; default as the values need.
        mark: name and place of a line across, such as a default.
    """
    figure = style.new_figure(style.WIDTH, 3.6 if len(panels) > 1 else 3.9, alt)
    figure.set_layout_engine("constrained", wspace=0.06)
    for axes, (label, curves) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True):
        for curve, colour, sign in zip(curves, COLOURS, MARKS, strict=False):
            axes.plot(places, curve.values, color=colour, marker=sign, markersize=4.5, linewidth=1.6, label=curve.name)
            if curve.low is not None and curve.high is not None:
                axes.fill_between(places, curve.low, curve.high, color=colour, alpha=0.15, linewidth=0)
        if logarithmic:
            axes.set_xscale("log")
            axes.set_xticks(places)
            axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axes.xaxis.set_minor_formatter(NullFormatter())
        if limits is not None:
            axes.set_ylim(*limits)
        if mark is not None:
            axes.axvline(mark[1], color=style.MUTED, linestyle="--", linewidth=1.2, label=mark[0])
        _frame(axes, place_label, label)
        axes.legend(fontsize=style.SMALL, frameon=False, labelcolor=style.INK)
    _title(figure, title)
    return figure


def point_cloud(
    first: ArrayLike, second: ArrayLike, weights: ArrayLike, *, labels: tuple[str, str], alt: str, title: str
) -> Figure:
    """Show pairs of values in shares of 1, larger points counting more, against the line where both are equal.

    Args:
        first, second: as many values, across and up.
        weights: of each pair, from 0 on.
        labels: of both axes.
        alt, title: as for `curve_panels`.
    """
    across, up, heavy = (np.asarray(each, dtype=float) for each in (first, second, weights))
    low, high = min(across.min(), up.min()), max(across.max(), up.max())
    figure = style.new_figure(6.4, 5.2, alt)
    figure.set_layout_engine("constrained")
    axes = figure.add_subplot()
    axes.plot([low, high], [low, high], color=style.MUTED, linewidth=1.2, linestyle="--", label="Both equal")
    sizes = 4 + 36 * heavy / (heavy.max() or 1.0)
    axes.scatter(across, up, s=sizes, color=style.ACCENT, alpha=0.35, linewidth=0, label="A sample; larger: nearer")
    _frame(axes, *labels)
    axes.legend(fontsize=style.SMALL, frameon=False, labelcolor=style.INK, loc="upper left")
    _title(figure, title)
    return figure


def bars_with_errors(
    names: Sequence[str], values: ArrayLike, errors: ArrayLike, *, value_label: str, alt: str, title: str
) -> Figure:
    """Show signed values as bars, the first on top, each with a line of plus and minus its error.

    Args:
        names: of the bars.
        values, errors: as many; an error of NaN has no line.
        value_label: name and unit of the values.
        alt, title: as for `curve_panels`.
    """
    sizes, spread = np.asarray(values, dtype=float), np.asarray(errors, dtype=float)
    figure = style.new_figure(7.0, 1.2 + BAR_HEIGHT * len(names), alt)
    figure.set_layout_engine("constrained")
    axes = figure.add_subplot()
    colours = [style.POSITIVE if value > 0 else style.NEGATIVE for value in sizes]
    places = np.arange(len(names))
    axes.barh(places, sizes, height=0.66, color=colours, xerr=np.nan_to_num(spread), ecolor=style.INK, capsize=2)
    axes.axvline(0, color=style.MUTED, linewidth=0.8)
    axes.set_yticks(places, names, parse_math=False)
    axes.set_ylim(len(names) - 0.4, -0.6)
    _frame(axes, value_label, "")
    axes.tick_params(axis="y", length=0, labelcolor=style.INK)
    _title(figure, title)
    return figure


def _frame(axes: Axes, across: str, up: str) -> None:
    """Label both axes and take away what carries no data."""
    axes.set_xlabel(across, size=style.LABEL, color=style.INK)
    axes.set_ylabel(up, size=style.LABEL, color=style.INK)
    axes.spines[["top", "right", "left", "bottom"]].set_visible(False)
    axes.tick_params(labelsize=style.SMALL, colors=style.MUTED, length=3)
    axes.grid(color=style.FAINT, linewidth=0.8)
    axes.set_axisbelow(True)


def _title(figure: Figure, title: str) -> None:
    wrapped = style.wrap(title, figure.get_size_inches()[0] - 0.2, style.BOLD * style.TITLE)
    figure.suptitle(wrapped, size=style.TITLE, color=style.INK, weight="bold", x=0.01, ha="left", parse_math=False)
