"""Grad-CAM and HiResCAM against three libraries, slow re-derivations and the facts that must hold: xai.compute.cam."""

from __future__ import annotations

import copy
import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torchvision
from networks import (
    CLASSES,
    ResidualNet,
    TokenNet,
    VggNet,
    classifier_of,
    close,
    normalised,
    random_pixels,
    seeded,
    tokens_to_map,
    without_inplace,
)
from torch import nn

from xai.compute.cam import SMOOTHING_FACTORS, grad_cam, hires_cam
from xai.compute.trace import Classifier, record_outputs, trace_pixels
from xai.errors import Cancelled

METHODS = [grad_cam, hires_cam]


@pytest.fixture(scope="module")
def mobilenet():
    return seeded(lambda: torchvision.models.mobilenet_v2(num_classes=CLASSES))


@pytest.fixture(scope="module")
def resnet():
    return seeded(lambda: torchvision.models.resnet18(num_classes=CLASSES))


def cells_of(method, trace, targets, layer, **options):
    """The map at the resolution of the layer."""
    return method(trace, targets, layer=layer, **options).details.cells


def gradient_and_activation(network, inputs, layer, target):
    """Differentiate a score by the output of a layer, with torch's own `retain_grad`; nothing may be in place."""
    network, seen = copy.deepcopy(network), {}

    def keep(_module, _inputs, output):
        output.retain_grad()
        seen["output"] = output

    network.get_submodule(layer).register_forward_hook(keep)
    network(inputs.clone().requires_grad_())[0, target].backward()
    return seen["output"].grad[0], seen["output"].detach()[0]


def slow_cells(gradient, activation, hires):
    """Sum weight times activation with loops, as in the papers (C, h, w) -> (h, w)."""
    channels, height, width = activation.shape
    gradient, activation = gradient.double().numpy(), activation.double().numpy()
    cells = np.zeros((height, width))
    for k in range(channels):
        weight = gradient[k].sum() / (height * width)
        for y, x in itertools.product(range(height), range(width)):
            cells[y, x] += (gradient[k, y, x] if hires else weight) * activation[k, y, x]
    return torch.tensor(cells, dtype=torch.float32)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("layer", ["stem", "stage1.bn2", "down", "stage2.0", "stage2"])
def test_equals_the_formula_written_out(method, layer):
    network = seeded(ResidualNet)
    trace = trace_pixels(classifier_of(network), random_pixels(), [layer])
    for target in (0, 4):
        gradient, activation = gradient_and_activation(
            without_inplace(network), normalised(random_pixels()), layer, target
        )
        expected = slow_cells(gradient, activation, hires=method is hires_cam)
        assert close(cells_of(method, trace, [target], layer, relu=False)[0], expected, 1e-5)
        assert close(cells_of(method, trace, [target], layer, relu=True)[0], expected.clamp_min(0), 1e-5)


def test_defaults_clip_grad_cam_and_keep_hires_cam_signed():
    trace = trace_pixels(classifier_of(seeded(ResidualNet)), random_pixels(), ["stage1"])
    clipped, signed = (cells_of(method, trace, range(CLASSES), "stage1") for method in METHODS)
    assert torch.equal(clipped, cells_of(grad_cam, trace, range(CLASSES), "stage1", relu=True))
    assert torch.equal(signed, cells_of(hires_cam, trace, range(CLASSES), "stage1", relu=False))
    assert clipped.min() == 0 and signed.min() < 0


@pytest.mark.parametrize("name", ["captum", "torchcam", "pytorch-grad-cam"])
@pytest.mark.parametrize("layer", ["layer4", "layer3", "layer4.1.conv2", "layer2.0.downsample.0"])
def test_grad_cam_on_a_resnet_equals_the_libraries(resnet, name, layer):
    check_library(name, resnet, 64, layer, target=3)


@pytest.mark.parametrize("name", ["captum", "torchcam", "pytorch-grad-cam"])
@pytest.mark.parametrize("layer", ["features.18", "features.13", "features.7.conv.2"])
def test_grad_cam_on_a_mobilenet_equals_the_libraries(mobilenet, name, layer):
    check_library(name, mobilenet, 64, layer, target=1)


