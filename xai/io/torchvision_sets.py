"""Data sets that torchvision downloads, laid out once as folders of pictures."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import PIL.Image
import torch
import torchvision

from xai.errors import UserError, one_of
from xai.io.weights import first_line

_DONE = "complete.txt"


@dataclass(frozen=True)
class _Set:
    """How torchvision names the two parts of a data set, and where it keeps the class names."""

    train: Mapping[str, Any]
    validation: Mapping[str, Any]
    classes: Callable[[Any], Iterable[str]] = lambda found: found.classes


def _parts(name: str, first: object, second: object) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    return {name: first}, {name: second}


SETS: Mapping[str, _Set] = MappingProxyType(
    {
        "CIFAR10": _Set(*_parts("train", True, False)),
        "CIFAR100": _Set(*_parts("train", True, False)),
        "MNIST": _Set(*_parts("train", True, False)),
        "FashionMNIST": _Set(*_parts("train", True, False)),
        "STL10": _Set(*_parts("split", "train", "test")),
        "Imagenette": _Set(
            *_parts("split", "train", "val"), classes=lambda found: [names[0] for names in found.classes]
        ),
        "OxfordIIITPet": _Set(*_parts("split", "trainval", "test")),
        "Food101": _Set(*_parts("split", "train", "test")),
        "FGVCAircraft": _Set(*_parts("split", "trainval", "test")),
        "DTD": _Set(*_parts("split", "train", "val")),
    }
)


def data_folder(data: str | os.PathLike[str], on_progress: Callable[[float, str], None] | None = None) -> Path:
    """Return the folder of a data set: the one that is named, or that of a torchvision data set.

    A torchvision data set is downloaded and written out once, without loss, into torch's cache, as
    `train/CLASS/*.png` and `val/CLASS/*.png`; an interrupted call starts that part again.

    Args:
        data: a folder, or one of `SETS`.
        on_progress: called with (fraction, sentence); may raise `Cancelled`.

    Raises:
        UserError: there is neither a folder nor a data set of that name, or the download failed.
    """
    folder = Path(data)
    if folder.is_dir():
        return folder
    name = str(data)
    if name not in SETS:
        raise one_of("folder or data set", name, SETS)
    target = Path(torch.hub.get_dir()).parent / "datasets" / name
    if not (target / _DONE).is_file():
        _lay_out(name, target, on_progress)
    return target


def _lay_out(name: str, target: Path, on_progress: Callable[[float, str], None] | None) -> None:
    source, known = target / "download", SETS[name]
    for number, (part, options) in enumerate((("train", known.train), ("val", known.validation))):
        try:
            found = getattr(torchvision.datasets, name)(_made(source), download=True, **options)
        except (OSError, RuntimeError) as error:  # no network, or a damaged download
            raise UserError(f"The data set {name} cannot be downloaded: {first_line(error)}.") from error
        classes = [str(each).replace("/", " or ") for each in known.classes(found)]
        shutil.rmtree(target / part, ignore_errors=True)
        for each in classes:
            _made(target / part / each)
        for place in range(len(found)):
            picture, label = found[place]
            assert isinstance(picture, PIL.Image.Image)
            picture.save(target / part / classes[int(label)] / f"{place:06}.png", compress_level=1)
            if on_progress and place % 500 == 0:
                on_progress((number + place / len(found)) / 2, f"{name}: {place:,} of {len(found):,} pictures laid out")
    (target / _DONE).write_text(f"{name}, torchvision {torchvision.__version__}\n", encoding="utf-8")


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder
