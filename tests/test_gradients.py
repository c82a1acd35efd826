"""Gradient methods against captum, closed forms, slow re-derivations and the sums they promise."""

from __future__ import annotations

import copy
import itertools
import threading
from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torchvision
from captum import attr
from captum.attr._utils.lrp_rules import EpsilonRule
from networks import (
    CLASSES,
    MEAN,
    STD,
    DenseNet,
    Head,
    PreActivationNet,
    ResidualNet,
    TokenNet,
    VggNet,
    classifier_of,
    close,
    random_pixels,
    seeded,
)
from torch import nn

from xai.compute import pixel_gradients
from xai.compute.baselines import fixed_baseline, random_baseline, step_seeds
from xai.compute.gradient_rules import (
    deep_lift,
    deep_lift_problem,
    deep_lift_shap,
    guided_backprop,
    guided_backprop_problem,
    lrp,
    lrp_problem,
)
from xai.compute.gradients import (
    gradient_shap,
    input_x_gradient,
    integrated_gradients,
    saliency,
    smooth_grad,
    var_grad,
)
from xai.compute.trace import Classifier, score_pixels, trace_pixels
from xai.errors import Cancelled, UserError

RULES = [guided_backprop, deep_lift, deep_lift_shap, lrp]
METHODS = [saliency, input_x_gradient, smooth_grad, var_grad, integrated_gradients, gradient_shap, *RULES]
RANDOM = [smooth_grad, var_grad, gradient_shap, deep_lift_shap]
COMPLETE = [integrated_gradients, gradient_shap, deep_lift, deep_lift_shap, lrp]
FEW = {smooth_grad: {"samples": 5}, var_grad: {"samples": 5}, gradient_shap: {"samples": 5}}
SUM = {"channels": "sum"}


class PlainNet(nn.Module):
    """Every ReLU a module of its own, nothing in place: what captum's rules understand."""

    def __init__(self, bias: bool = True, pool: bool = True, channels: int = 6) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, channels, 3, padding=1, bias=bias),
            nn.ReLU(),
            nn.MaxPool2d(2) if pool else nn.AvgPool2d(2),
            nn.Conv2d(channels, 8, 3, padding=1, bias=bias),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
            nn.Linear(32, 8, bias=bias),
            nn.ReLU(),
            nn.Linear(8, CLASSES, bias=bias),
        )

    def forward(self, x):
        return self.layers(x)


class LinearNet(nn.Module):
    """A score is the sum of weights times pixels, and a bias."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(3 * 6 * 8, CLASSES)

    def forward(self, x):
        return self.fc(x.flatten(1))


class GatedNet(nn.Module):
    """Squeeze and excitation with the activations of MobileNetV3, and max pooling with windows that overlap."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3, padding=1)
        self.norm = nn.BatchNorm2d(6)
        self.gate = nn.Conv2d(6, 6, 1)
        self.pool = nn.MaxPool2d(3, 2, 1)
        self.last = nn.Conv2d(6, 6, 3)
        self.head = Head(6)

    def forward(self, x):
        x = F.hardswish(self.norm(self.conv(x)))
        x = x * F.hardsigmoid(self.gate(F.adaptive_avg_pool2d(x, 1)))
        x = F.silu(self.last(self.pool(x)))
        x = F.max_pool2d(x, 3, stride=1)
        return self.head(x * x + 0.5 * x)


def traced(build, images=1, size=16, **options):
    return trace_pixels(classifier_of(seeded(build), size), random_pixels(images, size, **options), [])


def channels_of(method, trace, targets, **options):
    return method(trace, targets, **options).details.channels


class Normalised(nn.Module):
    """Normalisation and network in one module, for captum."""

    def __init__(self, network, mean=MEAN, std=STD) -> None:
        super().__init__()
        self.network = copy.deepcopy(network)
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1))

    def forward(self, x):
        return self.network((x - self.mean) / self.std)


# --- against captum ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("build", [ResidualNet, DenseNet, VggNet])
def test_saliency_and_input_x_gradient_equal_captum(build):
    trace, pixels = traced(build), random_pixels().requires_grad_()
    network = Normalised(seeded(build))
    for target in (0, 3):
        expected = attr.Saliency(network).attribute(pixels, target=target, abs=False).detach()
        assert close(channels_of(saliency, trace, [target]), expected, 1e-5)
        assert close(saliency(trace, [target]).maps, expected.abs().amax(1), 1e-5)
        product = attr.InputXGradient(network).attribute(pixels, target=target).detach()
        assert close(input_x_gradient(trace, [target]).maps, product.sum(1), 1e-5)


