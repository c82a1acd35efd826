"""What the benchmarks share: networks, interleaved rounds, peak memory, tables, and files with the numbers.

Importing it moves the folder of the benchmarks to the end of the path, so that its lime.py does not hide the package.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

import xai
from xai.memory import keep_freed_memory

_HERE = str(Path(__file__).resolve().parent)
sys.path[:] = [each for each in sys.path if Path(each).resolve() != Path(_HERE)] + [_HERE]

Call = Callable[[], object]
WARM_UP = 2
REST = 0.1  # seconds before each call: threads of the call before (OpenBLAS, OpenMP) spin on for a while
STATUS, CLEAR_REFS = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def options_parser(description: str | None, *, model: str, rounds: int) -> argparse.ArgumentParser:
    """Return a parser with the options that every benchmark has."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=model, help="a name in `xai models`, or package.module:function")
    parser.add_argument("--weights", help="a file or an official name; untrained without")
    parser.add_argument("--input-size", type=int, help="side of the working pixels")
    parser.add_argument("--rounds", type=int, default=rounds)
    parser.add_argument("--json", type=Path, help="also write the numbers to this file")
    return parser


def load(options: argparse.Namespace) -> xai.Model:
    """Load the network on the processor, in a process that keeps freed memory, as app and commands do."""
    keep_freed_memory()
    return xai.load_model(options.model, weights=options.weights, input_size=options.input_size, device="cpu")


def normalised(model: xai.Model, pixels: torch.Tensor) -> torch.Tensor:
    """Return what the network inside the classifier is given, in the same memory layout: for the peers."""
    inside = (pixels - model.classifier.mean) / model.classifier.std
    return inside.contiguous(memory_format=torch.channels_last)


def installed(calls: Mapping[str, Call]) -> dict[str, Call]:
    """Keep the calls whose package is there; say which are left out."""
    kept = {}
    for name, call in calls.items():
        try:
            call()
        except ImportError as error:
            print(f"{name} is left out: {error} (pip install '.[bench]')", file=sys.stderr)
        else:
            kept[name] = call
    return kept


def time_rounds(calls: Mapping[str, Call], rounds: int, warm_up: int = WARM_UP) -> dict[str, list[float]]:
    """Return the seconds of each call in every round after warming up; rounds are interleaved.

    A busy moment of the machine then meets every row alike.
    """
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for round_ in range(rounds + warm_up):
        for name, call in calls.items():
            time.sleep(REST)
            begun = time.perf_counter()
            call()
            if round_ >= warm_up:
                seconds[name].append(time.perf_counter() - begun)
    return seconds


def medians(seconds: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """Return the median of each row."""
    return {name: statistics.median(values) for name, values in seconds.items()}


def peak_memory(call: Call) -> float | None:
    """Return by how many MiB a call raises the memory of this process at most; None where the system cannot say."""
    try:
        ctypes.CDLL(None).malloc_trim(0)  # what earlier calls left over must not hide what this one takes
        CLEAR_REFS.write_text("5")  # resets the peak, see proc(5)
    except (AttributeError, OSError):
        return None
    before = _status("VmRSS")
    call()
    return max(0.0, (_status("VmHWM") - before) / 1024)


def _status(field: str) -> int:
    return next(int(line.split()[1]) for line in STATUS.read_text().splitlines() if line.startswith(f"{field}:"))


def table(head: Sequence[str], rows: Iterable[Sequence[str]], left: int = 1) -> str:
    """Write rows as a Markdown table, the first `left` columns aligned left, the rest right."""
    line = "|" + "|".join(["---"] * left + ["---:"] * (len(head) - left)) + "|"
    return "\n".join(["| " + " | ".join(head) + " |", line, *("| " + " | ".join(row) + " |" for row in rows)])


def title(what: str, model: xai.Model, pixels: torch.Tensor) -> str:
    """Say what was measured on what."""
    threads = torch.get_num_threads()
    return f"{what}, {model.title}, {tuple(pixels.shape)}, {threads} threads, torch {torch.__version__}"


def write_numbers(path: Path | None, model: xai.Model, rounds: int, **numbers: Any) -> None:
    """Write numbers as JSON, with the circumstances, where a file is asked for."""
    if path is not None:
        facts = {"model": model.title, "rounds": rounds, "threads": torch.get_num_threads()}
        facts |= {"torch": torch.__version__, "machine": platform.machine()}
        path.write_text(json.dumps({**facts, **numbers}, indent=2) + "\n")
