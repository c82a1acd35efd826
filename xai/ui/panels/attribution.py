"""The panel of the Attribution page: the maps of one class or several, live over methods, layers and classes."""

from typing import Any

import numpy as np
import streamlit as st

from xai import Explanation, ImageTrace, predict
from xai.compute.attribution import Progress
from xai.errors import UserError
from xai.figures import style
from xai.model import Model
from xai.registry import METHODS, Method, Param
from xai.superpixels import lime_details
from xai.ui import caching, downloads, jobs, pickers, sliders, state
from xai.ui.components import Panel, viewer
from xai.ui.panels.superpixels import show_superpixels
from xai.ui.pictures import Drawing, colour_scale, framed, overlaid, stage


@st.fragment
def show_explanation(choice: pickers.Choice) -> None:
    """Show what is set now and then (method, class search, drawing) around what moves all the time (`_show`)."""
    traced = choice.trace()
    with st.container(horizontal=True, vertical_alignment="bottom"):
        method = _pick_method(choice)
        params = _pick_params(method)
        sliders.find_class(traced)
    pictures = st.container()
    drawing = sliders.pick_drawing(signed=method.is_signed(params))
    compared = _pick_compared(traced)
    with pictures:
        _show(choice, method, params, compared, drawing)
    downloads.offer(lambda: _result(choice, _explain(choice, method, params, compared), drawing))


@st.fragment
def _show(
    choice: pickers.Choice, method: Method, params: dict[str, Any], compared: tuple[int, ...], drawing: Drawing
) -> None:
    """Show sliders and pictures. Two sliders and one component, no more: all is sent anew and drawn at each move."""
    made = None
    if method.speed == "live":
        try:
            made = _explain(choice, method, params, compared)
        except UserError as error:
            st.error(str(error), icon=":material/error:")
    with st.container(horizontal=True, gap="medium"):
        if method.needs_layer:
            sliders.slide_layer(choice.model)
        sliders.slide_class(choice.trace())
    if method.speed == "slow":
        made = _watch(choice, method, params, compared, drawing)
    if made is not None:
        _show_maps(choice.model, made, drawing)
        if lime_details(made) is not None:
            show_superpixels(made)


def _watch(
    choice: pickers.Choice, method: Method, params: dict[str, Any], compared: tuple[int, ...], drawing: Drawing
) -> Explanation | None:
    """Return the explanation by a slow method if it is there; else offer it, or show how far it is."""
    traced, asked = choice.trace(), _asked(choice, method, params, compared)
    known = caching.known_explanation(traced, method.key, **asked)
    if known is not None:
        return known

    def make(report: Progress) -> Explanation:
        return caching.explanation(traced, method.key, on_progress=report, **asked)

    def preview(maps: np.ndarray) -> None:
        signed = method.is_signed(params)
        limit = style.value_limit(maps, signed=signed, within=method.within)
        box = traced.ready.boxes[0]
        shown = overlaid(choice.image, maps[0], box, drawing, limit=limit, signed=signed)
        st.image(shown, width=480, caption="So far")

    return jobs.watch(caching.explanation_key(traced, method.key, asked), method.label, make, preview)


def _explain(choice: pickers.Choice, method: Method, params: dict[str, Any], compared: tuple[int, ...]) -> Explanation:
    """Explain what the sliders stand on; what a slow method says must be there already.

    Raises:
        UserError: the method cannot explain it, or it is a slow one that has not been started.
    """
    asked = _asked(choice, method, params, compared)
    if method.speed == "live":
        return caching.explanation(choice.trace(), method.key, **asked)
    known = caching.known_explanation(choice.trace(), method.key, **asked)
    if known is None:
        raise UserError(f"{method.label} has not been started for this view; its files are there once it is done.")
    return known


def _asked(choice: pickers.Choice, method: Method, params: dict[str, Any], compared: tuple[int, ...]) -> dict[str, Any]:
    """What the sliders stand on, as options of `xai.explain`."""
    target = sliders.current_class(choice.trace())
    targets = (target, *(index for index in compared if index != target))
    return {"target": targets, "layer": sliders.current_layer(choice.model) if method.needs_layer else None, **params}


def _pick_method(choice: pickers.Choice) -> Method:
    offered = [key for key, method in METHODS.items() if method.supports(choice.model) is None]
    state.keep_valid("method", offered, offered[0])
    key = st.selectbox(
        "Method", offered, width=220, format_func=lambda key: METHODS[key].label, key="method", bind="query-params",
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
    step: Any = kind(param.step) if param.step else None
    if param.low is None or param.high is None:
        limits: Any = (param.low, param.high)
        return st.number_input(label, *limits, step=step, **common)
    return st.slider(label, kind(param.low), kind(param.high), step=step, **common)


def _pick_compared(traced: ImageTrace) -> tuple[int, ...]:
    """Show which other classes are put beside the chosen one, on one colour scale: the likely ones and a link's."""
    names = sliders.class_labels(traced.model)
    known = st.session_state.get("compare") or map(names.index, set(st.query_params.get_all("compare")) & set(names))
    offered = dict.fromkeys([*(index for _, _, index in predict(traced)), *known])
    return tuple(
        st.pills(
            "Compare on one scale with", offered, selection_mode="multi", format_func=names.__getitem__, key="compare",
            bind="query-params",
        )
    )  # fmt: skip


def _show_maps(model: Model, made: Explanation, drawing: Drawing) -> None:
    """Show the picture and the map of each class, all maps on one colour scale."""
    limit = made.limit
    where = "" if not isinstance(made.layer, str) else f" at {sliders.describe_layer(model, made.layer)}"
    panels = [Panel(framed(made.image, made.box), "picture", "Outlined: what the network sees", made.image.name)]
    panels += [
        Panel(
            overlaid(made.image, values, made.box, drawing, limit=limit, signed=made.signed),
            name,
            title,
            f"{made.method.label} for {name} at {made.layer}, laid over {made.image.name}",
            values,
        )
        for name, title, values in zip(made.target_names, made.titles, made.map, strict=True)
    ]
    method, values = made.method, f"raw values {made.map.min():.3g} to {made.map.max():.3g}"
    beyond = f" {1 - method.within:.1%} of the values lie beyond the scale." if method.within < 1 else ""
    nothing = "" if made.map.any() else "The map is zero everywhere: nothing at this layer speaks for the class. "
    viewer(
        panels,
        stage(made.image, made.box),
        key="explanation",
        label=f"{method.label} of {made.image.name}",
        note=f"{nothing}{method.label}{where}, {values}.{beyond} {method.limits} ({method.paper}).",
        address=sliders.class_address(),
        scale=colour_scale(drawing, limit, signed=made.signed),
    )


def _result(choice: pickers.Choice, made: Explanation, drawing: Drawing) -> downloads.Result:
    options = {"alpha": drawing.alpha, "colormap": drawing.colormap, "threshold": drawing.threshold}
    return downloads.Result(
        name=f"{made.method.key}-{choice.image.name}",
        files={
            "png": lambda: style.render_png(made.figure(**options)),
            "npy": lambda: downloads.npy(made.map),
            "csv": lambda: downloads.grid_csv(made.map[0]),
        },
        spec=made.spec,
        view=("opacity", "hide", "diverging" if made.signed else "colormap"),
        upload=None if choice.linkable else choice.image,
    )
