"""Labelled figures of many maps, overlays or kernels on one scale, for notebooks, reports and files."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from xai.figures import overlays, style
from xai.figures.panels import Scale, draw_panels

Maps = Sequence[NDArray[np.floating]] | NDArray[np.floating]


def map_grid(
    maps: Maps,
    titles: Sequence[str] | None = None,
    *,
    columns: int | None = None,
    signed: bool = False,
    limit: float | None = None,
    colormap: str | None = None,
    suptitle: str | None = None,
    value_label: str = "Activation",
) -> Figure:
    """Show maps side by side on one scale with a colour bar.

    Args:
        maps: float (C, h, w), or a sequence of (h, w) whose sizes may differ; drawn without smoothing.
        titles: one for each map; long ones wrap.
        columns: maps per row; default as square as can be, at most 16.
        signed, limit, colormap: as for `overlays.overlay`; the limit is shared.
        suptitle: what the figure shows.
        value_label: name and unit of the values, for the colour bar.
    """
    limit = _shared_limit(maps, signed=signed) if limit is None else limit
    scale = Scale(style.colour_scale(limit, signed=signed, colormap=colormap), value_label)
    panels = [style.colour_values(values, limit, signed=signed, colormap=colormap) for values in maps]
    alt = f"{style.count(len(panels), 'map')} on one scale, {_span(limit, value_label, signed=signed)}."
    return draw_panels(panels, titles, columns=columns, suptitle=suptitle, alt=alt, scale=scale)


def overlay_row(
    picture: NDArray[np.uint8],
    maps: Maps,
    titles: Sequence[str],
    *,
    signed: bool = False,
    limit: float | None = None,
    alpha: float = 0.6,
    colormap: str | None = None,
    threshold: float = 0.0,
    box: overlays.Box | None = None,
    columns: int | None = None,
    suptitle: str | None = None,
    value_label: str = "Attribution",
) -> Figure:
    """Show a picture and the maps laid over it, on one scale with a colour bar.

    Args:
        picture: uint8 (H, W, 3).
        maps: K float maps (H, W) on the pixels of the picture (`overlays.place_map`).
        titles: K titles; the picture itself is called "Picture".
        signed, limit, alpha, colormap, threshold, box: as for `overlays.overlay`; the limit is shared.
        columns: panels per row; default all in one row up to 4, then as square as can be.
        suptitle, value_label: as for `map_grid`.
    """
    limit = _shared_limit(maps, signed=signed) if limit is None else limit
    scale = Scale(style.colour_scale(limit, signed=signed, colormap=colormap), value_label)
    lay = partial(overlays.overlay, picture, signed=signed, limit=limit, alpha=alpha, threshold=threshold)
    panels = [picture, *(lay(values, colormap=colormap) for values in maps)]
    if columns is None:
        columns = len(panels) if len(panels) <= 4 else min(4, math.ceil(math.sqrt(len(panels))))
    what = f"A picture and {style.count(len(maps), 'map')} laid over it ({', '.join(titles)})"
    alt = f"{what} on one scale, {_span(limit, value_label, signed=signed)}."
    return draw_panels(
        panels,
        ["Picture", *titles],
        columns=columns,
        suptitle=suptitle,
        alt=alt,
        scale=scale,
        box=box,
        blocky=False,
    )


def overlay_grid(
    picture: NDArray[np.uint8],
    rows: Sequence[Maps],
    row_titles: Sequence[str],
    column_titles: Sequence[str],
    *,
    signed: bool = False,
    alpha: float = 0.6,
    colormap: str | None = None,
    threshold: float = 0.0,
    boxes: Sequence[overlays.Box] | None = None,
    columns: int | None = None,
    suptitle: str | None = None,
) -> Figure:
    """Show maps laid over one picture: a row for each method, a column for each class, all on the scale -1 to 1.

    Args:
        picture: uint8 (H, W, 3).
        rows: R times K float maps (H, W), each row in shares of its own limit.
        row_titles, column_titles: R and K texts.
        signed, alpha, colormap, threshold: as for `overlays.overlay`.
        boxes: R boxes as for `overlays.overlay`, outlined in each row.
        columns: panels side by side; by default a column for each class, or for one class up to 4 methods.
        suptitle: what the figure shows.
    """
    label = "Share of the limit above each map"
    scale = Scale(style.colour_scale(1.0, signed=signed, colormap=colormap), label)
    lay = partial(overlays.overlay, picture, signed=signed, limit=1.0, alpha=alpha, threshold=threshold)
    panels = [lay(values, colormap=colormap) for row in rows for values in row]
    outlines = [box for box, row in zip(boxes, rows, strict=True) for _ in row] if boxes else None
    lines = [title.replace("\n", " · ") for title in row_titles]
    titles = [f"{line} · {name}" if len(column_titles) > 1 else line for line in lines for name in column_titles]
    alt = (
        f"{style.count(len(panels), 'overlay')} on one picture, by method ({'; '.join(lines)}) and class "
        f"({', '.join(column_titles)}); colours show shares of the limit of each method."
    )
    if columns is None:
        columns = len(column_titles) if len(column_titles) > 1 else min(4, len(rows))
    return draw_panels(
        panels, titles, columns=columns, suptitle=suptitle, alt=alt, scale=scale, box=outlines, blocky=False
    )


def kernel_grid(
    kernels: NDArray[np.floating],
    titles: Sequence[str] | None = None,
    *,
    columns: int | None = None,
    colormap: str | None = None,
    suptitle: str | None = None,
) -> Figure:
    """Show the kernels of a convolution.

    Args:
        kernels: float (O, kh, kw, 3) in [0, 1] with zero at 0.5, as from `filters.kernel_colours`, drawn as
            colours; or float (O, kh, kw), signed weights, drawn on one diverging scale with a colour bar.
        titles, columns, suptitle: as for `map_grid`.
        colormap: a diverging one, for signed weights.
    """
    if kernels.ndim == 3:
        return map_grid(
            kernels,
            titles,
            columns=columns,
            signed=True,
            colormap=colormap,
            suptitle=suptitle,
            value_label="Weight",
        )
    panels = list(np.rint(np.clip(kernels, 0, 1) * 255).astype(np.uint8))
    size = f"{kernels.shape[1]} x {kernels.shape[2]}"
    alt = f"{style.count(len(panels), 'kernel')} of {size} weights in colour on one scale; mid grey is zero."
    suptitle = f"{suptitle or 'Kernels'} (one scale, mid grey is zero)"
    return draw_panels(panels, titles, columns=columns, suptitle=suptitle, alt=alt)


def _shared_limit(maps: Maps, *, signed: bool) -> float:
    return max(style.value_limit(values, signed=signed) for values in maps)


def _span(limit: float, label: str, *, signed: bool) -> str:
    return f"{label} from {(-limit or 0) if signed else 0:.3g} to {limit:.3g}"
