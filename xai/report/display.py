"""IPython extension that gives every shown matplotlib figure its alt text and a crisp, light picture."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import PIL.Image
from matplotlib.figure import Figure

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

SCREEN_DPI = 100  # CSS pixels per inch: a figure of 9 inches is shown 900 pixels wide
DOTS_PER_CSS_PIXEL = 1.5  # sharp on a dense screen, without doubling the size of the file
LIGHT_PNG = 150_000  # bytes; a heavier figure holds photographs and becomes a JPEG
JPEG_QUALITY = 88

Shown = tuple[bytes, dict[str, str | int]]


def figure_png(figure: Figure) -> Shown | None:
    """Draw a figure as PNG with its metadata; None for one that `figure_jpeg` draws.

    Args:
        figure: its alt text is its label, ``figure.get_label()``; an empty label leaves the alt text out.

    Returns:
        The bytes, and ``width`` and ``height`` in CSS pixels with ``alt``, as Jupyter and nbconvert read them.
    """
    png = _draw(figure)
    return (png, _metadata(figure)) if len(png) <= LIGHT_PNG else None


def figure_jpeg(figure: Figure) -> Shown | None:
    """Draw a figure that holds photographs as JPEG, as `figure_png` does with the others; None for those."""
    png = _draw(figure)
    if len(png) <= LIGHT_PNG:
        return None
    buffer = io.BytesIO()
    picture = PIL.Image.open(io.BytesIO(png)).convert("RGB")
    picture.save(buffer, format="JPEG", quality=JPEG_QUALITY, subsampling=0, optimize=True)
    return buffer.getvalue(), _metadata(figure)


def load_ipython_extension(shell: InteractiveShell) -> None:
    """Answer ``%load_ext xai.report.display``; comes after ``%matplotlib inline``, which sets its own formatter."""
    formatters = shell.display_formatter.formatters
    formatters["image/png"].for_type(Figure, figure_png)
    formatters["image/jpeg"].for_type(Figure, figure_jpeg)


def unload_ipython_extension(shell: InteractiveShell) -> None:
    """Answer ``%unload_ext xai.report.display``: figures are shown without alt text again."""
    for kind in ("image/png", "image/jpeg"):
        shell.display_formatter.formatters[kind].pop(Figure, None)


def _draw(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=SCREEN_DPI * DOTS_PER_CSS_PIXEL)
    return buffer.getvalue()


def _metadata(figure: Figure) -> dict[str, str | int]:
    width, height = figure.get_size_inches()
    alt = str(figure.get_label()).strip()
    size: dict[str, str | int] = {"width": round(width * SCREEN_DPI), "height": round(height * SCREEN_DPI)}
    return size | ({"alt": alt} if alt else {})
