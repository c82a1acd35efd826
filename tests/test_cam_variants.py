"""Six more class activation maps against slow re-derivations, two libraries and facts: cam_variants, cam_scores."""

from __future__ import annotations

import copy
import itertools
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torchvision
from networks import (
    CLASSES,
    MEAN,
    STD,
    DenseNet,
    PreActivationNet,
    ResidualNet,
    ReusedNet,
    TokenNet,
    VggNet,
    classifier_of,
    close,
    hooked_forward,
    normalised,
    random_pixels,
    retained_gradients,
    seeded,
    tokens_to_map,
    without_inplace,
)
from torch import nn

from xai.compute import cam_scores, scoring
from xai.compute.cam_scores import ablation_cam, score_cam
from xai.compute.cam_variants import eigen_cam, grad_cam_plus_plus, layer_cam, x_grad_cam
from xai.compute.trace import Classifier, record_outputs, trace_pixels
from xai.errors import Cancelled

GRADIENT = [grad_cam_plus_plus, x_grad_cam, layer_cam]
SLOW = [score_cam, ablation_cam]
METHODS = [*GRADIENT, eigen_cam, *SLOW]
LAYERS = ["stem", "stage1.bn2", "down", "stage2.0", "stage2"]


def wide_pixels(images=1):
    """Pictures that are wider than high (N, 3, 12, 20)."""
    return torch.rand(images, 3, 12, 20, generator=torch.Generator().manual_seed(3))


def cells_of(method, trace, targets, layer, **options):
    """The map at the resolution of the layer."""
    return method(trace, targets, layer=layer, **options).details.cells


def without_channel(network, layer, channel, inputs, axis=0):
    """Scores of one picture (K,) when a channel of a layer is set to 0, in a whole pass of its own."""
    network, calls = copy.deepcopy(network), []

    def erase(_module, _inputs, output):
        calls.append(1)
        changed = output.clone()
        changed[0].select(axis, channel).zero_()
        return changed

    network.get_submodule(layer).register_forward_hook(erase)
    with torch.no_grad():
        scores = network(inputs)[0]
    assert len(calls) == 1
    return scores


# --- the formulas, written out ---------------------------------------------------------------------------------------


def slow_plus_plus(gradient, activation, y, x, k):
    weight, total = 0.0, sum(activation[k].flatten())
    for g in gradient[k].flatten():
        if g > 0:
            weight += g**2 / (2 * g**2 + total * g**3) * g
    return weight * activation[k, y, x]


def slow_x_grad(gradient, activation, y, x, k):
    total = sum(activation[k].flatten())
    if total == 0:
        return 0.0
    weight = sum(a / total * g for a, g in zip(activation[k].flatten(), gradient[k].flatten(), strict=True))
    return weight * activation[k, y, x]


def slow_layer(gradient, activation, y, x, k):
    return max(gradient[k, y, x], 0.0) * activation[k, y, x]


SLOW_FORMULAS = {grad_cam_plus_plus: slow_plus_plus, x_grad_cam: slow_x_grad, layer_cam: slow_layer}


@pytest.mark.parametrize("method", GRADIENT)
@pytest.mark.parametrize("layer", LAYERS)
def test_gradient_methods_equal_their_formulas(method, layer):
    network, pixels = seeded(ResidualNet), wide_pixels()
    plain = without_inplace(network)
    trace = trace_pixels(classifier_of(network), pixels, [layer])
    activation = hooked_forward(plain, normalised(pixels))[1][layer][0].double().numpy()
    channels, height, width = activation.shape
    for target in (0, 4):
        gradient = retained_gradients(plain, normalised(pixels), target)[layer][0].double().numpy()
        expected = torch.zeros(1, height, width)
        for y, x, k in itertools.product(range(height), range(width), range(channels)):
            expected[0, y, x] += SLOW_FORMULAS[method](gradient, activation, y, x, k)
        assert close(cells_of(method, trace, [target], layer, relu=False), expected, 1e-4)
        assert close(cells_of(method, trace, [target], layer), expected.clamp_min(0), 1e-4)


