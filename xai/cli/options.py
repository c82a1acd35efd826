"""Options that several commands share, as dataclasses that `spread` turns into flags."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress bar.")]
_NETWORK, _DRAWING = "Network", "Drawing"


def _network(*names: str, metavar: str, help: str) -> Any:
    return typer.Option(*names, metavar=metavar, help=help, rich_help_panel=_NETWORK)


@dataclass(frozen=True)
class _Named:
    """Which network, with which weights."""

    model: Annotated[
        str | None,
        _network("--model", "-m", metavar="NAME", help="See `xai models`, or package.module:function of your own."),
    ] = None
    weights: Annotated[
        str | None,
        _network(
            "--weights",
            "-w",
            metavar="NAME|FILE|none",
            help="Official ones by name (or default), a .safetensors or .pth file, or none: untrained.",
        ),
    ] = None


@dataclass(frozen=True)
class FormatOptions:
    """What a network wants to be given, and what its scores mean."""

    mean: Annotated[str | None, _network("--mean", metavar="R,G,B", help="Normalisation of pixels in 0..1.")] = None
    std: Annotated[str | None, _network("--std", metavar="R,G,B", help="Its divisor.")] = None
    input_size: Annotated[
        str | None, _network("--input-size", metavar="N|HxW", help="Height and width of the working pixels.")
    ] = None
    class_names: Annotated[
        Path | None, _network("--class-names", metavar="FILE", help="One name per line, or a JSON list.")
    ] = None
    output_kind: Annotated[
        str | None, _network("--output-kind", metavar="softmax|sigmoid", help="How scores become probabilities.")
    ] = None
    device: Annotated[str | None, _network("--device", metavar="auto|cpu|cuda|mps", help="Where to compute.")] = None


@dataclass(frozen=True)
class NetworkOptions(FormatOptions, _Named):
    """Which network, and all there is to say about it."""


Pictures = Annotated[
    list[str] | None,
    typer.Option("--img", "-i", metavar="FILE", help="A file, folder, pattern or sample name; may be repeated."),
]
Resize = Annotated[
    str | None,
    typer.Option(
        "--resize",
        metavar="MODE",
        help="center-crop (the default), squash (all of it, distorted) or keep (its own size).",
    ),
]


def _drawing(*names: str, help: str, **more: Any) -> Any:
    return typer.Option(*names, help=help, rich_help_panel=_DRAWING, **more)


@dataclass(frozen=True)
class DrawingOptions:
    """How maps are coloured; None where the user said nothing."""

    alpha: Annotated[
        float | None, _drawing("--alpha", metavar="SHARE", min=0, max=1, help="Opacity at the limit (0.6).")
    ] = None
    colormap: Annotated[str | None, _drawing("--colormap", metavar="NAME", help="Such as inferno or RdBu_r.")] = None
    threshold: Annotated[
        float | None,
        _drawing("--threshold", metavar="SHARE", min=0, max=1, help="Hide what is below this share of the limit."),
    ] = None
    limit: Annotated[
        float | None,
        _drawing(
            "--limit",
            metavar="VALUE",
            min=0,
            help="Value with the full colour; give one to compare pictures (the largest).",
        ),
    ] = None
    side_by_side: Annotated[
        bool | None, _drawing("--side-by-side/--no-side-by-side", help="Set the picture to the left of its overlay.")
    ] = None
    caption: Annotated[
        bool | None, _drawing("--caption/--no-caption", help="Write class and probability on the overlay.")
    ] = None

    def given(self) -> dict[str, Any]:
        """What the user said, by name."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if value is not None}


@dataclass(frozen=True)
class RunOptions:
    """What is asked about which pictures, and where the answers go."""

    img: Pictures = None
    output: Annotated[
        str, typer.Option("--output", "-o", metavar="FILE|DIR", help="Picture (.png, .jpg) to write, or a folder.")
    ] = "output.png"
    target: Annotated[
        list[str] | None,
        typer.Option("--target", "-t", metavar="INT|NAME", help="Class (default: the predicted one); several: a row."),
    ] = None
    layer: Annotated[
        list[str] | None, typer.Option("--layer", "-l", metavar="NAME", help="See `xai layers`; several are fused.")
    ] = None
    resize: Resize = None
    seed: Annotated[int | None, typer.Option("--seed", help="Of every random choice (default: 0).")] = None
    save_raw: Annotated[
        str | None,
        typer.Option("--save-raw", metavar="FILE|DIR", help="Also write the raw map: .npy, float32 (targets, h, w)."),
    ] = None
    json: Json = False
    quiet: Quiet = False


def spread(function: Callable[..., None]) -> Callable[..., None]:
    """Let a command take dataclasses of options: each of their fields becomes an option of the command line."""
    hints = get_type_hints(function, include_extras=True)
    groups: dict[str, Any] = {name: kind for name, kind in hints.items() if is_dataclass(kind)}
    parameters = []
    for parameter in inspect.signature(function).parameters.values():
        if parameter.name in groups:
            kind = groups[parameter.name]
            types = get_type_hints(kind, include_extras=True)
            members = [(field.name, field.default, types[field.name]) for field in fields(kind)]
        else:
            members = [(parameter.name, parameter.default, hints[parameter.name])]
        for name, default, annotation in members:
            kwargs = {"default": default, "annotation": annotation}
            parameters.append(inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, **kwargs))

    @functools.wraps(function)
    def command(**given: Any) -> None:
        for name, kind in groups.items():
            given[name] = kind(**{field.name: given.pop(field.name) for field in fields(kind)})
        function(**given)

    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {each.name: each.annotation for each in parameters}
    return command
