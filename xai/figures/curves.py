"""Plotly curves that gain from hovering: the way of a dream, and shares against the size of an attack."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import plotly.graph_objects as go
from numpy.typing import ArrayLike

from xai.figures import style

COLOURS = (style.ACCENT, style.POSITIVE, style.MUTED)


def curves_plot(
    places: ArrayLike, curves: Mapping[str, ArrayLike], *, x_label: str, y_label: str, marks: bool = False
) -> go.Figure:
    """Show values against places, one line for each name, values on hover.

    Args:
        places: (n,), along the horizontal axis.
        curves: name to (n,) values; with one name there is no legend.
        x_label, y_label: names and units.
        marks: mark each value.
    """
    figure = go.Figure()
    for index, (name, values) in enumerate(curves.items()):
        figure.add_scatter(
            x=np.asarray(places, dtype=float),
            y=np.asarray(values, dtype=float),
            name=name,
            mode="lines+markers" if marks else "lines",
            line={"color": COLOURS[index % len(COLOURS)], "width": 2},
            hovertemplate=f"%{{x:.3g}}: %{{y:.3g}}<extra>{name}</extra>",
        )
    figure.update_layout(
        height=300,
        margin={"l": 8, "r": 8, "t": 8, "b": 8},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        showlegend=len(curves) > 1,
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
    )
    figure.update_xaxes(title_text=x_label, automargin=True)
    figure.update_yaxes(title_text=y_label, automargin=True)
    return figure
