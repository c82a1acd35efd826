"""Decode the picture formats on the allow-list, and turn whatever a decoder raises into one sentence."""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
import PIL.Image
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from xai.errors import UserError
from xai.io.pixels import rgb_from_pillow

# The first bytes of a file choose its decoder: no other decoder ever sees it, whatever the file is called.
_DECODERS = {
    b"\x89PNG\r\n\x1a\n": PngImageFile,
    b"\xff\xd8\xff": JpegImageFile,
    b"RIFF": WebPImageFile,
    b"GIF87a": GifImageFile,
    b"GIF89a": GifImageFile,
    b"BM": BmpImageFile,
    b"II*\0": TiffImageFile,
    b"MM\0*": TiffImageFile,
    b"II+\0": TiffImageFile,
    b"MM\0+": TiffImageFile,
}
_KNOWN = "PNG, JPEG, WebP, GIF, BMP or TIFF"

# Where nobody has set up logging, Python would print what Pillow logs about a damaged file.
logging.getLogger("PIL").addHandler(logging.NullHandler())


@dataclass(frozen=True)
class Limits:
    """How large a picture may be: in millions of pixels, and in bytes of its file (None: any)."""

    megapixels: float
    bytes: int | None

    def check_pixels(self, width: int, height: int, what: str) -> None:
        """Refuse a picture by the size its header states."""
        if width * height > self.megapixels * 1e6:
            limit = f"the limit is {self.megapixels:g} megapixels"
            raise UserError(f"{what} is too large: it has {width} x {height} pixels, and {limit}.")

    def check_bytes(self, count: int, what: str) -> None:
        """Refuse a file by its length."""
        if self.bytes is not None and count > self.bytes:
            limit = f"{self.bytes / 1e6:.3g} MB ({self.bytes:,} bytes)"
            raise UserError(f"{what} is too large: the limit is {limit}.")


def decode_stream(stream: BinaryIO, what: str, limits: Limits) -> np.ndarray:
    """Decode the first frame of an open picture file.

    Args:
        stream: at its start, open for reading bytes, seekable.
        what: names the picture in an error, such as "The file 'a.png'".
        limits: the pixel limit is checked from the header, before anything is decoded.

    Returns:
        Uint8 (H, W, 3) RGB, read-only.

    Raises:
        UserError: it is empty, no picture, damaged or too large.
    """
    head = stream.read(512)
    if not head:
        raise UserError(f"{what} is empty.")
    decoder = next((decoder for signature, decoder in _DECODERS.items() if head.startswith(signature)), None)
    if decoder is None or (decoder is WebPImageFile and head[8:12] != b"WEBP"):
        raise UserError(f"{what} is not a picture that can be read: it holds {_content(head)}, not {_KNOWN}.")
    with decoding(what), PIL.Image.open(stream, formats=[str(decoder.format)]) as picture:
        limits.check_pixels(*picture.size, what)  # from the header: nothing is decoded yet
        return rgb_from_pillow(picture, what)


def _content(head: bytes) -> str:
    """Say what a file without a picture's signature seems to hold."""
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if start.startswith((b"<!doctype html", b"<html")):
        return "an HTML page"
    if start.startswith(b"<svg") or (start.startswith(b"<") and b"<svg" in start):
        return "an SVG drawing"
    if start.startswith(b"%pdf"):
        return "a PDF document"
    if head[4:8] == b"ftyp":
        return "a HEIC or AVIF picture" if head[8:12] in (b"heic", b"heix", b"mif1", b"avif") else "a video"
    text = head.decode("utf-8", errors="ignore")
    return "plain text" if text and all(c.isprintable() or c.isspace() for c in text) else "something else"


class _Quiet:
    """Keep Pillow's warnings off the screen while any thread decodes.

    `warnings.catch_warnings` restores a global list on leaving, so threads that overlap would restore each
    other's; here the first one in enters it and the last one out leaves it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._threads = 0
        self._caught = warnings.catch_warnings()

    def __enter__(self) -> None:
        with self._lock:
            if self._threads == 0:
                self._caught = warnings.catch_warnings()
                self._caught.__enter__()
                warnings.filterwarnings("ignore", module=r"PIL\.")
            self._threads += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._threads -= 1
            if self._threads == 0:
                self._caught.__exit__(None, None, None)


_QUIET = _Quiet()


@contextmanager
def decoding(what: str) -> Iterator[None]:
    """Turn whatever a decoder raises into a sentence: damaged files make it raise nearly anything."""
    try:
        with _QUIET:
            yield
    except UserError:
        raise
    except PIL.Image.DecompressionBombError as error:
        raise UserError(f"{what} is too large: it has more pixels than Pillow agrees to decode.") from error
    except MemoryError as error:
        raise UserError(f"{what} does not fit into memory.") from error
    except Exception as error:
        raise UserError(f"{what} is damaged or cut off, or of a kind that cannot be read.") from error
