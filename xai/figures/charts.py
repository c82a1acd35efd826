"""Charts of numbers: class probabilities, statistics per layer, similarity of filters, distributions."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike, NDArray

from xai.figures import style

NAME_WIDTH = 34  # characters after which a class name goes on in the next line


def prediction_bars(names: Sequence[str], probabilities: Sequence[float], *, title: str | None = None) -> Figure:
    """Show how sure a network is of each class.

    Args:
        names: class names, best first; long ones wrap.
        probabilities: as many, in [0, 1].
        title: what was classified.
    """
    labels = wrap_names(names, "\n")
    lines = sum(label.count("\n") + 1 for label in labels)
    best = f"{names[0]} leads with {format_share(probabilities[0])}"
    alt = f"Bar chart of the probabilities of {len(names)} classes: {best}."
    figure, axes = _chart(7.0, 0.95 + 0.18 * lines + 0.17 * len(names), alt, title)
    places = np.arange(len(names))
    percent = 100 * np.asarray(probabilities, dtype=float)
    bars = axes.barh(places, percent, height=0.62, color=style.ACCENT)
    texts = [format_share(p) for p in probabilities]
    axes.bar_label(bars, texts, padding=4, color=style.INK, size=style.LABEL)
    axes.set_yticks(places, labels, size=style.LABEL, color=style.INK, parse_math=False)
    axes.set(ylim=(len(names) - 0.4, -0.6), xlim=(0, 112), xticks=range(0, 101, 20))
    axes.set_xlabel("Probability (%)", size=style.LABEL, color=style.INK)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", color=style.FAINT, linewidth=0.8)
    return figure


def wrap_names(names: Sequence[str], newline: str) -> list[str]:
    """Break names that are too long for one line beside a chart."""
    return [newline.join(textwrap.wrap(name, NAME_WIDTH)) for name in names]


def format_share(share: float) -> str:
    """Write a share in [0, 1] as a percentage that never rounds something to nothing or to all."""
    percent = 100 * share
    if 0 < percent < 0.1:
        return "< 0.1 %"
    if 99.9 < percent < 100:
        return "> 99.9 %"
    return f"{percent:.1f} %"


def layer_chart(
    layers: Sequence[str],
    statistics: Mapping[str, Sequence[float]],
    *,
    title: str | None = None,
    noun: str = "layer",
) -> Figure:
    """Show statistics of every layer, the first layer on top, each statistic on an axis of its own.

    Args:
        layers: L names in forward order, or of other things in any order.
        statistics: axis label with unit, such as "Mean activation" or "Dead channels (%)", to L values.
        title: which network and image.
        noun: what the names name, "layer" or "method".
    """
    alt = f"Chart of {', '.join(statistics)} for {style.count(len(layers), noun)}, from {layers[0]} to {layers[-1]}."
    figure = style.new_figure(style.WIDTH, 1.1 + 0.2 * len(layers), alt)
    figure.set_layout_engine("constrained", wspace=0.06)
    panels = figure.subplots(1, len(statistics), sharey=True, squeeze=False)[0]
    places = np.arange(len(layers))
    for axes, (label, values) in zip(panels, statistics.items(), strict=True):
        _plain(axes)
        axes.barh(places, values, height=0.66, color=style.ACCENT)
        axes.set_xlabel(label, size=style.LABEL, color=style.INK)
        axes.set(ylim=(len(layers) - 0.4, -0.6))
        axes.locator_params(axis="x", nbins=4)
        axes.grid(axis="x", color=style.FAINT, linewidth=0.8)
        axes.axvline(0, color=style.MUTED, linewidth=0.8)
        if not np.any(values):
            axes.set_xlim(0, 1)
        axes.tick_params(axis="y", length=0)
    panels[0].set_yticks(places, layers, size=style.SMALL, color=style.INK, parse_math=False)
    panels[0].set_ylabel(noun.capitalize(), size=style.LABEL, color=style.INK)
    _title(figure, title)
    return figure


def similarity_heatmap(
    similarity: NDArray[np.floating], *, order: Sequence[int] | None = None, title: str | None = None
) -> Figure:
    """Show which filters resemble each other.

    Args:
        similarity: float (O, O), cosine in [-1, 1].
        order: filter indices along both axes, as from `filters.similarity_order`; default 0 to O - 1.
        title: which layer.
    """
    places = np.arange(len(similarity)) if order is None else np.asarray(order)
    alt = f"Heat map of the cosine similarity between {len(places)} filters, from -1 to 1."
    figure, axes = _chart(7.0, 6.0, alt, title)
    scale = style.colour_scale(1.0, signed=True)
    axes.imshow(similarity[np.ix_(places, places)], cmap=scale.cmap, vmin=-1, vmax=1, interpolation="nearest")
    step = max(1, -(-len(places) // 16))
    shown = np.arange(0, len(places), step)
    numbers = [str(places[i]) for i in shown]
    axes.set_xticks(shown, numbers, size=style.SMALL, rotation=90)
    axes.set_yticks(shown, numbers, size=style.SMALL)
    label = "Filter (index)" if order is None else "Filter (index, similar ones together)"
    axes.set_xlabel(label, size=style.LABEL, color=style.INK)
    axes.set_ylabel(label, size=style.LABEL, color=style.INK)
    bar = figure.colorbar(scale, ax=axes, shrink=0.8)
    bar.set_label("Cosine similarity", size=style.LABEL, color=style.INK)
    bar.ax.tick_params(labelsize=style.SMALL, colors=style.MUTED)
    bar.outline.set_visible(False)
    return figure


def histogram(
    values: ArrayLike,
    *,
    value_label: str,
    count_label: str = "Count",
    bins: int = 40,
    marks: Mapping[str, float] | None = None,
    title: str | None = None,
) -> Figure:
    """Show how values are distributed.

    Args:
        values: float, any shape.
        value_label: name and unit of the values.
        count_label: what is counted, such as "Filters".
        bins: number of equal bins between the smallest and the largest value.
        marks: label to value, drawn as vertical lines, for instance a threshold.
        title: where the values come from.
    """
    flat = np.asarray(values, dtype=float).ravel()
    alt = f"Histogram of {flat.size} values of {value_label} from {flat.min():.3g} to {flat.max():.3g}."
    figure, axes = _chart(7.0, 3.4, alt, title)
    axes.hist(flat, bins=bins, color=style.ACCENT)
    axes.set_xlabel(value_label, size=style.LABEL, color=style.INK)
    axes.set_ylabel(count_label, size=style.LABEL, color=style.INK)
    axes.grid(axis="y", color=style.FAINT, linewidth=0.8)
    axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    for line, (label, place) in enumerate((marks or {}).items()):
        axes.axvline(place, color=style.POSITIVE, linewidth=1.4)
        axes.annotate(
            label,
            (place, 1.0),
            (0, 3 + 1.4 * style.SMALL * line),  # one line each, so that close marks stay legible
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            va="bottom",
            size=style.SMALL,
            color=style.POSITIVE,
        )
    return figure


def _chart(width: float, height: float, alt: str, title: str | None) -> tuple[Figure, Axes]:
    """An empty chart whose labels are never cut off."""
    figure = style.new_figure(width, height, alt)
    figure.set_layout_engine("constrained")
    axes = figure.add_subplot()
    _plain(axes)
    _title(figure, title)
    return figure, axes


def _plain(axes: Axes) -> None:
    """Take away what carries no data."""
    axes.spines[["top", "right", "left", "bottom"]].set_visible(False)
    axes.tick_params(labelsize=style.SMALL, colors=style.MUTED, length=3)
    axes.set_axisbelow(True)


def _title(figure: Figure, title: str | None) -> None:
    if title:
        wrapped = style.wrap(title, figure.get_size_inches()[0] - 0.2, style.BOLD * style.TITLE)
        figure.suptitle(wrapped, size=style.TITLE, color=style.INK, weight="bold", x=0.01, ha="left", parse_math=False)