def slow_masked_scores(network, activation, pixels):
    """Scores (C, K) of the normalised picture times each channel, enlarged and scaled to [0, 1]; one by one."""
    scores = []
    for channel in activation:
        enlarged = F.interpolate(channel[None, None], pixels.shape[2:], mode="bilinear", align_corners=False)[0, 0]
        span = enlarged.max() - enlarged.min()
        mask = (enlarged - enlarged.min()) / span if span > 0 else torch.zeros_like(enlarged)
        with torch.no_grad():
            scores.append(network(normalised(pixels) * mask)[0])
    return torch.stack(scores)


@pytest.mark.parametrize("layer", LAYERS)
def test_score_cam_equals_its_algorithm(layer):
    network, pixels = seeded(ResidualNet), wide_pixels()
    trace = trace_pixels(classifier_of(network), pixels, [layer])
    activation = hooked_forward(without_inplace(network), normalised(pixels))[1][layer][0]
    scores = slow_masked_scores(network, activation, pixels)
    with torch.no_grad():
        baseline = network(torch.zeros(1, 3, 12, 20))[0]  # the paper's: it must not matter
    for target in (0, 4):
        increase = (scores - baseline)[:, target].double().exp()
        expected = sum(w * a for w, a in zip(increase / increase.sum(), activation, strict=True)).float()[None]
        assert close(cells_of(score_cam, trace, [target], layer, relu=False), expected, 1e-5)
        assert close(cells_of(score_cam, trace, [target], layer), expected.clamp_min(0), 1e-5)


@pytest.mark.parametrize("layer", LAYERS)
def test_ablation_cam_equals_its_formula(layer):
    network, pixels = seeded(ResidualNet), wide_pixels()
    check_ablation(network, layer, pixels)


@pytest.mark.parametrize(
    ("build", "layer"),
    [
        (DenseNet, "conv0"),  # concatenated with what follows it
        (DenseNet, "norm"),
        (VggNet, "0"),  # written over by the next module
        (VggNet, "4"),  # itself writes over what it gets
        (PreActivationNet, "relu"),
    ],
)
def test_ablation_cam_of_odd_networks_equals_its_formula(build, layer):
    check_ablation(seeded(build), layer, random_pixels())


def check_ablation(network, layer, pixels):
    plain, inputs = without_inplace(network), normalised(pixels)
    trace = trace_pixels(classifier_of(network), pixels, [layer])
    scores, outputs = hooked_forward(plain, inputs)
    activation = outputs[layer][0]
    left = torch.stack([without_channel(plain, layer, k, inputs) for k in range(len(activation))])  # (C, K)
    weights = (scores - left) / scores.abs()
    assert (scores > 0).any() and (scores < 0).any()  # so that the sign rule is seen
    for target in range(CLASSES):
        expected = sum(w * a for w, a in zip(weights[:, target], activation, strict=True))[None]
        found = cells_of(ablation_cam, trace, [target], layer, relu=False)
        assert (found - expected).abs().max() <= 1e-4 * expected.abs().max() + 1e-6 / scores[0, target].abs()
        assert torch.equal(cells_of(ablation_cam, trace, [target], layer), found.clamp_min(0))


def test_the_last_run_of_a_module_is_the_one_that_is_left_out():
    network, pixels = seeded(ReusedNet), random_pixels()
    trace = trace_pixels(classifier_of(network), pixels, ["conv"])
    scores, outputs = hooked_forward(without_inplace(network), normalised(pixels))
    activation = outputs["conv"][0]
    drop = network.head.fc.weight[2].detach() * activation.mean((1, 2))  # the head is linear in the channel means
    expected = (drop[:, None, None] * activation).sum(0, keepdim=True) / scores[0, 2].abs()
    assert close(cells_of(ablation_cam, trace, [2], "conv", relu=False), expected, 1e-4)


# --- other libraries -------------------------------------------------------------------------------------------------