@pytest.mark.parametrize("baseline", ["black", "grey", "blur", "mean"])
def test_integrated_gradients_equal_captum(baseline):
    trace, pixels = traced(ResidualNet), random_pixels()
    expected, gap = attr.IntegratedGradients(Normalised(seeded(ResidualNet))).attribute(
        pixels, fixed_baseline(pixels, baseline), target=2, n_steps=7, return_convergence_delta=True
    )
    result = integrated_gradients(trace, [2], steps=7, baseline=baseline)
    assert close(result.details.channels, expected.float(), 1e-4)
    assert result.details.completeness_gap.item() == pytest.approx(gap.item(), abs=2e-5)


def test_guided_backprop_equals_captum():
    trace, network = traced(PlainNet), Normalised(seeded(PlainNet))
    with pytest.warns(UserWarning, match="backward hooks"):
        expected = attr.GuidedBackprop(network).attribute(random_pixels().requires_grad_(), target=1).detach()
    assert close(channels_of(guided_backprop, trace, [1]), expected, 1e-5)
    assert not close(channels_of(saliency, trace, [1]), expected, 0.1)


@pytest.mark.parametrize("baseline", ["black", "grey", "blur"])
@pytest.mark.filterwarnings("ignore:.*hooks")
def test_deep_lift_equals_captum(baseline):
    build = partial(PlainNet, pool=False)
    trace, pixels = traced(build), random_pixels()
    expected = attr.DeepLift(Normalised(seeded(build))).attribute(pixels, fixed_baseline(pixels, baseline), target=4)
    assert close(channels_of(deep_lift, trace, [4], baseline=baseline), expected.detach(), 1e-4)


@pytest.mark.filterwarnings("ignore:.*hooks")
def test_deep_lift_adds_up_at_max_pooling_where_captum_does_not():
    trace, pixels = traced(PlainNet), random_pixels()
    _, theirs = attr.DeepLift(Normalised(seeded(PlainNet))).attribute(
        pixels, fixed_baseline(pixels, "black"), target=4, return_convergence_delta=True
    )
    details = deep_lift(trace, [4]).details
    assert theirs.abs() > details.score_difference.abs() > 1e-3 > 1e4 * details.completeness_gap.abs()


@pytest.mark.filterwarnings("ignore:.*hooks")
def test_deep_lift_shap_equals_captum():
    build = partial(PlainNet, pool=False)
    trace, pixels = traced(build), random_pixels()
    for kind in ("uniform", "noise", "blur"):
        baselines = random_baseline(pixels.expand(6, -1, -1, -1), kind, step_seeds(3, 6))
        expected = attr.DeepLiftShap(Normalised(seeded(build))).attribute(pixels, baselines, target=4)
        found = channels_of(deep_lift_shap, trace, [4], seed=3, samples=6, baseline=kind)
        assert close(found, expected.detach(), 1e-4)


@pytest.mark.parametrize("epsilon", [1e-6, 0.1])
def test_lrp_epsilon_equals_captum(epsilon):
    build = partial(PlainNet, pool=False)
    network = seeded(build)
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear, nn.AvgPool2d, nn.AdaptiveAvgPool2d)):
            module.rule = EpsilonRule(epsilon)
        elif isinstance(module, nn.Flatten):
            module.rule = EpsilonRule(1e-12)  # captum has no rule for moving values
    inputs = (random_pixels() - torch.tensor(MEAN).view(1, 3, 1, 1)) / torch.tensor(STD).view(1, 3, 1, 1)
    expected = attr.LRP(network).attribute(inputs, target=2).detach()
    assert close(channels_of(lrp, traced(build), [2], epsilon=epsilon), expected, 1e-3)


# --- against formulas -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_closed_forms_of_a_linear_network(method):
    """Rows, columns, channels, signs: with weights w every method has a formula."""
    network = seeded(LinearNet)
    pixels = torch.rand(1, 3, 6, 8, generator=torch.Generator().manual_seed(5))
    trace = trace_pixels(Classifier(copy.deepcopy(network), MEAN, STD), pixels, [])
    if method is guided_backprop:
        assert "has none" in guided_backprop_problem(trace.classifier)
    for target in (1, 4):
        weight = network.fc.weight[target].detach().view(3, 6, 8) / torch.tensor(STD).view(3, 1, 1)
        draws = random_baseline(pixels.expand(8, -1, -1, -1), "uniform", step_seeds(0, 8))
        shap_draws = random_baseline(pixels.expand(32, -1, -1, -1), "uniform", step_seeds(0, 33)[1:])
        expected = {
            input_x_gradient: weight * pixels[0],
            integrated_gradients: weight * pixels[0],
            deep_lift: weight * pixels[0],
            deep_lift_shap: weight * (pixels[0] - draws.mean(0)),
            gradient_shap: weight * (pixels[0] - shap_draws.mean(0)),
            var_grad: torch.zeros_like(weight),
            lrp: weight * (pixels[0] - torch.tensor(MEAN).view(3, 1, 1)),
        }.get(method, weight)
        result = method(trace, [target])
        if method is var_grad:
            assert result.maps.abs().max() < 1e-9
            continue
        assert close(result.details.channels[0], expected, 1e-4)
        reduced = expected.abs().amax(0) if method in (saliency, smooth_grad, guided_backprop) else expected.sum(0)
        assert result.maps.shape == (1, 6, 8) and close(result.maps[0], reduced, 1e-4)


