"""Ask why a picture lies in one cluster rather than in another: their difference as a score of its own."""

from __future__ import annotations

import copy
from dataclasses import replace

import torch
from torch import nn

from xai.errors import UserError
from xai.load import load_model
from xai.model import Model


def contrast_model(model: Model, first: int | str, second: int | str) -> Model:
    """Build the model whose scores are cluster A minus cluster B and B minus A, for every method of the registry.

    The last linear layer is replaced by the difference of its two rows, so layer names stay, no operation is added that
    a rule of propagation would have to know, and a map of A minus B is what speaks for A *rather than* B: evidence
    that both share cancels. Its sigmoid is the probability of A among the two.

    Args:
        model: one head of a run, whose network ends in a linear layer with a score for each cluster.
        first, second: clusters A and B, by index or name.

    Raises:
        UserError: there is no such cluster, both are the same, or the network does not end that way.
    """
    a, b = model.find_class(first), model.find_class(second)
    if a == b:
        raise UserError(f"A contrast needs two different clusters, not {model.class_names[a]} twice.")
    network = copy.deepcopy(model.network)
    found = [
        (name, module)
        for name, module in network.named_modules()
        if isinstance(module, nn.Linear) and module.out_features == len(model.class_names)
    ]
    if not found:
        raise UserError(f"{model.name} does not end in a linear layer, so its clusters cannot be subtracted there.")
    name, last = found[-1]
    parent, _, leaf = name.rpartition(".")
    setattr(network.get_submodule(parent), leaf, _difference(last, a, b))
    names = [f"{model.class_names[a]} rather than {model.class_names[b]}" for a, b in ((a, b), (b, a))]
    made = load_model(
        network,
        mean=model.fmt.mean,
        std=model.fmt.std,
        input_size=model.fmt.size,
        class_names=names,
        output="sigmoid",
        device=model.device,
    )
    _check(model, made, a, b)
    return replace(made, name=model.name, weights=model.weights, fmt=model.fmt)


def _difference(last: nn.Linear, a: int, b: int) -> nn.Linear:
    made = nn.Linear(last.in_features, 2, device=last.weight.device, dtype=last.weight.dtype)
    with torch.no_grad():
        weight, bias = last.weight[a] - last.weight[b], last.bias[a] - last.bias[b] if last.bias is not None else 0.0
        made.weight.copy_(torch.stack([weight, -weight]))
        made.bias.copy_(torch.stack([torch.as_tensor(bias), -torch.as_tensor(bias)]))
    return made


def _check(model: Model, made: Model, a: int, b: int) -> None:
    """Refuse a network whose last linear layer is not what its scores are: something follows it."""
    pixels = torch.rand(2, 3, *model.fmt.size, generator=torch.Generator().manual_seed(0)).to(model.device)
    with torch.inference_mode():
        whole, pair = model.classifier(pixels), made.classifier(pixels)
    if not torch.allclose(whole[:, a] - whole[:, b], pair[:, 0], atol=1e-3, rtol=1e-3):
        raise UserError(
            f"{model.name} goes on after its last linear layer, so its clusters cannot be subtracted there."
        )
