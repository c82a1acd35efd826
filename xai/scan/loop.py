"""Run the epochs of a stage: checkpoints, stopping, going on exactly there, and the time that is left."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import safetensors
import torch
from torch import Tensor, nn

from xai.scan.scene import Scene
from xai.training.batches import Progress
from xai.training.checkpoint import CHECKPOINT, load_checkpoint, save_checkpoint
from xai.training.network import same_start

PREVIOUS = "checkpoint-previous.safetensors"
_CHECKPOINT_SECONDS = 60.0


class Stage(Protocol):
    """What the loop needs to know of a stage.

    Attributes:
        name: such as "pretext" or "finetune-main".
        epochs, steps: of the stage, and in each epoch.
        modules: everything with a state, by name.
        optimizer: over their weights.
    """

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def epochs(self) -> int: ...  # noqa: D102
    @property
    def steps(self) -> int: ...  # noqa: D102
    @property
    def modules(self) -> Mapping[str, nn.Module]: ...  # noqa: D102
    @property
    def optimizer(self) -> torch.optim.Optimizer: ...  # noqa: D102

    def open(self, epoch: int) -> None:
        """Begin an epoch."""
        ...

    def step(self, epoch: int, step: int) -> Mapping[str, Tensor]:
        """Make one update; return scalars to be averaged over the epoch."""
        ...

    def close(self, epoch: int) -> Mapping[str, Any]:
        """End an epoch; return what was measured."""
        ...


class Loop:
    """A stage on its way.

    Attributes:
        history: rows of all stages up to now.
    """

    def __init__(self, stage: Stage, scene: Scene, history: list[dict[str, Any]]) -> None:
        self.stage, self.scene, self.history = stage, scene, history
        self._epoch = self._step = 0
        self._sums: dict[str, float] = {}
        self._seconds = 0.0

    def run(self, stop: Callable[[], bool], on_progress: Progress) -> bool:
        """Go on to the end of the stage, or until `stop` says so; a checkpoint is written in both cases.

        Args:
            stop: asked after each step.
            on_progress: called with (fraction of the stage, sentence).

        Returns:
            Whether the stage is finished.
        """
        stage, processes = self.stage, self.scene.processes
        saved = time.monotonic()
        devices = [self.scene.device] if self.scene.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):
            while self._epoch < stage.epochs:
                if self._step == 0:
                    stage.open(self._epoch)
                pending: list[Mapping[str, Tensor]] = []
                begun = time.monotonic()
                while self._step < stage.steps:
                    same_start((self.scene.config.seed * 1_000_003 + self._epoch * stage.steps + self._step) * 1009)
                    pending.append(stage.step(self._epoch, self._step))
                    self._step += 1
                    on_progress(self._fraction, self._sentence(pending))
                    due = processes.any(processes.first and time.monotonic() - saved > _CHECKPOINT_SECONDS)
                    stopping = processes.any(stop())
                    if due or stopping:
                        self._add(pending, time.monotonic() - begun)
                        self.save()
                        saved = begun = time.monotonic()
                    if stopping:
                        return False
                self._add(pending, time.monotonic() - begun)
                self._close()
        self.save()
        return True

    @property
    def _fraction(self) -> float:
        return (self._epoch + self._step / self.stage.steps) / self.stage.epochs

    def _add(self, pending: list[Mapping[str, Tensor]], seconds: float) -> None:
        for scalars in pending:
            for name, value in scalars.items():
                self._sums[name] = self._sums.get(name, 0.0) + float(value)
        pending.clear()
        self._seconds += seconds

    def _close(self) -> None:
        means = {name: total / self.stage.steps for name, total in self._sums.items()}
        measured = self.stage.close(self._epoch)
        self.history.append(
            {
                "stage": self.stage.name,
                "epoch": self._epoch + 1,
                **means,
                **measured,
                "seconds": round(self._seconds, 2),
            }
        )
        if self.scene.processes.first:
            self.scene.store.write_history(self.history)
        self._epoch, self._step, self._sums, self._seconds = self._epoch + 1, 0, {}, 0.0

    def _sentence(self, pending: list[Mapping[str, Tensor]]) -> str:
        last = pending[-1]
        loss = float(last["loss"]) if self._step % 10 == 0 or self.scene.device.type == "cpu" else None
        said = f", loss {loss:.3f}" if loss is not None else ""
        return f"{self.stage.name}: epoch {self._epoch + 1} of {self.stage.epochs}{said}"

    def save(self) -> None:
        """Write the checkpoint; the one before stays beside it until the next."""
        if not self.scene.processes.first:
            return
        path = self.scene.store.folder / CHECKPOINT
        if path.is_file():
            os.replace(path, path.with_name(PREVIOUS))
        state = {
            "stage": self.stage.name,
            "epoch": self._epoch,
            "step": self._step,
            "sums": self._sums,
            "seconds": self._seconds,
            "history": self.history,
        }
        save_checkpoint(path, self.stage.modules, self.stage.optimizer, state)

    def load(self) -> bool:
        """Go to where the last good checkpoint of this stage was written; False where there is none."""
        for name in (CHECKPOINT, PREVIOUS):
            path = self.scene.store.folder / name
            if saved_position(path).get("stage") != self.stage.name:
                continue
            state = load_checkpoint(path, self.stage.modules, self.stage.optimizer)
            self._epoch, self._step, self._sums = state["epoch"], state["step"], state["sums"]
            self._seconds = state["seconds"]
            self.history[:] = state["history"]
            return True
        return False


def saved_position(path: Path) -> dict[str, Any]:
    """What a checkpoint says of itself; empty where there is none, or a damaged one."""
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            return json.loads(file.metadata()["state"])
    except (OSError, safetensors.SafetensorError, ValueError, KeyError, TypeError):
        return {}
