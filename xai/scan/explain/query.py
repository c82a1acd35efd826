"""Ask a run about one picture: its clusters at every head, its neighbours, and whether it is like anything seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from xai.io.images import Image, load_image
from xai.scan.explain.counterfactual import Edit, nearest_elsewhere, smallest_edit
from xai.scan.explain.influence import pair_influence, strongest_pairs
from xai.scan.explain.levels import Step, trace_path
from xai.scan.explain.survey import TRAIN, main_heads
from xai.scan.metrics import contingency, match_one_to_one
from xai.scan.query import Answer, query

if TYPE_CHECKING:
    from xai.scan.run import Head, ScanRun


@dataclass(frozen=True, eq=False)
class Story:
    """What there is to tell about one picture in a run.

    Attributes:
        run, image: which.
        found: its clusters, neighbours and unlikeness, as `xai.scan.query` says them.
        features: float32 (D,).
        probabilities: head name to float32 (k,), coarse to fine.
        path: the way through these heads.
    """

    run: ScanRun
    image: Image
    found: Answer
    features: NDArray[np.float32]
    probabilities: dict[str, NDArray[np.float32]]
    path: list[Step]

    def cluster(self, head: str) -> int:
        """Cluster of the picture at a head."""
        return int(self.probabilities[head].argmax())


def tell(run: ScanRun, picture: Any, *, heads: Sequence[Head] | None = None, nearest: int = 10) -> Story:
    """Ask a run about a picture; nothing but this one picture goes through a network.

    Args:
        run: from `open_run`.
        picture: anything `load_image` takes.
        heads: by default the best of each size, coarse to fine.
        nearest: number of neighbours.

    Raises:
        UserError: the picture cannot be read, or there are fewer training pictures.
    """
    image, chosen = load_image(picture), tuple(heads or main_heads(run))
    probabilities = run.assign(image, chosen)
    train = {head.name: run.assigned(head, TRAIN) for head in chosen}
    return Story(
        run=run,
        image=image,
        found=query(run, image, heads=chosen, count=nearest),
        features=run.embed(image),
        probabilities=probabilities,
        path=trace_path(probabilities, train, [head.clusters for head in chosen]),
    )


def count_votes(story: Story, head: Head) -> tuple[int, int]:
    """Count the other replicas of a head that put the picture into the corresponding cluster: agreeing, all.

    Clusters of two replicas correspond as they match one to one on the training pictures.
    """
    run, own = story.run, story.cluster(head.name)
    others = [each for each in run.heads if each.clusters == head.clusters and each.name != head.name]
    found = run.assign(story.image, others) if others else {}
    agree = 0
    for other in others:
        table = contingency(run.assigned(head, TRAIN), run.assigned(other, TRAIN), head.clusters, head.clusters)
        agree += int(match_one_to_one(table)[own] == found[other.name].argmax())
    return agree, len(others)


Pair = tuple[int, int, float]


def find_pairs(story: Story, head: Head, count: int = 6) -> tuple[list[Pair], list[Pair]]:
    """List the mined pairs of training pictures that, in one step, raise or lower the picture's cluster most.

    The likeness of pictures is measured by the features in which neighbours were looked for, and the assignments are
    those after training: what is listed is who holds the picture in its cluster now; see `pair_influence`.

    Returns:
        Pairs that raise and pairs that lower: (picture, neighbour, influence).
    """
    run, cluster = story.run, story.cluster(head.name)
    indices, _ = run.neighbours(TRAIN)
    found = pair_influence(story.features, cluster, run.features(TRAIN), indices, [run.probabilities(head, TRAIN)])
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


def find_counterfactual(story: Story, head: Head) -> Counterfactual | None:
    """Find what would put a picture into another cluster; None if all training pictures lie in its own."""
    run, own = story.run, story.cluster(head.name)
    train, clusters = run.features(TRAIN), run.assigned(head, TRAIN)
    found = nearest_elsewhere(story.features, train, clusters, own, 1)
    if not len(found):
        return None
    place = int(found[0])
    donor = run.prepare(run.pictures(TRAIN)[place])[0]
    edit = smallest_edit(partial(_score, run, head), run.prepare(story.image)[0], donor)
    return Counterfactual(place, int(clusters[place]), float(train[place] @ story.features), edit)


def _score(run: ScanRun, head: Head, pixels: torch.Tensor) -> torch.Tensor:
    return run.network(head)(run.normalise(pixels))
