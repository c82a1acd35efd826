"""The pretext task: learn features that tell pictures apart and do not change between views (SimCLR)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from xai.errors import one_of
from xai.scan.config import Pretext
from xai.scan.losses import nt_xent
from xai.scan.neighbours import knn_accuracy, nearest
from xai.scan.nets import PretextNetwork
from xai.scan.scene import Scene, follow_schedule, make_adam
from xai.training.network import same_start

STAGE = 1  # in the keys of random choices


def new_network(scene: Scene, projection: int) -> PretextNetwork:
    """Build the network with the random weights of the run's seed."""
    with torch.random.fork_rng(devices=[]):
        same_start(scene.config.seed)
        return PretextNetwork(scene.config.architecture, projection)


class PretextStage:
    """SimCLR as a stage of the loop."""

    name = "pretext"

    def __init__(self, scene: Scene, plan: Pretext, network: PretextNetwork) -> None:
        self.scene, self.plan = scene, plan
        self.network = scene.ready(network)
        self.epochs, self.steps = plan.epochs, scene.steps(plan.batch)
        self._called = scene.processes.wrapped(self.network, scene.device, 2 * self.epochs * len(scene.train))
        self.modules = {"network": self.network}
        self.optimizer = self._optimizer()

    def _optimizer(self) -> torch.optim.Optimizer:
        plan = self.plan
        if plan.optimizer == "adamw":
            return make_adam([self.network], plan.rate, plan.decay)
        if plan.optimizer != "sgd":
            raise one_of("optimizer", plan.optimizer, ("sgd", "adamw"))
        weights = list(self.network.parameters())
        groups = [
            {"params": [p for p in weights if p.ndim > 1], "weight_decay": plan.decay},
            {"params": [p for p in weights if p.ndim <= 1], "weight_decay": 0.0},
        ]
        return torch.optim.SGD(groups, lr=plan.rate, momentum=0.9, nesterov=True)

    def open(self, epoch: int) -> None:
        """Train."""
        self.network.train()

    def step(self, epoch: int, step: int) -> Mapping[str, Tensor]:
        """Make two views of each picture alike."""
        scene, plan = self.scene, self.plan
        follow_schedule(self.optimizer, plan, epoch * self.steps + step, self.epochs * self.steps)
        batch = scene.batch(STAGE, epoch, step, plan.batch)
        views = [scene.view(batch.own, plan.views, batch.draws(use, scene.device)) for use in (0, 1)]
        with scene.computing():
            vectors = self._called(torch.cat(views)).float()
        first, second = (scene.gathered(part) for part in vectors.chunk(2))
        loss = nt_xent(F.normalize(first, dim=1), F.normalize(second, dim=1), plan.temperature)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        return {"loss": loss.detach()}

    def close(self, epoch: int) -> Mapping[str, Any]:
        """Measure nearest neighbours now and then, where labels are known."""
        scene = self.scene
        last = epoch + 1 == self.epochs
        if scene.labels is None or scene.base_labels is None or not (last or (epoch + 1) % self.plan.monitor == 0):
            return {}
        self.network.eval()
        scene.processes.agree(self.network)
        vectors = [scene.outputs(self.network, pixels) for pixels in (scene.validation, scene.train)]
        indices, similarities = nearest(vectors[0], vectors[1], min(20, len(vectors[1])))
        return {"knn": knn_accuracy(indices.cpu(), similarities.cpu(), scene.labels, scene.base_labels)}
