"""Charts of a clustering: silhouettes, confusion with classes, consensus of replicas, sizes over training."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from xai.figures import style
from xai.figures.clusters import cluster_colours

Floats = NDArray[np.floating]
Ints = NDArray[np.integer]


def silhouette_chart(values: Floats, clusters: Ints, count: int, space: str, *, title: str | None = None) -> Figure:
    """Show the silhouette of every picture, cluster by cluster, largest first.

    Args:
        values: float (N,) in [-1, 1].
        clusters: int (N,).
        count: number of clusters.
        space: the features that they were measured in.
        title: which head.
    """
    mean = float(values.mean())
    alt = f"Silhouettes of {len(values)} pictures in {count} clusters, on average {mean:.2f}; space: {space}."
    figure, axes = _chart(7.5, min(9.0, 1.6 + 0.38 * count), alt, title)
    gap, start, ticks = max(1, len(values) // (12 * count)), 0, []
    for cluster, colour in enumerate(cluster_colours(count)):
        own = np.sort(values[clusters == cluster])[::-1]
        axes.fill_betweenx(np.arange(start, start + len(own)), 0, own, color=colour, step="mid", linewidth=0)
        ticks.append(start + len(own) / 2)
        start += len(own) + gap
    axes.axvline(mean, color=style.INK, linewidth=1, linestyle="--")
    axes.annotate(f"mean {mean:.2f}", (mean, 0), (3, 2), textcoords="offset points", size=style.SMALL, va="bottom")
    axes.axvline(0, color=style.MUTED, linewidth=0.8)
    axes.set_yticks(ticks, [str(cluster) for cluster in range(count)], size=style.SMALL)
    axes.set(ylim=(start, -gap), xlim=(min(-0.1, float(values.min(initial=0))), max(0.3, float(values.max(initial=0)))))
    axes.set_ylabel("Cluster", size=style.LABEL, color=style.INK)
    axes.set_xlabel(f"Silhouette ({space})", size=style.LABEL, color=style.INK)
    return figure


def confusion_chart(
    counts: Ints, class_names: Sequence[str], *, rows: str = "Class", columns: str = "Cluster", title: str | None = None
) -> Figure:
    """Show which share of each class fell into which cluster, with counts on the tiles where there is room.

    Args:
        counts: int (k, c), pictures by cluster and class.
        class_names: c names.
        rows, columns: what classes and clusters are called; two heads can be held against each other too.
        title: which head and split.
    """
    by_class = counts.T
    rates = by_class / np.maximum(by_class.sum(1, keepdims=True), 1)
    clusters, classes = counts.shape
    alt = f"{rows} by {columns.lower()}: {classes} rows of {clusters} tiles; each row adds up to 100 %."
    size = max(5.5, 2.2 + 0.42 * clusters), max(2.6, 1.3 + 0.34 * classes)
    figure, axes = _chart(min(size[0], 11.0), min(size[1], 11.0), alt, title)
    scale = style.colour_scale(1.0, colormap="YlOrRd")
    axes.imshow(rates, cmap=scale.cmap, vmin=0, vmax=1, aspect="auto", interpolation="nearest")
    if clusters <= 24:
        for row, column in np.argwhere(by_class > 0):
            colour = "white" if rates[row, column] > 0.6 else style.INK
            number = str(by_class[row, column])
            axes.text(column, row, number, ha="center", va="center", size=style.TINY, color=colour)
    axes.set_xticks(range(clusters), [str(cluster) for cluster in range(clusters)], size=style.SMALL)
    axes.set_yticks(range(classes), list(class_names), size=style.SMALL, parse_math=False)
    axes.set_xlabel(columns, size=style.LABEL, color=style.INK)
    axes.set_ylabel(rows, size=style.LABEL, color=style.INK)
    bar = figure.colorbar(scale, ax=axes, shrink=0.9)
    bar.set_label(f"Share of the {rows.lower()}", size=style.LABEL, color=style.INK)
    bar.outline.set_visible(False)
    return figure


def consensus_chart(consensus: Floats, *, title: str | None = None) -> Figure:
    """Show how often replicas put a picture of one cluster and one of another together.

    Args:
        consensus: float (k, k) in [0, 1], NaN where there is no pair.
        title: which head.
    """
    count = len(consensus)
    own = float(np.nanmean(consensus.diagonal())) if np.isfinite(consensus.diagonal()).any() else float("nan")
    alt = f"Consensus of replicas over {count} clusters; within a cluster {own:.2f} on average."
    figure, axes = _chart(min(9.0, 3.0 + 0.3 * count), min(8.0, 2.4 + 0.3 * count), alt, title)
    scale = style.colour_scale(1.0, colormap="viridis")
    axes.imshow(np.ma.masked_invalid(consensus), cmap=scale.cmap, vmin=0, vmax=1, interpolation="nearest")
    axes.set_xticks(range(count), [str(i) for i in range(count)], size=style.SMALL)
    axes.set_yticks(range(count), [str(i) for i in range(count)], size=style.SMALL)
    axes.set_xlabel("Cluster", size=style.LABEL, color=style.INK)
    axes.set_ylabel("Cluster", size=style.LABEL, color=style.INK)
    bar = figure.colorbar(scale, ax=axes, shrink=0.9)
    bar.set_label("Probability to be put together", size=style.LABEL, color=style.INK)
    bar.outline.set_visible(False)
    return figure


def usage_chart(moments: Sequence[tuple[str, int]], shares: Floats, *, title: str | None = None) -> Figure:
    """Show the sizes of clusters over training, stages side by side.

    Args:
        moments: stage and epoch of each of E rows.
        shares: float (E, k), of the held-out pictures, rows sum to 1.
        title: which head.
    """
    stages = [stage for stage, _ in moments]
    alt = f"Shares of {shares.shape[1]} clusters over {len(moments)} epochs of {', '.join(dict.fromkeys(stages))}."
    figure, axes = _chart(style.WIDTH, 3.6, alt, title)
    places = np.arange(len(moments))
    wide = (places[0] - 0.5, places[-1] + 0.5)
    # A single row would have no width: each row is a step as wide as its epoch.
    edges = np.concatenate([places - 0.5, places + 0.5]).reshape(2, -1).T.ravel()
    axes.stackplot(edges, np.repeat(100 * shares.T, 2, axis=1), colors=cluster_colours(shares.shape[1]), lw=0)
    for place in range(1, len(stages)):
        if stages[place] != stages[place - 1]:
            axes.axvline(place - 0.5, color="white", linewidth=2)
    _name_stages(axes, stages)
    shown = places[:: max(1, len(places) // 12)]
    axes.set_xticks(shown, [str(moments[i][1]) for i in shown], size=style.SMALL)
    axes.set(xlim=wide, ylim=(0, 100))
    axes.set_xlabel("Epoch", size=style.LABEL, color=style.INK)
    axes.set_ylabel("Share of held-out pictures (%)", size=style.LABEL, color=style.INK)
    return figure


def _name_stages(axes: Axes, stages: Sequence[str]) -> None:
    """Name stages over their first epoch, each on the lowest line where it does not run into another name."""
    character = 0.58 * style.SMALL * len(stages) / (72 * (style.WIDTH - 1))  # in epochs
    lines: list[float] = []  # where the last name on each line ends
    for stage in dict.fromkeys(stages):
        wide = (len(stage) + 1) * character
        start = min(stages.index(stage), len(stages) - wide)
        line = next((i for i, end in enumerate(lines) if end <= start), len(lines))
        lines[line : line + 1] = [start + wide]
        axes.annotate(
            stage,
            (start - 0.5, 1),
            (0, 3 + 11 * line),
            ("data", "axes fraction"),
            "offset points",
            size=style.SMALL,
            color=style.INK,
        )


def calibration_chart(confidence: Floats, accuracy: Floats, counts: Ints, error: float) -> Figure:
    """Show how often pictures of each confidence were right; bars on the diagonal are calibrated.

    Args:
        confidence, accuracy: float (bins,), NaN in an empty bin.
        counts: int (bins,).
        error: expected calibration error.
    """
    figure, axes = _chart(5.5, 4.2, f"Calibration of {counts.sum()} pictures, expected error {error:.3f}.", None)
    width = 1 / len(counts)
    middle = (np.arange(len(counts)) + 0.5) * width
    axes.bar(middle, np.nan_to_num(accuracy), width * 0.92, color=style.ACCENT)
    axes.plot([0, 1], [0, 1], color=style.MUTED, linestyle="--", linewidth=1)
    axes.plot(confidence, accuracy, "o", color=style.POSITIVE, markersize=4)
    axes.set(xlim=(0, 1), ylim=(0, 1))
    axes.set_xlabel("Confidence", size=style.LABEL, color=style.INK)
    axes.set_ylabel(f"Share right (expected error {error:.3f})", size=style.LABEL, color=style.INK)
    return figure


def _chart(width: float, height: float, alt: str, title: str | None) -> tuple[Figure, Axes]:
    figure = style.new_figure(width, height, alt)
    figure.set_layout_engine("constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right", "left", "bottom"]].set_visible(False)
    axes.tick_params(labelsize=style.SMALL, colors=style.MUTED, length=3)
    axes.set_axisbelow(True)
    if title:
        wrapped = style.wrap(title, width - 0.2, style.BOLD * style.TITLE)
        figure.suptitle(wrapped, size=style.TITLE, color=style.INK, weight="bold", x=0.01, ha="left", parse_math=False)
    return figure, axes
