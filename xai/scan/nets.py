"""Networks that turn pictures into features, and linear heads that turn features into clusters."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import resnet18, resnet50
from torchvision.models.resnet import BasicBlock, ResNet

from xai.errors import one_of


class TinyResNet(nn.Module):
    """A residual network (He et al. 2016) with one block per width, for pictures of 32 to 64 pixels.

    The first convolution and each stage after the first halve the maps: 32 x 32 pixels end in maps of 4 x 4. Layers
    have the names of torchvision's ResNets.
    """

    def __init__(self, widths: Sequence[int] = (32, 64, 128)) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, widths[0], 3, stride=2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        self.relu = nn.ReLU()
        self.stages = len(widths)
        before = widths[0]
        for stage, width in enumerate(widths, start=1):
            setattr(self, f"layer{stage}", nn.Sequential(_block(before, width, stride=1 if stage == 1 else 2)))
            before = width
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc: nn.Module = nn.Identity()
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, pixels: Tensor) -> Tensor:
        """Normalised pixels (N, 3, h, w) to features (N, D), or to what the head makes of them."""
        maps = self.relu(self.bn1(self.conv1(pixels)))
        for stage in range(1, self.stages + 1):
            maps = getattr(self, f"layer{stage}")(maps)
        return self.fc(self.avgpool(maps).flatten(1))  # (N, C, h, w) -> (N, C)


def _block(before: int, width: int, stride: int) -> BasicBlock:
    down = None
    if stride != 1 or before != width:
        down = nn.Sequential(nn.Conv2d(before, width, 1, stride, bias=False), nn.BatchNorm2d(width))
    return BasicBlock(before, width, stride, down)


def _small_picture_resnet(pool: bool) -> ResNet:
    """ResNet-18 whose first convolution is 3 x 3 with stride 1, as for CIFAR; with a 2 x 2 pooling for 96 pixels."""
    network = resnet18()
    network.conv1 = nn.Conv2d(3, 64, 3, stride=1, padding=1, bias=False)
    nn.init.kaiming_normal_(network.conv1.weight, mode="fan_out", nonlinearity="relu")
    network.maxpool = nn.MaxPool2d(2) if pool else nn.Identity()
    network.fc = nn.Identity()
    return network


def _plain_resnet50() -> ResNet:
    network = resnet50()
    network.fc = nn.Identity()
    return network


ARCHITECTURES: Mapping[str, tuple[Callable[[], nn.Module], int]] = MappingProxyType(
    {
        "micro": (lambda: TinyResNet((16, 32, 64)), 64),
        "tiny": (TinyResNet, 128),
        "resnet18-32": (lambda: _small_picture_resnet(pool=False), 512),
        "resnet18-96": (lambda: _small_picture_resnet(pool=True), 512),
        "resnet50": (_plain_resnet50, 2048),
    }
)


def build_backbone(architecture: str) -> nn.Module:
    """Build a network whose output is features (N, D), in train mode, with random weights.

    Raises:
        UserError: the architecture is unknown.
    """
    if architecture not in ARCHITECTURES:
        raise one_of("architecture", architecture, ARCHITECTURES)
    return ARCHITECTURES[architecture][0]()


def feature_width(architecture: str) -> int:
    """Number of features D that a backbone gives.

    Raises:
        UserError: the architecture is unknown.
    """
    if architecture not in ARCHITECTURES:
        raise one_of("architecture", architecture, ARCHITECTURES)
    return ARCHITECTURES[architecture][1]


class Projector(nn.Sequential):
    """The two layers between features and the vectors that the contrastive loss compares."""

    def __init__(self, width: int, projection: int) -> None:
        super().__init__(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, projection))


class NormedProjector(nn.Sequential):
    """Two layers with a batch norm between them: projector and predictor of BYOL."""

    def __init__(self, width: int, hidden: int, projection: int) -> None:
        first = nn.Linear(width, hidden, bias=False)
        super().__init__(first, nn.BatchNorm1d(hidden), nn.ReLU(), nn.Linear(hidden, projection))


class PretextNetwork(nn.Module):
    """Backbone and projector.

    Args of the constructor:
        architecture: of the backbone.
        projection: width P of the vectors.
        hidden: width of the layer before them, with a batch norm; None: that of the features, without.

    Attributes:
        backbone: normalised pixels (N, 3, h, w) to features (N, D).
        projector: features to vectors (N, P).
    """

    def __init__(self, architecture: str, projection: int, hidden: int | None = None) -> None:
        super().__init__()
        width = feature_width(architecture)
        self.backbone = build_backbone(architecture)
        self.projector: nn.Module = (
            Projector(width, projection) if hidden is None else NormedProjector(width, hidden, projection)
        )

    def forward(self, pixels: Tensor) -> Tensor:
        """Normalised pixels to vectors of length 1, (N, P)."""
        return F.normalize(self.projector(self.backbone(pixels)), dim=1)


class HeadBank(nn.Module):
    """Linear heads of several sizes, several of each, as one matrix.

    Attributes:
        sizes: numbers of clusters; replicas of one size stand side by side.
        replicas: heads of each size.
    """

    def __init__(self, width: int, sizes: Sequence[int], replicas: int) -> None:
        super().__init__()
        self.sizes, self.replicas = tuple(sizes), replicas
        self.linear = nn.Linear(width, sum(sizes) * replicas)

    def forward(self, features: Tensor) -> list[Tensor]:
        """Features (N, D) to cluster logits (N, R, k), one tensor for each size k."""
        return self.split(self.linear(features))

    def split(self, scores: Tensor) -> list[Tensor]:
        """Cut (N, R * sum of k) into (N, R, k) for each size."""
        parts = scores.split([size * self.replicas for size in self.sizes], dim=1)
        return [part.reshape(len(scores), self.replicas, size) for part, size in zip(parts, self.sizes, strict=True)]

    def rows(self, size: int, replica: int) -> slice:
        """Where one head stands in the matrix."""
        before = self.sizes[: self.sizes.index(size)]
        first = sum(before) * self.replicas + replica * size
        return slice(first, first + size)

    def head(self, size: int, replica: int) -> nn.Linear:
        """Copy one head out."""
        rows = self.rows(size, replica)
        linear = nn.Linear(self.linear.in_features, size)
        with torch.no_grad():
            linear.weight.copy_(self.linear.weight[rows])
            linear.bias.copy_(self.linear.bias[rows])
        return linear

    @torch.no_grad()
    def reorder(self, size: int, order: Sequence[int]) -> None:
        """Put the replicas of a size into another order."""
        weight, bias = self.linear.weight.clone(), self.linear.bias.clone()
        for place, replica in enumerate(order):
            self.linear.weight[self.rows(size, place)] = weight[self.rows(size, replica)]
            self.linear.bias[self.rows(size, place)] = bias[self.rows(size, replica)]

    @torch.no_grad()
    def first(self, replicas: int) -> HeadBank:
        """Copy the first replicas of each size into a bank of their own."""
        bank = HeadBank(self.linear.in_features, self.sizes, replicas)
        for size in self.sizes:
            for replica in range(replicas):
                bank.linear.weight[bank.rows(size, replica)] = self.linear.weight[self.rows(size, replica)]
                bank.linear.bias[bank.rows(size, replica)] = self.linear.bias[self.rows(size, replica)]
        return bank


def with_head(backbone: nn.Module, head: nn.Linear) -> nn.Module:
    """Copy a backbone and let it end in a head: normalised pixels (N, 3, h, w) to cluster logits (N, k), eval mode."""
    network = copy.deepcopy(backbone)
    network.fc = copy.deepcopy(head)
    return network.eval().requires_grad_(False)