def from_pytorch_grad_cam(kind, network, layer, inputs, target):
    """The raw map (h, w) before that library rescales it, and its result (H, W)."""
    import pytorch_grad_cam
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    network = without_inplace(network)
    module, targets = network.get_submodule(layer), [ClassifierOutputTarget(target)]
    with getattr(pytorch_grad_cam, kind)(network, [module]) as cam:
        scaled = cam(inputs, targets)[0]
        kept = cam.activations_and_grads
        activation = kept.activations[0].numpy()
        gradient = kept.gradients[0].numpy() if kept.gradients else None
        raw = cam.get_cam_image(inputs, module, targets, activation, gradient, False)
    return torch.tensor(raw[0]), torch.tensor(scaled)


def to_unit(values):
    low, high = values.min(), values.max()
    return (values - low) / (high - low)


@pytest.fixture(scope="module")
def steep_resnet():
    """Gradients so large that the 1e-6 which pytorch-grad-cam adds in Grad-CAM++ is too small to matter."""
    network = seeded(lambda: torchvision.models.resnet18(num_classes=CLASSES))
    network.fc.weight.data *= 1000
    return network


@pytest.mark.parametrize(
    ("kind", "method"), [("GradCAMPlusPlus", grad_cam_plus_plus), ("XGradCAM", x_grad_cam), ("LayerCAM", layer_cam)]
)
@pytest.mark.parametrize("layer", ["layer4", "layer3", "layer2"])
def test_gradient_methods_equal_pytorch_grad_cam(steep_resnet, kind, method, layer):
    pixels = random_pixels(1, 64)
    trace = trace_pixels(classifier_of(steep_resnet, 64), pixels, [layer])
    raw, scaled = from_pytorch_grad_cam(kind, steep_resnet, layer, normalised(pixels), 2)
    assert raw.abs().max() > 0
    assert close(cells_of(method, trace, [2], layer, relu=False)[0], raw, 1e-3)
    assert (to_unit(method(trace, [2], layer=layer).maps[0]) - scaled).abs().max() < 1e-3


def test_what_pytorch_grad_cam_adds_changes_grad_cam_plus_plus_where_gradients_are_small():
    """Behind average pooling over 8 x 8 places; with its 1e-6 in the formula, ours gives the library's map."""
    network, pixels = seeded(ResidualNet), random_pixels()
    network.head.fc.weight.data /= 10
    raw, _ = from_pytorch_grad_cam("GradCAMPlusPlus", network, "stage2", normalised(pixels), 1)
    trace = trace_pixels(classifier_of(network), pixels, ["stage2"])
    found = cells_of(grad_cam_plus_plus, trace, [1], "stage2")[0]
    gradient, activation = trace.gradients("stage2", [1])[0], trace.activation("stage2")[0]
    total = activation.sum((1, 2), keepdim=True)
    alpha = gradient**2 / (2 * gradient**2 + total * gradient**3 + 1e-6)
    weight = (alpha * gradient.relu()).sum((1, 2))
    assert close((weight[:, None, None] * activation).sum(0), raw, 1e-3)
    assert not close(found, raw, 0.1)


@pytest.mark.parametrize("layer", ["layer4", "layer2", "layer3.1.conv2"])
def test_eigen_cam_equals_pytorch_grad_cam_up_to_the_sign(steep_resnet, layer):
    pixels = random_pixels(1, 96)
    trace = trace_pixels(classifier_of(steep_resnet, 96), pixels, [layer])
    raw, scaled = from_pytorch_grad_cam("EigenCAM", steep_resnet, layer, normalised(pixels), 2)
    found = cells_of(eigen_cam, trace, [2], layer, relu=False)[0]
    same = (found - raw).abs().max() < (found + raw).abs().max()
    assert close(found if same else -found, raw, 1e-3)
    assert found.flatten()[found.abs().argmax()] > 0
    if same:
        assert (to_unit(eigen_cam(trace, [2], layer=layer).maps[0]) - scaled).abs().max() < 1e-3


