"""Concepts laid over pictures, a colour for each with a legend, and how their number was chosen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from xai.errors import UserError
from xai.figures import overlays, style
from xai.figures.panels import GAP, LINE, draw_panels

# Okabe and Ito 2008, told apart with every kind of colour vision; neighbours in this order differ most.
COLOURS = {
    "orange": "#e69f00",
    "blue": "#0072b2",
    "purple": "#cc79a7",
    "green": "#009e73",
    "yellow": "#f0e442",
    "vermilion": "#d55e00",
    "sky blue": "#56b4e9",
    "black": "#000000",
}
LEGEND = 2.75  # inches
SWATCH = 0.22  # inches, with the space to its text
NOTE = (
    "Colour: the strongest concept at a place. Opacity: how strong, full at its maximum over all pictures. "
    "Percentage of a concept: its share of the layer's activation."
)


@dataclass(frozen=True)
class Entry:
    """What the legend says about one concept: a heading, and a line for each class."""

    heading: str
    lines: tuple[str, ...]


def check_colours(components: int) -> None:
    """Raise a UserError unless there is a colour for each of so many concepts."""
    if components > len(COLOURS):
        raise UserError(f"There are colours for {len(COLOURS)} concepts, not for {components}; ask for fewer.")


def concept_overlay(
    picture: overlays.Picture,
    maps: NDArray[np.floating],
    *,
    box: overlays.Box | None = None,
    shown: Sequence[int] | None = None,
    alpha: float = 0.6,
    threshold: float = 0.0,
) -> overlays.Picture:
    """Colour each place of a picture by the concept that is strongest there; the opacity follows its strength.

    Args:
        picture: uint8 (H, W, 3), RGB.
        maps: float (k, h, w) in [0, 1]; placed bilinearly.
        box: (left, top, right, bottom), part of the picture that the maps cover, in pixels; default all.
        shown: which concepts take part; default all. Each keeps its colour.
        alpha: opacity at strength 1, in [0, 1].
        threshold: strength in [0, 1] below which nothing is shown.

    Returns:
        Uint8 (H, W, 3). Where every concept is zero the picture is unchanged, bit for bit.

    Raises:
        UserError: alpha or threshold is out of range, or there are more concepts than colours.
    """
    check_colours(len(maps))
    for name, value in (("alpha", alpha), ("threshold", threshold)):
        if not 0 <= value <= 1:
            raise UserError(f"Unknown {name} {value}. Choose a number from 0 to 1.")
    height, width = picture.shape[:2]
    strength, winner = np.zeros((height, width), np.float32), np.zeros((height, width), np.uint8)
    for index in range(len(maps)) if shown is None else shown:
        values = overlays.place_map(maps[index], (width, height), box)
        winner[values > strength] = index
        strength = np.maximum(strength, values)
    strength[strength < threshold] = 0
    # Blend in whole numbers: 16 bits hold 255 * 255 + 127, and opacity 0 gives the very same pixel back.
    opacity = np.rint(255 * alpha * np.minimum(strength, 1)).astype(np.uint16)[..., None]  # (H, W, 1), of 255
    blended = (255 - opacity) * picture + opacity * np.take(concept_colours(), winner, axis=0) + 127  # (H, W, 3)
    return (blended // 255).astype(np.uint8)


def concept_colours() -> NDArray[np.uint8]:
    """Return the colours of concepts, the first concept's first: uint8 (8, 3), RGB."""
    return np.array([[round(255 * part) for part in to_rgb(code)] for code in COLOURS.values()], np.uint8)


def concept_figure(
    pictures: Sequence[overlays.Picture],
    maps: Sequence[NDArray[np.floating]],
    names: Sequence[str],
    legend: Sequence[Entry],
    *,
    boxes: Sequence[overlays.Box],
    shown: Sequence[int] | None = None,
    alpha: float = 0.6,
    threshold: float = 0.0,
    note: str | None = None,
    suptitle: str | None = None,
) -> Figure:
    """Show each picture beside itself with the concepts on it, and a legend that holds for all.

    Args:
        pictures: N pictures, uint8 (H, W, 3).
        maps: for each picture float (k, h, w) in [0, 1].
        names: of the pictures.
        legend: k entries.
        boxes: for each picture the part that its maps cover.
        shown, alpha, threshold: as for `concept_overlay`.
        note: what else there is to say, below the legend.
        suptitle: what the figure shows.
    """
    panels, titles = [], []
    for picture, values, box, name in zip(pictures, maps, boxes, names, strict=True):
        laid = concept_overlay(picture, values, box=box, shown=shown, alpha=alpha, threshold=threshold)
        panels += [
            overlays.draw_box(each, box) if len(pictures) > 1 else each for each in (picture, laid)
        ]  # several pictures have several boxes, draw_panels takes one
        titles += [name, f"Concepts in {name}"]
    listed = range(len(legend)) if shown is None else shown
    texts = _lay_out([(index, legend[index]) for index in listed], [NOTE, *([note] if note else [])])
    figure = draw_panels(
        panels,
        titles,
        columns=2 if len(pictures) < 4 else 4,
        suptitle=suptitle,
        alt=_alt(len(pictures), [(index, legend[index]) for index in listed]),
        box=boxes[0] if len(pictures) == 1 else None,
        blocky=False,
        room=(LEGEND, sum(text.height for text in texts)),
    )
    _draw_legend(figure, texts)
    return figure


