"""Occlusion, RISE, ablation and KernelSHAP against captum, loops and exact Shapley values."""

import itertools
from functools import cache
from math import ceil, factorial

import numpy as np
import pytest
import torch
from linear import linear_trace, random_weights, shares
from networks import ResidualNet, classifier_of, random_pixels, seeded

from xai.compute.fills import make_fill
from xai.compute.kernel_shap import all_coalitions, draw_pairs, kernel_shap, shapley_kernel, shapley_values
from xai.compute.masking import MaskedPicture
from xai.compute.perturbation import feature_ablation, occlusion
from xai.compute.rise import draw_grids, rise, smooth_masks
from xai.compute.trace import trace_pixels
from xai.errors import Cancelled, UserError

GRID = {"segmenter": "grid", "n_segments": 6}
OPTIONS = {
    occlusion: {"window": 5, "stride": 3},
    feature_ablation: GRID,
    kernel_shap: {"samples": 40, **GRID},
    rise: {"masks": 40, "cells": 4},
}


@pytest.fixture(scope="module")
def trace():
    return trace_pixels(classifier_of(seeded(ResidualNet)), random_pixels(), [])


def probabilities(trace):
    return lambda pixels: trace.score(pixels).softmax(1)


# --- occlusion and ablation ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("window", "stride"), [(5, 3), (4, 4), (6, 1), (7, 5), (16, 16), (99, 50)])
@pytest.mark.parametrize("fill", ["black", "blur"])
def test_occlusion_equals_captum(trace, window, stride, fill):
    from captum.attr import Occlusion

    side = min(window, 16)
    expected = Occlusion(probabilities(trace)).attribute(
        trace.pixels,
        sliding_window_shapes=(3, side, side),
        strides=(3, min(stride, 16), min(stride, 16)),
        baselines=make_fill(trace.pixels[0], fill)[None],
        target=2,
    )
    found = occlusion(trace, [2], window=window, stride=stride, fill=fill).maps[0]
    assert torch.allclose(found, expected[0, 0].float(), atol=1e-6)
    assert found.abs().max() > 1e-4


def test_occlusion_is_the_mean_fall_over_the_squares_that_cover_a_pixel(trace):
    pixels = torch.rand(1, 3, 12, 17, generator=torch.Generator().manual_seed(3))
    trace = trace_pixels(trace.classifier, pixels, [])
    made = occlusion(trace, [4, 1], window=5, stride=3, fill="color", color="#204060", output="score")
    sums, counts = torch.zeros(2, 12, 17), torch.zeros(12, 17)
    whole = trace.score(pixels)[0, [4, 1]]
    tops, lefts = (0, 3, 6, 9), (0, 3, 6, 9, 12)
    assert (made.details.tops, made.details.lefts) == (tops, lefts)
    for (i, top), (j, left) in itertools.product(enumerate(tops), enumerate(lefts)):
        changed = pixels.clone()
        for c, value in enumerate((0x20, 0x40, 0x60)):
            changed[0, c, top : top + 5, left : left + 5] = value / 255
        fall = whole - trace.score(changed)[0, [4, 1]]
        assert torch.allclose(made.details.falls[:, i, j].float(), fall, atol=1e-6)
        sums[:, top : top + 5, left : left + 5] += fall[:, None, None]
        counts[top : top + 5, left : left + 5] += 1
    assert torch.allclose(made.maps, sums / counts, atol=1e-6)


def test_occlusion_leaves_no_pixel_out(trace):
    with pytest.raises(UserError, match=r"stride must be at most window \(4\), not 5"):
        occlusion(trace, [0], window=4, stride=5)
    assert occlusion(trace, [0], window=1, stride=1).maps.isfinite().all()


def test_ablation_equals_captum(trace):
    from captum.attr import FeatureAblation

    smooth = torch.nn.functional.interpolate(random_pixels(1, 4), 16, mode="bilinear")
    trace = trace_pixels(trace.classifier, smooth, [])
    made = feature_ablation(trace, [2, 0], segmenter="slic", n_segments=16)
    segments = made.details.segments
    assert made.details.values.shape[1] > 3
    for k, target in enumerate((2, 0)):
        expected = FeatureAblation(probabilities(trace)).attribute(
            trace.pixels,
            baselines=make_fill(trace.pixels[0], "mean", segments=segments)[None],
            target=target,
            feature_mask=segments[None, None],
        )
        assert torch.allclose(made.maps[k], expected[0, 0].float(), atol=1e-6)


@pytest.mark.parametrize("method", [feature_ablation, kernel_shap])
def test_a_linear_network_gives_the_shares_of_the_superpixels(method):
    weights, pixels = random_weights(), random_pixels()
    details = method(linear_trace(weights, pixels, 0.3), [1, 2], output="score", fill="black", **GRID).details
    expected = shares(weights, pixels[0], torch.zeros(3, 16, 16), details.segments)[[1, 2]]
    assert torch.allclose(details.values, expected, atol=1e-5)


@pytest.mark.parametrize("method", OPTIONS)
def test_only_the_place_that_is_read_lights_up(method):
    """The first class reads the lower left corner, in a picture that is wider than high."""
    pixels = torch.full((1, 3, 12, 24), 0.9)
    weights = torch.zeros(2, 3, 12, 24)
    weights[0, :, 6:, :8] = 0.01
    trace = linear_trace(weights, pixels)
    options = {**OPTIONS[method], "masks": 300} if method is rise else {**OPTIONS[method], "n_segments": 6}
    options = {"window": 4, "stride": 2} if method is occlusion else options
    values = method(trace, [0], fill="black", **options).maps[0]
    inside, outside = values[7:, :7], torch.cat([values[:4].flatten(), values[:, 12:].flatten()])
    if method is rise:
        assert inside.mean() > outside.max()
        return
    assert inside.min() > 0
    assert outside.abs().max() < 1e-6


# --- RISE ------------------------------------------------------------------------------------------------------------


def test_rise_is_the_mean_of_masks_weighted_by_probability():
    pixels = torch.rand(1, 3, 15, 22, generator=torch.Generator().manual_seed(3))
    trace = trace_pixels(classifier_of(seeded(ResidualNet)), pixels, [])
    made = rise(trace, [4, 1], masks=37, cells=4, p=0.3, seed=5, fill="black", centered=False)
    masks = smooth_masks(*draw_grids(37, 4, 0.3, (15, 22), 5), (15, 22))
    expected = torch.zeros(2, 15, 22)
    for mask in masks:
        expected += trace.score(pixels * mask).softmax(1)[0, [4, 1]][:, None, None] * mask
    assert torch.allclose(made.maps, expected / masks.sum(0), atol=1e-5)


def test_rise_of_a_network_that_always_says_the_same_is_even():
    maps = rise(linear_trace(torch.zeros(4, 3, 16, 16), random_pixels()), [0, 2], masks=50, centered=False).maps
    assert torch.allclose(maps, torch.full((2, 16, 16), 0.25), atol=1e-6)


def test_centred_rise_is_what_a_shown_pixel_adds_to_the_mean_over_masks() -> None:
    trace = linear_trace(torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(1)), random_pixels())
    plain, centred = (rise(trace, [0, 2], masks=64, p=0.4, centered=flag).maps for flag in (False, True))
    shift = plain - centred
    assert torch.allclose(shift, shift[:, :1, :1].expand_as(shift), atol=1e-6), "one number for each class"
    assert (centred.amin((1, 2)) < 0).all() and (centred.amax((1, 2)) > 0).all()


def test_masks_are_those_of_the_authors_code():
    """They enlarge with scikit-image to one cell more than the picture and cut at a random place."""
    from skimage.transform import resize

    grids, shifts = draw_grids(6, 5, 0.5, (32, 48), 0)
    found = smooth_masks(grids, shifts, (32, 48))
    cell = np.ceil(np.array([32, 48]) / 5)
    for grid, (y, x), mask in zip(grids.numpy(), shifts.tolist(), found, strict=True):
        assert 0 <= y < cell[0] and 0 <= x < cell[1]
        large = resize(grid, (6 * cell).astype(int), order=1, mode="edge", anti_aliasing=False)
        assert np.allclose(mask, large[y : y + 32, x : x + 48], atol=1e-5)


