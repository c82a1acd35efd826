"""Tiny seeded networks for the tests, each odd in its own way; with `inplace` off, twins that write nothing over."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xai.compute.trace import Classifier, record_outputs

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.3, 0.25)
CLASSES = 5


def seeded(build: Callable[[], nn.Module], seed: int = 0) -> nn.Module:
    """Build a network in eval mode with seeded weights and batch norms that are not the identity."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = build()
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.uniform_(module.running_mean, -0.3, 0.3)
                nn.init.uniform_(module.running_var, 0.5, 1.5)
                nn.init.uniform_(module.weight, 0.5, 1.5)
                nn.init.uniform_(module.bias, -0.3, 0.3)
    return network.eval()


def classifier_of(network: nn.Module, size: int = 16) -> Classifier:
    """Wrap a copy of a network as `load_model` does."""
    classifier = Classifier(copy.deepcopy(network), MEAN, STD)
    record_outputs(classifier, torch.full((1, 3, size, size), 0.5))
    return classifier


def normalised(pixels: Tensor) -> Tensor:
    """Normalise pixels channel by channel, in the memory layout of the classifier: rounding depends on it."""
    stacked = torch.stack([(pixels[:, c] - MEAN[c]) / STD[c] for c in range(3)], dim=1)
    return stacked.contiguous(memory_format=torch.channels_last)


def random_pixels(images: int = 1, size: int = 16, seed: int = 0) -> Tensor:
    """Make pixels in [0, 1] (N, 3, size, size)."""
    return torch.rand(images, 3, size, size, generator=torch.Generator().manual_seed(seed))


def without_inplace(network: nn.Module) -> nn.Module:
    """Copy a network with every `inplace` option off, in modules and in the networks of this file."""
    network = copy.deepcopy(network)
    for module in network.modules():
        if hasattr(module, "inplace"):
            module.inplace = False
    return network


def hooked_forward(
    network: nn.Module, inputs: Tensor, names: Iterable[str] | None = None
) -> tuple[Tensor, dict[str, Tensor]]:
    """Run a copy of a network and note, by hooks of its own, a copy of what each module produced last."""
    network, seen = copy.deepcopy(network), {}
    for name, module in network.named_modules():
        if name and (names is None or name in names):
            module.register_forward_hook(
                lambda _m, _i, output, name=name: (
                    seen.__setitem__(name, output.detach().clone()) if isinstance(output, Tensor) else None
                )
            )
    with torch.no_grad():
        return network(inputs), seen


def retained_gradients(network: nn.Module, inputs: Tensor, target: int) -> dict[str, Tensor]:
    """Differentiate one score by what each module produced, with torch's own `retain_grad`; nothing may be in place."""
    network, seen = copy.deepcopy(network), {}

    def keep(name, output):
        if isinstance(output, Tensor) and output.requires_grad:
            output.retain_grad()
            seen[name] = output

    for name, module in network.named_modules():
        if name:
            module.register_forward_hook(lambda _m, _i, output, name=name: keep(name, output))
    network(inputs.clone().requires_grad_())[0, target].backward()
    return {name: output.grad for name, output in seen.items() if output.grad is not None}


def close(one: Tensor, other: Tensor, share: float = 1e-6) -> bool:
    """Whether two tensors agree to a share of the second one's largest value."""
    return one.shape == other.shape and bool((one - other).abs().max() <= share * other.abs().max().clamp_min(1e-12))


class Head(nn.Module):
    """Global average pooling and one linear layer."""

    def __init__(self, channels: int, classes: int = CLASSES) -> None:
        super().__init__()
        self.fc = nn.Linear(channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x.mean((2, 3)))


