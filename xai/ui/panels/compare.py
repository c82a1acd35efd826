"""The panel of the Compare page: several methods about one class on one scale, and how far they agree."""

from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from xai import Explanation
from xai.comparison import agreement, coincidences, draw_comparison, quick_methods
from xai.compute.attribution import Progress, part_of
from xai.errors import UserError
from xai.figures import style
from xai.figures.interactive import agreement_heatmap
from xai.metrics.agreement import MEASURES
from xai.registry import METHODS, find_method
from xai.spec import RunSpec
from xai.ui import caching, downloads, jobs, pickers, sliders, state
from xai.ui.components import Panel, viewer
from xai.ui.pictures import Drawing, colour_scale, framed, overlaid, stage

FIRST = ("grad_cam", "hires_cam", "input_x_gradient", "random")  # shown until somebody chooses


@st.fragment
def show_comparison(choice: pickers.Choice) -> None:
    """Show the chosen methods side by side, live; slow ones wait for a word."""
    traced = choice.trace()
    keys = _pick_methods(choice)
    state.show_notices()
    with st.container(horizontal=True, gap="medium"):
        sliders.current_layer(choice.model)
        sliders.slide_layer(choice.model)
        sliders.current_class(traced)
        sliders.slide_class(traced)
    pictures = st.container()
    signed = any(METHODS[key].signed for key in keys)
    drawing = sliders.pick_drawing(signed=signed)
    with pictures:
        made = _explain_all(choice, keys)
        if made:
            _show_maps(choice, made, drawing)
            for note in coincidences(traced, made):
                st.info(note, icon=":material/info:")
            _show_agreement(made)
    downloads.offer(lambda: _result(choice, made, drawing))


def _pick_methods(choice: pickers.Choice) -> list[str]:
    offered = [key for key, method in METHODS.items() if method.supports(choice.model) is None]
    state.adopt("methods", lambda text: _read_methods(text, offered), None)
    quick = quick_methods(choice.model)
    state.start_with("methods", [key for key in FIRST if key in quick] or quick[:2])
    st.session_state["methods"] = [key for key in st.session_state["methods"] if key in offered]
    chosen = st.pills(
        "Methods", offered, selection_mode="multi", key="methods",
        format_func=lambda key: METHODS[key].label + (" (slow)" if METHODS[key].speed == "slow" else ""),
    )  # fmt: skip
    return [key for key in offered if key in chosen]


def _read_methods(text: str, offered: list[str]) -> list[str]:
    keys = [find_method(name).key for name in text.split(",") if name]
    wrong = [METHODS[key].label for key in keys if key not in offered]
    if wrong:
        raise UserError(f"{', '.join(wrong)} cannot explain this network.")
    return keys


def _explain_all(choice: pickers.Choice, keys: list[str]) -> list[Explanation]:
    """Explain by every quick method, and by the slow ones that are there; offer to start the others."""
    if not keys:
        st.info("Choose at least one method.", icon=":material/info:")
        return []
    traced = choice.trace()
    asked = {key: _asked(choice, key) for key in keys}
    waiting = [
        key
        for key in keys
        if METHODS[key].speed == "slow" and caching.known_explanation(traced, key, **asked[key]) is None
    ]

    def make(report: Progress) -> object:
        for done, key in enumerate(waiting):
            part = part_of(report, done, len(waiting))
            caching.explanation(traced, key, on_progress=part, **asked[key])
        return True

    if waiting:
        names = ", ".join(METHODS[key].label for key in waiting)
        name = tuple(caching.explanation_key(traced, key, asked[key]) for key in waiting)
        if jobs.watch(name, names, make):
            waiting = []
    made = []
    for key in keys:
        if key in waiting:
            continue
        try:
            made.append(caching.explanation(traced, key, **asked[key]))
        except UserError as error:
            st.error(str(error), icon=":material/error:")
    return made


def _asked(choice: pickers.Choice, key: str) -> dict[str, Any]:
    layer = sliders.current_layer(choice.model) if METHODS[key].needs_layer else None
    return {"target": (sliders.current_class(choice.trace()),), "layer": layer, **METHODS[key].defaults}


def _show_maps(choice: pickers.Choice, made: list[Explanation], drawing: Drawing) -> None:
    """Show a picture for each method, each in shares of its own largest |value|."""
    first, signed = made[0], any(e.signed for e in made)
    panels = [Panel(framed(first.image, first.box), "picture", "Outlined: what the network sees", first.image.name)]
    for e in made:
        values = (e.map[0] / (e.limit or 1.0)).astype(np.float32)
        shown = overlaid(e.image, values, e.box, drawing, limit=1.0, signed=signed)
        caption = f"{e.method.label} · 1 = {e.limit:.3g} · {e.seconds:.2f} s"
        panels.append(Panel(shown, e.method.label, caption, f"{e.method.label} laid over {e.image.name}", values))
    title = first.titles[0]
    viewer(
        panels,
        stage(first.image, first.box),
        key="comparison",
        label=f"Methods compared for {title}",
        note=f"{title}. Every map is drawn in shares of its own limit, since methods have no common unit.",
        address={**sliders.class_address(), "methods": ",".join(e.method.key for e in made)},
        scale=colour_scale(drawing, 1.0, signed=signed),
        widest=360,
    )


def _show_agreement(made: list[Explanation]) -> None:
    if len(made) < 2:
        return
    tables = agreement(made)
    measure = st.segmented_control("How far they agree", list(MEASURES), default=next(iter(MEASURES)), required=True)
    assert measure is not None, "required=True"
    labels = [e.method.label for e in made]
    figure = agreement_heatmap(tables[measure].to_numpy(), labels, measure)
    st.plotly_chart(figure, width="stretch", key="agreement", config={"displayModeBar": False})
    st.dataframe(_table(made), hide_index=True, width="stretch")


def _table(made: list[Explanation]) -> pd.DataFrame:
    rows = [
        {
            "method": e.method.label,
            "layer": e.layer or "",
            "class": e.target_names[0],
            "lowest": float(e.map.min()),
            "highest": float(e.map.max()),
            "seconds": round(e.seconds, 3),
        }
        for e in made
    ]
    return pd.DataFrame(rows)


def _result(choice: pickers.Choice, made: list[Explanation], drawing: Drawing) -> downloads.Result:
    if not made:
        raise UserError("Nothing is compared yet; choose methods, and start the slow ones.")
    first = made[0].spec
    spec = RunSpec(
        **{
            **vars(first),
            "method": "compare",
            "layer": sliders.current_layer(choice.model),
            "params": {"methods": ",".join(e.method.key for e in made)},
        }
    )
    options = {"alpha": drawing.alpha, "colormap": drawing.colormap, "threshold": drawing.threshold}
    return downloads.Result(
        name=f"compare-{choice.image.name}",
        files={
            "png": lambda: style.render_png(draw_comparison(made, **options)),
            "npy": lambda: downloads.npy(np.stack([e.map[0] for e in made])),
            "csv": lambda: _table(made).to_csv(index=False).encode(),
        },
        spec=spec,
        view=("opacity", "hide"),
        upload=None if choice.linkable else choice.image,
    )
