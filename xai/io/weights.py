"""Read, check and download network weights, without ever running code from a file."""

from __future__ import annotations

import hashlib
import http.client
import os
import pickle
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import BinaryIO

import safetensors.torch
import torch
from torch import Tensor, nn

from xai.errors import UserError

CHUNK = 1 << 18
WEIGHT_SUFFIXES = (".safetensors", ".pth", ".pt")
DownloadProgress = Callable[[float, str], None]
"""Called with (fraction done in [0, 1], a sentence with size and time left); may raise `Cancelled`."""


def read_state_dict(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """Read a state dict from a .safetensors or .pth file; floats come back as float32.

    A .pth file is read by torch's weights-only reader, which refuses anything but tensors and plain containers. A state
    dict may lie under "state_dict", "model" or "model_state_dict"; a "module." prefix (DataParallel) is taken off.

    Raises:
        UserError: the file is missing, of another kind, damaged, or holds something else than named tensors.
    """
    path = Path(path)
    if path.suffix not in WEIGHT_SUFFIXES:
        raise UserError(f"Weights file '{path.name}' must end in one of: {', '.join(WEIGHT_SUFFIXES)}.")
    if not path.is_file():
        raise UserError(f"Weights file '{path}' does not exist.")
    try:
        if path.suffix == ".safetensors":
            loaded = safetensors.torch.load_file(path)
        else:
            loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged bytes lead the readers to errors of every kind
        if "GLOBAL" in str(error) or "TorchScript" in str(error):  # what torch says of pickled objects and programs
            raise UserError(
                f"Weights file '{path.name}' holds Python objects, which are never run here; "
                "save it again with torch.save(model.state_dict(), ...)."
            ) from error
        reason = "" if isinstance(error, pickle.UnpicklingError) else f": {first_line(error)}"
        raise UserError(f"Weights file '{path.name}' is damaged, or no {path.suffix} file{reason}.") from error
    return _as_state_dict(loaded, path.name)


def _as_state_dict(loaded: object, name: str) -> dict[str, Tensor]:
    for key in ("state_dict", "model_state_dict", "model"):
        if isinstance(loaded, Mapping) and isinstance(loaded.get(key), Mapping):
            loaded = loaded[key]
    if not isinstance(loaded, Mapping) or not loaded or not all(isinstance(v, Tensor) for v in loaded.values()):
        raise UserError(f"Weights file '{name}' does not hold a state dict (names with tensors).")
    return {
        str(key).removeprefix("module."): value.float() if value.is_floating_point() else value
        for key, value in loaded.items()
    }


def load_state(network: nn.Module, state: Mapping[str, Tensor], source: str) -> None:
    """Put a state dict into a network.

    Raises:
        UserError: it does not fit; the sentence names the first keys that are missing, unexpected or of another shape.
    """
    own = network.state_dict()
    missing = [key for key in own if key not in state and not key.endswith("num_batches_tracked")]
    unexpected = [key for key in state if key not in own]
    shapes = [
        f"{key} {tuple(state[key].shape)} instead of {tuple(own[key].shape)}"
        for key in own
        if key in state and state[key].shape != own[key].shape
    ]
    problems = [("missing", missing), ("unexpected", unexpected), ("wrong shape", shapes)]
    said = [
        f"{len(keys)} {what} ({', '.join(keys[:3])}{' ...' if len(keys) > 3 else ''})"
        for what, keys in problems
        if keys
    ]
    if said:
        raise UserError(f"Weights '{source}' do not fit {type(network).__name__}: {'; '.join(said)}.")
    own.update(state)  # keeps the format version that MNASNet asks for
    network.load_state_dict(own)


def weights_digest(network: nn.Module) -> str:
    """Return the sha256 of all parameters and buffers: names, types, shapes and bytes, in order of name."""
    digest = hashlib.sha256()
    for key, value in sorted(network.state_dict().items()):
        array = value.detach().cpu().contiguous()
        digest.update(f"{key} {array.dtype} {tuple(array.shape)}\n".encode())
        digest.update(array.flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def cached_file(url: str) -> Path:
    """Return where the weights of a URL lie once downloaded: torch's own cache, shared with torchvision."""
    return Path(torch.hub.get_dir()) / "checkpoints" / url.rsplit("/", 1)[1]


def download(url: str, on_progress: DownloadProgress | None = None) -> Path:
    """Fetch the file of a URL into torch's cache, or return it if it is there.

    An interrupted download goes on where it stopped. The first digits of the sha256 that torch puts into the file name
    are checked before the file gets its final name.

    Raises:
        UserError: the server cannot be reached, or the file is not the one that its name promises.
    """
    target = cached_file(url)
    if target.is_file():
        return target
    partial = target.with_name(target.name + ".part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with open(partial, "ab") as file:
            _fetch(url, file, on_progress)
    except (OSError, http.client.HTTPException) as error:  # URLError and TimeoutError are OSErrors
        raise UserError(f"Could not download {target.name}: {first_line(error)}") from error
    expected = re.search(r"-([0-9a-f]{8,})\.", target.name)
    if expected and not _sha256(partial).startswith(expected[1]):
        partial.unlink()
        raise UserError(f"The downloaded {target.name} is damaged (its sha256 is another one); try again.")
    os.replace(partial, target)
    return target


def _fetch(url: str, file: BinaryIO, on_progress: DownloadProgress | None) -> None:
    done = file.tell()
    request = urllib.request.Request(url, headers={"Range": f"bytes={done}-"} if done else {})
    try:
        response = urllib.request.urlopen(request, timeout=20)
    except urllib.error.HTTPError as error:
        if error.code == 416:  # nothing is left to fetch
            return
        raise
    with response:
        if done and response.status != 206:  # the server starts from the beginning
            file.truncate(0)
            done = 0
        length = response.headers.get("Content-Length")
        total = done + int(length) if length else 0  # 0: the server does not say
        start, begun = time.monotonic(), done
        while chunk := response.read(CHUNK):
            file.write(chunk)
            done += len(chunk)
            if on_progress and total:
                left = (time.monotonic() - start) / (done - begun) * (total - done)
                said = f"{done / 1e6:.0f} of {total / 1e6:.0f} MB, {left:.0f} s left"
                on_progress(min(1.0, done / total), said)
            elif on_progress:
                on_progress(0.0, f"{done / 1e6:.0f} MB")
        if done < total:
            raise OSError(f"the connection ended after {done / 1e6:.1f} of {total / 1e6:.1f} MB")


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def first_line(error: BaseException) -> str:
    """Return the first line of an error's text, without its final full stop, at most 200 characters long."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200].rstrip(".")