class Residual(nn.Module):
    """A ResNet block: convolution, batch norm, ReLU, convolution, batch norm, sum, ReLU."""

    def __init__(self, channels: int, inplace: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.bn2 = nn.BatchNorm2d(channels)
        self.inplace = inplace

    def forward(self, x: Tensor) -> Tensor:
        out = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        if self.inplace:
            out += x
        else:
            out = out + x
        return self.relu(out)


class ResidualNet(nn.Module):
    """Stem, two stages of residual blocks with a strided convolution between, pooling, linear."""

    def __init__(self, inplace: bool = True) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(inplace))
        self.stage1 = Residual(6, inplace)
        self.down = nn.Conv2d(6, 8, 3, stride=2, padding=1)
        self.stage2 = nn.Sequential(Residual(8, inplace), Residual(8, inplace))
        self.head = Head(8)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.stage2(self.down(self.stage1(self.stem(x)))))


class PreActivationNet(nn.Module):
    """The short cut is an identity module, and the ReLU that follows writes into the very same memory."""

    def __init__(self, inplace: bool = True) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, padding=1)
        self.shortcut = nn.Identity()
        self.relu = nn.ReLU(inplace)
        self.conv = nn.Conv2d(6, 6, 3, padding=1)
        self.head = Head(6)
        self.inplace = inplace

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        shortcut = self.shortcut(x)
        out = self.relu(x)
        if not self.inplace:
            shortcut = out  # what writing in place does to it
        return self.head(self.conv(out) + shortcut)


class DenseNet(nn.Module):
    """Layers joined by concatenation, and a functional ReLU after the last batch norm."""

    def __init__(self, inplace: bool = True) -> None:
        super().__init__()
        self.conv0 = nn.Conv2d(3, 4, 3, padding=1)
        self.conv1 = nn.Conv2d(4, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.head = Head(8)
        self.inplace = inplace

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv0(x)
        x = self.norm(torch.cat([x, self.conv1(x)], 1))
        return self.head(F.relu(x, inplace=self.inplace))


class ReusedNet(nn.Module):
    """One convolution runs twice; what it produced first is written over, what it produced last is not."""

    def __init__(self, inplace: bool = True) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.conv = nn.Conv2d(4, 4, 3, padding=1)
        self.head = Head(4)
        self.inplace = inplace

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.conv(self.stem(x)), inplace=self.inplace)
        return self.head(self.conv(x))


class VggNet(nn.Sequential):
    """Convolutions and ReLUs in one flat row."""

    def __init__(self, inplace: bool = True) -> None:
        super().__init__(
            nn.Conv2d(3, 4, 3, padding=1),
            nn.ReLU(inplace),
            nn.MaxPool2d(2),
            nn.Conv2d(4, 6, 3, padding=1),
            nn.ReLU(inplace),
            nn.Conv2d(6, 6, 3, padding=1),
            nn.ReLU(inplace),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
            nn.Linear(24, 8),
            nn.ReLU(inplace),
            nn.Dropout(),
            nn.Linear(8, CLASSES),
        )


class Split(nn.Module):
    """Gives two tensors."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x[:, :2], x[:, 2:]


class TupleNet(nn.Module):
    """A module inside gives a tuple, and so does the network: scores and features."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.split = Split()
        self.left = nn.Conv2d(2, 3, 3, padding=1)
        self.right = nn.Conv2d(2, 3, 3, padding=1)
        self.head = Head(3)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        left, right = self.split(self.conv(x).relu())
        features = self.left(left) * self.right(right)
        return self.head(features), features


class TokenNet(nn.Module):
    """A small transformer: 16 x 16 pixels become 4 x 4 tokens and a class token."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, 4, stride=4)
        self.token = nn.Parameter(torch.randn(1, 1, width))
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(width, 2, 16, dropout=0.0, batch_first=True) for _ in range(2)
        )
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patches(x).flatten(2).transpose(1, 2)  # (N, D, 4, 4) -> (N, 16, D)
        tokens = torch.cat([self.token.expand(len(x), -1, -1), tokens], 1)
        for block in self.blocks:
            tokens = block(tokens)
        return self.head(self.norm(tokens)[:, 0])


def tokens_to_map(tokens: Tensor) -> Tensor:
    """Lay out all tokens but the first as a map: (N, 1 + h*w, D) -> (N, D, h, w)."""
    side = round((tokens.shape[1] - 1) ** 0.5)
    return tokens[:, 1:].transpose(1, 2).unflatten(2, (side, side))
