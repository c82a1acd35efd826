"""Commands that list what there is: models, layers and methods."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Annotated, Any

import typer

from xai.cli.network import load_network, without_model
from xai.cli.options import FormatOptions, Json, NetworkOptions, Quiet
from xai.cli.text import print_json, print_table, progress, say

if TYPE_CHECKING:
    from xai.registry import Method, Param


def models(
    form: FormatOptions,
    download: Annotated[
        str | None, typer.Option("--download", metavar="NAME", help="Fetch the official weights of a network.")
    ] = None,
    check: Annotated[
        str | None,
        typer.Option("--check", metavar="NAME", help="Say what is wrong with package.module:function of your own."),
    ] = None,
    weights: Annotated[
        str | None, typer.Option("--weights", "-w", metavar="NAME|FILE", help="Which weights to download or check.")
    ] = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """List the networks that can be loaded by name, download weights, or check a network of your own."""
    if check is not None:
        _check(without_model(form, check, weights), as_json=json)
    elif download is not None:
        _download(download, weights, quiet=quiet)
    else:
        _list_models(as_json=json)


def _list_models(*, as_json: bool) -> None:
    from xai.io.models import MODELS

    rows: list[dict[str, Any]] = [
        {
            "name": entry.name,
            "parameters": entry.parameters,
            "weights": preset.name,
            "megabytes": preset.megabytes,
            "top1": preset.top1,
            "top5": preset.top5,
            "measured_on": preset.measured_on,
            "on_disk": preset.on_disk,
        }
        for entry in MODELS.values()
        for preset in entry.presets.values()
    ]
    if as_json:
        print_json(rows)
        return
    cells = [
        (
            row["name"],
            f"{row['parameters'] / 1e6:.1f} M",
            row["weights"],
            f"{row['megabytes']:.0f}",
            f"{row['top1']:.1f} %",
            "yes" if row["on_disk"] else "no",
        )
        for row in rows
    ]
    headings = ("name", "parameters", "weights", "MB", "top-1", "on disk")
    print_table(headings, cells, right="parameters MB top-1")
    for row in rows:
        if row["measured_on"] != "ImageNet":
            say(f"top-1 of {row['name']} was measured on {row['measured_on']}, of the others on ImageNet.")


def _download(name: str, weights: str | None, *, quiet: bool) -> None:
    from xai.io.models import find_model
    from xai.io.weights import download

    entry = find_model(name)
    preset = entry.preset(entry.default_weights if weights in (None, "default") else str(weights))
    if preset.on_disk:
        say(f"{name} {preset.name} is already on this computer.")
        print(preset.path)
        return
    with progress(f"Downloading {name}", quiet=quiet) as tell:
        print(download(preset.url, tell))


def _check(options: NetworkOptions, *, as_json: bool) -> None:
    model = load_network(options)
    height, width = model.input_size
    if as_json:
        facts = {"classes": len(model.class_names), "parameters": model.parameters, "input_size": model.input_size}
        layers = {"layers": list(model.layers()), "default_layer": model.default_layer}
        print_json({"name": model.name, "weights": model.weights, **facts, **layers, "notes": model.notes})
        return
    print(
        f"{model.name} can be explained: {len(model.class_names)} classes, {model.parameters:,} parameters, "
        f"{len(model.layers())} layers for pixels of {height} x {width}; by default {model.default_layer} is looked at."
    )


def layers(
    network: NetworkOptions,
    all_layers: Annotated[
        bool, typer.Option("--all", help="List every module with feature maps, not only those offered.")
    ] = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """List the layers of a network that can be looked at, in the order of computation."""
    model = load_network(network, quiet=quiet)
    found = list((model.all_layers if all_layers else model.layers()).values())
    if json:
        rows = [
            {
                "name": layer.name,
                "group": layer.group,
                "kind": layer.kind,
                "shape": layer.shape,
                "default": layer.name == model.default_layer,
            }
            for layer in found
        ]
        print_json({"model": model.name, "weights": model.weights, "input_size": model.input_size, "layers": rows})
        return
    cells = [
        (
            "*" if layer.name == model.default_layer else "",
            layer.name,
            layer.group,
            layer.kind,
            " x ".join(map(str, layer.shape)),
        )
        for layer in found
    ]
    print_table(("", "name", "group", "kind", "shape"), cells, right="shape")
    print(f"{len(found)} layers of {model.title}; * is the default.")


def methods(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="Show this one with its options.")] = None,
    json: Json = False,
) -> None:
    """List the explanation methods, or show one with its options, limits and source."""
    from xai.registry import METHODS, find_method

    chosen = [find_method(name)] if name else list(METHODS.values())
    if json:
        described = [_describe(method) for method in chosen]
        print_json(described[0] if name else described)
    elif name:
        _show_method(chosen[0])
    else:
        print_table(
            ("key", "name", "family", "speed"),
            [(method.key, method.label, method.family, method.speed) for method in chosen],
        )
        print("`xai methods KEY` shows options, limits and source.")


def _describe(method: Method) -> dict[str, object]:
    names = ("key", "aliases", "label", "family", "needs_layer", "signed", "speed", "paper", "limits")
    described: dict[str, object] = {name: getattr(method, name) for name in names}
    described["categories"] = dict(method.hohman)
    described["options"] = [vars(param) for param in method.params]
    return described


def _show_method(method: Method) -> None:
    facts = {
        "Name": method.label,
        "Key": ", ".join((method.key, *method.aliases)),
        "Family": method.family,
        "Source": method.paper,
        "Limits": method.limits,
        "Values": "positive and negative" if method.signed else "positive only",
        **{question.capitalize(): "; ".join(answers) for question, answers in method.hohman.items()},
    }
    for heading, text in facts.items():
        print(textwrap.fill(f"{heading + ':':<8} {text}", 79, subsequent_indent=" " * 9))
    print()
    rows = [(flag_of(param), _value_of(param), param.help) for param in method.params]
    if rows:
        print_table(("option", "default", "meaning"), rows)
    else:
        print("It has no options.")


def flag_of(param: Param) -> str:
    """Write the flag of a method's option: --relu/--no-relu, --steps."""
    flag = param.name.replace("_", "-")
    return f"--{flag}/--no-{flag}" if isinstance(param.default, bool) else f"--{flag}"


def _value_of(param: Param) -> str:
    if isinstance(param.default, bool):
        return "on" if param.default else "off"
    if param.choices:
        return f"{param.default} (of {', '.join(param.choices)})"
    between = f" ({param.low:g} to {param.high:g})" if param.low is not None and param.high is not None else ""
    return f"{param.default}{between}"
