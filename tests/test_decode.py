"""Limits hold before decoding, and damaged files give pixels or a sentence: xai.io.decode."""

from __future__ import annotations

import io
import random
import threading
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import PIL.Image
import PIL.ImageFile
import pytest
from pictures import bomb, encode, photograph

from xai.errors import UserError
from xai.io.images import load_image


@pytest.mark.parametrize("side", [5_000, 12_000, 50_000])
@pytest.mark.parametrize("kind", ["PNG", "GIF", "BMP", "TIFF", "JPEG", "WEBP"])
def test_bombs_are_refused_before_decoding(kind, side, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(PIL.ImageFile.ImageFile, "load", lambda *_: pytest.fail("was decoded"))
    with pytest.raises(UserError, match="too large"):
        load_image(bomb(kind, side), max_megapixels=20)


def test_limits_name_themselves():
    data = encode(PIL.Image.new("RGB", (2000, 1000)))
    assert load_image(data, max_megapixels=2).size == (2000, 1000)
    with pytest.raises(UserError, match=r"2000 x 1000 pixels, and the limit is 1.9 megapixels"):
        load_image(data, max_megapixels=1.9)
    for source in (PIL.Image.new("1", (20000, 6000)), np.broadcast_to(np.uint8(0), (20000, 6000))):
        with pytest.raises(UserError, match="the limit is 100 megapixels"):
            load_image(source)


def test_byte_limit_holds_for_every_kind_of_file(tmp_path: Path):
    data = encode(photograph())
    path = tmp_path / "a.png"
    path.write_bytes(data)
    assert load_image(path, max_bytes=len(data)).size == (64, 48)
    unnamed = SimpleNamespace(read=io.BytesIO(data).read)
    for source in (path, data, io.BytesIO(data), unnamed):
        with pytest.raises(UserError, match=rf"the limit is .* MB \({len(data) - 1:,} bytes\)"):
            load_image(source, max_bytes=len(data) - 1)


SOUND = {
    "JPEG": [encode(photograph(mode), "JPEG") for mode in ("RGB", "CMYK", "L")],
    "PNG": [encode(photograph(), "PNG"), encode(photograph("P"), "PNG", transparency=b"\x80\0\xff")],
    "WEBP": [encode(photograph(), "WEBP"), encode(photograph("RGBA"), "WEBP", lossless=True)],
    "GIF": [encode(photograph("P"), "GIF", save_all=True, append_images=[photograph("L").convert("P")])],
    "TIFF": [
        encode(photograph(), "TIFF"), encode(photograph(), "TIFF", compression="tiff_lzw"),
        encode(photograph("F").point(lambda value: value / 255), "TIFF"),
    ],
    "BMP": [encode(photograph(), "BMP"), encode(photograph("P"), "BMP")],
}  # fmt: skip


def mutate(data: bytes, chance: random.Random) -> bytes:
    """Flip bits, mostly near the start where headers are, and sometimes cut the end off."""
    damaged = bytearray(data)
    for _ in range(chance.choice((1, 2, 4, 16))):
        reach = len(damaged) if chance.random() < 0.4 else min(len(damaged), 120)
        damaged[chance.randrange(reach)] ^= 1 << chance.randrange(8)
    return bytes(damaged[: chance.randrange(1, len(damaged))] if chance.random() < 0.3 else damaged)


def test_damaged_files_give_pixels_or_a_sentence(recwarn):
    chance = random.Random(20)
    outcomes = {"pixels": 0, "sentence": 0}
    for number in range(300):
        data = mutate(chance.choice(SOUND[list(SOUND)[number % len(SOUND)]]), chance)
        try:
            image = load_image(data, max_megapixels=20)
        except UserError as error:
            assert str(error).isprintable() and str(error).endswith(".")
            outcomes["sentence"] += 1
        else:
            assert image.pixels.dtype == np.uint8 and image.pixels.shape == (image.height, image.width, 3)
            outcomes["pixels"] += 1
    assert min(outcomes.values()) > 50, outcomes  # both ways were taken
    assert not [str(warning.message) for warning in recwarn]


def test_threads_load_at_once_and_leave_no_filter_behind():
    noisy = encode(photograph(), "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\xff\0\0\0")
    lazy = encode(photograph("P"), "PNG", transparency=b"\x80\0\xff")
    before = list(warnings.filters)
    limits = PIL.Image.MAX_IMAGE_PIXELS, PIL.ImageFile.LOAD_TRUNCATED_IMAGES
    expected = {data: load_image(data).digest for data in (noisy, lazy)}
    wrong: list[str] = []

    def load_many() -> None:
        for data in [noisy, lazy, b"<html>"] * 10:
            try:
                digest = load_image(data).digest
            except UserError:
                continue
            if digest != expected[data]:
                wrong.append(digest)

    threads = [threading.Thread(target=load_many) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert warnings.filters == before
    assert limits == (PIL.Image.MAX_IMAGE_PIXELS, PIL.ImageFile.LOAD_TRUNCATED_IMAGES)
