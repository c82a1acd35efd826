"""The command that sets methods, layers and networks side by side on one picture and measures how far they agree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from xai.cli.network import announce, load_network, split_network, without_model
from xai.cli.options import DrawingOptions, FormatOptions, Json, NetworkOptions, Pictures, Quiet, Resize
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
PRINTED_PAIRS = 21  # of 7 rows; more than that is for the file
_NETWORK = "Network"


def compare(
    options: FormatOptions,
    drawing: DrawingOptions,
    img: Pictures = None,
    output: Annotated[
        str, typer.Option("--output", "-o", metavar="FILE|DIR", help="Figure to write (.png, .jpg).")
    ] = "compare.png",
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            "-m",
            metavar="NAME[:WEIGHTS]",
            help="See `xai models`, or package.module:function of your own; may be repeated. Classes match by name.",
            rich_help_panel=_NETWORK,
        ),
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(
            "--weights",
            "-w",
            metavar="NAME|FILE|none",
            help="Of a single network; of several, each has its own behind its name.",
            rich_help_panel=_NETWORK,
        ),
    ] = None,
    methods: Annotated[
        str | None, typer.Option("--methods", metavar="KEY,KEY", help="See `xai methods` (default: all quick ones).")
    ] = None,
    target: Annotated[
        list[str] | None,
        typer.Option("--target", "-t", metavar="INT|NAME", help="Class (default: the predicted one); may be repeated."),
    ] = None,
    layer: Annotated[
        list[str] | None,
        typer.Option("--layer", "-l", metavar="NAME", help="For the methods that look at one; may be repeated."),
    ] = None,
    resize: Resize = None,
    seed: Annotated[int, typer.Option("--seed", help="Of every random choice.")] = 0,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Set methods, layers and networks side by side on one picture, and measure how far they agree.

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
    models = [load_network(each, quiet=quiet, announced=False) for each in _networks(options, model, weights)]
    asked = {"target": target, "layers": layer, "resize": mode, "seed": seed}
    record = write_comparison(where, models, pictures.sources[0], pictures.only, keys, asked, given, quiet=quiet)
    for each in models:
        announce(each, chosen=model is not None)
    show_comparison(record, as_json=json)


def _networks(options: FormatOptions, named: Sequence[str] | None, weights: str | None) -> list[NetworkOptions]:
    """Say which networks are meant; size, normalisation, class names and device hold for each of them."""
    if not named:
        return [NetworkOptions(**vars(options), weights=weights)]
    split = [split_network(each) for each in named]
    if weights is not None:
        own = next((each for each in named if split_network(each)[1]), None)
        if own or len(named) > 1:
            example = own or f"{named[0]}:FILE"
            raise UserError(f"--weights does not say whose they are: write them behind the name, --model {example}.")
        split = [(split[0][0], weights)]
    return [without_model(options, name, found) for name, found in split]


def write_comparison(
    where: Destination,
    models: Sequence[Model],
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

    first, *others = models
    with progress("Comparing", quiet=quiet) as tell:
        table = compare_methods(
            first, image, keys, models=others, on_progress=lambda fraction, _: tell(fraction, ""), **asked
        )
    made = table.attrs["explanations"]
    spec = _spec(made[0].spec, [e.method.key for e in made], asked, drawing, others)
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
    """Write the agreement of rows as one row for each pair, a column for each measure."""
    import pandas as pd

    names = list(next(iter(agreement.values())).index)
    pairs = [(i, j) for i in range(len(names)) for j in range(i + 1, len(names))]
    rows = [
        {"first": names[i], "second": names[j], **{name: table.iloc[i, j] for name, table in agreement.items()}}
        for i, j in pairs
    ]
    return pd.DataFrame(rows, columns=["first", "second", *agreement])


def show_comparison(record: Mapping[str, Any], *, as_json: bool) -> None:
    """Print what was written about a comparison: the columns of its tables, numbers with three digits."""
    if as_json:
        print_json(dict(record))
        return
    _print_rows(record["rows"])
    if 0 < len(record["agreement"]) <= PRINTED_PAIRS:
        print()
        _print_rows(record["agreement"])
    print(record["output"])
    for note in record["notes"]:
        say(f"Note: {note}")


def _print_rows(rows: Sequence[Mapping[str, Any]]) -> None:
    names = list(rows[0])
    numbers = [name for name in names if isinstance(rows[0][name], float)]
    cells = [[f"{row[name]:.3g}" if name in numbers else row[name] for name in names] for row in rows]
    print_table(names, cells, right=" ".join(numbers))


def _keys(methods: str | None) -> list[str] | None:
    from xai.registry import find_method

    if methods is None:
        return None
    return [find_method(name).key for name in methods.split(",") if name.strip()] or None


def _spec(
    first: RunSpec, keys: Sequence[str], asked: Mapping[str, Any], drawing: Mapping[str, Any], others: Sequence[Model]
) -> RunSpec:
    named = tuple(asked["layers"] or ())
    layer = named if len(named) > 1 else next(iter(named), None)
    if layer is None and not others:
        layer = next(iter(first.layers()), None)  # of several networks, each has a default of its own
    params = {"methods": ",".join(dict.fromkeys(keys))}
    spec = replace(first, method="compare", layer=layer, params=params, drawing=dict(drawing))
    return spec.beside([each.spec("compare") for each in others])
