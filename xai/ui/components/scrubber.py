"""The channel scrubber: drag through the channels of a layer; frames are drawn in the browser, nothing is sent."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from xai.ui.components.assets import base64_text, data_uri, register
from xai.ui.components.dials import Move, Moving, current_page, moving_data, take_move

_MOUNT = register("scrubber")


@dataclass(frozen=True, eq=False)
class Sprite:
    """All channels of one layer as levels, tile after tile.

    Attributes:
        tiles: zlib-compressed uint8, either (C, h, w) levels 0..255 of a colour table or (C, h, w, 3) colours.
        tile: width and height of one tile in pixels.
        low, high: float (C,) smallest and largest value of each channel.
        scale: the value range behind the levels where all channels share it, else None (each its own low..high).
        zero: the level of the value zero: 0 for one-sided channels, 128 for signed ones.
    """

    tiles: bytes
    tile: tuple[int, int]
    low: np.ndarray
    high: np.ndarray
    scale: tuple[float, float] | None
    zero: int


def scrubber(
    shown: Mapping[str, object],
    *,
    key: str,
    on_move: Callable[[Move], None],
    moving: Moving | None = None,
) -> None:
    """Show the scrubber.

    Args:
        shown: the channels, as `channels` returns them.
        key: Streamlit key of this scrubber.
        on_move: takes it into the session once somebody pauses, lets go of the channel slider or clicks a tile.
        moving: dials that bring other channels; None: there are none.
    """
    page = current_page()

    def moved() -> None:
        on_move(take_move(moving, key, page))

    data = {**shown, **moving_data(moving, key)}
    _MOUNT(key=key, data=data, default={"moved": None}, on_moved_change=moved)


def channels(
    sprite: Sprite,
    *,
    label: str,
    note: str = "",
    channel: int,
    table: np.ndarray | None,
    order: np.ndarray | None = None,
    order_name: str = "",
    scores: np.ndarray | None = None,
    page: int = 64,
    smooth: bool = False,
    backdrop: bytes | None = None,
    blend: float = 0.7,
    noun: str = "channel",
    parameter: str = "channel",
    address: Mapping[str, str | None] | None = None,
) -> dict[str, object]:
    """Return, as JSON, channels to scrub through.

    Args:
        sprite: the channels.
        label: what is scrubbed through, said above the slider.
        note: a sentence or two below the channels.
        channel: the channel to stand on.
        table: uint8 (256, 3) colours of the levels; None where the tiles are in colour already.
        order: int (C,), channel numbers best first, or None for their own order.
        order_name: what the order follows ("mean").
        scores: float (C,), the number that the order follows.
        page: tiles shown at once in the sheet.
        smooth: interpolate between the values of the enlarged channel.
        backdrop: JPEG of the picture to lay the channel over, or None.
        blend: opacity of the largest value over the backdrop, in [0, 1].
        noun: what one tile is ("channel", "filter").
        parameter: of the page's address that names the channel shown.
        address: what else the page's address says about it; None takes a parameter away.
    """
    return {
        "tiles": base64_text(sprite.tiles),
        "tile": list(sprite.tile),
        "count": len(sprite.low),
        "low": base64_text(sprite.low.astype("<f4")),
        "high": base64_text(sprite.high.astype("<f4")),
        "scale": list(sprite.scale) if sprite.scale else None,
        "zero": sprite.zero,
        "table": None if table is None else base64_text(table),
        "order": None if order is None else base64_text(order.astype("<i4")),
        "order_name": order_name,
        "scores": None if scores is None else base64_text(scores.astype("<f4")),
        "page": page,
        "smooth": smooth,
        "backdrop": data_uri(backdrop, "image/jpeg") if backdrop else None,
        "blend": blend,
        "label": label,
        "note": note,
        "noun": noun,
        "parameter": parameter,
        "address": {**(address or {}), parameter: str(int(channel))},
        "index": int(channel),
    }
