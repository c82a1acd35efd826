"""Self-labelling: a teacher's confident assignments become labels, and a gate decides whether that helped.

It departs from the paper where users saw clusters die: the teacher is a running average of weights *and* norms, and may
average over several views of a picture before it answers (as in MixMatch, Berthelot et al. 2019); what a picture must
be sure of rises from a quantile of its own cluster to the final threshold, so that no cluster is left without a say;
and the result of an epoch replaces what was there only if the gate lets it pass (`usage.passes`).
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from xai.scan.config import Group, SelfLabelling
from xai.scan.finetune import ClusterNetwork
from xai.scan.losses import taught_loss
from xai.scan.scene import Scene, follow_schedule, make_adam
from xai.scan.usage import HeadMeasures, as_row, measure_heads, passes
from xai.training.step import follow

STAGE = 4  # in the keys of random choices; each group adds its number
VIEWS = 3  # of each held-out picture, for the gate


class Lessons(nn.Module):
    """What the teacher says about each training picture during an epoch, part of a checkpoint.

    Attributes:
        clusters: int64 (H, N) for H heads.
        confident: which of them count, bool (H, N).
    """

    def __init__(self, heads: int, pictures: int) -> None:
        super().__init__()
        self.clusters: Tensor
        self.confident: Tensor
        self.register_buffer("clusters", torch.zeros(heads, pictures, dtype=torch.int64))
        self.register_buffer("confident", torch.zeros(heads, pictures, dtype=torch.bool))

    def write(self, logits: list[Tensor], plan: SelfLabelling, epoch: int) -> None:
        """Take down assignments from logits (N, R, k) of each size."""
        place = 0
        for scores in logits:
            for replica in range(scores.shape[1]):
                sure, cluster = scores[:, replica].softmax(1).max(1)
                self.clusters[place] = cluster
                self.confident[place] = confident(sure, cluster, plan, epoch, scores.shape[2])
                place += 1


def confident(sure: Tensor, cluster: Tensor, plan: SelfLabelling, epoch: int, clusters: int) -> Tensor:
    """Choose the pictures that teach.

    Args:
        sure: largest probability of each picture, (N,).
        cluster: where it is, int64 (N,).
        plan: thresholds.
        epoch: the later, the nearer to the final threshold.
        clusters: k.

    Returns:
        Bool (N,): those over the threshold of their cluster, and the surest `plan.least` of every cluster.
    """
    chosen = torch.zeros_like(sure, dtype=torch.bool)
    late = epoch / max(1, plan.epochs - 1)
    for number in range(clusters):
        members = (cluster == number).nonzero().squeeze(1)
        if not len(members):
            continue
        first = float(sure[members].quantile(plan.start))
        threshold = first + (plan.threshold - first) * late
        best = sure[members].topk(min(plan.least, len(members))).indices
        chosen[members[sure[members] >= threshold]] = True
        chosen[members[best]] = True
    return chosen


class SelfLabelStage:
    """Self-labelling as a stage of the loop.

    Attributes:
        kept: the network that came in, or the last teacher that passed the gate.
    """

    def __init__(self, scene: Scene, group: Group, number: int, network: ClusterNetwork, held_near: Tensor) -> None:
        assert group.selflabel is not None
        self.scene, self.group, self.number = scene, group, number
        self.plan: SelfLabelling = group.selflabel
        self.name = f"selflabel-{group.tag}"
        self._held_near = held_near
        self.network = scene.ready(network.requires_grad_(True))
        self.epochs, self.steps = self.plan.epochs, scene.steps(self.plan.batch)
        self._called = scene.processes.wrapped(self.network, scene.device, self.epochs * len(scene.train))
        self.teacher = copy.deepcopy(self.network).requires_grad_(False).eval()
        self.kept = copy.deepcopy(self.teacher)
        self.lessons = Lessons(len(group.heads) * group.replicas, len(scene.train)).to(scene.device)
        self._best: list[list[HeadMeasures]] | None = None  # of `kept`
        self._answered: list[Tensor] | None = None  # logits by the teacher as it is now
        self.modules: dict[str, nn.Module] = {
            "network": self.network,
            "teacher": self.teacher,
            "kept": self.kept,
            "lessons": self.lessons,
        }
        self.optimizer = make_adam([self.network], self.plan.rate, self.plan.decay)

    def open(self, epoch: int) -> None:
        """Let the teacher look at every picture."""
        self.lessons.write(self._answers(epoch), self.plan, epoch)

    def _answers(self, epoch: int) -> list[Tensor]:
        """Log-probabilities by the teacher, up to a constant for each picture: (N, R, k) of each size."""
        scene, split = self.scene, self.teacher.heads.split
        if not self.plan.looks:
            return self._answered or self.teacher.settled(scene).answers(scene)[1]
        found: list[list[Tensor]] = []
        for look in range(self.plan.looks):
            key = (STAGE + 10 * self.number, 1000 + epoch, look)
            found.append([each.softmax(-1) for each in split(self._views(self.teacher, key, scene.train))])
        return [torch.stack(each).mean(0).log() for each in zip(*found, strict=True)]

    def _views(self, network: ClusterNetwork, key: tuple[int, ...], pixels: Tensor) -> Tensor:
        return self.scene.view_outputs(network, self.plan.views, key, pixels)

    def measure(self, network: ClusterNetwork) -> tuple[list[list[HeadMeasures]], list[Tensor]]:
        """Measure every head on held-out pictures and views of them, the same at each epoch.

        Returns:
            The measures, and the logits of the training pictures, (N, R, k) for each size.
        """
        scene, split = self.scene, network.heads.split
        held_out, train = network.answers(scene)
        keys = ((STAGE + 10 * self.number, 0, 1000 + look) for look in range(VIEWS))
        looks = [split(self._views(network, key, scene.validation)) for key in keys]
        viewed = [torch.stack(each, 1) for each in zip(*looks, strict=True)]
        return measure_heads(held_out, train, self._held_near, scene.labels, viewed), train

    def best(self) -> list[list[HeadMeasures]]:
        """Measures of the kept network, made once."""
        if self._best is None:
            self._best = self.measure(self.kept)[0]
        return self._best

    def step(self, epoch: int, step: int) -> Mapping[str, Tensor]:
        """Learn the teacher's clusters from random views; then the teacher follows."""
        scene, plan = self.scene, self.plan
        self.network.train()
        follow_schedule(self.optimizer, plan, epoch * self.steps + step, self.epochs * self.steps)
        batch = scene.batch(STAGE + 10 * self.number, epoch, step, plan.batch)
        views = scene.views((batch.own,), plan.views, batch)
        with scene.computing():
            scores = self._called(views).float()
        places = scene.gathered_places(batch.own)
        loss = self._loss(self.network.heads.split(scene.gathered(scores)), places)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        follow(self.teacher, self.network, plan.average, epoch * self.steps + step)
        return {"loss": loss.detach(), "confident": self.lessons.confident[:, places].float().mean()}

    def _loss(self, logits: list[Tensor], places: Tensor) -> Tensor:
        """Add up sizes, average replicas."""
        total = logits[0].new_zeros(())
        head = 0
        for scores in logits:
            for replica in range(scores.shape[1]):
                clusters, sure = self.lessons.clusters[head, places], self.lessons.confident[head, places]
                total = total + taught_loss(scores[:, replica], clusters, sure) / scores.shape[1]
                head += 1
        return total

    def close(self, epoch: int) -> Mapping[str, Any]:
        """Measure the teacher, and keep it where it passes the gate, or where there is none."""
        settled = self.teacher.settled(self.scene)
        measured, self._answered = self.measure(settled)
        kept = not self.plan.gate or passes(measured, self.best())
        if kept:
            self.kept.load_state_dict(settled.state_dict())
            self._best = measured
        return {**as_row(measured, self.group.heads), "kept": kept}
