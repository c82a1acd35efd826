"""The state of a training run in one file: tensors in safetensors, the rest as JSON in its header."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from xai.errors import UserError
from xai.io.files import quoted, write_atomic
from xai.io.weights import first_line

CHECKPOINT = "checkpoint.safetensors"


def save_checkpoint(
    path: Path,
    modules: Mapping[str, nn.Module],
    optimizer: torch.optim.Optimizer,
    state: Mapping[str, Any],
) -> None:
    """Write all that a run needs to go on as if it had never stopped, whole or not at all.

    Args:
        path: of the file.
        modules: by the name that their tensors get as a prefix.
        optimizer: over parameters of these modules.
        state: what else, as JSON.
    """
    tensors = {f"{name}/{key}": value for name, module in modules.items() for key, value in module.state_dict().items()}
    for number, values in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer/{number}/{key}": value for key, value in values.items() if value is not None}
    flat = {key: value.detach().cpu().contiguous().clone() for key, value in tensors.items()}
    write_atomic(path, safetensors.torch.save(flat, metadata={"state": json.dumps(state)}))


def load_checkpoint(path: Path, modules: Mapping[str, nn.Module], optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Put a saved state into modules and optimizer made in the same way, and return the JSON part.

    Raises:
        UserError: there is no such file, it is damaged, or it does not fit.
    """
    tensors, state = _open(path)
    try:
        for name, module in modules.items():
            module.load_state_dict(_below(tensors, f"{name}/"))
        saved = optimizer.state_dict()
        per_parameter: dict[int, dict[str, Tensor]] = {}
        for key, value in _below(tensors, "optimizer/").items():
            number, _, field = key.partition("/")
            per_parameter.setdefault(int(number), {})[field] = value
        optimizer.load_state_dict({**saved, "state": per_parameter})
    except (RuntimeError, ValueError, KeyError) as error:
        raise UserError(f"The checkpoint {quoted(path)} does not fit this run: {first_line(error)}.") from error
    return state


def _below(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}


def _open(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    if not path.is_file():
        raise UserError(f"There is no checkpoint {quoted(path)}; start the run with --output.")
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            state = json.loads(file.metadata()["state"])
            return {key: file.get_tensor(key) for key in file.keys()}, state  # noqa: SIM118 - it is no mapping
    except Exception as error:  # damaged bytes lead the reader to errors of every kind
        raise UserError(f"The checkpoint {quoted(path)} is damaged: {first_line(error)}.") from error