@pytest.mark.parametrize("method", [m for m in METHODS if m is not var_grad])
def test_channels_are_put_together_as_asked(method):
    trace = traced(VggNet)
    values = channels_of(method, trace, [0, 2], **FEW.get(method, {}))
    for reduction, expected in {
        "sum": values.sum(1),
        "abs_max": values.abs().max(1).values,
        "norm": (values**2).sum(1).sqrt(),
    }.items():
        found = method(trace, [0, 2], channels=reduction, **FEW.get(method, {})).maps
        assert torch.allclose(found, expected, rtol=1e-4, atol=1e-7)


def test_saliency_is_the_slope_of_the_score():
    network = seeded(ResidualNet).double()
    trace = traced(ResidualNet)
    found = channels_of(saliency, trace, [3])[0]
    pixels = random_pixels().double()
    for channel, y, x in [(0, 2, 13), (1, 9, 4), (2, 15, 0), (2, 7, 7)]:
        scores = []
        for sign in (1, -1):
            moved = pixels.clone()
            moved[0, channel, y, x] += sign * 1e-6
            moved = (moved - torch.tensor(MEAN).double().view(1, 3, 1, 1)) / torch.tensor(STD).double().view(1, 3, 1, 1)
            scores.append(network(moved)[0, 3].item())
        slope = (scores[0] - scores[1]) / 2e-6
        assert found[channel, y, x].item() == pytest.approx(slope, rel=1e-3, abs=1e-5)


def test_smooth_grad_and_var_grad_are_mean_and_variance_over_copies():
    trace, network = traced(ResidualNet), Normalised(seeded(ResidualNet))
    pixels, copies = random_pixels(), []
    spread = (pixels.max() - pixels.min()) * 0.2
    for seed in step_seeds(7, 6):
        noise = torch.randn(3, 16, 16, generator=torch.Generator().manual_seed(seed))
        moved = (pixels + spread * noise).requires_grad_()
        copies.append(torch.autograd.grad(network(moved)[0, 1], moved)[0][0].numpy())
    options = {"seed": 7, "samples": 6, "noise": 0.2}
    assert close(channels_of(smooth_grad, trace, [1], **options)[0], torch.tensor(np.mean(copies, 0)), 1e-4)
    assert close(channels_of(var_grad, trace, [1], **options)[0], torch.tensor(np.var(copies, 0)), 1e-4)


def test_without_noise_smooth_grad_is_the_gradient_and_the_variance_is_zero():
    trace = traced(ResidualNet)
    assert close(smooth_grad(trace, [1], noise=0.0, samples=3).maps, saliency(trace, [1]).maps, 1e-5)
    assert var_grad(trace, [1], noise=0.0, samples=3).maps.abs().max() < 1e-9


def test_noise_is_a_share_of_the_range_of_the_picture():
    """The second derivative of a square is constant: the gradient varies as much as the noise."""

    class Square(nn.Module):
        def forward(self, x):
            return torch.stack([(x**2).sum((1, 2, 3)) / 2, x.sum((1, 2, 3))], 1)

    pixels = 0.25 + 0.5 * random_pixels()
    pixels[0, 0, 0, :2] = torch.tensor([0.25, 0.75])
    trace = trace_pixels(Classifier(Square(), [0.0] * 3, [1.0] * 3), pixels, [])
    variance = channels_of(var_grad, trace, [0], samples=200, noise=0.4).mean().item()
    assert variance == pytest.approx((0.4 * 0.5) ** 2, rel=0.02)


def test_gradient_shap_is_the_mean_over_its_draws():
    trace, network = traced(ResidualNet), Normalised(seeded(ResidualNet))
    pixels = random_pixels()
    first, *seeds = step_seeds(2, 7)
    shares = torch.rand(6, generator=torch.Generator().manual_seed(first))
    expected = torch.zeros(3, 16, 16)
    for share, seed in zip(shares, seeds, strict=True):
        start = torch.rand(3, 16, 16, generator=torch.Generator().manual_seed(seed))
        here = (start + share * (pixels[0] - start))[None].requires_grad_()
        gradient = torch.autograd.grad(network(here)[0, 3], here)[0][0]
        expected += (pixels[0] - start) * gradient / 6
    assert close(channels_of(gradient_shap, trace, [3], seed=2, samples=6, baseline="noise")[0], expected, 1e-4)


