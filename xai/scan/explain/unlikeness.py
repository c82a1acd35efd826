"""How unlike the training pictures a picture is: a cluster is found for anything, also for what was never seen."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
NEAREST = 5  # neighbours whose similarity is averaged
UNLIKE = 0.01  # share of training pictures that may be as lonely as a picture that is called unlike them


@dataclass(frozen=True)
class Unlikeness:
    """Where a picture stands among the training pictures.

    Attributes:
        similarity: mean cosine similarity to its nearest training pictures, in [-1, 1].
        lonelier: share of the training pictures that are less similar to their own nearest ones, in [0, 1].
        unlike: whether fewer than one in a hundred is.
    """

    similarity: float
    lonelier: float
    unlike: bool

    @property
    def sentence(self) -> str:
        """Say it in words."""
        told = f"mean similarity {self.similarity:.2f} to its {NEAREST} nearest training pictures"
        if self.unlike:
            return f"Unlike the training pictures ({told}; hardly any of them is so alone): do not trust its cluster."
        return f"Like the training pictures ({told}; {self.lonelier:.0%} of them are more alone)."


def measure_unlikeness(query: Floats, train: Floats, similarities: Floats) -> Unlikeness:
    """Compare a picture's similarity to its nearest training pictures with what is usual among these.

    Args:
        query: float (D,), features of length 1.
        train: float (M, D), of length 1.
        similarities: float (M, K), of the training pictures to their own nearest, themselves left out.

    Source: the distance to the k nearest as score, Sun et al. 2022, arXiv 2204.06507; the percentile is added here.
    """
    nearest = min(NEAREST, len(train), similarities.shape[1])
    own = float(np.partition(train @ query, -nearest)[-nearest:].mean())
    usual = similarities[:, :nearest].astype(np.float64).mean(1)  # (M, K) -> (M,)
    lonelier = float((usual < own).mean())
    return Unlikeness(own, lonelier, lonelier < UNLIKE)
