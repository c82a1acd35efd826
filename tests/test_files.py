"""Files are found in the order people expect, and written whole or not at all."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from xai.errors import UserError
from xai.io.files import find_images, quoted, save_png, write_atomic
from xai.io.images import load_image


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("img10.png", "img2.PNG", "Img1.jpg", "notes.txt", ".hidden.png", "a[1].jpg", "sub/deep.png"):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    (tmp_path / "photos" / "folder.png").mkdir()
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    return Path("photos")


def names(paths: list[Path]) -> list[str]:
    return [path.name for path in paths]


def test_a_folder_stands_for_its_pictures_in_natural_order(folder):
    assert names(find_images([folder])) == ["a[1].jpg", "Img1.jpg", "img2.PNG", "img10.png"]
    assert find_images("photos") == find_images(["photos/"]) == find_images(folder)


def test_globs_and_files_keep_the_order_of_the_patterns_without_repeats(folder):
    assert names(find_images(["photos/img*"])) == ["img2.PNG", "img10.png"]
    assert names(find_images(["photos/img10.png", "photos/*.??[gG]", "photos/notes.txt"])) == [
        "img10.png", "a[1].jpg", "Img1.jpg", "img2.PNG", "notes.txt",
    ]  # fmt: skip
    assert names(find_images(["photos/*/*.png"])) == ["deep.png"]


def test_a_file_whose_name_looks_like_a_glob_is_that_file(folder):
    assert names(find_images(["photos/a[1].jpg"])) == ["a[1].jpg"]


@pytest.mark.parametrize(
    ("patterns", "says"),
    [
        (["photos/*.gif"], r"'photos/\*.gif' matches no file"),
        (["photos/img2.PNG", "nothing*"], "matches no file"),
        (["missing.png"], "no file or folder 'missing.png'"),
        (["empty"], r"'empty' holds no pictures \(.png, .jpg"),
        ([], "No pictures were named"),
        (["a\0b"], "no file or folder"),
        (["a\0*"], "matches no file"),
        (["[z-a]*"], "matches no file"),
        (["x" * 5000], "no file or folder"),
        ([""], "no file or folder ''"),
    ],
)
def test_patterns_that_match_nothing_are_user_errors(folder, patterns, says):
    with pytest.raises(UserError, match=says) as caught:
        find_images(patterns)
    assert str(caught.value).isprintable() and len(str(caught.value)) < 250


def test_an_unreadable_folder_is_a_user_error(folder, monkeypatch: pytest.MonkeyPatch):
    def refuse(self: Path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(UserError, match="'photos' cannot be read: Permission denied"):
        find_images(folder)


def test_write_atomic_writes_and_replaces(tmp_path: Path):
    path = tmp_path / "a.bin"
    write_atomic(path, b"one")
    write_atomic(str(path), b"two")
    assert path.read_bytes() == b"two" and os.listdir(tmp_path) == ["a.bin"]
    (tmp_path / "plain").write_bytes(b"")
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE((tmp_path / "plain").stat().st_mode)


def test_write_atomic_follows_a_link(tmp_path: Path):
    (tmp_path / "real.bin").write_bytes(b"old")
    (tmp_path / "link.bin").symlink_to("real.bin")
    write_atomic(tmp_path / "link.bin", b"new")
    assert (tmp_path / "link.bin").is_symlink() and (tmp_path / "real.bin").read_bytes() == b"new"


def test_a_failed_write_leaves_the_old_file_and_no_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")

    def fail(*_: object):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(UserError, match="No space left on device"):
        write_atomic(path, b"new")
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        write_atomic(path, b"new")
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["a.bin"]


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("no/such/folder/a.png", "its folder does not exist"),
        (".", "not a regular file"),
        ("/dev/null", "not a regular file"),
        ("a\0b", "no valid path"),
        ("x" * 300, "too long"),
    ],
)
def test_paths_that_cannot_be_written_are_user_errors(tmp_path: Path, monkeypatch, path, says):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=says):
        write_atomic(path, b"x")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("shape", [(4, 5, 3), (4, 5), (1, 1, 3)])
def test_save_png_comes_back_as_it_was(tmp_path: Path, shape):
    pixels = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    save_png(tmp_path / "a.png", pixels)
    with PIL.Image.open(tmp_path / "a.png") as picture:
        assert np.array_equal(np.asarray(picture), pixels)
    assert load_image(tmp_path / "a.png").digest == load_image(pixels).digest


def test_save_png_takes_bytes_only(tmp_path: Path):
    with pytest.raises(TypeError, match="float64"):
        save_png(tmp_path / "a.png", np.zeros((2, 2, 3)))
    assert os.listdir(tmp_path) == []


def test_quoted_is_short_and_on_one_line():
    assert quoted(Path("a b.png")) == "'a b.png'"
    assert "\n" not in quoted("a\nb") and len(quoted("x" * 500)) == 82
    assert quoted("s" + "x" * 500 + "end.png").endswith("end.png'")
