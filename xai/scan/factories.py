"""Networks with a head by name, for model files: `xai.scan.factories:tiny_8` is the tiny network with 8 clusters."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from xai.scan.nets import ARCHITECTURES, build_backbone, feature_width


def __getattr__(name: str) -> Callable[[], nn.Module]:
    """Make the factory of ARCHITECTURE_CLUSTERS, dashes written as underscores."""
    wanted, _, clusters = name.rpartition("_")
    architecture = next((each for each in ARCHITECTURES if each.replace("-", "_") == wanted), None)
    if architecture is None or not clusters.isdecimal():
        raise AttributeError(f"no network is called {name!r}")

    def build() -> nn.Module:
        network = build_backbone(architecture)
        network.fc = nn.Linear(feature_width(architecture), int(clusters))
        return network

    return build
