"""Draw overlays on the picture's own pixels, by the drawing options of the command line or of a spec."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from xai.errors import UserError

if TYPE_CHECKING:
    import numpy as np

    from xai.explanation import Explanation

_KINDS: Mapping[str, tuple[type, ...]] = {
    "alpha": (int, float),
    "colormap": (str,),
    "threshold": (int, float),
    "limit": (int, float),
    "side_by_side": (bool,),
    "caption": (bool,),
    "count": (int, str),
    "activation_map": (str,),
}


def check_drawing(drawing: Mapping[str, Any]) -> dict[str, Any]:
    """Return drawing options that were read from a spec, without those of later versions.

    Raises:
        UserError: a value is of the wrong kind.
    """
    known = {name: value for name, value in drawing.items() if name in _KINDS}
    for name, value in known.items():
        if not isinstance(value, _KINDS[name]) or (isinstance(value, bool) and bool not in _KINDS[name]):
            raise UserError(f"The spec's drawing option '{name}' cannot be {value!r}.")
    return known


def draw_explanation(explanation: Explanation, drawing: Mapping[str, Any], *, trained: bool) -> np.ndarray:
    """Draw one overlay for each target in a row, with class and probability on it: uint8 (H, W', 3)."""
    return draw_overlays(
        explanation.image.pixels,
        explanation.source_map(),
        captions(explanation, trained=trained),
        signed=explanation.signed,
        box=explanation.box,
        drawing={"limit": explanation.limit, **drawing},
    )


def captions(explanation: Explanation, *, trained: bool) -> list[str]:
    """Write class (first synonym) and probability of each target: "tabby:0.97"."""
    mark = "" if trained else " (untrained)"
    return [
        f"{name.split(',')[0]}:{probability:.2f}{mark}"
        for name, probability in zip(explanation.target_names, explanation.probabilities, strict=True)
    ]


def draw_overlays(
    picture: np.ndarray,
    maps: np.ndarray,
    texts: Sequence[str],
    *,
    signed: bool,
    box: tuple[float, float, float, float],
    drawing: Mapping[str, Any],
) -> np.ndarray:
    """Lay maps over a picture, on one scale, and set them in a row.

    Args:
        picture: uint8 (H, W, 3).
        maps: float32 (K, H, W).
        texts: a caption for each map.
        signed, box: as for `figures.overlays.overlay`.
        drawing: what was said of alpha, colormap, threshold, limit, side_by_side and caption.
    """
    from xai.figures import overlays, style

    options = {name: drawing[name] for name in ("alpha", "colormap", "threshold") if name in drawing}
    limit = drawing.get("limit", style.value_limit(maps, signed=signed))
    panels = [overlays.overlay(picture, each, signed=signed, limit=limit, box=box, **options) for each in maps]
    if drawing.get("caption", True):
        panels = [overlays.caption_picture(panel, text) for panel, text in zip(panels, texts, strict=True)]
    if drawing.get("side_by_side", False):
        panels.insert(0, picture)
    return overlays.side_by_side(panels)
