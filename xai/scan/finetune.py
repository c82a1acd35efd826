"""Network and heads together: the SCAN loss on random views of pixels; the best epoch is kept."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from xai.scan.config import FineTuning, Group
from xai.scan.device import moved
from xai.scan.heads import HeadObjective, reorder_history
from xai.scan.nets import HeadBank
from xai.scan.scene import Scene, follow_schedule, make_adam
from xai.scan.usage import HeadMeasures, as_row, lowest_score, measure_heads

STAGE = 3  # in the keys of random choices; each group adds its number


class ClusterNetwork(nn.Module):
    """Backbone and bank of heads: normalised pixels (N, 3, h, w) to all logits side by side (N, R * sum of k)."""

    def __init__(self, backbone: nn.Module, heads: HeadBank) -> None:
        super().__init__()
        self.backbone, self.heads = backbone, heads

    def forward(self, pixels: Tensor) -> Tensor:
        """Score every cluster of every head."""
        return self.heads.linear(self.backbone(pixels))

    def answers(self, scene: Scene) -> tuple[list[Tensor], list[Tensor]]:
        """Logits (N, R, k) of each size for held-out and for training pictures; in eval mode from here on."""
        self.eval()
        scene.processes.agree(self)
        held_out, train = (self.heads.split(scene.outputs(self, p)) for p in (scene.validation, scene.train))
        return held_out, train

    def settled(self, scene: Scene) -> ClusterNetwork:
        """Copy the network, with the batch norms of plain pictures where the run wants that, in eval mode.

        In training they are those of strong views. A teacher that meets plain pictures with them calls some clusters
        too often, and teaches that (cf. "precise" batch norm, Wu and Johnson 2021).
        """
        made = copy.deepcopy(self)
        if scene.config.settle:
            scene.settle_norms(made)
        return made.eval()

    def measure(self, scene: Scene, neighbours: Tensor) -> list[list[HeadMeasures]]:
        """Measures of every head on held-out pictures; in eval mode from here on."""
        return measure_heads(*self.answers(scene), neighbours, scene.labels)


class FineTuneStage:
    """SCAN on pixels as a stage of the loop.

    Attributes:
        kept: network of the best epoch by `lowest_score`; with a gate the start counts as one.
    """

    def __init__(
        self,
        scene: Scene,
        group: Group,
        number: int,
        network: ClusterNetwork,
        near: Tensor,
        held_near: Tensor,
    ) -> None:
        assert group.finetune is not None
        self.scene, self.group, self.number = scene, group, number
        self.plan: FineTuning = group.finetune
        self.name = f"finetune-{group.tag}"
        self._near, self._held_near = near, held_near
        self.network = scene.ready(network.requires_grad_(True))
        self.epochs, self.steps = self.plan.epochs, scene.steps(self.plan.batch)
        self._called = scene.processes.wrapped(self.network, scene.device, 2 * self.epochs * len(scene.train))
        self.objective = HeadObjective(network.heads, self.plan.entropy, self.plan.memory).to(scene.device)
        self.kept = copy.deepcopy(self.network).eval()
        self._best: list[list[HeadMeasures]] | None = None  # of `kept`
        self.modules = {"network": self.network, "objective": self.objective, "kept": self.kept}
        self.optimizer = make_adam([self.network], self.plan.rate, self.plan.decay)

    def open(self, epoch: int) -> None:
        """Train."""
        self.network.train()

    def step(self, epoch: int, step: int) -> Mapping[str, Tensor]:
        """Let pictures and one neighbour of each agree."""
        scene, plan = self.scene, self.plan
        self.network.train()
        follow_schedule(self.optimizer, plan, epoch * self.steps + step, self.epochs * self.steps)
        batch = scene.batch(STAGE + 10 * self.number, epoch, step, plan.batch)
        drawn = np.random.default_rng((*batch.key, 7)).integers(0, self._near.shape[1], batch.total)
        chosen = moved(drawn[batch.rows.start : batch.rows.stop], scene.device)
        views = scene.views((batch.own, self._near[batch.own, chosen]), plan.views, batch)
        with scene.computing():
            scores = self._called(views).float()
        anchors, neighbours = (self.network.heads.split(scene.gathered(part)) for part in scores.chunk(2))
        made = self.objective(anchors, neighbours)
        self.optimizer.zero_grad(set_to_none=True)
        made["loss"].backward()
        self.optimizer.step()
        return {name: value.detach() for name, value in made.items()}

    def close(self, epoch: int) -> Mapping[str, Any]:
        """Measure, and keep the network where it is the best up to now."""
        settled = self.network.settled(self.scene)
        measured = settled.measure(self.scene, self._held_near)
        first = epoch == 0 and not self.plan.gate
        better = first or lowest_score(measured) < lowest_score(self.best())
        if better:
            self.kept.load_state_dict(settled.state_dict())
            self._best = measured
        return {**as_row(measured, self.group.heads), "kept": better}

    def best(self) -> list[list[HeadMeasures]]:
        """Measures of the kept network, made once."""
        if self._best is None:
            self._best = self.kept.measure(self.scene, self._held_near)
        return self._best

    @torch.no_grad()
    def finished(self, history: list[dict[str, Any]]) -> ClusterNetwork:
        """Return the kept network; where it learnt, the heads of a size stand by their score, in the history too.

        The paper chooses by the lowest loss over heads and epochs. On cached features heads that cut differently may
        score alike; learning with the network pulls them apart.
        """
        if any(row["kept"] for row in history if row["stage"] == self.name):
            stages = (f"heads-{self.group.tag}", self.name)
            for size, replicas in zip(self.group.heads, self.best(), strict=True):
                order = sorted(range(len(replicas)), key=lambda place: replicas[place].score)
                self.kept.heads.reorder(size, order)
                reorder_history(history, stages, size, order, len(replicas))
                replicas[:] = [replicas[place] for place in order]
        return self.kept
