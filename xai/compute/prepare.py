"""A copy of a network that rules can be put on: same weights, same scores, every ReLU call a module of its own."""

from __future__ import annotations

import copy
import operator
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from xai.compute.trace import Classifier, _keep_output
from xai.errors import UserError

TOLERANCE = 1e-4  # of the largest score: layouts and the order of sums may differ, nothing else

_RECTIFIERS: dict[object, type[nn.Module]] = {
    F.relu: nn.ReLU,
    torch.relu: nn.ReLU,
    F.relu_: nn.ReLU,
    torch.relu_: nn.ReLU,
    F.relu6: nn.ReLU6,
    "relu": nn.ReLU,
    "relu_": nn.ReLU,
}
_OUT_OF_PLACE: dict[object, Any] = {
    operator.iadd: operator.add,
    operator.isub: operator.sub,
    operator.imul: operator.mul,
    operator.itruediv: operator.truediv,
    "add_": "add",
    "sub_": "sub",
    "mul_": "mul",
    "div_": "div",
}
_HANDS_ON = (nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)  # in eval mode: output is the input


@dataclass
class _Copy:
    """What is known about the copy of one classifier; `problem` says why there is none."""

    classifier: Classifier | None = None
    problem: str | None = None
    checked: bool = False


_copies: WeakKeyDictionary[Classifier, _Copy] = WeakKeyDictionary()
_lock = threading.Lock()  # tracing patches torch for its duration: one at a time


def prepare(classifier: Classifier, pixels: Tensor) -> Classifier:
    """Return the copy of a classifier whose network is a graph of single operations; made once, then remembered.

    In the copy every call of ReLU or ReLU6, by module, function or method, reused or in place, is a module of its own
    that is not in place; sums in place become sums; dropout and all other layers are the same. Parameters and buffers
    are shared, modules and hooks are not. The copy serves several threads as long as nobody changes it.

    Args:
        classifier: maps pixels to scores.
        pixels: float32 (N, 3, h, w) in [0, 1]; with the first of them the scores of both are compared, once.

    Raises:
        UserError: the network cannot be read as a graph, or the copy gives other scores.
    """
    made = _copy_of(classifier)
    if made.problem is None and not made.checked:
        made.problem, made.checked = scores_differ(classifier, made.classifier, pixels[:1]), True
    if made.classifier is None or made.problem is not None:
        raise UserError(f"This method needs the network as a graph of operations: {made.problem}")
    return made.classifier


def read_graph(classifier: Classifier) -> fx.GraphModule | str:
    """Return the network of the copy, scores not yet compared, or one sentence that says why it cannot be made."""
    made = _copy_of(classifier)
    if made.classifier is None:
        return made.problem or ""
    return made.classifier.network  # type: ignore[return-value]


def _copy_of(classifier: Classifier) -> _Copy:
    with _lock:
        if classifier not in _copies:
            _copies[classifier] = _make_copy(classifier)
        return _copies[classifier]


def _make_copy(classifier: Classifier) -> _Copy:
    shared = {id(each): each for each in (*classifier.parameters(), *classifier.buffers())}
    try:
        twin = copy.deepcopy(classifier, shared)
        for module in twin.modules():
            _drop_capture_hooks(module)
        graph = _Tracer().trace(twin.network)
        network = fx.GraphModule(twin.network, graph)
        _settle_writes(network)
        _separate_rectifiers(network)
        network.graph.eliminate_dead_code()
        network.graph.lint()
        network.recompile()
    except Exception as error:  # the network's own code, run on stand-ins for tensors, may raise anything
        first = str(error).strip().splitlines()[:1] or [""]
        return _Copy(problem=f"its forward cannot be followed step by step ({type(error).__name__}: {first[0][:120]}).")
    twin.network = network.eval()
    return _Copy(twin)


def _drop_capture_hooks(module: nn.Module) -> None:
    for key, hook in list(module._forward_hooks.items()):
        if isinstance(hook, partial) and hook.func is _keep_output:
            del module._forward_hooks[key]


def scores_differ(classifier: Classifier, twin: Classifier | None, pixels: Tensor) -> str | None:
    """Say how far the scores of the copy are from the classifier's own, if they are."""
    assert twin is not None
    with torch.inference_mode():
        expected, found = (each(pixels.to(classifier.mean.device)) for each in (classifier, twin))
    error = (found - expected).abs().max().item()
    if error <= TOLERANCE * expected.abs().max().clamp_min(1e-6).item():
        return None
    return f"read so, it gives other scores (by {error:.2g}); code that writes over its own input is a likely cause."


class _Tracer(fx.Tracer):
    """Follows one forward; other threads call modules and read parameters as ever, though torch is patched."""

    def __init__(self) -> None:
        super().__init__()
        self._thread = threading.get_ident()

    def call_module(
        self, m: nn.Module, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        if threading.get_ident() != self._thread:
            return forward(*args, **kwargs)
        return super().call_module(m, forward, args, kwargs)

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, Any]) -> Any:
        if threading.get_ident() != self._thread:
            return attr_val
        return super().getattr(attr, attr_val, parameter_proxy_cache)


def _settle_writes(network: fx.GraphModule) -> None:
    """Let what is written in place be a value of its own, and let what reads that memory later read the new value."""
    modules = dict(network.named_modules())
    place = {node: index for index, node in enumerate(network.graph.nodes)}
    for node in network.graph.nodes:
        if not _writes_in_place(node, modules) or not isinstance(node.args[0], fx.Node):
            continue
        memory = _memory_of(node, modules)
        for other in [each for each in place if place[each] < place[node] and _memory_of(each, modules) is memory]:
            for user in list(other.users):
                if place[user] > place[node]:
                    user.replace_input_with(other, node)
    for node in network.graph.nodes:
        node.target = _OUT_OF_PLACE.get(node.target, node.target)
        node.kwargs = {name: False if name == "inplace" else value for name, value in node.kwargs.items()}
    for module in modules.values():
        if hasattr(module, "inplace"):
            module.inplace = False


def _writes_in_place(node: fx.Node, modules: dict[str, nn.Module]) -> bool:
    if node.op == "call_module":
        module = modules[str(node.target)]
        return bool(getattr(module, "inplace", False)) and not isinstance(module, _HANDS_ON)
    if node.op in ("call_function", "call_method"):
        name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")
        written = name.endswith("_") and not name.endswith("__")
        return written or node.target in _OUT_OF_PLACE or bool(node.kwargs.get("inplace"))
    return False


def _memory_of(node: fx.Node, modules: dict[str, nn.Module]) -> fx.Node:
    """Return the node that made the memory in which the value of a node lies."""
    while node.args and isinstance(node.args[0], fx.Node):
        hands_on = node.op == "call_module" and isinstance(modules[str(node.target)], _HANDS_ON)
        if not hands_on and not _writes_in_place(node, modules):
            break
        node = node.args[0]
    return node


def _separate_rectifiers(network: fx.GraphModule) -> None:
    modules = dict(network.named_modules())
    for node in list(network.graph.nodes):
        kind = _RECTIFIERS.get(node.target) if node.op in ("call_function", "call_method") else None
        if node.op == "call_module" and type(modules[node.target]) in (nn.ReLU, nn.ReLU6):
            kind = type(modules[node.target])
        if kind is None:
            continue
        name = f"rectifier_{node.name}"
        network.add_submodule(name, kind())
        with network.graph.inserting_after(node):
            own = network.graph.call_module(name, (node.args[0] if node.args else node.kwargs["input"],))
        node.replace_all_uses_with(own)
        network.graph.erase_node(node)
    network.delete_all_unused_submodules()
