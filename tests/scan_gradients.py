"""Run by torchrun from test_scan_runs: write the gradients of one step of each stage, made by 1 or 2 processes."""

from __future__ import annotations

import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import torch
from test_scan_runs import TINY
from torch import nn

from xai.scan import nets
from xai.scan.finetune import ClusterNetwork, FineTuneStage
from xai.scan.pretext import PretextStage, new_network
from xai.scan.scene import open_scene
from xai.scan.selflabel import SelfLabelStage
from xai.scan.store import RunStore
from xai.training.distributed import Processes


class Plain(nn.Module):
    """No norms: the gradient of a batch is that of its pictures."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3, stride=2)
        self.fc: nn.Module = nn.Identity()

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.fc(self.conv1(pixels).relu().mean((2, 3)))


def gradients(target: Path, folder: Path) -> None:
    """Step once in each stage, and write the gradients to the target; the run has the folder for its own."""
    nets.ARCHITECTURES = {**nets.ARCHITECTURES, "plain": (Plain, 8)}
    processes = Processes()
    config = replace(TINY, architecture="plain")
    store = RunStore.create(folder, config, {})
    scene = open_scene(store, torch.device("cpu"), processes)
    found: dict[str, torch.Tensor] = {}

    def step(stage: PretextStage | FineTuneStage | SelfLabelStage) -> None:
        stage.open(0)
        stage.step(0, 0)
        for name, weight in stage.network.named_parameters():
            assert weight.grad is not None
            found[f"{stage.name}/{name}"] = weight.grad.clone()

    pretext = new_network(scene)
    near = torch.randint(0, 64, (64, 4), generator=torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    heads = nets.HeadBank(8, (3, 5), 2)
    group = config.groups[0]
    finetune = FineTuneStage(scene, group, 0, ClusterNetwork(pretext.backbone, heads), near, near[:24])
    step(finetune)
    selflabel = SelfLabelStage(scene, group, 0, ClusterNetwork(pretext.backbone, heads), near[:24])
    step(selflabel)
    assert config.pretext is not None
    for looks in (2, 3):
        stage = PretextStage(scene, replace(config.pretext, looks=looks), new_network(scene))
        stage.name = f"pretext with {looks} views"
        step(stage)
    if processes.first:
        torch.save(found, target)
    processes.close()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as own:
        gradients(Path(sys.argv[1]), Path(own))
