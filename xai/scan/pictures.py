"""The pictures of a run, however they came to be: drawn again from the seed, or packed into the run's folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

import numpy as np
import safetensors
import torch
from torch import Tensor

from xai.scan.cifar100 import SUPERCLASSES, superclasses
from xai.scan.glyphs import FAMILIES, FILLS, KINDS, SHAPES, Glyphs

SPLITS = ("train", "validation")


@dataclass(frozen=True, eq=False)
class Level:
    """Labels of one granularity.

    Attributes:
        labels: int64 (N,).
        names: of the labels.
    """

    labels: np.ndarray
    names: tuple[str, ...]


class Pictures(Protocol):
    """Pictures of one split at working size.

    Attributes:
        names: of files or glyphs.
        labels: int64 (N,), or None; they measure and never train.
        label_names: of the labels; empty without.
        levels: labels by the name of their granularity; empty without labels.
    """

    names: Sequence[str]
    labels: np.ndarray | None
    label_names: tuple[str, ...]
    levels: Mapping[str, Level]

    def __len__(self) -> int:
        """Number of pictures."""
        ...

    def __getitem__(self, index: int) -> np.ndarray:
        """One picture, uint8 (h, w, 3)."""
        ...

    def masks(self, index: int) -> np.ndarray | None:
        """Where the object is, bool (h, w), or None where nobody knows."""
        ...

    def words(self, index: int) -> tuple[str, ...]:
        """What is known about the picture in words; may be empty."""
        ...


class GlyphPictures:
    """Glyphs, drawn when they are asked for; see `Pictures`."""

    def __init__(self, glyphs: Glyphs) -> None:
        self.glyphs = glyphs
        self.names: Sequence[str] = [f"{glyphs.split} {place} {KINDS[kind]}" for place, kind in enumerate(glyphs.kinds)]
        shapes = glyphs.kinds // len(FILLS)
        families = np.array([place for place, each in enumerate(FAMILIES.values()) for _ in each])[shapes]
        self.levels: Mapping[str, Level] = MappingProxyType(
            {
                "family": Level(families.astype(np.int64), tuple(FAMILIES)),
                "shape": Level(shapes.astype(np.int64), SHAPES),
                "fill": Level((glyphs.kinds % len(FILLS)).astype(np.int64), FILLS),
                "shape and fill": Level(glyphs.kinds.astype(np.int64), KINDS),
            }
        )
        self.labels: np.ndarray | None = self.levels["shape"].labels
        self.label_names = SHAPES

    def __len__(self) -> int:
        return len(self.glyphs)

    def __getitem__(self, index: int) -> np.ndarray:
        return self.glyphs.picture(int(index))

    def masks(self, index: int) -> np.ndarray | None:
        """Where the object is, bool (h, w)."""
        return self.glyphs.mask(int(index))

    def words(self, index: int) -> tuple[str, ...]:
        """Shape, fill, family, colours and size."""
        return self.glyphs.glyph(int(index)).words


class PackedPictures:
    """Pictures in a file of the run, uint8 (N, h, w, 3), read one by one; see `Pictures`."""

    def __init__(
        self, file: Path, split: str, names: Sequence[str], labels: np.ndarray | None, label_names: tuple[str, ...]
    ) -> None:
        self.file, self.split, self.names = file, split, names
        self.labels, self.label_names = labels, label_names
        levels: dict[str, Level] = {}
        if labels is not None:
            levels["class"] = Level(labels, label_names)
            above = superclasses(labels, label_names)
            if above is not None:
                levels["superclass"] = Level(above, tuple(SUPERCLASSES))
        self.levels: Mapping[str, Level] = levels

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> np.ndarray:
        index = range(len(self))[index]  # counts from the end too, and raises beyond it
        with safetensors.safe_open(self.file, framework="numpy") as file:
            return file.get_slice(self.split)[index : index + 1][0]

    def masks(self, index: int) -> np.ndarray | None:
        """Nobody knows."""
        return None

    def words(self, index: int) -> tuple[str, ...]:
        """Nothing is known."""
        return ()


def all_pixels(pictures: Pictures) -> Tensor:
    """Stack all pictures: uint8 (N, 3, h, w)."""
    if isinstance(pictures, PackedPictures):
        with safetensors.safe_open(pictures.file, framework="pt") as file:
            stacked = file.get_tensor(pictures.split)
    else:
        stacked = torch.from_numpy(np.stack([pictures[place] for place in range(len(pictures))]))
    return stacked.permute(0, 3, 1, 2).contiguous()
