"""What the Attribution page shows at one place of its dials; also made beside the page, so nothing here needs it."""

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

from xai import Explanation, ImageTrace
from xai.errors import UserError
from xai.registry import Method
from xai.ui import caching, sliders
from xai.ui.components import Panel, Values, scene
from xai.ui.pickers import Choice
from xai.ui.pictures import Drawing, colour_scale, overlaid, stage


@dataclass(frozen=True, eq=False)
class Asked:
    """What is set now and then, while layer and class move: about what, by which method, drawn how.

    `picture` is the address of the picture itself, which stays. The trace is looked up and not held: its cache is
    bounded, and the offer to the browser that holds this is not counted there.
    """

    choice: Choice
    method: Method
    params: tuple[tuple[str, Any], ...]
    compared: tuple[int, ...]
    drawing: Drawing
    picture: str

    @property
    def traced(self) -> ImageTrace:
        """The trace of the picture, made again if it had to go."""
        return self.choice.trace()

    @property
    def key(self) -> Hashable:
        """All of it by names and digests."""
        return caching.explanation_key(self.traced, self.method.key, dict(self.params)), self.compared, self.drawing

    def options(self, values: Values) -> dict[str, Any]:
        """What dials with these values stand on, as options of `xai.explain`."""
        target = sliders.class_at(self.traced, values)
        targets = (target, *(index for index in self.compared if index != target))
        layer = sliders.layer_at(self.traced.model, values) if self.method.needs_layer else None
        return {"target": targets, "layer": layer, **dict(self.params)}


def explain_at(asked: Asked, values: Values) -> dict[str, object]:
    """Explain what the dials stand on and return what the component shows: for a run of the page and in between."""
    try:
        made = caching.explanation(asked.traced, asked.method.key, **asked.options(values))
    except UserError as error:
        return {**scene_at(asked, values, None), "problem": str(error)}
    return scene_at(asked, values, made)


def scene_at(asked: Asked, values: Values, made: Explanation | None) -> dict[str, object]:
    """Return the picture and the map of each class, all maps on one colour scale, and where the dials stand."""
    model, drawing = asked.traced.model, asked.drawing
    texts = sliders.dial_texts(asked.traced, values)
    address = sliders.dial_address(model, values)
    if made is None:
        return {"texts": texts, "address": address}
    limit = made.limit
    where = "" if not isinstance(made.layer, str) else f" at {sliders.describe_layer(model, made.layer)}"
    panels = [Panel(asked.picture, "picture", "Outlined: what the network sees", made.image.name)]
    panels += [
        Panel(
            overlaid(made.image, each, made.box, drawing, limit=limit, signed=made.signed),
            name,
            title,
            f"{made.method.label} for {name} at {made.layer}, laid over {made.image.name}",
            each,
        )
        for name, title, each in zip(made.target_names, made.titles, made.map, strict=True)
    ]
    method, span = made.method, f"raw values {made.map.min():.3g} to {made.map.max():.3g}"
    beyond = f" {1 - method.within:.1%} of the values lie beyond the scale." if method.within < 1 else ""
    nothing = "" if made.map.any() else "The map is zero everywhere: nothing at this layer speaks for the class. "
    adds_up = f" {made.totals_text}" if made.totals else ""
    shown = scene(
        panels,
        stage(made.image, made.box),
        label=f"{method.label} of {made.image.name}",
        note=f"{nothing}{method.label}{where}, {span}.{beyond}{adds_up} {method.limits} ({method.paper}).",
        address=address,
        scale=colour_scale(drawing, limit, signed=made.signed),
    )
    return {**shown, "texts": texts}
