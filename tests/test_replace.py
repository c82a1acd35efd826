"""Scores with one layer's output changed, without a trace on the classifier that was asked: xai.compute.replace."""

from __future__ import annotations

import copy

import pytest
import torch
from networks import (
    DenseNet,
    PreActivationNet,
    ResidualNet,
    ReusedNet,
    TokenNet,
    VggNet,
    classifier_of,
    close,
    normalised,
    random_pixels,
    seeded,
    without_inplace,
)
from torch import nn

from xai.compute.replace import Replay
from xai.compute.trace import score_pixels

FACTORS = (1.0, 0.0, -0.5)
CASES = [  # network, layer, whether the part before it need not run on all variants
    (ResidualNet, "stem", True),
    (ResidualNet, "stage1.bn2", True),
    (ResidualNet, "down", True),
    (ResidualNet, "stage2.1.conv1", True),
    (ResidualNet, "stage2", True),
    (ResidualNet, "head.fc", True),
    (VggNet, "0", True),
    (VggNet, "1", True),
    (VggNet, "9", True),
    (DenseNet, "conv0", True),
    (DenseNet, "conv1", False),
    (DenseNet, "norm", True),
    (PreActivationNet, "conv", True),
    (PreActivationNet, "relu", False),  # works in place, and the short cut reads that memory
    (TokenNet, "patches", False),  # the class token is repeated for as many pictures as came in
    (TokenNet, "blocks.0", True),
]


def scaled(output):
    return torch.cat([output * factor for factor in FACTORS])


def score_by_hand(network, layer, pixels, factor):
    """Scores when the layer's output is multiplied, in a whole pass of a network of its own."""
    network = copy.deepcopy(network)
    network.get_submodule(layer).register_forward_hook(lambda _m, _i, output: output * factor)
    with torch.no_grad():
        return network(normalised(pixels))


@pytest.mark.parametrize(("build", "layer", "narrow"), CASES)
def test_scores_of_variants_equal_whole_passes_one_by_one(build, layer, narrow):
    network = seeded(build)
    replay = Replay(classifier_of(network), layer, random_pixels())
    assert replay.narrow == narrow
    for seed in (0, 7):  # also of another picture than the one it was tried on
        pixels = random_pixels(seed=seed)
        found = replay.score(pixels, scaled, 3)
        expected = torch.cat([score_by_hand(without_inplace(network), layer, pixels, factor) for factor in FACTORS])
        assert close(found, expected, 1e-5)
        assert not close(found[1:2], found[:1], 1e-3)


def test_of_several_runs_of_a_module_the_last_is_changed():
    network = seeded(ReusedNet)
    pixels = random_pixels()
    found = Replay(classifier_of(network), "conv", pixels).score(pixels, torch.zeros_like, 1)
    assert torch.allclose(found, network.head.fc.bias[None])
    with torch.no_grad():
        first = torch.relu(network.conv(network.stem(normalised(pixels))))
        twice = network.head(2 * network.conv(first))
    assert close(
        Replay(classifier_of(network), "conv", pixels).score(pixels, lambda output: 2 * output, 1), twice, 1e-5
    )


class Mixer(nn.Module):
    """Notes the number of pictures early and lays out its rows by that: broadcasting would mix variants."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, x):
        pictures = len(x)
        return self.conv(x).mean((2, 3)).view(pictures, -1)[:, :4]


def test_a_network_that_would_mix_the_variants_runs_whole():
    network = seeded(Mixer)
    pixels = random_pixels()
    replay = Replay(classifier_of(network), "conv", pixels)
    assert not replay.narrow
    expected = torch.cat([score_by_hand(network, "conv", pixels, factor) for factor in FACTORS])
    assert close(replay.score(pixels, scaled, 3), expected, 1e-5)


def test_the_classifier_is_not_touched_and_its_weights_are_not_copied():
    classifier = classifier_of(seeded(ResidualNet))
    pixels = random_pixels()
    hooks = {name: len(module._forward_hooks) for name, module in classifier.named_modules()}
    before = score_pixels(classifier, pixels)
    replay = Replay(classifier, "stage1", pixels)
    assert hooks == {name: len(module._forward_hooks) for name, module in classifier.named_modules()}
    replay.score(pixels, torch.zeros_like, 1)
    assert torch.equal(score_pixels(classifier, pixels), before)
    owned = {id(tensor) for tensor in (*classifier.parameters(), *classifier.buffers())}
    copied = [*replay._copy.parameters(), *replay._copy.buffers()]
    assert len(copied) == len(owned) and all(id(tensor) in owned for tensor in copied)
    assert not {id(module) for module in classifier.modules()} & {id(module) for module in replay._copy.modules()}


def test_what_precedes_the_layer_runs_on_one_picture_only():
    classifier = classifier_of(seeded(ResidualNet))
    replay = Replay(classifier, "stage1", random_pixels())
    seen = {}
    for name in ("stem", "down"):
        module = replay._copy.network.get_submodule(name)
        module.register_forward_hook(lambda _m, _i, output, name=name: seen.__setitem__(name, len(output)))
    assert replay.score(random_pixels(), scaled, 3).shape == (3, 5)
    assert seen == {"stem": 1, "down": 3}