def test_masks_show_each_pixel_with_probability_p():
    masks = smooth_masks(*draw_grids(3000, 4, 0.3, (20, 20), 1), (20, 20))
    assert masks.min() >= 0 and masks.max() <= 1
    assert (masks.mean(0) - 0.3).abs().max() < 0.04
    _, shifts = draw_grids(3000, 4, 0.3, (20, 24), 1)
    assert (shifts.amin(0).tolist(), shifts.amax(0).tolist()) == ([0, 0], [4, 5])


# --- KernelSHAP ------------------------------------------------------------------------------------------------------


def exact_shapley(game, features):
    """Average what each player adds, over all coalitions, as in the definition."""
    values = np.zeros(features)
    for i in range(features):
        others = [j for j in range(features) if j != i]
        for size in range(features):
            share = factorial(size) * factorial(features - size - 1) / factorial(features)
            for some in itertools.combinations(others, size):
                values[i] += share * (game(frozenset({*some, i})) - game(frozenset(some)))
    return values


@pytest.mark.parametrize("count", [1, 2, 4, 6, 8])
def test_all_coalitions_give_the_exact_shapley_values(trace, count):
    made = kernel_shap(trace, [3, 1], segmenter="grid", n_segments=count, samples=512).details
    features = made.values.shape[1]
    assert made.exact and made.samples == 2**features and made.standard_errors.abs().max() == 0
    fill = make_fill(trace.pixels[0], "mean", segments=made.segments)
    for k, target in enumerate((3, 1)):

        @cache
        def game(coalition, target=target):
            kept = torch.isin(made.segments, torch.tensor(sorted(coalition)))
            return trace.score(torch.where(kept, trace.pixels, fill)).double().softmax(1)[0, target].item()

        assert np.allclose(made.values[k], exact_shapley(game, features), atol=1e-6)


def test_coalitions_are_complete_and_weighted_by_the_kernel():
    coalitions = all_coalitions(5)
    assert len({tuple(row) for row in coalitions.tolist()}) == 32
    assert not coalitions[0].any() and coalitions[1].all()
    for row, weight in zip(coalitions, shapley_kernel(coalitions), strict=True):
        size = int(row.sum())
        ways = factorial(5) / factorial(size) / factorial(5 - size)
        assert weight == pytest.approx(4 / (ways * size * (5 - size)) if 0 < size < 5 else 0)


def test_pairs_are_complements_drawn_by_the_kernel():
    drawn = draw_pairs(20_000, 6, seed=2)
    assert len(drawn) == 20_000 and not drawn[0].any() and drawn[1].all()
    assert torch.equal(drawn[2::2], ~drawn[3::2])
    sizes = drawn[2:].sum(1).bincount(minlength=7).double()
    expected = torch.tensor([0.0, *(1 / (s * (6 - s)) for s in range(1, 6)), 0.0], dtype=torch.float64)
    assert torch.allclose(sizes / sizes.sum(), expected / expected.sum(), atol=0.01)
    assert (drawn[2::2].double().mean(0) - 0.5).abs().max() < 0.02
    assert torch.equal(drawn, draw_pairs(20_000, 6, seed=2))


@pytest.mark.parametrize("samples", [4, 20, 100])
def test_sampled_values_add_up_and_come_near_the_exact_ones(trace, samples):
    exact = kernel_shap(trace, [3, 1], segmenter="grid", n_segments=9, samples=512).details
    some = kernel_shap(trace, [3, 1], segmenter="grid", n_segments=9, samples=samples).details
    assert exact.exact and not some.exact and some.samples == samples
    for details in (exact, some):
        assert details.completeness_gap.abs().max() < 1e-15
        assert torch.allclose(details.values.sum(1), details.outputs - details.base, atol=1e-14)
    if samples == 100:
        assert ((some.values - exact.values).abs() < 4 * some.standard_errors).all()
        assert torch.corrcoef(torch.stack([some.values[0], exact.values[0]]))[0, 1] > 0.9


def test_sampled_values_of_an_additive_game_are_exact():
    coalitions = draw_pairs(60, 10, seed=0)
    worth = torch.arange(20.0, dtype=torch.float64).view(10, 2)
    answers = coalitions.double() @ worth + 5
    values, _ = shapley_values(coalitions, answers, torch.ones(60, dtype=torch.float64))
    assert torch.allclose(values, worth.T, atol=1e-9)


