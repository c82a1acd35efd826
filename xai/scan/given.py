"""Features that somebody else's network made of the pictures: a run can start from them, without a network."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xai.errors import UserError
from xai.io.files import quoted
from xai.scan.data import Packed

SUFFIXES = (".npz", ".npy")
LEAST = 2  # features of a picture


def are_features(start: str | None) -> bool:
    """Whether a run is to start from features rather than from weights."""
    return start is not None and Path(start).suffix in SUFFIXES


def read_features(path: Path, packed: Packed) -> dict[str, Tensor]:
    """Read features and put them into the order of a run's pictures.

    Args:
        path: .npy with an array (N, D); or .npz with "features" (N, D) and, where they are not all pictures in the
            order of their names, "names" (N,); or the .npz that `xai scan export RUN --output FILE.npz` writes.
        packed: the pictures.

    Returns:
        "train" and "validation", float32 (N, D).

    Raises:
        UserError: the file cannot be read, or lacks a picture.
    """
    values, names = _read(path)
    if values.ndim != 2 or values.shape[1] < LEAST or values.dtype.kind not in "fiu":
        raise UserError(
            f"The features in {quoted(path)} must be numbers (N, D), not {values.dtype} of shape {values.shape}."
        )
    if not np.isfinite(values).all():
        raise UserError(f"Some features in {quoted(path)} are not finite numbers.")
    rows = _rows(path, names if names is not None else _in_order(path, len(values), packed))
    found = {}
    for split, part in (("train", packed.train), ("validation", packed.validation)):
        missing = [name for name in part.names if name not in rows]
        if missing:
            raise UserError(
                f"{quoted(path)} has no features for {len(missing)} of the {len(part.names)} {split} pictures, such as "
                f"{quoted(missing[0])}; its names must be the paths below the folder."
            )
        chosen = values[[rows[name] for name in part.names]]
        found[split] = torch.from_numpy(chosen.astype(np.float32))
    return found


def _read(path: Path) -> tuple[NDArray[np.generic], list[str] | None]:
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return loaded, None
        with loaded:
            if "features" in loaded:
                return loaded["features"], loaded["names"].tolist() if "names" in loaded else None
            splits = ("train", "validation")
            return (
                np.concatenate([loaded[f"{split}_features"] for split in splits]),
                [name for split in splits for name in loaded[f"{split}_names"].tolist()],
            )
    except KeyError as error:
        raise UserError(
            f"{quoted(path)} holds neither 'features' nor the 'train_features', 'train_names', ... of an export."
        ) from error
    except (OSError, ValueError) as error:
        raise UserError(f"The features in {quoted(path)} cannot be read: {error}.") from error


def _in_order(path: Path, count: int, packed: Packed) -> list[str]:
    """All pictures by name, those of an array by their number."""
    names = [*packed.train.names, *packed.validation.names, *(name for name, _ in packed.skipped)]
    if count != len(names):
        raise UserError(
            f"{quoted(path)} has features of {count} pictures and the data {len(names)}; add their 'names' to the file."
        )
    return sorted(names, key=_place)


def _place(name: str) -> tuple[int, str]:
    number = name.removeprefix("picture ")
    return (int(number) if number.isdecimal() else -1, name)


def _rows(path: Path, names: Sequence[str]) -> dict[str, int]:
    rows = {name: row for row, name in enumerate(names)}
    if len(rows) < len(names):
        raise UserError(f"{quoted(path)} has two rows for one name.")
    return rows