@pytest.mark.parametrize("layer", ["stem", "stage1"])
def test_score_cam_equals_pytorch_grad_cam_where_nothing_is_enlarged(layer):
    """At layers as large as the picture; below, that library enlarges with corners aligned."""
    network, pixels = seeded(ResidualNet), random_pixels()
    trace = trace_pixels(classifier_of(network), pixels, [layer])
    for target in range(CLASSES):
        raw, scaled = from_pytorch_grad_cam("ScoreCAM", network, layer, normalised(pixels), target)
        assert close(cells_of(score_cam, trace, [target], layer, relu=False)[0], raw, 1e-4)
        assert (to_unit(score_cam(trace, [target], layer=layer).maps[0]) - scaled).abs().max() < 1e-3


def test_score_cam_equals_torchcam():
    """That library sums the channels after scaling each to [0, 1]; the weights are the same."""
    from torchcam.methods import ScoreCAM

    network, pixels = seeded(ResidualNet), random_pixels()
    trace = trace_pixels(classifier_of(network), pixels, ["stage1"])
    activation = trace.activation("stage1")[0]
    plain = without_inplace(network)
    with ScoreCAM(plain, "stage1") as extractor:
        with torch.no_grad():
            scores = plain(normalised(pixels))
        weights = extractor._get_weights(3, scores)[0][0]
    expected = (weights[:, None, None] * activation).sum(0)
    assert close(cells_of(score_cam, trace, [3], "stage1", relu=False)[0], expected, 1e-4)


@pytest.mark.parametrize("layer", ["stem", "stage1", "stage2.0", "stage2"])
def test_ablation_cam_equals_pytorch_grad_cam_but_for_the_sign_of_the_score(layer):
    network, pixels = seeded(ResidualNet), random_pixels()
    trace = trace_pixels(classifier_of(network), pixels, [layer])
    assert trace.activation(layer).min() == 0  # else that library does not set to 0
    for target in range(CLASSES):
        raw, scaled = from_pytorch_grad_cam("AblationCAM", network, layer, normalised(pixels), target)
        sign = trace.scores[0, target].sign().item()
        found = cells_of(ablation_cam, trace, [target], layer, relu=False)[0]
        assert (found - sign * raw).abs().max() <= 1e-3 * raw.abs().max() + 1e-6 / trace.scores[0, target].abs()
        if sign > 0 and found.max() > 0:
            assert (to_unit(ablation_cam(trace, [target], layer=layer).maps[0]) - scaled).abs().max() < 1e-3


# --- exact facts -----------------------------------------------------------------------------------------------------


def test_x_grad_cam_adds_up_to_the_score_less_its_bias_at_the_last_stage():
    network = seeded(ResidualNet)
    trace = trace_pixels(classifier_of(network), random_pixels(), ["stage2"])
    cells = cells_of(x_grad_cam, trace, range(CLASSES), "stage2", relu=False)
    expected = (trace.scores[0] - network.head.fc.bias).detach()
    assert torch.allclose(cells.sum((1, 2)), expected, atol=1e-5)


def test_ablation_cam_of_pooling_and_one_linear_layer():
    """There a channel's drop is its weight times its mean, for either sign of the score."""
    network = seeded(ResidualNet)
    trace = trace_pixels(classifier_of(network), random_pixels(), ["stage2"])
    activation = trace.activation("stage2")[0]
    drops = network.head.fc.weight.detach() * activation.mean((1, 2))  # (K, C)
    expected = torch.einsum("kc,chw->khw", drops, activation) / trace.scores[0].detach().abs()[:, None, None]
    assert close(cells_of(ablation_cam, trace, range(CLASSES), "stage2", relu=False), expected, 1e-3)


def test_layer_cam_shows_only_places_with_a_positive_gradient():
    class TwoPlaces(nn.Module):
        """The score is 3 times the first place minus the second."""

        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 1, 1, bias=False)
            self.fc = nn.Linear(2, 1, bias=False)
            nn.init.constant_(self.conv.weight, 1 / 3)
            self.fc.weight.data = torch.tensor([[3.0, -1.0]])

        def forward(self, x):
            return self.fc(self.conv(x).flatten(1))

    trace = trace_pixels(Classifier(TwoPlaces(), [0.0] * 3, [1.0] * 3), torch.ones(1, 3, 1, 2), ["conv"])
    by_hand = {
        layer_cam: [3.0, 0.0],
        x_grad_cam: [1.0, 1.0],  # (3 - 1) / 2
        grad_cam_plus_plus: [0.375, 0.375],  # 9 / (18 + 2 x 27) x 3
        ablation_cam: [1.0, 1.0],  # all of the score is lost
        score_cam: [1.0, 1.0],  # softmax over one channel
        eigen_cam: [0.0, 0.0],  # the same everywhere
    }
    for method, expected in by_hand.items():
        assert torch.allclose(cells_of(method, trace, [0], "conv", relu=False), torch.tensor([[expected]])), method


