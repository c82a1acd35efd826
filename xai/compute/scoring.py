"""The classifier once more for scores alone: batch norms merged into convolutions, nothing hooked."""

from __future__ import annotations

import copy
import operator
import threading
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, fx, nn

from xai.compute.prepare import prepare, read_graph, scores_differ
from xai.compute.propagation import merge_norm
from xai.compute.trace import Classifier

_WRITABLE = (nn.Conv2d, nn.BatchNorm2d)  # what they produce is memory of their own


@dataclass(frozen=True)
class _Twins:
    """Twins of a classifier with its weights as they were; None where there is none that gives the same scores."""

    version: int
    merged: Classifier | None  # batch norms merged
    quick: Classifier | None  # and ReLUs in place


_twins: WeakKeyDictionary[Classifier, _Twins] = WeakKeyDictionary()
_lock = threading.Lock()


def quick_scores(classifier: Classifier, pixels: Tensor) -> Tensor:
    """Return the scores of `score_pixels`, up to rounding, in less time: (N, 3, h, w) in [0, 1] -> (N, K)."""
    pixels = pixels.to(classifier.mean.device)
    twin = quick_twin(classifier, pixels)
    with torch.inference_mode():
        return twin(pixels)


def quick_twin(classifier: Classifier, pixels: Tensor) -> Classifier:
    """Return a classifier that gives the same scores and gradients in less time.

    It is made once, and again if somebody wrote into the weights meanwhile. It takes about two thirds of the time of a
    forward pass on a processor. Where the network cannot be read as a graph, or the twin gives other scores, it is the
    classifier itself.

    Args:
        classifier: maps pixels to scores.
        pixels: float32 (N, 3, h, w) in [0, 1]; with the first of them the scores of both are compared, once.
    """
    return _twins_of(classifier, pixels).quick or classifier


def merged_copy(classifier: Classifier, pixels: Tensor) -> Classifier:
    """Return the copy that `prepare` makes, with batch norms merged where that gives the same scores.

    It is for rules that leave linear operations as they are.

    Raises:
        UserError: see `prepare`.
    """
    return _twins_of(classifier, pixels).merged or prepare(classifier, pixels)


def _twins_of(classifier: Classifier, pixels: Tensor) -> _Twins:
    version = sum(each._version for each in (*classifier.parameters(), *classifier.buffers()))
    with _lock:
        found = _twins.get(classifier)
        if found is None or found.version != version:
            with torch.inference_mode(False), torch.no_grad():
                found = _twins[classifier] = _make_twins(classifier, pixels, version)
        return found


def _make_twins(classifier: Classifier, pixels: Tensor, version: int) -> _Twins:
    graph = read_graph(classifier)
    if isinstance(graph, str):
        return _Twins(version, None, None)
    merged = _copy_graph(graph)
    _merge_norms(merged)
    quick = _copy_graph(merged)
    _write_in_place(quick)
    twins = _Twins(version, _with_network(classifier, merged), _with_network(classifier, quick))
    if scores_differ(classifier, twins.quick, pixels[:1]) is None:  # then the other is right, too
        return twins
    return _Twins(version, twins.merged if scores_differ(classifier, twins.merged, pixels[:1]) is None else None, None)


def _copy_graph(network: fx.GraphModule) -> fx.GraphModule:
    """Copy all but the weights, which are shared."""
    return copy.deepcopy(network, {id(each): each for each in (*network.parameters(), *network.buffers())})


def _with_network(classifier: Classifier, network: fx.GraphModule) -> Classifier:
    network.graph.lint()
    network.recompile()
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
