"""How pictures flow through heads, and where they lie on a plane: for pages with Plotly, for reports as SVG.

The SVG twins need no script: names appear on hover by `<title>`, pictures by a rule of CSS.
"""

from __future__ import annotations

import base64
import html
import io
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray
from PIL import Image

from xai.figures import style
from xai.figures.clusters import as_rgb, cluster_colours

Floats = NDArray[np.floating]
Ints = NDArray[np.integer]
THIN = 0.002  # share of the pictures under which a band is left out
GAP = 8  # pixels between the clusters of the finest head


@dataclass(frozen=True, eq=False)
class Levels:
    """Heads side by side.

    Attributes:
        heads: names, coarse to fine.
        titles: for each head a title per cluster.
        counts: for each pair of neighbours int (a, b), pictures by cluster of either.
        path: cluster of one picture at each head, or None.
    """

    heads: tuple[str, ...]
    titles: tuple[tuple[str, ...], ...]
    counts: tuple[Ints, ...]
    path: tuple[int, ...] | None = None

    @property
    def sizes(self) -> list[Ints]:
        """Pictures in each cluster of each head."""
        return [self.counts[0].sum(1), *(counts.sum(0) for counts in self.counts)]

    @property
    def alt(self) -> str:
        """Say it in a sentence."""
        told = f"Flow of the pictures through {len(self.heads)} heads: {', '.join(self.heads)}."
        if self.path:
            told += f" The picture goes through clusters {', '.join(map(str, self.path))}."
        return told

    def bands(self) -> list[tuple[int, int, int, int, bool]]:
        """List the bands: level, cluster, next cluster, pictures, whether the path goes along it."""
        found = []
        for level, counts in enumerate(self.counts):
            least = THIN * counts.sum()
            for a, b in np.argwhere(counts > 0).tolist():
                on_path = self.path is not None and self.path[level : level + 2] == (a, b)
                if counts[a, b] >= least or on_path:
                    found.append((level, a, b, int(counts[a, b]), on_path))
        return found


