"""The panel of the Attribution page: the maps of one class or several, live over methods, layers and classes."""

from functools import partial
from typing import Any

import numpy as np
import streamlit as st

from xai import Explanation, ImageTrace, predict
from xai.compute.attribution import Progress
from xai.errors import UserError
from xai.figures import style
from xai.registry import METHODS, Method, Param
from xai.superpixels import lime_details
from xai.ui import caching, downloads, jobs, pickers, sliders, state
from xai.ui.components import Dial, Move, Moving, Values, moving_viewer, still
from xai.ui.components.assets import data_uri
from xai.ui.panels.attribution_scene import Asked, explain_at, scene_at
from xai.ui.panels.superpixels import show_superpixels
from xai.ui.pictures import Drawing, framed, overlaid

HEARD = "heard"


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
    picture = still(framed(choice.image, traced.ready.boxes[0]), "explanation")
    asked = Asked(choice, method, tuple(params.items()), compared, drawing, picture)
    with pictures:
        _show(asked)
    state.remember_drawn("method", "compare", *sliders.DRAWING, *params)
    _hear()
    downloads.offer(lambda: _result(choice, _explain(asked), drawing))


@st.fragment
def _show(asked: Asked) -> None:
    """Show dials and pictures: one component, which asks for pictures itself while somebody moves."""
    quick = asked.method.speed == "live"
    moving = Moving(_dials(asked), partial(explain_at, asked), asked.key if quick else None)
    place = st.container()
    made = None if quick else _watch(asked, moving.values)
    with place:
        shown = explain_at(asked, moving.values) if quick else scene_at(asked, moving.values, made)
        moving_viewer(shown, moving, key="explanation", on_move=_take_move)
    if made is not None and lime_details(made) is not None:
        show_superpixels(made)


@st.fragment(key=HEARD)
def _hear() -> None:
    """Run in place of the pictures when a move is on the screen already and the session has only to hear of it."""


def _take_move(move: Move) -> None:
    sliders.take_dials(move.values)
    if not move.leaving:
        state.rerun_parts(*((HEARD,) if move.shown else ()))


def _dials(asked: Asked) -> list[Dial]:
    classes = sliders.class_dial(asked.traced)
    return [sliders.layer_dial(asked.traced.model), classes] if asked.method.needs_layer else [classes]


def _watch(asked: Asked, values: Values) -> Explanation | None:
    """Return the explanation by a slow method if it is there; else offer it, or show how far it is."""
    traced, method, drawing = asked.traced, asked.method, asked.drawing
    options = asked.options(values)
    known = caching.known_explanation(traced, method.key, **options)
    if known is not None:
        return known

    def make(report: Progress) -> Explanation:
        return caching.explanation(traced, method.key, on_progress=report, **options)

    def preview(maps: np.ndarray) -> None:
        signed = method.is_signed(dict(asked.params))
        limit = style.value_limit(maps, signed=signed, within=method.within)
        shown = overlaid(traced.images[0], maps[0], traced.ready.boxes[0], drawing, limit=limit, signed=signed)
        # Within the message: a file would be gone by the time that a slow browser asks for it.
        st.image(data_uri(shown, "image/jpeg"), width=480, caption="So far")

    return jobs.watch(caching.explanation_key(traced, method.key, options), method.label, make, preview)


def _explain(asked: Asked) -> Explanation:
    """Explain what the dials stand on; what a slow method says must be there already.

    Raises:
        UserError: the method cannot explain it, or it is a slow one that has not been started.
    """
    method, values = asked.method, {dial.name: dial.values[dial.at] for dial in _dials(asked)}
    if method.speed == "live":
        return caching.explanation(asked.traced, method.key, **asked.options(values))
    known = caching.known_explanation(asked.traced, method.key, **asked.options(values))
    if known is None:
        raise UserError(f"{method.label} has not been started for this view; its files are there once it is done.")
    return known


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
