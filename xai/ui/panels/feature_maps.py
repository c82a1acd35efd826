"""The panel of the Feature maps page: the channels of one layer, live over layers and channels."""

from collections.abc import Hashable
from dataclasses import asdict

import numpy as np
import pandas as pd
import streamlit as st

from xai import ImageTrace
from xai.compute.activations import RANKINGS, REDUCTIONS, layer_statistics
from xai.figures import style
from xai.inspection import FeatureMaps, feature_maps
from xai.ui import caching, downloads, pickers, state
from xai.ui.components import Panel, Sprite, scrubber, viewer
from xai.ui.pictures import Drawing, colour_scale, framed, level_colours, overlaid, pack_channels, stage, working_jpeg

JUMP = "_stand_on_first_channel"
SORT_HELP = {
    "channel": "the network's own order",
    "mean": "mean over all places",
    "max": "strongest place",
    "variance": "variance over places",
    "contribution": "how much it adds to the score of the class",
}


@st.fragment
def show_channels(choice: pickers.Choice) -> None:
    """Show one layer: the channel scrubber, its numbers, and what all channels do together."""
    traced = choice.trace()
    left, right = st.columns(2, gap="medium")
    with left:
        layer = pickers.pick_layer(choice.model, on_change=_take_best)
    with right:
        sort = _pick_sort()
        target = pickers.search_class(traced, pickers.ranked_classes(traced)) if sort == "contribution" else None
    maps = _maps(traced, layer, sort, target)
    _show_metrics(maps)
    channel = _show_scrubber(traced, maps)
    _show_more(choice, traced, maps, channel)
    _offer(choice, maps, channel)


def _pick_sort() -> str:
    return st.segmented_control(
        "Sort channels by", RANKINGS, default="mean", required=True, wrap=True, key="sort", bind="query-params",
        help="; ".join(f"{name}: {text}" for name, text in SORT_HELP.items()), on_change=_take_best,
    )  # fmt: skip


def _take_best() -> None:
    """After a change of layer or order, stand on the first channel again."""
    st.session_state[JUMP] = True


def _maps(traced: ImageTrace, layer: str, sort: str, target: int | None) -> FeatureMaps:
    key = (caching.network_key(traced.model), traced.images[0].digest, traced.ready.resize, layer, sort, target)
    return _made_maps(key, traced, layer, sort, target)


@caching.byte_bounded(128 * caching.MEGABYTE, lambda made: made.maps.nbytes)
def _made_maps(key: Hashable, traced: ImageTrace, layer: str, sort: str, target: int | None) -> FeatureMaps:
    return feature_maps(traced, layer=layer, sort=sort, target=target)


def _sprite(maps: FeatureMaps, *, shared: bool) -> Sprite:
    key = (maps.spec.weights_digest, maps.spec.image_digest, maps.spec.resize, maps.layer.name, shared)
    return _packed(key, maps, shared)


@caching.byte_bounded(64 * caching.MEGABYTE, lambda made: len(made.png))
def _packed(key: Hashable, maps: FeatureMaps, shared: bool) -> Sprite:
    low, high = maps.statistics.minimum.numpy(), maps.statistics.maximum.numpy()
    return pack_channels(maps.maps, low, high, shared=shared, signed=maps.signed)


def _show_metrics(maps: FeatureMaps) -> None:
    channels, height, width = maps.maps.shape
    with st.container(horizontal=True):
        st.metric("Channels", channels)
        st.metric("Places", f"{height} × {width}")
        st.metric(
            "Dead channels",
            f"{maps.statistics.dead_share:.1%}",
            help="Channels that carry no pattern for this picture.",
        )
        st.metric("Zero values", f"{float(maps.statistics.zero_share.mean()):.1%}")
        st.metric("Mean", f"{float(maps.statistics.mean.mean()):.3g}")
        st.metric("Maximum", f"{float(maps.statistics.maximum.max()):.3g}")


def _show_scrubber(traced: ImageTrace, maps: FeatureMaps) -> int:
    """Show the scrubber and what can be set about it; return the channel it stands on."""
    pictures = st.container()
    colours, scale, look, number = st.columns(4, vertical_alignment="bottom")
    with colours:
        key = "diverging" if maps.signed else "colormap"
        colormap = st.selectbox("Colour map", style.colormap_names(signed=maps.signed), key=key, bind="query-params")
    with scale:
        shared = st.segmented_control(
            "Colour scale", ("layer", "channel"), default="layer", required=True, key="scale", bind="query-params",
            help="layer: one scale, so that channels can be compared; channel: each to its own largest value.",
        )  # fmt: skip
    with look:
        over = st.toggle("Over the picture", key="over", bind="query-params")
        smooth = st.toggle("Smooth", key="smooth", bind="query-params")
    with number:
        channel = _pick_channel(maps)
    with pictures:
        scrubber(
            _sprite(maps, shared=shared == "layer"),
            key="scrubber",
            label=f"Channel of {maps.layer.name}",
            channel=channel,
            table=level_colours(colormap, signed=maps.signed),
            order=None if maps.sort == "channel" else maps.order,
            order_name=maps.sort if maps.target_name is None else f"contribution to {maps.target_name}",
            scores=_scores(maps),
            page=96,
            smooth=smooth,
            backdrop=working_jpeg(traced) if over else None,
            on_move=_take_channel,
        )
    return channel