def sankey(levels: Levels) -> go.Figure:
    """Draw the flow with Plotly: names and numbers on hover, the path of a picture in a strong colour."""
    first = np.cumsum([0, *(len(titles) for titles in levels.titles)])
    colours = [colour for titles in levels.titles for colour in cluster_colours(len(titles))]
    names = [title for titles in levels.titles for title in titles]
    bands = levels.bands()
    strong = [style.POSITIVE if on_path else colours[first[level] + a] for level, a, _, _, on_path in bands]
    gaps = max(len(levels.heads) - 1, 1)
    across = [0.001 + 0.998 * level / gaps for level, titles in enumerate(levels.titles) for _ in titles]
    most = max(len(titles) for titles in levels.titles)
    height, margin = max(320, 26 * most), 10
    spaces = GAP * (most - 1) / (height - 2 * margin)
    made = go.Sankey(
        arrangement="snap",
        node={
            "label": [html.escape(_short(name, 56 // gaps)) for name in names],
            "customdata": [html.escape(name) for name in names],
            "color": colours,
            "x": across,
            "y": np.concatenate([_middles(sizes, spaces) for sizes in levels.sizes]),
            "pad": GAP,
            "thickness": 14,
            "hovertemplate": "%{customdata}: %{value} pictures<extra></extra>",
        },
        link={
            "source": [int(first[level] + a) for level, a, *_ in bands],
            "target": [int(first[level + 1] + b) for level, _, b, *_ in bands],
            "value": [number for *_, number, _ in bands],
            "color": [as_rgb(c, 0.85 if on_path else 0.3) for c, (*_, on_path) in zip(strong, bands, strict=True)],
            "hovertemplate": "%{source.customdata} to %{target.customdata}: %{value} pictures<extra></extra>",
        },
    )
    figure = go.Figure(made)
    clear, margins = "rgba(0,0,0,0)", dict.fromkeys("lrtb", margin)
    return figure.update_layout(height=height, paper_bgcolor=clear, plot_bgcolor=clear, margin=margins)


def _middles(sizes: Ints, spaces: float) -> Floats:
    """Place clusters one below the other, as high as they are large, with equal spaces between them: middles in [0, 1].

    Args:
        sizes: pictures in each.
        spaces: share of the height that all spaces take.
    """
    heights = (1 - spaces) * sizes / max(sizes.sum(), 1)
    middles = heights.cumsum() - heights / 2 + np.linspace(0, spaces, len(sizes))
    return middles.clip(1e-3, 1)  # Plotly takes 0 for none


def _short(title: str, width: int) -> str:
    """Shorten a title to the words that fit."""
    return textwrap.shorten(title.removeprefix("Cluster "), width, placeholder="").rstrip(",:")


def map_chart(
    places: Floats, clusters: Ints, titles: Sequence[str], names: Sequence[str], query: tuple[float, float] | None
) -> go.Figure:
    """Draw pictures as dots on a plane, coloured by cluster; a selection gives their places back as customdata.

    Args:
        places: float (n, 2).
        clusters: int (n,).
        titles: of all clusters.
        names: of the n pictures.
        query: place of a further picture, drawn as a star.
    """
    colours, figure = cluster_colours(len(titles)), go.Figure()
    for cluster in np.unique(clusters).tolist():
        own = np.flatnonzero(clusters == cluster)
        dots = {"size": 6, "color": colours[cluster], "opacity": 0.8}
        figure.add_scattergl(
            x=places[own, 0], y=places[own, 1], mode="markers", marker=dots, name=titles[cluster],
            customdata=own, text=[html.escape(names[i]) for i in own.tolist()],
            hovertemplate=f"%{{text}}<br>{html.escape(titles[cluster])}<extra></extra>",
        )  # fmt: skip
    if query is not None:
        star = {"size": 16, "symbol": "star", "color": style.INK, "line": {"color": "white", "width": 1.5}}
        figure.add_scatter(x=[query[0]], y=[query[1]], mode="markers", marker=star, name="This picture")
    clear = "rgba(0,0,0,0)"
    figure.update_layout(height=520, paper_bgcolor=clear, plot_bgcolor=clear, margin={"l": 5, "r": 5, "t": 36, "b": 5})
    figure.update_layout(legend={"itemsizing": "constant"}, dragmode="pan")  # under a lasso Streamlit takes no clicks
    figure.update_xaxes(visible=False)
    return figure.update_yaxes(visible=False, scaleanchor="x")


def sankey_svg(levels: Levels, *, width: int = 900) -> str:
    """Draw the flow as SVG for a page without script: names and numbers on hover, largest bands first."""
    most = max(len(titles) for titles in levels.titles)
    height, thick, pad = max(260, 24 * most), 14, 4
    total = int(levels.counts[0].sum()) or 1
    heads = len(levels.heads)
    columns = [round(8 + level * (width - 260) / max(heads - 1, 1)) for level in range(heads)]
    sizes = levels.sizes
    scale = [(height - 30 - pad * (len(each) - 1)) / total for each in sizes]
    tops = [24 + np.concatenate([[0], np.cumsum(each * s + pad)[:-1]]) for each, s in zip(sizes, scale, strict=True)]
    out, into = [top.astype(float).copy() for top in tops], [top.astype(float).copy() for top in tops]
    parts = []
    for level, a, b, number, on_path in levels.bands():
        high, low = number * scale[level], number * scale[level + 1]
        x0, x1 = columns[level] + thick, columns[level + 1]
        y0, y1, half = out[level][a], into[level + 1][b], (x0 + x1) / 2
        out[level][a] += high
        into[level + 1][b] += low
        colour = style.POSITIVE if on_path else cluster_colours(len(levels.titles[level]))[a]
        shape = (
            f"M{x0},{y0:.1f}C{half:.0f},{y0:.1f} {half:.0f},{y1:.1f} {x1},{y1:.1f}v{low:.1f}"
            f"C{half:.0f},{y1 + low:.1f} {half:.0f},{y0 + high:.1f} {x0},{y0 + high:.1f}z"
        )
        said = html.escape(f"{levels.titles[level][a]} to {levels.titles[level + 1][b]}: {number} pictures")
        opacity = 0.85 if on_path else 0.3
        parts.append(f'<path d="{shape}" fill="{colour}" fill-opacity="{opacity}"><title>{said}</title></path>')
    for level, titles in enumerate(levels.titles):
        parts.append(f'<text x="{columns[level]}" y="14" font-weight="bold">{html.escape(levels.heads[level])}</text>')
        for cluster, (title, colour) in enumerate(zip(titles, cluster_colours(len(titles)), strict=True)):
            top, high = tops[level][cluster], sizes[level][cluster] * scale[level]
            said = html.escape(f"{title}: {int(sizes[level][cluster])} pictures")
            parts.append(
                f'<rect x="{columns[level]}" y="{top:.1f}" width="{thick}" height="{max(high, 1):.1f}" '
                f'fill="{colour}"><title>{said}</title></rect>'
            )
            if high >= 9:
                label = html.escape(title if level == heads - 1 else str(cluster))
                parts.append(f'<text x="{columns[level] + thick + 4}" y="{top + high / 2 + 3.5:.1f}">{label}</text>')
    return _svg(width, height, levels.alt, parts)


def map_svg(
    places: Floats,
    clusters: Ints,
    titles: Sequence[str],
    pictures: Sequence[NDArray[np.uint8]],
    *,
    width: int = 900,
    height: int = 560,
) -> str:
    """Draw pictures as dots on a plane; the picture itself appears where the pointer is.

    Args:
        places: float (n, 2).
        clusters: int (n,).
        titles: of all clusters.
        pictures: n pictures, uint8 (h, w, 3); each goes into the page at most 48 pixels wide.
        width, height: pixels.
    """
    low, high = places.min(0), places.max(0)
    spread = np.where(high > low, high - low, 1)
    spots = 12 + (places - low) / spread * (np.array([width, height]) - 24)
    colours, parts = cluster_colours(len(titles)), []
    for (x, y), cluster, pixels in zip(spots, clusters.tolist(), pictures, strict=True):
        left, top = min(max(x - 36, 0), width - 72), y - 82 if y > 90 else y + 10
        parts.append(
            f'<g class="dot"><circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colours[cluster]}">'
            f"<title>{html.escape(titles[cluster])}</title></circle>"
            f'<image x="{left:.1f}" y="{top:.1f}" width="72" height="72" href="{_data_url(pixels)}"/></g>'
        )
    rule = (
        "<style>.dot image{visibility:hidden;pointer-events:none}.dot:hover image{visibility:visible}"
        ".dot:hover circle{stroke:#000;stroke-width:2}</style>"
    )
    alt = f"{len(places)} pictures on a plane, coloured by {len(titles)} clusters."
    return _svg(width, height, alt, [rule, *parts])


def _data_url(pixels: NDArray[np.uint8]) -> str:
    picture = Image.fromarray(pixels)
    picture.thumbnail((48, 48))
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _svg(width: int, height: int, alt: str, parts: Sequence[str]) -> str:
    said = html.escape(alt, quote=True)
    return (
        f'<svg viewBox="0 0 {width} {height}" width="{width}" style="max-width:100%;height:auto" role="img" '
        f'aria-label="{said}" font-size="11" font-family="system-ui, sans-serif">{"".join(parts)}</svg>'
    )
