"""Figures of attacks: a picture, its change and the changed picture, maps before and after, and curves over size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from xai.figures import overlays, style
from xai.figures.panels import Scale, draw_panels

MOST_TIMES = 127.0  # how much a change is amplified at most: one 8-bit step then fills the scale
COLOURS = (style.ACCENT, style.POSITIVE, style.MUTED)
MARKS = ("o", "s", "^")


def attack_figure(
    original: NDArray[np.floating],
    changed: NDArray[np.floating],
    *,
    said: tuple[str, str],
    maps: tuple[NDArray[np.floating], NDArray[np.floating]],
    names: Sequence[str],
    signed: bool = False,
    alpha: float = 0.6,
    colormap: str | None = None,
    threshold: float = 0.0,
    suptitle: str | None = None,
    value_label: str = "Attribution",
) -> Figure:
    """Show a picture, what was added to it and the result, and the maps of the classes for both on one scale.

    Args:
        original, changed: float (h, w, 3) in [0, 1].
        said: what the network says to each.
        maps: float (K, h, w) for each.
        names: of the K classes.
        signed, alpha, colormap, threshold: as for `overlays.overlay`.
        suptitle: what the figure shows.
        value_label: name and unit of the maps' values.
    """
    change = changed - original
    times = amplification(change)
    before, after = to_bytes(original), to_bytes(changed)
    limit = style.value_limit(np.concatenate(maps), signed=signed)
    lay = partial(overlays.overlay, signed=signed, limit=limit, alpha=alpha, colormap=colormap, threshold=threshold)
    blank = np.full_like(before, 255)  # so that before and after stand below each other
    panels = [before, change_picture(change, times), after]
    titles = [f"Before: {said[0]}", f"Change × {times:.3g}, mid grey is none", f"After: {said[1]}"]
    for index, name in enumerate(names):
        panels += [lay(before, maps[0][index]), blank, lay(after, maps[1][index])]
        titles += [f"Before, map of {name}", "", f"After, map of {name}"]
    bar = Scale(style.colour_scale(limit, signed=signed, colormap=colormap), f"{value_label}, all maps")
    alt = (
        f"A picture ({said[0]}), its change by at most {np.abs(change).max() * 255:.3g}/255 and the changed picture "
        f"({said[1]}); maps of {' and '.join(names)} for both on one scale to {limit:.3g}."
    )
    return draw_panels(panels, titles, columns=3, suptitle=suptitle, alt=alt, scale=bar)


def to_bytes(picture: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Turn values in [0, 1] into 8 bits."""
    return np.rint(np.clip(picture, 0, 1) * 255).astype(np.uint8)


def amplification(change: NDArray[np.floating]) -> float:
    """Return the whole number that makes the largest change fill the scale around mid grey, at most MOST_TIMES."""
    largest = float(np.abs(change).max(initial=0))
    return float(np.floor(np.clip(0.5 / largest, 1, MOST_TIMES))) if largest > 0 else 1.0


def change_picture(change: NDArray[np.floating], times: float) -> NDArray[np.uint8]:
    """Show a change (h, w, 3) as a picture: no change is mid grey (128), a positive one lighter in its colour."""
    return np.clip(np.rint(128 + 255 * times * change.astype(np.float64)), 0, 255).astype(np.uint8)


def sweep_chart(epsilons: ArrayLike, curves: Mapping[str, ArrayLike], *, title: str | None = None) -> Figure:
    """Show shares in percent against the size of the change.

    Args:
        epsilons: sizes, in pixel units.
        curves: name to as many shares in [0, 1]; at most three.
        title: which attack, network and pictures.
    """
    sizes = 255 * np.asarray(epsilons, dtype=float)
    shares = {name: 100 * np.asarray(values, dtype=float) for name, values in curves.items()}
    ends = "; ".join(f"{name.lower()} from {values[0]:.1f} to {values[-1]:.1f} %" for name, values in shares.items())
    figure = style.new_figure(7.0, 4.2, f"Curves over the size of the change to {sizes.max():.3g}/255: {ends}.")
    figure.set_layout_engine("constrained")
    axes = figure.add_subplot()
    for (name, values), colour, mark in zip(shares.items(), COLOURS, MARKS, strict=False):
        axes.plot(sizes, values, color=colour, marker=mark, markersize=4.5, linewidth=1.6, label=name, clip_on=False)
    axes.set_xlabel("Epsilon (steps of an 8-bit picture, 1/255)", size=style.LABEL, color=style.INK)
    axes.set_ylabel("Share (%)", size=style.LABEL, color=style.INK)
    axes.set(ylim=(0, 100), yticks=range(0, 101, 20))
    axes.spines[["top", "right", "left", "bottom"]].set_visible(False)
    axes.tick_params(labelsize=style.SMALL, colors=style.MUTED, length=3)
    axes.grid(color=style.FAINT, linewidth=0.8)
    axes.set_axisbelow(True)
    figure.legend(loc="outside lower left", ncols=1, frameon=False, fontsize=style.LABEL, labelcolor=style.INK)
    if title:
        wrapped = style.wrap(title, 6.8, style.BOLD * style.TITLE)
        figure.suptitle(wrapped, size=style.TITLE, color=style.INK, weight="bold", x=0.01, ha="left", parse_math=False)
    return figure
