"""Several methods about one answer: their maps, who agrees with whom, and where they must."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np

from xai.comparison import agreement, compare, draw_comparison, quick_methods
from xai.compute.cam import CamDetails
from xai.explanation import Explanation, explain
from xai.figures.agreement import agreement_heatmap
from xai.figures.style import count
from xai.metrics.agreement import rank_correlation
from xai.model import Model
from xai.report.lessons.finding import Finding, overlay_each
from xai.report.lessons.verdicts import Verdict
from xai.tracing import ImageTrace, trace

CONTROLS = "Controls"  # family of the maps that ignore the network
RANKS = "rank correlation"
SAME = 0.9999  # rank correlation from which two maps count as one
EQUAL = 1e-4  # largest difference, as a share of the largest value, that counts as rounding


def explain_by_all(traced: ImageTrace, *, seed: int = 0, **lime: Any) -> list[Explanation]:
    """Explain the predicted class by every quick method that supports the network, and by LIME with these options."""
    made = [explain(traced, method=key, seed=seed) for key in quick_methods(traced.model)]
    slow = explain(traced, method="lime", seed=seed, **lime)
    place = next((i for i, each in enumerate(made) if is_control(each)), len(made))
    return [*made[:place], slow, *made[place:]]


def is_control(made: Explanation) -> bool:
    """Whether a map was made without the network."""
    return made.method.family == CONTROLS


def show_maps(made: Sequence[Explanation]) -> Finding:
    """Show the maps of all methods on one picture, each in shares of its own limit."""
    figure = draw_comparison(made)
    signed = [each.method.label for each in made if each.signed]
    own = [each for each in made if not is_control(each)]
    sentence = (
        f"{count(len(own), 'method')} about {made[0].titles[0]}, and {len(made) - len(own)} controls. {len(signed)} of "
        f"them are signed, the others show only what speaks for the class. Limits run from "
        f"{min(each.limit for each in own):.2g} to {max(each.limit for each in own):.2g}, in units that differ."
    )
    return Finding(figure, sentence)


def show_agreement(made: Sequence[Explanation]) -> Finding:
    """Show how far every pair agrees, and say which differ most and what controls reach."""
    table = agreement(made)[RANKS]
    labels = [each.method.label for each in made]
    first = made[0]
    figure = agreement_heatmap(
        table.to_numpy(), labels, measure=RANKS, title=f"{first.image.name} · {first.titles[0]} · {first.spec.title}"
    )
    values = table.to_numpy()
    own = [i for i, each in enumerate(made) if not is_control(each)]
    pairs = [(values[i, j], i, j) for i, j in combinations(own, 2) if np.isfinite(values[i, j])]
    beside = [values[i, j] for i in own for j in range(len(made)) if j not in own and np.isfinite(values[i, j])]
    low, i, j = min(pairs)
    same = sum(value > SAME for value, *_ in pairs)
    sentence = (
        f"Rank correlation of {len(own)} methods, mean over {len(pairs)} pairs: {np.mean([p[0] for p in pairs]):.2f}; "
        f"with the controls: {np.mean(beside):.2f}. {count(same, 'pair')} above {SAME}. Least alike: {labels[i]} and "
        f"{labels[j]}, {low:.2f}."
    )
    return Finding(figure, sentence)


def show_coincidences(traced: ImageTrace, layers: Sequence[str], keys: Sequence[str]) -> Finding:
    """Show methods side by side at each of several layers, and say which are equal there and why they must be."""
    tables = [compare(traced, methods=keys, layer=layer) for layer in layers]
    rows: list[list[Explanation]] = [table.attrs["explanations"] for table in tables]
    made = [each for row in rows for each in row]
    titles = [f"{each.method.label} at {each.layer}" for each in made]
    figure = overlay_each(
        [(each.image, each.box) for each in made],
        [each.map[0] for each in made],
        titles,
        suptitle=f"One class, {len(keys)} methods, by layer · {made[0].titles[0]} · {traced.model.name}",
        alt=f"Maps over the photograph {made[0].image.name}, each on its own scale: {', '.join(titles)}.",
        columns=len(keys),
    )
    said = []
    for layer, row in zip(layers, rows, strict=True):
        positive = [_cells(each) for each in row]
        same = [
            f"{a.method.label} and {b.method.label}"
            for (a, x), (b, y) in combinations(zip(row, positive, strict=True), 2)
            if np.abs(x - y).max() <= EQUAL * max(x.max(), y.max())
        ]
        said.append(f"At {layer} equal where positive: {', '.join(same) or 'none'}.")
    return Finding(figure, " ".join([*said, *tables[0].attrs["notes"]]))


def compare_cases(model: Model, cases: Sequence[Verdict], keys: Sequence[str], **lime: Any) -> Finding:
    """Show some methods on several photographs, each map on its own scale, and say how far they agree on each."""
    pictures, maps, titles, said = [], [], [], []
    for case in cases:
        traced = trace(model, case.image)
        made = [explain(traced, method=key, **(lime if key == "lime" else {})) for key in keys]
        pictures += [(each.image, each.box) for each in made]
        maps += [np.clip(each.map[0], 0, None) for each in made]
        titles += [f"{each.method.label}, {case.image.name}" for each in made]
        own = [each for each in made if not is_control(each)]
        alike = np.mean([likeness(a.map[0], b.map[0]) for a, b in combinations(own, 2)])
        said.append(f"{case.line}: {alike:.2f}")
    figure = overlay_each(
        pictures,
        maps,
        titles,
        suptitle=f"What speaks for the answer, by {len(keys)} methods · {model.name}",
        alt=f"Maps of the evidence for the first answer, each on its own scale: {'; '.join(titles)}.",
        columns=len(keys),
    )
    return Finding(figure, f"Mean rank correlation of the methods shown, without controls. {'; '.join(said)}.")


def _cells(made: Explanation) -> np.ndarray:
    """Return what speaks for the first class at the places of the layer, before it is enlarged: float32 (h', w')."""
    assert isinstance(made.details, CamDetails), "only methods that explain at a layer have places"
    return made.details.cells[0].clamp_min(0).numpy()


def likeness(first: np.ndarray, second: np.ndarray) -> float:
    """Rank correlation of two maps; 0 where one of them is constant."""
    value = rank_correlation(first, second)
    return 0.0 if np.isnan(value) else value
