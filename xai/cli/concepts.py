"""The command that finds the concepts that pictures share at one layer: Deep Feature Factorization."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from xai.cli.network import announce, load_network
from xai.cli.options import Json, NetworkOptions, Pictures, Quiet, Resize
from xai.cli.pictures import check_resize, find_pictures
from xai.cli.results import Destination, write_figure, write_table
from xai.cli.text import print_json, print_table, progress, say
from xai.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

    from xai.concepts import Concepts
    from xai.io.images import Image
    from xai.model import Model

DRAWN = ("alpha", "threshold")
MOST_PICTURES = 32  # that one factorisation and one figure hold


def dff(
    network: NetworkOptions,
    img: Pictures = None,
    output: Annotated[
        str, typer.Option("--output", "-o", metavar="FILE|DIR", help="Figure to write (.png, .jpg).")
    ] = "dff.png",
    components: Annotated[
        str,
        typer.Option(
            "--components", "--n_components", "--n-components", metavar="K|auto", help="Number of concepts, 1 to 8."
        ),
    ] = "5",
    top_k: Annotated[int, typer.Option("--top-k", "--top_k", metavar="N", help="Classes named for each concept.")] = 2,
    layer: Annotated[
        str | None, typer.Option("--layer", "-l", metavar="NAME", help="See `xai layers`; the last stage has labels.")
    ] = None,
    alpha: Annotated[
        float | None, typer.Option("--alpha", metavar="SHARE", min=0, max=1, help="Opacity at full strength (0.6).")
    ] = None,
    threshold: Annotated[
        float | None, typer.Option("--threshold", metavar="SHARE", min=0, max=1, help="Hide what is weaker.")
    ] = None,
    save_factors: Annotated[
        str | None,
        typer.Option("--save-factors", metavar="FILE", help="Also write vectors (k, C) and maps (N, k, h, w): .npz."),
    ] = None,
    resize: Resize = None,
    seed: Annotated[int, typer.Option("--seed", help="Of the factorisation's start.")] = 0,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Find the concepts that pictures share: where they are, and what the classifier calls them.

    Writes the figure, with a table (.csv) and a record (.json) beside it. Several pictures share one factorisation.
    """
    pictures = find_pictures(img)

    from xai.io.images import load_image

    if len(pictures) > MOST_PICTURES:
        raise UserError(f"Up to {MOST_PICTURES} pictures can share concepts; --img names {len(pictures)}.")
    asked: dict[str, Any] = {"components": _read_components(components), "top_k": top_k, "layer": layer}
    asked |= {"resize": check_resize(resize), "seed": seed}
    if top_k < 1:
        raise UserError(f"--top-k takes a number from 1, not {top_k}.")
    where = Destination(output, pictures.sources)
    factors = _factors_file(save_factors)
    images = [pictures.only or load_image(source) for source in pictures.sources]
    model = load_network(network, quiet=quiet, announced=False)
    given = {name: value for name, value in (("alpha", alpha), ("threshold", threshold)) if value is not None}
    record = write_concepts(where, model, images, asked, given, factors=factors, quiet=quiet)
    announce(model, chosen=network.model is not None)
    show_concepts(record, as_json=json)


def _read_components(text: str) -> int | str:
    from xai.concepts import check_components
    from xai.figures.concepts import check_colours

    components = check_components(text)
    if isinstance(components, int):
        check_colours(components)
    return components


def _factors_file(name: str | None) -> Path | None:
    if name is None:
        return None
    where = Destination(name, flag="--save-factors", suffixes=(".npz",))
    if where.is_folder:
        raise UserError(f"--save-factors '{name}' must end in .npz.")
    return where.path


def write_concepts(
    where: Destination,
    model: Model,
    images: Sequence[Image],
    asked: Mapping[str, Any],
    drawing: Mapping[str, Any],
    *,
    factors: Path | None = None,
    quiet: bool = False,
) -> dict[str, Any]:
    """Find concepts, draw and write them; return what there is to say about them.

    Raises:
        UserError: concepts cannot be drawn or found as asked.
    """
    from xai.concepts import concepts

    extra = [f"--{name.replace('_', '-')}" for name in drawing if name not in DRAWN]
    if extra:
        raise UserError(f"Concepts have no {extra[0]}; each has a colour of its own and is full at its maximum.")
    with progress("Concepts", quiet=quiet) as tell:
        found = concepts(model, list(images), on_progress=lambda fraction, _: tell(fraction, ""), **asked)
    spec = replace(found.spec, drawing=dict(drawing))
    more = f"_and_{len(images) - 1}_more" if len(images) > 1 else ""
    path = where.place(f"{images[0].name}{more}", "dff", spec)
    write_figure(path, found.figure(**drawing))
    write_table(path.with_suffix(".csv"), found.table())
    spec.save(path.with_suffix(".json"))
    beside = {"output": path, "table": path.with_suffix(".csv"), "spec": path.with_suffix(".json")}
    chart = found.choice_figure()
    if chart is not None:
        beside["choice"] = path.with_name(f"{path.stem}_choice{path.suffix}")
        write_figure(beside["choice"], chart)
    if factors is not None:
        beside["factors"] = factors
        _write_factors(factors, found)
    return {**{name: str(file) for name, file in beside.items()}, **_describe(found)}


def _write_factors(path: Path, found: Concepts) -> None:
    import numpy as np

    from xai.io.files import write_atomic

    buffer, made = io.BytesIO(), found.factorization
    np.savez(buffer, vectors=made.vectors.numpy(), cells=made.cells.numpy(), maps=made.maps.numpy())
    write_atomic(path, buffer.getvalue())


def _describe(found: Concepts) -> dict[str, Any]:
    made = found.factorization
    return {
        "pictures": [image.name for image in found.images],
        "layer": found.layer.name,
        "components": found.components,
        "cells": list(made.cells.shape[2:]),
        "error": made.error,
        "converged": made.converged,
        "concepts": [
            {
                **{name: row[name] for name in ("concept", "colour", "share", "strongest_in")},
                "classes": [{"name": name, "probability": probability} for name, probability in names],
            }
            for row, names in zip(found.table().to_dict("records"), found.names, strict=True)
        ],
        "unlabelled": made.unlabelled,
    }


def show_concepts(record: Mapping[str, Any], *, as_json: bool) -> None:
    """Print what was written about concepts."""
    if as_json:
        print_json(dict(record))
        return
    from xai.figures.charts import format_share

    rows = [
        (
            row["concept"],
            row["colour"],
            format_share(row["share"]),
            row["strongest_in"],
            ", ".join(f"{each['name']} {format_share(each['probability'])}" for each in row["classes"]),
        )
        for row in record["concepts"]
    ]
    print_table(("concept", "colour", "share", "strongest in", "classes"), rows, right="concept share")
    height, width = record["cells"]
    print(
        f"{record['output']}: {record['components']} concepts of {record['layer']} on {height} x {width} places, "
        f"{record['error']:.0%} of the activations left over"
    )
    if record["unlabelled"]:
        say(f"Note: {record['unlabelled']}")
