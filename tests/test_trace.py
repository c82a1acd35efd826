"""One pass gives true activations and gradients, to many threads at once, and leaves no mark: xai.compute.trace."""

from __future__ import annotations

import copy
import gc
import sys
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
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
    hooked_forward,
    normalised,
    random_pixels,
    retained_gradients,
    seeded,
    tokens_to_map,
    without_inplace,
)
from torch import nn

from xai.compute import trace as tracing
from xai.compute.trace import Classifier, record_outputs, score_pixels, trace_pixels
from xai.errors import UserError

TINY = [ResidualNet, PreActivationNet, DenseNet, ReusedNet, VggNet]


def vgg_features():
    """The convolutions of torchvision's VGG-11 before a small head."""
    features = torchvision.models.vgg.make_layers(torchvision.models.vgg.cfgs["A"])
    return nn.Sequential(features, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, CLASSES))


LARGE = {
    "resnet18": (lambda: torchvision.models.resnet18(num_classes=CLASSES), 40),
    "vgg11": (vgg_features, 32),
    "densenet121": (lambda: torchvision.models.densenet121(num_classes=CLASSES), 32),
    "mobilenet_v3_small": (lambda: torchvision.models.mobilenet_v3_small(num_classes=CLASSES), 32),
    "squeezenet1_1": (lambda: torchvision.models.squeezenet1_1(num_classes=CLASSES), 32),
}


@pytest.fixture(scope="module", params=TINY, ids=lambda build: build.__name__)
def tiny(request):
    """A tiny network."""
    return seeded(request.param)


@pytest.fixture(scope="module", params=[*TINY, *LARGE], ids=lambda p: p if isinstance(p, str) else p.__name__)
def case(request):
    """A network and the size of its pixels."""
    build, size = LARGE.get(request.param, (request.param, 16))
    return seeded(build), size


def all_layers(network):
    return [name for name, _ in network.named_modules() if name]


def test_scores_and_activations_equal_an_independent_forward(case):
    network, size = case
    share = 1e-6 if size == 16 else 1e-5
    pixels = random_pixels(2, size)
    plain, produced = hooked_forward(without_inplace(network), normalised(pixels))
    classifier = classifier_of(network, size)
    trace = trace_pixels(classifier, pixels, all_layers(network))
    assert close(trace.scores, plain, 1e-5)
    assert close(trace.scores, network(normalised(pixels)), 1e-5)
    assert close(score_pixels(classifier, pixels), plain, 1e-5)
    assert set(trace.layers) == set(produced)
    for name, value in produced.items():
        assert close(trace.activation(name), value, share), name
        assert not trace.activation(name).requires_grad


def test_each_layer_alone_gives_the_same_scores_and_value(tiny):
    network, size = tiny, 16
    pixels = random_pixels(1, size)
    plain, produced = hooked_forward(without_inplace(network), normalised(pixels))
    classifier = classifier_of(network, size)
    for name in produced:
        trace = trace_pixels(classifier, pixels, [name])
        assert trace.layers == (name,)
        assert close(trace.scores, plain), name
        assert close(trace.activation(name), produced[name]), name


def test_gradients_equal_retain_grad_on_the_twin_without_inplace(tiny):
    expected = retained_gradients(without_inplace(tiny), normalised(random_pixels()), target=3)
    expected.pop("shortcut", None)  # in the twin the identity leads nowhere
    classifier = classifier_of(tiny)
    from_pixels = trace_pixels(classifier, random_pixels(), all_layers(tiny), input_gradient=True)
    from_layers = trace_pixels(classifier, random_pixels(), all_layers(tiny))
    assert from_pixels.pixels.requires_grad and not from_layers.pixels.requires_grad
    assert len(expected) > 3
    for name, gradient in expected.items():
        assert close(from_pixels.gradients(name, [3]), gradient), name
        assert close(from_layers.gradients(name, [3]), gradient), name
        assert close(trace_pixels(classifier, random_pixels(), [name]).gradients(name, [3]), gradient), name


