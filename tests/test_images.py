"""Every source gives one frozen picture, and every bad one a single sentence: xai.io.images."""

from __future__ import annotations

import hashlib
import io
import os
import random
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from pictures import ASYMMETRIC, bomb, encode, photograph, pixels, png

from xai.errors import UserError
from xai.io.images import Image, load_image, safe_name
from xai.io.samples import SAMPLES


def test_the_same_picture_from_every_source_has_one_digest(tmp_path: Path):
    path = tmp_path / "photo.png"
    path.write_bytes(encode(ASYMMETRIC))
    upload = io.BytesIO(path.read_bytes())
    upload.name, _ = "photo.png", upload.read()  # an earlier reader was at its end
    with path.open("rb") as stream:
        images = [
            load_image(source)
            for source in (
                str(path), path, path.read_bytes(), bytearray(path.read_bytes()),
                memoryview(path.read_bytes()), stream, upload, ASYMMETRIC,
                ASYMMETRIC[:, ::-1][:, ::-1], PIL.Image.open(path),
                load_image(ASYMMETRIC), load_image(ASYMMETRIC).to_pil(),
            )
        ]  # fmt: skip
    by_hand = struct.pack("<3q", 2, 3, 3) + ASYMMETRIC.tobytes()
    assert {image.digest for image in images} == {hashlib.sha256(by_hand).hexdigest()}
    assert [image.hint for image in images[:4]] == ["file:photo.png", "file:photo.png", "bytes", "bytes"]
    assert [image.name for image in images[:4]] == ["photo.png", "photo.png", "picture", "picture"]
    assert images[6].name == "photo.png" and images[7].hint == "array" and images[9].hint == "pillow"
    assert (images[0].width, images[0].height) == (3, 2)


def test_digest_depends_on_shape_and_values():
    flat = ASYMMETRIC.reshape(1, 6, 3)
    other = ASYMMETRIC.copy()
    other[0, 0, 0] -= 1
    assert len({load_image(array).digest for array in (ASYMMETRIC, flat, other)}) == 3


def test_image_is_frozen_and_apart_from_its_source():
    array = ASYMMETRIC.copy()
    image = load_image(array)
    array[:] = 0
    assert image.pixels.tolist() == ASYMMETRIC.tolist()
    with pytest.raises(ValueError, match="read-only"):
        image.pixels[0, 0, 0] = 1
    with pytest.raises(AttributeError):
        image.name = "other"  # type: ignore[misc]
    assert load_image(image) is image
    renamed = load_image(image, name="other")
    assert renamed.name == "other" and renamed.digest == image.digest and image.name == "picture"


def test_a_sample_name_is_the_sample_and_a_path_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    Path("cat").write_bytes(encode(ASYMMETRIC))
    assert load_image("cat").hint == "sample:cat" and load_image("cat").size == (451, 300)
    assert pixels("./cat") == pixels(Path("cat")) == ASYMMETRIC.tolist()
    assert load_image("./cat").hint == "file:cat"


@pytest.mark.parametrize(
    ("given", "safe"),
    [
        ("photo.jpg", "photo.jpg"),
        ("../../etc/a b.png", "a b.png"),
        ("C:\\photos\\cat.png", "cat.png"),
        ("a\x00b\n\x1b[31mc\u202egpj.exe", "a b [31mc gpj.exe"),
        ("bad\udcff.png", "bad .png"),
        ("", "picture"),
        ("\n/", "picture"),
        (7, "picture"),
        ("Fotografía größer 猫.png", "Fotografía größer 猫.png"),
    ],
)
def test_names_are_safe_to_show(given, safe):
    assert safe_name(given) == safe
    assert load_image(ASYMMETRIC, name=given if isinstance(given, str) else None).name == safe


def test_long_names_keep_their_ends():
    name = safe_name("a" * 300 + ".jpeg")
    assert len(name) == 60 and name.endswith(".jpeg")


def test_a_suffix_does_not_matter_and_damaged_exif_neither(tmp_path: Path):
    path = tmp_path / "photo.jpg"
    path.write_bytes(encode(ASYMMETRIC))
    assert pixels(path) == ASYMMETRIC.tolist()
    broken = b"Exif\0\0II*\0\xff\xff\xff\xff\x12\x01broken"
    assert load_image(encode(np.zeros((8, 8, 3), np.uint8), "JPEG", exif=broken)).size == (8, 8)


TRUNCATED = {kind: encode(photograph(), kind)[:-200] for kind in ("PNG", "JPEG", "WEBP", "TIFF", "BMP")}
TRUNCATED["GIF"] = encode(photograph("P"), "GIF")[:-600]