def test_gradient_shap_comes_to_integrated_gradients_averaged_over_baselines():
    trace, network = traced(DenseNet, size=8), Normalised(seeded(DenseNet))
    pixels = random_pixels(1, 8)
    starts = random_baseline(pixels.expand(64, -1, -1, -1), "uniform", step_seeds(11, 64))
    expected = (
        attr.IntegratedGradients(network)
        .attribute(pixels.expand(64, -1, -1, -1), starts, target=0, n_steps=16)
        .mean(0)
        .float()
    )
    errors = [
        (channels_of(gradient_shap, trace, [0], samples=samples)[0] - expected).norm() / expected.norm()
        for samples in (8, 1000)
    ]
    assert errors[1] < 0.15 and errors[1] < errors[0] / 2


def rescaled_by_hand(network, pixels, baseline, target):
    """DeepLIFT of convolution, ReLU, convolution, ReLU, mean, linear with matrices, written out."""
    to_matrix = lambda f, shape: torch.autograd.functional.jacobian(  # noqa: E731
        lambda v: f(v.view(1, *shape)).flatten(), torch.zeros(int(np.prod(shape)), dtype=torch.float64)
    )
    network = copy.deepcopy(network).double()
    size = pixels.shape[-1]
    runs = [network.conv1(each.double()) for each in (pixels, baseline)]
    outs = [network.conv2(each.relu()) for each in runs]
    quotients = []
    for one, other in (runs, outs):
        change = (one - other).flatten()
        quotients.append((one.relu() - other.relu()).flatten() / change)
    first = to_matrix(network.conv1, (3, size, size))
    second = to_matrix(network.conv2, (4, size, size))
    last = network.fc.weight[target].repeat_interleave(size * size) / size**2
    multiplier = ((last * quotients[1]) @ second * quotients[0]) @ first
    return (multiplier * (pixels - baseline).flatten()).view(3, size, size).float()


def test_deep_lift_at_max_pooling_window_by_window():
    """The picture's maximum takes the change up to where both maxima meet, the baseline's takes the rest."""

    class Pooled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.pool = nn.MaxPool2d(3, 2, 1)
            self.fc = nn.Linear(3 * 3 * 4, 2)

        def forward(self, x):
            return self.fc(self.pool(x).flatten(1))

    network = seeded(Pooled)
    pixels = torch.rand(1, 3, 6, 8, generator=torch.Generator().manual_seed(1))
    trace = trace_pixels(Classifier(copy.deepcopy(network), [0.0] * 3, [1.0] * 3), pixels, [])
    for baseline in ("grey", "blur"):
        start, expected = fixed_baseline(pixels, baseline)[0], torch.zeros(3, 6, 8)
        weight = network.fc.weight[1].detach().view(3, 3, 4)
        for c, row, column in itertools.product(range(3), range(3), range(4)):
            places = itertools.product(range(2 * row - 1, 2 * row + 2), range(2 * column - 1, 2 * column + 2))
            places = [(y, x) for y, x in places if 0 <= y < 6 and 0 <= x < 8]
            here, there = (max(places, key=lambda at, each=each: each[c][at].item()) for each in (pixels[0], start))
            highest, reference = pixels[0][c][here], start[c][there]
            meeting = max(highest, reference)
            expected[c][here] += weight[c, row, column] * (meeting - reference)
            expected[c][there] += weight[c, row, column] * (highest - meeting)
        found = channels_of(deep_lift, trace, [1], baseline=baseline)[0]
        assert close(found, expected, 1e-5)


class TwoLayers(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3, padding=1)
        self.conv2 = nn.Conv2d(4, 5, 3, padding=1)
        self.fc = nn.Linear(5, CLASSES)

    def forward(self, x):
        return self.fc(F.relu(self.conv2(F.relu(self.conv1(x)))).mean((2, 3)))


def test_deep_lift_equals_its_matrices():
    network, pixels = seeded(TwoLayers), random_pixels(1, 6)
    trace = trace_pixels(Classifier(copy.deepcopy(network), [0.0] * 3, [1.0] * 3), pixels, [])
    for baseline in ("grey", "blur"):
        start = fixed_baseline(pixels, baseline)
        expected = rescaled_by_hand(network, pixels, start, 3).detach()
        assert close(channels_of(deep_lift, trace, [3], baseline=baseline)[0], expected, 1e-4)


def test_lrp_epsilon_equals_the_paper_layer_by_layer():
    """Relevance itself is sent back here, with z + epsilon * sign(z) below, eq. 58."""
    network, pixels, epsilon, target = seeded(TwoLayers).double(), random_pixels(1, 6).double(), 0.05, 2

    def share(layer, inputs, relevance):
        inputs = inputs.detach().requires_grad_()
        z = layer(inputs)
        (back,) = torch.autograd.grad(z, inputs, (relevance / (z + epsilon * torch.where(z < 0, -1, 1))).detach())
        return (inputs * back).detach()

    x1 = network.conv1(pixels).relu()
    x2 = network.conv2(x1).relu()
    pooled = x2.mean((2, 3))
    relevance = torch.zeros(1, CLASSES).double()
    relevance[0, target] = network.fc(pooled)[0, target]
    for layer, inputs in (
        (network.fc, pooled),
        (lambda x: x.mean((2, 3)), x2),
        (network.conv2, x1),
        (network.conv1, pixels),
    ):
        relevance = share(layer, inputs, relevance)
    trace = trace_pixels(Classifier(seeded(TwoLayers), [0.0] * 3, [1.0] * 3), pixels.float(), [])
    assert close(channels_of(lrp, trace, [target], epsilon=epsilon), relevance.float(), 1e-4)


