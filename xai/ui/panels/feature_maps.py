"""The panel of the Feature maps page: the channels of one layer, live over layers and channels."""

from collections.abc import Hashable
from dataclasses import asdict, dataclass

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

BELOW = ("this channel", "activation map", "all channels", "all layers")
JUMP = "_stand_on_first_channel"
SORT_HELP = {
    "channel": "the network's own order",
    "mean": "mean over all places",
    "max": "strongest place",
    "variance": "variance over places",
    "contribution": "how much it adds to the score of the class",
}


@dataclass(frozen=True)
class Look:
    """What is set now and then: order, colours, and what stands below the channels."""

    sort: str
    colormap: str
    diverging: str
    shared: bool
    smooth: bool
    over: bool
    below: str


@st.fragment
def show_channels(choice: pickers.Choice) -> None:
    """Show what is set now and then around what moves all the time (`_show_layer`)."""
    traced = choice.trace()
    with st.container(horizontal=True, vertical_alignment="bottom"):
        sort = st.segmented_control(
            "Sort channels by", RANKINGS, default="mean", required=True, wrap=True, key="sort", bind="query-params",
            help="; ".join(f"{name}: {text}" for name, text in SORT_HELP.items()), on_change=_take_best,
        )  # fmt: skip
        with st.popover("Colours", icon=":material/palette:"):
            colours = _pick_colours()
    if sort == "contribution":
        with st.container(horizontal=True, vertical_alignment="bottom"):
            pickers.find_class(traced)
    layer = st.container()
    below = st.segmented_control(
        "Look further at", BELOW, default=BELOW[0], required=True, wrap=True, key="below", bind="query-params"
    )
    with layer:
        _show_layer(choice, Look(sort, *colours, below=below))


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


@st.fragment
def _show_layer(choice: pickers.Choice, look: Look) -> None:
    """Show one layer. A fragment of its own: every element in it is sent anew at each move."""
    traced = choice.trace()
    controls, pictures = st.container(), st.container()
    layer = pickers.current_layer(choice.model)
    ranked = pickers.current_class(traced) if look.sort == "contribution" else None
    maps = _maps(traced, layer, look.sort, ranked.target if ranked else None)
    channel = _current_channel(maps)
    with pictures:
        _show_scrubber(traced, maps, channel, look)
    with controls:
        left, right = st.columns([3, 1], gap="medium")
        with left:
            pickers.slide_layer(choice.model, on_change=_take_best)
        with right:
            st.number_input("Channel", 0, len(maps.maps) - 1, key="channel", bind="query-params")
        if ranked:
            pickers.slide_class(choice.model, ranked)
    st.markdown(_summary(maps))
    _show_further(choice, traced, maps, channel, look)
    _offer(choice, maps)


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


def _summary(maps: FeatureMaps) -> str:
    statistics = maps.statistics
    zero, mean, largest = (
        float(each) for each in (statistics.zero_share.mean(), statistics.mean.mean(), statistics.maximum.max())
    )
    return (
        f"**{len(maps.maps)} channels**, {statistics.dead_share:.1%} of them dead for this picture · "
        f"{zero:.1%} of all values are zero · mean {mean:.3g} · largest {largest:.3g}"
    )


def _show_scrubber(traced: ImageTrace, maps: FeatureMaps, channel: int, look: Look) -> None:
    scrubber(
        _sprite(maps, shared=look.shared),
        key="scrubber",
        label=f"Channel of {maps.layer.name}",
        channel=channel,
        table=level_colours(look.diverging if maps.signed else look.colormap, signed=maps.signed),
        order=None if maps.sort == "channel" else maps.order,
        order_name=maps.sort if maps.target_name is None else f"contribution to {maps.target_name}",
        scores=_scores(maps),
        page=96,
        smooth=look.smooth,
        backdrop=working_jpeg(traced) if look.over else None,
        on_move=_take_channel,
    )


def _current_channel(maps: FeatureMaps) -> int:
    if st.session_state.pop(JUMP, False):
        st.session_state["channel"] = int(maps.order[0])
    state.start_with("channel", int(maps.order[0]))
    state.clamp("channel", 0, len(maps.maps) - 1)
    return st.session_state["channel"]


def _take_channel(index: int) -> None:
    st.session_state["channel"] = index


def _scores(maps: FeatureMaps) -> np.ndarray | None:
    """The number that the order follows, of each channel."""
    statistics = maps.statistics
    known = {"mean": statistics.mean, "max": statistics.maximum, "variance": statistics.variance}
    return (
        maps.contributions if maps.sort == "contribution" else known[maps.sort].numpy() if maps.sort in known else None
    )


def _show_further(choice: pickers.Choice, traced: ImageTrace, maps: FeatureMaps, channel: int, look: Look) -> None:
    if look.below == "this channel":
        _show_channel(maps, channel)
    elif look.below == "activation map":
        _show_activation_map(maps)
    elif look.below == "all channels":
        st.dataframe(maps.table(), hide_index=True, width="stretch", height=360)
    else:
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


def _offer(choice: pickers.Choice, maps: FeatureMaps) -> None:
    downloads.take_along(
        f"{maps.layer.name}-{choice.image.name}",
        {
            "png": lambda: style.render_png(maps.figure()),
            "npy": lambda: downloads.npy(maps.maps),
            "csv": lambda: maps.table().to_csv(index=False).encode(),
        },
        maps.spec,
        ("channel", "sort", "scale", "smooth", "over", "below", "diverging" if maps.signed else "colormap"),
        upload=None if choice.linkable else choice.image,
    )
