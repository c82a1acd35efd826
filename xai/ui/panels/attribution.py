"""The panel of the Attribution page: the maps of one class or several, live over methods, layers and classes."""

from typing import Any

import streamlit as st

from xai import Explanation, ImageTrace, predict
from xai.errors import UserError
from xai.figures import style
from xai.registry import METHODS, Method, Param
from xai.ui import caching, downloads, pickers, state
from xai.ui.components import Panel, viewer
from xai.ui.pictures import Drawing, colour_scale, framed, overlaid, stage


@st.fragment
def show_explanation(choice: pickers.Choice) -> None:
    """Explain one class or several: method, class and layer live above the pictures, drawing options below them."""
    traced = choice.trace()
    order = pickers.ranked_classes(traced)
    left, right = st.columns(2, gap="medium")
    with left:
        with st.container(horizontal=True, vertical_alignment="bottom"):
            method = _pick_method(choice)
            params = _pick_params(method)
        layer = pickers.pick_layer(choice.model) if method.needs_layer else None
    with right:
        target = pickers.search_class(traced, order)
        pickers.slide_class(order, target)
    _pick_likely(traced, target)
    pictures, below = st.container(), st.container()
    with below:
        drawn = st.container()
        compared = _pick_compared(traced, target)
    try:
        made = caching.explanation(traced, method.key, target=(target, *compared), layer=layer, **params)
    except UserError as error:
        st.error(str(error), icon=":material/error:")
        return
    with drawn:
        drawing = pickers.pick_drawing(signed=made.signed)
    with pictures:
        _show_maps(made, drawing)
    _offer(choice, made, drawing)


def _pick_method(choice: pickers.Choice) -> Method:
    offered = [key for key, method in METHODS.items() if method.supports(choice.model) is None]
    state.keep_valid("method", offered, offered[0])
    key = st.selectbox(
        "Method", offered, format_func=lambda key: METHODS[key].label, key="method", bind="query-params",
        on_change=_take_defaults,
    )  # fmt: skip
    return METHODS[key]


def _take_defaults() -> None:
    """Let a newly chosen method start with its own defaults, also for options that the last one had too."""
    for param in METHODS[st.session_state["method"]].params:
        st.session_state[param.name] = param.default


def _pick_params(method: Method) -> dict[str, Any]:
    """Make one widget for each option of the method."""
    if not method.params:
        return {}
    with st.popover("Options", icon=":material/tune:", help=f"Options of {method.label}"):
        return {param.name: _pick_param(param) for param in method.params}


def _pick_param(param: Param) -> Any:
    state.start_with(param.name, param.default)
    label = param.name.replace("_", " ").capitalize()
    common: dict[str, Any] = {"key": param.name, "help": param.help, "bind": "query-params"}
    kind = type(param.default)
    if kind is bool:
        return st.toggle(label, **common)
    if param.choices is not None:
        return st.selectbox(label, param.choices, **common)
    if kind is str:
        return st.text_input(label, **common)
    step = kind(param.step) if param.step else None
    if param.low is None or param.high is None:
        return st.number_input(label, param.low, param.high, step=step, **common)
    return st.slider(label, kind(param.low), kind(param.high), step=step, **common)


def _pick_likely(traced: ImageTrace, target: int) -> None:
    """Show the five most likely classes as buttons with their probabilities."""
    likely = {index: f"{name} · {probability:.1%}" for name, probability, index in predict(traced)}
    st.session_state["likely"] = target if target in likely else None
    st.pills("Most likely classes", likely, format_func=likely.__getitem__, key="likely", on_change=_take_likely)


def _take_likely() -> None:
    if st.session_state["likely"] is not None:
        st.session_state["target"] = st.session_state["likely"]


def _pick_compared(traced: ImageTrace, target: int) -> tuple[int, ...]:
    """Show which other classes are put beside the first, on one colour scale."""
    names = pickers.class_labels(traced.model)
    known = st.session_state.get("compare") or map(names.index, set(st.query_params.get_all("compare")) & set(names))
    offered = dict.fromkeys([*(index for _, _, index in predict(traced)), *known])
    offered.pop(target, None)
    if "compare" in st.session_state:
        st.session_state["compare"] = [index for index in st.session_state["compare"] if index in offered]
    chosen = st.pills(
        "Compare on one scale with", offered, selection_mode="multi", format_func=names.__getitem__, key="compare",
        bind="query-params",
    )  # fmt: skip
    return tuple(chosen)


def _show_maps(made: Explanation, drawing: Drawing) -> None:
    """Show the picture and the map of each class, all maps on one colour scale."""
    limit = style.value_limit(made.map, signed=made.signed)
    where = "" if made.layer is None else f" at {made.layer}"
    panels = [Panel(framed(made.image, made.box), "picture", "Outlined: what the network sees", made.image.name)]
    panels += [
        Panel(
            overlaid(made.image, values, made.box, drawing, limit=limit, signed=made.signed),
            name,
            title,
            f"{made.method.label} for {name}{where}, laid over {made.image.name}",
            values,
        )
        for name, title, values in zip(made.target_names, made.titles, made.map, strict=True)
    ]
    viewer(
        panels,
        stage(made.image, made.box),
        key="explanation",
        label=f"{made.method.label} of {made.image.name}",
        scale=colour_scale(drawing, limit, signed=made.signed),
    )
    if not made.map.any():
        st.info("The map is zero everywhere: nothing at this layer speaks for the class.", icon=":material/info:")
    method, values = made.method, f"raw values {made.map.min():.3g} to {made.map.max():.3g}"
    st.caption(f"{method.label}{where}, {values}. {method.limits} ({method.paper}).")


def _offer(choice: pickers.Choice, made: Explanation, drawing: Drawing) -> None:
    options = {"alpha": drawing.alpha, "colormap": drawing.colormap, "threshold": drawing.threshold}
    downloads.take_along(
        f"{made.method.key}-{choice.image.name}",
        {
            "png": lambda: style.render_png(made.figure(**options)),
            "npy": lambda: downloads.npy(made.map),
            "csv": lambda: downloads.grid_csv(made.map[0]),
        },
        made.spec,
        {"opacity": round(100 * drawing.alpha), "hide": round(100 * drawing.threshold)}
        | {"diverging" if made.signed else "colormap": drawing.colormap},
        upload=None if choice.linkable else choice.image,
    )
