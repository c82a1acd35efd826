"""Rules that change what flows back through a network: guided backpropagation, DeepLIFT and LRP."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from xai.compute.operations import Kind, Operation

NO_CHANGE = 1e-10  # an input that changes less has the plain gradient instead of a quotient, as in captum


def steer(value: Tensor, slope: Tensor, source: Tensor) -> Tensor:
    """Return `value`, unchanged, with the gradient `slope` towards `source`, both of whose shapes fit it."""
    return value.detach() + slope.detach() * (source - source.detach())


class _GuidedReLU(torch.autograd.Function):
    """ReLU; of the gradient, only what is positive goes back through it."""

    @staticmethod
    def forward(ctx: Any, source: Tensor) -> Tensor:
        value = source.relu()
        ctx.save_for_backward(value)
        return value

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (value,) = ctx.saved_tensors
        return torch.ops.aten.threshold_backward(gradients[0], value, 0).clamp_min_(0)


class _PositiveOnly(torch.autograd.Function):
    """Hands a value on; of the gradient, only what is positive."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        return value.view_as(value)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return gradients[0].clamp_min(0)


def guide(operation: Operation) -> Any:
    """Let through a ReLU only the positive part of the gradient, where the ReLU itself is open.

    A ReLU6 is open between 0 and 6.

    Source: Springenberg et al. 2015, arXiv 1412.6806.
    """
    if type(operation.module) is nn.ReLU:
        return _GuidedReLU.apply(operation.inputs[0])
    value = operation.run()
    return _PositiveOnly.apply(value) if operation.kind is Kind.RECTIFIER else value


def rescale(operation: Operation) -> Any:
    """Replace the slope of an operation by the quotient of the changes between picture and baseline.

    The batch holds m pictures, then their m baselines; gradients are right for the pictures only. Functions of single
    values follow the rescale rule. The change of a maximum is given to the place of the picture's maximum up to where
    both maxima meet, and the rest to the place of the baseline's, as in the SHAP package; windows may overlap. In a
    product each factor has the mean of the other one as slope, which the paper does not treat: it keeps the sum exact.

    Source: Shrikumar et al. 2017, arXiv 1704.02685, section 3.5.
    """
    value = operation.run()
    if operation.kind in (Kind.RECTIFIER, Kind.ACTIVATION):
        source = operation.inputs[0]
        return steer(value, _secant(operation, source.detach(), value.detach()), source)
    if operation.kind is Kind.MAXIMUM:
        return _share_maximum(operation, operation.inputs[0], value.detach())
    if operation.kind is Kind.PRODUCT and all(isinstance(each, Tensor) for each in operation.inputs[:2]):
        one, other = operation.inputs[:2]
        return steer(value, _middle(other), one) + _middle(one) * (other - other.detach())
    return value


def _secant(operation: Operation, source: Tensor, value: Tensor) -> Tensor:
    picture, baseline = source.chunk(2)  # (2m, ...) -> twice (m, ...)
    change = picture - baseline
    outcome = value.chunk(2)[0] - value.chunk(2)[1]
    flat = change.abs() < NO_CHANGE
    slope = outcome / torch.where(flat, torch.ones_like(change), change)
    if flat.any():
        with torch.enable_grad():
            here = picture.clone().requires_grad_()
            result = operation.compute((here, *operation.inputs[1:]), operation.options)
            (tangent,) = torch.autograd.grad(result.sum(), here)
        slope = torch.where(flat, tangent, slope)
    return torch.cat([slope, slope])  # (2m, ...)


def _share_maximum(operation: Operation, source: Tensor, value: Tensor) -> Tensor:
    places = _places_of_maxima(operation, source.detach()).flatten(2)  # (2m, C, h' * w')
    at_picture, at_baseline = places.chunk(2)
    highest, reference = value.flatten(2).chunk(2)
    picture, baseline = source.flatten(2).chunk(2)  # twice (m, C, h * w)
    meeting = torch.maximum(highest, reference)
    moving = picture - picture.detach()
    total = highest
    for places, share, otherwise in (
        (at_picture, meeting - reference, 1.0),
        (at_baseline, highest - meeting, 0.0),
    ):
        change = (picture - baseline).detach().gather(2, places)
        flat = change.abs() < NO_CHANGE
        slope = share / torch.where(flat, torch.ones_like(change), change)
        total = total + torch.where(flat, torch.full_like(slope, otherwise), slope) * moving.gather(2, places)
    return torch.cat([total, reference]).view_as(value)