def test_eigen_cam_of_a_known_pattern_and_blind_to_the_class():
    """Channels 3 and 4 times one pattern: the component is 5 times the pattern, the largest magnitude positive."""

    class Known(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 2, 1)
            self.conv.weight.data = torch.tensor([[3.0, 0, 0], [4.0, 0, 0]])[:, :, None, None]
            self.conv.bias.data = torch.tensor([7.0, -1.0])

        def forward(self, x):
            return self.conv(x).mean((2, 3))

    pattern = torch.tensor([[1.0, -4.0, 1.0], [0.0, 2.0, 0.0]])  # mean 0
    trace = trace_pixels(Classifier(Known(), [0.0] * 3, [1.0] * 3), pattern.expand(1, 3, 2, 3), ["conv"])
    found = cells_of(eigen_cam, trace, [0, 1, 1], "conv", relu=False)
    assert torch.allclose(found, -5 * pattern.expand(3, 2, 3), atol=1e-5)
    assert torch.allclose(cells_of(eigen_cam, trace, [1], "conv"), (-5 * pattern[None]).clamp_min(0), atol=1e-5)


@pytest.mark.parametrize("method", [grad_cam_plus_plus, x_grad_cam, layer_cam])
def test_maps_over_turned_copies_turn_with_the_picture(method):
    """And are the mean of the maps of copies that are turned here, one by one."""
    classifier, picture = classifier_of(seeded(ResidualNet)), random_pixels(1, 16).numpy()
    copies = [(quarters, mirrored) for quarters in range(4) for mirrored in (False, True)]

    def turn(picture, quarters, mirrored):
        rows = np.rot90(picture, quarters, (-2, -1))
        return np.ascontiguousarray(rows[..., ::-1] if mirrored else rows)

    def turn_back(picture, quarters, mirrored):
        return np.rot90(picture[..., ::-1] if mirrored else picture, -quarters, (-2, -1))

    def explain(picture, **options):
        trace = trace_pixels(classifier, torch.from_numpy(picture), ["stage1"])
        return method(trace, [1, 3], layer="stage1", **options).maps.numpy()

    found = explain(picture, turned=True)
    single = [turn_back(explain(turn(picture, *each)), *each) for each in copies]
    close_to = 1e-5 * np.abs(found).max()
    assert np.abs(found - np.mean(single, 0)).max() <= close_to
    assert np.abs(found - single[0]).max() > 1000 * close_to
    for each in copies:
        assert np.abs(explain(turn(picture, *each), turned=True) - turn(found, *each)).max() <= close_to


@pytest.mark.parametrize("method", GRADIENT + SLOW)
def test_the_class_that_sees_a_corner_lights_it(method):
    class CornerNet(nn.Module):
        """The first score sums the channel of the upper right quarter, the second that of the rest."""

        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 2, 4, stride=4, bias=False)
            nn.init.constant_(self.conv.weight, 1 / 48)

        def forward(self, x):
            corner = torch.zeros(4, 8)
            corner[:2, 4:] = 1
            features = self.seen(self.conv(x), corner)
            return features.sum((2, 3))

        def seen(self, features, corner):
            return features * torch.stack([corner, 1 - corner])

    class Masked(CornerNet):
        """The same, with the masked channels as a layer."""

        def __init__(self):
            super().__init__()
            self.layer = nn.Identity()

        def seen(self, features, corner):
            return self.layer(super().seen(features, corner))

    classifier = Classifier(Masked(), [0.0] * 3, [1.0] * 3)
    pixels = 0.5 + 0.5 * torch.rand(1, 3, 16, 32, generator=torch.Generator().manual_seed(0))
    record_outputs(classifier, pixels)
    result = method(trace_pixels(classifier, pixels, ["layer"]), [0, 1], layer="layer")
    assert result.details.cells.shape == (2, 4, 8) and result.maps.shape == (2, 16, 32)
    corner = result.details.cells[:, :2, 4:]
    rest = torch.cat([result.details.cells[:, :2, :4].flatten(1), result.details.cells[:, 2:].flatten(1)], 1)
    assert corner[0].min() > 2 * rest[0].max() and rest[1].min() > 2 * corner[1].max()
    assert result.maps[0, :6, 18:].min() > 2 * result.maps[0, 10:].max()


