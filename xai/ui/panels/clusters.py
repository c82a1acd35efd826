"""The panel of the Clusters page: galleries, words, maps, flows, the plane and measures of one head."""

from collections.abc import Callable, Hashable
from typing import Any

import numpy as np
import streamlit as st

from xai import clusters as views
from xai.errors import UserError
from xai.figures import cluster_charts, cluster_flows, style
from xai.figures.clusters import picture_sheet, word_bars
from xai.figures.sheets import encode_jpeg, encode_png
from xai.registry import METHODS, find_method
from xai.scan.explain.maps import CLUSTER_CAM
from xai.scan.explain.maps2d import LAYOUTS, Layout, lay_out
from xai.scan.explain.survey import SPACE, TRAIN, Survey, main_heads, measure_flows
from xai.scan.run import Head, ScanRun
from xai.ui import caching, jobs, runs, state

VIEWS = ("Pictures", "Words", "Maps", "Levels", "Plane", "Measures")
EXPLAINED = 4  # pictures in the sheet of maps
SHOWN = 48  # pictures of a selection


@st.fragment
def show_clusters(run: ScanRun, head: Head) -> None:
    """Show one view of a head, of a cluster where the view is about one."""
    survey = runs.survey_of(run, head)
    state.keep_valid("view", VIEWS, VIEWS[0])
    view = st.segmented_control("View", VIEWS, required=True, key="view", bind="query-params") or VIEWS[0]
    about_one = view in ("Pictures", "Words", "Maps")
    cluster = runs.choose_cluster(survey) if about_one else 0
    state.show_notices()
    try:
        if about_one and not survey.evaluation.sizes[cluster]:
            st.info("No training picture lies in this cluster.", icon=":material/info:")
            return
        _SHOW[view](survey, cluster)
    except UserError as error:
        st.error(str(error), icon=":material/error:")


def show_row(row: views.Row | None, *, width: Any = "content") -> None:
    """Show pictures side by side, and what there is to say about them."""
    if row is not None:
        st.image(encode_png(row.picture), width=width, alt=row.alt)
        if row.sentence:
            st.caption(row.sentence)


def _pictures(survey: Survey, cluster: int) -> None:
    sure, size = survey.evaluation.confidence[cluster], views.count_pictures(survey, cluster)
    st.markdown(f"**{size}**, mean probability {sure:.2f}")
    for kind in views.KINDS:
        st.header(kind.capitalize())
        key = runs.run_key(survey.run), survey.head.name, cluster, kind
        show_row(kept_row(key, lambda kind=kind: views.gallery(survey, cluster, kind)))


@caching.byte_bounded(32 * caching.MEGABYTE, lambda row: 1000 if row is None else row.picture.nbytes)
def kept_row(key: Hashable, make: Callable[[], views.Row | None]) -> views.Row | None:
    """Make pictures side by side once for all sessions, and keep them while there is room."""
    return make()


def _words(survey: Survey, cluster: int) -> None:
    words = survey.words[cluster]
    if not words:
        st.info("No word sets this cluster apart: the pictures have no names or attributes that differ.")
        return
    left, right = st.columns([3, 2], gap="medium")
    with left:
        chart = word_bars([(word.term, word.weight, word.inside, word.outside) for word in words[:12]])
        st.image(style.render_png(chart), width="stretch", alt=str(chart.get_label()))
        source = survey.terms.source if survey.terms else "nowhere"
        st.caption(f"Words from {source}. Longer bars set the cluster apart more from the other clusters.")
    with right:
        key = runs.run_key(survey.run), survey.head.name, cluster, "cloud"
        show_row(kept_row(key, lambda: views.cloud_on_map(survey, cluster)), width="stretch")


def _maps(survey: Survey, cluster: int) -> None:
    model = survey.run.model(survey.head)
    live = [key for key, each in METHODS.items() if each.speed == "live" and each.supports(model) is None]
    state.adopt("map_method", lambda text: find_method(text).key, views.explain_label)
    state.rerun_if_respelled()
    state.keep_valid("map_method", live, CLUSTER_CAM)
    layers = list(model.layers())
    state.keep_valid("map_layer", layers, model.default_layer)
    with st.container(horizontal=True):
        method = st.selectbox("Method", live, format_func=views.explain_label, key="map_method", bind="query-params")
        needs = METHODS[method].needs_layer
        layer = st.selectbox("Layer", layers, key="map_layer", bind="query-params", disabled=not needs)
    chosen = survey.members(cluster, EXPLAINED).prototypes.tolist()
    key = runs.run_key(survey.run), survey.head.name, cluster, "maps", method, layer if needs else None
    show_row(kept_row(key, lambda: views.maps_sheet(survey, chosen, method, layer if needs else None)))
    st.caption(
        "The same picture asks a different question at each head: the map follows the head's own cluster. "
        f"{METHODS[method].limits}"
    )


