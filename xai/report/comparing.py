"""Compare methods on several photographs: agreement with each other and with controls, and what a map costs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn

from xai.explanation import explain
from xai.metrics.agreement import rank_correlation
from xai.model import Model
from xai.registry import METHODS
from xai.report.approaches import APPROACHES
from xai.report.subjects import Subject
from xai.report.tables import CONTROLS

# One or several of each family; fewer samples than by default where a map would cost minutes.
COMPARED: Mapping[str, Mapping[str, Any]] = {
    "grad_cam": {},
    "layer_cam": {},
    "saliency": {},
    "integrated_gradients": {},
    "deep_lift": {},
    "lrp": {},
    "lime": {"samples": "300"},
    "occlusion": {},
    "rise": {"masks": 300},
    "edges": {},
    "random": {},
}


def compare_methods(
    model: Model, subjects: Sequence[Subject], *, on_progress: Callable[[float, str], None] | None = None
) -> dict[str, Any]:
    """Explain the answer to each photograph by each method.

    Returns:
        "pictures": names; "rows": for each method key, label, family, agreement (mean rank correlation with the methods
        of other families, controls left out), edges (with that control), runs (pictures sent through the network for
        one map, the mean over photographs) and misses.
    """
    keys = [key for key in COMPARED if METHODS[key].supports(model) is None]
    maps: dict[str, list[np.ndarray]] = {key: [] for key in keys}
    runs: dict[str, list[int]] = {key: [] for key in keys}
    for done, (subject, key) in enumerate((subject, key) for subject in subjects for key in keys):
        if on_progress is not None:
            on_progress(done / (len(subjects) * len(keys)), f"{subject.image.name}: {key}")
        with count_runs() as counted:
            made = explain(model, subject.image, key, target=subject.target, **COMPARED[key])
        maps[key].append(made.map[0])
        runs[key].append(counted[0])
    rows = [_row(key, maps, round(sum(runs[key]) / len(subjects))) for key in keys]
    return {"pictures": [subject.image.name for subject in subjects], "rows": rows}


@contextmanager
def count_runs() -> Iterator[list[int]]:
    """Count the pictures that go through any network inside: those that reach its first convolution over colours."""
    counted = [0]
    first: list[torch.Size] = []  # shape of the kernels of that convolution: copies of a network have it too

    def count(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        if isinstance(module, nn.Conv2d) and module.in_channels in (1, 3) and module.groups == 1:
            if not first:
                first.append(module.weight.shape)
            if module.weight.shape == first[0]:
                counted[0] += len(output)

    handle = torch.nn.modules.module.register_module_forward_hook(count)
    try:
        yield counted
    finally:
        handle.remove()


def _row(key: str, maps: Mapping[str, Sequence[np.ndarray]], runs: int) -> dict[str, Any]:
    method = METHODS[key]
    others = [other for other in maps if METHODS[other].family != method.family and other not in CONTROLS]
    return {
        "key": key,
        "label": method.label,
        "family": next(each.title for each in APPROACHES.values() if key in each.methods),
        "agreement": _mean([_alike(maps[key], maps[other]) for other in others]),
        "edges": None if key == "edges" or "edges" not in maps else _mean([_alike(maps[key], maps["edges"])]),
        "runs": runs,
        "misses": method.limits,
    }


def _alike(one: Sequence[np.ndarray], other: Sequence[np.ndarray]) -> float:
    """Mean rank correlation of the maps of two methods over photographs; constant maps are left out."""
    found = [rank_correlation(a, b) for a, b in zip(one, other, strict=True)]
    return _mean([value for value in found if np.isfinite(value)]) or 0.0


def _mean(values: Sequence[float]) -> float | None:
    return round(float(np.mean(values)), 4) if values else None
