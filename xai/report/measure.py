"""Measure everything that a report says in numbers, draw its figures, and keep both under exported_html/."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from xai.errors import UserError
from xai.io.files import write_atomic
from xai.io.models import MODELS
from xai.model import Model
from xai.report import clustering
from xai.report.comparing import compare_methods
from xai.report.findings import FINDINGS, find_all
from xai.report.illustrations import draw_all
from xai.report.project import FIGURES, FORMAT, MEASURED
from xai.report.subjects import choose_roles, find_subjects, find_turning_point
from xai.tracing import Picture

Progress = Callable[[float, str], None]
SHARES = {"findings": (0.0, 0.25), "comparison": (0.25, 0.65), "figures": (0.65, 1.0)}


def measure_report(
    root: Path,
    model: Model,
    pictures: Sequence[Picture],
    *,
    accuracy: str | None = None,
    clusters: bool = False,
    on_progress: Progress | None = None,
) -> dict[str, Any]:
    """Measure, draw, and write exported_html/report.json and exported_html/figures/.

    Args:
        root: the project's folder.
        model: the network of the report.
        pictures: photographs, anything `load_image` takes.
        accuracy: in words, where the registry knows none for these weights.
        clusters: also speak about the clustering that ships.
        on_progress: called with (fraction, what is going on); may raise `Cancelled`.

    Returns:
        What was written to report.json.

    Raises:
        UserError: there is no photograph, or the files cannot be written.
    """
    if not pictures:
        raise UserError("A report needs photographs; give at least one.")
    folder = root / FIGURES
    folder.mkdir(parents=True, exist_ok=True)
    subjects = find_subjects(model, pictures)
    roles = {
        role: replace(subject, turned_at=find_turning_point(model, subject))
        for role, subject in choose_roles(subjects).items()
    }
    compared = list(roles.values()) or subjects[:2]
    _tell(on_progress, "findings", 0.0, "findings")
    measured: dict[str, Any] = {
        "format": FORMAT,
        "network": _describe(model, accuracy),
        "pictures": [subject.describe() for subject in subjects],
        "roles": {role: subject.image.name for role, subject in roles.items()},
        "approaches": list(FINDINGS),
        "findings": find_all(model, roles),
        "comparison": compare_methods(model, compared, on_progress=_part(on_progress, "comparison")),
        "figures": draw_all(
            folder, model, roles, [subject.image for subject in subjects], on_progress=_part(on_progress, "figures")
        ),
    }
    if clusters:
        _add_clusters(measured, folder)
    text = json.dumps(measured, indent=1, ensure_ascii=False) + "\n"
    write_atomic(root / MEASURED, text.encode())
    return measured


def _add_clusters(measured: dict[str, Any], folder: Path) -> None:
    survey = clustering.open_shipped()
    measured["clustering"] = clustering.describe(survey)
    measured["approaches"].append(clustering.APPROACH)
    measured["findings"][clustering.APPROACH] = clustering.find(survey)
    measured["figures"].append(clustering.keep(folder, survey))


def _describe(model: Model, accuracy: str | None) -> dict[str, Any]:
    preset = MODELS[model.name].presets.get(model.weights) if model.name in MODELS else None
    if accuracy is None and preset is not None:
        accuracy = f"{preset.top1:.1f} % top-1, {preset.top5:.1f} % top-5, on {preset.measured_on}"
    offered = list(model.layers().values())
    shown = [layer for layer in offered if layer.group == "stage"] or offered
    return {
        "name": model.name,
        "weights": model.weights,
        "title": model.title,
        "digest": model.weights_digest,
        "parameters": model.parameters,
        "input": list(model.input_size),
        "classes": len(model.class_names),
        "accuracy": accuracy,
        "default_layer": model.default_layer,
        "layers": [{"name": layer.name, "kind": layer.kind, "shape": list(layer.shape)} for layer in shown],
    }


def _part(on_progress: Progress | None, name: str) -> Progress | None:
    """Turn the progress of one part of the work into that of all."""
    return on_progress and (lambda fraction, text: _tell(on_progress, name, fraction, text))


def _tell(on_progress: Progress | None, name: str, fraction: float, text: str) -> None:
    if on_progress is not None:
        first, last = SHARES[name]
        on_progress(first + fraction * (last - first), text)