def _places_of_maxima(operation: Operation, source: Tensor) -> Tensor:
    """Return where in its flattened channel each maximum lies: int64 (2m, C, h', w')."""
    module = operation.module
    if isinstance(module, nn.MaxPool2d):
        options: dict[str, Any] = {"ceil_mode": module.ceil_mode}
        args = (module.kernel_size, module.stride, module.padding, module.dilation)
    else:
        args, options = operation.inputs[1:], dict(operation.options)
    return F.max_pool2d(source, *args, **{**options, "return_indices": True})[1]


def _middle(factor: Tensor) -> Tensor:
    """Return the mean of picture and baseline, for both: (2m, ...) -> (2m, ...)."""
    picture, baseline = factor.detach().chunk(2)
    return torch.cat([(picture + baseline) / 2] * 2)


@dataclass
class Relevance:
    """Rules of layer-wise relevance propagation, in a form in which gradient times input is the relevance.

    At each linear operation with output z the relevance is divided by z plus `epsilon` in the direction of z; biases
    keep their share. A ReLU hands relevance on, a maximum gives it to the winner. With `plus`, convolutions share the
    relevance by their positive contributions only; a batch norm right behind is first merged into its convolution.

    One object serves one forward pass at a time.

    Source: Bach et al. 2015, doi 10.1371/journal.pone.0130140, eq. 58 and (alpha 1, beta 0) eq. 60; merging:
    Montavon et al. 2019, doi 10.1007/978-3-030-28954-6_10.
    """

    epsilon: float
    plus: bool
    waiting: dict[fx.Node, tuple[nn.Conv2d, Tensor]] = field(default_factory=dict)

    def __call__(self, operation: Operation) -> Any:
        """Run an operation; the gradient of its value is relevance divided by value."""
        value = operation.run()
        if not isinstance(value, Tensor) or not value.requires_grad:
            return value
        if operation.kind is Kind.RECTIFIER:
            source = operation.inputs[0]
            return steer(value, torch.where(source == 0, torch.zeros_like(value), value / source), source)
        if operation.kind is not Kind.LINEAR:
            return value
        if self.plus and type(operation.module) is nn.Conv2d:
            return self._convolve(operation, operation.module, value)
        if operation.node in self.waiting and isinstance(operation.module, nn.BatchNorm2d):
            convolution, source = self.waiting.pop(operation.node)
            return self._share_positive(convolution, source, value, operation.module)
        return steer(value, value.abs() / (value.abs() + self.epsilon), value)

    def _convolve(self, operation: Operation, convolution: nn.Conv2d, value: Tensor) -> Tensor:
        users = list(operation.node.users)
        graph = operation.node.graph.owning_module
        behind = graph.get_submodule(str(users[0].target)) if graph and users and users[0].op == "call_module" else None
        if len(users) == 1 and type(behind) is nn.BatchNorm2d:
            self.waiting[users[0]] = convolution, operation.inputs[0]
            return value
        return self._share_positive(convolution, operation.inputs[0], value, None)

    def _share_positive(
        self, convolution: nn.Conv2d, source: Tensor, value: Tensor, norm: nn.BatchNorm2d | None
    ) -> Tensor:
        weight, bias = convolution.weight, convolution.bias
        if norm is not None:
            weight, bias = merge_norm(convolution, norm)
        positive = None if bias is None else bias.clamp_min(0)
        drive = convolution._conv_forward(source.clamp_min(0), weight.clamp_min(0), positive)
        drive = drive + convolution._conv_forward(source.clamp_max(0), weight.clamp_max(0), None)
        return steer(value, value / (drive + self.epsilon), drive)


def merge_norm(convolution: nn.Conv2d, norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Return weight and bias of a convolution with the batch norm behind it."""
    mean, variance = norm.running_mean, norm.running_var
    assert mean is not None and variance is not None
    scale = (variance + norm.eps).rsqrt()
    scale = scale if norm.weight is None else scale * norm.weight
    bias = -mean if convolution.bias is None else convolution.bias - mean
    shift = 0 if norm.bias is None else norm.bias
    return convolution.weight * scale[:, None, None, None], bias * scale + shift