def test_lrp_epsilon_plus_equals_the_paper_layer_by_layer():
    """Convolutions share by positive contributions z+, the batch norm merged by hand; the last layer by epsilon."""
    network, pixels, target = seeded(NormedNet).double(), random_pixels(1, 6).double() - 0.5, 1
    scale = network.norm.weight / (network.norm.running_var + network.norm.eps).sqrt()
    weight = network.conv1.weight * scale[:, None, None, None]
    bias = (network.conv1.bias - network.norm.running_mean) * scale + network.norm.bias

    def share_positive(weight, bias, inputs, relevance):
        patches = F.unfold(inputs, 3, padding=1)[0]  # (C * 9, places)
        rows = weight.flatten(1)  # (D, C * 9)
        contributions = (rows[:, :, None] * patches).clamp_min(0)  # (D, C * 9, places)
        total = contributions.sum(1) + bias.clamp_min(0)[:, None]
        ratio = torch.where(total > 0, relevance[0].flatten(1) / total, torch.zeros(()).double())
        shared = (contributions * ratio[:, None]).sum(0)[None]
        return F.fold(shared, inputs.shape[-2:], 3, padding=1)

    x1 = network.norm(network.conv1(pixels)).relu()
    x2 = network.conv2(x1).relu()
    pooled = x2.mean((2, 3))
    score = network.fc(pooled)[0, target]
    relevance = network.fc.weight[target] * pooled[0] / score * score
    relevance = x2 * (relevance / x2.sum((0, 2, 3)).clamp_min(1e-12))[None, :, None, None]
    relevance = share_positive(network.conv2.weight, network.conv2.bias, x1, relevance)
    expected = share_positive(weight, bias, pixels, relevance).float().detach()
    trace = trace_pixels(Classifier(seeded(NormedNet), [0.0] * 3, [1.0] * 3), pixels.float(), [])
    found = channels_of(lrp, trace, [target], rule="epsilon-plus")
    assert close(found, expected, 1e-3)
    assert not close(found, channels_of(lrp, trace, [target]), 0.1)


class NormedNet(TwoLayers):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(4)

    def forward(self, x):
        return self.fc(F.relu(self.conv2(F.relu(self.norm(self.conv1(x))))).mean((2, 3)))


@pytest.mark.parametrize("build", [ResidualNet, DenseNet, VggNet, PlainNet])
def test_lrp_with_a_small_epsilon_is_gradient_times_normalised_input(build):
    trace = traced(build)
    gradient = channels_of(saliency, trace, [2])
    expected = gradient * (random_pixels() - torch.tensor(MEAN).view(1, 3, 1, 1))
    assert close(channels_of(lrp, trace, [2]), expected, 1e-3)


def test_guided_backprop_clips_at_each_relu_and_the_cap_of_relu6():
    class Capped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.act = nn.ReLU6(inplace=True)

        def forward(self, x):
            x = x.flatten(1)[:, :4] * torch.tensor([10.0, 1.0, 1.0, -1.0])
            return (self.act(x) * torch.tensor([1.0, 1.0, -1.0, 1.0])).sum(1, keepdim=True)

    pixels = torch.full((1, 3, 1, 4), 0.9)
    trace = trace_pixels(Classifier(Capped(), [0.0] * 3, [1.0] * 3), pixels, [])
    found = channels_of(guided_backprop, trace, [0])[0, 0, 0]  # capped, open, negative gradient, closed
    assert torch.equal(found, torch.tensor([0.0, 1.0, 0.0, 0.0]))


# --- sums -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("build", [ResidualNet, PreActivationNet, DenseNet, VggNet, PlainNet, GatedNet])
@pytest.mark.parametrize("baseline", ["black", "grey", "blur", "mean"])
def test_deep_lift_adds_up(build, baseline):
    trace = traced(build, size=15)
    assert deep_lift_problem(trace.classifier) is None
    result = deep_lift(trace, [0, 3], baseline=baseline)
    start = score_pixels(trace.classifier, fixed_baseline(random_pixels(1, 15), baseline))
    check_sum(result, (trace.scores - start)[0, [0, 3]], 1e-4)


def check_sum(result, expected, share):
    expected, size = expected.detach().cpu(), result.details.channels.abs().sum((1, 2, 3))
    assert (result.maps.sum((1, 2)) - expected).abs().max() <= share * size.max()
    assert torch.allclose(result.details.score_difference, expected, atol=1e-5)
    assert result.details.completeness_gap.abs().max() <= share * size.max()
    assert expected.abs().max() > 1e-3  # or nothing would be shown


