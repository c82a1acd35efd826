"""Figures of a training run: curves over epochs, and which classes are taken for which."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from xai.figures import style

_NAMED = 40  # classes that a matrix can name legibly


def draw_curves(history: Sequence[Mapping[str, float]]) -> Figure:
    """Draw loss and accuracy over epochs, for training and validation pictures.

    Args:
        history: one mapping per epoch, with epoch, train_loss, loss (nats), train_accuracy, top1, top5 (in [0, 1]).
    """
    epochs = [row["epoch"] for row in history]
    last = history[-1]
    alt = (
        f"Loss and accuracy over {style.count(len(history), 'epoch')}: at the end {100 * last['top1']:.1f} % top-1 and "
        f"{100 * last['top5']:.1f} % top-5 on validation pictures."
    )
    figure = style.new_figure(style.WIDTH, 3.6, alt)
    figure.set_layout_engine("constrained")
    left, right = figure.subplots(1, 2)
    marker = "o" if len(history) < 30 else None
    lines = (
        (left, "train_loss", 1, "training (augmented)", style.MUTED, "--"),
        (left, "loss", 1, "validation", style.ACCENT, "-"),
        (right, "train_accuracy", 100, "training top-1 (augmented)", style.MUTED, "--"),
        (right, "top1", 100, "validation top-1", style.ACCENT, "-"),
        (right, "top5", 100, "validation top-5", style.POSITIVE, "-"),
    )
    for axes, key, factor, label, colour, dash in lines:
        values = [factor * row[key] for row in history]
        axes.plot(epochs, values, dash, label=label, color=colour, marker=marker, markersize=3)
    for axes, name in ((left, "Cross entropy (nats)"), (right, "Right (%)")):
        axes.set_xlabel("Epoch", size=style.LABEL, color=style.INK)
        axes.set_ylabel(name, size=style.LABEL, color=style.INK)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=style.SMALL, colors=style.MUTED)
        axes.grid(color=style.FAINT, linewidth=0.8)
        axes.legend(fontsize=style.SMALL, frameon=False)
    right.set_ylim(0, 100)
    return figure


def draw_confusion(confusion: NDArray[np.integer], class_names: Sequence[str]) -> Figure:
    """Draw which share of each true class (row) was called what (column).

    Args:
        confusion: counts (K, K).
        class_names: K names; written out up to 40 classes.
    """
    totals = confusion.sum(1, keepdims=True)
    shares = np.divide(100 * confusion, totals, out=np.zeros(confusion.shape), where=totals > 0)
    found = np.trace(confusion) / max(1, confusion.sum())
    alt = f"Confusion matrix of {len(class_names)} classes: {100 * found:.1f} % of the pictures lie on the diagonal."
    named = len(class_names) <= _NAMED
    side = min(11.0, 3.2 + 0.24 * len(class_names)) if named else 7.5
    figure = style.new_figure(side + 1.0, side, alt)
    figure.set_layout_engine("constrained")
    axes = figure.add_subplot()
    colours = style.SEQUENTIAL[0]
    image = axes.imshow(shares, cmap=colours, vmin=0, vmax=100, interpolation="nearest")
    if named:
        places = range(len(class_names))
        axes.set_xticks(places, class_names, rotation=90, size=style.TINY, parse_math=False)
        axes.set_yticks(places, class_names, size=style.TINY, parse_math=False)
    axes.tick_params(labelsize=style.TINY, colors=style.MUTED)
    axes.set_xlabel("Predicted class" if named else "Predicted class (index)", size=style.LABEL, color=style.INK)
    axes.set_ylabel("True class" if named else "True class (index)", size=style.LABEL, color=style.INK)
    bar = figure.colorbar(image, ax=axes, shrink=0.8)
    bar.set_label("Share of the true class (%)", size=style.SMALL, color=style.INK)
    bar.ax.tick_params(labelsize=style.TINY, colors=style.MUTED)
    return figure
