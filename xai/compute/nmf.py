"""Non-negative matrix factorisation: a matrix of values >= 0 as a sum of few parts, each a column times a row."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from xai.compute.attribution import Progress
from xai.errors import UserError, one_of

OVERSAMPLING, POWER_STEPS = 10, 6  # of the randomised singular value decomposition


@dataclass(frozen=True, eq=False)
class Factors:
    """A factorisation: matrix (P, C) is about left @ right.

    Attributes:
        left: (P, k), >= 0; how much of each part is in each row.
        right: (k, C), >= 0; the parts. Neither has a scale of its own: only the products are determined.
        error: Frobenius norm of what is left over, as a share of that of the matrix, in [0, 1].
        steps: how many were made.
        converged: whether the last step gained less than the tolerance.
    """

    left: Tensor
    right: Tensor
    error: float
    steps: int
    converged: bool


def nmf(
    matrix: Tensor,
    components: int,
    *,
    start: str = "nndsvd",
    seed: int = 0,
    tolerance: float = 1e-7,
    steps: int = 1000,
    on_progress: Progress | None = None,
) -> Factors:
    """Find k parts whose sum is nearest to a matrix in the least squares sense, all numbers >= 0.

    Hierarchical alternating least squares: one column or row after the other is set to its best value, the rest fixed,
    so the squared error never grows. It stops when a step lowers the squared error by less than `tolerance` of the
    matrix's squared norm. The same arguments give the same bits on one kind of machine.

    Args:
        matrix: float64 or float32 (P, C), >= 0.
        components: k, from 1 to min(P, C).
        start: "nndsvd" (from the singular vectors) or "random" (half normal, of the right mean).
        seed: of the start.
        tolerance: see above.
        steps: at most so many.
        on_progress: called after every step with the share of `steps`; the end may come much earlier.

    Returns:
        Factors in the dtype and on the device of the matrix; a matrix of zeros gives zeros and error 0.

    Raises:
        UserError: the number of components or the start is not valid.

    Source: Cichocki and Phan 2009, algorithm 2 (without its scaling); start of Boutsidis and Gallopoulos 2008.
    """
    check_components(components, matrix.shape)
    if start not in STARTS:
        raise one_of("start", start, STARTS)
    matrix = matrix.detach()
    total = float(matrix.square().sum())
    left, right = STARTS[start](matrix, components, torch.Generator().manual_seed(seed))  # (P, k), (k, C)
    squared, step, converged = total, 0, total == 0
    while step < steps and not converged:
        left = _improve(left, matrix @ right.T, right @ right.T)
        product = matrix.T @ left  # (C, k)
        gram = left.T @ left  # (k, k)
        right = _improve(right.T, product, gram).T
        previous = squared
        squared = total - 2 * float((product * right.T).sum()) + float((gram * (right @ right.T)).sum())
        step += 1
        converged = step > 1 and previous - squared <= tolerance * total
        if on_progress:
            on_progress(step / steps, None)
    error = (max(squared, 0.0) / total) ** 0.5 if total else 0.0
    return Factors(left, right.contiguous(), error, step, converged)


def check_components(components: int, shape: tuple[int, ...]) -> None:
    """Raise a UserError unless a matrix of this shape (P, C) can have so many components."""
    if not 1 <= components <= min(shape):
        raise UserError(f"The number of components must be from 1 to {min(shape)} here, not {components}.")


def _improve(factor: Tensor, product: Tensor, gram: Tensor) -> Tensor:
    """Set each column of a factor (P, k) to its best value in turn.

    Args:
        factor: what to improve.
        product: matrix times the other factor, (P, k).
        gram: the other factor times itself, (k, k); a part that is zero there is left alone.
    """
    factor = factor.clone()
    for j, scale in enumerate(gram.diagonal().tolist()):
        if scale > 0:
            factor[:, j] = (factor[:, j] + (product[:, j] - factor @ gram[:, j]) / scale).clamp_min(0)
    return factor


def _random_start(matrix: Tensor, components: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    scale = float(matrix.mean() / components) ** 0.5
    rows, columns = matrix.shape
    left = torch.randn(rows, components, generator=generator, dtype=torch.float64).abs() * scale
    right = torch.randn(components, columns, generator=generator, dtype=torch.float64).abs() * scale
    return left.to(matrix), right.to(matrix)


def _singular_start(matrix: Tensor, components: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Take the positive or the negative half of each pair of singular vectors, whichever is larger together."""
    columns, strength, rows = _leading_vectors(matrix, components, generator)  # (P, k), (k,), (k, C)
    lefts = torch.stack([columns, -columns]).clamp_min(0)  # (P, k) -> (2, P, k)
    rights = torch.stack([rows, -rows]).clamp_min(0)  # (k, C) -> (2, k, C)
    left_norm, right_norm = lefts.norm(dim=1), rights.norm(dim=2)  # (2, k)
    size, half = (left_norm * right_norm).max(0)  # (2, k) -> (k,)
    pick = torch.arange(components, device=matrix.device)
    weight = (strength * size).sqrt()  # (k,)
    left = lefts[half, :, pick] * (weight / left_norm[half, pick].clamp_min(1e-30))[:, None]  # (k, P)
    right = rights[half, pick] * (weight / right_norm[half, pick].clamp_min(1e-30))[:, None]  # (k, C)
    return left.T.contiguous(), right


def _leading_vectors(matrix: Tensor, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Return the first singular vectors and values of a matrix, from a random sketch of its columns.

    Source: Halko, Martinsson and Tropp 2011, algorithm 4.4.
    """
    width = min(count + OVERSAMPLING, *matrix.shape)
    sketch = torch.randn(matrix.shape[1], width, generator=generator, dtype=torch.float64).to(matrix)
    basis = torch.linalg.qr(matrix @ sketch).Q  # (P, width)
    for _ in range(POWER_STEPS):
        basis = torch.linalg.qr(matrix @ torch.linalg.qr(matrix.T @ basis).Q).Q
    columns, strength, rows = torch.linalg.svd(basis.T @ matrix, full_matrices=False)
    return basis @ columns[:, :count], strength[:count], rows[:count]


STARTS: dict[str, Callable[[Tensor, int, torch.Generator], tuple[Tensor, Tensor]]] = {
    "nndsvd": _singular_start,
    "random": _random_start,
}
