"""Everything a person asks about the clusters of one head, gathered from a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from xai.errors import UserError
from xai.explanation import explain_batch
from xai.scan.evaluation import Evaluation, Neighbours, evaluate
from xai.scan.explain.levels import Flow, measure_flow
from xai.scan.explain.maps import CLUSTER_CAM, map_options
from xai.scan.explain.members import Members, rank_members
from xai.scan.explain.pointing import Pointing, measure_pointing
from xai.scan.explain.stability import Stability, measure_stability
from xai.scan.words import Terms, Word, clip_terms, count_terms, match_tags, name_clusters, read_tags, words_of_name

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from xai.scan.run import Head, ScanRun

SPACE = "features in which neighbours were looked for, cosine distance"
BATCH = 50  # pictures that are explained together
TRAIN = "train"  # the split that neighbours point into, and that galleries show


def find_terms(run: ScanRun, tags: str | None = None) -> Terms | None:
    """Find words for the training pictures: from a table of tags, else what is known of them, else their names.

    Args:
        run: whose pictures.
        tags: path of a CSV table, see `words.read_tags`.

    Returns:
        None where no picture has a word.

    Raises:
        UserError: the table cannot be read, or names none of the pictures.
    """
    pictures = run.pictures(TRAIN)
    if tags is not None:
        words: Sequence[Sequence[str]] = match_tags(pictures.names, read_tags(tags))
        if not any(words):
            raise UserError(f"None of the files that '{tags}' names is among the training pictures.")
        return count_terms(words, f"tags of {tags}")
    known = [pictures.words(index) for index in range(len(pictures))]
    if any(known):
        return count_terms(known, "attributes of the pictures")
    named = [sorted(set(words_of_name(name))) for name in pictures.names]
    return count_terms(named, "names of files and folders") if any(named) else None


def find_clip_terms(
    run: ScanRun,
    names: Sequence[str],
    weights: str,
    *,
    model: str = "ViT-B-32",
    region_of: Head | None = None,
    on_progress: Callable[[float], None] | None = None,
) -> Terms:
    """Let CLIP choose among terms for the training pictures.

    Args:
        run: whose pictures.
        names: the terms.
        weights, model: of CLIP, see `words.clip_terms`.
        region_of: a head: CLIP sees each picture dimmed where the map of its cluster is weak, so that the words are
            about what made the cluster.
        on_progress: called with the fraction done.
    """
    pictures = run.pictures(TRAIN)
    shown = [pictures[place] for place in range(len(pictures))]
    maps = None if region_of is None else _maps(run, region_of, shown, CLUSTER_CAM, None, 0)
    return clip_terms(shown, names, weights=weights, model=model, maps=maps, on_progress=on_progress)


def _maps(
    run: ScanRun, head: Head, pictures: Sequence[NDArray[np.uint8]], method: str, layer: str | None, seed: int
) -> list[NDArray[np.float32]]:
    """Map the cluster that each picture lies in, in batches: float32 (h, w) each."""
    found: list[NDArray[np.float32]] = []
    options = map_options(run, method)
    for first in range(0, len(pictures), BATCH):
        batch = pictures[first : first + BATCH]
        made = explain_batch(run.model(head), batch, method, layer=layer, seed=seed, **options)
        found += [each.map[0] for each in made]
    return found


@dataclass(frozen=True, eq=False)
class Survey:
    """The clusters of one head over the training pictures; what costs something is worked out when it is asked for.

    Attributes:
        run, head: which.
        terms: words of the pictures, or None.
    """

    run: ScanRun
    head: Head
    terms: Terms | None = None

    @cached_property
    def probabilities(self) -> NDArray[np.float32]:
        """Float32 (N, k)."""
        return self.run.probabilities(self.head, TRAIN)

    @cached_property
    def clusters(self) -> NDArray[np.int64]:
        """Int64 (N,)."""
        return self.probabilities.argmax(1)

    @cached_property
    def evaluation(self) -> Evaluation:
        """Sizes, confidence, silhouette and, with labels, agreement."""
        return self.measure(TRAIN)

    def measure(self, split: str, level: str | None = None) -> Evaluation:
        """Evaluate the head on a split.

        Args:
            split: "train" or "validation".
            level: granularity of the labels; None: the one with most like as many labels as there are clusters.
        """
        pictures, train = self.run.pictures(split), self.run.pictures(TRAIN)
        name = level or self.level
        labels = pictures.levels[name] if name else None
        indices, _ = self.run.neighbours(split)
        return evaluate(
            self.run.probabilities(self.head, split),
            classes=labels.labels if labels else None,
            class_names=labels.names if labels else (),
            features=self.run.features(split),
            space=SPACE,
            neighbours=Neighbours(indices, self.clusters, train.levels[name].labels if name else None),
        )

    @cached_property
    def level(self) -> str | None:
        """The granularity of the labels whose number is nearest to the number of clusters; None without labels."""
        levels = self.run.pictures(TRAIN).levels
        return min(levels, key=lambda name: abs(len(levels[name].names) - self.head.clusters), default=None)

    @cached_property
    def words(self) -> list[list[Word]]:
        """Words of each cluster, the most telling first; empty lists without terms."""
        if self.terms is None:
            return [[] for _ in range(self.head.clusters)]
        return name_clusters(self.terms, self.clusters, self.head.clusters)

    def title(self, cluster: int, most: int = 2) -> str:
        """Name a cluster by its number and its most telling words."""
        words = [word.term for word in self.words[cluster][:most]]
        return f"Cluster {cluster}: {', '.join(words)}" if words else f"Cluster {cluster}"

    def members(self, cluster: int, most: int = 24) -> Members:
        """Prototypes, borderline pictures and outliers of a cluster.

        Raises:
            UserError: there is no such cluster.
        """
        check_cluster(self.head, cluster)
        indices, similarities = self.run.neighbours(TRAIN)
        return rank_members(self.probabilities, self.run.features(TRAIN), indices, similarities, cluster, most)

    @cached_property
    def stability(self) -> Stability:
        """How far the other replicas of this size agree."""
        others = [
            self.run.assigned(other, TRAIN)
            for other in self.run.heads
            if other.clusters == self.head.clusters and other.name != self.head.name
        ]
        return measure_stability(self.clusters, others, self.head.clusters)


def check_cluster(head: Head, cluster: int) -> int:
    """Return the cluster, or say which ones there are."""
    if not 0 <= cluster < head.clusters:
        raise UserError(f"Unknown cluster {cluster}; head {head.name} has clusters 0 to {head.clusters - 1}.")
    return cluster


def main_heads(run: ScanRun) -> list[Head]:
    """The best head of each size, coarse to fine."""
    return sorted((head for head in run.heads if head.replica == 0), key=lambda head: head.clusters)


def measure_flows(run: ScanRun, heads: Sequence[Head] | None = None) -> Mapping[tuple[str, str], Flow]:
    """Count how the clusters of each head flow into those of the next: by names of both heads, coarse to fine."""
    chosen = list(heads or main_heads(run))
    clusters = {head.name: run.assigned(head, TRAIN) for head in chosen}
    return {
        (a.name, b.name): measure_flow(clusters[a.name], clusters[b.name], a.clusters, b.clusters)
        for a, b in pairwise(chosen)
    }


def point_at_objects(
    run: ScanRun,
    head: Head,
    method: str = CLUSTER_CAM,
    *,
    count: int = 200,
    layer: str | None = None,
    split: str = "validation",
    seed: int = 0,
) -> Pointing | None:
    """Play the pointing game with maps of the cluster that each picture lies in; None where masks are not known.

    Args:
        run, head: which.
        method: of the registry.
        count: pictures, from the first on.
        layer: name of a layer, by default the model's.
        split: "train" or "validation".
        seed: of methods that draw random numbers.
    """
    pictures = run.pictures(split)
    places = range(min(count, len(pictures)))
    masks = [pictures.masks(place) for place in places]
    if not places or any(mask is None for mask in masks):
        return None
    maps = _maps(run, head, [pictures[place] for place in places], method, layer, seed)
    return measure_pointing(np.stack(maps), np.stack([mask for mask in masks if mask is not None]))
