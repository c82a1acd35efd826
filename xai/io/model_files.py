"""A trained classifier as two files: weights in safetensors, and beside them JSON with all else that loading needs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import Tensor

from xai.errors import UserError
from xai.io.files import quoted, write_atomic
from xai.io.geometry import InputFormat

FORMAT = "xai-model/1"
MODEL_FILE, WEIGHTS_FILE = "model.json", "model.safetensors"
RUN_FILE = "run.json"  # in a folder that a training or a clustering writes: what it was told


@dataclass(frozen=True)
class ModelFile:
    """What the JSON says.

    Attributes:
        architecture: a name in `MODELS`, or "package.module:function".
        class_names: in the order of the scores.
        fmt: what the network wants to be given.
        weights: where the weights lie.
        sha256: of that file.
        about: how it was trained and what was measured.
    """

    architecture: str
    class_names: tuple[str, ...]
    fmt: InputFormat
    weights: Path
    sha256: str
    about: Mapping[str, Any] = field(default_factory=dict)

    def fits_weights(self) -> bool:
        """Whether the weights are there and are those that this was written for."""
        return self.weights.is_file() and hashlib.sha256(self.weights.read_bytes()).hexdigest() == self.sha256


def is_model_file(source: str) -> bool:
    """Whether a text names a model file or a folder that holds one, rather than a network."""
    return source.endswith(".json") or (Path(source) / MODEL_FILE).is_file()


def model_file_beside(weights: Path) -> ModelFile | None:
    """Return the description that lies beside a weights file and was written for it, or None."""
    path = weights.with_name(MODEL_FILE)
    if not path.is_file():
        return None
    file = replace(read_model_file(path), weights=weights)
    return file if file.fits_weights() else None


def write_model_file(
    folder: Path,
    state: Mapping[str, Tensor],
    *,
    architecture: str,
    class_names: tuple[str, ...],
    fmt: InputFormat,
    about: Mapping[str, Any],
    half: bool = False,
) -> Path:
    """Write weights and description into a folder, the weights first, each whole or not at all.

    Args:
        folder: exists.
        state: parameters and buffers by name.
        architecture: a name in `MODELS`, or "package.module:function".
        class_names: in the order of the scores.
        fmt: what the network wants to be given.
        about: anything else worth knowing, as JSON.
        half: keep floats in 16 bits: half the size, and scores that differ in the third digit.

    Returns:
        Path of the JSON.
    """
    kept = {
        key: (value.half() if half and value.is_floating_point() else value).detach().cpu().contiguous().clone()
        for key, value in state.items()
    }
    data = safetensors.torch.save(kept)
    write_atomic(folder / WEIGHTS_FILE, data)
    described = {
        "format": FORMAT,
        "architecture": architecture,
        "weights": WEIGHTS_FILE,
        "sha256": hashlib.sha256(data).hexdigest(),
        "megabytes": len(data) / 1e6,
        "parameters": sum(value.numel() for value in kept.values() if value.is_floating_point()),
        "input": asdict(fmt),
        "class_names": list(class_names),
        **about,
    }
    path = folder / MODEL_FILE
    write_atomic(path, (json.dumps(described, indent=1, ensure_ascii=False) + "\n").encode())
    return path


def read_model_file(source: str | Path) -> ModelFile:
    """Read the description of a trained classifier.

    Args:
        source: the JSON file, or the folder that holds `model.json`.

    Raises:
        UserError: there is none, or it is not one of ours.
    """
    path = Path(source)
    if path.is_dir():
        path = path / MODEL_FILE
    if not path.is_file():
        raise UserError(f"There is no model file {quoted(path)}.")
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        if said["format"] != FORMAT:
            raise ValueError(f"its format is {said['format']!r}")
        shown: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in said["input"].items()
        }
        weights = path.parent / Path(said["weights"]).name
        rest = {key: value for key, value in said.items() if key not in _KEYS}
        names = tuple(map(str, said["class_names"]))
        return ModelFile(str(said["architecture"]), names, InputFormat(**shown), weights, said["sha256"], rest)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise UserError(f"{quoted(path)} is no model file of `xai train`: {error}.") from error


_KEYS = ("format", "architecture", "weights", "sha256", "input", "class_names")
