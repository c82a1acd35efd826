"""How many clusters? Heads of many sizes on the same cached features, compared without labels."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from sklearn.metrics import adjusted_mutual_info_score, silhouette_score
from torch import Tensor

from xai.errors import UserError
from xai.scan.config import Group, HeadTraining
from xai.scan.heads import HeadStage, cache_views
from xai.scan.run import read_pretext
from xai.scan.scene import Scene, open_scene
from xai.scan.store import RunStore
from xai.scan.usage import choose_head
from xai.training.batches import Progress
from xai.training.distributed import Processes

_SILHOUETTE = 2000  # pictures at most: the cost grows with the square
NUMBER = 50  # of the group, in the keys of random choices: no group of a run has it


@dataclass(frozen=True)
class Candidate:
    """What is known about a number of clusters without labels; every value is of held-out pictures.

    Attributes:
        clusters: k.
        score: of the chosen replica (`choose_head`); see `held_out_score`, less is better.
        entropy: of the mean assignment, as a share of ln k: far below 1, there are more clusters than the data has.
        used: clusters that hold a picture.
        stability: mean adjusted mutual information between replicas, 1 where all agree.
        silhouette: of the chosen replica, in the features of the pretext task.
        code_length: bits to tell the clusters of a picture's neighbour when its own is known; less is better.
        information: bits that both share; where it stops growing, more clusters only cut at random.
    """

    clusters: int
    score: float
    entropy: float
    used: int
    stability: float
    silhouette: float
    code_length: float
    information: float


def choose_k(
    folder: Path, sizes: Sequence[int], *, replicas: int = 3, epochs: int = 60, on_progress: Progress | None = None
) -> list[Candidate]:
    """Train heads of many sizes on the features of a run, and measure them; nothing is written.

    Raises:
        UserError: the run is not that far yet, or fewer than two replicas are asked for.
    """
    if replicas < 2:
        raise UserError(f"Stability needs at least 2 replicas, not {replicas}.")
    store = RunStore.open(folder)
    scene = open_scene(store, torch.device("cpu"), Processes())
    base = store.config.groups[0].training if store.config.groups else HeadTraining()
    plan = HeadTraining(**{**base.__dict__, "epochs": epochs, "batch": min(base.batch, len(scene.train))})
    group = Group(tag="choose", heads=tuple(sizes), replicas=replicas, training=plan)
    tell = on_progress or (lambda fraction, sentence: None)
    backbone = read_pretext(store).backbone
    views = cache_views(scene, backbone, plan, NUMBER, lambda f, text: tell(0.5 * f, text))
    near = store.read("neighbours")
    held_near = near["validation/indices"].long()
    plain = scene.outputs(backbone, scene.validation).half()
    stage = HeadStage(scene, group, NUMBER, views, plain, near["train/indices"].long(), held_near)
    for epoch in range(epochs):
        for step in range(stage.steps):
            stage.step(epoch, step)
        tell(0.5 + 0.5 * (epoch + 1) / epochs, f"epoch {epoch + 1} of {epochs}")
    return _measured(scene, stage, held_near)


def _measured(scene: Scene, stage: HeadStage, held_near: Tensor) -> list[Candidate]:
    features = scene.store.read("features")["validation"].float().numpy()
    found = []
    for scores, measured in zip(*stage.measured(), strict=True):
        assigned = scores.argmax(2)  # (N, R)
        chosen, clusters = choose_head(measured, assigned), assigned.numpy()
        pairs = itertools.combinations(range(clusters.shape[1]), 2)
        shares = np.array(measured[chosen].shares)
        nats = measured[chosen].information * math.log(scores.shape[2])
        spread = float(-(shares[shares > 0] * np.log(shares[shares > 0])).sum())
        found.append(
            Candidate(
                clusters=scores.shape[2],
                score=measured[chosen].score,
                entropy=spread / math.log(scores.shape[2]),
                used=measured[chosen].used,
                stability=float(
                    np.mean([adjusted_mutual_info_score(clusters[:, a], clusters[:, b]) for a, b in pairs])
                ),
                silhouette=_silhouette(features, clusters[:, chosen]),
                code_length=(spread - nats) / math.log(2),
                information=nats / math.log(2),
            )
        )
    return found


def _silhouette(features: np.ndarray, clusters: np.ndarray) -> float:
    kept = slice(0, _SILHOUETTE)
    different = len(set(clusters[kept].tolist()))
    if not 2 <= different < len(clusters[kept]):
        return math.nan
    return float(silhouette_score(features[kept], clusters[kept], metric="cosine"))
