"""Load the network that the options name, and say what somebody who looks at its results must know."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from xai.cli.options import FormatOptions, NetworkOptions
from xai.cli.text import progress, say
from xai.errors import UserError

if TYPE_CHECKING:
    from xai.model import Model


def load_network(options: NetworkOptions, *, quiet: bool = False, announced: bool = True) -> Model:
    """Load the network of the options, by default the best that is on this computer.

    Args:
        options: from the command line.
        quiet: show no download.
        announced: say at once what `announce` says; else the caller does, after its own checks.

    Raises:
        UserError: a name or a value is wrong, or weights cannot be had.
    """
    from xai.load import default_model, load_model
    from xai.memory import keep_freed_memory

    keep_freed_memory()
    name, weights = options.model, options.weights
    if name is None:
        if weights is not None:
            raise UserError("--weights says nothing without --model; name the network too.")
        name, found = default_model()
        weights = found or "none"
    if ":" in name and os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())  # where somebody's own package.module:function lies
    with progress(f"Downloading {name}", quiet=quiet) as tell:
        model = load_model(
            name,
            weights="default" if weights is None else weights,
            mean=_numbers("--mean", options.mean),
            std=_numbers("--std", options.std),
            input_size=_size(options.input_size),
            class_names=read_class_names(options.class_names),
            output=options.output_kind or "softmax",
            device=options.device or "auto",
            on_progress=tell,
        )
    if announced:
        announce(model, chosen=options.model is not None)
    return model


def announce(model: Model, *, chosen: bool) -> None:
    """Say which network was taken if the user chose none, what is odd about an own one, and that one is untrained."""
    for note in model.notes if ":" in model.name else ():
        say(f"Note: {note}")
    if model.trained:
        if not chosen:
            better = ", which ships with xai; for ResNet-50: `xai models --download resnet50`"
            say(f"No --model was given: using {model.title}{better if model.name == 'bundled' else ''}.")
        return
    so = "is untrained (random weights)"
    if not chosen:
        so += f", taken since no --model was given and no weights are here (`xai models --download {model.name}`)"
    say(f"WARNING: {model.name} {so}; explanations of it show nothing that was learned.")


def _numbers(flag: str, text: str | None) -> tuple[float, ...] | None:
    if text is None:
        return None
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise UserError(f"{flag} takes numbers with commas between, such as 0.485,0.456,0.406, not {text!r}.") from None


def _size(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    parts = text.lower().split("x")
    if len(parts) > 2 or not all(part.isascii() and part.isdigit() and 0 < int(part) <= 10_000 for part in parts):
        raise UserError(f"--input-size takes one number or HEIGHTxWIDTH, such as 224 or 240x320, not {text!r}.")
    return int(parts[0]), int(parts[-1])


def read_class_names(path: Path | None) -> list[str] | None:
    """Read class names from a file: one on each line, or a JSON list.

    Raises:
        UserError: the file cannot be read or holds something else.
    """
    if path is None:
        return None
    try:
        text = path.read_text(encoding="utf-8").strip()
        names = json.loads(text) if text.startswith("[") else [line.strip() for line in text.splitlines()]
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is neither lines of text nor a JSON list"
        raise UserError(f"The class names in '{path}' cannot be read: {reason}.") from error
    if not names or not all(isinstance(name, str) and name for name in names):
        raise UserError(f"The class names in '{path}' must be texts, one for each class, none of them empty.")
    return names


def split_network(text: str) -> tuple[str, str | None]:
    """Split NAME:WEIGHTS, or package.module:function:WEIGHTS, into network and weights; None where there are none.

    The weights are what --weights takes: a name, a file, or none. A model file of `xai train` stays whole.
    """
    from xai.io.model_files import is_model_file
    from xai.io.models import MODELS

    if is_model_file(text):
        return text, None
    name, _, rest = text.partition(":")
    function, _, weights = rest.partition(":")
    if name not in MODELS and function.isidentifier():
        return f"{name}:{function}", weights or None
    return name, rest or None


def without_model(options: FormatOptions, model: str, weights: str | None) -> NetworkOptions:
    """Complete the options of a command that names its network in another way."""
    return NetworkOptions(**vars(options), model=model, weights=weights)
