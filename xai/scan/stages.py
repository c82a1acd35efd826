"""The stages of a run: each reads what it needs from the run's folder and writes what came out of it there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from xai.io.weights import load_state, read_state_dict
from xai.scan.config import Group
from xai.scan.finetune import ClusterNetwork, FineTuneStage
from xai.scan.heads import HeadStage, cache_views
from xai.scan.loop import PREVIOUS, Loop, Stage
from xai.scan.neighbours import nearest, purity
from xai.scan.nets import PretextNetwork
from xai.scan.plan import stages_of
from xai.scan.pretext import PRETEXTS, new_network
from xai.scan.run import embed_pixels, empty_bank, heads_of, read_group, read_pretext
from xai.scan.scene import Scene, halves
from xai.scan.selflabel import SelfLabelStage
from xai.scan.store import GIVEN, RunStore
from xai.scan.usage import overall
from xai.training.batches import Progress
from xai.training.checkpoint import CHECKPOINT

Stop = Callable[[], bool]
_EMBEDDED, _EMBEDDED_GPU = 250, 2500  # pictures that are embedded together


class Stages:
    """Each method does one stage from its last checkpoint on; False: it was stopped before its end."""

    def __init__(self, store: RunStore, scene: Scene) -> None:
        self.store, self.config, self.scene, self.processes = store, store.config, scene, scene.processes
        self.history = store.history()

    def pretext(self, stop: Stop, tell: Progress) -> bool:
        """Learn features, or take weights that somebody else learned."""
        config, plan = self.config, self.config.pretext
        network = new_network(self.scene)
        if config.start is not None:
            load_backbone(network, config.start)
        if plan is not None:
            stage = PRETEXTS[plan.method](self.scene, plan, network)
            if not self._loop(stage, stop, tell):
                return False
            network = stage.network
        self.store.write("pretext", halves(network.state_dict(), config.half))
        return self._finish("pretext", **_last(self.history, "pretext", "knn"))

    def neighbours(self, tell: Progress) -> bool:
        """Features of all pictures, and for each its nearest training pictures."""
        scene = self.scene
        parts = self._given() if self.config.features else self._embedded(tell)
        self.store.write("features", parts, (self._source,))
        base = F.normalize(parts["train"].float(), dim=1)
        found: dict[str, Tensor] = {}
        for split, own in (("train", 0), ("validation", None)):
            queries = F.normalize(parts[split].float(), dim=1)
            places, likeness = self._mined(queries, base, own, lambda f: tell(0.5 + 0.5 * f, "neighbours"))
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

    @property
    def _source(self) -> str:
        """The artefact that features come from."""
        return GIVEN if self.config.features else "pretext"

    def _given(self) -> dict[str, Tensor]:
        """The features that the run was given, on the device."""
        return {split: values.to(self.scene.device) for split, values in self.store.read(GIVEN).items()}

    def _embedded(self, tell: Progress) -> dict[str, Tensor]:
        """Embed all pictures for comparison: float16 (N, D) by split."""
        scene, config = self.scene, self.config
        network = scene.ready(read_pretext(self.store))
        parts = {}
        together = _EMBEDDED if scene.device.type == "cpu" else _EMBEDDED_GPU
        for split, pixels in (("train", scene.train), ("validation", scene.validation)):
            tell(0.1, f"features of the {split} pictures")
            with scene.computing():
                made = [embed_pixels(network, some, config) for some in pixels.split(together)]
            parts[split] = torch.cat(made).half()
        return parts

    def _mined(
        self, queries: Tensor, base: Tensor, own: int | None, on_progress: Callable[[float], None]
    ) -> tuple[Tensor, Tensor]:
        """Neighbours of all queries; each process looks for those of its share."""
        count, processes = self.config.neighbours, self.processes
        edges = [len(queries) * part // processes.world for part in range(processes.world + 1)]
        first, last = edges[processes.rank : processes.rank + 2]
        places = torch.zeros(len(queries), count, dtype=torch.int64)
        likeness = torch.zeros(len(queries), count)
        start = None if own is None else own + first
        mine = nearest(queries[first:last], base, count, own=start, on_progress=on_progress)
        places[first:last], likeness[first:last] = mine[0].cpu(), mine[1].cpu()
        return processes.added(places), processes.added(likeness)

    def heads(self, group: Group, stop: Stop, tell: Progress) -> bool:
        """Train the heads of a group on cached features, and put the best of each size first."""
        scene, number = self.scene, self.config.groups.index(group)
        cache = f"views-{group.tag}"
        if self.config.features:
            given = self._given()
            tensors = {"train": given["train"].unsqueeze(0), "validation": given["validation"]}
        else:
            tensors = self._cached(cache, group, number, tell)
        near = self._near()
        stage = HeadStage(scene, group, number, tensors["train"], tensors["validation"], *near)
        if not self._loop(stage, stop, scaled_tail(tell)):
            return False
        bank = stage.finished(self.history)
        self.store.write(f"heads-{group.tag}", dict(bank.state_dict()), (self._source, "neighbours"))
        self._finish(f"heads-{group.tag}")
        self.store.drop(cache)
        return True

    def _cached(self, name: str, group: Group, number: int, tell: Progress) -> dict[str, Tensor]:
        """Features of training pictures in several views and of plain held-out ones, made once."""
        scene = self.scene
        if not self.store.has(name):
            backbone = scene.ready(read_pretext(self.store).backbone)
            views = cache_views(scene, backbone, group.training, number, lambda f, text: tell(0.9 * f, text))
            plain = scene.outputs(backbone, scene.validation).half()
            self.store.write(name, {"train": views, "validation": plain}, ("pretext",))
        return {key: value.to(scene.device) for key, value in self.store.read(name).items()}

    def finetune(self, group: Group, stop: Stop, tell: Progress) -> bool:
        """Train network and heads of a group together."""
        scene, number = self.scene, self.config.groups.index(group)
        network = ClusterNetwork(*read_group(self.store, group.tag))
        near, held_near = self._near()
        stage = FineTuneStage(scene, group, number, network, near, held_near)
        before = overall(stage.kept.measure(scene, held_near))
        if not self._loop(stage, stop, tell):
            return False
        kept = stage.finished(self.history)
        after = overall(stage.best())
        return self._keep_network(stage.name, group, kept, score_before=before.score, score=after.score)

    def selflabel(self, group: Group, stop: Stop, tell: Progress) -> bool:
        """Let confident pictures of a group teach, behind the gate."""
        scene, number = self.scene, self.config.groups.index(group)
        held_near = self._near()[1]
        stage = SelfLabelStage(scene, group, number, ClusterNetwork(*read_group(self.store, group.tag)), held_near)
        before = overall(stage.measure(stage.kept)[0])
        if not self._loop(stage, stop, tell):
            return False
        after = overall(stage.best())
        facts = {"score_before": before.score, "score": after.score, "views_before": before.views, "views": after.views}
        return self._keep_network(stage.name, group, stage.kept, **facts)

    def _keep_network(self, stage: str, group: Group, network: ClusterNetwork, **facts: float) -> bool:
        """Write the network that a stage ended with, and which of its epochs that was (0: the one that came in)."""
        kept = [row["epoch"] for row in self.history if row["stage"] == stage and row["kept"]]
        name = f"network-{group.tag}"
        self.store.write(name, halves(network.state_dict(), self.config.half), ("pretext", "neighbours"))
        return self._finish(stage, kept_epoch=max(kept, default=0), **facts)

    def predictions(self, group: Group) -> bool:
        """Probabilities of every head for every picture."""
        made: dict[str, Tensor] = {}
        for split, scores in self._scores(group).items():
            by_size = dict(zip(group.heads, scores, strict=True))
            for head in heads_of(group):
                made[f"{head.name}/{split}"] = by_size[head.clusters][:, head.replica].softmax(1).half()
        network_name = f"network-{group.tag}"
        parents = (network_name,) if self.store.has(network_name) else (self._source, f"heads-{group.tag}")
        self.store.write(f"predictions-{group.tag}", made, parents)
        return self._finish(f"predictions-{group.tag}")

    def _scores(self, group: Group) -> dict[str, list[Tensor]]:
        """Logits (N, R, k) of each size for all pictures, by split."""
        scene = self.scene
        if self.config.features:
            bank = empty_bank(self.config, group.tag).to(scene.device).requires_grad_(False)
            bank.load_state_dict(self.store.read(f"heads-{group.tag}"))
            return {split: bank(values) for split, values in self._given().items()}
        network = read_cluster_network(self.store, group.tag, scene)
        both = {"train": scene.train, "validation": scene.validation}
        return {split: network.heads.split(scene.outputs(network, pixels)) for split, pixels in both.items()}

    def _near(self) -> tuple[Tensor, Tensor]:
        found = self.store.read("neighbours")
        device = self.scene.device
        return (found["train/indices"].long().to(device), found["validation/indices"].long().to(device))

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


def _last(history: list[dict[str, Any]], stage: str, entry: str) -> dict[str, Any]:
    found = [row[entry] for row in history if row["stage"] == stage and entry in row]
    return {entry: found[-1]} if found else {}
