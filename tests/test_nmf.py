"""The factorisation against scikit-learn's, planted parts and what must always hold: xai.compute.nmf."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment
from sklearn.decomposition import NMF
from sklearn.decomposition._nmf import _initialize_nmf

from xai.compute import nmf as module
from xai.compute.nmf import nmf
from xai.errors import Cancelled, UserError


def planted(rows=60, columns=24, parts=4, noise=0.0, seed=0):
    """Parts with a block of rows and of columns each that no other one touches: the only way to write the matrix."""
    rng = np.random.default_rng(seed)
    left = rng.random((rows, parts)) * (rng.random((rows, parts)) < 0.5)
    right = rng.random((parts, columns)) * (rng.random((parts, columns)) < 0.5)
    for j in range(parts):
        left[3 * j : 3 * j + 3], right[:, 3 * j : 3 * j + 3] = 0, 0
        left[3 * j : 3 * j + 3, j], right[j, 3 * j : 3 * j + 3] = 1, 1
    matrix = left @ right + noise * rng.random((rows, columns))
    return torch.from_numpy(matrix), left, right


def left_over(matrix, left, right):
    return float((matrix - torch.as_tensor(left) @ torch.as_tensor(right)).square().sum())


def cosines(one, other):
    """Match the columns of two arrays and return the cosine of each pair."""
    one, other = (each / np.linalg.norm(each, axis=0) for each in (one, other))
    similarity = one.T @ other
    return similarity[linear_sum_assignment(similarity, maximize=True)]


@pytest.mark.parametrize("components", [1, 3, 6])
@pytest.mark.parametrize("seed", [0, 1])
def test_from_the_same_start_it_ends_where_scikit_learn_ends(components, seed):
    matrix, _, _ = planted(noise=0.5, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    left, right = module._random_start(matrix, components, generator)
    library = NMF(components, init="custom", tol=1e-12, max_iter=5000)
    theirs = library.fit_transform(matrix.numpy(), W=left.numpy().copy(), H=right.numpy().copy())
    found = nmf(matrix, components, start="random", seed=seed, tolerance=1e-14, steps=5000)
    objective = left_over(matrix, found.left, found.right)
    assert objective == pytest.approx(left_over(matrix, theirs, library.components_), rel=1e-3)
    assert found.converged
    np.testing.assert_allclose(found.left @ found.right, theirs @ library.components_, atol=0.02)


@pytest.mark.filterwarnings("ignore:Maximum number of iterations")
@pytest.mark.parametrize("components", [2, 4, 7])
@pytest.mark.parametrize("init", ["nndsvd", "nndsvda"])
def test_with_both_defaults_it_is_within_one_percent_of_scikit_learn_or_better(components, init):
    matrix, _, _ = planted(noise=0.5)
    found, library = nmf(matrix, components), NMF(components, init=init, random_state=0)
    theirs = left_over(matrix, library.fit_transform(matrix.numpy()), library.components_)
    assert found.converged and left_over(matrix, found.left, found.right) <= 1.01 * theirs


def test_the_start_equals_scikit_learns():
    matrix, _, _ = planted(noise=0.02)  # the fifth singular value is far below the fourth
    left, right = module._singular_start(matrix, 4, torch.Generator().manual_seed(0))
    theirs = _initialize_nmf(matrix.numpy(), 4, init="nndsvd", random_state=0)
    np.testing.assert_allclose(left, theirs[0], atol=1e-6)
    np.testing.assert_allclose(right, theirs[1], atol=1e-6)


@pytest.mark.parametrize("start", ["nndsvd", "random"])
def test_planted_parts_are_found_up_to_order_and_scale(start):
    matrix, left, right = planted()
    found = nmf(matrix, 4, start=start, tolerance=1e-14, steps=20000)
    assert found.error < 1e-4
    assert cosines(found.left.numpy(), left).min() > 0.999
    assert cosines(found.right.T.numpy(), right.T).min() > 0.999


def test_error_is_the_share_left_over_and_falls_with_steps_and_components():
    matrix, _, _ = planted(noise=0.5)
    by_steps = [nmf(matrix, 4, start="random", steps=steps, tolerance=0).error for steps in (1, 2, 4, 8, 16, 32, 64)]
    by_components = [nmf(matrix, components).error for components in (1, 2, 4, 8)]
    assert by_steps == sorted(by_steps, reverse=True) and by_steps[0] > by_steps[-1]
    assert by_components == sorted(by_components, reverse=True)
    found = nmf(matrix, 4)
    assert found.error == pytest.approx(
        (left_over(matrix, found.left, found.right) / float(matrix.square().sum())) ** 0.5
    )


@pytest.mark.parametrize("start", ["nndsvd", "random"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_factors_are_not_negative_and_the_same_twice(start, dtype):
    matrix = planted(noise=0.5)[0].to(dtype)
    before, state = matrix.clone(), torch.random.get_rng_state()
    one, other = (nmf(matrix, 5, start=start, seed=3) for _ in range(2))
    assert torch.equal(one.left, other.left) and torch.equal(one.right, other.right)
    assert one.left.shape == (60, 5) and one.right.shape == (5, 24)
    assert one.left.min() >= 0 and one.right.min() >= 0 and one.left.dtype == dtype
    assert torch.equal(matrix, before) and torch.equal(state, torch.random.get_rng_state())


def test_random_starts_differ_by_seed():
    matrix, _, _ = planted(noise=0.5)
    one, other = (nmf(matrix, 5, start="random", seed=seed, steps=3) for seed in (0, 1))
    assert not torch.equal(one.left, other.left)


@pytest.mark.parametrize("start", ["nndsvd", "random"])
def test_empty_and_poor_matrices_give_finite_factors(start):
    zero = nmf(torch.zeros(6, 4, dtype=torch.float64), 2, start=start)
    assert zero.error == 0 and zero.left.abs().max() == 0 and zero.right.abs().max() == 0 and zero.converged
    poor = nmf(torch.outer(torch.arange(6.0), torch.arange(4.0)).double(), 3, start=start)  # of rank one
    assert torch.isfinite(poor.left).all() and torch.isfinite(poor.right).all() and poor.error < 1e-2


@pytest.mark.parametrize("components", [0, 25])
def test_a_number_of_components_that_cannot_be_is_told(components):
    with pytest.raises(UserError, match=f"from 1 to 24 here, not {components}"):
        nmf(planted()[0], components)
    with pytest.raises(UserError, match="nndsvd, random"):
        nmf(planted()[0], 2, start="svd")


def test_progress_is_told_and_can_stop_the_work():
    told = []
    found = nmf(planted(noise=0.5)[0], 3, steps=20, tolerance=0, on_progress=lambda share, _: told.append(share))
    assert told == pytest.approx([step / 20 for step in range(1, 21)]) and found.steps == 20

    def stop(share, partial):
        raise Cancelled

    with pytest.raises(Cancelled):
        nmf(planted()[0], 3, on_progress=stop)
