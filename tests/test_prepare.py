"""The copy that rules are put on: same scores, one ReLU per call, nothing shared but weights: xai.compute.prepare."""

from __future__ import annotations

import gc
import threading
import weakref

import pytest
import torch
import torch.nn.functional as F
import torchvision
from networks import (
    CLASSES,
    MEAN,
    STD,
    DenseNet,
    Head,
    PreActivationNet,
    ResidualNet,
    ReusedNet,
    TokenNet,
    TupleNet,
    VggNet,
    classifier_of,
    close,
    random_pixels,
    seeded,
)
from torch import nn

from xai.compute import prepare as module
from xai.compute.operations import Kind, operations_of, with_rule
from xai.compute.prepare import prepare, read_graph
from xai.compute.trace import Classifier, trace_pixels
from xai.errors import UserError


def rectifiers_of(classifier):
    return [each for each in classifier.modules() if isinstance(each, (nn.ReLU, nn.ReLU6))]


def calls_of_rectifiers(prepared):
    """Names of the modules called for each ReLU in the graph; a name twice is one module called twice."""
    nodes = [node for node in prepared.network.graph.nodes if node.op == "call_module"]
    return [n.target for n in nodes if isinstance(prepared.network.get_submodule(n.target), (nn.ReLU, nn.ReLU6))]


@pytest.mark.parametrize(
    ("build", "calls"),
    [
        (ResidualNet, 7),
        (PreActivationNet, 1),
        (DenseNet, 1),
        (ReusedNet, 1),
        (VggNet, 4),
        (TupleNet, 1),
    ],
)
def test_every_call_has_a_relu_of_its_own(build, calls):
    check(Classifier(seeded(build), MEAN, STD), random_pixels(2), calls)


@pytest.mark.parametrize(
    ("name", "size", "calls"),
    [
        ("resnet18", 64, 17),
        pytest.param("vgg16", 32, 15, marks=pytest.mark.slow),
        pytest.param("densenet121", 64, 121, marks=pytest.mark.slow),
        ("mobilenet_v2", 64, 35),
        pytest.param("googlenet", 64, 57, marks=pytest.mark.slow),
    ],
)
def test_stock_networks(name, size, calls):
    options = {"init_weights": False} if name == "googlenet" else {}
    network = seeded(lambda: getattr(torchvision.models, name)(num_classes=CLASSES, **options))
    check(Classifier(network, MEAN, STD), random_pixels(1, size), calls)


def check(classifier, pixels, calls):
    before = {name: (id(p), p._version) for name, p in classifier.state_dict(keep_vars=True).items()}
    settings = {name: getattr(each, "inplace", None) for name, each in classifier.named_modules()}
    expected = classifier(pixels)
    prepared = prepare(classifier, pixels)
    names = calls_of_rectifiers(prepared)
    assert len(names) == len(set(names)) == calls == len(rectifiers_of(prepared))
    assert not any(getattr(each, "inplace", False) for each in prepared.modules())
    assert close(prepared(pixels), expected, 1e-5)
    assert {id(p) for p in prepared.parameters()} <= {id(p) for p in classifier.parameters()}  # shared, not copied
    assert not any(each._forward_hooks for each in prepared.modules())
    own = {id(each) for each in classifier.modules()}
    assert not own & {id(each) for each in prepared.modules()}
    assert {name: (id(p), p._version) for name, p in classifier.state_dict(keep_vars=True).items()} == before
    assert {name: getattr(each, "inplace", None) for name, each in classifier.named_modules()} == settings
    assert torch.equal(classifier(pixels), expected)
    assert prepare(classifier, pixels) is prepared


def test_the_same_gradients_reach_the_pixels():
    for build in (ResidualNet, PreActivationNet, DenseNet, ReusedNet, VggNet):
        classifier = classifier_of(seeded(build))
        expected, found = (
            torch.autograd.grad(each(pixels)[0, 1], pixels)[0]
            for each in (classifier, prepare(classifier, random_pixels()))
            for pixels in [random_pixels().requires_grad_()]
        )
        assert close(found, expected, 1e-5), build


class EveryRelu(nn.Module):
    """ReLU in all its spellings, in place where it can be, and a sum in place by method."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.relu, self.capped = nn.ReLU(True), nn.ReLU6(True)
        self.drop = nn.Dropout(0.5, inplace=True)
        self.head = Head(4)

    def forward(self, x):
        x = self.conv(x)
        y = self.drop(x)
        z = F.relu(y - 0.1, inplace=True) + torch.relu(y - 0.2) + (y - 0.3).relu() + F.relu6(y)
        torch.relu_(z)
        z = self.capped(self.relu(z.sub_(0.1)) - 0.1).relu_()
        self.relu(x)  # writes into y as well, whose value is read next
        z.add_(y)
        return self.head(z + y)


def test_all_spellings_and_what_reads_the_memory_later():
    network = seeded(EveryRelu)
    prepared = prepare(Classifier(network, MEAN, STD), random_pixels())
    assert len(calls_of_rectifiers(prepared)) == 9
    assert [type(each) for each in prepared.modules()].count(nn.Dropout) == 1
    assert [type(each) for each in prepared.modules()].count(nn.ReLU6) == 2


class Branching(nn.Module):
    """Its computation depends on the values."""

    def __init__(self) -> None:
        super().__init__()
        self.head = Head(3)

    def forward(self, x):
        return self.head(x) if x.sum() > 0 else self.head(-x)


class Views(nn.Module):
    """Writes into half of what is read as a whole later."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.head = Head(4)

    def forward(self, x):
        x = self.conv(x)
        F.relu(x[:, :2], inplace=True)
        return self.head(x)