def check_library(name, network, size, layer, target):
    pixels = random_pixels(1, size)
    trace = trace_pixels(classifier_of(network, size), pixels, [layer])
    raw = cells_of(grad_cam, trace, [target], layer, relu=False)[0]
    network, inputs = copy.deepcopy(network), normalised(pixels)
    module = network.get_submodule(layer)
    if name == "captum":
        from captum.attr import LayerGradCam

        expected = LayerGradCam(network, module).attribute(inputs, target=target)[0, 0].detach()
        assert close(raw, expected, 1e-4)
    elif name == "torchcam":
        from torchcam.methods import GradCAM

        with GradCAM(network, layer) as extractor:
            scores = network(inputs.clone().requires_grad_())
            expected = extractor(target, scores, normalized=False)[0][0]
        assert close(raw.clamp_min(0), expected, 1e-4)
    else:
        library, scaled = from_pytorch_grad_cam("GradCAM", network, layer, inputs, target)
        assert close(raw, library, 1e-4)
        ours = grad_cam(trace, [target], layer=layer).maps[0]
        if ours.max() > 0:  # else that library shows nothing, too
            ours = to_unit(ours)
        assert (ours - torch.tensor(scaled)).abs().max() < 1e-3


def from_pytorch_grad_cam(kind, network, layer, inputs, target, eigen_smooth=False):
    """The raw map (h, w) before that library rescales it, and its result (H, W)."""
    import pytorch_grad_cam
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    module, targets = network.get_submodule(layer), [ClassifierOutputTarget(target)]
    with getattr(pytorch_grad_cam, kind)(network, [module]) as cam:
        scaled = cam(inputs, targets)[0]
        kept = cam.activations_and_grads
        activation, gradient = kept.activations[0].numpy(), kept.gradients[0].numpy()
        raw = cam.get_cam_image(inputs, module, targets, activation, gradient, eigen_smooth)
    return torch.tensor(raw[0]), scaled


def to_unit(values):
    low, high = values.min(), values.max()
    return (values - low) / (high - low)


@pytest.mark.parametrize("layer", ["layer4", "layer3", "layer4.1.conv2"])
def test_hires_cam_on_a_resnet_equals_pytorch_grad_cam(resnet, layer):
    trace = trace_pixels(classifier_of(resnet, 64), random_pixels(1, 64), [layer])
    raw, scaled = from_pytorch_grad_cam("HiResCAM", copy.deepcopy(resnet), layer, normalised(random_pixels(1, 64)), 2)
    assert close(cells_of(hires_cam, trace, [2], layer)[0], raw, 1e-4)
    ours = hires_cam(trace, [2], layer=layer, relu=True).maps[0]
    assert (to_unit(ours) - torch.tensor(scaled)).abs().max() < 1e-3


# --- exact facts -----------------------------------------------------------------------------------------------------


def test_the_two_methods_and_cam_agree_at_the_last_stage_up_to_the_number_of_places(resnet):
    """Behind pooling over P places and one linear layer, G = w / P everywhere: both maps are CAM / P, the very same."""
    trace = trace_pixels(classifier_of(resnet, 96), random_pixels(1, 96), ["layer4"])
    activation = trace.activation("layer4")[0]
    assert activation.shape[1:] == (3, 3)
    for target in range(CLASSES):
        cam = torch.einsum("k,khw->hw", resnet.fc.weight[target].detach(), activation)
        one = cells_of(grad_cam, trace, [target], "layer4", relu=False)[0]
        other = cells_of(hires_cam, trace, [target], "layer4")[0]
        assert close(one, cam / 9, 1e-5) and close(other, cam / 9, 1e-5)
        assert cam.abs().max() > 0


def test_cells_add_up_to_the_score_less_its_bias_at_the_last_stage(resnet):
    trace = trace_pixels(classifier_of(resnet, 96), random_pixels(1, 96), ["layer4"])
    for target in range(CLASSES):
        expected = (trace.scores[0, target] - resnet.fc.bias[target]).item()
        for method in METHODS:
            total = cells_of(method, trace, [target], "layer4", relu=False).double().sum().item()
            assert total == pytest.approx(expected, rel=1e-4, abs=1e-5)


def test_the_two_methods_differ_before_the_last_stage(resnet):
    layers = ["layer3", "layer4.1.conv2"]
    trace = trace_pixels(classifier_of(resnet, 96), random_pixels(1, 96), [*layers, "layer4"])
    for layer in layers:
        one, other = (to_unit(cells_of(method, trace, [3], layer, relu=False)[0]) for method in METHODS)
        assert (one - other).abs().max() > 0.05, layer
    one, other = (to_unit(cells_of(method, trace, [3], "layer4", relu=False)[0]) for method in METHODS)
    assert (one - other).abs().max() < 1e-4


