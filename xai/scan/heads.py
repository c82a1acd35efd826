"""Heads on cached features: every size and replica at once, in seconds."""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from xai.scan.config import Group, HeadTraining
from xai.scan.device import moved
from xai.scan.losses import scan_loss
from xai.scan.nets import HeadBank
from xai.scan.scene import Scene, make_adam
from xai.scan.usage import HeadMeasures, RunningUsage, as_row, choose_head, measure_heads
from xai.training.network import same_start

STAGE = 2  # in the keys of random choices; each group adds its number


class HeadObjective(nn.Module):
    """SCAN loss over a bank of heads, with the running means that it needs.

    Args of the constructor:
        bank: sizes and replicas.
        entropy: weight of the entropy.
        memory: samples that the mean assignment runs over.
    """

    def __init__(self, bank: HeadBank, entropy: float, memory: int) -> None:
        super().__init__()
        self.entropy, self.replicas = entropy, bank.replicas
        edges = np.cumsum([0, *(size * bank.replicas for size in bank.sizes)]).tolist()
        self._places = [slice(low, high) for low, high in itertools.pairwise(edges)]
        self.running = RunningUsage(edges[-1], memory)

    def forward(self, anchors: list[Tensor], neighbours: list[Tensor]) -> dict[str, Tensor]:
        """Add up sizes, average replicas.

        Args:
            anchors, neighbours: logits (N, R, k) for each size.

        Returns:
            "loss" to go down; "consistency" and "entropy" (as a share of ln k), averaged over heads, detached.
        """
        share = self.running.share(len(anchors[0]))
        total: Tensor = anchors[0].new_zeros(())
        agreements, spreads = [], []
        for place, ours, theirs in zip(self._places, anchors, neighbours, strict=True):
            before = self.running.mean[place].view(self.replicas, -1) if share < 1 else None
            loss, agreement, spread = scan_loss(ours, theirs, self.entropy, before, share)
            total = total + loss.mean()
            agreements.append(agreement.detach().mean())
            spreads.append(spread.detach().mean() / math.log(ours.shape[2]))
        self.running.follow(self._places, anchors, share)
        return {"loss": total, "consistency": torch.stack(agreements).mean(), "entropy": torch.stack(spreads).mean()}


class HeadStage:
    """Linear heads on features that stay as they are, as a stage of the loop.

    Args of the constructor:
        cached: features of the training pictures, plain and in random views, (1 + V, N, D).
        held_out: plain features of the validation pictures, (M, D).
        near, held_near: neighbours among the training pictures, int64 (N, K) and (M, K).
    """

    def __init__(
        self,
        scene: Scene,
        group: Group,
        number: int,
        cached: Tensor,
        held_out: Tensor,
        near: Tensor,
        held_near: Tensor,
    ) -> None:
        self.scene, self.group, self.plan, self.number = scene, group, group.training, number
        self.name = f"heads-{group.tag}"
        self._mean = cached[0].float().mean(0)
        self._scale = cached[0].float().std(0).clamp(min=1e-6)
        self._cached = self._standard(cached)
        self._held_out = self._standard(held_out)
        self._near, self._held_near = near, held_near
        self.bank = self._new_bank().to(scene.device)
        self.objective = HeadObjective(self.bank, self.plan.entropy, self.plan.memory).to(scene.device)
        self.epochs, self.steps = self.plan.epochs, scene.steps(self.plan.batch)
        self.modules = {"heads": self.bank, "objective": self.objective}
        self.optimizer = make_adam([self.bank], self.plan.rate, self.plan.decay)

    def _standard(self, features: Tensor) -> Tensor:
        return (features.float() - self._mean) / self._scale

    def _new_bank(self) -> HeadBank:
        with torch.random.fork_rng(devices=[]):
            same_start(self.scene.config.seed * 101 + self.number + 1)
            count = max(self.group.replicas, self.group.tries)
            return HeadBank(self._cached.shape[2], self.group.heads, count)

    def open(self, epoch: int) -> None:
        """Nothing to prepare."""

    def step(self, epoch: int, step: int) -> Mapping[str, Tensor]:
        """Let pictures and one neighbour of each agree; every process makes the whole batch, it is small."""
        size = self.plan.batch
        generator = np.random.default_rng((self.scene.config.seed, STAGE + 10 * self.number, epoch, step, 7))
        order = np.random.default_rng((self.scene.config.seed, STAGE + 10 * self.number, epoch))
        device = self.scene.device
        places = moved(order.permutation(len(self._near))[step * size : (step + 1) * size], device)
        views = moved(generator.integers(0, len(self._cached), (2, len(places))), device)
        chosen = moved(generator.integers(0, self._near.shape[1], len(places)), device)
        partners = self._near[places, chosen]
        anchors = self.bank(self._cached[views[0], places])
        neighbours = self.bank(self._cached[views[1], partners])
        made = self.objective(anchors, neighbours)
        self.optimizer.zero_grad(set_to_none=True)
        made["loss"].backward()
        self.optimizer.step()
        return {name: value.detach() for name, value in made.items()}

    def close(self, epoch: int) -> Mapping[str, Any]:
        """Measure every head on held-out pictures."""
        return as_row(self.measured()[1], self.group.heads)

    @torch.no_grad()
    def measured(self) -> tuple[list[Tensor], list[list[HeadMeasures]]]:
        """Logits of the held-out pictures, (M, R, k) for each size, and the measures of every head on them."""
        logits = self.bank(self._held_out)
        return logits, measure_heads(logits, self.bank(self._cached[0]), self._held_near, self.scene.labels)

    @torch.no_grad()
    def finished(self, history: list[dict[str, Any]]) -> HeadBank:
        """Keep the chosen head of each size, then those of lowest score, in the history too; fold in the scales."""
        kept = self.group.replicas
        for size, logits, replicas in zip(self.group.heads, *self.measured(), strict=True):
            chosen = choose_head(replicas, logits.argmax(2))
            order = sorted(range(len(replicas)), key=lambda place: (place != chosen, replicas[place].score))
            self.bank.reorder(size, order)
            reorder_history(history, (self.name,), size, order, kept)
        bank = self.bank.first(kept).to(self.scene.device)
        weight = bank.linear.weight / self._scale
        bank.linear.bias.sub_(weight @ self._mean)
        bank.linear.weight.copy_(weight)
        return bank


def reorder_history(
    history: list[dict[str, Any]], stages: Collection[str], size: int, order: Sequence[int], kept: int
) -> None:
    """Put the replicas of a size into another order, in the rows of these stages, and leave out all after `kept`."""
    names = [f"k{size}" if place == 0 else f"k{size}-{place + 1}" for place in range(len(order))]
    for row in history:
        if row["stage"] in stages:
            for values in (row["usage"], row["score"], row["agreement"], row.get("accuracy", {})):
                ordered = [values.pop(names[old]) for old in order if names[old] in values]
                values.update(zip(names[:kept], ordered, strict=False))


def cache_views(scene: Scene, network: nn.Module, plan: HeadTraining, number: int, on_progress: Any) -> Tensor:
    """Features of the training pictures, plain and in random views: float16 (1 + V, N, D)."""
    made = [scene.outputs(network, scene.train).half()]
    for view in range(plan.cached):
        on_progress(view / plan.cached, "features of random views")
        made.append(scene.view_outputs(network, plan.views, (STAGE + 10 * number, 1000 + view), scene.train).half())
    return torch.stack(made)