@pytest.mark.parametrize(
    ("build", "sentence"),
    [(Branching, "cannot be followed step by step"), (TokenNet, "cannot be followed"), (Views, "gives other scores")],
)
def test_what_cannot_be_copied_is_said(build, sentence):
    classifier = Classifier(seeded(build), MEAN, STD)
    for _ in range(2):
        with pytest.raises(UserError, match=sentence):
            prepare(classifier, random_pixels())
    if build is not Views:
        assert sentence in read_graph(classifier)


def test_a_grey_network_is_prepared_with_its_normalisation():
    class Grey(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(1, 4, 3)
            self.head = Head(4)

        def forward(self, x):
            return self.head(F.relu(self.conv(x)))

    classifier = Classifier(seeded(Grey), (0.1,), (0.3,), channels=1)
    pixels = random_pixels(2)
    assert close(prepare(classifier, pixels)(pixels), classifier(pixels))


def test_the_copy_goes_when_the_classifier_goes():
    classifier = Classifier(seeded(ResidualNet), MEAN, STD)
    twin = weakref.ref(prepare(classifier, random_pixels()))
    held = len(module._copies)
    assert twin() is not None
    del classifier
    gc.collect()
    assert twin() is None and len(module._copies) < held


class Meanwhile(nn.Module):
    """Hands its input on once another thread has done some work."""

    def __init__(self, work):
        super().__init__()
        self.work = work

    def forward(self, x):
        thread = threading.Thread(target=self.work)
        thread.start()
        thread.join()
        return x


def test_other_threads_compute_while_a_network_is_traced():
    """Tracing patches torch's modules for all threads; another thread's call, on the same weights, must not notice."""
    network = seeded(ResidualNet)
    classifier, pixels, found = Classifier(network, MEAN, STD), random_pixels(), []
    expected = classifier(pixels)
    traced = Classifier(nn.Sequential(Meanwhile(lambda: found.append(classifier(pixels))), network), MEAN, STD)
    made = prepare(traced, pixels)
    assert len(found) == 2 and all(torch.equal(each, expected) for each in found)
    assert close(made(pixels), expected, 1e-5)


def test_threads_that_ask_together_get_one_copy():
    classifier, made = classifier_of(seeded(ResidualNet)), []
    threads = [threading.Thread(target=lambda: made.append(prepare(classifier, random_pixels()))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 4 and len({id(each) for each in made}) == 1


def test_kinds_of_operations():
    network = torchvision.models.mobilenet_v3_small(num_classes=CLASSES)
    graph = read_graph(Classifier(network.eval(), MEAN, STD))
    kinds = operations_of(graph)
    expected = {"Conv2d": Kind.LINEAR, "add": Kind.LINEAR, "ReLU": Kind.RECTIFIER, "mul": Kind.PRODUCT}
    expected |= {"Hardswish": Kind.ACTIVATION, "Hardsigmoid": Kind.ACTIVATION, "flatten": Kind.ROUTING}
    assert set(expected.items()) <= set(kinds) and Kind.OTHER not in {kind for _, kind in kinds}


def test_a_product_of_computed_values_is_told_from_one_with_a_constant():
    class Products(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(3, 1, 1))
            self.head = Head(3)

        def forward(self, x):
            return self.head(x * x + 2 * x + x * self.scale + x / 2 + 1 / (1 + x.abs()))

    kinds = operations_of(read_graph(Classifier(seeded(Products), MEAN, STD)))
    assert [kind for name, kind in kinds if name == "mul"] == [Kind.PRODUCT, Kind.LINEAR]
    assert [kind for name, kind in kinds if name == "truediv"] == [Kind.LINEAR, Kind.OTHER]


def test_a_rule_that_changes_nothing_changes_nothing():
    classifier = classifier_of(seeded(DenseNet))
    prepared = prepare(classifier, random_pixels())
    seen = []

    def rule(operation):
        seen.append(operation.kind)
        return operation.run()

    ruled = with_rule(prepared, rule)
    assert torch.equal(ruled(random_pixels()), prepared(random_pixels()))
    assert seen == [Kind.LINEAR, Kind.LINEAR, Kind.ROUTING, Kind.LINEAR, Kind.RECTIFIER, Kind.LINEAR, Kind.LINEAR]
    assert prepared.network is not ruled.network and isinstance(prepared.network, torch.fx.GraphModule)


def test_traces_of_the_classifier_still_work():
    classifier = classifier_of(seeded(ResidualNet))
    before = trace_pixels(classifier, random_pixels(), ["stage1"]).activation("stage1")
    prepare(classifier, random_pixels())
    assert torch.equal(trace_pixels(classifier, random_pixels(), ["stage1"]).activation("stage1"), before)
