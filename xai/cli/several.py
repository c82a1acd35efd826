"""Find the pictures of a result about several again, by the digests in its record."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from xai.cli.pictures import Source, find_pictures
from xai.errors import UserError

if TYPE_CHECKING:
    from xai.spec import RunSpec


def find_again(spec: RunSpec, img: Sequence[str] | None, folder: Path) -> tuple[Source, ...]:
    """Return the pictures that a spec speaks of, in its order; none where it speaks of none.

    Args:
        spec: names and digests.
        img: where to look, as on the command line; by default the names in this folder, in `folder` or among samples.
        folder: where the spec lies.

    Raises:
        UserError: a picture is not there, or not the same.
    """
    from xai.io.images import load_image

    _texts(spec.params.get("others", ()))
    if not spec.pictures:
        return ()
    offered = find_pictures(img).sources if img else tuple(_find(name, folder) for name in spec.pictures)
    wanted = [digest for digest in (spec.image_digest, *_texts(spec.params.get("digests", ()))) if digest]
    if not wanted:
        return offered  # a spec made from a link
    there = {load_image(source).digest: source for source in offered}
    missing = sum(digest not in there for digest in wanted)
    if missing:
        raise UserError(
            f"{missing} of the {len(wanted)} pictures of the spec are not there or not the same; "
            "say where they are: --img FOLDER."
        )
    return tuple(there[digest] for digest in wanted)


def _find(name: str, folder: Path) -> Source:
    from xai.io.samples import SAMPLES

    if name in SAMPLES:
        return name
    found = [path for path in (Path(name), folder / name) if path.is_file()]
    if not found:
        raise UserError(f"The spec is about the picture '{name}'; say where it is: --img FILE or FOLDER.")
    return found[0]


def _texts(values: object) -> list[str]:
    if not isinstance(values, (list, tuple)):
        raise UserError(f"The spec's 'others' and 'digests' must be lists, not {values!r}.")
    return [str(value) for value in values]