def _levels(survey: Survey, cluster: int) -> None:
    run = survey.run
    levels = views.find_levels(run, [runs.survey_of(run, head) for head in main_heads(run)])
    if levels is None:
        st.info("This run has heads of one size only.", icon=":material/info:")
        return
    st.plotly_chart(cluster_flows.sankey(levels), width="stretch", key="flow", config={"displayModeBar": False})
    st.caption(levels.alt)
    rows = [
        {"heads": f"{a} to {b}", "nested": flow.nested, "by chance": flow.by_chance, "explained": flow.explained}
        for (a, b), flow in measure_flows(run).items()
    ]
    st.dataframe(rows, hide_index=True, width="stretch")
    st.caption("Nested is 1 where every fine cluster lies inside one coarse cluster; explained: share of its entropy.")


def _plane(survey: Survey, cluster: int) -> None:
    state.keep_valid("layout", LAYOUTS, LAYOUTS[0])
    kind = st.segmented_control("Layout", LAYOUTS, required=True, key="layout", bind="query-params") or LAYOUTS[0]
    made = find_layout(survey.run, kind)
    if made is None:
        return
    titles, names = [survey.title(each) for each in range(survey.head.clusters)], survey.run.pictures(TRAIN).names
    shown = survey.clusters[made.pictures]
    chart = cluster_flows.map_chart(made.places, shown, titles, [names[i] for i in made.pictures], None)
    event: Any = st.plotly_chart(
        chart, width="stretch", key="plane", on_select="rerun", selection_mode=("points", "box", "lasso")
    )
    st.caption(describe_layout(made))
    chosen = [int(np.ravel(point["customdata"])[0]) for point in event["selection"]["points"] if "customdata" in point]
    if not chosen:
        st.caption("Click a dot to see its picture; the lasso and the box in the bar over the chart take several.")
        return
    pictures = survey.run.pictures(TRAIN)
    tiles = [pictures[int(made.pictures[i])] for i in chosen[:SHOWN]]
    captions = [f"cluster {shown[i]}" for i in chosen[:SHOWN]]
    st.image(encode_jpeg(picture_sheet(tiles, captions, columns=12), 90), alt=f"{len(tiles)} selected pictures")
    st.caption(f"{len(chosen)} selected" + (f", the first {SHOWN} shown" if len(chosen) > SHOWN else ""))


def describe_layout(made: Layout) -> str:
    """Say what distances on the plane mean."""
    if made.explained is None:
        return "t-SNE: pictures near each other have like features; sizes and gaps mean nothing."
    return f"The two directions of largest variance, {made.explained:.0%} of all of it."


def find_layout(run: ScanRun, kind: str) -> Layout | None:
    """Lay out the training pictures: PCA at once, t-SNE when somebody starts it."""
    key = "layout", runs.run_key(run), kind
    if kind == "pca" or known_layout(key):
        return _laid_out(key, run, kind)
    return jobs.watch(key, "t-SNE", lambda report: _laid_out(key, run, kind), why="moves every picture many times")


def known_layout(key: Hashable) -> Layout | None:
    """Return a layout that some session has made, or None."""
    with _laid_out.cache_lock:  # type: ignore[attr-defined]
        return _laid_out.cache.get(key)  # type: ignore[attr-defined]


@caching.byte_bounded(16 * caching.MEGABYTE, lambda made: made.places.nbytes)
def _laid_out(key: Hashable, run: ScanRun, kind: str) -> Layout:
    return lay_out(run.features(TRAIN), kind, most=3000)


def _measures(survey: Survey, cluster: int) -> None:
    found = survey.evaluation
    rows = [dict(zip(("measure", "training pictures", "held out"), row, strict=True)) for row in views.measures(survey)]
    left, right = st.columns(2, gap="medium")
    with left:
        st.dataframe(rows, hide_index=True, width="stretch")
    with right:
        if found.silhouette is not None and np.isfinite(found.silhouette.values).all():
            count = survey.head.clusters
            _chart(cluster_charts.silhouette_chart(found.silhouette.values, survey.clusters, count, SPACE))
    st.dataframe(found.table().round(3), hide_index=True, width="stretch")
    if found.counts is not None and found.calibration is not None:
        left, right = st.columns([3, 2], gap="medium")
        with left:
            _chart(cluster_charts.confusion_chart(found.counts, found.class_names))
        with right:
            made = found.calibration
            _chart(cluster_charts.calibration_chart(made.confidence, made.accuracy, made.counts, made.error))
    if survey.stability.replicas > 1:
        st.header(f"{survey.stability.replicas} replicas: do other random starts agree?")
        _chart(cluster_charts.consensus_chart(survey.stability.consensus), width="content")
    grown = views.growth(survey)
    if grown is not None:
        st.header("How the clusters grew in training")
        chart, sentence = grown
        _chart(chart)
        st.caption(sentence)


def _chart(chart: Any, width: Any = "stretch") -> None:
    st.image(style.render_png(chart), width=width, alt=str(chart.get_label()))


_SHOW: dict[str, Callable[[Survey, int], None]] = {
    "Pictures": _pictures,
    "Words": _words,
    "Maps": _maps,
    "Levels": _levels,
    "Plane": _plane,
    "Measures": _measures,
}
