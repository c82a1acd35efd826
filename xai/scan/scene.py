"""What every stage of a run works with: pictures on the device, batches that depend on nothing but their place."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

from xai.io.geometry import InputFormat
from xai.scan.augment import Draws, draw, random_views
from xai.scan.config import FineTuning, Pretext, SelfLabelling, Views
from xai.scan.data import stored_pictures
from xai.scan.device import moved
from xai.scan.pictures import SPLITS, Pictures, all_pixels
from xai.scan.store import RunStore
from xai.training.batches import steps_per_epoch
from xai.training.distributed import Processes
from xai.training.evaluation import Normalise

Network = TypeVar("Network", bound=nn.Module)
_FORWARD, _FORWARD_GPU = 500, 5000  # pictures in one forward pass without gradients
_SETTLING = 5000  # pictures that batch norms are settled on
_VIEWED = 256  # the same, where random views are made on the way, with a key for each such block


@dataclass(frozen=True)
class Batch:
    """Pictures of one step.

    Attributes:
        own: places of those that this process takes, int64 (n,).
        rows: where these stand in the whole batch.
        total: pictures in the whole batch.
        key: of every random choice about it.
    """

    own: Tensor
    rows: range
    total: int
    key: tuple[int, ...]

    def draws(self, use: int, device: torch.device) -> Draws:
        """Random choices for each of the own pictures; another `use` gives others."""
        return draw((*self.key, use), self.total, self.rows, device)


class Scene:
    """Pictures, device and processes of a run.

    Attributes:
        store: of the run.
        train, validation: uint8 (N, 3, h, w) on the device.
        labels, base_labels: of validation and training pictures, or None; for measuring only.
    """

    def __init__(
        self, store: RunStore, train: Pictures, validation: Pictures, device: torch.device, processes: Processes
    ) -> None:
        self.store, self.config, self.device, self.processes = store, store.config, device, processes
        self.train, self.validation = all_pixels(train).to(device), all_pixels(validation).to(device)
        self.labels = None if validation.labels is None else torch.from_numpy(validation.labels)
        self.base_labels = None if train.labels is None else torch.from_numpy(train.labels)
        size = self.config.size
        self._normalise = Normalise(InputFormat(self.config.mean, self.config.std, (size, size), size), device)
        self._mean = torch.tensor(self.config.mean, device=device).view(1, 3, 1, 1)
        self._scale = 1 / torch.tensor(self.config.std, device=device).view(1, 3, 1, 1)
        self._kept_order: tuple[tuple[int, int] | None, np.ndarray] = (None, np.zeros(0, np.int64))

    def steps(self, batch: int) -> int:
        """Steps in a pass over the training pictures."""
        return steps_per_epoch(len(self.train), batch)

    def batch(self, stage: int, epoch: int, step: int, size: int) -> Batch:
        """Batch number `step` of an epoch; what is left over at the end of an epoch is left out."""
        chosen = self._order(stage, epoch)[step * size : (step + 1) * size]
        each = len(chosen) // self.processes.world
        rows = range(self.processes.rank * each, (self.processes.rank + 1) * each)
        own = moved(chosen[rows.start : rows.stop], self.device)
        return Batch(own, rows, each * self.processes.world, (self.config.seed, stage, epoch, step))

    def _order(self, stage: int, epoch: int) -> np.ndarray:
        """The training pictures in the order of an epoch; the last order is kept."""
        if self._kept_order[0] != (stage, epoch):
            drawn = np.random.default_rng((self.config.seed, stage, epoch)).permutation(len(self.train))
            self._kept_order = ((stage, epoch), drawn)
        return self._kept_order[1]

    def view(self, pixels: Tensor, views: Views, draws: Draws) -> Tensor:
        """Random views of pictures, uint8 (n, 3, h, w), normalised, float32 (n, 3, h, w)."""
        made = random_views(pixels, views, draws)
        return ((made - self._mean) * self._scale).contiguous(memory_format=torch.channels_last)

    def views(self, places: Sequence[Tensor], views: Views, batch: Batch) -> Tensor:
        """Random views of the pictures at each of several lists of places, made together: (n + n + ..., 3, h, w)."""
        draws = [batch.draws(use, self.device) for use in range(len(places))]
        return self.view(self.train[torch.cat(list(places))], views, Draws.joined(draws))

    def computing(self) -> AbstractContextManager[Any]:
        """Forward passes in bfloat16 on a GPU."""
        return torch.autocast("cuda", torch.bfloat16) if self.device.type == "cuda" else nullcontext()

    def ready(self, network: Network) -> Network:
        """Move a network to the device, in the memory layout that is fastest, with norms over all processes."""
        moved: Any = self.processes.synchronised(network).to(self.device)
        return moved.to(memory_format=torch.channels_last)

    @torch.no_grad()
    def outputs(self, network: Callable[[Tensor], Tensor], pixels: Tensor) -> Tensor:
        """What a network in eval mode makes of plain pictures, uint8 (N, 3, h, w), in float32 (N, ...)."""
        made = []
        for chunk in pixels.split(_FORWARD if self.device.type == "cpu" else _FORWARD_GPU):
            with self.computing():
                made.append(network(self._normalise(chunk)).float())
        return torch.cat(made)

    @torch.no_grad()
    def view_outputs(
        self, network: Callable[[Tensor], Tensor], views: Views, key: tuple[int, ...], pixels: Tensor
    ) -> Tensor:
        """What a network in eval mode makes of one random view of each picture, uint8 (N, 3, h, w): float32 (N, ...).

        With the same key they are the same views.
        """
        made = []
        count = len(pixels)
        together = _VIEWED if self.device.type == "cpu" else _VIEWED * 20
        for start in range(0, count, together):
            own = pixels[start : start + together]
            firsts = range(start, start + len(own), _VIEWED)
            blocks = [(first, min(_VIEWED, count - first)) for first in firsts]
            draws = [draw((self.config.seed, *key, first), n, range(n), self.device) for first, n in blocks]
            shown = self.view(own, views, Draws.joined(draws))
            with self.computing():
                made.append(network(shown).float())
        return torch.cat(made)

    @torch.no_grad()
    def settle_norms(self, network: nn.Module) -> None:
        """Set the running statistics of batch norms to their mean over plain training pictures, 5,000 at most."""
        norms = [module for module in network.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
        momenta = [norm.momentum for norm in norms]
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # a plain mean
            norm.train()
        places = torch.from_numpy(self._order(0, 0)[:_SETTLING]).to(self.device)
        for own in places.chunk(-(-len(places) // _FORWARD)) if norms else ():
            with self.computing():
                network(self._normalise(self.train[own]))
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum

    def gathered(self, values: Tensor) -> Tensor:
        """Put the rows of all processes together, in the order of the batch; gradients find their way back."""
        return values if self.processes.world == 1 else _Gather.apply(values, self.processes.rank, self.processes.world)

    def gathered_places(self, places: Tensor) -> Tensor:
        """Put the places of all processes together, in the order of the batch."""
        if self.processes.world == 1:
            return places
        parts = [torch.empty_like(places) for _ in range(self.processes.world)]
        dist.all_gather(parts, places)
        return torch.cat(parts)


class _Gather(torch.autograd.Function):
    """Concatenate over processes; every process then computes the same loss, so gradients are added up.

    DDP averages the gradients of the weights over processes: the sum here makes the average the gradient of the loss
    over the whole batch.
    """

    @staticmethod
    def forward(context: Any, values: Tensor, rank: int, world: int) -> Tensor:
        context.rank, context.count = rank, len(values)
        parts = [torch.empty_like(values) for _ in range(world)]
        dist.all_gather(parts, values.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        total = gradients[0].contiguous().clone()
        dist.all_reduce(total)
        first = context.rank * context.count
        return total[first : first + context.count], None, None


def open_scene(store: RunStore, device: torch.device, processes: Processes) -> Scene:
    """Load the pictures of a run; torch computes with as many threads as the run says."""
    torch.set_num_threads(store.config.threads)
    if device.type == "cuda":
        device = torch.device("cuda", processes.local)
        torch.backends.cudnn.benchmark = True  # all batches of a stage have one shape
    train, validation = (stored_pictures(store, split) for split in SPLITS)
    return Scene(store, train, validation, device, processes)


def make_adam(modules: Sequence[nn.Module], rate: float, decay: float) -> torch.optim.Optimizer:
    """Adam over all weights that train; biases and norms do not decay."""
    trained = [p for module in modules for p in module.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=rate)


def follow_schedule(
    optimizer: torch.optim.Optimizer, plan: Pretext | FineTuning | SelfLabelling, step: int, steps: int
) -> None:
    """Set the learning rate of a step of a stage."""
    for group in optimizer.param_groups:
        group["lr"] = rate_at(plan.rate, plan.warmup, step, steps)


def rate_at(highest: float, warmup: float, step: int, steps: int) -> float:
    """Learning rate of a step: linear up for a share of the steps, then down a cosine."""
    rising = round(warmup * steps)
    if step < rising:
        return highest * (step + 1) / (rising + 1)
    return highest * 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1, steps - rising)))


def halves(state: dict[str, Tensor], half: bool) -> dict[str, Tensor]:
    """Keep floats in 16 bits where the run says so."""
    return {key: value.half() if half and value.is_floating_point() else value for key, value in state.items()}
