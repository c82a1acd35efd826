"""Keep a figure of the report: a small PNG, and beside it its RunSpec with the numbers it must show again."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
from matplotlib.figure import Figure
from numpy.typing import NDArray

from xai.io.files import write_atomic
from xai.report.results import Result
from xai.spec import RunSpec

COLOURS = 256  # of a palette: a third of the bytes; chosen to cover all colours, or the scale beside a map loses most
CELLS = 8  # of the coarse map that is kept, each way


def figure_pixels(figure: Figure) -> NDArray[np.uint8]:
    """Draw a figure as it is kept: uint8 (H, W, 3)."""
    return np.asarray(PIL.Image.open(io.BytesIO(_png(figure))).convert("RGB"))


def keep_figure(path: Path, result: Result) -> None:
    """Write the figure (.png) and the record beside it (.json): the RunSpec, and under "result" what it shows."""
    write_atomic(path, _png(result.figure))
    record = json.loads(result.spec.to_json()) | {"result": summarise(result.values)}
    write_atomic(path.with_suffix(".json"), (json.dumps(record, indent=1) + "\n").encode())


def read_record(path: Path) -> tuple[RunSpec, dict[str, Any]]:
    """Read the RunSpec beside a figure and what the figure must show; empty where only the RunSpec was kept.

    Raises:
        UserError: there is no such file, or it holds no spec.
    """
    spec = RunSpec.load(path)
    found = json.loads(path.read_text(encoding="utf-8")).get("result", {})
    return spec, found if isinstance(found, dict) else {}


def summarise(values: NDArray[np.floating]) -> dict[str, Any]:
    """Say in a few numbers what an array holds: shape, range, mean, and the mean of each of 8 x 8 parts.

    Args:
        values: float, any shape; the last two axes are places.
    """
    flat = np.asarray(values, dtype=np.float64)
    places = flat.reshape(-1, *flat.shape[-2:]).mean(0) if flat.ndim > 1 else flat[None]  # (h, w)
    rows = [part for part in np.array_split(places, min(CELLS, places.shape[0]), axis=0)]
    cells = [[float(cell.mean()) for cell in np.array_split(row, min(CELLS, row.shape[1]), axis=1)] for row in rows]
    return {
        "shape": list(flat.shape),
        "lowest": _short(flat.min()),
        "highest": _short(flat.max()),
        "mean": _short(flat.mean()),
        "map": [[_short(value) for value in row] for row in cells],
    }


def largest_difference(kept: Mapping[str, Any], now: Mapping[str, Any]) -> float:
    """Say how far two summaries differ, as a share of the largest value kept; infinite for other shapes."""
    if list(kept.get("shape", [])) != list(now["shape"]):
        return float("inf")
    scale = max(abs(kept["lowest"]), abs(kept["highest"]), 1e-30)
    numbers = [abs(kept[name] - now[name]) for name in ("lowest", "highest", "mean")]
    cells = np.abs(np.asarray(kept["map"]) - np.asarray(now["map"])).max()
    return float(max(*numbers, cells) / scale)


def _png(figure: Figure) -> bytes:
    drawn, kept = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, format="png")
    palette = PIL.Image.open(drawn).convert("RGB").quantize(COLOURS, PIL.Image.Quantize.MAXCOVERAGE, kmeans=2)
    palette.save(kept, format="PNG", optimize=True)
    return kept.getvalue()


def _short(value: float) -> float:
    return float(f"{value:.6g}")
