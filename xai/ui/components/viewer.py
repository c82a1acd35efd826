"""The picture viewer: pictures of one scene side by side, with the value under the pointer or the arrow keys."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from xai.ui.components.assets import base64_text, data_uri, register

_MOUNT = register("viewer")
_MIME = {b"\x89PNG": "image/png", b"\xff\xd8\xff\xe0": "image/jpeg"}


@dataclass(frozen=True, eq=False)
class Panel:
    """One picture: encoded JPEG or PNG, its words, and the values behind it (float (h, w), or None)."""

    picture: bytes
    name: str
    caption: str
    alt: str
    values: np.ndarray | None = None


@dataclass(frozen=True)
class Stage:
    """Where the panels lie: their size in pixels, the part of the source they show and where the values lie in it.

    `view` and `box` are (left, top, right, bottom) in source pixels.
    """

    size: tuple[int, int]
    view: tuple[float, float, float, float]
    box: tuple[float, float, float, float]


@dataclass(frozen=True, eq=False)
class Scale:
    """The shared colour scale: uint8 (256, 3) colours from low to high, and the unit of the values."""

    table: np.ndarray
    low: float
    high: float
    unit: str = ""


def viewer(
    panels: Sequence[Panel], stage: Stage, *, key: str, label: str, scale: Scale | None = None, widest: int = 640
) -> None:
    """Show the panels beside each other; below 400 px or so they stack. `label` names the whole for screen readers."""
    grids = [panel.values for panel in panels if panel.values is not None]
    _MOUNT(
        key=key,
        data={
            "panels": [_panel_data(panel) for panel in panels],
            "size": list(stage.size),
            "view": list(stage.view),
            "box": list(stage.box),
            "grid": [grids[0].shape[1], grids[0].shape[0]] if grids else [1, 1],
            "table": base64_text(scale.table) if scale else None,
            "low": scale.low if scale else 0.0,
            "high": scale.high if scale else 0.0,
            "unit": scale.unit if scale else "",
            "widest": widest,
            "label": label,
            "hint": "Point at a picture to read values; on the keyboard use the arrow keys, Home for the maximum."
            if grids
            else "Point at a picture to read its coordinates.",
        },
    )


def _panel_data(panel: Panel) -> dict[str, object]:
    """One panel as JSON; the values travel as 16-bit steps between their own lowest and highest."""
    words = {"src": data_uri(panel.picture, _MIME.get(panel.picture[:4], "image/jpeg")), "name": panel.name}
    words |= {"caption": panel.caption, "alt": panel.alt}
    if panel.values is None:
        return words
    low, high = float(panel.values.min()), float(panel.values.max())
    steps = np.zeros(panel.values.shape, "<u2")
    if high > low:
        steps = np.rint((panel.values - low) * (65535 / (high - low))).astype("<u2")
    return {**words, "values": base64_text(steps), "low": low, "high": high}
