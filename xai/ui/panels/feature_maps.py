"""The panel of the Feature maps page: the channels of one layer, live over layers and channels."""

from collections.abc import Hashable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import streamlit as st

from xai import ImageTrace
from xai.compute.activations import RANKINGS
from xai.figures import style
from xai.inspection import FeatureMaps, feature_maps
from xai.ui import caching, downloads, pickers, sliders, state
from xai.ui.components import Move, Moving, Sprite, Values, channels, scrubber
from xai.ui.panels.feature_details import CHOICES, show_details
from xai.ui.pictures import level_colours, pack_channels, working_jpeg

LAYER, DETAILS = "layer-shown", "details"  # fragments that a callback redraws
SETTINGS = ("sort", "colormap", "diverging", "scale", "smooth", "over", "below")  # keys of widgets around the dials
SORT_HELP = {
    "channel": "the network's own order",
    "mean": "mean over all places",
    "max": "strongest place",
    "variance": "variance over places",
    "contribution": "how much it adds to the score of the class",
}


@dataclass(frozen=True)
class Look:
    """What is set now and then: order and colours."""

    sort: str
    colormap: str
    diverging: str
    shared: bool
    smooth: bool
    over: bool


@st.fragment
def show_channels(choice: pickers.Choice) -> None:
    """Show what is set now and then (order, colours) around what moves all the time (`_show_layer`)."""
    traced = choice.trace()
    with st.container(horizontal=True, vertical_alignment="bottom"):
        sort = st.segmented_control(
            "Sort channels by", RANKINGS, default="mean", required=True, wrap=True, key="sort", bind="query-params",
            help="; ".join(f"{name}: {text}" for name, text in SORT_HELP.items()), on_change=_take_best,
        )  # fmt: skip
        with st.popover("Colours", icon=":material/palette:"):
            colours = _pick_colours()
    look = Look(sort, *colours)
    if sort == "contribution":
        with st.container(horizontal=True, vertical_alignment="bottom"):
            sliders.find_class(traced)
    _show_layer(choice, look)
    what = st.segmented_control("Look further at", CHOICES, wrap=True, key="below", bind="query-params")
    _show_details(choice, look, what)
    state.remember_drawn(*SETTINGS)
    downloads.offer(lambda: _result(choice, _maps(traced, look, _values(traced, look))))


def _pick_colours() -> tuple[str, str, bool, bool, bool]:
    colormap = st.selectbox("Layers without negative values", style.SEQUENTIAL, key="colormap", bind="query-params")
    diverging = st.selectbox("Layers with both signs", style.DIVERGING, key="diverging", bind="query-params")
    scale = st.segmented_control(
        "One scale for", ("layer", "channel"), default="layer", required=True, key="scale", bind="query-params",
        help="layer: channels can be compared; channel: each runs to its own largest value, so that weak ones show.",
    )  # fmt: skip
    smooth = st.toggle("Smooth", key="smooth", bind="query-params")
    over = st.toggle("Over the picture", key="over", bind="query-params")
    return colormap, diverging, scale == "layer", smooth, over


@st.fragment(key=LAYER)
def _show_layer(choice: pickers.Choice, look: Look) -> None:
    """Show dials and channels: one component, which asks for other layers itself while somebody moves."""
    traced = choice.trace()
    backdrop = working_jpeg(traced) if look.over else None
    dials = [sliders.layer_dial(choice.model)]
    if look.sort == "contribution":
        dials.append(sliders.class_dial(traced))
    moving = Moving(dials, partial(_channels, choice, look, backdrop), (*_trace_key(traced), look))
    channel = _current_channel(_maps(traced, look, moving.values))
    shown = _channels(choice, look, backdrop, moving.values, channel)
    scrubber(shown, key="scrubber", on_move=_take_move, moving=moving)


def _channels(
    choice: pickers.Choice, look: Look, backdrop: bytes | None, values: Values, channel: int | None = None
) -> dict[str, object]:
    """Return the channels of the layer that dials stand on, on the best of them unless another is named."""
    traced = choice.trace()  # looked up, not held: the offer to the browser is not counted in its bounded cache
    maps = _maps(traced, look, values)
    address, texts = sliders.dial_address(traced.model, values), sliders.dial_texts(traced, values)
    if look.sort != "contribution":
        del address["target"]
    shown = channels(
        _sprite(maps, shared=look.shared),
        label=f"Channel of {sliders.describe_layer(traced.model, maps.layer.name)}",
        note=_summary(maps),
        channel=int(maps.order[0]) if channel is None else channel,
        table=level_colours(look.diverging if maps.signed else look.colormap, signed=maps.signed),
        order=None if maps.sort == "channel" else maps.order,
        order_name=maps.sort if maps.target_name is None else f"contribution to {maps.target_name}",
        scores=_scores(maps),
        page=96,
        smooth=look.smooth,
        backdrop=backdrop,
        address=address,
    )
    return {**shown, "texts": texts}


