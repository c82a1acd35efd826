"""Hidden pixels show the fill, kept ones the picture, to the last bit: xai.compute.fills and xai.compute.masking."""

import math

import pytest
import torch
from networks import ResidualNet, classifier_of, random_pixels, seeded

from xai.compute.attribution import Attribution
from xai.compute.baselines import BLUR
from xai.compute.fills import FILLS, make_fill
from xai.compute.masking import MaskedPicture, PerPicture, compose, each_picture, paint, read_output
from xai.compute.trace import trace_pixels
from xai.errors import UserError

PIXELS = random_pixels()[0]
SEGMENTS = (torch.arange(16)[:, None] // 8) * 2 + torch.arange(16) // 4 % 2


def test_mean_is_the_colour_of_each_superpixel():
    fill = make_fill(PIXELS, "mean", segments=SEGMENTS)
    for j in range(4):
        for c in range(3):
            expected = PIXELS[c][j == SEGMENTS].double().mean().item()
            assert fill[c][j == SEGMENTS] == pytest.approx(expected, abs=1e-6)
    whole = make_fill(PIXELS, "mean")
    assert torch.allclose(whole, PIXELS.mean((1, 2))[:, None, None].expand(3, 16, 16), atol=1e-6)


def test_blur_is_a_gaussian_over_what_lies_in_the_picture():
    pixels = torch.rand(3, 6, 10)
    sigma, found = BLUR * 6, make_fill(pixels, "blur")
    for y, x in [(0, 0), (3, 5), (5, 9), (2, 8)]:
        weights = torch.tensor(
            [[math.exp(-((v - y) ** 2 + (u - x) ** 2) / (2 * sigma**2)) for u in range(10)] for v in range(6)]
        )
        assert torch.allclose(found[:, y, x], (pixels * weights).sum((1, 2)) / weights.sum(), atol=1e-5)
    flat = torch.full((3, 6, 10), 0.3)
    assert torch.allclose(make_fill(flat, "blur"), flat)


def test_noise_follows_the_seed_and_colours_are_read():
    first, again, other = (make_fill(PIXELS, "noise", seed=seed) for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert first.min() >= 0 and first.max() <= 1 and abs(first.mean() - 0.5) < 0.05
    assert make_fill(PIXELS, "black").abs().max() == 0
    painted = make_fill(PIXELS, "color", color="#ff8000")
    assert torch.allclose(painted[:, 3, 5], torch.tensor([1.0, 128 / 255, 0.0]))
    assert painted.shape == PIXELS.shape
    with pytest.raises(UserError, match=r"#808080, not 'orange'"):
        make_fill(PIXELS, "color", color="orange")
    with pytest.raises(UserError, match=r"Unknown fill 'grey'.*mean, black, blur, noise, color"):
        make_fill(PIXELS, "grey")


@pytest.mark.parametrize("name", FILLS)
def test_masked_pixels_equal_the_fill_and_all_others_the_picture(name):
    fill = make_fill(PIXELS, name, segments=SEGMENTS)
    coalitions = torch.tensor([[True, False, True, False], [False, False, True, True]])
    masked = compose(PIXELS, fill, coalitions[:, SEGMENTS])
    for picture, row in zip(masked, coalitions, strict=True):
        for j, kept in enumerate(row):
            where = j == SEGMENTS
            assert torch.equal(picture[:, where], (PIXELS if kept else fill)[:, where])


def test_soft_masks_mix():
    keep = torch.rand(2, 16, 16)
    fill = make_fill(PIXELS, "blur")
    assert torch.allclose(compose(PIXELS, fill, keep), keep[:, None] * PIXELS + (1 - keep[:, None]) * fill, atol=1e-6)


def test_answers_are_those_of_the_classifier():
    trace = trace_pixels(classifier_of(seeded(ResidualNet)), random_pixels(), [])
    fill = make_fill(PIXELS, "black")
    coalitions = torch.rand(40, 4, generator=torch.Generator().manual_seed(0)) < 0.5
    for output in ("score", "probability"):
        masked = MaskedPicture(trace, PIXELS, fill, (3, 1), output)
        found = torch.cat(list(masked.answers_to_coalitions(SEGMENTS, coalitions)))
        assert found.shape == (40, 2) and found.dtype == torch.float64
        for answer, row in zip(found, coalitions, strict=True):
            scores = trace.score(torch.where(row[SEGMENTS], PIXELS, fill)[None])[0]
            expected = scores.softmax(0) if output == "probability" else scores
            assert torch.allclose(answer.float(), expected[[3, 1]], atol=1e-6)
    with pytest.raises(UserError, match=r"Unknown output 'logit'.*probability, score"):
        read_output(torch.zeros(1, 2), (0,), "logit")


def test_values_are_painted_on_their_superpixels():
    painted = paint(torch.tensor([[1.0, 2.0, 3.0, 4.0], [0.0, 0.0, 0.0, -1.0]], dtype=torch.float64), SEGMENTS)
    assert painted.dtype == torch.float32 and torch.equal(painted[0], SEGMENTS + 1.0)
    assert torch.equal(painted[1], -(SEGMENTS == 3).float())


def test_several_pictures_are_explained_one_by_one():
    trace = trace_pixels(classifier_of(seeded(ResidualNet)), random_pixels(3), [])
    told = []

    def explain_one(pixels, targets, on_progress):
        on_progress(0.5, pixels)
        return Attribution(pixels[:1] * targets[0], targets)

    made = each_picture(trace, [2, 0, 1], explain_one, lambda fraction, partial: told.append((fraction, partial)))
    assert made.maps.shape == (3, 16, 16) and isinstance(made.details, PerPicture)
    assert made.details.each == ((2,), (0,), (1,))
    assert torch.equal(made.maps[2], trace.pixels[2, 0])
    assert told == [(pytest.approx(0.5 / 3), None), (pytest.approx(1.5 / 3), None), (pytest.approx(2.5 / 3), None)]
