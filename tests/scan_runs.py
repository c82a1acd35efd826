"""A small clustering run for tests, made without training: its heads know what was drawn.

The network is random, its heads are fitted to the labels by ridge regression, so that clusters mean something, and
the files are those that training writes.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from xai.scan.config import Group, Pretext, ScanConfig
from xai.scan.glyphs import Glyphs
from xai.scan.nets import HeadBank, PretextNetwork
from xai.scan.pictures import GlyphPictures, all_pixels
from xai.scan.run import ScanRun, open_run
from xai.scan.store import RunStore

SIZES = {3: "family", 8: "shape"}


def make_run(folder: Path, train: int = 240, validation: int = 48, replicas: int = 2) -> ScanRun:
    """Write a run with heads of 3 and 8 clusters into a folder and open it."""
    group = Group(heads=tuple(SIZES), replicas=replicas, finetune=None, selflabel=None)
    config = ScanConfig(
        architecture="micro", glyphs=(train, validation), neighbours=5, pretext=Pretext(projection=32), groups=(group,)
    )
    store = RunStore.create(folder, config, {})
    torch.manual_seed(0)
    network = PretextNetwork("micro", 32).eval()
    sets = {name: GlyphPictures(Glyphs(n, 0, name)) for name, n in (("train", train), ("validation", validation))}
    with torch.no_grad():
        pixels = {name: (all_pixels(each).float() / 255 - 0.5) / 0.25 for name, each in sets.items()}
        backbone = {name: network.backbone(each) for name, each in pixels.items()}
        features = {name: F.normalize(network.projector(each), dim=1) for name, each in backbone.items()}
    bank = HeadBank(64, tuple(SIZES), replicas)
    for size, level in SIZES.items():
        labels = torch.from_numpy(sets["train"].levels[level].labels)
        for replica in range(replicas):
            _fit(bank, size, replica, backbone["train"], F.one_hot(labels, size).float())
    store.write("pretext", network.state_dict())
    store.write("heads-main", bank.state_dict(), ["pretext"])
    store.write("features", {name: each.half() for name, each in features.items()}, ["pretext"])
    store.write("neighbours", _mine(features), ["features"])
    store.write("predictions-main", _predict(bank, backbone), ["heads-main"])
    for stage in ("pretext", "features", "neighbours", "heads-main", "predictions-main"):
        store.finish(stage)
    store.write_history(_history())
    return open_run(folder)


@torch.no_grad()
def _fit(bank: HeadBank, size: int, replica: int, features: torch.Tensor, wanted: torch.Tensor) -> None:
    """Ridge regression of one-hot labels, with a little noise for each replica."""
    mean, rows = features.mean(0), bank.rows(size, replica)
    centred = features - mean
    weight = torch.linalg.solve(
        centred.T @ centred + 1e-2 * torch.eye(len(mean)), centred.T @ (wanted - wanted.mean(0))
    )
    weight = 8 * (weight + 0.05 * replica * weight.std() * torch.randn(weight.shape))
    bank.linear.weight[rows] = weight.T
    bank.linear.bias[rows] = -mean @ weight


def _mine(features: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    found = {}
    for name, each in features.items():
        alike = each @ features["train"].T
        if name == "train":
            alike.fill_diagonal_(-2)
        best = alike.topk(5)
        found |= {f"{name}/indices": best.indices.int(), f"{name}/similarities": best.values.half()}
    return found


@torch.no_grad()
def _predict(bank: HeadBank, backbone: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    found = {}
    for name, each in backbone.items():
        for scores in bank(each):
            for replica in range(scores.shape[1]):
                head = f"k{scores.shape[2]}" + (f"-{replica + 1}" if replica else "")
                found[f"{head}/{name}"] = scores[:, replica].softmax(1).half()
    return found


def _history() -> list[dict]:
    random = np.random.default_rng(0)
    rows: list[dict] = [{"stage": "pretext", "epoch": epoch, "loss": 5.0 - epoch} for epoch in (1, 2)]
    for epoch in (1, 2, 3):
        usage = {f"k{size}": random.dirichlet(np.full(size, 9.0)).round(4).tolist() for size in SIZES}
        if epoch > 1:
            usage["k8"][5] = 0.0
        rows.append({"stage": "heads-main", "epoch": epoch, "loss": 2.0 - 0.1 * epoch, "usage": usage})
    return rows
