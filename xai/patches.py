"""The parts of photographs that excite a channel most: what its strongest units really look at."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from xai.compute.attribution import Progress
from xai.compute.patches import Patch, top_patches
from xai.errors import UserError
from xai.io.geometry import Box
from xai.io.images import Image, load_image
from xai.model import Model
from xai.tracing import Picture


@dataclass(frozen=True, eq=False)
class Strong:
    """A part of a photograph that excites a channel.

    Attributes:
        crop: uint8 (H, W, 3), source pixels of what the strongest unit sees.
        value: of the channel there.
        box: left, top, right, bottom of the crop in source pixels.
        name, digest: of the photograph.
    """

    crop: np.ndarray
    value: float
    box: Box
    name: str
    digest: str


@dataclass(frozen=True, eq=False)
class Strongest:
    """The photographs that excite a channel most.

    Attributes:
        patches: best first, at most one of each photograph.
        searched: how many.
        skipped: one sentence for each photograph that could not be read.
    """

    patches: tuple[Strong, ...]
    searched: int
    skipped: tuple[str, ...]


def strongest(
    model: Model,
    images: Sequence[Picture],
    layer: str,
    channel: int,
    count: int = 9,
    *,
    resize: str = "center-crop",
    on_progress: Progress | None = None,
) -> Strongest:
    """Find the photographs that excite a channel most, and cut out what its strongest unit sees.

    Args:
        model: from `load_model`.
        images: anything `load_image` takes; read one after the other, and the best ones once more. What cannot be read
            is skipped, unless nothing is left.
        layer, channel: as for `dream`.
        count: at most so many patches, one of each photograph.
        resize: how the working pixels are made; a photograph's own border may lie outside.
        on_progress: called with (fraction, None) after every photograph; may raise `Cancelled`.

    Raises:
        UserError: the layer or channel does not exist, or there is no photograph.
    """
    found = model.layer(layer)
    check_channel(model, found.name, channel)
    reader = _Reader(model, images, resize)
    options: dict[str, Any] = {"layer": found.name, "channel": channel, "count": count}
    best = top_patches(model.classifier, reader.batches(), total=len(images), on_progress=on_progress, **options)
    if not reader.sources:
        raise UserError(next(iter(reader.skipped), "There is no photograph to look at; give at least one."))
    patches = tuple(_cut(load_image(reader.sources[patch.image]), patch, reader) for patch in best)
    return Strongest(patches, len(reader.sources), tuple(reader.skipped))


class _Reader:
    """Reads pictures one by one and remembers of each only what is needed later."""

    def __init__(self, model: Model, images: Sequence[Picture], resize: str) -> None:
        self.model, self.images, self.resize = model, images, resize
        self.sources: list[Picture] = []
        self.ready: list[tuple[Box, tuple[int, int]]] = []  # box in the source, working height and width
        self.skipped: list[str] = []

    def batches(self) -> Iterator[Tensor]:
        """Yield working pixels (1, 3, h, w)."""
        for source in self.images:
            try:
                image = load_image(source)
                made = self.model.prepare(image, self.resize)
            except UserError as error:
                self.skipped.append(str(error))
                continue
            self.sources.append(source)
            self.ready.append((made.boxes[0], (made.pixels.shape[2], made.pixels.shape[3])))
            yield made.pixels


def _cut(image: Image, patch: Patch, reader: _Reader) -> Strong:
    """Cut a patch out of its photograph: from working pixels to source pixels, rounded outwards."""
    box, (height, width) = reader.ready[patch.image]
    top, left, bottom, right = patch.box
    across, down = (box[2] - box[0]) / width, (box[3] - box[1]) / height
    placed = (box[0] + left * across, box[1] + top * down, box[0] + right * across, box[1] + bottom * down)
    x0, y0 = int(placed[0]), int(placed[1])
    x1, y1 = max(x0 + 1, int(np.ceil(placed[2] - 1e-6))), max(y0 + 1, int(np.ceil(placed[3] - 1e-6)))
    return Strong(image.pixels[y0:y1, x0:x1], patch.value, placed, image.name, image.digest)


def check_channel(model: Model, layer: str, channel: int) -> None:
    """Refuse a channel that a layer does not have."""
    channels = model.layer(layer).shape[0]
    if not 0 <= channel < channels:
        raise UserError(f"Unknown channel {channel} of layer '{layer}'. Choose 0 to {channels - 1}.")
