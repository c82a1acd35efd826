"""Small picture files for the tests, sound and unsound."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import PIL.Image

from xai.io.images import load_image

# 2 rows x 3 columns, no two pixels alike: no flip or turn leaves it as it is.
ASYMMETRIC = np.array(
    [
        [[255, 0, 0], [0, 255, 0], [0, 0, 255]],
        [[255, 255, 0], [0, 0, 0], [250, 250, 250]],
    ],
    np.uint8,
)


def encode(picture: PIL.Image.Image | np.ndarray, kind: str = "PNG", **options) -> bytes:
    """Give the bytes of a picture file."""
    buffer = io.BytesIO()
    if isinstance(picture, np.ndarray):
        picture = PIL.Image.fromarray(np.ascontiguousarray(picture))
    picture.save(buffer, format=kind, **options)
    return buffer.getvalue()


def png(width: int, height: int, depth: int, colour: int, *chunks: tuple[bytes, bytes]) -> bytes:
    """Put a PNG file together by hand, for what Pillow does not write."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    file = b"\x89PNG\r\n\x1a\n"
    for kind, data in [(b"IHDR", header), *chunks, (b"IEND", b"")]:
        file += struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    return file


def photograph(mode: str = "RGB") -> PIL.Image.Image:
    """Draw a small picture with smooth and noisy parts, as real files have."""
    random_pixels = np.random.default_rng(5).integers(0, 60, (48, 64, 3))
    ramp = np.linspace(0, 190, 64).astype(int)[None, :, None]
    return PIL.Image.fromarray((ramp + random_pixels).astype(np.uint8)).convert(mode)


def pixels(source, **options) -> list:
    """Load a picture and give its pixels as nested lists."""
    return load_image(source, **options).pixels.tolist()


def bomb(kind: str, side: int = 50_000) -> bytes:
    """Make a small file whose header promises side x side pixels."""
    if kind == "PNG":
        return png(side, side, 8, 2, (b"IDAT", zlib.compress(bytes(100))))
    if kind == "GIF":  # a small screen with a large frame on it
        frame = b"," + struct.pack("<4H", 0, 0, side, side) + b"\0\x02\x02\x4c\x01\0;"
        return b"GIF89a" + struct.pack("<2H", 1, 1) + b"\x80\0\0" + bytes(6) + frame
    if kind == "BMP":
        data = bytearray(encode(ASYMMETRIC, "BMP"))
        data[18:26] = struct.pack("<2i", side, side)
    elif kind == "TIFF":
        data = bytearray(encode(PIL.Image.new("L", (300, 300)), "TIFF"))
        for tag in (256, 257):
            at = data.index(struct.pack("<HHI", tag, 4, 1)) + 8
            data[at : at + 4] = struct.pack("<I", side)
    elif kind == "JPEG":
        data = bytearray(encode(ASYMMETRIC, "JPEG"))
        at = data.index(b"\xff\xc0") + 5
        data[at : at + 4] = struct.pack(">2H", side, side)
    else:
        data = bytearray(encode(ASYMMETRIC, "WEBP", lossless=True))
        at = data.index(b"VP8L") + 9
        size = min(side, 16384) - 1  # 14 bits each
        data[at : at + 4] = struct.pack("<I", size | size << 14)
    return bytes(data)