def test_standard_errors_say_how_seeds_differ(trace):
    options = {"segmenter": "grid", "n_segments": 16, "samples": 200}
    made = [kernel_shap(trace, [3, 1], seed=seed, **options).details for seed in range(30)]
    seen = torch.stack([each.values for each in made]).std(0)
    told = torch.stack([each.standard_errors for each in made]).mean(0)
    assert 0.7 < (seen.mean() / told.mean()) < 1.4


def test_captum_comes_near(trace):
    from captum.attr import KernelShap

    exact = kernel_shap(trace, [3], segmenter="grid", n_segments=6, samples=64).details
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        expected = KernelShap(probabilities(trace)).attribute(
            trace.pixels,
            baselines=make_fill(trace.pixels[0], "mean", segments=exact.segments)[None],
            target=3,
            feature_mask=exact.segments[None, None],
            n_samples=3000,
            perturbations_per_eval=100,
            return_input_shape=False,
        )
    assert torch.allclose(exact.values[0].float(), expected[0].float(), atol=0.1 * exact.values.abs().max().item())


# --- contract --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", OPTIONS)
def test_several_classes_and_several_pictures_equal_one_by_one(method):
    classifier = classifier_of(seeded(ResidualNet))
    pixels, targets = random_pixels(3), [4, 0, 2]
    single = trace_pixels(classifier, pixels[:1], [])
    together = method(single, targets, **OPTIONS[method])
    batch = method(trace_pixels(classifier, pixels, []), targets, **OPTIONS[method])
    for i, target in enumerate(targets):
        alone = method(single, [target], **OPTIONS[method])
        assert torch.allclose(together.maps[i], alone.maps[0], rtol=1e-5, atol=1e-8)
        alone = method(trace_pixels(classifier, pixels[i : i + 1], []), [target], **OPTIONS[method])
        assert torch.allclose(batch.maps[i], alone.maps[0], rtol=1e-5, atol=1e-8)
    assert method is rise or len(batch.details.each) == 3


@pytest.mark.parametrize("method", OPTIONS)
def test_maps_are_detached_repeatable_and_follow_the_seed(method, trace):
    state = torch.get_rng_state()
    first, again, other = (method(trace, [1, 3], fill="noise", seed=seed, **OPTIONS[method]) for seed in (1, 1, 2))
    assert first.maps.shape == (2, 16, 16) and first.maps.dtype == torch.float32
    assert not first.maps.requires_grad and first.maps.device.type == "cpu"
    assert torch.equal(first.maps, again.maps) and not torch.equal(first.maps, other.maps)
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("method", OPTIONS)
def test_progress_is_told_with_maps_on_the_way_and_can_stop_the_work(method, trace):
    told = []
    made = method(trace, [1, 3], on_progress=lambda *each: told.append(each), **OPTIONS[method])
    fractions, maps = zip(*told, strict=True)
    assert list(fractions) == sorted(fractions) and fractions[0] > 0 and fractions[-1] == 1
    assert torch.allclose(maps[-1], made.maps, atol=1e-7)

    def stop(fraction, partial):
        raise Cancelled

    with pytest.raises(Cancelled):
        method(trace, [1], on_progress=stop, **OPTIONS[method])


def test_scores_can_be_explained_in_place_of_probabilities(trace):
    for method in (occlusion, feature_ablation, kernel_shap):
        one, other = (method(trace, [1], output=output, **OPTIONS[method]).maps for output in ("score", "probability"))
        assert not torch.allclose(one, other, rtol=0.1)
        with pytest.raises(UserError, match="Unknown output 'logit'"):
            method(trace, [1], output="logit", **OPTIONS[method])


def test_pictures_are_scored_in_small_batches(trace, monkeypatch):
    seen, answers = [], MaskedPicture.answers
    monkeypatch.setattr(MaskedPicture, "answers", lambda self, keep: seen.append(len(keep)) or answers(self, keep))
    for method, options in OPTIONS.items():
        method(trace, [1], **options)
    assert max(seen) == 16 and sum(seen) == 1 + ceil(14 / 3) ** 2 + 1 + 6 + 40 + 40