@dataclass(frozen=True)
class _Text:
    """A part of the legend, as it is drawn: colour of the swatch (headings only), wrapped words, size in points."""

    colour: str | None
    words: str
    size: float
    muted: bool = False

    @property
    def height(self) -> float:
        """Inches that it takes, with the space above a heading or a note."""
        return (0.06 if self.colour or self.muted else 0.0) + (self.words.count("\n") + 1) * self.size * LINE / 72


def _lay_out(entries: Sequence[tuple[int, Entry]], notes: Sequence[str]) -> list[_Text]:
    codes, room = list(COLOURS.values()), LEGEND - 2 * GAP - SWATCH
    texts = []
    for index, entry in entries:
        heading = style.wrap(entry.heading, room, style.BOLD * style.LABEL)
        texts.append(_Text(codes[index], heading, style.LABEL))
        texts += [_Text(None, style.wrap(line, room, style.LABEL), style.LABEL) for line in entry.lines]
    return texts + [_Text(None, style.wrap(note, room, style.SMALL), style.SMALL, muted=True) for note in notes]


def _draw_legend(figure: Figure, texts: Sequence[_Text]) -> None:
    """Write the legend beside the first row of panels; the axes of the panels count in inches."""
    axes: Axes = figure.axes[0]
    left, upper = figure.get_size_inches()[0] - LEGEND + GAP, axes.images[0].get_extent()[3]
    for text in texts:
        lower = upper + text.height
        top = lower - (text.words.count("\n") + 1) * text.size * LINE / 72
        if text.colour:
            square = Rectangle((left, top - 0.01), 0.15, 0.15, facecolor=text.colour, edgecolor=style.MUTED, lw=0.6)
            axes.add_patch(square)
        look: dict[str, Any] = {"weight": "bold" if text.colour else "normal"}
        look["color"] = style.MUTED if text.muted else style.INK
        axes.text(left + SWATCH, top, text.words, size=text.size, va="top", parse_math=False, **look)
        upper = lower


def _alt(pictures: int, entries: Sequence[tuple[int, Entry]]) -> str:
    names = list(COLOURS)
    said = "; ".join(f"{entry.heading} ({names[index]}): {', '.join(entry.lines) or '-'}" for index, entry in entries)
    shown = style.count(len(entries), "concept")
    return f"{style.count(pictures, 'picture')} with {shown} laid over in colour. {said}."


def choice_chart(
    counts: Sequence[int],
    errors: Sequence[float],
    stabilities: Sequence[float],
    chosen: int,
    *,
    title: str | None = None,
) -> Figure:
    """Show what each number of concepts leaves over, and how alike they come out from different starts.

    Args:
        counts: numbers of concepts, ascending.
        errors: what is left over, as a share of the activations' norm, in [0, 1].
        stabilities: mean similarity of matched concepts between starts, in [0, 1].
        chosen: the number proposed, marked.
        title: which layer of which network.
    """
    alt = f"Error and stability for {counts[0]} to {counts[-1]} concepts; {chosen} is proposed."
    figure = style.new_figure(style.WIDTH, 3.4, alt)
    figure.set_layout_engine("constrained")
    labels = ("Left over (% of the activations' norm)", "Stability between starts (%)")
    for axes, values, label in zip(figure.subplots(1, 2), (errors, stabilities), labels, strict=True):
        axes.axvline(chosen, color=style.POSITIVE, linewidth=1.2, linestyle="--", label=f"{chosen} proposed")
        axes.plot(counts, [100 * value for value in values], color=style.ACCENT, marker="o", markersize=4)
        axes.set_xlabel("Concepts (number)", size=style.LABEL, color=style.INK)
        axes.set_ylabel(label, size=style.LABEL, color=style.INK)
        axes.set_ylim(0, 105)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=style.SMALL, colors=style.MUTED)
        axes.grid(color=style.FAINT, linewidth=0.8)
        axes.legend(fontsize=style.SMALL, frameon=False, loc="lower right")
    if title:
        title = style.wrap(title, style.WIDTH - 0.2, style.BOLD * style.TITLE)
        figure.suptitle(title, size=style.TITLE, color=style.INK, weight="bold", x=0.01, ha="left", parse_math=False)
    return figure