@pytest.mark.slow
def test_the_facts_on_resnet_50():
    network = seeded(torchvision.models.resnet50)
    trace = trace_pixels(classifier_of(network, 224), random_pixels(1, 224), ["layer3", "layer4.2.conv3", "layer4"])
    target = 17
    one, other = (cells_of(method, trace, [target], "layer4", relu=False)[0] for method in METHODS)
    assert one.shape == (7, 7) and close(one, other, 1e-4)
    assert one.double().sum().item() == pytest.approx(
        (trace.scores[0, target] - network.fc.bias[target]).item(), rel=1e-4
    )
    for layer in ("layer3", "layer4.2.conv3"):
        one, other = (to_unit(cells_of(method, trace, [target], layer, relu=False)[0]) for method in METHODS)
        assert (one - other).abs().max() > 0.05, layer


class TwoPlaces(nn.Module):
    """One channel, two places with activation 1 each; the score is 3 times the first minus the second."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 1, 1, bias=False)
        self.fc = nn.Linear(2, 1, bias=False)
        nn.init.constant_(self.conv.weight, 1 / 3)
        self.fc.weight.data = torch.tensor([[3.0, -1.0]])

    def forward(self, x):
        return self.fc(self.conv(x).flatten(1))


def test_grad_cam_lights_a_place_that_the_score_counts_against():
    classifier = Classifier(TwoPlaces(), [0.0] * 3, [1.0] * 3)
    trace = trace_pixels(classifier, torch.ones(1, 3, 1, 2), ["conv"])
    assert torch.allclose(trace.activation("conv"), torch.ones(1, 1, 1, 2))
    assert torch.allclose(trace.gradients("conv", [0]), torch.tensor([[[[3.0, -1.0]]]]))
    assert torch.allclose(cells_of(grad_cam, trace, [0], "conv"), torch.tensor([[[1.0, 1.0]]]))
    assert torch.allclose(cells_of(hires_cam, trace, [0], "conv"), torch.tensor([[[3.0, -1.0]]]))
    assert torch.allclose(cells_of(hires_cam, trace, [0], "conv", relu=True), torch.tensor([[[3.0, 0.0]]]))


class CornerNet(nn.Module):
    """The score sums the upper right quarter, in a picture that is wider than high."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 4, stride=4)

    def forward(self, x):
        features = self.conv(x).relu()
        return torch.stack([features[:, :, :2, 4:].sum((1, 2, 3)), features.sum((1, 2, 3))], 1)


def test_rows_and_columns_stay_what_they_are():
    classifier = classifier_of(seeded(CornerNet))
    pixels = torch.rand(1, 3, 16, 32, generator=torch.Generator().manual_seed(0))
    trace = trace_pixels(classifier, pixels, ["conv"])
    result = hires_cam(trace, [0, 1], layer="conv")
    assert result.details.cells.shape == (2, 4, 8) and result.maps.shape == (2, 16, 32)
    cells = result.details.cells[0]
    assert cells[:2, 4:].min() > 0
    assert cells[2:].abs().max() == 0 and cells[:, :4].abs().max() == 0
    assert result.maps[0, 10:].abs().max() == 0 and result.maps[0, :, :14].abs().max() == 0
    assert result.maps[0, :6, 18:].min() > 0


# --- options ---------------------------------------------------------------------------------------------------------


def test_the_map_is_the_cells_enlarged_bilinearly():
    trace = trace_pixels(classifier_of(seeded(ResidualNet)), random_pixels(), ["stage2"])
    result = grad_cam(trace, [1], layer="stage2", relu=False)
    cells, enlarged = result.details.cells[0], result.maps[0]
    assert cells.shape == (8, 8) and enlarged.shape == (16, 16)
    for y, x in itertools.product(range(16), range(16)):  # the middle of a pixel lies at (y + 0.5) / 2 - 0.5 cells
        v, u = (min(max((place + 0.5) / 2 - 0.5, 0), 7) for place in (y, x))
        top, left = int(v), int(u)
        down, right = min(top + 1, 7), min(left + 1, 7)
        upper = cells[top, left] * (1 - u + left) + cells[top, right] * (u - left)
        lower = cells[down, left] * (1 - u + left) + cells[down, right] * (u - left)
        assert enlarged[y, x].item() == pytest.approx((upper * (1 - v + top) + lower * (v - top)).item(), abs=1e-6)


