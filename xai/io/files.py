"""Find picture files, and write files so that nobody ever sees half of one."""

from __future__ import annotations

import glob
import io
import os
import re
import secrets
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import PIL.Image

from xai.errors import UserError

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff")


def quoted(value: object) -> str:
    """Show what a user gave inside a sentence: in quotes, on one line, at most 80 characters."""
    text = os.fsdecode(value) if isinstance(value, bytes | os.PathLike) else str(value)
    return repr(text if len(text) <= 80 else f"{text[:39]}…{text[-40:]}")


def find_images(patterns: str | Path | Iterable[str | Path]) -> list[Path]:
    """List the picture files that files, folders and glob patterns stand for.

    A file is taken whatever its suffix. A folder stands for its pictures (by suffix; not its subfolders), a
    glob for the files it matches; both leave out hidden files.

    Args:
        patterns: paths or globs, such as ``["photos", "cat.jpg", "day*/*.png"]``.

    Returns:
        Paths without repeats, in the order of the patterns, in natural order ("2" before "10") within each.

    Raises:
        UserError: a pattern matches nothing, or a folder has no pictures or may not be read.
    """
    if isinstance(patterns, str | os.PathLike):
        patterns = [patterns]
    found: dict[Path, None] = {}
    for pattern in patterns:
        found.update(dict.fromkeys(_match_pattern(os.fspath(pattern))))
    if not found:
        raise UserError("No pictures were named: give files, folders or patterns such as 'photos/*.jpg'.")
    return list(found)


def write_atomic(path: str | os.PathLike[str], data: bytes) -> None:
    """Write a file whole or not at all: into a temporary file beside it, which then takes its name.

    Raises:
        UserError: the folder does not exist, or the file cannot be written there.
    """
    try:
        target = Path(os.path.realpath(path))  # a symbolic link stays one
        if not os.path.isdir(target.parent):
            raise UserError(f"Cannot write {quoted(path)}: its folder does not exist; make it first.")
        if os.path.exists(target) and not os.path.isfile(target):  # a folder, or a device such as /dev/null
            raise UserError(f"Cannot write {quoted(path)}: it is not a regular file.")
        _replace_file(target, data)
    except UserError:
        raise
    except (OSError, ValueError) as error:  # no permission, disk full, a null byte in the name
        reason = getattr(error, "strerror", None) or "this is no valid path"
        raise UserError(f"Cannot write {quoted(path)}: {reason}.") from error


def save_png(path: str | os.PathLike[str], pixels: np.ndarray) -> None:
    """Write pixels, uint8 (H, W) grey, (H, W, 3) RGB or (H, W, 4) RGBA, as a PNG file, atomically.

    Raises:
        UserError: the file cannot be written there.
    """
    if pixels.dtype != np.uint8:
        raise TypeError(f"save_png needs uint8 pixels, not {pixels.dtype}")
    buffer = io.BytesIO()
    PIL.Image.fromarray(pixels).save(buffer, format="PNG")
    write_atomic(path, buffer.getvalue())


def _replace_file(target: Path, data: bytes) -> None:
    temporary = target.with_name(f".{secrets.token_hex(8)}.part")
    try:
        with temporary.open("xb") as stream:
            stream.write(data)
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)  # still there only after a failure


def _match_pattern(pattern: str) -> list[Path]:
    """List the files one path or glob stands for; a file whose name looks like a glob is that file."""
    if os.path.isfile(pattern):
        return [Path(pattern)]
    if os.path.isdir(pattern):
        return _list_folder(pattern)
    if not glob.has_magic(pattern):
        raise UserError(f"There is no file or folder {quoted(pattern)}.")
    try:
        matches = [Path(match) for match in glob.glob(pattern) if os.path.isfile(match)]
    except (OSError, ValueError, re.error):  # such as a null byte, or a reversed range: "[b-a]"
        matches = []
    if not matches:
        raise UserError(f"The pattern {quoted(pattern)} matches no file.")
    return sorted(matches, key=_natural_order)


def _list_folder(folder: str) -> list[Path]:
    try:
        paths = list(Path(folder).iterdir())
    except OSError as error:
        raise UserError(f"The folder {quoted(folder)} cannot be read: {error.strerror}.") from error
    pictures = [
        path
        for path in paths
        if path.suffix.lower() in PICTURE_SUFFIXES and not path.name.startswith(".") and path.is_file()
    ]
    if not pictures:
        raise UserError(f"The folder {quoted(folder)} holds no pictures ({', '.join(PICTURE_SUFFIXES)}).")
    return sorted(pictures, key=_natural_order)


def _natural_order(path: Path) -> tuple[list[tuple[int, int, str]], str]:
    """Order names so that numbers inside them count as numbers: "img2" before "img10"."""
    parts = re.findall(r"[0-9]{1,18}|[^0-9]+", str(path).casefold())
    return [(0, int(part), "") if part[0] in "0123456789" else (1, 0, part) for part in parts], str(path)
