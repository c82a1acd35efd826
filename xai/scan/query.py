"""Ask a run about one picture: its clusters, its neighbours, and whether it is like the training pictures at all."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from xai.errors import UserError
from xai.io.images import Image, load_image
from xai.scan.explain.unlikeness import Unlikeness, measure_unlikeness
from xai.scan.run import Head, ScanRun


@dataclass(frozen=True)
class HeadAnswer:
    """What one head says.

    Attributes:
        head: which.
        cluster, probability: the most probable cluster.
        second, second_probability: the one after it.
        shared: share of the picture's neighbours that lie in the same cluster.
    """

    head: Head
    cluster: int
    probability: float
    second: int
    second_probability: float
    shared: float


@dataclass(frozen=True, eq=False)
class Answer:
    """What a run says about one picture.

    Attributes:
        name: of the picture.
        heads: answers, in the order asked.
        neighbours: nearest training pictures, int64 (K,), nearest first.
        similarities: their cosines, float32 (K,).
        names: of the neighbours.
        labels: of the neighbours, where known; for reading only.
        unlikeness: where the picture stands among the training pictures.
        seconds: for all this, with the networks loaded.
    """

    name: str
    heads: tuple[HeadAnswer, ...]
    neighbours: np.ndarray
    similarities: np.ndarray
    names: tuple[str, ...]
    labels: tuple[str, ...]
    unlikeness: Unlikeness
    seconds: float


def query(run: ScanRun, picture: Image | np.ndarray, *, heads: Sequence[Head] | None = None, count: int = 10) -> Answer:
    """Find clusters and neighbours of one picture; only this picture goes through the networks.

    Args:
        run: with trained heads.
        picture: of any size; uint8 (h, w, 3) or an `Image`.
        heads: by default the best of each size.
        count: K, neighbours to find.

    Raises:
        UserError: `count` is larger than the number of training pictures.
    """
    features = run.features("train")
    if not 1 <= count <= len(features):
        raise UserError(f"The run has {len(features)} training pictures; ask for 1 to {len(features)}, not {count}.")
    chosen = tuple(heads) if heads is not None else tuple(head for head in run.heads if head.replica == 0)
    image = load_image(picture)
    begun = time.perf_counter()
    own = run.embed(image)
    likeness = features @ own  # (N,)
    nearest = np.argpartition(-likeness, count - 1)[:count]
    nearest = nearest[np.argsort(-likeness[nearest], kind="stable")]
    found = run.assign(image, chosen)
    answers = tuple(_answer(run, head, found[head.name], nearest) for head in chosen)
    unlikeness = measure_unlikeness(own, features, run.neighbours("train")[1])
    seconds = time.perf_counter() - begun
    pictures = run.pictures("train")
    labels = pictures.labels
    return Answer(
        name=image.name,
        heads=answers,
        neighbours=nearest,
        similarities=likeness[nearest],
        names=tuple(pictures.names[place] for place in nearest),
        labels=() if labels is None else tuple(pictures.label_names[labels[place]] for place in nearest),
        unlikeness=unlikeness,
        seconds=seconds,
    )


def _answer(run: ScanRun, head: Head, probabilities: np.ndarray, nearest: np.ndarray) -> HeadAnswer:
    first, second = np.argsort(-probabilities, kind="stable")[:2]
    around = run.assigned(head, "train")[nearest]
    return HeadAnswer(
        head=head,
        cluster=int(first),
        probability=float(probabilities[first]),
        second=int(second),
        second_probability=float(probabilities[second]),
        shared=float((around == first).mean()),
    )