@pytest.mark.parametrize("kind", ["GradCAM", "HiResCAM"])
@pytest.mark.parametrize("layer", ["layer4", "layer2"])
def test_eigen_smoothing_equals_pytorch_grad_cam_up_to_the_sign(resnet, kind, layer):
    method = {"GradCAM": grad_cam, "HiResCAM": hires_cam}[kind]
    trace = trace_pixels(classifier_of(resnet, 96), random_pixels(1, 96), [layer])
    inputs = normalised(random_pixels(1, 96))
    expected, _ = from_pytorch_grad_cam(kind, copy.deepcopy(resnet), layer, inputs, 2, eigen_smooth=True)
    found = cells_of(method, trace, [2], layer, relu=False, eigen_smooth=True)[0]
    assert min((found - expected).abs().max(), (found + expected).abs().max()) < 1e-4 * expected.abs().max()
    assert found.flatten()[found.abs().argmax()] > 0
    assert found.mean().abs() < 1e-5 * found.abs().max()  # centred over places
    assert torch.equal(cells_of(method, trace, [2], layer, relu=True, eigen_smooth=True)[0], found.clamp_min(0))


def test_eigen_smoothing_of_a_known_pattern():
    """Weighted activations of rank one, in two channels with weights 3 and 4: the component is 5 times the pattern."""
    from xai.compute.cam import principal_component

    pattern = torch.tensor([[1.0, -4.0, 1.0], [0.0, 2.0, 0.0]])  # mean 0; the largest magnitude is negative
    activation = torch.stack([3 * pattern + 7, 4 * pattern - 1])[None]
    found = principal_component(torch.ones(2, 2, 1, 1), activation)
    assert torch.allclose(found, -5 * pattern.expand(2, 2, 3), atol=1e-5)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("relu", [True, False])
def test_augment_smoothing_is_the_mean_of_six_passes(method, relu):
    network = seeded(ResidualNet)
    pixels = random_pixels()
    trace = trace_pixels(classifier_of(network), pixels, ["stage2"])
    expected = torch.zeros(8, 8)
    for factor in (0.9, 1.0, 1.1):
        for mirrored in (False, True):
            changed = pixels * factor
            changed = changed[..., torch.arange(15, -1, -1)] if mirrored else changed
            gradient, activation = gradient_and_activation(without_inplace(network), normalised(changed), "stage2", 3)
            cells = slow_cells(gradient, activation, hires=method is hires_cam)
            cells = cells.clamp_min(0) if relu else cells
            expected += (cells[:, torch.arange(7, -1, -1)] if mirrored else cells) / 6
    found = cells_of(method, trace, [3], "stage2", relu=relu, augment_smooth=True)[0]
    assert close(found, expected, 1e-5)
    assert not close(found, cells_of(method, trace, [3], "stage2", relu=relu)[0], 0.01)


def test_augment_smoothing_uses_the_transforms_of_pytorch_grad_cam(resnet):
    """That library rescales each pass to [0, 1] before the mean; so rescaled, ours is the same map."""
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.image import scale_cam_image
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    pixels = random_pixels(1, 64)
    network = copy.deepcopy(resnet)
    with GradCAM(network, [network.layer3]) as cam:
        expected = cam(pixels, [ClassifierOutputTarget(1)], aug_smooth=True)[0]
    classifier = Classifier(copy.deepcopy(resnet), [0.0] * 3, [1.0] * 3)
    record_outputs(classifier, pixels)
    passes = []
    for factor, mirrored in itertools.product(SMOOTHING_FACTORS, (False, True)):
        changed = (pixels.flip(-1) if mirrored else pixels) * factor
        cells = cells_of(grad_cam, trace_pixels(classifier, changed, ["layer3"]), [1], "layer3")
        scaled = scale_cam_image(scale_cam_image(cells.numpy(), (64, 64)))[0]
        passes.append(scaled[:, ::-1] if mirrored else scaled)
    assert np.abs(np.mean(passes, axis=0) - expected).max() < 1e-4


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("options", [(), ("augment_smooth",), ("eigen_smooth",), ("augment_smooth", "eigen_smooth")])
def test_several_classes_and_several_pictures_equal_one_by_one(method, options):
    options = dict.fromkeys(options, True)
    classifier = classifier_of(seeded(ResidualNet))
    pixels, targets = random_pixels(3), [4, 0, 2]
    single = trace_pixels(classifier, pixels[:1], ["stage1"])
    together = method(single, targets, layer="stage1", **options)
    for i, target in enumerate(targets):
        alone = method(single, [target], layer="stage1", **options)
        assert close(together.maps[i : i + 1], alone.maps, 1e-5)
        assert close(together.details.cells[i : i + 1], alone.details.cells, 1e-5)
    batch = method(trace_pixels(classifier, pixels, ["stage1"]), targets, layer="stage1", **options)
    for i, target in enumerate(targets):
        alone = method(trace_pixels(classifier, pixels[i : i + 1], ["stage1"]), [target], layer="stage1", **options)
        assert close(batch.maps[i : i + 1], alone.maps, 1e-4)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("options", [{}, {"augment_smooth": True}, {"eigen_smooth": True}])