@pytest.mark.parametrize("build", [ResidualNet, GatedNet])
@pytest.mark.parametrize("baseline", ["uniform", "noise", "blur"])
def test_deep_lift_shap_adds_up(build, baseline):
    trace, pixels = traced(build), random_pixels()
    result = deep_lift_shap(trace, [1, 2], samples=5, baseline=baseline, seed=4)
    starts = random_baseline(pixels.expand(5, -1, -1, -1), baseline, step_seeds(4, 5))
    check_sum(result, (trace.scores - score_pixels(trace.classifier, starts).mean(0))[0, [1, 2]], 1e-4)


def test_integrated_gradients_add_up_better_with_more_steps():
    trace = traced(ResidualNet)
    gaps = [integrated_gradients(trace, [0], steps=n).details.completeness_gap.abs().item() for n in (2, 200)]
    result = integrated_gradients(trace, [0], steps=200)
    black = score_pixels(trace.classifier, torch.zeros(1, 3, 16, 16))
    check_sum(result, (trace.scores - black)[0, [0]], 3e-3)
    assert gaps[1] < gaps[0]


def test_gradient_shap_adds_up_with_many_samples():
    trace = traced(DenseNet, size=8)
    result = gradient_shap(trace, [0], samples=1000, seed=1)
    assert result.details.completeness_gap.abs() < 0.1 * result.details.score_difference.abs()


@pytest.mark.parametrize("rule", ["epsilon", "epsilon-plus"])
def test_lrp_adds_up_without_biases(rule):
    trace = traced(lambda: PlainNet(bias=False))
    check_sum(lrp(trace, [0, 1, 2], rule=rule), trace.scores[0, :3], 1e-4)


@pytest.mark.parametrize("build", [PlainNet, VggNet])
def test_what_lrp_lacks_is_what_biases_keep(build):
    """Each bias keeps itself times the slope of the score by it."""
    network, trace = seeded(build), traced(build)
    for target in (0, 4):
        score = Normalised(network)
        score(random_pixels())[0, target].backward()
        kept = sum((p.grad * p).sum().item() for name, p in score.named_parameters() if name.endswith("bias"))
        gap = lrp(trace, [target]).details.completeness_gap.item()
        assert gap == pytest.approx(-kept, rel=1e-3) and abs(kept) > 1e-3


def test_methods_without_a_promise_have_no_gap():
    trace = traced(VggNet)
    for method in METHODS:
        details = method(trace, [0], **FEW.get(method, {})).details
        assert (details.completeness_gap is not None) == (method in COMPLETE)
        assert (details.score_difference is not None) == (method in COMPLETE)


def test_deep_lift_where_picture_and_baseline_agree_is_finite():
    trace = trace_pixels(classifier_of(seeded(GatedNet)), torch.full((1, 3, 16, 16), 0.5), [])
    for baseline in ("grey", "mean", "blur"):
        maps = deep_lift(trace, [0], baseline=baseline).maps
        assert torch.isfinite(maps).all() and maps.abs().max() < 1e-5


# --- stock networks ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "resnet18",
        "mobilenet_v3_small",
        *(pytest.param(n, marks=pytest.mark.slow) for n in ("mobilenet_v2", "googlenet", "densenet121")),
    ],
)
def test_deep_lift_adds_up_on_stock_networks(name):
    options = {"init_weights": False} if name == "googlenet" else {}
    network = seeded(lambda: getattr(torchvision.models, name)(num_classes=CLASSES, **options))
    classifier = Classifier(network, MEAN, STD).double()  # random weights give differences that float32 cannot hold
    trace = trace_pixels(classifier, random_pixels(1, 64).double(), [])
    details = deep_lift(trace, [0, 3], baseline="blur").details
    assert (details.completeness_gap.abs() <= 1e-5 * details.score_difference.abs()).all()
    assert details.score_difference.abs().min() > 0


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2", "squeezenet1_1"])
def test_relu_networks_are_supported(name):
    classifier = Classifier(getattr(torchvision.models, name)(num_classes=CLASSES), MEAN, STD)
    assert all(check(classifier) is None for check in (guided_backprop_problem, deep_lift_problem, lrp_problem))


@pytest.mark.parametrize(
    ("name", "guided", "lift"),
    [
        ("mobilenet_v3_small", "Hardswish", None),
        ("efficientnet_b0", "SiLU", None),
        ("convnext_tiny", "GELU", "layer_norm"),
    ],
)
def test_other_networks_are_told_why_not(name, guided, lift):
    classifier = Classifier(getattr(torchvision.models, name)(num_classes=CLASSES), MEAN, STD)
    assert guided in (lrp_problem(classifier) or "")
    sentence = guided_backprop_problem(classifier)
    assert guided in sentence or "has none" in sentence
    reason = deep_lift_problem(classifier)
    assert reason is None if lift is None else lift in reason