def _pick_channel(maps: FeatureMaps) -> int:
    last = len(maps.maps) - 1
    if st.session_state.pop(JUMP, False):
        st.session_state["channel"] = int(maps.order[0])
    state.start_with("channel", int(maps.order[0]))
    state.clamp("channel", 0, last)
    return st.number_input("Channel", 0, last, key="channel", bind="query-params")


def _take_channel(index: int) -> None:
    st.session_state["channel"] = index


def _scores(maps: FeatureMaps) -> np.ndarray | None:
    """The number that the order follows, of each channel."""
    statistics = maps.statistics
    known = {"mean": statistics.mean, "max": statistics.maximum, "variance": statistics.variance}
    return (
        maps.contributions if maps.sort == "contribution" else known[maps.sort].numpy() if maps.sort in known else None
    )


def _show_more(choice: pickers.Choice, traced: ImageTrace, maps: FeatureMaps, channel: int) -> None:
    """Show, in tabs that cost nothing while closed, one channel, all channels together, and all layers."""
    one, whole, table, layers = st.tabs(
        ["This channel", "Activation map", "All channels", "All layers"],
        on_change="rerun",
        key="more",
        bind="query-params",
    )
    if one.open:
        with one:
            _show_channel(maps, channel)
    if whole.open:
        with whole:
            _show_activation_map(maps)
    if table.open:
        with table:
            st.dataframe(maps.table(), hide_index=True, width="stretch", height=360)
    if layers.open:
        with layers:
            _show_layers(choice, traced)


def _show_channel(maps: FeatureMaps, channel: int) -> None:
    values = maps.maps[channel]
    limit = style.value_limit(values, signed=maps.signed)
    drawing = Drawing(alpha=0.75)
    name = f"channel {channel}"
    _show_pair(
        maps, values, drawing, limit, name, f"Channel {channel} of {maps.layer.name}, on its own scale",
        f"Channel {channel} of {maps.layer.name} laid over {maps.image.name}", "channel-view",
    )  # fmt: skip
    statistics = maps.statistics
    numbers = ", ".join(
        f"{name} {float(getattr(statistics, name)[channel]):.3g}" for name in ("mean", "maximum", "variance")
    )
    zero = f"{float(statistics.zero_share[channel]):.0%} of its places are zero"
    said = [numbers, "dead for this picture" if bool(statistics.dead[channel]) else zero]
    if maps.contributions is not None:
        said.append(f"contributes {maps.contributions[channel]:.3g} to the score of {maps.target_name}")
    st.caption(f"Channel {channel}: {', '.join(said)}.")


def _show_activation_map(maps: FeatureMaps) -> None:
    reduce = st.segmented_control(
        "Over all channels", REDUCTIONS, default="mean", required=True, key="reduce", bind="query-params",
        help="mean and max over the channels, or the length (l2) of the vector of all channels at each place.",
    )  # fmt: skip
    values = maps.activation_map(reduce)
    signed = bool(values.min() < 0)
    _show_pair(
        maps, values, Drawing(alpha=0.75), style.value_limit(values, signed=signed), reduce,
        f"{reduce} over the {len(maps.maps)} channels of {maps.layer.name}",
        f"{reduce} over the channels of {maps.layer.name}, laid over {maps.image.name}", "activation-view",
    )  # fmt: skip


def _show_pair(
    maps: FeatureMaps, values: np.ndarray, drawing: Drawing, limit: float, name: str, caption: str, alt: str, key: str
) -> None:
    signed = bool(values.min() < 0)
    painted = overlaid(maps.image, values, maps.box, drawing, limit=limit, signed=signed)
    picture = Panel(framed(maps.image, maps.box), "picture", "Outlined: what the network sees", maps.image.name)
    viewer(
        [picture, Panel(painted, name, caption, alt, values)],
        stage(maps.image, maps.box),
        key=key,
        label=caption,
        scale=colour_scale(drawing, limit, signed=signed),
    )


def _show_layers(choice: pickers.Choice, traced: ImageTrace) -> None:
    key = (caching.network_key(choice.model), choice.image.digest, choice.resize)
    st.dataframe(_layer_table(key, traced), hide_index=True, width="stretch", height=420)
    st.caption(
        "One row per layer, from the input on; shares in percent. Dead: a channel with no pattern for this picture."
    )


@caching.byte_bounded(8 * caching.MEGABYTE, lambda table: table.memory_usage(deep=True).sum())
def _layer_table(key: Hashable, traced: ImageTrace) -> pd.DataFrame:
    rows = layer_statistics({name: traced.activation(name) for name in traced.layers})
    table = pd.DataFrame(map(asdict, rows))
    shares = ["zero_share", "dead_share"]
    return table.assign(**(100 * table[shares]).round(1))


def _offer(choice: pickers.Choice, maps: FeatureMaps, channel: int) -> None:
    view = {"channel": channel} if maps.sort == "channel" else {"channel": channel, "sort": maps.sort}
    downloads.take_along(
        f"{maps.layer.name}-{choice.image.name}",
        {
            "png": lambda: style.render_png(maps.figure()),
            "npy": lambda: downloads.npy(maps.maps),
            "csv": lambda: maps.table().to_csv(index=False).encode(),
        },
        maps.spec,
        view,
        upload=None if choice.linkable else choice.image,
    )
