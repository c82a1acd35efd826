"""Where the pictures of a run come from: glyphs, a folder with or without labels, a named set, a packed array."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from xai.errors import UserError
from xai.io.datasets import Split, find_labelled
from xai.io.files import PICTURE_SUFFIXES, quoted, write_atomic
from xai.io.geometry import InputFormat
from xai.io.torchvision_sets import SETS, data_folder
from xai.scan.config import ScanConfig
from xai.scan.glyphs import VERSION, Glyphs
from xai.scan.pictures import SPLITS, GlyphPictures, PackedPictures, Pictures
from xai.scan.store import PICTURES_FILE, RunStore
from xai.training.batches import PictureStore, Progress, as_evaluated

PACKED = "pictures"  # the artefact
LEAST = 16  # pictures: fewer make no clusters


@dataclass(frozen=True, eq=False)
class Part:
    """One split in memory.

    Attributes:
        pixels: uint8 (N, h, w, 3).
        names: of the pictures.
        labels: int64 (N,), or None.
    """

    pixels: np.ndarray
    names: list[str]
    labels: np.ndarray | None


@dataclass(frozen=True, eq=False)
class Packed:
    """Both splits at working size.

    Attributes:
        train, validation: no picture is in both.
        label_names: empty without labels.
        skipped: (file, reason) of those that could not be read.
    """

    train: Part
    validation: Part
    label_names: tuple[str, ...] = ()
    skipped: list[tuple[str, str]] = field(default_factory=list)

    @property
    def fingerprint(self) -> str:
        """SHA-256 over all pixels."""
        digest = hashlib.sha256()
        for part in (self.train, self.validation):
            digest.update(f"{part.pixels.shape}".encode())
            digest.update(np.ascontiguousarray(part.pixels).data)
        return digest.hexdigest()


def is_drawn(config: ScanConfig) -> bool:
    """Whether the pictures are glyphs, which no run stores."""
    return config.data == "glyphs"


def stored_pictures(store: RunStore, split: str) -> Pictures:
    """The pictures of a run that exists."""
    config = store.config
    if is_drawn(config):
        said = store.about.get("data", {}).get("drawing", VERSION)
        if said != VERSION:
            raise UserError(f"The run was trained on glyphs as drawn in version {said}, this is version {VERSION}.")
        return GlyphPictures(Glyphs(config.glyphs[SPLITS.index(split)], config.seed, split))
    said = json.loads((store.folder / PICTURES_FILE).read_text(encoding="utf-8"))
    labels = said[split]["labels"]
    return PackedPictures(
        store.folder / f"{PACKED}.safetensors",
        split,
        said[split]["names"],
        None if labels is None else np.array(labels, np.int64),
        tuple(said["label_names"]),
    )


def write_pictures(store: RunStore, packed: Packed) -> None:
    """Keep the working pixels in the run, so that it does not depend on the folder any more."""
    parts = {"train": packed.train, "validation": packed.validation}
    said = {
        split: {"names": part.names, "labels": None if part.labels is None else part.labels.tolist()}
        for split, part in parts.items()
    }
    text = json.dumps({**said, "label_names": list(packed.label_names)}, ensure_ascii=False)
    write_atomic(store.folder / PICTURES_FILE, text.encode())
    store.write(PACKED, {split: torch.from_numpy(part.pixels) for split, part in parts.items()}, whole=True)


def find_pictures(config: ScanConfig, on_progress: Progress | None = None) -> Packed | None:
    """Read the pictures that a configuration names; None for glyphs.

    Raises:
        UserError: there are none, or too few.
    """
    if is_drawn(config):
        return None
    if not config.data:
        raise UserError(
            "Name the pictures with --data: a folder, a packed array (.npz, .npy), 'glyphs', or one of "
            f"{', '.join(SETS)}."
        )
    path = Path(config.data)
    packed = _from_array(path, config) if path.suffix in (".npz", ".npy") else _from_folder(config, on_progress)
    packed = _limited(packed, config)
    if len(packed.train.names) < LEAST or not packed.validation.names:
        raise UserError(
            f"Only {len(packed.train.names)} pictures to train on and {len(packed.validation.names)} to measure with "
            f"could be read from {quoted(config.data)}; clustering needs at least {LEAST} and 1."
        )
    return packed


def _from_folder(config: ScanConfig, on_progress: Progress | None) -> Packed:
    folder = data_folder(config.data, on_progress)
    size = config.size
    read = as_evaluated(InputFormat(config.mean, config.std, (size, size), size))
    if config.labels == "auto" and _has_classes(folder):
        found = find_labelled(folder, validation_share=config.validation_share, seed=config.seed)
        splits, label_names = (found.train, found.validation), found.class_names
    else:
        splits, label_names = _unlabelled(folder, config), ()
    parts, skipped = [], []
    for split in splits:
        store = PictureStore(split, read, memory=float("inf"), on_progress=on_progress)
        skipped += [(str(file.relative_to(folder)), reason) for file, reason in store.skipped]
        bad = {file for file, _ in store.skipped}
        names = [file.relative_to(folder).as_posix() for file in split.files if file not in bad]
        pixels = np.stack([store[place] for place in range(len(store))]) if len(store) else _none(size)
        parts.append(Part(pixels, names, store.labels.numpy() if label_names else None))
    return Packed(parts[0], parts[1], label_names, skipped)


def _none(size: int) -> np.ndarray:
    return np.zeros((0, size, size, 3), np.uint8)


def _has_classes(folder: Path) -> bool:
    """Whether pictures lie in at least two class folders, and none lies beside these."""
    inside = folder / "train" if (folder / "train").is_dir() else folder
    beside = any(entry.suffix.lower() in PICTURE_SUFFIXES for entry in inside.iterdir() if entry.is_file())
    filled = [
        entry
        for entry in inside.iterdir()
        if entry.is_dir() and any(file.suffix.lower() in PICTURE_SUFFIXES for file in entry.rglob("*"))
    ]
    return not beside and len(filled) >= 2


def _unlabelled(folder: Path, config: ScanConfig) -> tuple[Split, Split]:
    """All pictures below a folder, a share of them held out."""
    files = sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in PICTURE_SUFFIXES and not path.name.startswith(".") and path.is_file()
    )
    if len(files) < LEAST:
        raise UserError(
            f"The folder {quoted(folder)} holds {len(files)} pictures ({', '.join(PICTURE_SUFFIXES)}); "
            f"clustering needs at least {LEAST}."
        )
    order = np.random.default_rng((config.seed, 5)).permutation(len(files))
    count = max(1, round(config.validation_share * len(files)))
    held, kept = np.sort(order[:count]), np.sort(order[count:])
    both = [tuple(files[place] for place in places) for places in (kept, held)]
    return Split(both[0], (0,) * len(both[0])), Split(both[1], (0,) * len(both[1]))


def _from_array(path: Path, config: ScanConfig) -> Packed:
    """Read uint8 (N, h, w, 3) or (N, h, w), alone (.npy) or as "images" with optional "labels" (.npz)."""
    try:
        found = np.load(path, allow_pickle=False)
        images = found["images"] if path.suffix == ".npz" else found
        labels = found["labels"] if path.suffix == ".npz" and "labels" in found and config.labels == "auto" else None
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"The array {quoted(path)} cannot be read (.npz needs 'images'): {error}.") from error
    if images.ndim == 3:
        images = np.repeat(images[..., None], 3, axis=3)
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3 or not len(images):
        raise UserError(
            f"The pictures in {quoted(path)} must be uint8 (N, h, w, 3), not {images.dtype} {images.shape}."
        )
    pixels = _resized(images, config.size)
    order = np.random.default_rng((config.seed, 5)).permutation(len(pixels))
    count = max(1, round(config.validation_share * len(pixels)))
    parts = []
    for places in (np.sort(order[count:]), np.sort(order[:count])):
        names = [f"picture {place}" for place in places]
        parts.append(Part(pixels[places], names, None if labels is None else labels[places].astype(np.int64)))
    label_names = () if labels is None else tuple(f"class {label}" for label in range(int(labels.max()) + 1))
    return Packed(parts[0], parts[1], label_names)


def _resized(images: np.ndarray, size: int) -> np.ndarray:
    """Centre square of each picture at working size, (N, h, w, 3) -> (N, size, size, 3)."""
    height, width = images.shape[1:3]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = images[:, top : top + side, left : left + side]
    if side == size:
        return np.ascontiguousarray(square)
    pixels: Tensor = torch.from_numpy(square).permute(0, 3, 1, 2).float()
    small = torch.nn.functional.interpolate(pixels, (size, size), mode="bilinear", antialias=True)
    return small.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()


def _limited(packed: Packed, config: ScanConfig) -> Packed:
    """Take a random part of the training pictures where a limit is set."""
    train = packed.train
    if not config.limit or len(train.names) <= config.limit:
        return packed
    kept = np.sort(np.random.default_rng((config.seed, 6)).permutation(len(train.names))[: config.limit])
    labels = None if train.labels is None else train.labels[kept]
    return replace(packed, train=Part(train.pixels[kept], [train.names[place] for place in kept], labels))
