"""Pictures with labels: which classes and files a folder or a torchvision data set holds, and how they are split."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from xai.errors import UserError, one_of
from xai.io.files import PICTURE_SUFFIXES, quoted

TRAINING_FOLDERS = ("train", "training")
VALIDATION_FOLDERS = ("val", "valid", "validation", "test")
IMAGENETTE = {  # the only set of folders named by WordNet ids that says nowhere what they mean
    "n01440764": "tench",
    "n02102040": "English springer",
    "n02979186": "cassette player",
    "n03000684": "chain saw",
    "n03028079": "church",
    "n03394916": "French horn",
    "n03417042": "garbage truck",
    "n03425413": "gas pump",
    "n03445777": "golf ball",
    "n03888257": "parachute",
}


@dataclass(frozen=True)
class Split:
    """Files and their classes, in one order.

    Attributes:
        files: picture files.
        labels: index of the class of each.
    """

    files: tuple[Path, ...]
    labels: tuple[int, ...]


@dataclass(frozen=True)
class LabelledPictures:
    """A set of pictures to train on and another to measure with.

    Attributes:
        name: of the folder.
        class_names: in the order of the labels.
        train, validation: no file is in both.
        digest: sha256 over class, split and name of every file.
    """

    name: str
    class_names: tuple[str, ...]
    train: Split
    validation: Split
    digest: str


def find_labelled(
    folder: Path, *, classes: Collection[str] | None = None, validation_share: float = 0.1, seed: int = 0
) -> LabelledPictures:
    """List the labelled pictures of a folder.

    One folder per class (`DIR/CLASS/*`), or a split that somebody made (`DIR/train/CLASS/*` and `DIR/val/CLASS/*`, as
    in Imagenette and Tiny-ImageNet, whose original `val_annotations.txt` is read too). Without a split, a share of each
    class is held out. Pictures may lie in subfolders of their class. Folders named by WordNet ids get the names that
    `classes.csv` (columns wnid, name) or `words.txt` in the folder give them.

    Args:
        folder: where the pictures lie.
        classes: the ones to keep, by folder or by name; default: all.
        validation_share: held out of every class where no split is there, in (0, 1); at least one picture of each.
        seed: of the choice.

    Raises:
        UserError: there is no such folder, fewer than two classes, one that is not there, or a class has too few
            pictures.
    """
    if not folder.is_dir():
        raise UserError(f"There is no folder {quoted(folder)} with pictures, one folder per class.")
    if not 0 < validation_share < 1:
        raise UserError(f"The share held out for validation must lie between 0 and 1, not {validation_share}.")
    train_folder = _first_folder(folder, TRAINING_FOLDERS)
    val_folder = _first_folder(folder, VALIDATION_FOLDERS) if train_folder else None
    by_class = _pictures_by_class(train_folder or folder)
    folders = sorted(by_class)
    names = _class_names(folder, folders)
    if classes is not None:
        folders, names = _chosen(folders, names, classes)
    if len(folders) < 2:
        raise UserError(
            f"The folder {quoted(train_folder or folder)} needs at least two class folders with pictures "
            f"({', '.join(PICTURE_SUFFIXES)}); it has {len(folders)}."
        )
    if val_folder is not None:
        train = _collect(folders, by_class)
        validation = _collect(folders, _given_validation(val_folder, sorted(by_class)))
    else:
        train, validation = _hold_out(folders, by_class, validation_share, seed)
    return LabelledPictures(folder.resolve().name, tuple(names), train, validation, _digest(folder, train, validation))


def _chosen(folders: Sequence[str], names: Sequence[str], classes: Collection[str]) -> tuple[list[str], list[str]]:
    """Keep some folders and their names, in the order of the folders."""
    wanted = {name.strip().lower() for name in classes}
    kept = [
        (folder, name)
        for folder, name in zip(folders, names, strict=True)
        if folder.lower() in wanted or name.lower() in wanted
    ]
    unknown = wanted - {word.lower() for pair in kept for word in pair}
    if unknown:
        raise one_of("class", min(unknown), names)
    return [folder for folder, _ in kept], [name for _, name in kept]


def _first_folder(folder: Path, names: Sequence[str]) -> Path | None:
    return next((folder / name for name in names if (folder / name).is_dir()), None)


def _pictures_by_class(folder: Path) -> dict[str, list[Path]]:
    classes = [entry for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith(".")]
    found = {entry.name: _pictures_below(entry) for entry in classes}
    return {name: files for name, files in found.items() if files}


def _pictures_below(folder: Path) -> list[Path]:
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in PICTURE_SUFFIXES and not path.name.startswith(".") and path.is_file()
    )


def _given_validation(folder: Path, classes: Sequence[str]) -> Mapping[str, list[Path]]:
    annotations = folder / "val_annotations.txt"  # of the original Tiny-ImageNet: file, WordNet id, box
    if not annotations.is_file():
        found = _pictures_by_class(folder)
        unknown = sorted(set(found) - set(classes))
        if unknown or not found:
            what = f"has classes that training lacks: {', '.join(unknown[:5])}" if unknown else "holds no pictures"
            raise UserError(f"The folder {quoted(folder)} {what}.")
        return found
    listed: dict[str, list[Path]] = {name: [] for name in classes}
    for line in annotations.read_text(encoding="utf-8").splitlines():
        file, wnid = line.split("\t")[:2]
        listed.setdefault(wnid, []).append(folder / "images" / file)
    return listed


def _collect(classes: Sequence[str], by_class: Mapping[str, Sequence[Path]]) -> Split:
    pairs = [(file, label) for label, name in enumerate(classes) for file in by_class.get(name, ())]
    return Split(tuple(file for file, _ in pairs), tuple(label for _, label in pairs))


def _hold_out(
    classes: Sequence[str], by_class: Mapping[str, Sequence[Path]], share: float, seed: int
) -> tuple[Split, Split]:
    """Split every class in the same proportion."""
    generator = np.random.default_rng(seed)
    kept: dict[str, list[Path]] = {}
    held: dict[str, list[Path]] = {}
    for name in classes:
        files = by_class[name]
        if len(files) < 2:
            raise UserError(f"Class '{name}' has only one picture; at least two are needed, one to measure with.")
        count = min(max(1, round(share * len(files))), len(files) - 1)
        chosen = set(generator.permutation(len(files))[:count].tolist())
        held[name] = [file for place, file in enumerate(files) if place in chosen]
        kept[name] = [file for place, file in enumerate(files) if place not in chosen]
    return _collect(classes, kept), _collect(classes, held)


def _class_names(folder: Path, folders: Sequence[str]) -> list[str]:
    known = dict(IMAGENETTE)
    words, table = folder / "words.txt", folder / "classes.csv"
    if words.is_file():  # of the original Tiny-ImageNet: WordNet id, names
        known |= dict(line.split("\t", 1) for line in words.read_text(encoding="utf-8").splitlines() if "\t" in line)
    if table.is_file():
        with table.open(encoding="utf-8", newline="") as file:
            known |= {row["wnid"]: row["name"] for row in csv.DictReader(file) if row.get("wnid") and row.get("name")}
    whole = [known.get(name, name).strip() for name in folders]
    short = [name.split(",")[0] for name in whole]
    return [long if short.count(first) > 1 else first for long, first in zip(whole, short, strict=True)]


def _digest(folder: Path, train: Split, validation: Split) -> str:
    digest = hashlib.sha256()
    for kind, split in (("train", train), ("validation", validation)):
        for file, label in zip(split.files, split.labels, strict=True):
            digest.update(f"{kind} {label} {file.relative_to(folder).as_posix()}\n".encode())
    return digest.hexdigest()
