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
JPEG_QUALITY = 85
JPEG_GAIN = 1.5  # a figure becomes a JPEG where its PNG would be this many times heavier: it holds photographs

Shown = tuple[bytes, dict[str, str | int]]


def figure_png(figure: Figure) -> Shown | None:
    """Draw a figure as PNG with its metadata; None for one that `figure_jpeg` draws.

    Args:
        figure: its alt text is its label, ``figure.get_label()``; an empty label leaves the alt text out.

    Returns:
        The bytes, and ``width`` and ``height`` in CSS pixels with ``alt``, as Jupyter and nbconvert read them.
    """
    png, jpeg = _draw(figure)
    return None if _is_photographic(png, jpeg) else (png, _metadata(figure))


def figure_jpeg(figure: Figure) -> Shown | None:
    """Draw a figure that holds photographs as JPEG, as `figure_png` does with the others; None for those."""
    png, jpeg = _draw(figure)
    return (jpeg, _metadata(figure)) if _is_photographic(png, jpeg) else None


def load_ipython_extension(shell: InteractiveShell) -> None:
    """Answer ``%load_ext xai.report.display``; comes after ``%matplotlib inline``, which sets its own formatter."""
    if shell.display_formatter is not None:
        shell.display_formatter.formatters["image/png"].for_type(Figure, figure_png)
        shell.display_formatter.formatters["image/jpeg"].for_type(Figure, figure_jpeg)


def unload_ipython_extension(shell: InteractiveShell) -> None:
    """Answer ``%unload_ext xai.report.display``: figures are shown without alt text again."""
    if shell.display_formatter is not None:
        shell.display_formatter.formatters["image/png"].pop(Figure, None)
        shell.display_formatter.formatters["image/jpeg"].pop(Figure, None)


def _draw(figure: Figure) -> tuple[bytes, bytes]:
    """Draw a figure as PNG and as JPEG."""
    png, jpeg = io.BytesIO(), io.BytesIO()
    figure.savefig(png, format="png", dpi=SCREEN_DPI * DOTS_PER_CSS_PIXEL)
    PIL.Image.open(png).convert("RGB").save(jpeg, format="JPEG", quality=JPEG_QUALITY, optimize=True)
    return png.getvalue(), jpeg.getvalue()


def _is_photographic(png: bytes, jpeg: bytes) -> bool:
    return JPEG_GAIN * len(jpeg) < len(png)


def _metadata(figure: Figure) -> dict[str, str | int]:
    width, height = figure.get_size_inches()
    alt = str(figure.get_label()).strip()
    size: dict[str, str | int] = {"width": round(width * SCREEN_DPI), "height": round(height * SCREEN_DPI)}
    return size | ({"alt": alt} if alt else {})
