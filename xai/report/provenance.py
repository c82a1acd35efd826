"""Say which network and which pictures a notebook used, from the objects it holds after its last cell."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TypedDict

from xai.io.images import Image
from xai.model import Model


class NetworkRecord(TypedDict):
    """A network as a page names it; the digest is that of its weights."""

    name: str
    weights: str
    digest: str


class PictureRecord(TypedDict):
    """A picture as a page names it; the digest is that of its pixels, the hint says where it came from."""

    name: str
    hint: str
    digest: str


class Provenance(TypedDict):
    """What a notebook's results depend on, besides its own cells and the code."""

    networks: list[NetworkRecord]
    pictures: list[PictureRecord]


def collect_provenance(variables: Mapping[str, object]) -> Provenance:
    """List the networks and pictures among a notebook's variables, each once, in the order of their names.

    Args:
        variables: names and values, such as IPython's ``user_ns``; names of IPython itself are passed over.
    """
    mine = {name: value for name, value in variables.items() if not name.startswith("_") and name not in {"In", "Out"}}
    found = list(_walk(mine.values(), depth=2))
    networks: dict[str, NetworkRecord] = {}
    pictures: dict[str, PictureRecord] = {}
    for value in found:
        if isinstance(value, Model):
            networks[value.weights_digest] = NetworkRecord(
                name=value.name, weights=value.weights, digest=value.weights_digest
            )
        else:
            pictures[value.digest] = PictureRecord(name=value.name, hint=value.hint, digest=value.digest)
    return Provenance(
        networks=sorted(networks.values(), key=lambda record: (record["name"], record["digest"])),
        pictures=sorted(pictures.values(), key=lambda record: (record["name"], record["digest"])),
    )


def _walk(values: Iterable[object], *, depth: int) -> Iterator[Model | Image]:
    """Find models and images among values, and inside lists, tuples and dictionaries down to a depth."""
    for value in values:
        if isinstance(value, Model | Image):
            yield value
        elif depth and isinstance(value, list | tuple):
            yield from _walk(value, depth=depth - 1)
        elif depth and isinstance(value, dict):
            yield from _walk(value.values(), depth=depth - 1)
