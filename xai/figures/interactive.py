"""Plotly twins of the two charts that gain from hovering; transparent, so that they sit on any theme."""

from __future__ import annotations

import html
from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from xai.figures import style
from xai.figures.charts import format_share, wrap_names


def prediction_bars(names: Sequence[str], probabilities: Sequence[float]) -> go.Figure:
    """Show how sure a network is of each class; arguments as `charts.prediction_bars`.

    Text colours are left to the theme of the page; hovering gives the whole name and the probability.
    """
    percent = 100 * np.asarray(probabilities, dtype=float)
    places = list(range(len(names)))
    whole = [html.escape(name, quote=False) for name in names]  # Plotly reads tags
    labels = wrap_names(whole, "<br>")
    bars = go.Bar(
        x=percent,
        y=places,
        orientation="h",
        marker_color=style.ACCENT,
        text=[format_share(p) for p in probabilities],
        textposition="outside",
        cliponaxis=False,
        customdata=whole,
        hovertemplate="%{customdata}: %{x:.4f} %<extra></extra>",
    )
    figure = _transparent(go.Figure(bars))
    lines = sum(label.count("<br>") + 1 for label in labels)
    figure.update_layout(height=70 + 18 * lines + 16 * len(names), showlegend=False)
    figure.update_xaxes(title_text="Probability (%)", range=[0, 115], tickvals=list(range(0, 101, 20)))
    figure.update_yaxes(tickvals=places, ticktext=labels, autorange="reversed", ticklabelstandoff=6)
    return figure


def agreement_heatmap(agreement: NDArray[np.floating], names: Sequence[str], measure: str) -> go.Figure:
    """Show how far methods agree, pair by pair, with the numbers on the tiles.

    Args:
        agreement: float (M, M) in [-1, 1]; NaN where it is not defined.
        names: of the methods.
        measure: what was measured.
    """
    values = np.asarray(agreement)
    shown = [["–" if np.isnan(value) else f"{round(value, 2) + 0:.2f}" for value in row] for row in values]
    heat = go.Heatmap(
        z=values,
        x=list(names),
        y=list(names),
        zmin=-1,
        zmax=1,
        text=shown,
        texttemplate="%{text}",
        colorscale=_diverging(),
        colorbar={"title": {"text": measure.capitalize(), "side": "right"}},
        hovertemplate="%{y} and %{x}: %{z:.3f}<extra></extra>",
    )
    figure = _transparent(go.Figure(heat))
    figure.update_layout(height=160 + 42 * len(names))
    figure.update_yaxes(autorange="reversed")
    return figure


def _diverging() -> list[list[object]]:
    table = style.colormap_table(style.DIVERGING[0])
    return [[i / 255, f"rgb({r},{g},{b})"] for i, (r, g, b) in enumerate(table.tolist())]


def similarity_heatmap(similarity: NDArray[np.floating], *, order: Sequence[int] | None = None) -> go.Figure:
    """Show which filters resemble each other, pair by pair on hover; as `charts.similarity_heatmap`."""
    places = np.arange(len(similarity)) if order is None else np.asarray(order)
    names = [str(i) for i in places]
    heat = go.Heatmap(
        z=np.asarray(similarity)[np.ix_(places, places)],
        x=names,
        y=names,
        zmin=-1,
        zmax=1,
        colorscale=_diverging(),
        colorbar={"title": {"text": "Cosine similarity", "side": "right"}},
        hovertemplate="filters %{y} and %{x}: %{z:.3f}<extra></extra>",
    )
    figure = _transparent(go.Figure(heat))
    figure.update_layout(height=560)
    figure.update_xaxes(type="category", title_text="Filter (index)", nticks=16, constrain="domain")
    figure.update_yaxes(type="category", title_text="Filter (index)", nticks=16, autorange="reversed", scaleanchor="x")
    return figure


def _transparent(figure: go.Figure) -> go.Figure:
    clear = "rgba(0,0,0,0)"
    margin = {"l": 10, "r": 10, "t": 10, "b": 10}
    return figure.update_layout(paper_bgcolor=clear, plot_bgcolor=clear, margin=margin)
