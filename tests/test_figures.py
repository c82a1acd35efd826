"""Colours, overlays, contact sheets and sprites: pixel facts, not whole pictures."""

from __future__ import annotations

import ast
import io
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data
from skimage.color import rgb2lab

import xai.figures
from xai.errors import UserError
from xai.figures import overlays, sheets, style

RNG = np.random.default_rng(0)
# Machado, Oliveira and Fernandes 2009, severity 1: how red-blind and green-blind readers see linear RGB.
RED_BLIND = [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
GREEN_BLIND = [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]]


def decode(png: bytes) -> np.ndarray:
    return np.array(Image.open(io.BytesIO(png)).convert("RGBA"))


def lightness(colours: np.ndarray) -> np.ndarray:
    return rgb2lab(colours[None] / 255)[0, :, 0]


def test_figures_import_neither_torch_nor_pyplot_nor_streamlit():
    for path in Path(xai.figures.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [f"{node.module}.{alias.name}" for alias in node.names]
            for name in names:
                assert not name.startswith(("torch", "streamlit", "matplotlib.pyplot", "xai.compute")), path


@pytest.mark.parametrize("name", [n for n in style.SEQUENTIAL if n != "turbo"])
def test_sequential_lightness_is_steady(name):
    steps = np.diff(lightness(style.colormap_table(name)))
    assert (steps > -0.6).all() or (steps < 0.6).all()


@pytest.mark.parametrize("name", style.DIVERGING)
def test_diverging_maps_are_neutral_at_zero_and_balanced(name):
    table = style.colormap_table(name).astype(int)
    assert np.ptp(table[128]) <= 3
    light = lightness(style.colormap_table(name))
    assert light[128] > light.max() - 0.2
    assert abs(light[64] - light[192]) < 12


@pytest.mark.parametrize("matrix", [RED_BLIND, GREEN_BLIND], ids=["red-blind", "green-blind"])
@pytest.mark.parametrize("name", style.DIVERGING)
def test_signs_differ_for_colour_blind_readers(name, matrix):
    ends = style.colormap_table(name)[[48, 208]] / 255
    linear = np.where(ends <= 0.04045, ends / 12.92, ((ends + 0.055) / 1.055) ** 2.4)
    seen = np.clip(linear @ np.transpose(matrix), 0, 1)
    shown = np.where(seen <= 0.0031308, seen * 12.92, 1.055 * seen ** (1 / 2.4) - 0.055)
    below, above = rgb2lab(shown[None])[0]
    assert np.linalg.norm(below - above) > 30


def test_levels_put_zero_and_the_ends_where_the_table_has_them():
    assert style.value_levels([-1, 0, 1, 2, 9], 2).tolist() == [0, 0, 128, 255, 255]
    assert style.value_levels([-9, -2, 0, 2, 9], 2, signed=True).tolist() == [1, 1, 128, 255, 255]
    assert style.value_levels([-1, 0, 1], 0, signed=True).tolist() == [128, 128, 128]
    assert style.value_levels([-3, 0, 3], 3, signed=True, levels=252).tolist() == [1, 126, 251]
    for name in style.DIVERGING:
        assert style.colormap_table(name, 252)[126].tolist() == style.colormap_table(name)[128].tolist()


def test_limits_follow_what_is_shown():
    assert style.value_limit([-5.0, 2.0]) == 2
    assert style.value_limit([-5.0, 2.0], signed=True) == 5
    assert style.value_limit([-5.0]) == 0


def test_matplotlib_scale_shows_the_same_colours():
    for signed in (False, True):
        values = np.array([0.0, 0.5, 1.0, 2.0])
        scale = style.colour_scale(2.0, signed=signed)
        drawn = scale.to_rgba(values, bytes=True)[:, :3].astype(int)
        assert np.abs(drawn - style.colour_values(values, 2.0, signed=signed)).max() <= 6
        assert (drawn[0] == style.colour_values(0.0, 2.0, signed=signed)).all()


def test_unknown_colour_maps_list_the_valid_ones():
    with pytest.raises(UserError, match=r"sequential.*inferno"):
        style.find_colormap("jet", signed=False)
    with pytest.raises(UserError, match=r"diverging.*RdBu_r"):
        style.find_colormap("inferno", signed=True)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_no_colour_can_show_are_refused(bad):
    maps = np.zeros((2, 3, 3), np.float32)
    maps[1, 0, 0] = bad
    with pytest.raises(UserError, match="not finite"):
        sheets.contact_sheet(maps)
    with pytest.raises(UserError, match="not finite"):
        overlays.overlay(np.zeros((3, 3, 3), np.uint8), maps[1])


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("limit", [None, 1.0])
def test_zero_map_leaves_every_picture_unchanged(signed, limit):
    red = np.zeros((5, 7, 3), np.uint8)
    red[..., 0] = 255
    every = np.arange(256, dtype=np.uint8).repeat(3).reshape(16, 16, 3)
    for picture in (red, every, data.chelsea()):
        zero = np.zeros(picture.shape[:2], np.float32)
        assert (overlays.overlay(picture, zero, signed=signed, limit=limit, alpha=1.0) == picture).all()


@pytest.mark.parametrize("signed", [False, True])
def test_overlay_equals_the_blend_pixel_by_pixel(signed):
    picture = RNG.integers(0, 256, (6, 9, 3), dtype=np.uint8)
    values = RNG.normal(size=(6, 9))
    result = overlays.overlay(picture, values, signed=signed, limit=2.0, alpha=0.7)
    table = style.colormap_table(style.colormap_names(signed=signed)[0]).astype(float)
    for y in range(6):
        for x in range(9):
            share = min(1, max(-1 if signed else 0, values[y, x] / 2))
            colour = table[round(128 + 127 * share) if signed else round(255 * share)]
            expected = picture[y, x] * (1 - 0.7 * abs(share)) + colour * 0.7 * abs(share)
            assert np.abs(result[y, x] - expected).max() <= 2.5


def test_a_stronger_value_is_more_opaque_and_signs_differ():
    grey = np.full((1, 3, 3), 128, np.uint8)
    weak, strong, against = overlays.overlay(grey, np.array([[0.2, 1.0, -1.0]]), signed=True)[0].astype(int)
    assert np.abs(strong - 128).sum() > np.abs(weak - 128).sum() > 0
    assert strong[0] > strong[2]
    assert against[2] > against[0]


def test_compared_overlays_share_a_limit():
    grey = np.full((4, 4, 3), 128, np.uint8)
    ones = np.ones((4, 4))
    half = overlays.overlay(grey, 0.5 * ones, limit=1.0)
    assert (half == overlays.overlay(grey, ones, limit=2.0)).all()
    assert (half != overlays.overlay(grey, ones, limit=1.0)).any()


def test_threshold_hides_small_values_of_both_signs():
    picture = RNG.integers(0, 256, (1, 4, 3), dtype=np.uint8)
    values = np.array([[0.49, -0.49, 0.51, -1.0]])
    result = overlays.overlay(picture, values, signed=True, threshold=0.5)
    assert (result[0, :2] == picture[0, :2]).all()
    assert (result[0, 2:] != picture[0, 2:]).any(axis=1).all()


def test_overlay_refuses_shares_out_of_range_and_other_sizes():
    picture = np.zeros((2, 2, 3), np.uint8)
    with pytest.raises(UserError, match=r"alpha 1\.5"):
        overlays.overlay(picture, np.zeros((2, 2)), alpha=1.5)
    with pytest.raises(UserError, match="threshold"):
        overlays.overlay(picture, np.zeros((2, 2)), threshold=-0.1)
    with pytest.raises(ValueError, match="place_map"):
        overlays.overlay(picture, np.zeros((3, 2)))


def test_place_map_equals_bilinear_resizing():
    values = RNG.normal(size=(7, 5)).astype(np.float32)
    placed = overlays.place_map(values, (60, 42))
    expected = torch.nn.functional.interpolate(torch.tensor(values)[None, None], (42, 60), mode="bilinear")[0, 0]
    np.testing.assert_allclose(placed, expected, atol=1e-5)


def test_place_map_fills_the_box_and_nothing_else():
    values = np.array([[1.0, 2.0]], np.float32)  # wider than high: an axis mix-up would show
    placed = overlays.place_map(values, (20, 10), (4, 2, 16, 8))
    assert placed.shape == (10, 20)
    inside = np.zeros((10, 20), bool)
    inside[2:8, 4:16] = True
    assert (placed[~inside] == 0).all()
    assert (placed[inside] >= 1).all()
    assert placed[5, 4] == 1
    assert placed[5, 15] == 2


def test_box_shows_on_any_ground_and_only_when_smaller():
    for grey in (0, 128, 255):
        picture = np.full((40, 60, 3), grey, np.uint8)
        drawn = overlays.draw_box(picture, (10, 0, 50, 40))
        assert (drawn[20, 10] == 0).all()
        assert (drawn[20, 11] == 255).all()
        assert (drawn[20, 48:50, 0] == [255, 0]).all()
        assert (drawn[20, :10] == grey).all()
        assert (drawn[5:35, 15:45] == grey).all()
        assert (overlays.draw_box(picture, (0, 0, 60, 40)) == picture).all()
        assert (overlays.draw_box(picture, (-3.0, 0.2, 60.1, 40)) == picture).all()


def test_caption_stays_inside_narrow_pictures_and_keeps_the_rest():
    picture = np.full((60, 200, 3), 90, np.uint8)
    drawn = overlays.caption_picture(picture, "Egyptian cat:0.97")
    changed = (drawn != picture).any(axis=(0, 2))
    assert changed[:100].any()
    assert not changed[190:].any()
    assert (drawn[30:] == picture[30:]).all()


def test_side_by_side_keeps_sizes():
    left, right = np.zeros((5, 4, 3), np.uint8), np.ones((5, 6, 3), np.uint8)
    joined = overlays.side_by_side([left, right], gutter=2)
    assert joined.shape == (5, 12, 3)
    assert (joined[:, 4:6] == 255).all()
    assert (joined[:, 6:] == 1).all()


def test_sheet_shows_each_map_at_its_place_in_its_colours():
    maps = np.arange(5, dtype=np.float32)[:, None, None] * np.ones((5, 7, 7), np.float32)
    layout = sheets.sheet_layout(5, (7, 7), columns=3)
    image = decode(sheets.contact_sheet(maps, columns=3))
    assert image.shape == (layout.height, layout.width, 4) == (114, 172, 4)
    table = style.colormap_table("inferno", sheets.LEVELS)
    for index in range(5):
        x, y = layout.origin(index)
        tile = image[y : y + 56, x : x + 56, :3]
        assert (tile == table[round(251 * index / 4)]).all()
    assert image[0, 56, :3].tolist() == [0xD5, 0xD9, 0xE0]
    assert image[-1, -1, 3] == 0, "a place without a map is transparent"


def test_sheet_keeps_rows_columns_and_signs_apart():
    maps = np.zeros((1, 2, 3), np.float32)
    maps[0, 0, 2], maps[0, 1, 0] = 1, -1
    image = decode(sheets.contact_sheet(maps, tile=60, signed=True)).astype(int)
    assert image.shape[:2] == (40, 60)
    assert image[10, 50, 0] > image[10, 50, 2], "positive is red, upper right"
    assert image[30, 10, 2] > image[30, 10, 0], "negative is blue, lower left"
    assert image[10, 10, :3].tolist() == style.colormap_table("RdBu_r")[128].tolist()


def test_enlarging_repeats_and_shrinking_averages():
    small = RNG.random((1, 7, 7), dtype=np.float32)
    large = small.repeat(8, 1).repeat(8, 2)
    assert sheets.contact_sheet(small) == sheets.contact_sheet(large)
    checks = np.indices((112, 112)).sum(0)[None].astype(np.float32) % 2
    assert len(np.unique(decode(sheets.contact_sheet(checks)).reshape(-1, 4), axis=0)) == 1


def test_shrinking_counts_the_parts_of_pixels():
    maps = RNG.random((1, 15, 9)).astype(np.float32)
    tile = decode(sheets.contact_sheet(maps, tile=7, limit=1.0))  # 15 x 9 -> 7 x 4
    fine = maps[0].repeat(7, 0).repeat(4, 1)  # every pixel in 7 x 4 equal parts
    means = fine.reshape(7, 15, 4, 9).mean((1, 3))
    expected = style.colormap_table("inferno", sheets.LEVELS)[np.rint(251 * means).astype(int)]
    assert (tile[..., :3] == expected).all()


def test_shared_and_own_scales():
    maps = np.stack([np.full((4, 4), 1.0), np.full((4, 4), 4.0)])
    table = style.colormap_table("inferno", sheets.LEVELS)
    shared = decode(sheets.contact_sheet(maps))[0]
    own = decode(sheets.contact_sheet(maps, shared_scale=False))[0]
    fixed = decode(sheets.contact_sheet(maps, limit=8.0))[0]
    assert shared[0, :3].tolist() == table[63].tolist()
    assert own[0, :3].tolist() == own[-1, :3].tolist() == table[251].tolist()
    assert fixed[-1, :3].tolist() == table[126].tolist()


@pytest.mark.parametrize("value", [0.0, -2.0])
def test_sheets_of_nothing_have_the_colour_of_zero(value):
    image = decode(sheets.contact_sheet(np.full((1, 3, 3), value)))
    assert (image[..., :3] == style.colormap_table("inferno")[0]).all()


def test_every_pixel_knows_its_map():
    for captions in (False, True):
        layout = sheets.sheet_layout(7, (30, 60), columns=3, captions=captions)
        seen = np.zeros(7, int)
        for y in range(-1, layout.height + 1):
            for x in range(-1, layout.width + 1):
                index = layout.index_at(x, y)
                if index is not None:
                    left, top = layout.origin(index)
                    assert left <= x < left + 56
                    assert top <= y < top + 28 + layout.caption
                    seen[index] += 1
        assert (seen == 56 * (28 + layout.caption)).all()


def test_captions_add_ink_below_the_tiles_only():
    maps = np.ones((4, 7, 7), np.float32)
    image = decode(sheets.contact_sheet(maps, captions=["3", "1", "2", "0"]))
    layout = sheets.sheet_layout(4, (7, 7), captions=True)
    ink = (image[..., :3] == [0x1F, 0x29, 0x37]).all(axis=2)
    for index in range(4):
        x, y = layout.origin(index)
        assert not ink[y : y + 56, x : x + 56].any()
        assert ink[y + 56 : y + 70, x : x + 56].any()


def test_sprite_frames_lie_row_by_row_without_gutters():
    maps = np.arange(1, 6, dtype=np.float32)[:, None, None] * np.ones((5, 14, 14), np.float32)
    sprite = sheets.sprite_sheet(maps, 28, columns=2)
    image = decode(sprite.png)
    assert (sprite.columns, sprite.tile_width, sprite.tile_height, sprite.count) == (2, 28, 28, 5)
    assert image.shape[:2] == (84, 56)
    assert (sprite.low, sprite.high, sprite.limits) == (0, 5, (5, 5, 5, 5, 5))
    table = style.colormap_table("inferno", sheets.LEVELS)
    for index in range(5):
        row, column = divmod(index, 2)
        frame = image[28 * row : 28 * row + 28, 28 * column : 28 * column + 28, :3]
        assert (frame == table[round(251 * (index + 1) / 5)]).all()
    own = sheets.sprite_sheet(-maps, 28, signed=True, shared_scale=False)
    assert (own.low, own.high, own.limits) == (-5, 5, (1, 2, 3, 4, 5))


def test_sheet_of_64_maps_is_fast_and_one_palette_image():
    maps = RNG.random((64, 56, 56), dtype=np.float32)
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        png = sheets.contact_sheet(maps)
        seconds.append(time.perf_counter() - start)
    assert Image.open(io.BytesIO(png)).mode == "P"
    assert sorted(seconds)[0] < 0.06  # about 0.01 on an idle machine


def test_encoders_keep_size_and_colour():
    picture = data.chelsea()
    assert (np.array(Image.open(io.BytesIO(sheets.encode_png(picture)))) == picture).all()
    back = np.array(Image.open(io.BytesIO(sheets.encode_jpeg(picture)))).astype(int)
    assert back.shape == picture.shape
    assert np.abs(back - picture).mean() < 4
