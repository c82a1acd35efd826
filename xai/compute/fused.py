"""Convolutions that apply the activation that follows them while their output is still in the cache."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, fx, nn

_ACTIVATIONS: dict[type[nn.Module], tuple[str, list[float]]] = {
    nn.ReLU: ("relu", []),
    nn.ReLU6: ("hardtanh", [0.0, 6.0]),
    nn.SiLU: ("swish", []),
    nn.Hardswish: ("hardswish", []),
}  # as oneDNN names them


def can_fuse(pixels: Tensor) -> bool:
    """Say whether this build of torch has the operation, for pictures (N, 3, h, w) such as these."""
    on_processor = pixels.device.type == "cpu" and pixels.dtype == torch.float32
    return on_processor and torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_convolution_pointwise")


class FusedConvolution(nn.Module):
    """A convolution and its activation in one step of oneDNN, without gradients; fastest on channels-last input."""

    def __init__(self, convolution: nn.Conv2d, activation: nn.Module | None) -> None:
        super().__init__()
        self.weight, self.bias, self.groups = convolution.weight, convolution.bias, convolution.groups
        self._geometry = [list(each) for each in (convolution.padding, convolution.stride, convolution.dilation)]
        self._activation = ("none", []) if activation is None else _ACTIVATIONS[type(activation)]

    def forward(self, pixels: Tensor) -> Tensor:
        """(N, C, h, w) -> (N, C', h', w')."""
        return torch.ops.mkldnn._convolution_pointwise(
            pixels, self.weight, self.bias, *self._geometry, self.groups, *self._activation, ""
        )


def fuse_activations(network: nn.Module) -> nn.Module:
    """Return a graph whose convolutions are fused with what follows them; weights are shared.

    Args:
        network: float32, on the processor, in eval mode; what is not a graph is returned as it is.
    """
    if not isinstance(network, fx.GraphModule):
        return network
    fused = copy.deepcopy(network, {id(each): each for each in (*network.parameters(), *network.buffers())})
    modules = dict(fused.named_modules())
    calls = [node.target for node in fused.graph.nodes if node.op == "call_module"]
    for node in list(fused.graph.nodes):
        convolution = modules[node.target] if node.op == "call_module" else None
        if not isinstance(convolution, nn.Conv2d) or not _is_plain(convolution) or calls.count(node.target) > 1:
            continue
        after = next(iter(node.users))
        activation = modules[str(after.target)] if after.op == "call_module" else None
        if len(node.users) == 1 and type(activation) in _ACTIVATIONS:
            after.replace_all_uses_with(node)
            fused.graph.erase_node(after)
        else:
            activation = None
        fused.set_submodule(node.target, FusedConvolution(convolution, activation))
    fused.delete_all_unused_submodules()
    fused.graph.lint()
    fused.recompile()
    return fused


def _is_plain(convolution: nn.Conv2d) -> bool:
    plain = type(convolution) is nn.Conv2d and convolution.weight.dtype == torch.float32
    return plain and convolution.padding_mode == "zeros" and not isinstance(convolution.padding, str)
