"""The pretext task: learn features that tell pictures apart and do not change between views (SimCLR or BYOL)."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xai.errors import one_of
from xai.scan.config import Pretext
from xai.scan.losses import nt_xent, prediction_loss
from xai.scan.neighbours import knn_accuracy, nearest
from xai.scan.nets import NormedProjector, PretextNetwork
from xai.scan.run import build_pretext
from xai.scan.scene import Scene, follow_schedule, make_adam
from xai.training.network import same_start
from xai.training.step import move_average

STAGE = 1  # in the keys of random choices


def new_network(scene: Scene) -> PretextNetwork:
    """Build the network with the random weights of the run's seed."""
    with torch.random.fork_rng(devices=[]):
        same_start(scene.config.seed)
        return build_pretext(scene.config)


class PretextStage:
    """SimCLR as a stage of the loop.

    Attributes:
        network: backbone and projector, on their way.
    """

    name = "pretext"

    def __init__(self, scene: Scene, plan: Pretext, network: PretextNetwork) -> None:
        self.scene, self.plan, self.network = scene, plan, network
        self.epochs, self.steps = plan.epochs, scene.steps(plan.batch)
        learner = scene.ready(self._learner())
        self._called = scene.processes.wrapped(learner, scene.device, plan.looks * plan.epochs * len(scene.train))
        self.modules: dict[str, nn.Module] = {"network": learner}
        self.optimizer = _make_optimizer(learner, plan)

    def _learner(self) -> nn.Module:
        """All that learns: normalised pixels to vectors of length 1, (N, P)."""
        return self.network

    def _loss(self, views: Tensor, vectors: Tensor) -> Tensor:
        """Contrast the views of each picture with those of all others.

        Args:
            views: first views, then second ones, and so on, (V n, 3, h, w).
            vectors: what the learner made of them, (V n, P).
        """
        looks = [self.scene.gathered(part) for part in vectors.chunk(self.plan.looks)]
        return nt_xent([F.normalize(look, dim=1) for look in looks], self.plan.temperature)

    def _after(self, done: float) -> None:
        """Do what follows an update, when a share of all steps is done."""

    def open(self, epoch: int) -> None:
        """Train."""
        for module in self.modules.values():
            module.train()

    def step(self, epoch: int, step: int) -> Mapping[str, Tensor]:
        """Make the views of each picture alike."""
        scene, plan = self.scene, self.plan
        place, places = epoch * self.steps + step, self.epochs * self.steps
        follow_schedule(self.optimizer, plan, place, places)
        batch = scene.batch(STAGE, epoch, step, plan.batch)
        views = scene.views((batch.own,) * plan.looks, plan.views, batch)
        with scene.computing():
            vectors = self._called(views).float()
        loss = self._loss(views, vectors)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        self._after((place + 1) / places)
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


class BYOLStage(PretextStage):
    """BYOL (Grill et al. 2020) as a stage of the loop.

    Predicts what a running average of the network, the target, makes of the other view. It needs no negatives, so
    batches may be small.
    """

    def __init__(self, scene: Scene, plan: Pretext, network: PretextNetwork) -> None:
        super().__init__(scene, plan, network)
        self.target = copy.deepcopy(self.network).requires_grad_(False)
        self.modules["target"] = self.target

    def _learner(self) -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            same_start(self.scene.config.seed * 103 + 1)
            plan = self.plan
            return Predicting(self.network, NormedProjector(plan.projection, plan.hidden, plan.projection))

    def _loss(self, views: Tensor, vectors: Tensor) -> Tensor:
        with torch.no_grad(), self.scene.computing():
            wanted = self.target(views).float()
        return prediction_loss(F.normalize(vectors, dim=1), F.normalize(wanted, dim=1))

    def _after(self, done: float) -> None:
        keep = 1 - (1 - self.plan.average) * (math.cos(math.pi * done) + 1) / 2
        move_average(self.target, self.network, keep)


class Predicting(nn.Module):
    """Network and predictor: normalised pixels to predictions, (N, P), of length 1."""

    def __init__(self, network: PretextNetwork, predictor: nn.Module) -> None:
        super().__init__()
        self.network, self.predictor = network, predictor

    def forward(self, pixels: Tensor) -> Tensor:
        """Predict what the target network makes of another view."""
        projected = self.network.projector(self.network.backbone(pixels))
        return F.normalize(self.predictor(projected), dim=1)


PRETEXTS: Mapping[str, type[PretextStage]] = MappingProxyType({"simclr": PretextStage, "byol": BYOLStage})


def _make_optimizer(learner: nn.Module, plan: Pretext) -> torch.optim.Optimizer:
    if plan.optimizer == "adamw":
        return make_adam([learner], plan.rate, plan.decay)
    if plan.optimizer != "sgd":
        raise one_of("optimizer", plan.optimizer, ("sgd", "adamw"))
    weights = list(learner.parameters())
    groups = [
        {"params": [p for p in weights if p.ndim > 1], "weight_decay": plan.decay},
        {"params": [p for p in weights if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.SGD(groups, lr=plan.rate, momentum=0.9, nesterov=True)
