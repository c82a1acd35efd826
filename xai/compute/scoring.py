"""The classifier once more for scores alone: batch norms and activations merged into convolutions, nothing hooked."""

from __future__ import annotations

import copy
import operator
import threading
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, fx, nn

from xai.compute.fused import can_fuse, fuse_activations
from xai.compute.prepare import read_graph, scores_differ
from xai.compute.propagation import merge_norm
from xai.compute.trace import Classifier

_WRITABLE = (nn.Conv2d, nn.BatchNorm2d)  # what they produce is memory of their own


@dataclass(frozen=True)
class _Twins:
    """What stands in for one classifier as long as nobody writes into its weights; itself where nothing else can.

    Attributes:
        version: tells whether somebody did.
        twin: has gradients.
        scorer: has none.
    """

    version: int
    twin: Classifier
    scorer: Classifier


_known: WeakKeyDictionary[Classifier, _Twins] = WeakKeyDictionary()
_lock = threading.Lock()


def quick_scores(classifier: Classifier, pixels: Tensor) -> Tensor:
    """Return the scores of `score_pixels`, up to rounding, in less time: (N, 3, h, w) in [0, 1] -> (N, K).

    On a processor convolutions apply the activation that follows them; up to eight pictures at once take least time.
    """
    pixels = pixels.to(classifier.mean.device)
    scorer = _twins_of(classifier, pixels).scorer
    with torch.inference_mode():
        return scorer(pixels)


def quick_twin(classifier: Classifier, pixels: Tensor) -> Classifier:
    """Return a classifier that gives the same scores and gradients in less time.

    It is made once, and again if somebody wrote into the weights meanwhile. It takes about two thirds of the time of a
    forward pass on a processor. Where the network cannot be read as a graph, or the twin gives other scores, it is the
    classifier itself.

    Args:
        classifier: maps pixels to scores.
        pixels: float32 (N, 3, h, w) in [0, 1]; with the first of them the scores of both are compared, once.
    """
    return _twins_of(classifier, pixels).twin


def _twins_of(classifier: Classifier, pixels: Tensor) -> _Twins:
    version = sum(each._version for each in (*classifier.parameters(), *classifier.buffers()))
    with _lock:
        known = _known.get(classifier)
        if known is None or known.version != version:
            with torch.inference_mode(False), torch.no_grad():
                twin = _checked(_make_twin(classifier), classifier, pixels)
                fits = twin is not classifier and can_fuse(pixels)
                scorer = _checked(_with_network(twin, fuse_activations(twin.network)), twin, pixels) if fits else twin
            _known[classifier] = known = _Twins(version, twin, scorer)
        return known


def _checked(twin: Classifier | None, classifier: Classifier, pixels: Tensor) -> Classifier:
    """Return the twin, or the classifier itself if the twin gives other scores."""
    return classifier if twin is None or scores_differ(classifier, twin, pixels[:1]) is not None else twin


def _make_twin(classifier: Classifier) -> Classifier | None:
    graph = read_graph(classifier)
    if isinstance(graph, str):
        return None
    shared = {id(each): each for each in (*graph.parameters(), *graph.buffers())}
    network = copy.deepcopy(graph, shared)
    _merge_norms(network)
    _write_in_place(network)
    network.graph.lint()
    network.recompile()
    return _with_network(classifier, network)


def _with_network(classifier: Classifier, network: nn.Module) -> Classifier:
    twin = copy.copy(classifier)
    twin._modules = {"network": network.eval()}
    return twin


def _merge_norms(network: fx.GraphModule) -> None:
    """Merge each batch norm into the convolution before it, where nothing else reads what that produces."""
    modules = dict(network.named_modules())
    calls = [node.target for node in network.graph.nodes if node.op == "call_module"]
    for node in list(network.graph.nodes):
        norm = modules.get(str(node.target)) if node.op == "call_module" else None
        if type(norm) is not nn.BatchNorm2d or norm.running_mean is None or not isinstance(node.args[0], fx.Node):
            continue
        before = node.args[0]
        convolution = modules.get(str(before.target)) if before.op == "call_module" else None
        if type(convolution) is not nn.Conv2d or len(before.users) > 1 or calls.count(before.target) > 1:
            continue
        weight, bias = merge_norm(convolution, norm)
        convolution.weight = nn.Parameter(weight, requires_grad=False)  # of the copied module; the original keeps its
        convolution.bias = nn.Parameter(bias, requires_grad=False)
        node.replace_all_uses_with(before)
        network.graph.erase_node(node)
    network.delete_all_unused_submodules()


def _write_in_place(network: fx.GraphModule) -> None:
    """Let a ReLU write over what it reads where nothing else reads that."""
    modules = dict(network.named_modules())
    for node in network.graph.nodes:
        if node.op != "call_module" or type(modules[str(node.target)]) not in (nn.ReLU, nn.ReLU6):
            continue
        before = node.args[0]
        made = before.op == "call_module" and type(modules[str(before.target)]) in _WRITABLE
        summed = before.op == "call_function" and before.target is operator.add
        modules[str(node.target)].inplace = (made or summed) and len(before.users) == 1
