"""The panel of the Filters page: the kernels of one convolution, live over convolutions and filters."""

from collections.abc import Hashable

import numpy as np
import streamlit as st

from xai.compute.filters import list_convolutions
from xai.figures import style
from xai.figures.interactive import similarity_heatmap
from xai.figures.sheets import encode_png
from xai.inspection import Filters, filters
from xai.model import Model
from xai.ui import caching, downloads, pickers, sliders, state
from xai.ui.components import Move, Sprite, channels, scrubber
from xai.ui.pictures import level_colours, pack_channels, pack_tiles

WAYS = {"colours": "In colour", "components": "Strongest pattern", "channel": "One input channel"}
DUPLICATE = 0.95  # cosine from which two filters count as doing the same
HEATMAP_FILTERS = 512  # a larger table of pairs is more than a browser should draw


@st.fragment
def show_filters(choice: pickers.Choice) -> None:
    """Show one convolution: its kernels in the scrubber, and numbers about them."""
    model = choice.model
    convolutions = dict(list_convolutions(model.network))
    left, right = st.columns(2, gap="medium")
    shared = st.session_state.get("layer")
    first = shared if shared in convolutions else next(iter(convolutions))
    layer = sliders.current_layer(model, key="convolution", names=tuple(convolutions), default=first)
    with left:
        sliders.slide_layer(model, key="convolution", names=tuple(convolutions))
    weight = convolutions[layer].weight
    with right:
        show, channel = _pick_way(inputs=weight.shape[1])
    found = _filters(model, layer, show, channel)
    _show_metrics(found)
    _show_kernels(found)
    _show_more(found)
    downloads.offer(lambda: _result(found))


def _result(found: Filters) -> downloads.Result:
    return downloads.Result(
        name=f"filters-{found.layer_name}",
        files={
            "png": lambda: style.render_png(found.figure()),
            "npy": lambda: downloads.npy(found.weight),
            "csv": lambda: found.table().to_csv(index=False).encode(),
        },
        spec=found.spec,
        view=("filter", "alike", "about"),
    )


def _pick_way(inputs: int) -> tuple[str, int]:
    ways = [way for way in WAYS if way != "colours" or inputs == 3]
    state.keep_valid("show", ways, ways[0])
    show = st.segmented_control(
        "Show kernels", ways, format_func=WAYS.__getitem__, required=True, key="show", bind="query-params",
        help="A filter has one kernel per input channel; its strongest pattern is the first principal one of them.",
    )  # fmt: skip
    assert show is not None, "required=True"
    if show != "channel" or inputs < 2:
        return show, 0
    state.start_with("input_channel", 0)
    state.clamp("input_channel", 0, inputs - 1)
    return show, st.slider("Input channel", 0, inputs - 1, key="input_channel", bind="query-params")


def _filters(model: Model, layer: str, show: str, channel: int) -> Filters:
    return _found((caching.network_key(model), layer, show, channel), model, layer, show, channel)


@caching.byte_bounded(256 * caching.MEGABYTE, lambda found: found.weight.nbytes + found.similarity.nbytes)
def _found(key: Hashable, model: Model, layer: str, show: str, channel: int) -> Filters:
    return filters(model, layer, show=show, input_channel=channel)


def _show_metrics(found: Filters) -> None:
    count, inputs, height, width = found.weight.shape
    similar = found.statistics.nearest_similarity
    with st.container(horizontal=True):
        st.metric("Filters", count)
        st.metric("Kernel", f"{height} × {width}")
        st.metric("Input channels", inputs)
        st.metric(
            "Dead filters", f"{found.statistics.dead_share:.1%}", help="Weights near zero against the layer's median."
        )
        st.metric(
            "Near duplicates", f"{float((similar > DUPLICATE).float().mean()):.1%}",
            help=f"Filters whose direction another one shares (cosine above {DUPLICATE}).",
        )  # fmt: skip
        if found.explained is not None:
            st.metric(
                "In the strongest pattern", f"{float(found.explained.mean()):.0%}",
                help="How much of a filter its first principal kernel holds, on average.",
            )  # fmt: skip


def _show_kernels(found: Filters) -> None:
    """Show the kernels in the scrubber; colour kernels as they are, the others on one signed scale."""
    chosen = min(st.session_state.get("filter") or 0, len(found.weight) - 1)
    alike = st.toggle("Similar filters together", key="alike", bind="query-params")
    statistics = found.statistics
    nearest, cosine = int(statistics.nearest[chosen]), float(statistics.nearest_similarity[chosen])
    norm = f"norm {float(statistics.norm[chosen]):.3g}{', dead' if bool(statistics.dead[chosen]) else ''}"
    shown = channels(
        _sprite(found),
        label=f"Filter of {found.layer_name}",
        note=f"Filter {chosen}: {norm}, most like filter {nearest} (cosine {cosine:.2f}).",
        noun="filter",
        parameter="filter",
        channel=chosen,
        table=None if found.shown == "colours" else level_colours(None, signed=True),
        order=found.order if alike else None,
        order_name="likeness",
        page=96,
    )
    scrubber(shown, key="kernels", on_move=_take_filter)


def _take_filter(move: Move) -> None:
    if move.index is not None:
        st.session_state["filter"] = move.index


def _sprite(found: Filters) -> Sprite:
    kernels = found.kernels
    low, high = (reduce(kernels.reshape(len(kernels), -1), axis=1) for reduce in (np.min, np.max))
    if found.shown != "colours":
        return pack_channels(kernels, low, high, shared=True, signed=True)
    weights = found.weight.reshape(len(kernels), -1)
    return pack_tiles(np.rint(kernels * 255).astype(np.uint8), weights.min(1), weights.max(1))


def _show_more(found: Filters) -> None:
    table, pairs = st.tabs(["Numbers", "Similarity"], on_change="rerun", key="about", bind="query-params")
    if table.open:
        with table:
            st.dataframe(found.table(), hide_index=True, width="stretch", height=360)
    if pairs.open:
        with pairs:
            if len(found.similarity) <= HEATMAP_FILTERS:
                figure = similarity_heatmap(found.similarity, order=found.order.tolist())
                st.plotly_chart(figure, width="stretch", key="pairs", config={"displayModeBar": False})
            else:
                ordered = found.similarity[np.ix_(found.order, found.order)]
                st.image(
                    encode_png(style.colour_values(ordered, 1.0, signed=True)),
                    width="stretch",
                    alt="Similarity of all filters",
                )
            st.caption(
                "Cosine between the weights of two filters; similar ones stand together, red blocks do nearly the same."
            )
