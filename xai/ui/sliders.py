"""Sliders over layers and classes, the class search, and how maps are drawn: the same on all pages."""

from collections.abc import Callable, Sequence
from functools import lru_cache

import streamlit as st

from xai import ImageTrace, predict
from xai.figures.style import colormap_names
from xai.model import Model
from xai.ui import state
from xai.ui.components import Dial, Values
from xai.ui.pictures import Drawing

DRAWING = ("opacity", "hide", "colormap", "diverging")  # keys of the widgets that `pick_drawing` makes


@lru_cache(maxsize=8)
def class_labels(model: Model) -> tuple[str, ...]:
    """Name all classes, with the index where two share a name."""
    return tuple(map(model.class_label, range(len(model.class_names))))


def current_layer(
    model: Model, *, key: str = "layer", names: Sequence[str] | None = None, default: str | None = None
) -> str:
    """Return the layer that the slider of that key stands on, or will at first."""
    state.keep_valid(key, list(names or model.layers()), default or model.default_layer)
    return st.session_state[key]


def slide_layer(
    model: Model,
    *,
    key: str = "layer",
    names: Sequence[str] | None = None,
    on_change: Callable[[], None] | None = None,
) -> None:
    """Show the layer slider, early layers on the left; `current_layer` has been asked before."""
    st.select_slider("Layer", list(names or model.layers()), key=key, bind="query-params", on_change=on_change)


def layer_dial(model: Model) -> Dial:
    """Return the layer slider for a component, early layers on the left."""
    names, layer = tuple(model.layers()), current_layer(model)
    st.session_state["layer"] = layer  # there is no widget of that name on this page: keep what another page's said
    return Dial("layer", "Layer", names, names.index(layer), layer != model.default_layer)


def class_dial(traced: ImageTrace) -> Dial:
    """Return the slider over classes for a component, the most likely on the left."""
    order, target = ranked_classes(traced), current_class(traced)
    return Dial("target", "Class by rank", tuple(order), order.index(target), st.session_state["target"] is not None)


def take_dials(values: Values) -> None:
    """Take the values of these dials into the session; what nobody chose goes on following the picture."""
    for name in ("layer", "target"):
        if name in values:
            st.session_state[name] = values[name]


def layer_at(model: Model, values: Values) -> str:
    """Return the layer that dials with these values stand on."""
    return values.get("layer", model.default_layer)


def class_at(traced: ImageTrace, values: Values) -> int:
    """Return the class that dials with these values stand on."""
    return values.get("target", int(traced.scores[0].argmax()))


def dial_texts(traced: ImageTrace, values: Values) -> dict[str, str]:
    """Say in words where dials with these values stand."""
    target = class_at(traced, values)
    order = ranked_classes(traced)
    where = f"{order.index(target) + 1:,} of {len(order):,}"
    return {"layer": layer_at(traced.model, values), "target": f"{traced.model.class_label(target)} · {where}"}


def dial_address(model: Model, values: Values) -> dict[str, str | None]:
    """Return the parameters of the address that say where dials with these values stand; none for a default."""
    layer, target = layer_at(model, values), values.get("target")
    return {
        "layer": None if layer == model.default_layer else layer,
        "target": None if target is None else str(target),
    }


def describe_layer(model: Model, name: str) -> str:
    """Say name, group and shape of a layer."""
    channels, height, width = model.layer(name).shape
    return f"{name} ({model.layer(name).group}, {channels} channels of {height} × {width})"


def find_class(traced: ImageTrace) -> None:
    """Show the search over all class names and the most likely classes; either sets the class and is empty again.

    The search holds every class name, which a browser takes a while to draw: keep it out of fragments that rerun often.
    """
    names = class_labels(traced.model)
    likely = {index: f"{name} · {probability:.1%}" for name, probability, index in predict(traced)}
    st.selectbox(
        "Find a class", range(len(names)), index=None, format_func=lambda index: f"{names[index]} · {index}",
        key="search", width=280, placeholder=f"Search {len(names):,} classes", filter_mode="contains",
        on_change=_take, args=("search",),
    )  # fmt: skip
    st.pills(
        "Most likely classes", likely, format_func=likely.__getitem__, key="likely", on_change=_take, args=("likely",)
    )


def _take(finder: str) -> None:
    if st.session_state[finder] is not None:
        st.session_state["target"] = st.session_state[finder]
        st.session_state[finder] = None


def ranked_classes(traced: ImageTrace) -> list[int]:
    """Order the classes, the most likely for this picture first."""
    return traced.scores[0].detach().argsort(descending=True).tolist()


def current_class(traced: ImageTrace) -> int:
    """Return the chosen class, by default the predicted one."""
    if st.session_state.get("target") not in range(len(traced.model.class_names)):
        st.session_state["target"] = None
    chosen = st.session_state["target"]
    return int(traced.scores[0].argmax()) if chosen is None else chosen


def class_address() -> dict[str, str | None]:
    """Return the parameter of the address that names the chosen class; none where it is the predicted one."""
    chosen = st.session_state.get("target")
    return {"target": None if chosen is None else str(chosen)}


def slide_class(traced: ImageTrace) -> None:
    """Show the slider over classes by rank; moving it chooses the class."""
    order = ranked_classes(traced)
    rank = order.index(current_class(traced)) + 1
    if st.session_state.get("rank") != rank:  # what is set here is drawn twice in the browser
        st.session_state["rank"] = rank
    st.slider("Class by rank", 1, len(order), key="rank", on_change=_take_rank, args=(order,))


def _take_rank(order: list[int]) -> None:
    st.session_state["target"] = order[st.session_state["rank"] - 1]


def pick_drawing(*, signed: bool) -> Drawing:
    """Show the sliders for opacity and threshold, and the colour map; they are the same on all pages."""
    maps = colormap_names(signed=signed)
    key = "diverging" if signed else "colormap"
    alpha, threshold, colormap = st.columns(3)
    with alpha:
        opacity = st.slider("Opacity", 0, 100, 60, 5, format="%d %%", key="opacity", bind="query-params")
    with threshold:
        hidden = st.slider("Hide below (of the maximum)", 0, 95, 0, 5, format="%d %%", key="hide", bind="query-params")
    with colormap:
        name = st.selectbox("Colour map", maps, key=key, bind="query-params")
    return Drawing(name, opacity / 100, hidden / 100)