def test_a_network_that_is_no_graph_is_told_why_not():
    classifier = Classifier(seeded(TokenNet), MEAN, STD)
    for check in (guided_backprop_problem, deep_lift_problem, lrp_problem):
        assert "graph of operations" in check(classifier)
    trace = trace_pixels(classifier, random_pixels(), [])
    for method in RULES:
        with pytest.raises(UserError, match="graph of operations"):
            method(trace, [0])
    assert saliency(trace, [0]).maps.abs().max() > 0
    assert integrated_gradients(trace, [0]).maps.abs().max() > 0


# --- contract ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_several_classes_and_several_pictures_equal_one_by_one(method):
    classifier = classifier_of(seeded(ResidualNet))
    pixels, targets, few = random_pixels(3), [4, 0, 2], FEW.get(method, {})
    single = trace_pixels(classifier, pixels[:1], [])
    together = method(single, targets, **few)
    batch = method(trace_pixels(classifier, pixels, []), targets, **few)
    for i, target in enumerate(targets):
        alone = method(single, [target], **few)
        assert close(together.maps[i : i + 1], alone.maps, 1e-4)
        other = method(trace_pixels(classifier, pixels[i : i + 1], []), [target], **few)
        assert close(batch.maps[i : i + 1], other.maps, 1e-4)
        assert close(batch.details.channels[i : i + 1], other.details.channels, 1e-4)
        if method in COMPLETE:
            assert torch.allclose(batch.details.score_difference[i : i + 1], other.details.score_difference, atol=1e-5)
    assert together.maps.shape == batch.maps.shape == (3, 16, 16)
    assert not close(together.maps[:1], together.maps[1:2], 0.1)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("images", [1, 3])
def test_chunks_do_not_matter(method, images, monkeypatch):
    trace, few = traced(ResidualNet, images), FEW.get(method, {})
    expected = method(trace, [1, 0, 3], **few).maps
    sizes = []
    score = Classifier.forward
    monkeypatch.setattr(Classifier, "forward", lambda self, x: sizes.append(len(x)) or score(self, x))
    monkeypatch.setattr(pixel_gradients, "CHUNK_PIXELS", 4 * 16 * 16)
    assert close(method(trace, [1, 0, 3], **few).maps, expected, 1e-4)
    assert max(sizes) <= 4


def test_chunks_are_bounded_in_pixels_and_pictures():
    assert pixel_gradients.chunk_size(torch.empty(9, 3, 224, 224)) == 4
    assert pixel_gradients.chunk_size(torch.empty(9, 3, 224, 224), 4) == 1
    assert pixel_gradients.chunk_size(torch.empty(9, 3, 16, 16)) == 64
    assert pixel_gradients.chunk_size(torch.empty(9, 3, 900, 900)) == 1


@pytest.mark.parametrize("method", METHODS)
def test_maps_are_detached_float32_and_repeatable(method):
    pixels = random_pixels()
    trace = trace_pixels(classifier_of(seeded(VggNet)), pixels, ["4"], input_gradient=True)
    state = torch.get_rng_state()
    first, second = (method(trace, (1, 3), **FEW.get(method, {})) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), state)
    assert first.maps.dtype == torch.float32 and first.maps.shape == (2, 16, 16) and first.maps.device.type == "cpu"
    assert first.details.channels.shape == (2, 3, 16, 16) and first.details.channels.dtype == torch.float32
    assert not first.maps.requires_grad and not first.details.channels.requires_grad
    assert torch.equal(first.maps, second.maps) and torch.isfinite(first.maps).all()
    with torch.inference_mode():
        assert close(method(trace, (1, 3), **FEW.get(method, {})).maps, first.maps, 1e-5)
    assert trace.pixels.grad is None


@pytest.mark.parametrize("method", RANDOM)
def test_the_seed_decides(method):
    trace = traced(ResidualNet)
    one, same, other = (method(trace, [1], seed=seed, samples=4).maps for seed in (1, 1, 2))
    assert torch.equal(one, same) and not close(one, other, 0.01)


@pytest.mark.parametrize("method", METHODS)
def test_the_model_is_as_it_was_also_after_a_stop(method):
    trace = traced(ResidualNet)
    modules = dict(trace.classifier.named_modules())

    def state():
        return (
            {name: (m.training, len(m._forward_hooks), len(m._backward_hooks)) for name, m in modules.items()},
            {name: getattr(m, "inplace", None) for name, m in modules.items()},
            {n: (p._version, p.requires_grad, p.grad) for n, p in trace.classifier.named_parameters()},
        )

    def stop(fraction, partial):
        assert 0 < fraction <= 1
        raise Cancelled

    before, scores = state(), trace.classifier(random_pixels())
    with pytest.raises(Cancelled):
        method(trace, [0, 1], on_progress=stop)
    expected = method(trace, [0, 1], **FEW.get(method, {})).maps
    assert dict(trace.classifier.named_modules()) == modules and state() == before
    assert torch.equal(trace.classifier(random_pixels()), scores)
    assert torch.equal(method(trace, [0, 1], **FEW.get(method, {})).maps, expected)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("images", [1, 2])
