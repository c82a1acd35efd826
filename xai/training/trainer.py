"""The training loop: epochs, checkpoints, measuring; it stops when told and goes on exactly where it stopped."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from xai.errors import UserError
from xai.io.geometry import InputFormat
from xai.training.batches import PictureStore, Progress, steps_per_epoch, training_batches
from xai.training.checkpoint import CHECKPOINT, load_checkpoint, save_checkpoint
from xai.training.distributed import Processes
from xai.training.evaluation import Evaluation, evaluate
from xai.training.network import same_start
from xai.training.recipe import Recipe
from xai.training.run import Epoch, write_metrics
from xai.training.step import Step, Teacher, follow, make_optimizer

_CHECKPOINT_SECONDS = 60.0


@dataclass
class _Position:
    """Where the run is: the next step to make, and what the epoch has summed up so far."""

    epoch: int = 0
    step: int = 0
    loss: float = 0.0
    right: int = 0
    seen: int = 0
    seconds: float = 0.0


class Trainer:
    """A run in memory.

    Attributes:
        network: what is trained.
        average: its running average, or the network itself without one: what is measured and kept.
        history: finished epochs.
    """

    def __init__(
        self,
        network: nn.Module,
        recipe: Recipe,
        fmt: InputFormat,
        folder: Path,
        train: PictureStore,
        validation: PictureStore,
        *,
        classes: int,
        device: torch.device,
        processes: Processes,
        teacher: Teacher | None = None,
        measured: int = 2000,
    ) -> None:
        if not len(train) or not len(validation):
            raise UserError("There must be at least one readable picture to train on and one to measure with.")
        self.recipe, self.fmt, self.folder, self.device, self.processes = recipe, fmt, folder, device, processes
        self.train, self.validation, self.classes = train, validation, classes
        self.network = processes.synchronised(network).to(device).to(memory_format=torch.channels_last)
        self.average = copy.deepcopy(self.network).requires_grad_(False).eval() if recipe.ema else self.network
        self.optimizer = make_optimizer(self.network, recipe)
        self.step = Step(
            processes.wrapped(self.network, device, recipe.epochs * len(train)),
            self.optimizer,
            recipe,
            fmt,
            device,
            world=processes.world,
            teacher=teacher,
        )
        self.history: list[Epoch] = []
        self.at = _Position()
        every = max(1, -(-len(validation) // measured))
        self._measured = range(0, len(validation), every)

    @property
    def steps(self) -> int:
        """Steps in an epoch."""
        return steps_per_epoch(len(self.train), self.recipe.batch_size)

    @property
    def finished(self) -> bool:
        """Whether all epochs are done."""
        return self.at.epoch >= self.recipe.epochs

    @property
    def fraction(self) -> float:
        """Share of the work that is done, larger pictures counted by their area."""
        areas = [self.recipe.size_at(epoch) ** 2 for epoch in range(self.recipe.epochs)]
        done = float(sum(areas[: self.at.epoch]))
        if not self.finished:
            done += areas[self.at.epoch] * self.at.step / self.steps
        return done / sum(areas)

    def run(self, stop: Callable[[], bool], on_progress: Progress | None = None) -> bool:
        """Train until the end or until `stop` says so; a checkpoint is written every minute and at the end.

        Args:
            stop: asked after each step.
            on_progress: called with (fraction of the run, sentence).

        Returns:
            Whether the run is finished.
        """
        devices = [self.device] if self.device.type == "cuda" else []
        clock = _Clock(self.fraction)
        with torch.random.fork_rng(devices=devices):
            while not self.finished:
                if not self._epoch(stop, clock, on_progress):
                    self.save()
                    return False
                self.save()
        return True

    def _epoch(self, stop: Callable[[], bool], clock: _Clock, on_progress: Progress | None) -> bool:
        """Make the rest of an epoch; False when it was stopped."""
        recipe, at = self.recipe, self.at
        self.network.train()
        batches = training_batches(self.train, recipe, at.epoch, at.step, self.processes.share)
        total = self.steps * recipe.epochs
        begun = time.monotonic()
        for batch in batches:
            number = at.epoch * self.steps + at.step
            same_start((recipe.seed * 1_000_003 + number) * 1009 + self.processes.rank)
            loss, right = self.step(batch, recipe.rate_at(number, total))
            if recipe.ema:
                follow(self.average, self.network, recipe.ema, number)
            at.step, at.seen = at.step + 1, at.seen + len(batch.labels)
            at.loss, at.right = at.loss + loss, at.right + right
            at.seconds, begun = at.seconds + time.monotonic() - begun, time.monotonic()
            if on_progress:
                on_progress(self.fraction, self._sentence(clock))
            if self.processes.any(stop()):
                batches.close()  # type: ignore[attr-defined]
                return False
            if self.processes.any(self.processes.first and clock.due()):
                self.save()
        self._close_epoch()
        return True

    def _close_epoch(self) -> None:
        """Measure, write the row down, and go to the next epoch."""
        at = self.at
        measured = self.measure(self._measured)
        loss, right, seen = self.processes.summed([at.loss, at.right, at.seen])
        rate = self.recipe.rate_at(at.epoch * self.steps + self.steps - 1, self.steps * self.recipe.epochs)
        self.history.append(
            Epoch(
                epoch=at.epoch + 1,
                size=self.recipe.size_at(at.epoch),
                rate=rate,
                train_loss=loss / seen,
                train_accuracy=right / seen,
                loss=measured.loss,
                top1=measured.top1,
                top5=measured.top5,
                seconds=at.seconds,
            )
        )
        if self.processes.first:
            write_metrics(self.folder, self.history)
        self.at = _Position(epoch=at.epoch + 1)

    def measure(self, places: range | None = None, on_progress: Progress | None = None) -> Evaluation:
        """Measure the averaged network on validation pictures; the processes share the work."""
        chosen = range(len(self.validation)) if places is None else places
        self.processes.agree(self.average)
        return evaluate(
            self.average,
            self.validation,
            self.fmt,
            self.device,
            classes=self.classes,
            only=chosen[self.processes.rank :: self.processes.world],
            gather=self.processes.added,
            on_progress=on_progress,
        )

    def save(self) -> None:
        """Write the checkpoint."""
        sums = self.processes.summed([self.at.loss, self.at.right, self.at.seen])
        if not self.processes.first:
            return
        position = asdict(self.at) | dict(zip(("loss", "right", "seen"), sums, strict=True))
        state: dict[str, Any] = {"position": position, "history": [asdict(row) for row in self.history]}
        save_checkpoint(self.folder / CHECKPOINT, self._modules(), self.optimizer, state)

    def load(self) -> None:
        """Go to where the checkpoint was written.

        Raises:
            UserError: it is missing, damaged, or of another network.
        """
        state = load_checkpoint(self.folder / CHECKPOINT, self._modules(), self.optimizer)
        self.history = [Epoch(**row) for row in state["history"]]
        self.at = _Position(**state["position"])
        if not self.processes.first:  # the first process carries the sums of all
            self.at.loss, self.at.right, self.at.seen = 0.0, 0, 0

    def _modules(self) -> dict[str, nn.Module]:
        return {"network": self.network} | ({"average": self.average} if self.recipe.ema else {})

    def _sentence(self, clock: _Clock) -> str:
        at, left = self.at, clock.left(self.fraction)
        last = f", {100 * self.history[-1].top1:.1f} % right so far" if self.history else ""
        wait = f"{left / 60:.0f} min left" if left > 90 else f"{left:.0f} s left"
        return f"epoch {at.epoch + 1} of {self.recipe.epochs}, loss {at.loss / max(1, at.seen):.2f}{last}, {wait}"


class _Clock:
    """Tells the time left, from what this process has done, and when a checkpoint is due."""

    def __init__(self, fraction: float) -> None:
        self._begun = self._saved = time.monotonic()
        self._first = fraction

    def left(self, fraction: float) -> float:
        """Seconds until the fraction is 1."""
        return (time.monotonic() - self._begun) / max(1e-9, fraction - self._first) * (1 - fraction)

    def due(self) -> bool:
        """Whether a checkpoint should be written now."""
        if time.monotonic() - self._saved < _CHECKPOINT_SECONDS:
            return False
        self._saved = time.monotonic()
        return True
