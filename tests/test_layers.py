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
    random_pixels,
    seeded,
    tokens_to_map,
)
from torch import nn

from xai.compute.layers import GROUPS, discover_layers, offered, propose_layer
from xai.compute.trace import Classifier, record_outputs, trace_pixels
from xai.errors import UserError
from xai.io.models import MODELS
from xai.load import load_model

# name -> stages with channels and side at the weights' own input size, blocks, convolutions
EXPECTED = {
    "bundled": ("layer1 32 32, layer2 64 16, layer3 128 8, layer4 256 8", 7, 18),
    "resnet50": ("relu 64 112, layer1 256 56, layer2 512 28, layer3 1024 14, layer4 2048 7", 16, 53),
    "resnet18": ("relu 64 112, layer1 64 56, layer2 128 28, layer3 256 14, layer4 512 7", 8, 20),
    "resnet34": ("relu 64 112, layer1 64 56, layer2 128 28, layer3 256 14, layer4 512 7", 16, 36),
    "resnet101": ("relu 64 112, layer1 256 56, layer2 512 28, layer3 1024 14, layer4 2048 7", 33, 104),
    "resnext50_32x4d": ("relu 64 112, layer1 256 56, layer2 512 28, layer3 1024 14, layer4 2048 7", 16, 53),
    "wide_resnet50_2": ("relu 64 112, layer1 256 56, layer2 512 28, layer3 1024 14, layer4 2048 7", 16, 53),
    "vgg16": (
        "features.3 64 224, features.8 128 112, features.15 256 56, features.22 512 28, features.29 512 14",
        0,
        13,
    ),
    "vgg16_bn": (
        "features.5 64 224, features.12 128 112, features.22 256 56, features.32 512 28, features.42 512 14",
        0,
        13,
    ),
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
        17,
        49,
    ),
    "convnext_tiny": ("features.1 96 56, features.3 192 28, features.5 384 14, features.7 768 7", 19, 22),
    "squeezenet1_1": ("features.1 64 111, features.4 128 55, features.7 256 27, features.12 512 13", 5, 26),
    "googlenet": ("conv1 64 112, conv3 192 56, inception3b 480 28, inception4e 832 14, inception5b 1024 7", 7, 57),
    "inception_v3": (
        "Conv2d_1a_3x3 32 149, Conv2d_2b_3x3 64 147, Conv2d_3b_1x1 80 73, Conv2d_4a_3x3 192 71, Mixed_5d 288 35, "
        "Mixed_6e 768 17, Mixed_7c 2048 8",
        9,
        94,
    ),
    "shufflenet_v2_x1_0": ("conv1 24 112, stage2 116 28, stage3 232 14, stage4 464 7, conv5 1024 7", 16, 56),
    "mnasnet1_0": ("layers.7 16 112, layers.8 24 56, layers.9 40 28, layers.11 96 14, layers.16 1280 7", 16, 52),
    "regnet_y_400mf": (
        "stem 32 112, trunk_output.block1 48 56, trunk_output.block2 104 28, trunk_output.block3 208 14, "
        "trunk_output.block4 440 7",
        16,
        53,
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
    assert ", ".join(f"{n} {channels} {side}" for n, (channels, side, _) in found) == stages
    assert all(height == width for _, (_, height, width) in found)
    assert (groups["block"], groups["convolution"]) == (blocks, convolutions)
    assert propose_layer(layers) == found[-1][0]
    assert set(groups) <= set(GROUPS)
    modules = dict(network.named_modules())
    for layer in layers.values():
        assert layer.kind == type(modules[layer.name]).__name__
        assert layer.group != "convolution" or isinstance(modules[layer.name], nn.Conv2d)
        assert layer.group != "block" or next(modules[layer.name].children(), None) is not None


def test_resnet_50_has_53_convolutions_49_of_them_on_the_main_path():
    _, layers = layers_without_computing("resnet50")
    convolutions = [layer.name for layer in layers.values() if layer.group == "convolution"]
    assert len(convolutions) == 53
    assert len([name for name in convolutions if "downsample" not in name]) == 49
    assert convolutions[0] == "conv1" and layers["conv1"].shape == (64, 112, 112)
    order = list(layers)
    assert order.index("layer1.0.conv1") < order.index("layer1.0.bn1") < order.index("layer1.0") < order.index("layer1")
    assert "layer4.2" not in [name for name in offered(layers) if layers[name].group == "stage"]
    assert layers["layer4.2"].kind == "Bottleneck" and layers["layer4.2"].group == "block"
    assert layers["layer3.1.relu"].calls == 3 and layers["layer3.1.relu"].group == "other"
    assert layers["layer2"].label == "layer2 · stage · 512 × 28 × 28"
    assert "fc" not in layers and "avgpool" not in layers
    assert [n for n in offered(layers) if layers[n].group == "other"] == []


def layers_of(network, size=16, **options):
    """Discover the layers of an own network."""
    classifier = Classifier(copy.deepcopy(network), [0.0] * 3, [1.0] * 3, **options)
    scores, outputs = record_outputs(classifier, random_pixels(1, size))
    return discover_layers(classifier.network, outputs, scores.shape[1])


def stages_of(layers):
    return [layer.name for layer in layers.values() if layer.group == "stage"]


class Backbone(nn.Module):
    """Gives features at three resolutions as a dict; the head reads the last."""

    def __init__(self):
        super().__init__()
        self.steps = nn.ModuleList(nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in ((3, 4), (4, 6), (6, 8)))

    def forward(self, x):
        features = OrderedDict()
        for name, step in enumerate(self.steps):
            x = features[str(name)] = step(x).relu()
        return features


class Detector(nn.Module):
    """A backbone that returns features, and a head."""

    def __init__(self):
        super().__init__()
        self.backbone = Backbone()
        self.head = Head(8)

    def forward(self, x):
        return self.head(self.backbone(x)["2"])


def three_resolutions():
    """A container that changes the resolution twice is no stage itself."""
    steps = (nn.Conv2d(a, b, 3, stride, 1) for a, b, stride in ((3, 4, 1), (4, 6, 2), (6, 8, 2)))
    return nn.Sequential(nn.Sequential(*steps), Head(8))


class OnlyPoints(nn.Module):
    """All maps are 1 x 1."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 16)
        self.more = nn.Conv2d(6, 4, 1)
        self.head = Head(4)

    def forward(self, x):
        return self.head(self.more(self.conv(x)))


class ConvolutionalHead(nn.Module):
    """The last convolution has one channel per class, as in SqueezeNet."""

    def __init__(self):
        super().__init__()
        self.trunk = nn.Sequential(
            nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 7, 3, padding=1)
        )
        self.classes = nn.Conv2d(7, CLASSES, 1)

    def forward(self, x):
        return self.classes(self.trunk(x)).mean((2, 3))


@pytest.mark.parametrize(
    ("build", "stages", "default"),
    [
        (ResidualNet, ["stage1", "stage2"], "stage2"),
        (VggNet, ["1", "6"], "6"),
        (DenseNet, ["norm"], "norm"),
        (ReusedNet, ["conv"], "conv"),
        (TupleNet, ["right"], "right"),
        (Detector, ["backbone.steps.0", "backbone.steps.1", "backbone.steps.2"], "backbone.steps.2"),
        (OnlyPoints, ["more"], "more"),
        (ConvolutionalHead, ["trunk"], "trunk"),
        (three_resolutions, ["0.0", "0.1", "0.2"], "0.2"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_own_networks_of_odd_structure(build, stages, default):
    network = seeded(build)
    layers = layers_of(network)
    assert stages_of(layers) == stages
    assert propose_layer(layers) == default
    assert default in offered(layers)
    names = [name for name, _ in network.named_modules()]
    assert set(layers) <= set(names)
    model = load_model(network, input_size=16)
    assert (model.default_layer, list(model.all_layers)) == (default, list(layers))
    assert list(model.layers()) == list(offered(layers))


def test_shapes_are_channels_height_width():
    classifier = classifier_of(seeded(ResidualNet))
    _, outputs = record_outputs(classifier, torch.rand(1, 3, 16, 32))
    layers = discover_layers(classifier.network, outputs, CLASSES)
    assert layers["stage2"].shape == (8, 8, 16) and layers["stem"].shape == (6, 16, 32)


def test_a_network_without_maps_is_one_sentence():
    flat = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 4))
    assert layers_of(flat) == {}
    with pytest.raises(UserError, match=r"No module of Sequential yields feature maps \(N, C, h, w\).*reshape"):
        load_model(flat, input_size=16)


def test_a_transformer_offers_its_blocks_through_reshape():
    network = seeded(TokenNet)
    assert list(layers_of(network)) == ["patches"]
    layers = layers_of(network, reshape=tokens_to_map)
    assert layers["blocks.1"].shape == (8, 4, 4)
    assert layers["blocks.1"].group in ("stage", "block")
    model = load_model(network, input_size=16, reshape=tokens_to_map)
    assert {"blocks.0", "blocks.1"} <= set(model.layers())
    check_default_matters(model, "blocks.0")


def test_torchvisions_transformer_offers_its_blocks_through_reshape():
    network = torchvision.models.VisionTransformer(32, 8, 2, 2, 16, 32, num_classes=CLASSES).eval()
    nn.init.normal_(network.heads.head.weight)  # starts as zero
    model = load_model(network, input_size=32, reshape=tokens_to_map)
    blocks = [f"encoder.layers.encoder_layer_{n}" for n in (0, 1)]
    assert all(model.all_layers[name].shape == (16, 4, 4) for name in blocks)
    assert set(blocks) <= set(model.layers())
    check_default_matters(model, blocks[0])


def check_default_matters(model, expected):
    """Only the class token of the last block reaches the head: at the default layer the places must count, too."""
    assert model.default_layer == expected
    trace = trace_pixels(model.classifier, random_pixels(1, model.input_size[0]), list(model.layers()))
    assert trace.gradients(expected, [1]).abs().sum() > 0
    assert trace.gradients(list(model.layers())[-1], [1]).abs().sum() == 0


def test_one_module_at_two_places_is_listed_once():
    class Shared(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.Conv2d(3, 4, 3, padding=1)
            self.one = nn.Conv2d(4, 4, 3, padding=1)
            self.two = self.one
            self.head = Head(4)

        def forward(self, x):
            return self.head(self.two(self.one(self.first(x))))

    layers = layers_of(seeded(Shared))
    assert list(layers) == ["first", "one"] and layers["one"].calls == 2


def test_rows_of_blocks_are_stages_also_where_the_resolution_stays() -> None:
    """A dilated ResNet keeps the resolution of layer2 to the end; its stages are still the four it names."""
    network = torchvision.models.resnet50(weights=None, replace_stride_with_dilation=[False, True, True])
    classifier = Classifier(network, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
    _, outputs = record_outputs(classifier, torch.full((1, 3, 64, 64), 0.5))
    layers = discover_layers(network, outputs, 1000)
    stages = [name for name, layer in layers.items() if layer.group == "stage"]
    assert stages == ["relu", "layer1", "layer2", "layer3", "layer4"]
