"""What maps and their agreement are worth: beside controls, for another class, with the places hidden, and the cost."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pandas as pd
import torch

from xai.compute.fills import make_fill
from xai.compute.masking import MaskedPicture
from xai.explanation import Explanation, explain
from xai.figures.charts import layer_chart
from xai.report.lessons.comparison import is_control, likeness
from xai.report.lessons.finding import Finding
from xai.tracing import ImageTrace, predict

HIDDEN = 0.1  # share of the picture that is hidden to see whether a map holds
NEARLY = 0.95  # rank correlation from which two maps count as hardly different


def show_controls(made: Sequence[Explanation]) -> Finding:
    """Show how far each method agrees with the controls, and say which ones a control could stand in for."""
    own, controls = ([each for each in made if is_control(each) is wanted] for wanted in (False, True))
    values = {
        control.method.label: [likeness(each.map[0], control.map[0]) for each in own] for control in controls
    }  # control: one value for each method
    labels = [each.method.label for each in own]
    figure = layer_chart(
        labels,
        {f"With {name.lower()}": row for name, row in values.items()},
        title=f"Rank correlation with maps that ignore the network · {own[0].image.name}",
        noun="method",
    )
    parts = []
    for name, row in values.items():
        best = int(np.argmax(row))
        parts.append(f"{name}: mean {np.mean(row):.2f}, most {row[best]:.2f} for {labels[best]}")
    median = np.median([likeness(a.map[0], b.map[0]) for a, b in combinations(own, 2)])
    closer = [label for k, label in enumerate(labels) if max(row[k] for row in values.values()) > median]
    sentence = (
        f"{'; '.join(parts)}. The median of two methods is {median:.2f}; a control comes closer than that to "
        f"{len(closer)} of {len(own)} methods{': ' + ', '.join(closer) if closer else ''}."
    )
    return Finding(figure, sentence)


def check_by_hiding(traced: ImageTrace, made: Sequence[Explanation], share: float = HIDDEN) -> Finding:
    """Grey out the strongest tenth of every map and ask the network again: how much of the answer is left?"""
    pixels = traced.ready.pixels[0]
    masked = MaskedPicture(traced, pixels, make_fill(pixels, "color"), made[0].target, "probability")
    kept = torch.stack([~_strongest(each.map[0], share) for each in made])
    left = masked.answers(kept)[:, 0].tolist()
    whole, name = made[0].probabilities[0], made[0].target_names[0]
    labels = [each.method.label for each in made]
    figure = layer_chart(
        labels,
        {f"Probability of {name} left (%), of {100 * whole:.1f}": [100 * value for value in left]},
        title=f"With the strongest {share:.0%} of the map greyed out · {made[0].image.name} · {traced.model.name}",
        noun="method",
    )
    controls = {label: value for label, value, each in zip(labels, left, made, strict=True) if is_control(each)}
    own = {label: value for label, value in zip(labels, left, strict=True) if label not in controls}
    beaten = [label for label, value in own.items() if value >= min(controls.values())]
    best = min(own, key=lambda label: own[label])
    listed = ", ".join(f"{label} {value:.1%}" for label, value in controls.items())
    sentence = (
        f"Of {whole:.1%} for {name}, {best} leaves least, {own[best]:.1%}. Controls: {listed}. {len(beaten)} of "
        f"{len(own)} methods do no better than the best control{': ' + ', '.join(beaten) if beaten else ''}."
    )
    return Finding(figure, sentence)


def compare_classes(traced: ImageTrace, made: Sequence[Explanation]) -> Finding:
    """Ask every quick method about the runner-up too: how alike are its map and that of the answer?"""
    answer, second = predict(traced, k=2)
    own = [each for each in made if not is_control(each) and each.method.speed == "live"]
    maps = [explain(traced, method=each.method.key, target=[answer[2], second[2]], seed=each.seed).map for each in own]
    alike = [likeness(first, other) for first, other in maps]
    labels = [each.method.label for each in own]
    figure = layer_chart(
        labels,
        {f"Rank correlation of the maps for {answer[0]} and {second[0]}": alike},
        title=f"Does the map change with the class? · {own[0].image.name} · {traced.model.name}",
        noun="method",
    )
    blind = [label for label, value in zip(labels, alike, strict=True) if value > NEARLY]
    least = int(np.argmin(alike))
    sentence = (
        f"{answer[0]} {answer[1]:.1%} against {second[0]} {second[1]:.1%}: {len(blind)} of {len(own)} methods draw "
        f"nearly the same map (above {NEARLY}) for both{': ' + ', '.join(blind) if blind else ''}. "
        f"Least alike by {labels[least]}, {alike[least]:.2f}."
    )
    return Finding(figure, sentence)


def tabulate_cost(made: Sequence[Explanation]) -> pd.DataFrame:
    """List what every map took in this run, beside one shared forward pass; the slowest first."""
    rows = [
        (each.method.label, each.method.family, 1000 * each.seconds) for each in sorted(made, key=lambda m: -m.seconds)
    ]
    table = pd.DataFrame(rows, columns=["method", "family", "milliseconds"])
    table["times the median"] = (table["milliseconds"] / table["milliseconds"].median()).round(1)
    return table.round({"milliseconds": 1}).set_index("method").rename_axis(index=None, columns="method")


def _strongest(values: np.ndarray, share: float) -> torch.Tensor:
    """Mark the highest share of a map (h, w), ties by place: bool (h, w)."""
    chosen = np.zeros(values.size, bool)
    chosen[np.argsort(-values, axis=None, kind="stable")[: max(1, round(share * values.size))]] = True
    return torch.from_numpy(chosen.reshape(values.shape))