def test_progress_comes_often_and_ends_at_one(method, images, monkeypatch):
    monkeypatch.setattr(pixel_gradients, "CHUNK_PICTURES", 1)
    told, steps = [], 1
    if method is integrated_gradients:
        steps = 32
    options = FEW.get(method, {"samples": 5} if method is deep_lift_shap else {})
    steps = options.get("samples", steps)
    method(traced(VggNet, images), [0, 2], on_progress=lambda done, partial: told.append(done), **options)
    assert told == pytest.approx([n / (2 * steps) for n in range(1, 2 * steps + 1)])


@pytest.mark.parametrize("method", METHODS)
def test_threads_get_the_serial_results(method):
    classifier, few = classifier_of(seeded(ResidualNet)), FEW.get(method, {})
    traces = [trace_pixels(classifier, random_pixels(seed=n), []) for n in range(4)]
    serial = [method(trace, [n], **few).maps for n, trace in enumerate(traces)]
    found = {}

    def work(n):
        found[n] = method(traces[n], [n], **few).maps

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(close(found[n], serial[n], 1e-5) for n in range(4))


def test_a_network_without_gradients_is_told_so():
    class Cut(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = Head(3)

        def forward(self, x):
            return self.head(x.detach())

    trace = trace_pixels(Classifier(Cut(), MEAN, STD), random_pixels(), [])
    with pytest.raises(UserError, match="No gradient reaches the pixels"):
        saliency(trace, [0])


def test_baselines():
    pixels = random_pixels(2, 12)
    assert fixed_baseline(pixels, "black").abs().max() == 0
    assert (fixed_baseline(pixels, "grey") == 0.5).all()
    mean = fixed_baseline(pixels, "mean")
    for i, c in itertools.product(range(2), range(3)):
        assert torch.allclose(mean[i, c], pixels[i, c].mean().expand(12, 12), atol=1e-6)
    flat = torch.full((1, 3, 8, 10), 0.3)
    assert torch.allclose(fixed_baseline(flat, "blur"), flat, atol=1e-6)
    dot = torch.zeros(1, 3, 21, 41)
    dot[0, 1, 5, 30] = 1
    blurred = fixed_baseline(dot, "blur")[0]
    assert blurred[[0, 2]].abs().max() == 0
    row, column = divmod(int(blurred[1].argmax()), 41)
    assert (row, column) == (5, 30)
    assert (blurred[1, 5, 32] / blurred[1, 5, 30]).item() == pytest.approx(np.exp(-4 / (2 * 2.1**2)), rel=1e-3)
    for kind in ("uniform", "noise", "blur"):
        drawn = random_baseline(pixels, kind, [3, 3])
        assert drawn.shape == pixels.shape and drawn.min() >= 0 and drawn.max() <= 1
        assert torch.equal(drawn[0], drawn[1]) == (kind != "blur")
        assert torch.equal(drawn, random_baseline(pixels, kind, [3, 3]))
        assert not torch.equal(drawn, random_baseline(pixels, kind, [4, 4]))
    assert step_seeds(5, 3) == step_seeds(5, 9)[:3]
    for wrong in (fixed_baseline, lambda p, kind: random_baseline(p, kind, [0, 1])):
        with pytest.raises(ValueError, match="none of"):
            wrong(pixels, "white")


def test_gradient_shap_without_the_gap_is_the_same_map_for_fewer_pictures(monkeypatch):
    trace = traced(ResidualNet, images=2)
    whole = gradient_shap(trace, [1, 3], samples=6)
    asked = []
    monkeypatch.setattr("xai.compute.gradients.mean_scores", lambda *each, **_: asked.append(each))
    plain = gradient_shap(trace, [1, 3], samples=6, gap=False)
    assert torch.equal(plain.maps, whole.maps) and not asked
    assert plain.details.score_difference is None and plain.details.completeness_gap is None
    assert whole.details.completeness_gap.shape == (2,)


@pytest.mark.parametrize("method", [guided_backprop, deep_lift, deep_lift_shap, lrp])
@pytest.mark.parametrize("images", [1, 3])
def test_a_pass_under_rules_tells_the_scores_of_a_trace_that_waits(method, images):
    classifier, pixels, targets = classifier_of(seeded(VggNet)), random_pixels(images, seed=2), [1, 0, 3][:images]
    known, trace = (trace_pixels(classifier, pixels, []) for _ in range(2))
    expected = method(known, targets, **FEW.get(method, {})).maps
    passes = []
    classifier.network.register_forward_hook(lambda *_: passes.append(1))
    assert close(method(trace, targets, **FEW.get(method, {})).maps, expected, 1e-5)
    assert close(trace.scores, known.scores, 1e-4) and not passes
