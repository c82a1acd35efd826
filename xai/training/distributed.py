"""Several processes, one per GPU or machine, started by `torchrun`: they share batches and average gradients."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

import torch
import torch.distributed as dist
from torch import Tensor, nn

from xai.training.batches import Share

_COMPILED = 10_000_000  # pictures: compiling takes about as long as a million of them


class Processes:
    """The processes of a run; alone, every method gives back what it got.

    Attributes:
        rank: number of this process.
        world: how many there are.
    """

    def __init__(self) -> None:
        self.world = int(os.environ.get("WORLD_SIZE", "1"))
        self.rank = int(os.environ.get("RANK", "0"))
        if self.world > 1 and not dist.is_initialized():
            dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
        self._place = torch.device("cuda", self.local) if torch.cuda.is_available() else torch.device("cpu")

    @property
    def local(self) -> int:
        """Number of this process on its machine, which is the number of its GPU."""
        return int(os.environ.get("LOCAL_RANK", "0"))

    @property
    def first(self) -> bool:
        """Whether this process writes files and speaks."""
        return self.rank == 0

    @property
    def share(self) -> Share:
        """The part of each batch that this process takes."""
        return Share(self.rank, self.world)

    def synchronised(self, network: nn.Module) -> nn.Module:
        """Let batch norms see the whole batch; gloo cannot, there each process norms its own part."""
        if self.world > 1 and torch.cuda.is_available():
            return nn.SyncBatchNorm.convert_sync_batchnorm(network)
        return network

    def wrapped(self, network: nn.Module, device: torch.device, pictures: int) -> Callable[[Tensor], Tensor]:
        """Average gradients over processes; on a GPU compile the network where so many pictures are worth it."""
        if self.world > 1:
            network = nn.parallel.DistributedDataParallel(
                network, device_ids=[device.index] if device.type == "cuda" else None
            )
        worth = device.type == "cuda" and pictures >= _COMPILED
        return torch.compile(network, dynamic=False) if worth else network

    def added(self, values: Tensor) -> Tensor:
        """Add up a tensor over processes."""
        if self.world == 1:
            return values
        total = values.to(self._place)
        dist.all_reduce(total)
        return total.cpu()

    def summed(self, values: Sequence[float]) -> list[float]:
        """Add up numbers over processes."""
        return self.added(torch.tensor(values, dtype=torch.float64)).tolist()

    def wait(self) -> None:
        """Wait until all processes are here."""
        self.summed([0.0])

    def agree(self, network: nn.Module) -> None:
        """Give all processes the first one's running means: without synchronised norms each has its own."""
        if self.world > 1:
            for buffer in network.buffers():
                dist.broadcast(buffer, 0)

    def any(self, wish: bool) -> bool:
        """Whether any process wishes it."""
        return wish if self.world == 1 else self.summed([float(wish)])[0] > 0

    def close(self) -> None:
        """Leave the others."""
        if self.world > 1 and dist.is_initialized():
            dist.destroy_process_group()
