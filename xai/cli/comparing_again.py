"""Make a comparison again from its record, with the further networks that it names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xai.cli.comparing import show_comparison, write_comparison
from xai.cli.network import announce, load_network, split_network
from xai.cli.options import NetworkOptions, RunOptions
from xai.cli.pictures import Source
from xai.cli.results import Destination
from xai.errors import UserError

if TYPE_CHECKING:
    from xai.io.images import Image
    from xai.model import Model
    from xai.spec import RunSpec


def remake_comparison(
    spec: RunSpec,
    model: Model,
    source: Source,
    image: Image,
    drawing: Mapping[str, Any],
    run: RunOptions,
    network: NetworkOptions,
    folder: Path,
) -> None:
    """Compare again as a spec says, with its further networks; weights files lie here or beside the spec.

    Raises:
        UserError: a further network is not there or not the same, or is code that nobody on this computer asked for.
    """
    others = []
    digests = [*_texts(spec.params.get("model_digests", [])), *[""] * len(spec.other_networks())]
    for text, digest in zip(spec.other_networks(), digests, strict=False):
        other = load_network(_other_network(text, network, folder), quiet=run.quiet, announced=False)
        if digest and digest != other.weights_digest:
            raise UserError(
                f"The weights of {text} are not what the spec says: digest {other.weights_digest[:12]} instead of "
                f"{digest[:12]}."
            )
        announce(other, chosen=True)
        others.append(other)
    asked = {
        "target": spec.target or None,
        "layers": list(spec.layers()) or None,
        "resize": spec.resize,
        "seed": spec.seed,
    }
    keys = str(spec.params.get("methods", "")).split(",")
    where = Destination(run.output, [source])
    record = write_comparison(where, [model, *others], source, image, keys, asked, drawing, quiet=run.quiet)
    show_comparison(record, as_json=run.json)


def _other_network(text: str, network: NetworkOptions, folder: Path) -> NetworkOptions:
    name, weights = split_network(text)
    if ":" in name:
        raise UserError(f"The spec runs the code {name}; if you trust it, compare anew with `xai compare`.")
    if weights is not None and not Path(weights).is_file() and (folder / weights).is_file():
        weights = str(folder / weights)
    return replace(network, model=name, weights=weights or "default")


def _texts(values: object) -> list[str]:
    if not isinstance(values, list):
        raise UserError(f"The spec's 'model_digests' must be a list, not {values!r}.")
    return [str(value) for value in values]
