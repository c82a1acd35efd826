"""Pictures in memory, and the batches that training and measuring take from them."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import PIL.Image
import torch
from torch import Tensor

from xai.errors import UserError
from xai.io.datasets import Split
from xai.io.geometry import InputFormat, prepare_images
from xai.io.images import load_image
from xai.training.augmentation import training_view
from xai.training.recipe import Recipe

Progress = Callable[[float, str], None]
_AHEAD = 6  # batches that wait ready
_CHUNK = 256  # files read between two reports


class PictureStore:
    """Decoded pictures by index, uint8 (h, w, 3); they stay in memory as long as they fit.

    Attributes:
        labels: int64 (N,).
        skipped: (file, reason) of those that could not.
    """

    def __init__(
        self,
        split: Split,
        shape: Callable[[Path], np.ndarray],
        *,
        memory: float = 4e9,
        on_progress: Progress | None = None,
    ) -> None:
        """Read every file once.

        Args:
            split: files and labels.
            shape: reads a file into the pixels to keep.
            memory: bytes that may be held; what is over it is read again when it is needed.
            on_progress: called with (fraction, sentence); may raise `Cancelled`.
        """
        self._shape = shape
        self._pictures: list[np.ndarray | None] = []
        kept: list[int] = []
        self.skipped: list[tuple[Path, str]] = []
        held = 0.0
        for place, found in _read_all(split.files, shape, on_progress):
            if isinstance(found, str):
                self.skipped.append((split.files[place], found))
                continue
            held += found.nbytes
            self._pictures.append(found if held <= memory else None)
            kept.append(place)
        self._files = [split.files[place] for place in kept]
        self.labels = torch.tensor([split.labels[place] for place in kept], dtype=torch.int64)

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: int) -> np.ndarray:
        picture = self._pictures[index]
        return self._shape(self._files[index]) if picture is None else picture


def _read_all(
    files: Sequence[Path], shape: Callable[[Path], np.ndarray], on_progress: Progress | None
) -> Iterator[tuple[int, np.ndarray | str]]:
    def read(file: Path) -> np.ndarray | str:
        try:
            return shape(file)
        except UserError as error:
            return str(error)

    begun = time.monotonic()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(0, len(files), _CHUNK):
            yield from enumerate(pool.map(read, files[start : start + _CHUNK]), start)
            if on_progress:
                done = min(start + _CHUNK, len(files))
                left = (time.monotonic() - begun) / done * (len(files) - done)
                on_progress(done / len(files), f"{done:,} of {len(files):,} pictures read, {left:.0f} s left")


def shrunken(shorter: int) -> Callable[[Path], np.ndarray]:
    """Read pictures for training: whole, their shorter side at most this many pixels."""

    def read(file: Path) -> np.ndarray:
        picture = load_image(os.path.abspath(file)).to_pil()
        scale = shorter / min(picture.size)
        if scale < 1:
            size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
            picture = picture.resize(size, PIL.Image.Resampling.BILINEAR)
        return np.asarray(picture)

    return read


def as_evaluated(fmt: InputFormat) -> Callable[[Path], np.ndarray]:
    """Read pictures for measuring: the very working pixels that `Model.prepare` makes."""

    def read(file: Path) -> np.ndarray:
        pixels = prepare_images([load_image(os.path.abspath(file))], fmt).pixels[0]  # (3, h, w) in [0, 1]
        return (pixels * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()

    return read


def to_pixels(pictures: Sequence[np.ndarray]) -> Tensor:
    """Stack pictures, uint8 (h, w, 3), into uint8 (N, 3, h, w) in channels-last memory."""
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2)


@dataclass(frozen=True)
class Share:
    """The part of each batch that one process takes: process `rank` of `world`."""

    rank: int = 0
    world: int = 1

    def of(self, count: int) -> range:
        """Places of this process among so many pictures, an even number each as far as there are enough."""
        edges = [2 * round(count / 2 * part / self.world) for part in range(self.world)] + [count]
        return range(edges[self.rank], edges[self.rank + 1])


@dataclass(frozen=True)
class Batch:
    """What one process trains on in one step.

    Attributes:
        pixels: uint8 (n, 3, size, size).
        labels: int64 (n,).
        partners: int64 (n,), labels of the pictures that are mixed in; the same as `labels` without mixing.
        share: weight of the own label, in [0, 1].
        total: pictures in the batch over all processes.
    """

    pixels: Tensor
    labels: Tensor
    partners: Tensor
    share: float
    total: int


def steps_per_epoch(count: int, batch_size: int) -> int:
    """Whole batches in a pass over so many pictures; one where there are fewer than a batch."""
    return max(1, count // batch_size)


def training_batches(
    store: PictureStore, recipe: Recipe, epoch: int, first_step: int = 0, share: Share | None = None
) -> Iterator[Batch]:
    """Make the batches of an epoch from a step on, some ahead of use, in threads.

    Order and every random choice follow from seed, epoch and place alone: not from the process, thread or step that a
    run was resumed at.
    """
    order = np.random.default_rng((recipe.seed, epoch)).permutation(len(store))
    size = recipe.size_at(epoch)
    share = share or Share()

    def make(step: int) -> Batch:
        chosen = order[step * recipe.batch_size : (step + 1) * recipe.batch_size]
        own = chosen[share.of(len(chosen))]
        views = [
            training_view(store[i], size, recipe, np.random.default_rng((recipe.seed, epoch, int(i)))) for i in own
        ]
        labels = store.labels[torch.from_numpy(own)]
        if not recipe.mixup:
            return Batch(to_pixels(views), labels, labels, 1.0, len(chosen))
        weight = float(np.random.default_rng((recipe.seed, epoch, step, 1)).beta(recipe.mixup, recipe.mixup))
        pixels, pairs = to_pixels(views), _neighbours(len(own))
        mixed = torch.lerp(pixels[pairs].float(), pixels.float(), weight).round().to(torch.uint8)
        return Batch(mixed, labels, labels[pairs], weight, len(chosen))

    return _ahead(make, range(first_step, steps_per_epoch(len(store), recipe.batch_size)))


def _neighbours(count: int) -> Tensor:
    """Pair place 0 with 1, 2 with 3 ...; an odd last one stays alone."""
    places = torch.arange(count)
    return torch.where((places ^ 1) < count, places ^ 1, places)


def _ahead(make: Callable[[int], Batch], steps: range) -> Iterator[Batch]:
    pool = ThreadPoolExecutor(max(1, (os.cpu_count() or 2) // 2))
    try:
        waiting = deque(pool.submit(make, step) for step in steps[:_AHEAD])
        for step in range(steps.start, steps.stop):
            batch = waiting.popleft().result()
            if step + _AHEAD < steps.stop:
                waiting.append(pool.submit(make, step + _AHEAD))
            yield batch
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
