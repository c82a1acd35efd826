"""What kind of operation each node of a network's graph is, and running the graph with a rule for each."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any

from torch import Tensor, fx, nn

from xai.compute.trace import Classifier


class Kind(Enum):
    """How an operation turns inputs into outputs, as far as rules for gradients care."""

    ROUTING = "moves values and leaves them as they are"
    LINEAR = "weighted sums of its inputs, and a constant"
    RECTIFIER = "ReLU, ReLU6"
    ACTIVATION = "another function of single values"
    MAXIMUM = "max pooling"
    PRODUCT = "product of two computed values"
    OTHER = "anything else"


_MODULES: tuple[tuple[Kind, tuple[type[nn.Module], ...]], ...] = (
    (Kind.RECTIFIER, (nn.ReLU, nn.ReLU6)),
    (Kind.MAXIMUM, (nn.MaxPool2d,)),
    (
        Kind.LINEAR,
        (nn.Conv2d, nn.ConvTranspose2d, nn.Linear, nn.BatchNorm1d, nn.BatchNorm2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d),
    ),
    (
        Kind.ROUTING,
        (
            *(nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout),
            *(nn.Flatten, nn.Unflatten, nn.ChannelShuffle, nn.PixelShuffle, nn.ZeroPad2d),
        ),
    ),
    (
        Kind.ACTIVATION,
        (
            *(nn.LeakyReLU, nn.ELU, nn.SELU, nn.CELU, nn.GELU, nn.SiLU, nn.Mish, nn.Softplus, nn.Softsign),
            *(nn.Sigmoid, nn.Tanh, nn.LogSigmoid, nn.Hardsigmoid, nn.Hardswish, nn.Hardtanh),
        ),
    ),
)


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


_CALLS: dict[Kind, frozenset[str]] = {
    Kind.LINEAR: _names("add sub neg mean sum avg_pool2d adaptive_avg_pool2d conv2d linear batch_norm"),
    Kind.ROUTING: _names(
        "cat concat concatenate stack flatten view reshape permute transpose contiguous chunk split getitem select "
        "unsqueeze squeeze expand pad dropout dropout2d feature_dropout stochastic_depth clone float to size dim "
        "getattr floordiv eq ne"
    ),
    Kind.MAXIMUM: _names("max_pool2d"),
    Kind.ACTIVATION: _names(
        "leaky_relu elu selu celu gelu silu mish softplus softsign sigmoid tanh logsigmoid hardsigmoid hardswish "
        "hardtanh clamp clamp_min clamp_max"
    ),
}


@dataclass(frozen=True, eq=False)
class Operation:
    """One call in a network's graph, about to run.

    Attributes:
        node, module: where it stands; the module, if it is a call of one.
        kind: what it does.
        inputs, options: its arguments.
        compute: runs it on arguments and options.
    """

    node: fx.Node
    module: nn.Module | None
    kind: Kind
    inputs: tuple[Any, ...]
    options: dict[str, Any]
    compute: Callable[[tuple[Any, ...], dict[str, Any]], Any]

    def run(self) -> Any:
        """Run it as it is."""
        return self.compute(self.inputs, self.options)


Rule = Callable[[Operation], Any]
"""Runs an operation; returns its value, with the gradient that the rule gives it."""


def kind_of(node: fx.Node, module: nn.Module | None) -> Kind:
    """Return what kind of operation a node is; `module` is what it calls, if it calls one."""
    if module is not None:
        return next((kind for kind, types in _MODULES if isinstance(module, types)), Kind.OTHER)
    name = name_of(node)
    if name in ("mul", "truediv", "div"):
        computed = [isinstance(each, fx.Node) and each.op != "get_attr" for each in node.args[:2]]  # else constant
        if sum(computed) == 1 and (name == "mul" or computed[0]):
            return Kind.LINEAR
        return Kind.PRODUCT if name == "mul" else Kind.OTHER
    return next((kind for kind, names in _CALLS.items() if name in names), Kind.OTHER)


def name_of(node: fx.Node) -> str:
    """Return the name of the function or method that a node calls, without a trailing underscore."""
    name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", str(node.target))
    return name.rstrip("_")


def operations_of(graph: fx.GraphModule) -> list[tuple[str, Kind]]:
    """Return the operations of a graph, each once: class of module or name of function, and kind."""
    found: dict[tuple[str, Kind], None] = {}
    for node in graph.graph.nodes:
        if node.op in ("call_module", "call_function", "call_method"):
            module = graph.get_submodule(str(node.target)) if node.op == "call_module" else None
            found[name_of(node) if module is None else type(module).__name__, kind_of(node, module)] = None
    return list(found)


def with_rule(prepared: Classifier, rule: Rule) -> Classifier:
    """Return a classifier like a prepared one, with the same scores, whose gradients a rule makes.

    Nothing is hooked and the prepared one does not change, so each call of a method can have its own.
    """
    ruled = copy.copy(prepared)
    ruled._modules = {"network": _RuledNetwork(prepared.network, rule)}
    return ruled


class _RuledNetwork(nn.Module):
    def __init__(self, graph: nn.Module, rule: Rule) -> None:
        super().__init__()
        self.graph = graph
        self.rule = rule

    def forward(self, inputs: Tensor) -> Any:
        return _Runner(self.graph, self.rule).run(inputs)


class _Runner(fx.Interpreter):
    """Runs a graph node by node and asks a rule at each operation."""

    def __init__(self, graph: nn.Module, rule: Rule) -> None:
        super().__init__(graph)
        self.rule = rule

    def run_node(self, n: fx.Node) -> Any:
        if n.op not in ("call_module", "call_function", "call_method"):
            return super().run_node(n)
        module = self.fetch_attr(str(n.target)) if n.op == "call_module" else None
        inputs, options = self.fetch_args_kwargs_from_env(n)
        call = getattr(self, n.op)
        operation = Operation(
            n,
            module,
            kind_of(n, module),
            tuple(inputs),
            dict(options),
            lambda args, kwargs: call(n.target, args, kwargs),
        )
        return self.rule(operation)
