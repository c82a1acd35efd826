"""Do the stages of a run in order, each once; a run that was stopped or killed goes on where its last checkpoint is."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor

from xai.errors import UserError
from xai.io.weights import load_state, read_state_dict
from xai.load import find_device
from xai.scan.config import Group, ScanConfig
from xai.scan.data import Packed, find_pictures, write_pictures
from xai.scan.finetune import ClusterNetwork, FineTuneStage
from xai.scan.glyphs import VERSION
from xai.scan.heads import HeadStage, cache_views
from xai.scan.loop import PREVIOUS, Loop, Stage
from xai.scan.neighbours import nearest, purity
from xai.scan.nets import PretextNetwork
from xai.scan.pretext import PretextStage, new_network
from xai.scan.run import embed_pixels, heads_of, projection_width, read_group, read_pretext
from xai.scan.scene import Scene, halves, open_scene
from xai.scan.selflabel import SelfLabelStage
from xai.scan.store import RunStore
from xai.scan.usage import overall
from xai.training.batches import Progress
from xai.training.checkpoint import CHECKPOINT
from xai.training.distributed import Processes

Stop = Callable[[], bool]


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
    config, notes = fitted(config, len(packed.train.names) if packed else config.glyphs[0])
    processes = Processes()
    if processes.first:
        store = RunStore.create(folder, config, _about(packed, notes))
        if packed is not None:
            write_pictures(store, packed)
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


def fitted(config: ScanConfig, count: int) -> tuple[ScanConfig, list[str]]:
    """Make batches no larger than the data, and say so.

    Raises:
        UserError: there are too few pictures for that many neighbours.
    """
    if count <= config.neighbours + 1:
        raise UserError(
            f"{count} training pictures are too few for {config.neighbours} neighbours each; "
            f"lower --neighbours below {count - 1} or give more pictures."
        )
    notes: list[str] = []

    def fit(stage: Any, name: str) -> Any:
        if stage is None or stage.batch <= count:
            return stage
        notes.append(f"The {name} batch of {stage.batch} is larger than the {count} training pictures; {count} it is.")
        return replace(stage, batch=count)

    groups = tuple(
        replace(
            group,
            training=fit(group.training, "head training"),
            finetune=fit(group.finetune, "fine-tuning"),
            selflabel=fit(group.selflabel, "self-labelling"),
        )
        for group in config.groups
    )
    return replace(config, pretext=fit(config.pretext, "pretext"), groups=groups), notes


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


def stages_of(config: ScanConfig) -> list[str]:
    """Names of the stages of a run, in order."""
    names = ["pretext", "neighbours"]
    for group in config.groups:
        names.append(f"heads-{group.tag}")
        names += [f"finetune-{group.tag}"] * (group.finetune is not None)
        names += [f"selflabel-{group.tag}"] * (group.selflabel is not None)
        names.append(f"predictions-{group.tag}")
    return names


def costs(config: ScanConfig, train: int, validation: int) -> dict[str, float]:
    """What each stage costs, in forward passes of one picture; a trained view counts as three."""
    both = train + validation
    made: dict[str, float] = {"neighbours": both}
    made["pretext"] = 6.0 * train * config.pretext.epochs if config.pretext else 1.0
    for group in config.groups:
        made[f"heads-{group.tag}"] = train * (1 + group.training.cached) + 0.02 * train * group.training.epochs
        if group.finetune:
            made[f"finetune-{group.tag}"] = group.finetune.epochs * (6.0 * train + 2 * both)
        if group.selflabel:
            made[f"selflabel-{group.tag}"] = group.selflabel.epochs * (4.0 * train + 2 * both)
        made[f"predictions-{group.tag}"] = both
    return made


class _Runner:
    """A run on its way through its stages."""

    def __init__(
        self, store: RunStore, device: torch.device, processes: Processes, on_progress: Progress | None
    ) -> None:
        self.store, self.config, self.processes = store, store.config, processes
        if processes.world > 1:
            store.share(processes.first, processes.wait)
        self.scene = open_scene(store, device, processes)
        self.history = store.history()
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
            done = {
                "pretext": lambda: self._pretext(stop, tell),  # noqa: B023 - called before the next turn
                "neighbours": lambda: self._neighbours(tell),  # noqa: B023
                "heads": lambda: self._heads(_needed(group), stop, tell),  # noqa: B023
                "finetune": lambda: self._finetune(_needed(group), stop, tell),  # noqa: B023
                "selflabel": lambda: self._selflabel(_needed(group), stop, tell),  # noqa: B023
                "predictions": lambda: self._predictions(_needed(group)),  # noqa: B023
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

    def _loop(self, stage: Stage, stop: Stop, tell: Progress) -> bool:
        """Run a stage from its last checkpoint, or from its beginning."""
        loop = Loop(stage, self.scene, self.history)
        if not loop.load():
            earlier = stages_of(self.config)[: stages_of(self.config).index(stage.name)]
            self.history[:] = [row for row in self.history if row["stage"] in earlier]
        return loop.run(stop, tell)

    def _finish(self, name: str, **facts: Any) -> bool:
        """Write down that a stage is finished; its checkpoint is of no more use."""
        self.store.write_history(self.history)
        self.store.finish(name, **facts)
        for file in (CHECKPOINT, PREVIOUS) if self.processes.first else ():
            (self.store.folder / file).unlink(missing_ok=True)
        return True

    def _pretext(self, stop: Stop, tell: Progress) -> bool:
        config, plan = self.config, self.config.pretext
        network = new_network(self.scene, projection_width(config))
        if config.start is not None:
            load_backbone(network, config.start)
        if plan is not None:
            stage = PretextStage(self.scene, plan, network)
            if not self._loop(stage, stop, tell):
                return False
            network = stage.network
        self.store.write("pretext", halves(network.state_dict(), config.half))
        return self._finish("pretext", **_last(self.history, "pretext", "knn"))

    def _neighbours(self, tell: Progress) -> bool:
        """Features of all pictures, and for each its nearest training pictures."""
        scene, config = self.scene, self.config
        network = scene.ready(read_pretext(self.store))
        parts = {}
        for split, pixels in (("train", scene.train), ("validation", scene.validation)):
            tell(0.1, f"features of the {split} pictures")
            parts[split] = scene.outputs(lambda x: embed_pixels(network, x, config.space), pixels).half()
        self.store.write("features", parts, ("pretext",))
        base = F.normalize(parts["train"].float(), dim=1)
        found: dict[str, Tensor] = {}
        for split, own in (("train", 0), ("validation", None)):
            queries = F.normalize(parts[split].float(), dim=1)
            places, likeness = nearest(
                queries, base, config.neighbours, own=own, on_progress=lambda f: tell(0.5 + 0.5 * f, "neighbours")
            )
            found[f"{split}/indices"], found[f"{split}/similarities"] = places.int(), likeness.half()
        self.store.write("neighbours", found, ("features",))
        facts = {}
        if scene.labels is not None and scene.base_labels is not None:
            labels = {"train": scene.base_labels.numpy(), "validation": scene.labels.numpy()}
            facts = {
                f"purity_{split}": purity(found[f"{split}/indices"].cpu().numpy(), labels[split], labels["train"])
                for split in parts
            }
        return self._finish("neighbours", **facts)

    def _heads(self, group: Group, stop: Stop, tell: Progress) -> bool:
        scene, number = self.scene, self.config.groups.index(group)
        backbone = scene.ready(read_pretext(self.store).backbone)
        cache = f"views-{group.tag}"
        if not self.store.has(cache):
            views = cache_views(scene, backbone, group.training, number, lambda f, text: tell(0.9 * f, text))
            plain = scene.outputs(backbone, scene.validation).half()
            self.store.write(cache, {"train": views, "validation": plain}, ("pretext",))
        tensors = {key: value.to(scene.device) for key, value in self.store.read(cache).items()}
        near = self._near()
        stage = HeadStage(scene, group, number, tensors["train"], tensors["validation"], *near)
        if not self._loop(stage, stop, scaled_tail(tell)):
            return False
        bank = stage.finished(self.history)
        self.store.write(f"heads-{group.tag}", dict(bank.state_dict()), ("pretext", "neighbours"))
        self._finish(f"heads-{group.tag}")
        self.store.drop(cache)
        return True

    def _finetune(self, group: Group, stop: Stop, tell: Progress) -> bool:
        scene, number = self.scene, self.config.groups.index(group)
        network = ClusterNetwork(*read_group(self.store, group.tag))
        near, held_near = self._near()
        stage = FineTuneStage(scene, group, number, network, near, held_near)
        before = overall(stage.kept.measure(scene, held_near))
        if not self._loop(stage, stop, tell):
            return False
        return self._keep_network(stage.name, group, stage.kept, held_near, before.score)

    def _selflabel(self, group: Group, stop: Stop, tell: Progress) -> bool:
        scene, number = self.scene, self.config.groups.index(group)
        held_near = self._near()[1]
        stage = SelfLabelStage(scene, group, number, ClusterNetwork(*read_group(self.store, group.tag)), held_near)
        before = overall(read_cluster_network(self.store, group.tag, scene).measure(scene, held_near))
        if not self._loop(stage, stop, tell):
            return False
        return self._keep_network(stage.name, group, stage.kept, held_near, before.score)

    def _keep_network(
        self, stage: str, group: Group, network: ClusterNetwork, held_near: Tensor, before: float
    ) -> bool:
        """Write the network that a stage ended with, and which of its epochs that was (0: the one that came in)."""
        measured = overall(network.measure(self.scene, held_near))
        kept = [row["epoch"] for row in self.history if row["stage"] == stage and row["kept"]]
        name = f"network-{group.tag}"
        self.store.write(name, halves(network.state_dict(), self.config.half), ("pretext", "neighbours"))
        return self._finish(stage, kept_epoch=max(kept, default=0), score_before=before, score=measured.score)

    def _predictions(self, group: Group) -> bool:
        """Probabilities of every head for every picture."""
        scene = self.scene
        network = read_cluster_network(self.store, group.tag, scene)
        made: dict[str, Tensor] = {}
        for split, pixels in (("train", scene.train), ("validation", scene.validation)):
            scores = network.heads.split(scene.outputs(network, pixels))
            by_size = dict(zip(group.heads, scores, strict=True))
            for head in heads_of(group):
                made[f"{head.name}/{split}"] = by_size[head.clusters][:, head.replica].softmax(1).half()
        network_name = f"network-{group.tag}"
        parents = (network_name,) if self.store.has(network_name) else ("pretext", f"heads-{group.tag}")
        self.store.write(f"predictions-{group.tag}", made, parents)
        return self._finish(f"predictions-{group.tag}")

    def _near(self) -> tuple[Tensor, Tensor]:
        found = self.store.read("neighbours")
        device = self.scene.device
        return (found["train/indices"].long().to(device), found["validation/indices"].long().to(device))


def read_cluster_network(store: RunStore, tag: str, scene: Scene) -> ClusterNetwork:
    """Backbone and heads of a group as they are in the store, on the scene's device."""
    return scene.ready(ClusterNetwork(*read_group(store, tag)))


def load_backbone(network: PretextNetwork, source: str) -> None:
    """Put weights from a file into the backbone; a last linear layer of a classifier is left out.

    Raises:
        UserError: the file cannot be read or does not fit.
    """
    state = read_state_dict(source)
    state = {key.removeprefix("backbone."): value for key, value in state.items()}
    own = network.backbone.state_dict()
    state = {key: value for key, value in state.items() if key in own or not key.startswith(("fc.", "projector."))}
    load_state(network.backbone, state, source)


def scaled_tail(tell: Progress) -> Progress:
    """The last tenth of a stage."""
    return lambda fraction, sentence: tell(0.9 + 0.1 * fraction, sentence)


def _needed(group: Group | None) -> Group:
    assert group is not None
    return group


def _last(history: list[dict[str, Any]], stage: str, entry: str) -> dict[str, Any]:
    found = [row[entry] for row in history if row["stage"] == stage and entry in row]
    return {entry: found[-1]} if found else {}