# --- the contract ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("layer", ["stage1", "stage2"])
def test_several_classes_and_several_pictures_equal_one_by_one(method, layer):
    classifier = classifier_of(seeded(ResidualNet))
    pixels, targets = wide_pixels(3), [4, 0, 2]
    single = trace_pixels(classifier, pixels[:1], [layer])
    together = method(single, targets, layer=layer, relu=False)
    for i, target in enumerate(targets):
        alone = method(single, [target], layer=layer, relu=False)
        assert close(together.maps[i : i + 1], alone.maps, 1e-5)
        assert close(together.details.cells[i : i + 1], alone.details.cells, 1e-5)
    batch = method(trace_pixels(classifier, pixels, [layer]), targets, layer=layer, relu=False)
    assert batch.maps.shape == (3, 12, 20)
    for i, target in enumerate(targets):
        alone = method(trace_pixels(classifier, pixels[i : i + 1], [layer]), [target], layer=layer, relu=False)
        assert close(batch.maps[i : i + 1], alone.maps, 1e-4)


@pytest.mark.parametrize("method", METHODS)
def test_maps_are_detached_float32_raw_and_repeatable(method):
    trace = trace_pixels(classifier_of(seeded(ResidualNet)), random_pixels(), ["stage1"], input_gradient=True)
    first, second = (method(trace, [1, 3], layer="stage1") for _ in range(2))
    for values in (first.maps, first.details.cells):
        assert values.dtype == torch.float32 and values.device.type == "cpu"
        assert not values.requires_grad and not values.is_inference()
    assert first.maps.shape == (2, 16, 16) and first.maps.min() >= 0 and first.maps.max() > 0
    assert torch.equal(first.maps, second.maps)
    assert torch.equal(first.maps[0], first.maps[1]) == (method is eigen_cam)
    assert (first.maps.amax((1, 2)) != 1).all()


@pytest.mark.parametrize("method", METHODS)
def test_dead_and_constant_layers_give_finite_maps(method):
    network = seeded(VggNet)
    for value in (-1.0, 0.0, 0.5):
        nn.init.zeros_(network[3].weight)
        nn.init.constant_(network[3].bias, value)  # after the ReLU: all zero, or the same everywhere
        trace = trace_pixels(classifier_of(network), random_pixels(), ["4"])
        maps = method(trace, [1, 2], layer="4", relu=False).maps
        assert torch.isfinite(maps).all()
        if value <= 0:
            assert maps.abs().max() == 0


def test_channels_that_are_the_same_everywhere_hide_the_picture():
    """So does each of them, whatever its value: no rounding of the enlarged channel may be stretched to a mask."""
    network, values = seeded(VggNet), torch.tensor([0.1, 0.3, 0.7, 1.1, 2.3, 5.7])
    nn.init.zeros_(network[3].weight)
    network[3].bias.data = values.clone()
    trace = trace_pixels(classifier_of(network), torch.rand(1, 3, 23, 31), ["4"])
    weighed = cells_of(score_cam, trace, [1, 2], "4")
    assert torch.allclose(weighed, values.mean().expand_as(weighed), rtol=1e-6)
    trace = trace_pixels(classifier_of(seeded(VggNet)), torch.rand(1, 3, 23, 31), ["4"])  # one that sees the picture
    constant = torch.linspace(0.1, 5.7, 50)[None, :, None, None].expand(1, 50, 11, 15).contiguous()
    scores = cam_scores._masked_scores(trace, trace.pixels, constant)
    blank = trace.score(torch.tensor(MEAN).view(1, 3, 1, 1).expand(50, 3, 23, 31))
    assert close(torch.cat(list(scores)), blank, 1e-6)


