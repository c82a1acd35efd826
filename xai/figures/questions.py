"""A drawing of the six questions that the survey by Hohman et al. asks of every way to look into a network."""

from __future__ import annotations

import textwrap
from itertools import pairwise
from xml.sax.saxutils import escape

from xai.figures import style
from xai.hohman import QUESTIONS

WORDS = {
    "why": "Why would one look?",
    "who": "Who looks?",
    "what": "What is looked at?",
    "how": "How is it shown?",
    "when": "When, in its training?",
    "where": "Where is it used?",
}
PLACES = (("why", 0, 0), ("what", 1, 0), ("when", 2, 0), ("who", 0, 1), ("how", 1, 1), ("where", 2, 1))
WIDTH, COLUMN, BOX, GAP = 960, 300, 226, 20  # pixels
LETTERS = 42  # of a line in a box
MIDDLE = 70  # between the two rows, for the network
TINTS = ("#e3f1f4", "#fdf0dc", "#eef0f4", "#e6f3ea", "#f6e8ee", "#f3efe0")


def questions_svg() -> str:
    """Draw six boxes around a small network, each a question with the survey's answers: SVG, without font or script."""
    height = 2 * BOX + MIDDLE + 2 * GAP
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" font-family="sans-serif">',
        "<title>Six questions about looking into a network</title>",
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
    ]
    for tint, (question, column, row) in zip(TINTS, PLACES, strict=True):
        parts += _box(question, GAP + column * (COLUMN + GAP / 2), GAP + row * (BOX + MIDDLE), tint)
    parts += _network(WIDTH / 2, GAP + BOX + MIDDLE / 2)
    return "\n".join([*parts, "</svg>"]) + "\n"


def _box(question: str, left: float, top: float, tint: str) -> list[str]:
    shape = (
        f'<rect x="{left:g}" y="{top:g}" width="{COLUMN}" height="{BOX}" rx="10" fill="{tint}" stroke="{style.FAINT}"/>'
    )
    lines = [shape, _text(left + 14, top + 28, WORDS[question], 17, bold=True)]
    at = top + 54
    for name in QUESTIONS[question]:
        for number, words in enumerate(textwrap.wrap(name, LETTERS)):
            lines.append(_text(left + (14 if number == 0 else 24), at, f"· {words}" if number == 0 else words, 13))
            at += 17
        at += 4
    return lines


def _network(centre: float, middle: float) -> list[str]:
    """Draw three layers of dots with lines between: a picture goes in, an answer comes out."""
    layers = [
        [(centre + 90 * place, middle + 18 * (dot - (count - 1) / 2)) for dot in range(count)]
        for place, count in ((-1, 3), (0, 2), (1, 3))
    ]
    lines = [
        f'<line x1="{x1:g}" y1="{y1:g}" x2="{x2:g}" y2="{y2:g}" stroke="{style.MUTED}" stroke-width="1"/>'
        for before, after in pairwise(layers)
        for x1, y1 in before
        for x2, y2 in after
    ]
    dots = [f'<circle cx="{x:g}" cy="{y:g}" r="6" fill="{style.ACCENT}"/>' for layer in layers for x, y in layer]
    said = [_text(centre - 200, middle + 5, "picture", 14), _text(centre + 135, middle + 5, "answer", 14)]
    return [*lines, *dots, *said]


def _text(x: float, y: float, words: str, size: int, *, bold: bool = False) -> str:
    weight = ' font-weight="bold"' if bold else ""
    return f'<text x="{x:g}" y="{y:g}" font-size="{size}" fill="{style.INK}"{weight}>{escape(words)}</text>'
