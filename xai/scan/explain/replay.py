"""How clusters grew, shrank and died while a run was trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

DEAD = 0.002  # share of the pictures under which a cluster counts as dead


@dataclass(frozen=True, eq=False)
class Replay:
    """The sizes of one head's clusters over training.

    Attributes:
        moments: stage and epoch of each row.
        shares: float64 (E, k), share of the pictures in each cluster, rows sum to 1.
        moved: float64 (E - 1,), least share of the pictures that must have changed cluster since the row before: half
            the sum of |changes|; pictures that changed places with each other do not show.
    """

    moments: tuple[tuple[str, int], ...]
    shares: NDArray[np.float64]
    moved: NDArray[np.float64]

    def deaths(self) -> dict[int, tuple[str, int]]:
        """Say when each cluster that is dead in the end died: the first row from which on it stayed empty."""
        dead = self.shares < DEAD  # (E, k)
        found = {}
        for cluster in np.flatnonzero(dead[-1]) if len(dead) else ():
            alive = np.flatnonzero(~dead[:, cluster])
            found[int(cluster)] = self.moments[int(alive[-1]) + 1 if len(alive) else 0]
        return found


def replay(history: Sequence[Mapping[str, Any]], head: str) -> Replay | None:
    """Read the sizes of a head's clusters from the history of a run; None where none were kept.

    Args:
        history: rows with "stage", "epoch" and, in the stages that train heads, "usage": head name to shares.
        head: name.
    """
    rows = [row for row in history if head in (row.get("usage") or {})]
    if not rows:
        return None
    shares = np.array([row["usage"][head] for row in rows], float)
    shares /= np.maximum(shares.sum(1, keepdims=True), 1e-12)
    moved = np.abs(np.diff(shares, axis=0)).sum(1) / 2
    return Replay(tuple((str(row["stage"]), int(row["epoch"])) for row in rows), shares, moved)
