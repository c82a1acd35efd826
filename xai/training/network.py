"""The network that a run trains: built for its classes, from scratch or on weights that exist."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from torch import nn

from xai.errors import UserError
from xai.io.models import find_model
from xai.io.weights import DownloadProgress, load_state, read_state_dict
from xai.load import load_model, own_network


def trainable_network(
    name: str,
    classes: int,
    *,
    weights: str | os.PathLike[str] | None = None,
    freeze: bool = False,
    on_progress: DownloadProgress | None = None,
) -> nn.Module:
    """Build a network in train mode.

    Args:
        name: in `MODELS`, or "package.module:function" for a network with the right number of scores.
        classes: number of scores.
        weights: None to start from random ones (the same every time), "default" or a name of published weights, or a
            file; the last linear layer is taken over only where its size fits.
        freeze: let only the last linear layer train.
        on_progress: of a download.

    Raises:
        UserError: a name is unknown, weights do not fit, or the number of scores is another one.
    """
    if ":" in name:
        network = own_network(name)[1]
        if weights is not None:
            load_state(network, read_state_dict(weights), str(weights))
    else:
        network = find_model(name).build(classes)
        if weights is not None:
            _take_over(network, name, weights, on_progress)
    head = last_linear(network)
    if head.weight.shape[0] != classes:
        raise UserError(f"{name} has {head.weight.shape[0]} scores, but the pictures have {classes} classes.")
    for parameter in network.parameters():
        parameter.requires_grad_(not freeze)
    for parameter in head.parameters():
        parameter.requires_grad_(True)
    return network.train()


def last_linear(network: nn.Module) -> nn.Linear | nn.Conv2d:
    """Return the layer that makes the scores: the last linear layer or convolution.

    Raises:
        UserError: there is none.
    """
    found = [module for module in network.modules() if isinstance(module, nn.Linear | nn.Conv2d)]
    if not found:
        raise UserError(f"{type(network).__name__} has no linear layer or convolution to train.")
    return found[-1]


def _take_over(
    network: nn.Module, name: str, weights: str | os.PathLike[str], on_progress: DownloadProgress | None
) -> None:
    """Put in all weights that fit; the last layer keeps its random ones where the classes are others."""
    path = Path(weights)
    state = (
        read_state_dict(path)
        if path.is_file()
        else load_model(name, weights=weights, device="cpu", on_progress=on_progress).network.state_dict()
    )
    own = network.state_dict()
    modules = {module: key for key, module in network.named_modules()}
    head = modules[last_linear(network)]
    for key in (f"{head}.weight", f"{head}.bias"):
        if key in state and key in own and state[key].shape != own[key].shape:
            state[key] = own[key]
    load_state(network, {key: value.clone() for key, value in state.items() if key in own}, str(weights))


def same_start(seed: int) -> None:
    """Seed torch's global generator, for dropout and stochastic depth; use inside `torch.random.fork_rng`."""
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_available():
        torch.cuda.manual_seed_all(seed)
