"""The command that draws the kernels of a convolution."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from xai.cli.feature_maps import Count, Record, beside, read_count
from xai.cli.network import announce, load_network
from xai.cli.options import Json, NetworkOptions, Quiet
from xai.cli.results import Destination, write_figure, write_table
from xai.cli.text import print_json
from xai.errors import UserError, one_of

if TYPE_CHECKING:
    from xai.inspection import Filters
    from xai.model import Model


def filters(
    network: NetworkOptions,
    output: Annotated[
        str, typer.Option("--output", "-o", metavar="FILE|DIR", help="Figure to write (.png, .jpg).")
    ] = "filters.png",
    layer: Annotated[
        str | None, typer.Option("--layer", "-l", metavar="NAME", help="A convolution (default: the first).")
    ] = None,
    show: Annotated[
        str, typer.Option("--show", metavar="WHAT", help="colours, components, channel, or auto.")
    ] = "auto",
    input_channel: Annotated[
        int | None, typer.Option("--input-channel", min=0, help="Show the kernels that read this channel.")
    ] = None,
    count: Count = None,
    colormap: Annotated[str | None, typer.Option("--colormap", metavar="NAME", help="Such as RdBu_r.")] = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Draw the kernels of a convolution.

    Writes the figure, with a table of statistics (.csv) and a record (.json) beside it.
    """
    from xai.inspection import SHOWN

    if show not in SHOWN:
        raise one_of("show", show, SHOWN)
    if input_channel is not None and show not in ("auto", "channel"):
        raise UserError(f"--input-channel goes with --show channel, not with --show {show}.")
    read_count(count)
    where = Destination(output)
    model = load_network(network, quiet=quiet, announced=False)
    shown = show if input_channel is None else "channel"
    drawing = {name: value for name, value in (("count", count), ("colormap", colormap)) if value is not None}
    record = write_filters(where, model, layer, show=shown, input_channel=input_channel or 0, drawing=drawing)
    announce(model, chosen=network.model is not None)
    show_filters(model, record, as_json=json)


def write_filters(
    where: Destination, model: Model, layer: str | None, *, show: str, input_channel: int, drawing: Mapping[str, Any]
) -> Record:
    """Draw and write the filters of one convolution; return what there is to say about them."""
    from xai.inspection import filters as take_filters

    found = take_filters(model, layer, show=show, input_channel=input_channel)
    spec = replace(found.spec, drawing=dict(drawing))
    path = where.place(model.name.replace(":", "."), found.layer_name, spec)
    options = {name: drawing[name] for name in ("colormap",) if name in drawing}
    write_figure(path, found.figure(read_count(drawing.get("count")), **options))
    write_table(path.with_suffix(".csv"), found.table())
    spec.save(path.with_suffix(".json"))
    return {**beside(path), **_describe(found)}


def _describe(found: Filters) -> Record:
    filters, inputs, height, width = found.weight.shape
    return {
        "layer": found.layer_name,
        "shown": found.shown,
        "filters": filters,
        "input_channels": inputs,
        "height": height,
        "width": width,
        "dead_share": found.statistics.dead_share,
        "mean_explained": None if found.explained is None else float(found.explained.mean()),
    }


def show_filters(model: Model, record: Record, *, as_json: bool) -> None:
    """Print what was written about the filters of a convolution."""
    if as_json:
        about = {"model": model.name, "weights": model.weights, "weights_digest": model.weights_digest}
        print_json({**about, **record})
        return
    part = "" if record["mean_explained"] is None else f" ({record['mean_explained']:.0%} of each filter on average)"
    print(
        f"{record['output']}: {record['filters']} filters {record['input_channels']} x {record['height']} x "
        f"{record['width']} of {record['layer']}, shown as {record['shown']}{part}, {record['dead_share']:.0%} dead"
    )