@pytest.mark.parametrize("name", ["vgg11", "mobilenet_v3_small"])
def test_gradients_of_torchvision_networks_equal_retain_grad(name):
    build, size = LARGE[name]
    network = seeded(build)
    pixels = random_pixels(1, size)
    expected = retained_gradients(without_inplace(network), normalised(pixels), target=3)
    names = list(expected)[:: max(1, len(expected) // 12)]
    assert len(names) >= 12
    trace = trace_pixels(classifier_of(network, size), pixels, names)
    for layer in names:
        assert close(trace.gradients(layer, [3]), expected[layer], 1e-5), layer


def test_gradient_equals_a_network_split_by_hand():
    network = seeded(lambda: torchvision.models.resnet18(num_classes=CLASSES))
    pixels = random_pixels(1, 48)
    classifier = classifier_of(network, 48)
    net = without_inplace(network)
    x = net.maxpool(net.relu(net.bn1(net.conv1(normalised(pixels)))))
    layer2 = net.layer2(net.layer1(x)).detach().requires_grad_()
    layer3 = net.layer3(layer2)
    block = net.layer4[0](layer3)
    bn2 = net.layer4[1].bn2(net.layer4[1].conv2(torch.relu(net.layer4[1].bn1(net.layer4[1].conv1(block)))))
    layer4 = torch.relu(bn2 + block)
    score = net.fc(layer4.mean((2, 3)))[0, 2]
    parts = {"layer2": layer2, "layer3": layer3, "layer4.0": block, "layer4.1.bn2": bn2, "layer4": layer4}
    expected = torch.autograd.grad(score, list(parts.values()))
    trace = trace_pixels(classifier, pixels, list(parts))
    for (name, value), gradient in zip(parts.items(), expected, strict=True):
        assert close(trace.activation(name), value), name
        assert close(trace.gradients(name, [2]), gradient), name


@pytest.mark.parametrize("build", [ResidualNet, VggNet, DenseNet])
def test_gradient_equals_central_differences_in_double_precision(build):
    network = seeded(build).double()
    pixels = random_pixels(1, 16).double()
    classifier = Classifier(copy.deepcopy(network), MEAN, STD).double()
    names = [name for name, module in network.named_modules() if isinstance(module, (nn.Conv2d, nn.BatchNorm2d))]
    trace = trace_pixels(classifier, pixels, names)
    choose = torch.Generator().manual_seed(1)
    for name in names:
        gradient = trace.gradients(name, [4])[0]
        assert gradient.dtype == torch.float64
        for flat in torch.randint(gradient.numel(), (4,), generator=choose).tolist():
            difference = (
                score_with_nudge(network, pixels, name, flat, 1e-6)
                - score_with_nudge(network, pixels, name, flat, -1e-6)
            ) / 2e-6
            assert difference == pytest.approx(gradient.flatten()[flat].item(), rel=1e-4, abs=1e-8), (name, flat)


def score_with_nudge(network, pixels, name, flat, step, target=4):
    """Score when one number in the output of a module is changed by `step`."""
    network = copy.deepcopy(network)

    def nudge(_module, _inputs, output):
        changed = output.contiguous().clone()
        changed.view(-1)[flat] += step
        return changed

    network.get_submodule(name).register_forward_hook(nudge)
    with torch.no_grad():
        return network(normalised(pixels))[0, target].item()


def test_several_targets_equal_one_by_one_in_chunks_too(tiny, monkeypatch):
    trace = trace_pixels(classifier_of(tiny), random_pixels(), all_layers(tiny), input_gradient=True)
    targets = [3, 0, 4, 3]
    for name in trace.layers:
        singly = torch.cat([trace.gradients(name, [target]) for target in targets])
        assert close(trace.gradients(name, targets), singly), name
        assert trace.gradients(name, targets).shape[0] == 4
    name = trace.layers[2]
    whole = trace.gradients(name, targets)
    monkeypatch.setattr(tracing, "GRADIENT_BYTES", 3 * trace.outputs[name].nbytes)
    assert [len(chunk) for chunk in trace.gradient_chunks(name, targets)] == [3, 1]
    assert close(trace.gradients(name, targets), whole)


def test_batch_equals_single_images(tiny):
    pixels, targets = random_pixels(3), [4, 0, 2]
    classifier = classifier_of(tiny)
    names = all_layers(tiny)
    batch = trace_pixels(classifier, pixels, names)
    for name in names:
        gradients = batch.gradients(name, targets)
        for i, target in enumerate(targets):
            single = trace_pixels(classifier, pixels[i : i + 1], names)
            assert close(batch.scores[i], single.scores[0])
            assert close(batch.activation(name)[i], single.activation(name)[0]), name
            assert close(gradients[i : i + 1], single.gradients(name, [target]), 1e-4), name


def test_nothing_runs_again_for_another_layer_or_class():
    classifier = classifier_of(seeded(ResidualNet))
    passes = []
    classifier.network.register_forward_pre_hook(lambda *_: passes.append(1))
    trace = trace_pixels(classifier, random_pixels(), all_layers(classifier.network), input_gradient=True)
    assert len(passes) == 1
    for name in trace.layers:
        trace.gradients(name, [0]), trace.gradients(name, [1, 2]), trace.activation(name)
    assert len(passes) == 1
    for name in all_layers(classifier.network):
        trace_pixels(classifier, random_pixels(), [name])
    assert len(passes) == 1 + len(trace.layers)  # what was learned at loading spares every second pass


def test_layers_are_in_the_order_of_computation():
    classifier = classifier_of(seeded(ResidualNet))
    trace = trace_pixels(classifier, random_pixels(), ["stage2", "stem", "head.fc", "stage1.bn2"])
    assert trace.layers == ("stem", "stage1.bn2", "stage2", "head.fc")
    assert list(trace.activations) == list(trace.layers)


def test_score_keeps_nothing():
    classifier = classifier_of(seeded(ResidualNet))
    alive = []
    for module in list(classifier.network.modules())[1:]:
        module.register_forward_hook(lambda _m, _i, output: alive.append(weakref.ref(output)))
    trace = trace_pixels(classifier, random_pixels(), ["stage1"])
    kept = dict(trace.outputs)
    alive.clear()
    scores = trace.score(random_pixels(seed=1))
    assert not scores.requires_grad and scores.grad_fn is None and scores.is_inference()
    assert len(alive) > 10 and all(reference() is None or reference() is scores for reference in alive)
    assert trace.outputs == kept and tracing._open_capture.get() is None
    assert not torch.equal(scores, trace.scores)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_a_trace_works_in_a_callers_gradient_free_block(mode):
    classifier = classifier_of(seeded(ResidualNet))
    plain = trace_pixels(classifier, random_pixels(), ["stage1", "stage2"])
    plain_batch = trace_pixels(classifier, random_pixels(2), ["stage1"])
    with mode():
        pixels = random_pixels()  # in inference mode a tensor that autograd refuses to save
        for input_gradient in (False, True):
            trace = trace_pixels(classifier, pixels, ["stage1", "stage2"], input_gradient=input_gradient)
            assert torch.equal(trace.scores, plain.scores)
            assert close(trace.gradients("stage1", [1]), plain.gradients("stage1", [1]))
            assert close(trace.gradients("stage1", [1, 2]), plain.gradients("stage1", [1, 2]))
        batch = trace_pixels(classifier, random_pixels(2), ["stage1"])
        assert close(batch.gradients("stage1", [1, 2]), plain_batch.gradients("stage1", [1, 2]))
    assert torch.is_grad_enabled() and not torch.is_inference_mode_enabled()


def test_eight_threads_on_one_classifier_equal_serial_runs():
    network = seeded(ResidualNet)
    names = ("stem", "stage1.bn2", "stage2.0.relu", "stage2")
    jobs = [(seed, names[(seed + i) % 4], (seed + 2 * i) % CLASSES) for seed in range(8) for i in range(4)]

    def work(classifier, job):
        seed, name, target = job
        pixels = random_pixels(1, 16, seed)
        trace = trace_pixels(classifier, pixels, [name], input_gradient=target == 3)
        scores = score_pixels(classifier, random_pixels(2, 16, seed + 50))
        return trace.scores.detach(), trace.activation(name), trace.gradients(name, [target]), scores

    serial = [work(classifier_of(network), job) for job in jobs]
    shared = Classifier(copy.deepcopy(network), MEAN, STD)  # has still to learn what is rewritten
    barrier, interval = threading.Barrier(8), sys.getswitchinterval()
    sys.setswitchinterval(1e-4)

    def run(worker):
        barrier.wait()
        return [(i, work(shared, jobs[i])) for i in range(worker, len(jobs), 8)]

    try:
        with ThreadPoolExecutor(8) as pool:
            parallel = dict(item for part in pool.map(run, range(8)) for item in part)
    finally:
        sys.setswitchinterval(interval)
    assert len(parallel) == len(jobs) == 32
    for i, expected in enumerate(serial):
        for found, value in zip(parallel[i], expected, strict=True):
            assert close(found, value, 1e-6), jobs[i]


def test_eight_threads_may_ask_one_trace():
    trace = trace_pixels(classifier_of(seeded(ResidualNet)), random_pixels(), ["stem", "stage1", "stage2"])
    jobs = [(name, targets) for name in trace.layers for targets in ([0], [3], [4, 1], [2, 2, 0])] * 4
    serial = [trace.gradients(*job) for job in jobs]
    with ThreadPoolExecutor(8) as pool:
        for found, expected in zip(pool.map(lambda job: trace.gradients(*job), jobs), serial, strict=True):
            assert close(found, expected)


def test_a_trace_that_is_dropped_is_freed():
    trace = trace_pixels(classifier_of(seeded(ResidualNet)), random_pixels(), ["stem", "stage1"], input_gradient=True)
    trace.gradients("stage1", [0, 1])
    kept = [weakref.ref(output) for output in (*trace.outputs.values(), trace.scores, trace.pixels)]
    del trace
    gc.collect()
    assert [reference() for reference in kept] == [None] * 4


def model_state(network):
    """Everything about a network that a caller could see change."""
    flags = {name: module.training for name, module in network.named_modules()}
    hooks = {
        name: (len(m._forward_hooks), len(m._forward_pre_hooks), len(m._backward_hooks), len(m._backward_pre_hooks))
        for name, m in network.named_modules()
    }
    weights = {name: (value.clone(), value.stride(), value.data_ptr()) for name, value in network.state_dict().items()}
    grads = {
        name: (p.requires_grad, None if p.grad is None else p.grad.clone()) for name, p in network.named_parameters()
    }
    return flags, hooks, weights, grads


def same_state(one, other):
    """Compare two `model_state`s, tensors included."""
    for before, after in zip(one, other, strict=True):
        if before.keys() != after.keys():
            return False
        for key in before:
            a, b = (value if isinstance(value, tuple) else (value,) for value in (before[key], after[key]))
            if not all(torch.equal(x, y) if isinstance(x, torch.Tensor) else x == y for x, y in zip(a, b, strict=True)):
                return False
    return True


def test_the_network_is_the_same_afterwards():
    classifier = classifier_of(seeded(ResidualNet))
    before = model_state(classifier)
    for _ in range(2):
        trace = trace_pixels(classifier, random_pixels(), all_layers(classifier.network), input_gradient=True)
        trace.gradients("stage1", [1, 2])
        trace.score(random_pixels())
        assert same_state(before, model_state(classifier))
    assert not any(p.requires_grad or p.grad is not None for p in classifier.parameters())


def test_the_network_is_the_same_after_it_raised_in_the_middle():
    classifier = classifier_of(seeded(ResidualNet))
    expected = trace_pixels(classifier, random_pixels(), ["stage1"]).gradients("stage1", [1])
    before = model_state(classifier)
    broken = {"now": True}

    def fail(*_):
        if broken["now"]:
            raise ZeroDivisionError("in the middle")

    handle = classifier.network.stage2[1].conv1.register_forward_pre_hook(fail)
    for run in (
        lambda: trace_pixels(classifier, random_pixels(), ["stage1"]),
        lambda: score_pixels(classifier, random_pixels()),
        lambda: record_outputs(classifier, random_pixels()),
    ):
        with pytest.raises(ZeroDivisionError):
            run()
        assert tracing._open_capture.get() is None
    broken["now"] = False
    assert torch.equal(trace_pixels(classifier, random_pixels(), ["stage1"]).gradients("stage1", [1]), expected)
    handle.remove()
    assert same_state(before, model_state(classifier))


def test_nbytes_is_about_what_the_graph_holds(case):
    network, size = case
    pixels = random_pixels(1, size)
    classifier = classifier_of(network, size)
    weights = {value.untyped_storage().data_ptr() for value in classifier.state_dict().values()}
    held = {}

    def note(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            held[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        trace = trace_pixels(classifier, pixels, all_layers(network), input_gradient=True)
    for output in trace.outputs.values():
        note(output)
    assert 0.4 < trace.nbytes / sum(held.values()) < 1.5
    last = trace_pixels(classifier, pixels, [trace.layers[-1]])
    assert last.nbytes < trace.nbytes / 10


def test_a_module_that_runs_twice_keeps_its_last_output():
    network = seeded(ReusedNet)
    classifier = Classifier(copy.deepcopy(network), MEAN, STD)
    _, records = record_outputs(classifier, random_pixels())
    assert {r.name: r.calls for r in records} == {"stem": 1, "conv": 2, "head.fc": 1, "head": 1}
    conv = network.conv
    with torch.no_grad():
        expected = conv(torch.relu(conv(network.stem(normalised(random_pixels())))))
    trace = trace_pixels(classifier, random_pixels(), ["conv"])
    assert close(trace.activation("conv"), expected)
    weight = network.head.fc.weight[2] / expected[0, 0].numel()
    assert close(trace.gradients("conv", [2])[0], weight[:, None, None].expand(4, 16, 16))


def test_modules_that_give_tuples_are_passed_over():
    network = seeded(TupleNet)
    classifier = classifier_of(network)
    trace = trace_pixels(classifier, random_pixels(), all_layers(network))
    assert set(trace.layers) == {"conv", "left", "right", "head", "head.fc"}
    scores, _ = network(normalised(random_pixels()))
    assert close(trace.scores, scores)
    assert torch.equal(score_pixels(classifier, random_pixels()), trace.scores.detach())
    assert trace.gradients("conv", [1]).abs().sum() > 0


def test_a_network_that_names_its_logits():
    class Output(dict):
        logits = property(lambda self: self["logits"])

    class Named(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = seeded(VggNet)

        def forward(self, x):
            return Output(logits=self.inner(x))

    trace = trace_pixels(classifier_of(Named().eval()), random_pixels(), ["inner.3"])
    assert close(trace.scores, seeded(VggNet)(normalised(random_pixels())))


def test_token_layers_become_maps_by_reshape():
    network = seeded(TokenNet)
    classifier = Classifier(copy.deepcopy(network), MEAN, STD, reshape=tokens_to_map)
    _, records = record_outputs(classifier, random_pixels())
    assert {r.name: r.shape for r in records}["blocks.1"] == (1, 8, 4, 4)
    plain, produced = hooked_forward(network, normalised(random_pixels()))
    gradient = retained_gradients(network, normalised(random_pixels()), target=1)["blocks.0"]  # (1, 17, 8)
    trace = trace_pixels(classifier, random_pixels(), ["patches", "blocks.0", "blocks.1"])
    assert close(trace.scores, plain)
    assert trace.activation("patches").shape == (1, 8, 4, 4)
    for place in (0, 3, 6, 15):
        row, column = divmod(place, 4)
        assert close(trace.activation("blocks.0")[0, :, row, column], produced["blocks.0"][0, 1 + place])
        assert close(trace.gradients("blocks.0", [1])[0, :, row, column], gradient[0, 1 + place])
    assert close(trace.gradients("blocks.0", [0, 1])[1:], trace.gradients("blocks.0", [1]))


class Detached(nn.Module):
    """The first convolution is run without gradients; a side branch does not reach the scores."""

    def __init__(self) -> None:
        super().__init__()
        self.frozen = nn.Conv2d(3, 4, 3, padding=1)
        self.conv = nn.Conv2d(4, 4, 3, padding=1)
        self.side = nn.Conv2d(4, 2, 1)
        self.head = Head(4)

    def forward(self, x):
        with torch.no_grad():
            x = self.frozen(x)
        x = self.conv(x)
        self.side(x)
        return self.head(x)


def test_a_layer_that_no_gradient_reaches_says_so():
    trace = trace_pixels(classifier_of(seeded(Detached)), random_pixels(), ["frozen", "conv", "side"])
    assert trace.gradients("conv", [1]).abs().sum() > 0
    for name in ("frozen", "side"):
        for targets in ([1], [1, 2]):
            with pytest.raises(UserError, match=f"No gradient reaches layer '{name}'"):
                trace.gradients(name, targets)


class Square(torch.autograd.Function):
    """A function with its own derivative, as memory-saving activations have."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        return gradient * 2 * x


def test_several_targets_through_a_custom_derivative():
    class Custom(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3, padding=1)
            self.head = Head(4)

        def forward(self, x):
            return self.head(Square.apply(self.conv(x)))

    trace = trace_pixels(classifier_of(seeded(Custom)), random_pixels(), ["conv"])
    singly = torch.cat([trace.gradients("conv", [target]) for target in (0, 1, 2)])
    assert close(trace.gradients("conv", [0, 1, 2]), singly)


def test_grey_networks_get_the_luma():
    network = seeded(lambda: nn.Sequential(nn.Conv2d(1, 3, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2)))
    classifier = Classifier(copy.deepcopy(network), [0.3], [0.2], channels=1)
    pixels = random_pixels(2)
    grey = 0.299 * pixels[:, 0] + 0.587 * pixels[:, 1] + 0.114 * pixels[:, 2]
    assert close(score_pixels(classifier, pixels), network((grey[:, None] - 0.3) / 0.2))
    assert score_pixels(classifier, pixels).shape == (2, 2)


# --- scores that wait -----------------------------------------------------------------------------------------------


def test_scores_wait_until_somebody_asks_where_nothing_else_is_kept():
    classifier, pixels, passes = classifier_of(seeded(ResidualNet)), random_pixels(2), []
    classifier.network.register_forward_hook(lambda *_: passes.append(1))
    first = trace_pixels(classifier, pixels, [])
    assert len(passes) == 1  # whether it takes pictures of this size must show at once
    late = trace_pixels(classifier, pixels, [])
    assert len(passes) == 1
    assert torch.equal(late.scores, first.scores) and late.scores is late.scores and len(passes) == 2
    assert not late.scores.is_inference() and not late.scores.requires_grad
    for layers, from_pixels in ((["stem"], False), ([], True)):
        trace_pixels(classifier, pixels, layers, input_gradient=from_pixels)
    trace_pixels(classifier, random_pixels(1, 24), [])
    assert len(passes) == 5


def test_sizes_that_a_network_does_not_take_are_refused_at_once():
    class Fixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(3 * 16 * 16, CLASSES)

        def forward(self, x):
            return self.linear(x.flatten(1))

    classifier = classifier_of(seeded(Fixed))
    trace_pixels(classifier, random_pixels(1, 16), [])
    for _ in range(2):
        with pytest.raises(RuntimeError):
            trace_pixels(classifier, random_pixels(1, 20), [])


def test_offered_scores_are_taken_only_by_a_trace_without():
    classifier, pixels = classifier_of(seeded(ResidualNet)), random_pixels(2)
    first, late = (trace_pixels(classifier, pixels, []) for _ in range(2))
    for trace, expected in ((first, first.scores), (late, torch.ones(2, CLASSES))):
        trace.offer_scores(torch.ones(2, CLASSES))
        trace.offer_scores(torch.zeros(2, CLASSES))
        assert torch.equal(trace.scores, expected)
