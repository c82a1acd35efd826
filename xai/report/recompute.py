"""Make every figure of a report again from the RunSpec beside it, and say what came out differently."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import PIL.Image

from xai.errors import UserError
from xai.io.images import Image, load_image
from xai.io.samples import SAMPLES
from xai.model import Model
from xai.report import clustering
from xai.report.keeping import figure_pixels, largest_difference, read_record, summarise
from xai.report.project import FIGURES
from xai.report.results import make_result
from xai.spec import RunSpec

VALUES = 1e-2  # numbers and coarse map may differ by this share of the largest value: other versions round otherwise
PIXELS = 0.01  # share of the picture's pixels that may differ visibly: letters and edges move by a hair
VISIBLE = 40  # of 255, a difference of one colour channel
SAME, DIFFERENT, OTHER = "same", "different", "other weights"


@dataclass(frozen=True)
class Recomputed:
    """What became of one figure.

    Attributes:
        name: of its file.
        state: "same", "different", or "other weights" for one that was made with a network that is not at hand.
        values: largest difference of numbers and coarse map, as a share of the largest value; None if not made again.
        pixels: share of pixels that differ visibly; None if not made again.
        sentence: what differs, or why it was not made again; empty if all is the same.
    """

    name: str
    state: str
    values: float | None = None
    pixels: float | None = None
    sentence: str = ""


def recompute(
    root: Path, model: Model, *, on_progress: Callable[[float, str], None] | None = None
) -> Iterator[Recomputed]:
    """Make every figure again whose RunSpec is about this network.

    Args:
        root: the project's folder; photographs that are no samples are looked for in it.
        model: the network.
        on_progress: called with (fraction, name).

    Raises:
        UserError: there are no figures.
    """
    records = sorted((root / FIGURES).glob("*.json"))
    if not records:
        raise UserError(f"There are no figures in '{root / FIGURES}'.")
    for done, path in enumerate(records):
        if on_progress is not None:
            on_progress(done / len(records), path.stem)
        yield _recompute(path, root, model)


def find_images(spec: RunSpec, folders: Sequence[Path]) -> list[Image]:
    """Find the photographs of a spec, samples or files, and check that they are those it speaks of.

    Raises:
        UserError: a photograph is missing or another one.
    """
    digests = [spec.image_digest, *map(str, spec.params.get("digests", ()))]
    images = []
    for name, digest in zip(spec.pictures, digests, strict=False):
        paths = [path for folder in folders for path in folder.rglob(f"{Path(name).stem}.*") if path.is_file()]
        sources = [name] if name in SAMPLES else [path for path in paths if path.suffix.lower() in SUFFIXES]
        found = (load_image(source) for source in sources)
        image = next((each for each in found if each.digest == digest), None)
        if image is None:
            raise UserError(f"The photograph '{name}' with the digest {digest[:12]} is not here.")
        images.append(image)
    return images


SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")


def _recompute(path: Path, root: Path, model: Model) -> Recomputed:
    try:
        spec, kept = read_record(path)
        survey = clustering.open_shipped() if spec.method == clustering.METHOD else None
        if spec.weights_digest != (clustering.describe(survey)["digest"] if survey else model.weights_digest):
            return Recomputed(path.stem, OTHER, sentence=f"made with {spec.title} ({spec.weights_digest[:12]})")
        if survey is not None:
            result = clustering.draw(survey)
        else:
            result = make_result(model, spec, find_images(spec, [root / "pictures"]))
    except UserError as error:
        return Recomputed(path.stem, DIFFERENT, sentence=str(error))
    values = largest_difference(kept, summarise(result.values)) if kept else 0.0
    pixels = _visible_difference(path.with_suffix(".png"), figure_pixels(result.figure))
    said = []
    if values > VALUES:
        said.append(f"numbers or map differ by {values:.2%} of the largest value (allowed: {VALUES:.0%})")
    if pixels is None:
        said.append("the picture is missing or has another size")
    elif pixels > PIXELS:
        said.append(f"{pixels:.1%} of the picture differs visibly (allowed: {PIXELS:.0%})")
    return Recomputed(path.stem, DIFFERENT if said else SAME, values, pixels, "; ".join(said))


def _visible_difference(path: Path, now: np.ndarray) -> float | None:
    """Share of the pixels of a kept picture that differ visibly from (H, W, 3); None where that cannot be said."""
    if not path.is_file():
        return None
    with PIL.Image.open(path) as picture:
        kept = np.asarray(picture.convert("RGB")).astype(np.int16)
    if kept.shape != now.shape:
        return None
    return float((np.abs(kept - now).max(2) > VISIBLE).mean())
