"""What the Feature maps page shows below the channels: one of them, all together, tables of channels and of layers."""

from collections.abc import Hashable
from dataclasses import asdict

import numpy as np
import pandas as pd
import streamlit as st

from xai import ImageTrace
from xai.compute.activations import REDUCTIONS, layer_statistics
from xai.figures import style
from xai.inspection import FeatureMaps
from xai.ui import caching
from xai.ui.components import Panel, viewer
from xai.ui.pictures import Drawing, colour_scale, framed, overlaid, stage

CHOICES = ("this channel", "activation map", "all channels", "all layers")


def show_details(what: str, traced: ImageTrace, maps: FeatureMaps, channel: int) -> None:
    """Show one of CHOICES about a layer; what is not shown is not computed."""
    if what == "this channel":
        _show_channel(maps, channel)
    elif what == "activation map":
        _show_activation_map(maps)
    elif what == "all channels":
        st.dataframe(maps.table(), hide_index=True, width="stretch", height=360)
    else:
        _show_layers(traced)


def _show_channel(maps: FeatureMaps, channel: int) -> None:
    statistics = maps.statistics
    numbers = [f"{name} {float(getattr(statistics, name)[channel]):.3g}" for name in ("mean", "maximum", "variance")]
    zero = f"{float(statistics.zero_share[channel]):.0%} of its places are zero"
    said = [*numbers, "dead for this picture" if bool(statistics.dead[channel]) else zero]
    if maps.contributions is not None:
        said.append(f"contributes {maps.contributions[channel]:.3g} to the score of {maps.target_name}")
    _show_over_picture(
        maps,
        maps.maps[channel],
        what=f"Channel {channel} of {maps.layer.name}, on its own scale",
        note=f"Channel {channel}: {', '.join(said)}.",
        key="channel-view",
    )


def _show_activation_map(maps: FeatureMaps) -> None:
    reduce = st.segmented_control(
        "Over all channels", REDUCTIONS, default="mean", required=True, key="reduce", bind="query-params",
        help="mean and max over the channels, or the length (l2) of the vector of all channels at each place.",
    )  # fmt: skip
    what = f"{reduce} over the {len(maps.maps)} channels of {maps.layer.name}"
    _show_over_picture(maps, maps.activation_map(reduce), what=what, note="", key="activation-view")


def _show_over_picture(maps: FeatureMaps, values: np.ndarray, *, what: str, note: str, key: str) -> None:
    """Show one map of a layer over the picture, on its own scale, beside the picture."""
    signed = bool(values.min() < 0)
    limit, drawing = style.value_limit(values, signed=signed), Drawing(alpha=0.75)
    painted = overlaid(maps.image, values, maps.box, drawing, limit=limit, signed=signed)
    viewer(
        [
            Panel(framed(maps.image, maps.box), "picture", "Outlined: what the network sees", maps.image.name),
            Panel(painted, what, what, f"{what}, laid over {maps.image.name}", values),
        ],
        stage(maps.image, maps.box),
        key=key,
        label=what,
        note=note,
        scale=colour_scale(drawing, limit, signed=signed),
    )


def _show_layers(traced: ImageTrace) -> None:
    key = (caching.network_key(traced.model), traced.images[0].digest, traced.ready.resize)
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
