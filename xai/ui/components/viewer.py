"""The picture viewer: pictures of one scene side by side, with the value under the pointer or the arrow keys."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from xai.ui.components.assets import base64_text, data_uri, media_url, register
from xai.ui.components.dials import Move, Moving, current_page, moving_data, take_move

LARGEST_GRID = 75  # values along the longer side; they travel at each move, beside a picture of about 30 kB
_MOUNT = register("viewer")


@dataclass(frozen=True, eq=False)
class Panel:
    """One picture: encoded JPEG or PNG, its words, and the values behind it (float (h, w), or None).

    A picture that stays while others move is given by its address (`still`).
    """

    picture: bytes | str
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


def viewer(panels: Sequence[Panel], stage: Stage, *, key: str, **words: Any) -> None:
    """Show panels that only a run of the page changes; arguments as `scene`, and Streamlit's key of this viewer."""
    panels = [
        panel if panel.values is not None else replace(panel, picture=still(panel.picture, key, number))
        for number, panel in enumerate(panels)
    ]
    _MOUNT(key=key, data={**scene(panels, stage, **words), **moving_data(None, key)})


def moving_viewer(shown: Mapping[str, object], moving: Moving, *, key: str, on_move: Callable[[Move], None]) -> None:
    """Show a scene that follows its dials.

    Args:
        shown: what `moving.make` makes of the values that its dials stand on: a `scene`, with the texts for the dials.
        moving: the dials.
        key: Streamlit key of this viewer.
        on_move: takes it into the session once somebody pauses.
    """
    page = current_page()

    def moved() -> None:
        on_move(take_move(moving, key, page))

    _MOUNT(key=key, data={**shown, **moving_data(moving, key)}, default={"moved": None}, on_moved_change=moved)


def still(picture: bytes | str, key: str, number: int = 0) -> str:
    """Return the address of a picture that stays while maps come and go, so that it is fetched once."""
    return picture if isinstance(picture, str) else media_url(picture, _mime(picture), f"{key}-{number}")


def scene(
    panels: Sequence[Panel],
    stage: Stage,
    *,
    label: str,
    note: str = "",
    address: Mapping[str, str | None] | None = None,
    scale: Scale | None = None,
    widest: int = 640,
) -> dict[str, object]:
    """Return, as JSON, panels beside each other; on a phone they stack.

    Args:
        panels: at least one; those with values share the colour scale.
        stage: where they lie on their source.
        label: names the whole for screen readers.
        note: a sentence or two below the pictures.
        address: parameters of the page's address that say what is shown; None takes one away.
        scale: the colour bar, or None.
        widest: largest width of one picture on the screen, in pixels.
    """
    grids = [_thinned(panel.values) for panel in panels if panel.values is not None]
    return {
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
        "note": note,
        "address": dict(address or {}),
        "hint": "Point at a picture to read values; on the keyboard use the arrow keys, Home for the maximum."
        if grids
        else "Point at a picture to read its coordinates.",
    }


def _mime(picture: bytes) -> str:
    return "image/png" if picture.startswith(b"\x89PNG") else "image/jpeg"


def _panel_data(panel: Panel) -> dict[str, object]:
    """One panel as JSON; the values travel as 16-bit steps between their own lowest and highest."""
    picture = panel.picture
    source = picture if isinstance(picture, str) else data_uri(picture, _mime(picture))
    words: dict[str, object] = {"name": panel.name, "caption": panel.caption, "alt": panel.alt, "src": source}
    if panel.values is None:
        return words
    values = _thinned(panel.values)
    low, high = float(values.min()), float(values.max())
    steps = np.zeros(values.shape, "<u2")
    if high > low:
        steps = np.rint((values - low) * (65535 / (high - low))).astype("<u2")
    return {**words, "values": base64_text(steps), "low": low, "high": high}


def _thinned(values: np.ndarray) -> np.ndarray:
    """Keep every n-th value of a large map: what is read is exact, at a place less than a step from the pointer."""
    step = math.ceil(max(values.shape) / LARGEST_GRID)
    return values[::step, ::step]
