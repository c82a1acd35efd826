"""Every network is taken apart into stages, blocks and convolutions as people know them: xai.compute.layers."""

from __future__ import annotations

import copy
from collections import Counter, OrderedDict

import pytest
import torch
import torchvision
from networks import (
    CLASSES,
    DenseNet,
    Head,
    ResidualNet,
    ReusedNet,
    TokenNet,
    TupleNet,
    VggNet,
    classifier_of,
    one_thread,  # noqa: F401
    random_pixels,
    seeded,
    tokens_to_map,
)
from torch import nn

from xai.compute.layers import GROUPS, discover_layers, offered, propose_layer
from xai.compute.trace import Classifier, record_outputs
from xai.errors import UserError
from xai.io.models import MODELS
from xai.load import load_model

# name -> stages with channels and side at the weights' own input size, blocks, convolutions
EXPECTED = {
    "resnet50": ("relu 64 112, layer1 256 56, layer2 512 28, layer3 1024 14, layer4 2048 7", 16, 53),
    "resnet18": ("relu 64 112, layer1 64 56, layer2 128 28, layer3 256 14, layer4 512 7", 8, 20),
    "resnet34": ("relu 64 112, layer1 64 56, layer2 128 28, layer3 256 14, layer4 512 7", 16, 36),
    "resnet101": ("relu 64 112, layer1 256 56, layer2 512 28, layer3 1024 14, layer4 2048 7", 33, 104),
    "resnext50_32x4d": ("relu 64 112, layer1 256 56, layer2 512 28, layer3 1024 14, layer4 2048 7", 16, 53),
    "wide_resnet50_2": ("relu 64 112, layer1 256 56, layer2 512 28, layer3 1024 14, layer4 2048 7", 16, 53),
    "vgg16": ("features.3 64 224, features.8 128 112, features.15 256 56, features.22 512 28, features.29 512 14", 0, 13),
    "vgg16_bn": ("features.5 64 224, features.12 128 112, features.22 256 56, features.32 512 28, features.42 512 14", 0, 13),
    "alexnet": ("features.1 64 55, features.4 192 27, features.11 256 13", 0, 5),
    "densenet121": (
        "features.relu0 64 112, features.denseblock1 256 56, features.denseblock2 512 28, "
        "features.denseblock3 1024 14, features.norm5 1024 7",
        61,
        120,
    ),
    "mobilenet_v2": (
        "features.1 16 112, features.3 24 56, features.6 32 28, features.13 96 14, features.18 1280 7",
        14,
        52,
    ),
    "mobilenet_v3_small": (
        "features.0 16 112, features.1 16 56, features.3 24 28, features.8 48 14, features.12 576 7",
        8,
        34,
    ),
    "mobilenet_v3_large": (
        "features.1 16 112, features.3 24 56, features.6 40 28, features.12 112 14, features.16 960 7",
        12,
        46,
    ),
    "efficientnet_b0": (
        "features.1 16 112, features.2 24 56, features.3 40 28, features.5 112 14, features.8 1280 7",
        None,
        None,
    ),
    "convnext_tiny": ("features.1 96 56, features.3 192 28, features.5 384 14, features.7 768 7", None, 22),
    "squeezenet1_1": ("features.1 64 111, features.4 128 55, features.7 256 27, features.12 512 13", None, 26),
    "googlenet": ("conv1 64 112, conv3 192 56, inception3b 480 28, inception4e 832 14, inception5b 1024 7", None, 57),
    "inception_v3": (None, None, 94),
    "shufflenet_v2_x1_0": ("conv1 24 112, stage2 116 28, stage3 232 14, conv5 1024 7", 16, 56),
    "mnasnet1_0": ("layers.7 16 112, layers.8 24 56, layers.9 40 28, layers.11 96 14, layers.16 1280 7", None, 52),
    "regnet_y_400mf": (
        "stem 32 112, trunk_output.block1 48 56, trunk_output.block2 104 28, trunk_output.block3 208 14, "
        "trunk_output.block4 440 7",
        16,
        None,
    ),
}


def layers_without_computing(name):
    """Discover the layers of an architecture at its own input size, on tensors that have a shape and no values."""
    entry = MODELS[name]
    classifier = Classifier(entry.build_empty(), [0.0] * 3, [1.0] * 3).to("meta")
    size = entry.preset(entry.default_weights).fmt.size
    _, outputs = record_outputs(classifier, torch.zeros(1, 3, *size, device="meta"))
    return classifier.network, discover_layers(classifier.network, outputs, 1000)


@pytest.mark.parametrize("name", MODELS)
def test_every_offered_architecture(name):
    network, layers = layers_without_computing(name)
    stages, blocks, convolutions = EXPECTED[name]
    groups = Counter(layer.group for layer in layers.values())
    found = [(layer.name, layer.shape) for layer in layers.values() if layer.group == "stage"]
    print(name, ", ".join(f"{n} {s[0]} {s[1]}" for n, s in found), groups)
    if stages is not None:
        assert found == [(n, (int(c), int(side), int(side))) for n, c, side in (s.split() for s in stages.split(", "))]
    assert propose_layer(layers) == found[-1][0]
    own = [n for n, module in network.named_modules() if isinstance(module, nn.Conv2d)]
    if convolutions is not None:
        assert groups["convolution"] == convolutions
    if blocks is not None:
        assert groups["block"] == blocks
    if name in ("resnet50", "vgg16", "densenet121"):
        assert [n for n in own if n not in layers] == []
    assert set(layers) <= {n for n, _ in network.named_modules()} and set(groups) <= set(GROUPS)
    assert not any("classifier" in n or n.startswith("fc") for n in layers if layers[n].group == "stage")
