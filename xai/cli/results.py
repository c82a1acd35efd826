"""Decide where results go, so that nothing of somebody else's is overwritten, and write them with their spec."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from xai.cli.pictures import Source
from xai.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from xai.spec import RunSpec

SUFFIXES = (".png", ".jpg", ".jpeg")
_BESIDE = (".json", ".csv")  # what may be written beside a picture, under the same name


class Destination:
    """The file, or the folder with one file for each result, that --output names.

    Args:
        output: as the user wrote it. Names that end in a picture's suffix are files; others are folders.
        sources: the pictures that are read; none of them is ever written.
        many: whether there is more than one result, which only a folder can take.

    Raises:
        UserError: the name has another suffix, or is a file where a folder is needed.
    """

    def __init__(self, output: str, sources: Sequence[Source] = (), *, many: bool = False) -> None:
        path = Path(output)
        self.is_folder = path.is_dir() or path.suffix == "" or output.endswith(("/", os.sep))
        if not self.is_folder and path.suffix.lower() not in SUFFIXES:
            raise UserError(f"--output '{output}' must end in {', '.join(SUFFIXES)}, or in / for a folder.")
        if not self.is_folder and many:
            raise UserError(f"--output '{output}' is one file, but there are several results; give a folder.")
        if self.is_folder and path.is_file():
            raise UserError(f"--output '{output}' is a file that is no picture; give another name.")
        self.path = path
        self._taken = {_real(source) for source in sources}
        if not self.is_folder:
            self._check_file()

    def place(self, name: str, tag: str, spec: RunSpec) -> Path:
        """Name the picture file of one result.

        In a folder that is NAME_TAG.png. Where that already is a result about another picture or network, or of this
        run, or where anything else lies there, the name gets a number.
        """
        if not self.is_folder:
            return self.path
        self.path.mkdir(parents=True, exist_ok=True)
        stem = re.sub(r"[^\w.-]+", "_", f"{name}_{tag}")
        number = 1
        while not self._is_free(path := self.path / f"{stem}{f'_{number}' if number > 1 else ''}.png", spec):
            number += 1
        self._taken.add(_real(path))
        return path

    def _is_free(self, path: Path, spec: RunSpec) -> bool:
        if _real(path) in self._taken:
            return False
        if not any(each.exists() for each in (path, *map(path.with_suffix, _BESIDE))):
            return True
        there = _read_spec(path.with_suffix(".json"))
        return there is not None and (there.image_digest, there.weights_digest) == (
            spec.image_digest,
            spec.weights_digest,
        )

    def _check_file(self) -> None:
        """Refuse to overwrite a picture that is read, or a file beside the picture that is no record of ours."""
        if _real(self.path) in self._taken:
            raise UserError(f"--output '{self.path}' is the picture itself; give another name.")
        for beside in map(self.path.with_suffix, _BESIDE):
            if beside.exists() and _read_spec(self.path.with_suffix(".json")) is None:
                raise UserError(f"'{beside}' would be overwritten and is no record of a result; give another --output.")


def _real(path: Source) -> str:
    return os.path.realpath(path)


def _read_spec(path: Path) -> RunSpec | None:
    from xai.spec import RunSpec

    try:
        return RunSpec.load(path)
    except UserError:
        return None


def write_picture(path: Path, pixels: np.ndarray) -> None:
    """Write pixels, uint8 (H, W, 3), as PNG or JPEG, by the suffix."""
    from xai.figures.sheets import encode_jpeg
    from xai.io.files import save_png, write_atomic

    if path.suffix.lower() == ".png":
        save_png(path, pixels)
    else:
        write_atomic(path, encode_jpeg(pixels, quality=95))


def write_array(path: Path, values: np.ndarray) -> None:
    """Write an array as an .npy file."""
    import numpy as np

    from xai.io.files import write_atomic

    buffer = io.BytesIO()
    np.save(buffer, values)
    write_atomic(path, buffer.getvalue())


def write_table(path: Path, table: pd.DataFrame) -> None:
    """Write a table as CSV."""
    from xai.io.files import write_atomic

    write_atomic(path, table.to_csv(index=False, lineterminator="\n").encode())
