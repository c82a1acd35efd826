"""Agreement of maps: against scipy and plain loops, and in limiting cases."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats

from xai.metrics.agreement import MEASURES, agreement_matrix, rank_correlation, structure, top_overlap


@pytest.fixture
def maps() -> list[np.ndarray]:
    generator = np.random.default_rng(0)
    return [np.round(generator.normal(size=(12, 9)), 1).astype(np.float32) for _ in range(3)]  # rounded: ties


def test_rank_correlation_is_spearmans_with_ties(maps: list[np.ndarray]) -> None:
    expected = scipy.stats.spearmanr(maps[0].ravel(), maps[1].ravel()).statistic
    assert rank_correlation(maps[0], maps[1]) == pytest.approx(expected, abs=1e-12)
    assert rank_correlation(maps[0], np.exp(3 * maps[0])) == pytest.approx(1)  # only the order counts
    assert rank_correlation(maps[0], -maps[0]) == pytest.approx(-1)
    assert math.isnan(rank_correlation(maps[0], np.zeros((12, 9))))


def test_overlap_counts_the_strongest_places(maps: list[np.ndarray]) -> None:
    generator = np.random.default_rng(1)
    first, second = generator.permutation(100).reshape(10, 10), generator.permutation(100).reshape(10, 10)
    a, b = ({int(i) for i in np.argsort(-values.ravel())[:10]} for values in (first, second))
    assert top_overlap(first, second) == pytest.approx(len(a & b) / len(a | b))
    assert top_overlap(first, first) == 1
    corner, other = np.zeros((10, 10)), np.zeros((10, 10))
    corner[:2, :5] = other[8:, 5:] = 1
    assert top_overlap(corner, other) == 0 and top_overlap(corner, -corner) < 0.2
    assert math.isnan(top_overlap(np.zeros((4, 4)), np.zeros((4, 4)))), "a constant map has no strongest places"


def test_structure_sees_places_and_signs_but_not_units(maps: list[np.ndarray]) -> None:
    assert structure(maps[0], 1000 * maps[0]) == pytest.approx(1)
    assert structure(maps[0], -maps[0]) < -0.5
    assert structure(maps[0], np.roll(maps[0], 4, axis=1)) < 0.5
    assert structure(np.eye(3), np.eye(3)) == pytest.approx(1)


def test_matrix_is_symmetric_with_ones_on_the_diagonal(maps: list[np.ndarray]) -> None:
    for measure in MEASURES.values():
        matrix = agreement_matrix(maps, measure)
        assert matrix.shape == (3, 3) and np.array_equal(matrix, matrix.T)
        assert np.diag(matrix) == pytest.approx(1)
        assert matrix[0, 2] == measure(maps[2], maps[0])


def test_maps_of_two_sizes_are_a_bug() -> None:
    for measure in MEASURES.values():
        with pytest.raises(ValueError, match="one size"):
            measure(np.zeros((4, 4)), np.zeros((4, 5)))
