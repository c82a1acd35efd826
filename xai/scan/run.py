"""Open a clustering run and ask it: heads, features, neighbours, assignments, pictures, networks."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xai.errors import UserError, one_of
from xai.io.geometry import InputFormat, prepare_images
from xai.io.images import Image, load_image
from xai.load import load_model
from xai.model import Model
from xai.scan.augment import draw_alike, random_views
from xai.scan.config import Group, Pretext, ScanConfig
from xai.scan.data import stored_pictures
from xai.scan.nets import HeadBank, PretextNetwork, build_backbone, feature_width, with_head
from xai.scan.pictures import SPLITS, Pictures
from xai.scan.store import RunStore

EMBEDDING = 5  # in the keys of random choices, where stages have 1 to 4
FINEST = 7  # places along a side that the layer of a map should have: the last maps of small networks are smaller
EMBEDDED = Path(__file__).parent / "embedded"
Made = TypeVar("Made")


@dataclass(frozen=True)
class Head:
    """One head of a run.

    Attributes:
        name: such as "k8", or "k8-2" for the second best of that size.
        clusters: their number.
        replica: 0 for the best by the unsupervised score, then the others.
        group: heads that were trained together.
    """

    name: str
    clusters: int
    replica: int = 0
    group: str = "main"


def heads_of(group: Group) -> tuple[Head, ...]:
    """Name the heads of a group: sizes in order, the best of each size first."""
    return tuple(
        Head(f"k{size}" if replica == 0 else f"k{size}-{replica + 1}", size, replica, group.tag)
        for size in group.heads
        for replica in range(group.replicas)
    )


def open_run(folder: str | Path) -> ScanRun:
    """Open a run.

    Args:
        folder: of the run, or "embedded" for the one that ships.

    Raises:
        UserError: there is none, or its files do not belong together.
    """
    place = EMBEDDED if str(folder) == "embedded" else Path(folder)
    return ScanRun(RunStore.open(place), "embedded" if place == EMBEDDED else place.resolve().name)


class ScanRun:
    """A run for reading; every artefact is checked against its SHA-256 when it is first read.

    Attributes:
        folder: of the run.
        config: what it was told.
        name: of the folder, or "embedded".
        heads: of all groups that are finished; for each size the best first.
        format: what its networks want to be given.
    """

    def __init__(self, store: RunStore, name: str) -> None:
        self.store, self.name = store, name
        self.folder, self.config = store.folder, store.config
        self.heads = tuple(
            head for group in self.config.groups if f"predictions-{group.tag}" in store.done for head in heads_of(group)
        )
        size = self.config.size
        self.format = InputFormat(self.config.mean, self.config.std, (size, size), size)
        self._kept: dict[object, Any] = {}
        self._lock = threading.RLock()

    def head(self, head: str | int | Head | None = None) -> Head:
        """Find a head by name or number of clusters; None: the middle size of the first group.

        Raises:
            UserError: there is none, or no head is trained yet.
        """
        if isinstance(head, Head):
            return head
        if not self.heads:
            raise UserError(
                f"The run {self.name} has no trained heads yet; go on with `xai scan resume {self.folder}`."
            )
        if head is None:
            sizes = self.config.groups[0].heads
            head = sizes[len(sizes) // 2]
        text = str(head)
        wanted = f"k{text}" if text.isdecimal() else text
        found = next((each for each in self.heads if each.name == wanted), None)
        if found is None:
            raise one_of("head", head, [each.name for each in self.heads])
        return found

    @property
    def has_network(self) -> bool:
        """Whether it can be asked about other pictures, and why; a run from given features cannot."""
        return not self.config.features

    def _need_network(self) -> None:
        if not self.has_network:
            raise UserError(
                f"The run {self.name} was made from features, without a network: its clusters have no maps, and other "
                "pictures cannot be asked about."
            )

    def network(self, head: str | int | Head | None = None) -> nn.Module:
        """Network of a head: normalised pixels (N, 3, h, w) to cluster logits (N, k), in eval mode, frozen.

        Raises:
            UserError: there is no such head, or the run has no network.
        """
        chosen = self.head(head)
        return self._keep(("network", chosen.name), lambda: self._network(chosen))

    def _network(self, head: Head) -> nn.Module:
        backbone, bank = self._group(head.group)
        return with_head(backbone, bank.head(head.clusters, head.replica))

    def _group(self, tag: str) -> tuple[nn.Module, HeadBank]:
        """Backbone and heads of a group, eval mode."""
        self._need_network()
        return self._keep(("group", tag), lambda: read_group(self.store, tag))

    def model(self, head: str | int | Head | None = None) -> Model:
        """A head as a classifier of clusters: every method of the registry explains its logits."""
        chosen = self.head(head)
        return self._keep(("model", chosen.name), lambda: self._model(chosen))

    def _model(self, head: Head) -> Model:
        loaded = load_model(
            self.network(head),
            mean=self.format.mean,
            std=self.format.std,
            input_size=self.format.size,
            class_names=[f"cluster {number}" for number in range(head.clusters)],
            device="cpu",
        )
        fine = [
            each.name for each in loaded.layers().values() if each.group == "stage" and min(each.shape[1:]) >= FINEST
        ]
        return replace(
            loaded,
            name=f"{self.name} {head.name}",
            fmt=self.format,  # a run's pictures are seen whole: their shorter side is the working size
            default_layer=fine[-1] if fine else loaded.default_layer,
        )

    def features(self, split: str) -> np.ndarray:
        """Features of the pretext task, in which neighbours were looked for: float32 (N, D), each of length 1."""
        _check_split(split)
        return self._keep(("features", split), lambda: self._features(split))

    def _features(self, split: str) -> np.ndarray:
        found = self.store.read("features")[split].float()
        return torch.nn.functional.normalize(found, dim=1).numpy()

    def probabilities(self, head: str | int | Head | None, split: str) -> np.ndarray:
        """Probability of each cluster for each picture, float32 (N, k)."""
        _check_split(split)
        chosen = self.head(head)
        name = f"predictions-{chosen.group}"
        found = self._keep(name, lambda: self.store.read(name))[f"{chosen.name}/{split}"].float()
        return (found / found.sum(1, keepdim=True)).numpy()

    def assigned(self, head: str | int | Head | None, split: str) -> np.ndarray:
        """Most probable cluster of each picture, int64 (N,)."""
        chosen = self.head(head)
        return self._keep(("assigned", chosen.name, split), lambda: self.probabilities(chosen, split).argmax(1))

    def neighbours(self, split: str) -> tuple[np.ndarray, np.ndarray]:
        """Nearest training pictures of each picture, itself left out.

        Returns:
            Places among the training pictures, int32 (N, K), nearest first, and cosines, float16 (N, K).
        """
        _check_split(split)
        found = self._keep("neighbours", lambda: self.store.read("neighbours"))
        return found[f"{split}/indices"].numpy(), found[f"{split}/similarities"].numpy()

    def pictures(self, split: str) -> Pictures:
        """The pictures at working size, with names, labels where they are known, and for glyphs masks and words."""
        _check_split(split)
        return self._keep(("pictures", split), lambda: stored_pictures(self.store, split))

    def pretext(self) -> PretextNetwork:
        """The network of the pretext task, in eval mode."""
        self._need_network()
        return self._keep("pretext", lambda: read_pretext(self.store))

    def prepare(self, picture: np.ndarray | Image) -> Tensor:
        """Working pixels of one picture, float32 (1, 3, h, w) in [0, 1]."""
        return prepare_images([load_image(picture)], self.format).pixels

    def normalise(self, pixels: Tensor) -> Tensor:
        """What the networks take, from pixels in [0, 1]."""
        mean = torch.tensor(self.format.mean).view(1, 3, 1, 1)
        return (pixels - mean) / torch.tensor(self.format.std).view(1, 3, 1, 1)

    @torch.inference_mode()
    def assign(self, picture: np.ndarray | Image, heads: Sequence[Head] | None = None) -> dict[str, np.ndarray]:
        """Probability of each cluster for one picture, float32 (k,), by name of the head, in the order of the heads.

        One pass for each group.
        """
        chosen = self.heads if heads is None else heads
        pixels = self.normalise(self.prepare(picture))
        found: dict[str, np.ndarray] = {}
        for tag in dict.fromkeys(head.group for head in chosen):
            backbone, bank = self._group(tag)
            scores = dict(zip(bank.sizes, bank(backbone(pixels)), strict=True))
            for head in chosen:
                if head.group == tag:
                    found[head.name] = scores[head.clusters][0, head.replica].softmax(0).numpy()
        return {head.name: found[head.name] for head in chosen}

    @torch.inference_mode()
    def embed(self, picture: np.ndarray | Image) -> np.ndarray:
        """Features of one picture, float32 (D,), of length 1, comparable with `features`.

        Args:
            picture: uint8 (h, w, 3) of any size, or an `Image`.
        """
        pixels = (self.prepare(picture) * 255).round().byte()
        return embed_pixels(self.pretext(), pixels, self.config)[0].numpy()

    @property
    def history(self) -> list[dict[str, Any]]:
        """Rows of training, in order: stage, epoch, losses, and for heads the share of pictures in each cluster."""
        return self.store.history()

    def _keep(self, key: object, make: Callable[[], Made]) -> Made:
        with self._lock:
            if key not in self._kept:
                self._kept[key] = make()
            return self._kept[key]


def _check_split(split: str) -> None:
    if split not in SPLITS:
        raise one_of("split", split, SPLITS)


@torch.no_grad()
def embed_pixels(network: PretextNetwork, pixels: Tensor, config: ScanConfig) -> Tensor:
    """Embed pictures for comparison by cosine: in the run's space, over its embedding views.

    Args:
        network: of the pretext task, in eval mode.
        pixels: uint8 (N, 3, h, w), at working size, on the network's device.
        config: of the run.

    Returns:
        Float32 (N, D), of length 1.
    """
    mean, std = (torch.tensor(each, device=pixels.device).view(1, 3, 1, 1) for each in (config.mean, config.std))

    def vectors(seen: Tensor) -> Tensor:
        features = network.backbone((seen - mean) / std)
        return F.normalize((network.projector(features) if config.space == "projector" else features).float(), dim=1)

    if not config.embedding_views:
        return vectors(pixels.float() / 255)
    views = (config.pretext or config.groups[0].training).views
    draws = [
        draw_alike((config.seed, EMBEDDING, view), len(pixels), pixels.device) for view in range(config.embedding_views)
    ]
    return F.normalize(torch.stack([vectors(random_views(pixels, views, each)) for each in draws]).sum(0), dim=1)


def read_pretext(store: RunStore) -> PretextNetwork:
    """Build the network of the pretext task with the weights of a run, in eval mode."""
    config = store.config
    network = build_pretext(config)
    network.load_state_dict({key: _whole(value) for key, value in store.read("pretext").items()})
    return network.eval().requires_grad_(False)


def read_group(store: RunStore, tag: str) -> tuple[nn.Module, HeadBank]:
    """Build backbone and heads of a group with the latest weights of a run, in eval mode."""
    config = store.config
    bank = empty_bank(config, tag)
    name = f"network-{tag}"
    if store.has(name):
        tensors = {key: _whole(value) for key, value in store.read(name).items()}
        backbone = build_backbone(config.architecture)
        backbone.load_state_dict(_below(tensors, "backbone."))
        bank.load_state_dict(_below(tensors, "heads."))
    else:  # heads on the features of the pretext task
        backbone = read_pretext(store).backbone
        bank.load_state_dict({key: _whole(value) for key, value in store.read(f"heads-{tag}").items()})
    return backbone.eval().requires_grad_(False), bank.eval().requires_grad_(False)


def empty_bank(config: ScanConfig, tag: str) -> HeadBank:
    """Build the heads of a group with random weights."""
    group = next(each for each in config.groups if each.tag == tag)
    return HeadBank(config.features or feature_width(config.architecture), group.heads, group.replicas)


def build_pretext(config: ScanConfig) -> PretextNetwork:
    """Build the network of the pretext task with random weights."""
    plan = config.pretext or Pretext()
    return PretextNetwork(config.architecture, plan.projection, plan.hidden if plan.method == "byol" else None)


def _whole(value: Tensor) -> Tensor:
    return value.float() if value.is_floating_point() else value


def _below(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