def test_a_score_of_exactly_zero_gives_finite_maps():
    network = seeded(ResidualNet)
    nn.init.zeros_(network.head.fc.weight)
    nn.init.zeros_(network.head.fc.bias)
    trace = trace_pixels(classifier_of(network), random_pixels(), ["stage2"])
    for method in METHODS:
        assert torch.isfinite(method(trace, [1], layer="stage2").maps).all()


@pytest.mark.parametrize("layer", ["blocks.0", "patches"])
def test_token_layers_work_through_reshape(layer):
    network, pixels = seeded(TokenNet), random_pixels()
    classifier = Classifier(copy.deepcopy(network), MEAN, STD, reshape=tokens_to_map)
    trace = trace_pixels(classifier, pixels, [layer])
    inputs = normalised(pixels)
    scores, outputs = hooked_forward(network, inputs)
    axis = 1 if layer == "blocks.0" else 0  # tokens (T, D), maps (C, h, w)
    left = torch.stack([without_channel(network, layer, k, inputs, axis) for k in range(8)])
    activation = tokens_to_map(outputs[layer])[0] if axis else outputs[layer][0]
    weights = (scores - left) / scores.abs()
    expected = (weights[:, 3, None, None] * activation).sum(0, keepdim=True)
    assert expected.shape == (1, 4, 4)
    assert close(cells_of(ablation_cam, trace, [3], layer, relu=False), expected, 1e-3)
    for method in METHODS:
        maps = method(trace, [3], layer=layer).maps
        assert maps.shape == (1, 16, 16) and torch.isfinite(maps).all()


def test_grey_networks_are_masked_with_their_mean_grey():
    network = seeded(ResidualNet)
    network.stem[0] = nn.Conv2d(1, 6, 3, padding=1)
    classifier = Classifier(copy.deepcopy(network), [0.3], [0.2], channels=1)
    pixels = wide_pixels()
    record_outputs(classifier, pixels)
    trace = trace_pixels(classifier, pixels, ["down"])
    activation = trace.activation("down")[0]
    grey = 0.299 * pixels[:, 0] + 0.587 * pixels[:, 1] + 0.114 * pixels[:, 2]
    scores = []
    for channel in activation:
        mask = to_unit(F.interpolate(channel[None, None], (12, 20), mode="bilinear")[0, 0])
        with torch.no_grad():
            scores.append(network(((grey - 0.3) / 0.2 * mask)[:, None])[0, 1])
    expected = (torch.stack(scores).softmax(0)[:, None, None] * activation).sum(0, keepdim=True)
    assert close(cells_of(score_cam, trace, [1], "down", relu=False), expected, 1e-4)


@pytest.mark.parametrize("method", SLOW)
@pytest.mark.parametrize("rows", [1, 3, 100])
def test_the_size_of_a_pass_does_not_matter(method, rows, monkeypatch):
    for build, layer in ((ResidualNet, "stage1"), (DenseNet, "conv0")):
        trace = trace_pixels(classifier_of(seeded(build)), random_pixels(), [layer])
        expected = cells_of(method, trace, [0, 3], layer, relu=False)
        with monkeypatch.context() as patch:
            patch.setattr(cam_scores, "_rows", lambda row, limit: rows)
            assert close(cells_of(method, trace, [0, 3], layer, relu=False), expected, 1e-4)


def test_a_pass_is_bounded_in_bytes():
    assert cam_scores._rows(torch.zeros(1, 3, 224, 224), cam_scores.PICTURE_BYTES) == 8
    assert cam_scores._rows(torch.zeros(1, 3, 64, 64), cam_scores.PICTURE_BYTES) == 106
    assert cam_scores._rows(torch.zeros(1, 2048, 7, 7), cam_scores.OUTPUT_BYTES) == 20
    assert cam_scores._rows(torch.zeros(1, 3, 64, 64, device="meta"), 2**20) == 32 * 2**20 // (3 * 64 * 64 * 4)