@st.fragment(key=DETAILS)
def _show_details(choice: pickers.Choice, look: Look, what: str | None) -> None:
    """Show one more view of the layer or the channel, if one was chosen."""
    if what is not None:
        maps = _maps(choice.trace(), look, _values(choice.trace(), look))
        show_details(what, choice.trace(), maps, _current_channel(maps))


def _take_best() -> None:
    """After a change of layer or order, stand on the first channel again."""
    st.session_state["channel"] = None


def _take_move(move: Move) -> None:
    """Take what was moved; other channels, or another order of them, begin with the first one again."""
    sliders.take_dials(move.values)
    st.session_state["channel"] = move.index
    if not move.leaving:
        state.rerun_parts(*((DETAILS,) if move.shown else (LAYER, DETAILS)))


def _current_channel(maps: FeatureMaps) -> int:
    chosen = st.session_state.get("channel")
    if chosen is None:
        chosen = int(maps.order[0])
    st.session_state["channel"] = min(chosen, len(maps.maps) - 1)
    return st.session_state["channel"]


def _trace_key(traced: ImageTrace) -> tuple[Hashable, ...]:
    return caching.network_key(traced.model), traced.images[0].digest, traced.ready.resize


def _values(traced: ImageTrace, look: Look) -> Values:
    """Where the dials stand, by the session."""
    values: dict[str, Any] = {"layer": sliders.current_layer(traced.model)}
    return values | ({"target": sliders.current_class(traced)} if look.sort == "contribution" else {})


def _maps(traced: ImageTrace, look: Look, values: Values) -> FeatureMaps:
    """Take the channels of the layer that dials stand on, in the chosen order."""
    layer = sliders.layer_at(traced.model, values)
    target = sliders.class_at(traced, values) if look.sort == "contribution" else None
    return _made_maps((*_trace_key(traced), layer, look.sort, target), traced, layer, look.sort, target)


@caching.byte_bounded(128 * caching.MEGABYTE, lambda made: made.maps.nbytes)
def _made_maps(key: Hashable, traced: ImageTrace, layer: str, sort: str, target: int | None) -> FeatureMaps:
    return feature_maps(traced, layer=layer, sort=sort, target=target)


def _sprite(maps: FeatureMaps, *, shared: bool) -> Sprite:
    key = (maps.spec.weights_digest, maps.spec.image_digest, maps.spec.resize, maps.layer.name, shared)
    return _packed(key, maps, shared)


@caching.byte_bounded(64 * caching.MEGABYTE, lambda made: len(made.tiles))
def _packed(key: Hashable, maps: FeatureMaps, shared: bool) -> Sprite:
    low, high = maps.statistics.minimum.numpy(), maps.statistics.maximum.numpy()
    return pack_channels(maps.maps, low, high, shared=shared, signed=maps.signed)


def _summary(maps: FeatureMaps) -> str:
    statistics = maps.statistics
    zero, mean, largest = (
        float(each) for each in (statistics.zero_share.mean(), statistics.mean.mean(), statistics.maximum.max())
    )
    return (
        f"{len(maps.maps)} channels, {statistics.dead_share:.1%} of them dead for this picture · "
        f"{zero:.1%} of all values are zero · mean {mean:.3g} · largest {largest:.3g}."
    )


def _scores(maps: FeatureMaps) -> np.ndarray | None:
    """The number that the order follows, of each channel."""
    statistics = maps.statistics
    known = {"mean": statistics.mean, "max": statistics.maximum, "variance": statistics.variance}
    return (
        maps.contributions if maps.sort == "contribution" else known[maps.sort].numpy() if maps.sort in known else None
    )


def _result(choice: pickers.Choice, maps: FeatureMaps) -> downloads.Result:
    return downloads.Result(
        name=f"{maps.layer.name}-{choice.image.name}",
        files={
            "png": lambda: style.render_png(maps.figure()),
            "npy": lambda: downloads.npy(maps.maps),
            "csv": lambda: maps.table().to_csv(index=False).encode(),
        },
        spec=maps.spec,
        view=("channel", "sort", "scale", "smooth", "over", "below", "diverging" if maps.signed else "colormap"),
        upload=None if choice.linkable else choice.image,
    )