BAD_CONTENT = {
    "empty": (b"", "empty"),
    "text": (b"hello, this is no picture\n", "plain text"),
    "html": (b"\n<!DOCTYPE html><html><body>404</body></html>", "an HTML page"),
    "svg": (b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>', "an SVG drawing"),
    "bare svg": (b"<svg/>", "an SVG drawing"),
    "pdf": (b"%PDF-1.7 ...", "a PDF document"),
    "heic": (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC"),
    "video": (b"\0\0\0\x18ftypisom\0\0\x02\0", "a video"),
    "noise": (bytes(random.Random(1).randbytes(2000)), "something else"),
    "zeros": (bytes(2000), "something else"),
    "wave file": (b"RIFF\x24\0\0\0WAVEfmt ", "something else"),
    "format not allowed": (encode(photograph(), "PPM"), "something else"),
    "ico not allowed": (encode(photograph(), "ICO"), "something else"),
    "text that starts like a bmp": (b"BMW makes cars", "damaged"),
    "png signature only": (b"\x89PNG\r\n\x1a\n", "damaged"),
    "jpeg signature only": (b"\xff\xd8\xff", "damaged"),
    "no width": (png(0, 5, 8, 2), "damaged"),
    "float tiff of values": (encode(np.array([[0, 300.0]], np.float32), "TIFF"), "floats from 0 to 300"),
    "float tiff of nan": (encode(np.array([[0, np.nan]], np.float32), "TIFF"), "NaN"),
    "tiff of 32-bit": (encode(np.array([[0, 70000]], np.int32), "TIFF"), "0 to 70000"),
    **{f"truncated {kind}": (data, "damaged or cut off") for kind, data in TRUNCATED.items()},
    **{f"bomb {kind}": (bomb(kind), "too large") for kind in ("PNG", "GIF", "BMP", "TIFF", "JPEG", "WEBP")},
}
BAD_SOURCES = {
    "missing file": ("no/such/file.png", "no file or sample 'no/such/file.png'; the samples are cat"),
    "sample mistyped": ("kat", "There is no file or sample 'kat'"),
    "empty path": ("", "empty"),
    "folder": (".", "is a folder"),
    "folder path": (Path("."), "is a folder"),
    "device": ("/dev/zero", "not a regular file"),
    "null byte": ("a\0b.png", "cannot be opened"),
    "name too long": ("a" * 5000, "cannot be opened"),
    "lone surrogate": ("a\ud800.png", "cannot be opened"),
    "web address": ("https://example.org/cat.png", "is a web address"),
    "text stream": (io.StringIO("text"), "mode 'rb'"),
    "none": (None, "of a NoneType"),
    "number": (7, "of a int"),
    "list": ([[1, 2]], "of a list"),
    "nan array": (np.full((2, 2), np.nan), "NaN"),
    "infinite array": (np.array([[0.5, np.inf]]), "NaN or infinite"),
    "normalised array": (np.array([[-2.1, 2.6]]), "floats from -2.1 to 2.6"),
    "floats to 255": (np.array([[0.0, 255.0]]), r"\[0, 1\]"),
    "negative integers": (np.array([[-1, 3]]), "integers from -1 to 3"),
    "large integers": (np.array([[0, 256]]), "0..255"),
    "complex array": (np.zeros((2, 2), complex), "dtype complex128"),
    "object array": (np.full((2, 2), None), "dtype object"),
    "text array": (np.full((2, 2), "a"), "dtype <U1"),
    "channels first": (np.zeros((3, 20, 30)), r"transpose\(1, 2, 0\)"),
    "one channel first": (np.zeros((1, 20, 30)), r"transpose\(1, 2, 0\)"),
    "batch": (np.zeros((2, 20, 30, 3)), r"array\[0\]"),
    "seven channels": (np.zeros((20, 30, 7)), "1, 2, 3 or 4 channels"),
    "vector": (np.zeros(5), r"shape \(5,\)"),
    "scalar": (np.array(5), r"shape \(\)"),
    "empty array": (np.zeros((0, 5, 3), np.uint8), "it is empty"),
    "empty pillow": (PIL.Image.new("RGB", (0, 5)), "has no pixels"),
    "negative pillow": (PIL.Image.new("I", (2, 2), -5), "from -5 to -5"),
    "large float pillow": (PIL.Image.new("F", (2, 2), 5), "floats from 5 to 5"),
    "truncated pillow": (PIL.Image.open(io.BytesIO(TRUNCATED["JPEG"])), "damaged or cut off"),
}


@pytest.mark.parametrize(
    ("source", "says", "as_file"),
    [
        *(pytest.param(data, says, False, id=name) for name, (data, says) in BAD_CONTENT.items()),
        *(pytest.param(data, says, True, id=f"file: {name}") for name, (data, says) in BAD_CONTENT.items()),
        *(pytest.param(source, says, False, id=name) for name, (source, says) in BAD_SOURCES.items()),
    ],
)
def test_bad_pictures_give_one_sentence(source, says, as_file, tmp_path: Path, recwarn):
    if as_file:
        path = tmp_path / "photo.jpg"
        path.write_bytes(source)
        source = path
    with pytest.raises(UserError, match=says) as caught:
        load_image(source)
    sentence = str(caught.value)
    assert sentence.endswith(".") and "\n" not in sentence and sentence.isprintable()
    assert len(sentence) < 320
    assert not [str(warning.message) for warning in recwarn]


def test_closed_and_write_only_files(tmp_path: Path):
    closed = io.BytesIO(b"x")
    closed.close()
    with (tmp_path / "new.png").open("wb") as writing:
        for source in (closed, writing):
            with pytest.raises(UserError, match="closed or gives no data"):
                load_image(source)
    with (tmp_path / "new.png").open() as text, pytest.raises(UserError, match="mode 'rb'"):
        load_image(text)
    shut = photograph()
    shut.close()
    with pytest.raises(UserError):
        load_image(shut)


def test_permission_denied_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "secret.png"
    path.write_bytes(encode(ASYMMETRIC))

    def refuse(*_: object, **__: object):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("builtins.open", refuse)  # the superuser, as in containers, may read everything
    with pytest.raises(UserError, match="permission denied"):
        load_image(path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_does_not_block(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(UserError, match="not a regular file"):
        load_image(tmp_path / "pipe.png")


def test_loading_imports_nothing_heavy():
    code = (
        "import sys; from xai.io.images import load_image; load_image('cat');"
        "print([m for m in ('torch', 'skimage', 'sklearn', 'matplotlib', 'pandas') if m in sys.modules])"
    )
    root = Path(__file__).resolve().parents[1]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_image_is_an_image():
    assert all(isinstance(load_image(name), Image) for name in SAMPLES)
