"""Figures of pictures that a network was made to dream: start and result, the way between, photographs beside."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpecBase
from numpy.typing import NDArray

from xai.figures import style

COLUMNS = 4  # pictures in a row
PATCHES = 5  # photographs in a row
CURVE = 2.1  # inches of the curve where it has a row of its own
HEADER = 0.42  # inches of two lines of title


def dream_figure(
    pictures: NDArray[np.uint8],
    start: NDArray[np.uint8],
    objective: NDArray[np.floating],
    *,
    before: NDArray[np.floating],
    after: NDArray[np.floating],
    value_label: str,
    suptitle: str,
    patches: Sequence[NDArray[np.uint8]] = (),
    patch_titles: Sequence[str] = (),
) -> Figure:
    """Show where the pictures began, what became of them and how, and what in photographs does the same.

    Args:
        pictures: uint8 (n, h, w, 3).
        start: uint8 (h, w, 3), the first random picture.
        objective: float (steps, n), value of the goal before each step.
        before, after: float (n,), its value for the random and for the finished pictures.
        value_label: what the value is.
        suptitle: what was to be excited, in which network.
        patches: photographs or parts of them, uint8 (H, W, 3), of any sizes.
        patch_titles: as many.
    """
    count = len(pictures)
    rows = math.ceil((count + 1) / COLUMNS)
    beside = count + 1 <= COLUMNS // 2  # there is room for the curve in the first row
    patch_rows = math.ceil(len(patches) / PATCHES)
    shape = pictures.shape[1] / pictures.shape[2]
    heights = [rows * (HEADER + shape * style.WIDTH / COLUMNS), 0 if beside else CURVE]
    heights += [patch_rows * (HEADER + style.WIDTH / PATCHES)]
    alt = (
        f"{style.count(count, 'picture')} made from noise, {value_label.lower()} from {before.mean():.3g} to "
        f"{after.mean():.3g} on average in {len(objective)} steps; {style.count(len(patches), 'photograph')} beside."
    )
    figure = style.new_figure(style.WIDTH, 0.6 + sum(heights), alt)
    figure.set_layout_engine("constrained")
    heading = style.wrap(suptitle, style.WIDTH - 0.2, style.BOLD * style.TITLE)
    figure.suptitle(heading, size=style.TITLE, color=style.INK, weight="bold", x=0.01, ha="left", parse_math=False)
    kept = [height for height in heights if height]
    blocks = iter(figure.add_gridspec(len(kept), 1, height_ratios=kept))
    top = next(blocks).subgridspec(rows, COLUMNS)
    titles = [f"Start: {before[0]:.3g}", *(f"Picture {i + 1}: {value:.3g}" for i, value in enumerate(after))]
    _draw_row(figure, top, [start, *pictures], titles, style.WIDTH / COLUMNS, "pictures")
    curve = top[0, COLUMNS // 2 :] if beside else next(blocks)
    _draw_curve(figure.add_subplot(curve, label="curve"), objective, value_label)
    if patches:
        below = next(blocks).subgridspec(patch_rows, PATCHES)
        _draw_row(figure, below, patches, patch_titles, style.WIDTH / PATCHES, "patches")
    return figure


def _draw_row(
    figure: Figure,
    grid: GridSpecBase,
    pictures: Sequence[NDArray[np.uint8]],
    titles: Sequence[str],
    wide: float,
    label: str,
) -> None:
    for index, (picture, title) in enumerate(zip(pictures, titles, strict=True)):
        axes = figure.add_subplot(grid[index // grid.ncols, index % grid.ncols], label=label)
        axes.imshow(picture, interpolation="antialiased")
        axes.axis("off")
        axes.set_anchor("N")
        text = style.wrap(title, wide - 0.2, style.SMALL)
        axes.set_title(text, size=style.SMALL, color=style.INK, parse_math=False)


def _draw_curve(axes: Axes, objective: NDArray[np.floating], value_label: str) -> None:
    steps = np.arange(len(objective))
    for values in objective.T:
        axes.plot(steps, values, color=style.ACCENT, linewidth=1.4, alpha=1.0 if objective.shape[1] == 1 else 0.7)
    if len(steps) == 1:
        axes.scatter(np.zeros(objective.shape[1]), objective[0], color=style.ACCENT, s=14)
    axes.set_xlabel("Step", size=style.LABEL, color=style.INK)
    axes.set_ylabel(style.wrap(value_label, 2.2, style.LABEL), size=style.LABEL, color=style.INK)
    axes.spines[["top", "right", "left", "bottom"]].set_visible(False)
    axes.tick_params(labelsize=style.SMALL, colors=style.MUTED, length=3)
    axes.grid(color=style.FAINT, linewidth=0.8)
    axes.set_axisbelow(True)
