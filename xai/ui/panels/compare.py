"""The panel of the Compare page: methods, layers and networks about one class on one scale, and how far they agree."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import streamlit as st

from xai import Explanation, ImageTrace
from xai.comparison import Row, draw_comparison, plan_rows
from xai.compute.attribution import Progress, part_of
from xai.errors import UserError
from xai.figures import style
from xai.figures.interactive import agreement_heatmap
from xai.matching import check_layers
from xai.method import Method
from xai.metrics.agreement import MEASURES
from xai.metrics.alignment import common_places
from xai.registry import METHODS
from xai.side_by_side import agreement, explain_agreement, name_rows, tabulate
from xai.ui import caching, downloads, jobs, pickers, sliders, state
from xai.ui.components import Panel, viewer
from xai.ui.panels import compare_choices
from xai.ui.pictures import Drawing, colour_scale, framed, overlaid, stage


@st.fragment
def show_comparison(choice: pickers.Choice) -> None:
    """Show the chosen methods side by side, live; slow ones wait for a word."""
    traced = choice.trace()
    keys = compare_choices.pick_methods(choice)
    with st.container(horizontal=True, gap="medium"):
        more = compare_choices.pick_layers(choice)
        second = compare_choices.pick_second(choice)
    state.show_notices()
    with st.container(horizontal=True, gap="medium"):
        sliders.current_layer(choice.model)
        sliders.slide_layer(choice.model)
        sliders.current_class(traced)
        sliders.slide_class(traced)
    layers = tuple(dict.fromkeys((sliders.current_layer(choice.model), *more)))
    pictures = st.container()
    signed = any(METHODS[key].signed for key in keys)
    drawing = sliders.pick_drawing(signed=signed)
    with pictures:
        sources, rows = _plan(traced, second, keys, layers)
        made = _explain_all(rows)
        if made:
            _show_maps(made, drawing)
            for note in explain_agreement(sources, made):
                st.info(note, icon=":material/info:")
            _show_agreement(made)
    downloads.offer(lambda: _result(choice, made, drawing, layers))


def _plan(
    traced: ImageTrace, second: ImageTrace | None, keys: list[str], layers: Sequence[str]
) -> tuple[list[ImageTrace], list[Row]]:
    """List what is asked; a class or a method that the second network does not know is told, and it is left out."""
    target = sliders.current_class(traced)
    if second is not None:
        wrong = [METHODS[key].label for key in keys if METHODS[key].supports(second.model) is not None]
        sources = [traced, second]
        try:
            if wrong:
                raise UserError(f"{', '.join(wrong)} cannot explain {second.model.name}; choose other methods.")
            rows = plan_rows(sources, keys, layers, target)
            for note in check_layers([each.model for each in sources], layers):
                st.caption(note)
            return sources, rows
        except UserError as error:
            st.error(str(error), icon=":material/error:")
    return [traced], plan_rows([traced], keys, layers, target)


def _explain_all(rows: list[Row]) -> list[Explanation]:
    """Explain by every quick method, and by the slow ones that are there; offer to start the others."""
    if not rows:
        st.info("Choose at least one method.", icon=":material/info:")
        return []
    waiting = [row for row in rows if row.method.speed == "slow" and _known(row) is None]

    def make(report: Progress) -> object:
        for done, row in enumerate(waiting):
            _explain(row, part_of(report, done, len(waiting)))
        return True

    if waiting:
        names = ", ".join(dict.fromkeys(row.method.label for row in waiting))
        name = tuple(caching.explanation_key(row.traced, row.method.key, _asked(row)) for row in waiting)
        if jobs.watch(name, names, make):
            waiting = []
    made = []
    for row in rows:
        if row in waiting:
            continue
        try:
            made.append(_explain(row))
        except UserError as error:
            st.error(str(error), icon=":material/error:")
    return made


def _asked(row: Row) -> dict[str, Any]:
    return {"target": row.target, "layer": row.layer, **row.method.defaults}


def _explain(row: Row, on_progress: Progress | None = None) -> Explanation:
    return caching.explanation(row.traced, row.method.key, on_progress=on_progress, **_asked(row))


def _known(row: Row) -> Explanation | None:
    return caching.known_explanation(row.traced, row.method.key, **_asked(row))


def _label(method: Method) -> str:
    return method.label


def _show_maps(made: list[Explanation], drawing: Drawing) -> None:
    """Show a picture for each row, each in shares of its own largest |value|."""
    first, signed = made[0], any(e.signed for e in made)
    panels = [Panel(framed(first.image, first.box), "picture", "Outlined: what the network sees", first.image.name)]
    for e, name in zip(made, name_rows(made, _label), strict=True):
        values = (e.map[0] / (e.limit or 1.0)).astype(np.float32)
        shown = overlaid(e.image, values, e.box, drawing, limit=1.0, signed=signed)
        caption = f"{name} · 1 = {e.limit:.3g} · {e.seconds:.2f} s"
        panels.append(Panel(shown, name, caption, f"{name} laid over {e.image.name}", values))
    titles = dict.fromkeys(f"{e.titles[0]} ({e.spec.title})" for e in made)
    title = first.titles[0] if len(titles) == 1 else " and ".join(titles)
    viewer(
        panels,
        stage(first.image, first.box),
        key="comparison",
        label=f"Compared for {title}",
        note=f"{title}. Every map is drawn in shares of its own limit, since methods have no common unit.",
        address={**sliders.class_address(), "methods": ",".join(dict.fromkeys(e.method.key for e in made))},
        scale=colour_scale(drawing, 1.0, signed=signed),
        widest=360,
    )


def _show_agreement(made: list[Explanation]) -> None:
    if len(made) < 2:
        return
    tables = agreement(made)
    measure = st.segmented_control("How far they agree", list(MEASURES), default=next(iter(MEASURES)), required=True)
    assert measure is not None, "required=True"
    figure = agreement_heatmap(tables[measure].to_numpy(), name_rows(made, _label), measure)
    st.plotly_chart(figure, width="stretch", key="agreement", config={"displayModeBar": False})
    st.dataframe(tabulate(made), hide_index=True, width="stretch", key="rows")


def _result(
    choice: pickers.Choice, made: list[Explanation], drawing: Drawing, layers: Sequence[str]
) -> downloads.Result:
    if not made:
        raise UserError("Nothing is compared yet; choose methods, and start the slow ones.")
    others = [e for e in made if e.spec.weights_digest != made[0].spec.weights_digest]
    spec = replace(
        made[0].spec,
        method="compare",
        layer=tuple(layers) if len(layers) > 1 else layers[0],
        params={"methods": ",".join(dict.fromkeys(e.method.key for e in made))},
    ).beside([e.spec for e in others[:1]])
    options = {"alpha": drawing.alpha, "colormap": drawing.colormap, "threshold": drawing.threshold}
    return downloads.Result(
        name=f"compare-{choice.image.name}",
        files={
            "png": lambda: style.render_png(draw_comparison(made, **options)),
            "npy": lambda: downloads.npy(_stack(made)),
            "csv": lambda: tabulate(made).to_csv(index=False).encode(),
        },
        spec=spec,
        view=("opacity", "hide"),
        upload=None if choice.linkable else choice.image,
    )


def _stack(made: list[Explanation]) -> np.ndarray:
    """Stack the maps of the rows (R, h, w), those of other sizes on the common grid of the agreement."""
    return np.stack(common_places([e.map[0] for e in made], [e.box for e in made]))
