"""The twin that scores in less time: xai.compute.scoring."""

import pytest
import torch
from networks import (
    DenseNet,
    PreActivationNet,
    ResidualNet,
    ReusedNet,
    TupleNet,
    VggNet,
    classifier_of,
    close,
    random_pixels,
    seeded,
)
from torch import nn

from xai.compute import scoring
from xai.compute.prepare import prepare
from xai.compute.scoring import merged_copy, quick_scores, quick_twin
from xai.compute.trace import score_pixels

NETWORKS = [ResidualNet, PreActivationNet, DenseNet, ReusedNet, VggNet, TupleNet]


def gradient(classifier, pixels):
    pixels = pixels.clone().requires_grad_()
    return torch.autograd.grad(classifier(pixels)[:, 1].sum(), pixels)[0]


@pytest.mark.parametrize("build", NETWORKS)
def test_scores_and_gradients_are_the_same(build):
    classifier, pixels = classifier_of(seeded(build)), random_pixels(3)
    twin = quick_twin(classifier, pixels)
    assert twin is not classifier
    assert close(quick_scores(classifier, pixels), score_pixels(classifier, pixels), 1e-5)
    assert close(gradient(twin, pixels), gradient(classifier, pixels), 1e-4)


def test_batch_norms_behind_convolutions_are_gone_and_the_classifier_is_as_it_was():
    classifier = classifier_of(seeded(ResidualNet))
    before = {name: value.clone() for name, value in classifier.state_dict().items()}
    twin = quick_twin(classifier, random_pixels())
    assert not any(isinstance(module, nn.BatchNorm2d) for module in twin.modules())
    assert all(
        isinstance(module.inplace, bool) and module.inplace for module in twin.modules() if isinstance(module, nn.ReLU)
    )
    assert all(torch.equal(value, before[name]) for name, value in classifier.state_dict().items())
    assert any(isinstance(module, nn.BatchNorm2d) for module in classifier.modules())
    assert quick_twin(classifier, random_pixels()) is twin


def test_a_norm_whose_convolution_is_read_elsewhere_stays():
    class Read(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5)

        def forward(self, x):
            x = self.conv(x)
            return (self.norm(x).relu() + x).mean((2, 3))

    classifier, pixels = classifier_of(seeded(Read)), random_pixels(2)
    assert any(isinstance(module, nn.BatchNorm2d) for module in quick_twin(classifier, pixels).modules())
    assert close(quick_scores(classifier, pixels), score_pixels(classifier, pixels), 1e-5)


def test_new_weights_make_a_new_twin():
    classifier, pixels = classifier_of(seeded(ResidualNet)), random_pixels()
    before = quick_scores(classifier, pixels)
    with torch.no_grad():
        classifier.network.stem[0].weight.mul_(2)
    assert not torch.allclose(quick_scores(classifier, pixels), before)
    assert close(quick_scores(classifier, pixels), score_pixels(classifier, pixels), 1e-5)


def test_a_network_that_cannot_be_read_scores_itself():
    class Branching(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 5, 3)

        def forward(self, x):
            x = self.conv(x).mean((2, 3))
            return x if x.sum() > 0 else -x

    classifier, pixels = classifier_of(seeded(Branching)), random_pixels()
    assert quick_twin(classifier, pixels) is classifier
    assert torch.equal(quick_scores(classifier, pixels), score_pixels(classifier, pixels))


def test_a_twin_made_in_inference_mode_can_be_differentiated():
    classifier, pixels = classifier_of(seeded(ResidualNet)), random_pixels()
    with torch.inference_mode():
        quick_scores(classifier, pixels)
    assert gradient(quick_twin(classifier, pixels), pixels).abs().max() > 0


def test_the_merged_copy_has_no_norms_and_writes_over_nothing():
    classifier, pixels = classifier_of(seeded(ResidualNet)), random_pixels(2)
    merged = merged_copy(classifier, pixels)
    kinds = [type(module) for module in merged.modules()]
    assert nn.BatchNorm2d not in kinds and nn.ReLU in kinds
    assert not any(getattr(module, "inplace", False) for module in merged.modules())
    assert merged is merged_copy(classifier, pixels) and merged is not quick_twin(classifier, pixels)
    assert close(merged(pixels), score_pixels(classifier, pixels), 1e-5)


def test_where_merging_changes_the_scores_the_prepared_copy_is_taken(monkeypatch):
    classifier, pixels = classifier_of(seeded(ResidualNet)), random_pixels(2)
    monkeypatch.setattr(scoring, "scores_differ", lambda *_: "by 3")
    assert merged_copy(classifier, pixels) is prepare(classifier, pixels)
    assert quick_twin(classifier, pixels) is classifier
