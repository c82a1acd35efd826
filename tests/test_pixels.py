"""Every kind of picture gives the right pixels: xai.io.pixels."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import PIL.Image
import pytest
from pictures import ASYMMETRIC, encode, pixels, png

from xai.io.images import load_image

ORIENTATIONS = {  # EXIF orientation -> how a camera stores an upright picture
    1: lambda upright: upright,
    2: lambda upright: upright[:, ::-1],
    3: lambda upright: upright[::-1, ::-1],
    4: lambda upright: upright[::-1],
    5: lambda upright: upright.swapaxes(0, 1),
    6: lambda upright: np.rot90(upright, 1),  # row 0 is the right side: turn clockwise to see it upright
    7: lambda upright: upright.swapaxes(0, 1)[::-1, ::-1],
    8: lambda upright: np.rot90(upright, -1),
}


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "GIF", "WEBP"])
def test_lossless_files_give_their_pixels(kind):
    options = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    assert pixels(encode(ASYMMETRIC, kind, **options)) == ASYMMETRIC.tolist()


def test_jpeg_keeps_red_red():
    red = np.zeros((16, 16, 3), np.uint8)
    red[..., 0] = 255
    assert np.abs(load_image(encode(red, "JPEG", quality=95)).pixels.astype(int) - red).max() <= 2


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP", "pillow"])
def test_all_exif_orientations_come_out_upright(orientation, kind):
    stored = PIL.Image.fromarray(np.ascontiguousarray(ORIENTATIONS[orientation](ASYMMETRIC)))
    exif = stored.getexif()
    exif[0x0112] = orientation
    if kind == "pillow":
        source = PIL.Image.open(io.BytesIO(encode(stored, "PNG", exif=exif)))
    else:
        options = {"lossless": True, "exact": True} if kind == "WEBP" else {}
        source = encode(stored, kind, exif=exif, **options)
    assert pixels(source) == ASYMMETRIC.tolist()


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_orientation_of_jpeg_photographs(orientation):
    upright = np.kron(ASYMMETRIC, np.ones((16, 16, 1), np.uint8))
    stored = PIL.Image.fromarray(np.ascontiguousarray(ORIENTATIONS[orientation](upright)))
    exif = stored.getexif()
    exif[0x0112] = orientation
    image = load_image(encode(stored, "JPEG", quality=95, subsampling=0, exif=exif))
    assert image.size == (48, 32)
    assert np.abs(image.pixels[8::16, 8::16].astype(int) - ASYMMETRIC).max() < 12


def test_transparency_shows_white_for_every_value_and_alpha():
    value, alpha = np.meshgrid(np.arange(256), np.arange(256))
    expected = np.rint(value * (alpha / 255) + 255 * (1 - alpha / 255)).astype(int)
    rgba = np.stack([value, value, value, alpha], axis=-1).astype(np.uint8)
    assert np.array_equal(load_image(rgba).pixels[..., 1], expected)
    assert np.array_equal(load_image(encode(rgba)).pixels[..., 0], expected)
    assert np.array_equal(load_image(rgba[..., 2:]).pixels[..., 2], expected)  # grey and alpha
    grey_file = encode(PIL.Image.fromarray(rgba).convert("LA"))
    assert np.array_equal(load_image(grey_file).pixels[..., 0], expected)


def test_sixteen_bits_are_scaled_and_not_clipped():
    values = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    expected = np.rint(np.arange(65536) / 257).astype(np.uint8).reshape(256, 256)
    for source in (
        values,
        values.astype(">u2"),
        encode(values),
        encode(values, "TIFF"),
        PIL.Image.fromarray(values),
        PIL.Image.fromarray(values.astype(np.int32)),  # mode I
        encode(PIL.Image.fromarray(values.astype(np.int32)), "TIFF"),
    ):
        image = load_image(source)
        assert np.array_equal(image.pixels, np.repeat(expected[..., None], 3, axis=2))
    big_endian = PIL.Image.frombytes("I;16B", (256, 256), values.astype(">u2").tobytes())
    assert np.array_equal(load_image(big_endian).pixels[..., 0], expected)


def test_sixteen_bit_tiff_with_white_as_zero():
    values = np.array([[0, 65535, 257 * 10]], np.uint16)
    plain = encode(values, "TIFF")
    inverted = bytearray(plain)
    position = inverted.index(struct.pack("<HHI", 262, 3, 1)) + 8  # the photometric entry of the directory
    inverted[position : position + 2] = b"\0\0"
    assert [pixel[0] for pixel in pixels(plain)[0]] == [0, 255, 10]
    assert [pixel[0] for pixel in pixels(bytes(inverted))[0]] == [255, 0, 245]


def test_transparent_values_of_png_files_in_every_depth():
    two_bit = png(4, 1, 2, 0, (b"tRNS", b"\0\x01"), (b"IDAT", zlib.compress(b"\0\x1b")))  # 0, 1, 2, 3
    assert [pixel[0] for pixel in pixels(two_bit)[0]] == [0, 255, 170, 255]
    four_bit = png(2, 1, 4, 0, (b"tRNS", b"\0\x03"), (b"IDAT", zlib.compress(b"\0\x35")))  # 3, 5
    assert [pixel[0] for pixel in pixels(four_bit)[0]] == [255, 85]
    one_bit = png(8, 1, 1, 0, (b"tRNS", b"\0\0"), (b"IDAT", zlib.compress(b"\0\x0f")))
    assert [pixel[0] for pixel in pixels(one_bit)[0]] == [255] * 8
    eight_bit = png(2, 1, 8, 0, (b"tRNS", b"\0\x07"), (b"IDAT", zlib.compress(b"\0\x07\x08")))
    assert [pixel[0] for pixel in pixels(eight_bit)[0]] == [255, 8]
    deep = png(2, 1, 16, 0, (b"tRNS", b"\x01\x01"), (b"IDAT", zlib.compress(b"\0\x01\x01\x02\x02")))
    assert [pixel[0] for pixel in pixels(deep)[0]] == [255, 2]
    colours = b"\0" + struct.pack(">6H", 257, 514, 771, 1028, 1285, 1542)
    key = struct.pack(">3H", 257, 514, 771)
    deep_colour = png(2, 1, 16, 2, (b"tRNS", key), (b"IDAT", zlib.compress(colours)))
    assert pixels(deep_colour) == [[[255, 255, 255], [4, 5, 6]]]
    lazy = PIL.Image.open(io.BytesIO(two_bit))
    assert pixels(lazy) == pixels(two_bit)
    assert lazy.info["transparency"] == 1  # the caller's picture is as it was


def test_palette_with_and_without_transparency():
    palette = PIL.Image.new("P", (3, 1))
    palette.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
    palette.putdata([0, 1, 2])
    assert pixels(palette) == pixels(encode(palette)) == [[[10, 20, 30], [40, 50, 60], [70, 80, 90]]]
    for source in (encode(palette, transparency=1), encode(palette, "GIF", transparency=1)):
        assert pixels(source) == [[[10, 20, 30], [255, 255, 255], [70, 80, 90]]]
    expected = [round((value * 128 + 255 * 127) / 255) for value in (70, 80, 90)]
    assert pixels(encode(palette, transparency=bytes([255, 0, 128]))) == [[[10, 20, 30], [255] * 3, expected]]


def test_ink_and_other_colour_models():
    # (1 - ink) * (1 - black), per channel; ink in 0..255
    ink = PIL.Image.new("CMYK", (32, 32), (0, 255, 51, 0))
    assert pixels(ink)[0][0] == pixels(encode(ink, "TIFF"))[0][0] == [255, 0, 204]
    adobe = encode(ink, "JPEG", quality=100)
    assert b"Adobe" in adobe  # stored inverted
    assert np.abs(load_image(adobe).pixels.astype(int) - [255, 0, 204]).max() <= 3
    assert pixels(PIL.Image.new("CMYK", (1, 1), (0, 0, 0, 255))) == [[[0, 0, 0]]]
    assert pixels(PIL.Image.new("HSV", (1, 1), (0, 255, 255))) == [[[255, 0, 0]]]
    assert pixels(PIL.Image.new("YCbCr", (1, 1), (255, 128, 128))) == [[[255, 255, 255]]]
    lab = load_image(PIL.Image.new("LAB", (1, 1), (255, 128, 128)))  # white: L = 100, a = b = 0
    assert lab.pixels.min() >= 253
    assert pixels(PIL.Image.new("RGBa", (1, 1), (50, 50, 50, 100))) == [[[205, 205, 205]]]
    assert pixels(PIL.Image.new("La", (1, 1), (50, 100))) == [[[205, 205, 205]]]


def test_one_channel_pictures():
    grey = np.array([[0, 100, 255]], np.uint8)
    bits = np.array([[True, False]])
    floats = np.array([[0.0, 0.2, 1.0]], np.float32)
    as_rgb = np.repeat(grey[..., None], 3, axis=2).tolist()
    for source in (grey, grey[..., None], encode(grey), grey.astype(np.int64)):
        assert pixels(source) == as_rgb
    for source in (bits, PIL.Image.fromarray(bits), encode(PIL.Image.fromarray(bits))):
        assert pixels(source) == [[[255] * 3, [0] * 3]]
    for source in (floats, floats.astype(np.float64), PIL.Image.fromarray(floats), encode(floats, "TIFF")):
        assert pixels(source) == [[[0] * 3, [51] * 3, [255] * 3]]
    assert pixels(floats.astype(np.float16)) == [[[0] * 3, [51] * 3, [255] * 3]]
    assert pixels(np.array([[1.00001, -0.00001]])) == [[[255] * 3, [0] * 3]]  # rounding of a resize


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_animations_give_their_first_frame(kind):
    frames = [PIL.Image.new("RGB", (4, 4), colour) for colour in ("red", "blue", "green")]
    options = {"lossless": True} if kind == "WEBP" else {}
    data = encode(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    assert pixels(data) == [[[255, 0, 0]] * 4] * 4


@pytest.mark.parametrize("size", [(1, 1), (20000, 1), (1, 20000), (3, 65000)])
def test_extreme_shapes(size):
    assert load_image(encode(PIL.Image.new("RGB", size, (1, 2, 3)))).size == size


def test_sixty_megapixels():
    image = load_image(encode(PIL.Image.new("L", (10000, 6000), 77), compress_level=1))
    assert image.size == (10000, 6000) and image.pixels[5999, 9999].tolist() == [77, 77, 77]
