"""Do the stages of a run in order, each once; a run that was stopped or killed goes on where its last checkpoint is."""

from __future__ import annotations

import platform
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch import Tensor

from xai.errors import UserError
from xai.load import find_device
from xai.scan.config import Group, ScanConfig
from xai.scan.data import Packed, find_pictures, write_pictures
from xai.scan.given import are_features, read_features
from xai.scan.glyphs import VERSION
from xai.scan.plan import costs, fitted, stages_of
from xai.scan.scene import open_scene
from xai.scan.stages import Stages, Stop
from xai.scan.store import GIVEN, RunStore
from xai.training.batches import Progress
from xai.training.distributed import Processes


@dataclass(frozen=True)
class Outcome:
    """What a call of `start` or `resume` led to.

    Attributes:
        folder: of the run.
        finished: False when it was stopped before its end; `resume` goes on.
        notes: what was decided on the way, in sentences.
    """

    folder: Path
    finished: bool
    notes: tuple[str, ...] = ()


def start(
    config: ScanConfig,
    folder: Path,
    *,
    device: str = "auto",
    stop: Stop = lambda: False,
    on_progress: Progress | None = None,
) -> Outcome:
    """Train a new run.

    Args:
        config: what to do.
        folder: gets all files; must not hold a run yet.
        device: "auto", "cpu", "cuda" or "mps".
        stop: asked after each step; True ends the call with a checkpoint.
        on_progress: called with (fraction of the run, sentence); may raise `Cancelled`.

    Raises:
        UserError: a name or value is wrong, the pictures cannot be used, or the folder holds a run.
    """
    place = find_device(device)
    packed = find_pictures(config, on_progress)
    given: dict[str, Tensor] = {}
    if are_features(config.start):
        if packed is None:
            raise UserError("Features need pictures: name them with --data; glyphs are for runs with a network.")
        given = read_features(Path(str(config.start)), packed)
        config = replace(config, architecture="features", features=given["train"].shape[1], pretext=None)
    config, notes = fitted(config, len(packed.train.names) if packed else config.glyphs[0])
    notes += [f"Left out {name}: {reason}" for name, reason in (packed.skipped if packed else ())]
    processes = Processes()
    if processes.first:
        store = RunStore.create(folder, config, _about(packed, notes))
        if packed is not None:
            write_pictures(store, packed)
        if given:
            store.write(GIVEN, given)
    processes.wait()  # for the files
    runner = _Runner(RunStore.open(folder), place, processes, on_progress)
    return replace(runner.go(stop), notes=tuple(notes))


def resume(
    folder: Path,
    *,
    device: str = "auto",
    stop: Stop = lambda: False,
    on_progress: Progress | None = None,
) -> Outcome:
    """Go on with a run; on one CPU what comes out is what an uninterrupted run gives, bit for bit.

    Raises:
        UserError: the folder holds no run, or its files do not belong together.
    """
    return _Runner(RunStore.open(folder), find_device(device), Processes(), on_progress).go(stop)


def _about(packed: Packed | None, notes: list[str]) -> dict[str, Any]:
    if packed is None:
        data: dict[str, Any] = {"drawing": VERSION}
    else:
        data = {
            "fingerprint": packed.fingerprint,
            "train": len(packed.train.names),
            "validation": len(packed.validation.names),
            "skipped": [list(each) for each in packed.skipped],
        }
    versions = {"python": platform.python_version(), "torch": torch.__version__, "torchvision": torchvision.__version__}
    return {"data": data, "notes": notes, "versions": versions}


class _Runner:
    """A run on its way through its stages."""

    def __init__(
        self, store: RunStore, device: torch.device, processes: Processes, on_progress: Progress | None
    ) -> None:
        self.store, self.config, self.processes = store, store.config, processes
        if processes.world > 1:
            store.share(processes.first, processes.wait)
        self.scene = open_scene(store, device, processes)
        self.stages = Stages(store, self.scene)
        self._on_progress = on_progress
        self._begun: tuple[float, float] | None = None  # when, and the fraction of the run that was done then

    def go(self, stop: Stop) -> Outcome:
        """Do what is left to do."""
        names = stages_of(self.config)
        for name in names:
            if name in self.store.done:
                continue
            kind, _, tag = name.partition("-")
            group = next((each for each in self.config.groups if each.tag == tag), None)
            tell = self._progress(name)
            do = self.stages
            done = {
                "pretext": lambda: do.pretext(stop, tell),  # noqa: B023 - called before the next turn
                "neighbours": lambda: do.neighbours(tell),  # noqa: B023
                "heads": lambda: do.heads(_needed(group), stop, tell),  # noqa: B023
                "finetune": lambda: do.finetune(_needed(group), stop, tell),  # noqa: B023
                "selflabel": lambda: do.selflabel(_needed(group), stop, tell),  # noqa: B023
                "predictions": lambda: do.predictions(_needed(group)),  # noqa: B023
            }[kind]()
            if not done:
                self.processes.close()
                return Outcome(self.store.folder, False)
            if self.processes.any(stop()) and name != names[-1]:
                self.processes.close()
                return Outcome(self.store.folder, False)
        self.processes.close()
        return Outcome(self.store.folder, True)

    def _progress(self, name: str) -> Progress:
        """Report a stage as its share of the whole run, with the time left."""
        cost = costs(self.config, len(self.scene.train), len(self.scene.validation))
        names = stages_of(self.config)
        total = sum(cost.values())
        first = sum(cost[each] for each in names[: names.index(name)]) / total
        last = first + cost[name] / total

        def tell(fraction: float, sentence: str) -> None:
            done = first + (last - first) * fraction
            if self._begun is None:
                self._begun = (time.monotonic(), done)
            begun, before = self._begun
            left = (time.monotonic() - begun) / max(1e-9, done - before) * (1 - done)
            wait = "" if done <= before else f", {left / 60:.0f} min left" if left > 90 else f", {left:.0f} s left"
            if self._on_progress:
                self._on_progress(done, sentence + wait)

        return tell


def _needed(group: Group | None) -> Group:
    assert group is not None
    return group
