"""Ask a run about one picture: its clusters at every head, its neighbours, and whether it is like anything seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from xai.io.images import Image, load_image
from xai.scan.explain.counterfactual import Edit, nearest_elsewhere, smallest_edit
from xai.scan.explain.influence import pair_influence, strongest_pairs
from xai.scan.explain.levels import Step, trace_path
from xai.scan.explain.survey import TRAIN, main_heads
from xai.scan.explain.unlikeness import Unlikeness, measure_unlikeness

if TYPE_CHECKING:
    from xai.scan.run import Head, ScanRun


@dataclass(frozen=True, eq=False)
class Answer:
    """What a run says about one picture.

    Attributes:
        run, image: which.
        features: float32 (D,).
        probabilities: head name to float32 (k,), coarse to fine.
        path: the way through these heads.
        neighbours: int64 (n,), nearest training pictures, nearest first.
        similarities: float32 (n,), their cosines.
        unlikeness: whether it is like the training pictures at all.
    """

    run: ScanRun
    image: Image
    features: NDArray[np.float32]
    probabilities: dict[str, NDArray[np.float32]]
    path: list[Step]
    neighbours: NDArray[np.int64]
    similarities: NDArray[np.float32]
    unlikeness: Unlikeness

    def cluster(self, head: str) -> int:
        """Cluster of the picture at a head."""
        return int(self.probabilities[head].argmax())


def ask(run: ScanRun, image: Any, *, heads: Sequence[Head] | None = None, nearest: int = 10) -> Answer:
    """Ask a run about a picture; nothing but this one picture goes through a network.

    Args:
        run: from `open_run`.
        image: anything `load_image` takes.
        heads: by default the best of each size.
        nearest: number of neighbours.

    Raises:
        UserError: the picture cannot be read.
    """
    loaded = load_image(image)
    chosen = list(heads or main_heads(run))
    features, train = run.embed(loaded), run.features(TRAIN)
    alike = train @ features
    order = np.argsort(-alike, kind="stable")[:nearest]
    pixels = run.normalise(run.prepare(loaded))
    probabilities = {}
    with torch.inference_mode():
        for head in chosen:
            probabilities[head.name] = F.softmax(run.network(head)(pixels), 1)[0].numpy()
    clusters = {head.name: run.probabilities(head, TRAIN).argmax(1) for head in chosen}
    return Answer(
        run=run,
        image=loaded,
        features=features,
        probabilities=probabilities,
        path=trace_path(probabilities, clusters, [head.clusters for head in chosen]),
        neighbours=order,
        similarities=alike[order],
        unlikeness=measure_unlikeness(features, train, run.neighbours(TRAIN)[1]),
    )


Pair = tuple[int, int, float]


def find_pairs(answer: Answer, head: Head, count: int = 6) -> tuple[list[Pair], list[Pair]]:
    """List the mined pairs of training pictures that, in one step, raise or lower the picture's cluster most.

    The likeness of pictures is measured by the features in which neighbours were looked for, and the assignments are
    those after training: what is listed is who holds the picture in its cluster now; see `pair_influence`.

    Returns:
        Pairs that raise and pairs that lower: (picture, neighbour, influence).
    """
    run, cluster = answer.run, answer.cluster(head.name)
    indices, _ = run.neighbours(TRAIN)
    found = pair_influence(answer.features, cluster, run.features(TRAIN), indices, [run.probabilities(head, TRAIN)])
    return strongest_pairs(found, indices, count)


@dataclass(frozen=True, eq=False)
class Counterfactual:
    """The nearest training picture of another cluster, and the smallest edit towards it that was found.

    Attributes:
        neighbour, neighbour_cluster, similarity: which picture, its cluster, its cosine.
        edit: cells of the picture replaced by those of the neighbour, at working size.
    """

    neighbour: int
    neighbour_cluster: int
    similarity: float
    edit: Edit


def find_counterfactual(answer: Answer, head: Head) -> Counterfactual | None:
    """Find what would put a picture into another cluster; None if all training pictures lie in its own."""
    run, own = answer.run, answer.cluster(head.name)
    train, clusters = run.features(TRAIN), run.probabilities(head, TRAIN).argmax(1)
    found = nearest_elsewhere(answer.features, train, clusters, own, 1)
    if not len(found):
        return None
    place = int(found[0])
    donor = run.prepare(run.pictures(TRAIN)[place])[0]
    edit = smallest_edit(partial(_score, run, head), run.prepare(answer.image)[0], donor)
    return Counterfactual(place, int(clusters[place]), float(train[place] @ answer.features), edit)


def _score(run: ScanRun, head: Head, pixels: torch.Tensor) -> torch.Tensor:
    return run.network(head)(run.normalise(pixels))
