"""The command that makes pictures which excite a channel, a layer or a class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from xai.cli.network import announce, load_network
from xai.cli.options import Json, NetworkOptions, Quiet, RunOptions
from xai.cli.pictures import Source, find_pictures
from xai.cli.results import Destination, write_figure
from xai.cli.several import find_again
from xai.cli.text import print_json, progress, say
from xai.errors import UserError

if TYPE_CHECKING:
    from xai.model import Model
    from xai.spec import RunSpec

PATCHES = 10


def dream(
    network: NetworkOptions,
    layer: Annotated[str | None, typer.Option("--layer", "-l", metavar="NAME", help="See `xai layers`.")] = None,
    channel: Annotated[
        int | None, typer.Option("--channel", min=0, help="Of the layer (default: the whole layer).")
    ] = None,
    target: Annotated[
        str | None, typer.Option("--class", "--target", "-t", metavar="INT|NAME", help="A class instead of a layer.")
    ] = None,
    output: Annotated[
        str, typer.Option("--output", "-o", metavar="FILE|DIR", help="Figure to write (.png, .jpg).")
    ] = "dream.png",
    count: Annotated[int, typer.Option("--count", metavar="N", help="Pictures, 1 to 16.")] = 1,
    steps: Annotated[int, typer.Option("--steps", metavar="N", help="Of gradient ascent.")] = 256,
    diversity: Annotated[
        float, typer.Option("--diversity", metavar="WEIGHT", help="Drive several pictures apart, 0 and up.")
    ] = 0.0,
    size: Annotated[
        int | None, typer.Option("--size", metavar="PIXELS", help="Height and width (default: what the network takes).")
    ] = None,
    img: Annotated[
        list[str] | None,
        typer.Option("--img", "-i", metavar="FOLDER", help="Show which of these excite the channel most."),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Of the start and of every random choice.")] = 0,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Make pictures that excite a channel, a layer or a class.

    Writes a figure of start, result and the way between, with a record (.json) beside it.
    """
    sources = find_pictures(img).sources if img else ()
    if (layer is None) == (target is None) or (target is not None and channel is not None):
        raise UserError("Say what to excite: --layer NAME, with --channel N for one channel of it, or --class NAME.")
    if sources and channel is None:
        raise UserError("--img shows what excites a channel; name one: --layer NAME --channel N.")
    where = Destination(output, sources)
    model = load_network(network, quiet=quiet, announced=False)
    asked: dict[str, Any] = {"layer": layer, "channel": channel, "target": target, "count": count, "steps": steps}
    asked |= {"diversity": diversity, "size": size, "seed": seed}
    record = write_dream(where, model, asked, sources, quiet=quiet)
    announce(model, chosen=network.model is not None)
    show_dream(record, as_json=json)


def write_dream(
    where: Destination, model: Model, asked: Mapping[str, Any], sources: Sequence[Source] = (), *, quiet: bool = False
) -> dict[str, Any]:
    """Dream, find patches in the pictures, draw and write; return what there is to say about it."""
    from xai.dreams import dream as make
    from xai.patches import strongest

    with progress("Dreaming", quiet=quiet) as tell:
        made = make(model, on_progress=lambda fraction, _: tell(fraction, ""), **asked)
    spec, found = made.spec, None
    if sources:
        layer, channel = asked["layer"], asked["channel"]
        with progress("Photographs", quiet=quiet) as tell:
            found = strongest(
                model, sources, layer, channel, PATCHES, on_progress=lambda fraction, _: tell(fraction, "")
            )
        spec = spec.about([each.name for each in found.patches], [each.digest for each in found.patches])
    patches = found.patches if found else ()
    path = where.place(model.name.replace(":", "."), made.goal.replace(", ", "_"), spec)
    write_figure(path, made.figure(patches))
    spec.save(path.with_suffix(".json"))
    return {
        "output": str(path),
        "spec": str(path.with_suffix(".json")),
        "goal": made.goal,
        "value": made.value_label,
        "before": made.before.tolist(),
        "after": made.after.tolist(),
        "patches": [{"picture": each.name, "value": each.value, "box": list(each.box)} for each in patches],
        "skipped": list(found.skipped) if found else [],
    }


def show_dream(record: Mapping[str, Any], *, as_json: bool) -> None:
    """Print what was written about a dream."""
    if as_json:
        print_json(dict(record))
        return
    values = ", ".join(f"{low:.3g} to {high:.3g}" for low, high in zip(record["before"], record["after"], strict=True))
    print(f"{record['output']}: {record['goal']}, {record['value'].lower()} from {values}")
    if record["patches"]:
        names = ", ".join(f"{each['picture']} {each['value']:.3g}" for each in record["patches"])
        print(f"Strongest photographs: {names}")
    for sentence in record["skipped"]:
        say(f"Skipped: {sentence}")


def remake_dream(spec: RunSpec, model: Model, run: RunOptions, folder: Path, drawing: Mapping[str, Any]) -> None:
    """Make a dream again from its spec."""
    from xai.dreams import read_options

    if drawing:
        raise UserError(f"A dream has no --{next(iter(drawing)).replace('_', '-')}; it is drawn as it is.")
    asked = read_options(spec)
    sources = find_again(spec, run.img, folder)
    if sources and not (asked["layer"] and "channel" in asked):
        raise UserError("The spec has pictures but no channel that they could excite.")
    record = write_dream(Destination(run.output, sources), model, asked, sources, quiet=run.quiet)
    show_dream(record, as_json=run.json)