def state_of(network):
    return {
        name: (module.training, len(module._forward_hooks), len(module._forward_pre_hooks), len(module._backward_hooks))
        for name, module in network.named_modules()
    }, {
        name: (p.data_ptr(), p._version, p.requires_grad, p.grad, p.sum().item())
        for name, p in network.named_parameters()
    }


@pytest.mark.parametrize("method", METHODS)
def test_progress_is_told_and_can_stop_the_work_and_the_network_stays_as_it_is(method, monkeypatch):
    monkeypatch.setattr(cam_scores, "_rows", lambda row, limit: 2)
    classifier = classifier_of(seeded(ResidualNet))
    trace = trace_pixels(classifier, random_pixels(2), ["stage1"])
    before, told = state_of(classifier), []
    expected = method(trace, [1, 2], layer="stage1", on_progress=lambda fraction, partial: told.append(fraction)).maps
    assert told == pytest.approx([n / 6 for n in range(1, 7)] if method in SLOW else [1.0])
    assert state_of(classifier) == before

    def stop(fraction, partial):
        raise Cancelled

    with pytest.raises(Cancelled):
        method(trace, [1, 2], layer="stage1", on_progress=stop)
    assert state_of(classifier) == before
    assert torch.equal(method(trace, [1, 2], layer="stage1").maps, expected)


@pytest.mark.parametrize("method", SLOW)
def test_the_network_stays_as_it_is_after_it_raised_in_the_middle(method):
    classifier = classifier_of(seeded(ResidualNet))
    trace = trace_pixels(classifier, random_pixels(), ["stage1"])
    passes = itertools.count()

    def fail(*_):
        if next(passes) == 4:
            raise ZeroDivisionError("in the middle")

    expected = method(trace, [1], layer="stage1").maps
    handle = classifier.network.stage2[1].conv1.register_forward_pre_hook(fail)
    before = state_of(classifier)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(ZeroDivisionError):
        patch.setattr(cam_scores, "_rows", lambda row, limit: 1)
        patch.setattr(scoring, "quick_twin", lambda classifier, pixels: classifier)  # the twin has no hooks to fail
        method(trace, [1], layer="stage1")
    assert state_of(classifier) == before
    handle.remove()
    assert torch.equal(method(trace, [1], layer="stage1").maps, expected)


@pytest.mark.parametrize("method", METHODS)
def test_threads_on_one_network_get_the_serial_results(method):
    network = seeded(ResidualNet)
    jobs = [(seed, LAYERS[seed % 5], seed % CLASSES) for seed in range(8)]

    def work(classifier, job):
        seed, layer, target = job
        return method(trace_pixels(classifier, random_pixels(1, 16, seed), [layer]), [target], layer=layer).maps

    serial = [work(classifier_of(network), job) for job in jobs]
    shared, barrier, interval = classifier_of(network), threading.Barrier(4), sys.getswitchinterval()
    sys.setswitchinterval(1e-4)

    def run(worker):
        barrier.wait()
        return {i: work(shared, jobs[i]) for i in range(worker, 8, 4)}

    try:
        with ThreadPoolExecutor(4) as pool:
            found = {i: maps for part in pool.map(run, range(4)) for i, maps in part.items()}
    finally:
        sys.setswitchinterval(interval)
    for i, expected in enumerate(serial):
        assert close(found[i], expected), jobs[i]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_a_callers_gradient_free_block_changes_nothing(method, mode):
    classifier = classifier_of(seeded(ResidualNet))
    expected = method(trace_pixels(classifier, random_pixels(), ["stage1"]), [1, 2], layer="stage1").maps
    with mode():
        found = method(trace_pixels(classifier, random_pixels(), ["stage1"]), [1, 2], layer="stage1").maps
        assert close(found, expected)
    assert np.isfinite(found.numpy()).all()
