"""The command that sets methods side by side on one picture and measures how far they agree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from xai.cli.network import announce, load_network
from xai.cli.options import DrawingOptions, Json, NetworkOptions, Pictures, Quiet, Resize
from xai.cli.pictures import Source, check_resize, find_pictures
from xai.cli.results import Destination, write_figure, write_table
from xai.cli.text import print_json, print_table, progress, say
from xai.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

    from xai.io.images import Image
    from xai.model import Model
    from xai.spec import RunSpec

DRAWN = ("alpha", "colormap", "threshold")


def compare(
    network: NetworkOptions,
    drawing: DrawingOptions,
    img: Pictures = None,
    output: Annotated[
        str, typer.Option("--output", "-o", metavar="FILE|DIR", help="Figure to write (.png, .jpg).")
    ] = "compare.png",
    methods: Annotated[
        str | None, typer.Option("--methods", metavar="KEY,KEY", help="See `xai methods` (default: all quick ones).")
    ] = None,
    target: Annotated[
        list[str] | None,
        typer.Option("--target", "-t", metavar="INT|NAME", help="Class (default: the predicted one); may be repeated."),
    ] = None,
    layer: Annotated[
        str | None, typer.Option("--layer", "-l", metavar="NAME", help="For the methods that look at one.")
    ] = None,
    resize: Resize = None,
    seed: Annotated[int, typer.Option("--seed", help="Of every random choice.")] = 0,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Set methods side by side on one picture, and measure how far they agree.

    Writes the figure with, beside it, a table (.csv), the agreement of each pair (_agreement.csv) and a record (.json).
    """
    pictures = find_pictures(img)
    if pictures.only is None:
        raise UserError(f"One picture is compared at a time; --img names {len(pictures)}.")
    given = drawing.given()
    extra = [f"--{name.replace('_', '-')}" for name in given if name not in DRAWN]
    if extra:
        raise UserError(f"A comparison has no {extra[0]}; every row runs to its own largest value.")
    where = Destination(output, pictures.sources)
    mode = check_resize(resize)
    keys = _keys(methods)
    model = load_network(network, quiet=quiet, announced=False)
    asked = {"target": target, "layer": layer, "resize": mode, "seed": seed}
    record = write_comparison(where, model, pictures.sources[0], pictures.only, keys, asked, given, quiet=quiet)
    announce(model, chosen=network.model is not None)
    show_comparison(record, as_json=json)


def write_comparison(
    where: Destination,
    model: Model,
    source: Source,
    image: Image,
    keys: Sequence[str] | None,
    asked: Mapping[str, Any],
    drawing: Mapping[str, Any],
    *,
    quiet: bool = False,
) -> dict[str, Any]:
    """Compare, draw and write; return what there is to say about it."""
    from xai.comparison import compare as compare_methods
    from xai.comparison import draw_comparison

    with progress("Comparing", quiet=quiet) as tell:
        table = compare_methods(model, image, keys, on_progress=lambda fraction, _: tell(fraction, ""), **asked)
    made = table.attrs["explanations"]
    spec = _spec(made[0].spec, [e.method.key for e in made], asked, drawing)
    path = where.place(image.name, "compare", spec)
    write_figure(path, draw_comparison(made, **drawing))
    write_table(path.with_suffix(".csv"), table)
    pairs = pair_table(table.attrs["agreement"])
    write_table(path.with_name(f"{path.stem}_agreement.csv"), pairs)
    spec.save(path.with_suffix(".json"))
    return {
        "picture": str(source),
        "output": str(path),
        "spec": str(path.with_suffix(".json")),
        "rows": table.to_dict("records"),
        "agreement": pairs.to_dict("records"),
        "notes": list(table.attrs["notes"]),
    }


def pair_table(agreement: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Write the agreement of methods as one row for each pair, a column for each measure."""
    import pandas as pd

    keys = list(next(iter(agreement.values())).index)
    pairs = [(first, second) for place, first in enumerate(keys) for second in keys[place + 1 :]]
    rows = [
        {"first": first, "second": second, **{name: table.loc[first, second] for name, table in agreement.items()}}
        for first, second in pairs
    ]
    return pd.DataFrame(rows, columns=["first", "second", *agreement])


def show_comparison(record: Mapping[str, Any], *, as_json: bool) -> None:
    """Print what was written about a comparison."""
    if as_json:
        print_json(dict(record))
        return
    rows = [
        (
            row["method"],
            row["layer"],
            row["target"],
            f"{row['lowest']:.3g}",
            f"{row['highest']:.3g}",
            f"{row['seconds']:.2f}",
        )
        for row in record["rows"]
    ]
    print_table(("method", "layer", "class", "lowest", "highest", "seconds"), rows, right="lowest highest seconds")
    print(record["output"])
    for note in record["notes"]:
        say(f"Note: {note}")


def _keys(methods: str | None) -> list[str] | None:
    from xai.registry import find_method

    if methods is None:
        return None
    return [find_method(name).key for name in methods.split(",") if name.strip()] or None


def _spec(first: RunSpec, keys: Sequence[str], asked: Mapping[str, Any], drawing: Mapping[str, Any]) -> RunSpec:
    layer = asked["layer"] or next(iter(first.layers()), None)
    return replace(first, method="compare", layer=layer, params={"methods": ",".join(keys)}, drawing=dict(drawing))
