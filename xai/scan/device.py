"""Bring numbers to where a run computes, without letting a GPU wait for each of them."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import torch
from torch import Tensor


def moved(values: np.ndarray, device: torch.device) -> Tensor:
    """Copy an array to a device; a GPU goes on with what it does meanwhile."""
    tensor = torch.from_numpy(values)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


@functools.cache
def fixed(values: tuple[Any, ...], device: torch.device) -> Tensor:
    """Numbers that never change, as a tensor on a device: copied once. Do not write into it."""
    with torch.inference_mode(False):
        return torch.tensor(values, device=device)
