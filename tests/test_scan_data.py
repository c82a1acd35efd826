"""Glyphs, neighbours and random views: each against brute force, Pillow or a limiting case."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch
import torch.nn.functional as F
from PIL import ImageOps
from torch import Tensor
from torchvision.transforms import RandomResizedCrop

from xai.scan import operations
from xai.scan.augment import draw, random_views
from xai.scan.cifar100 import SUPERCLASSES
from xai.scan.config import GLYPHS, PLAIN, STRONG, Views
from xai.scan.glyphs import FILLS, KINDS, SHAPES, Glyphs
from xai.scan.neighbours import knn_accuracy, nearest, purity
from xai.scan.pictures import GlyphPictures, PackedPictures, all_pixels

CPU = torch.device("cpu")


def test_glyphs_come_again_from_their_seed_and_differ_between_seeds_and_splits() -> None:
    one, again = Glyphs(30, seed=1), Glyphs(30, seed=1)
    others = [Glyphs(30, seed=2), Glyphs(30, seed=1, split="validation")]
    assert all((one.picture(i) == again.picture(i)).all() for i in (29, 0, 7))
    for other in others:
        assert not any((one.picture(i) == other.picture(i)).all() for i in range(5))


def test_every_kind_of_glyph_is_there_equally_often_and_the_levels_agree() -> None:
    pictures = GlyphPictures(Glyphs(48))
    assert np.bincount(pictures.levels["shape and fill"].labels).tolist() == [2] * len(KINDS)
    for index in range(48):
        glyph = pictures.glyphs.glyph(index)
        said = {level: each.names[each.labels[index]] for level, each in pictures.levels.items()}
        assert said == {
            "family": glyph.family,
            "shape": glyph.shape,
            "fill": glyph.fill,
            "shape and fill": f"{glyph.fill} {glyph.shape}",
        }
        assert {glyph.shape, glyph.fill, glyph.colour} <= set(pictures.words(index))
    assert len(SHAPES) == 8 and len(FILLS) == 3


def test_the_mask_is_where_a_glyph_differs_from_its_background() -> None:
    glyphs = Glyphs(24)
    for index in range(24):
        picture, mask = glyphs.picture(index).astype(float), glyphs.mask(index)
        inside, outside = picture[mask].mean(0), picture[~mask].mean(0)
        distance = [np.abs(picture - colour).sum(2) for colour in (inside, outside)]
        assert ((distance[0] < distance[1]) == mask).mean() > 0.8
        assert 0.05 < mask.mean() < 0.6


def test_nearest_finds_what_sorting_all_cosines_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xai.scan.neighbours._BLOCK", 60)  # several blocks, the last one smaller
    base = F.normalize(torch.randn(23, 6, dtype=torch.float64), dim=1)
    places, cosines = nearest(base[4:14], base, 5, own=4)
    for row in range(10):
        likeness = (base[4 + row] @ base.T).tolist()
        order = sorted((i for i in range(23) if i != 4 + row), key=lambda i: -likeness[i])[:5]
        assert places[row].tolist() == order
        assert cosines[row].tolist() == pytest.approx([likeness[i] for i in order])
    assert nearest(base[:3], base, 2)[0][:, 0].tolist() == [0, 1, 2]  # without `own` a picture is its own nearest


def test_purity_and_vote_count_the_neighbours_labels() -> None:
    indices, labels = np.array([[0, 1, 2], [3, 4, 0]]), np.array([0, 0, 1, 1, 1])
    assert purity(indices, np.array([0, 1]), labels) == pytest.approx(4 / 6)
    cosines = torch.tensor([[0.9, 0.1, 0.1], [0.9, 0.9, 0.9]])
    found = knn_accuracy(torch.from_numpy(indices), cosines, torch.tensor([0, 0]), torch.from_numpy(labels))
    assert found == pytest.approx(0.5)  # the second one's neighbours say 1


@pytest.mark.parametrize("views", [GLYPHS, STRONG])
def test_two_equal_pictures_in_a_batch_get_different_views(views: Views) -> None:
    picture = all_pixels(GlyphPictures(Glyphs(1)))[0]
    made = random_views(picture.expand(16, -1, -1, -1), views, draw((0,), 16, range(16), CPU))
    assert made.shape == (16, 3, 32, 32) and made.min() >= 0 and made.max() <= 1
    assert all((made[i] - made[j]).abs().max() > 0.02 for i in range(16) for j in range(i))


def test_views_follow_from_key_and_place_not_from_the_share_that_a_process_takes() -> None:
    pixels = all_pixels(GlyphPictures(Glyphs(12)))
    whole = random_views(pixels, STRONG, draw((3, 1), 12, range(12), CPU))
    parts = [random_views(pixels[r.start : r.stop], STRONG, draw((3, 1), 12, r, CPU)) for r in (range(5), range(5, 12))]
    torch.testing.assert_close(torch.cat(parts), whole)
    assert (random_views(pixels, STRONG, draw((3, 2), 12, range(12), CPU)) - whole).abs().max() > 0.1


def test_no_augmentation_leaves_pictures_as_they_are() -> None:
    pixels = all_pixels(GlyphPictures(Glyphs(4)))
    made = random_views(pixels, PLAIN, draw((0,), 4, range(4), CPU))
    torch.testing.assert_close(made, pixels.float() / 255)


def test_there_are_random_numbers_for_all_choices_at_once() -> None:
    pixels = torch.randint(0, 255, (4, 3, 16, 16), dtype=torch.uint8)
    made = random_views(pixels, replace(STRONG, operations=10, blur=0.5), draw((0,), 4, range(4), CPU))
    assert made.shape == pixels.shape and made.isfinite().all()


@pytest.mark.parametrize("least", [0.2, 0.6])
def test_cut_outs_that_fit_are_as_large_as_those_of_torchvision(least: float) -> None:
    torch.manual_seed(0)
    drawn = [RandomResizedCrop.get_params(torch.empty(3, 2000, 2000), (least, 1), (3 / 4, 4 / 3)) for _ in range(4000)]
    _, _, high, wide = (torch.tensor(each) / 2000 for each in zip(*drawn, strict=True))
    ramp = torch.arange(0, 256, 4, dtype=torch.uint8).expand(64, 64)
    picture = torch.stack([ramp, ramp.T, ramp]).expand(4000, -1, -1, -1)  # red grows to the right, green downwards

    def areas(fits: bool) -> Tensor:
        views = Views(crop=least, fits=fits, flip=False, jitter_share=0, grey=0)
        made = random_views(picture, views, draw((1,), 4000, range(4000), CPU)) * 255 / 4 / 63
        return (made[:, 0, 32, -1] - made[:, 0, 32, 0]) * (made[:, 1, -1, 32] - made[:, 1, 0, 32])

    places = torch.tensor([0.1, 0.25, 0.5, 0.75, 0.9])
    expected = (wide * high).quantile(places)
    torch.testing.assert_close(areas(True).quantile(places), expected, rtol=0, atol=0.02)
    assert (areas(False).quantile(places) - expected).max() > 0.05


def test_a_flip_mirrors_and_half_a_turn_turns() -> None:
    pixels = all_pixels(GlyphPictures(Glyphs(64)))
    flipped = random_views(pixels, Views(crop=1, jitter_share=0, grey=0), draw((0,), 64, range(64), CPU))
    mirrored = (flipped - pixels.flip(3) / 255).abs().amax((1, 2, 3)) < 1e-5
    same = (flipped - pixels / 255).abs().amax((1, 2, 3)) < 1e-5
    assert (mirrored | same).all() and 16 < int(mirrored.sum()) < 48
    turns = Views(crop=1, flip=False, rotation=180, jitter_share=0, grey=0)
    corners = random_views(pixels, turns, draw((0,), 64, range(64), CPU))
    assert ((corners - pixels / 255).abs().amax((1, 2, 3)) > 0.05).float().mean() > 0.9


def test_grey_views_have_no_colour_and_negatives_turn_light_around() -> None:
    pixels = all_pixels(GlyphPictures(Glyphs(8)))
    grey = random_views(pixels, Views(crop=1, flip=False, jitter_share=0, grey=1), draw((0,), 8, range(8), CPU))
    luma = (pixels / 255 * torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)).sum(1)
    for channel in range(3):
        torch.testing.assert_close(grey[:, channel], luma, atol=1e-5, rtol=0)
    views = Views(crop=1, flip=False, jitter_share=0, grey=0, invert=1)
    torch.testing.assert_close(random_views(pixels, views, draw((0,), 8, range(8), CPU)), 1 - pixels / 255)


@pytest.mark.parametrize(
    ("name", "pillow", "within"),
    [("equalise", ImageOps.equalize, 1), ("autocontrast", ImageOps.autocontrast, 2)],
)
def test_operations_do_what_pillow_does(name: str, pillow, within: int) -> None:
    pixels = all_pixels(GlyphPictures(Glyphs(6)))
    chosen = torch.full((6,), operations.NAMES.index(name))
    made = (operations.apply(pixels / 255, chosen, torch.ones(6)) * 255).round().numpy()
    for picture, ours in zip(pixels, made, strict=True):
        theirs = np.asarray(pillow(PIL.Image.fromarray(picture.permute(1, 2, 0).numpy()))).transpose(2, 0, 1)
        assert np.abs(ours - theirs).max() <= within


def test_each_picture_gets_its_own_operation_and_geometry_leaves_colours() -> None:
    pixels = torch.rand(14, 3, 32, 32) * 0.8
    made = operations.apply(pixels, torch.arange(14), torch.full((14,), 0.5))
    changed = (made - pixels).abs().amax((1, 2, 3)) > 1e-3
    assert changed.tolist() == [name not in operations.NAMES[:6] for name in operations.NAMES]
    for place, name in enumerate(operations.NAMES):
        matrix = operations.geometry(torch.tensor([place]), torch.tensor([0.5]))[0]
        moved = not torch.allclose(matrix, torch.eye(3))
        assert moved == (name in operations.NAMES[1:6])


# Coarse label of each fine class in alphabetical order, as the files of CIFAR-100 hold them.
_COARSE = """
4 1 14 8 0 6 7 7 18 3 3 14 9 18 7 11 3 9 7 11 6 11 5 10 7 6 13 15 3 15 0 11 1 10 12 14 16 9 11 5 5 19 8 8 15 13 14 17 18
10 16 4 17 4 2 0 17 4 18 17 10 3 2 12 12 16 12 1 9 19 2 10 0 1 16 12 9 13 15 13 16 19 2 4 6 19 5 5 8 19 18 1 2 15 6 0 17
8 14 13
"""


def test_classes_of_cifar_100_have_superclasses_beside_them(tmp_path: Path) -> None:
    names = tuple(sorted(name for group in SUPERCLASSES.values() for name in group))
    levels = PackedPictures(tmp_path / "none", "train", names, np.arange(100), names).levels
    assert levels["class"].labels.tolist() == list(range(100))
    assert levels["superclass"].labels.tolist() == [int(each) for each in _COARSE.split()]
    assert [levels["superclass"].names[place] for place in (4, 19)] == ["fruit and vegetables", "vehicles 2"]
    backwards = PackedPictures(tmp_path / "none", "train", names[:2], np.array([99, 0]), names[::-1]).levels
    assert backwards["superclass"].labels.tolist() == [4, 13]  # apple, worm
    assert set(PackedPictures(tmp_path / "none", "train", names, np.arange(100), (*names[1:], "cat")).levels) == {
        "class"
    }
