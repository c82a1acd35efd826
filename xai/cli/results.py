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
    from matplotlib.figure import Figure

    from xai.spec import RunSpec

PICTURES = (".png", ".jpg", ".jpeg")
ARRAYS = (".npy",)
_BESIDE = (".json", ".csv")  # what may be written beside a picture, under the same name


class Destination:
    """The file, or the folder with one file for each result, that an option names.

    Args:
        output: as the user wrote it. Names that end in one of the suffixes are files; names without any are folders.
        sources: the pictures that are read; none of them is ever written.
        many: whether there is more than one result, which only a folder can take.
        flag: the option, for messages.
        suffixes: of files; the first is what files in a folder get.

    Raises:
        UserError: the name has another suffix, or is a file where a folder is needed.
    """

    def __init__(
        self,
        output: str,
        sources: Sequence[Source] = (),
        *,
        many: bool = False,
        flag: str = "--output",
        suffixes: tuple[str, ...] = PICTURES,
    ) -> None:
        self.path, self.flag, self.suffix = Path(output), flag, suffixes[0]
        self.is_folder = self.path.is_dir() or self.path.suffix == "" or output.endswith(("/", os.sep))
        self._taken = {_real(source) for source in sources}
        if self.is_folder:
            if self.path.is_file():
                raise UserError(f"{flag} '{output}' is a file, no folder, and does not end in {' or '.join(suffixes)}.")
        elif self.path.suffix.lower() not in suffixes:
            raise UserError(f"{flag} '{output}' must end in {', '.join(suffixes)}, or in / for a folder.")
        elif not self.path.parent.is_dir():
            raise UserError(f"{flag} '{output}' lies in a folder that does not exist; make it first.")
        elif many:
            raise UserError(f"{flag} '{output}' is one file, but there are several results; give a folder.")
        else:
            self._check_file()

    def place(self, name: str, tag: str, spec: RunSpec) -> Path:
        """Name the file of one result.

        In a folder that is NAME_TAG with the suffix. The name gets a number where another result of this run, one
        about another picture or network, or anything else already has it.
        """
        if not self.is_folder:
            return self.path
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"{self.flag} '{self.path}' cannot be made a folder: {error.strerror}.") from error
        stem = re.sub(r"[^\w.-]+", "_", f"{name}_{tag}")
        number = 1
        while not self._is_free(path := self.path / f"{stem}{f'_{number}' if number > 1 else ''}{self.suffix}", spec):
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
            raise UserError(f"{self.flag} '{self.path}' is the picture itself; give another name.")
        for beside in map(self.path.with_suffix, _BESIDE):
            if beside.exists() and _read_spec(self.path.with_suffix(".json")) is None:
                raise UserError(f"'{beside}' is no record of a result and would be overwritten; change {self.flag}.")


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


def write_figure(path: Path, figure: Figure) -> None:
    """Write a Matplotlib figure as PNG or JPEG, by the suffix."""
    from xai.io.files import write_atomic

    buffer = io.BytesIO()
    figure.savefig(buffer, format=path.suffix[1:].lower())
    write_atomic(path, buffer.getvalue())


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
