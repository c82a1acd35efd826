"""The command that draws feature maps: what the channels of layers answer to pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from xai.cli.drawing import draw_overlays
from xai.cli.network import announce, load_network
from xai.cli.options import DrawingOptions, Json, NetworkOptions, Pictures, Quiet, Resize
from xai.cli.pictures import Source, check_resize, find_pictures, report_failures, run_over
from xai.cli.results import Destination, write_figure, write_picture, write_table
from xai.cli.text import print_json, print_table
from xai.errors import UserError, one_of

if TYPE_CHECKING:
    from xai.inspection import FeatureMaps
    from xai.model import Model
    from xai.tracing import ImageTrace

Count = Annotated[str | None, typer.Option("--count", metavar="N|all", help="How many to show (default: 64).")]
Record = dict[str, Any]


@dataclass(frozen=True)
class MapOptions:
    """What is to be seen of which pictures, and where it goes."""

    img: Pictures = None
    output: Annotated[
        str, typer.Option("--output", "-o", metavar="DIR|FILE", help="Folder, or the file for one layer.")
    ] = "feature_maps"
    layer: Annotated[
        list[str] | None, typer.Option("--layer", "-l", metavar="NAME", help="May be repeated (default: all stages).")
    ] = None
    sort: Annotated[str, typer.Option("--sort", metavar="BY", help="channel, mean, max, variance or contribution.")] = (
        "mean"
    )
    count: Count = None
    target: Annotated[
        str | None, typer.Option("--target", "-t", metavar="INT|NAME", help="Class for contributions.")
    ] = None
    activation_map: Annotated[
        str | None,
        typer.Option("--activation-map", metavar="mean|max|l2", help="Lay one map over all channels on the picture."),
    ] = None
    resize: Resize = None
    json: Json = False
    quiet: Quiet = False

    def check(self) -> None:
        """Refuse values that do not exist."""
        from xai.compute.activations import RANKINGS, REDUCTIONS

        if self.sort not in RANKINGS:
            raise one_of("sort", self.sort, RANKINGS)
        if self.activation_map is not None and self.activation_map not in REDUCTIONS:
            raise one_of("activation map", self.activation_map, REDUCTIONS)
        read_count(self.count)

    def drawing(self) -> dict[str, Any]:
        """What was said of how to draw, beyond `DrawingOptions`."""
        said = {"count": self.count, "activation_map": self.activation_map}
        return {name: value for name, value in said.items() if value is not None}


def feature_maps(run: MapOptions, network: NetworkOptions, drawing: DrawingOptions) -> None:
    """Draw what the channels of layers answer to pictures.

    Writes one figure for each layer, with a table of statistics (.csv) and a record (.json) beside it.
    """
    pictures = find_pictures(run.img)

    from xai.tracing import trace

    run.check()
    mode, drawn = check_resize(run.resize), drawing.given() | run.drawing()
    model = load_network(network, quiet=run.quiet, announced=False)
    aim = None if run.target is None else model.find_class(run.target)
    names = [model.layer(name).name for name in run.layer] if run.layer else _stages(model)
    where = Destination(run.output, pictures.sources, many=len(pictures) * len(names) > 1)
    announce(model, chosen=network.model is not None)
    records: list[Record] = []

    def keep(source: Source, traced: ImageTrace) -> None:
        for name in names:
            records.append(write_feature_maps(where, source, traced, name, sort=run.sort, target=aim, drawing=drawn))

    failures = run_over(
        pictures,
        lambda images: [trace(model, image, names, resize=mode) for image in images],
        keep,
        label="Feature maps",
        quiet=run.quiet,
    )
    show_records(model, records, failures, as_json=run.json)
    report_failures(failures, len(pictures))


def _stages(model: Model) -> list[str]:
    return [name for name, layer in model.layers().items() if layer.group == "stage"] or [model.default_layer]


def read_count(count: str | int | None) -> int:
    """Read how many to show; all is more than any layer has."""
    text = "64" if count is None else str(count)
    if text == "all":
        return 1_000_000
    if not (text.isascii() and text.isdigit() and int(text)):
        raise UserError(f"--count takes a number from 1, or all, not {text!r}.")
    return int(text)


def write_feature_maps(
    where: Destination,
    source: Source,
    traced: ImageTrace,
    layer: str,
    *,
    sort: str,
    target: int | None,
    drawing: Mapping[str, Any],
) -> Record:
    """Draw and write one layer of one picture; return what there is to say about it."""
    from xai.compute.activations import layer_statistics
    from xai.inspection import feature_maps as take_feature_maps

    found = take_feature_maps(traced, layer=layer, sort=sort, target=target)
    spec = replace(found.spec, drawing=dict(drawing))
    reduce = drawing.get("activation_map")
    tag = layer if reduce is None else f"{layer}_{reduce}"
    path = where.place(Path(found.image.name).stem, tag, spec)
    if reduce is None:
        options = {name: drawing[name] for name in ("colormap", "limit") if name in drawing}
        write_figure(path, found.figure(read_count(drawing.get("count")), **options))
    else:
        write_picture(path, _draw_activation_map(found, reduce, drawing, trained=traced.model.trained))
    write_table(path.with_suffix(".csv"), found.table())
    spec.save(path.with_suffix(".json"))
    [row] = layer_statistics({layer: traced.activation(layer)})
    return {"picture": str(source), **beside(path), **vars(row)}


def beside(path: Path) -> Record:
    """Name the files of one result."""
    return {
        "output": str(path),
        "table": str(path.with_suffix(".csv")),
        "spec": str(path.with_suffix(".json")),
    }


def _draw_activation_map(found: FeatureMaps, reduce: str, drawing: Mapping[str, Any], *, trained: bool) -> Any:
    from xai.figures.overlays import place_map

    values = found.activation_map(reduce)  # (h, w)
    placed = place_map(values, found.image.size, found.box)[None]  # (1, H, W)
    text = f"{found.layer.name} {reduce}{'' if trained else ' (untrained)'}"
    signed = bool(values.min() < 0)
    return draw_overlays(found.image.pixels, placed, [text], signed=signed, box=found.box, drawing=drawing)


def show_records(model: Model, records: Sequence[Record], failures: Sequence[str] = (), *, as_json: bool) -> None:
    """Print what was written about the layers of a network."""
    if as_json:
        about = {"model": model.name, "weights": model.weights, "weights_digest": model.weights_digest}
        print_json({**about, "results": records, "skipped": list(failures)})
        return
    rows = [
        (
            row["output"],
            f"{row['channels']} x {row['height']} x {row['width']}",
            f"{row['mean']:.3g}",
            f"{row['maximum']:.3g}",
            f"{row['zero_share']:.0%}",
            f"{row['dead_share']:.0%}",
        )
        for row in records
    ]
    if rows:
        print_table(("file", "shape", "mean", "max", "zero", "dead"), rows, right="shape mean max zero dead")
