"""Load a picture from wherever it is into frozen RGB pixels, or say in one sentence why it cannot be."""

from __future__ import annotations

import hashlib
import io
import os
import stat
import unicodedata
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
import PIL.Image

from xai.errors import UserError
from xai.io.decode import Limits, decode_stream, decoding
from xai.io.files import find_images, quoted
from xai.io.pixels import rgb_from_array, rgb_from_pillow
from xai.io.samples import SAMPLES, sample_names

__all__ = ["Image", "find_images", "load_image"]


class Readable(Protocol):
    """An upload or open binary file."""

    def read(self, size: int = -1, /) -> bytes:
        """Give at most `size` bytes."""
        ...


@dataclass(frozen=True, eq=False)
class Image:
    """A picture as its source shows it: upright, opaque, never resized.

    Attributes:
        pixels: RGB, uint8 (H, W, 3), read-only; EXIF orientation applied, transparency over white.
        digest: SHA-256 (hex) of the shape, as three little-endian int64, followed by the pixel bytes.
        name: short text to show, such as "cat", "photo.jpg" or "picture".
        hint: where it came from: "sample:cat", "file:photo.jpg", "bytes", "pillow" or "array".
    """

    pixels: np.ndarray = field(repr=False)
    digest: str
    name: str
    hint: str

    @property
    def width(self) -> int:
        """Columns of source pixels."""
        return self.pixels.shape[1]

    @property
    def height(self) -> int:
        """Rows of source pixels."""
        return self.pixels.shape[0]

    @property
    def size(self) -> tuple[int, int]:
        """(width, height), as Pillow orders them."""
        return self.width, self.height

    def to_pil(self) -> PIL.Image.Image:
        """Copy the pixels into a Pillow picture of mode RGB."""
        return PIL.Image.fromarray(self.pixels)


def load_image(
    source: str | os.PathLike[str] | bytes | Readable | PIL.Image.Image | np.ndarray | Image,
    *,
    name: str | None = None,
    max_megapixels: float = 100.0,
    max_bytes: int | None = None,
) -> Image:
    """Load one picture, with its source pixels, from a file, upload, Pillow picture, array or sample name.

    Args:
        source: name of a sample (see `sample_names`) or path of a file ("./cat" for a file called "cat"); the
            bytes of a PNG, JPEG, WebP, GIF, BMP or TIFF file, or something open to read them from; a Pillow
            picture of any mode; an array (H, W) or (H, W, C): bool, uint8, uint16, other integers in 0..255,
            or floats in [0, 1]; or an `Image`, which comes back as it is.
        name: what to call it; by default the sample, the file or "picture".
        max_megapixels: limit on width x height, checked before anything is decoded.
        max_bytes: limit on the size of the file or upload; None for no limit.

    Returns:
        The picture; the first frame where there are several.

    Raises:
        UserError: there is no such picture, it cannot be read, it is damaged, or it is over a limit.
    """
    if isinstance(source, Image):
        return replace(source, name=safe_name(name)) if name else source
    pixels, found, hint = _read(source, name, Limits(max_megapixels, max_bytes))
    return Image(pixels, _digest(pixels), safe_name(name or found), hint)


def safe_name(text: object) -> str:
    """Make a name that is safe to show: the last part of a path, no control characters, at most 60 in all."""
    base = text.replace("\\", "/").rstrip("/").rpartition("/")[2] if isinstance(text, str) else ""
    # Categories C*: control and format characters (some reverse the text), lone surrogates, unassigned ones.
    clean = "".join(letter if unicodedata.category(letter)[0] != "C" else " " for letter in base)
    clean = " ".join(clean.split())
    return (clean if len(clean) <= 60 else f"{clean[:40]}…{clean[-19:]}") or "picture"


def _digest(pixels: np.ndarray) -> str:
    digest = hashlib.sha256(np.array(pixels.shape, dtype="<i8").tobytes())
    digest.update(np.ascontiguousarray(pixels).data)
    return digest.hexdigest()


def _read(source: object, name: str | None, limits: Limits) -> tuple[np.ndarray, object, str]:
    """Give the pixels of any source, the name it brings (or none), and the hint where it came from."""
    if isinstance(source, str) and source in SAMPLES:
        with SAMPLES[source].path.open("rb") as stream:
            return decode_stream(stream, f"The sample {source!r}", limits), source, f"sample:{source}"
    if isinstance(source, str | os.PathLike):
        path = os.fsdecode(source)
        return _read_path(path, limits), path, f"file:{safe_name(path)}"
    if isinstance(source, np.ndarray):
        if source.ndim >= 2:
            limits.check_pixels(source.shape[1], source.shape[0], "The array")
        return rgb_from_array(source, "The array"), None, "array"
    if isinstance(source, PIL.Image.Image):
        what = "The Pillow picture"
        limits.check_pixels(*source.size, what)
        with decoding(what):
            return rgb_from_pillow(source, what), getattr(source, "filename", None), "pillow"
    found = getattr(source, "name", None)  # an upload has one; in an open file it may be a number
    found = found if isinstance(found, str) else None
    return _read_bytes(source, name or found, limits), found, "bytes"


def _read_path(path: str, limits: Limits) -> np.ndarray:
    """Read a file that the user named; everything that can be wrong with a path gets its sentence here."""
    if not path:
        raise UserError("The path of the picture is empty; give a file or a sample name.")
    if path.lower().startswith(("http://", "https://", "data:")):
        raise UserError(f"{quoted(path)} is a web address; save the picture to a file and give its path.")
    what = f"The file {quoted(path)}"
    try:
        status = os.stat(path)
        if stat.S_ISDIR(status.st_mode):
            raise UserError(f"{quoted(path)} is a folder; give one picture file inside it.")
        if not stat.S_ISREG(status.st_mode):  # reading a pipe or device may never end
            raise UserError(f"{quoted(path)} is not a regular file.")
        limits.check_bytes(status.st_size, what)
        with open(path, "rb") as stream:
            return decode_stream(stream, what, limits)
    except UserError:
        raise
    except FileNotFoundError as error:
        samples = ", ".join(sample_names())
        raise UserError(f"There is no file or sample {quoted(path)}; the samples are {samples}.") from error
    except PermissionError as error:
        raise UserError(f"{what} may not be read: permission denied.") from error
    except (OSError, ValueError) as error:  # such as a name that is too long or holds a null byte
        reason = getattr(error, "strerror", None) or "this is no valid path"
        raise UserError(f"{what} cannot be opened: {reason}.") from error


def _read_bytes(source: object, name: str | None, limits: Limits) -> np.ndarray:
    """Read the bytes of a file, or something that is open for reading them."""
    what = f"The file {quoted(safe_name(name))}" if name else "The picture"
    data: object = source
    try:
        if isinstance(source, io.TextIOBase):
            raise UserError(f"{what} is open as text; open it in mode 'rb'.")
        if hasattr(source, "getvalue"):  # an upload: all of it, wherever an earlier reader left off
            data = source.getvalue()
        elif hasattr(source, "read"):
            data = source.read(-1 if limits.bytes is None else limits.bytes + 1)
    except UserError:
        raise
    except (OSError, ValueError) as error:  # closed, or open for writing only
        raise UserError(f"{what} cannot be read: the file object is closed or gives no data.") from error
    if not isinstance(data, bytes | bytearray | memoryview):
        raise UserError(
            f"No picture can be made of a {type(source).__name__}; give a path, a sample name, the bytes of "
            "a file, a file open in mode 'rb', a Pillow picture or a NumPy array."
        )
    limits.check_bytes(memoryview(data).nbytes, what)
    return decode_stream(io.BytesIO(data), what, limits)