def test_dead_and_constant_layers_give_finite_maps(method, options):
    network = seeded(VggNet)
    for value in (-1.0, 0.0, 0.5):
        nn.init.zeros_(network[3].weight)
        nn.init.constant_(network[3].bias, value)  # after the ReLU: all zero, or the same everywhere
        trace = trace_pixels(classifier_of(network), random_pixels(), ["4"])
        maps = method(trace, [1, 2], layer="4", **options).maps
        assert torch.isfinite(maps).all()
        if value <= 0:
            assert maps.abs().max() == 0
        elif options == {"eigen_smooth": True} and method is grad_cam:
            assert maps.abs().max() < 1e-6  # a constant has no component


def test_token_layers_work_through_reshape():
    network = seeded(TokenNet)
    classifier = Classifier(copy.deepcopy(network), (0.4, 0.5, 0.6), (0.2, 0.3, 0.25), reshape=tokens_to_map)
    trace = trace_pixels(classifier, random_pixels(), ["blocks.0"])
    gradient, activation = gradient_and_activation(network, normalised(random_pixels()), "blocks.0", 3)
    gradient, activation = (each[1:].T.reshape(8, 4, 4) for each in (gradient, activation))
    for method in METHODS:
        expected = slow_cells(gradient, activation, hires=method is hires_cam)
        assert close(cells_of(method, trace, [3], "blocks.0", relu=False)[0], expected, 1e-4)


@pytest.mark.parametrize("method", METHODS)
def test_maps_are_detached_float32_and_repeatable(method):
    trace = trace_pixels(classifier_of(seeded(ResidualNet)), random_pixels(), ["stage1"], input_gradient=True)
    first, second = (method(trace, [1, 3], layer="stage1") for _ in range(2))
    assert first.maps.dtype == torch.float32 and first.maps.shape == (2, 16, 16) and first.maps.device.type == "cpu"
    assert not first.maps.requires_grad and not first.details.cells.requires_grad
    assert torch.equal(first.maps, second.maps)
    assert not torch.equal(first.maps[0], first.maps[1])


def test_progress_is_told_and_can_stop_the_work():
    trace = trace_pixels(classifier_of(seeded(ResidualNet)), random_pixels(), ["stage1"])
    told = []
    grad_cam(
        trace, [1], layer="stage1", augment_smooth=True, on_progress=lambda fraction, partial: told.append(fraction)
    )
    assert told == pytest.approx([1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6, 1])

    def stop(fraction, partial):
        raise Cancelled

    with pytest.raises(Cancelled):
        grad_cam(trace, [1], layer="stage1", augment_smooth=True, on_progress=stop)


def test_raw_values_are_kept():
    """Scores twice as steep give maps twice as high: nothing is rescaled."""
    network = seeded(ResidualNet)
    steeper = copy.deepcopy(network)
    steeper.head.fc.weight.data *= 2
    for method in METHODS:
        one, other = (
            method(trace_pixels(classifier_of(net), random_pixels(), ["stage1"]), [2], layer="stage1").maps
            for net in (network, steeper)
        )
        assert close(other, 2 * one, 1e-5) and one.max() > 0
    assert F.relu(one).max() != 1
